"""The client for devices and gateways: readings survive an outage, a kill and a power cut.

    connection = ConnectionSettings(parse_endpoint("<host>"), certificate_file, private_key_file)
    settings = ClientSettings("asset-001", queue_file)
    with DeviceClient(settings, by_mqtt(connection)) as client:
        client.publish({"temperature": 21.5})

Guarantee: a reading that `publish` has taken is on disk before it returns, and leaves the disk only
when the broker has acknowledged it. Readings are sent oldest first. The broker gets each at least
once; the lake takes a second one away by its `event_id`.
"""

from devices.client.broker_link import ConnectionSettings
from devices.client.device_client import ClientSettings, DeviceClient, by_mqtt
from devices.client.drain import Pace
from devices.client.offline_queue import (
    MessageTooLargeError,
    QueueDamagedError,
    QueueFullError,
    QueueInUseError,
    WhenFull,
)

__all__ = [
    "ClientSettings",
    "ConnectionSettings",
    "DeviceClient",
    "MessageTooLargeError",
    "Pace",
    "QueueDamagedError",
    "QueueFullError",
    "QueueInUseError",
    "WhenFull",
    "by_mqtt",
]
