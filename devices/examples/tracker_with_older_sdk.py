"""A tracker written with the AWSIoTPythonSDK: MQTT 3.1.1, QoS 1, the SDK's queue in memory.

It publishes on a topic that the whole fleet shares, so only the payload says which asset it is
(`SecondTopicFilter=asset/tracker`). What it takes while it is cut off is queued by the SDK and sent
in order once it is back. A publish that was not acknowledged in time is made again: the lake keeps
one of two equal readings. What is queued when the process ends is lost; `devices.client` keeps it.

It runs until it is ended, as a device does.
"""

import argparse
import itertools
import json
import sys
import threading
import time
from pathlib import Path
from typing import Final

from AWSIoTPythonSDK.exception.AWSIoTExceptions import publishTimeoutException
from AWSIoTPythonSDK.MQTTLib import AWSIoTMQTTClient

_TOPIC: Final = "asset/tracker"
_QOS_AT_LEAST_ONCE: Final = 1
_WITHOUT_LIMIT: Final = -1


def connect(options: argparse.Namespace) -> AWSIoTMQTTClient:
    """The SDK's client, connected, with its queue and its reconnecting as its README has them."""
    host, _, port = options.endpoint.partition(":")
    client = AWSIoTMQTTClient(options.client_id)
    client.configureEndpoint(host, int(port or 8883))
    client.configureCredentials(
        str(options.ca_file), str(options.private_key), str(options.certificate)
    )
    client.configureAutoReconnectBackoffTime(1, 32, 20)
    client.configureOfflinePublishQueueing(_WITHOUT_LIMIT)
    client.configureDrainingFrequency(options.draining_hertz)
    client.configureConnectDisconnectTimeout(10)
    client.configureMQTTOperationTimeout(5)
    client.onOnline = lambda: _say("online")
    client.onOffline = lambda: _say("offline")
    client.connect()
    return client


def publish(client: AWSIoTMQTTClient, payload: str) -> None:
    """Returns when the broker has it, or the SDK's queue."""
    while True:
        try:
            client.publish(_TOPIC, payload, _QOS_AT_LEAST_ONCE)
            return
        except publishTimeoutException:
            _say("not acknowledged, again")


def main(argv: list[str]) -> None:
    """Publish a reading every interval, for ever."""
    options = _parser().parse_args(argv)
    client = connect(options)
    for sequence in itertools.count(1):
        reading = {
            "deviceId": options.asset,
            "timestamp": time.time_ns() // 1_000_000,
            "latitude": 12.95,
            "longitude": 77.55,
            "speed": sequence % 90,
            "sequence": sequence,
            "status": "moving",
        }
        publish(client, json.dumps(reading))
        print(sequence, flush=True)
        if sequence == options.readings:
            break
        time.sleep(options.interval)  # as often as it measures
    # The SDK does not tell when its queue is through.
    threading.Event().wait()


def _say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    arguments = argparse.ArgumentParser(
        description="A tracker with the AWSIoTPythonSDK.", allow_abbrev=False
    )
    add = arguments.add_argument
    add("--endpoint", required=True, help="host or host:port of the broker")
    add("--ca-file", type=Path, required=True)
    add("--certificate", type=Path, required=True)
    add("--private-key", type=Path, required=True)
    add("--client-id", required=True)
    add("--asset", required=True, help="the asset's id, in the payload alone")
    add("--interval", type=float, default=10, help="seconds between readings")
    add("--readings", type=int, help="take no more than these; the queue is drained further")
    add("--draining-hertz", type=float, default=2, help="the SDK's default is 2")
    return arguments


if __name__ == "__main__":
    main(sys.argv[1:])
