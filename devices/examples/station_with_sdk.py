"""A weather station written with awsiotsdk (SDK v2): MQTT 5, QoS 1, one topic of its own.

It waits for each acknowledgement, and what could not be published it tries again: the SDK keeps
unacknowledged publishes over a reconnect. For a queue that survives the process, see
`devices.client`.
"""

import argparse
import json
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path

from awscrt import mqtt5
from awsiot import mqtt5_client_builder


def main(argv: list[str]) -> int:
    """Publish so many readings, each when the one before is acknowledged."""
    options = _parser().parse_args(argv)
    host, _, port = options.endpoint.partition(":")
    connected, stopped = threading.Event(), threading.Event()
    client = mqtt5_client_builder.mtls_from_path(
        endpoint=host,
        port=int(port or 8883),
        cert_filepath=str(options.certificate),
        pri_key_filepath=str(options.private_key),
        ca_filepath=str(options.ca_file) if options.ca_file else None,
        client_id=options.thing,
        on_lifecycle_connection_success=lambda _: connected.set(),
        on_lifecycle_stopped=lambda _: stopped.set(),
    )
    client.start()
    connected.wait(30)
    for number in range(1, options.readings + 1):
        reading = {
            "device_id": options.thing,
            "timestamp": datetime.now(UTC).isoformat(),
            "temperature": 20 + number % 5,
            "humidity": 55,
            "pressure": 1013.25,
            "sequence": number,
        }
        publish = mqtt5.PublishPacket(
            topic=f"dt/weather/{options.thing}/telemetry",
            payload=json.dumps(reading),
            qos=mqtt5.QoS.AT_LEAST_ONCE,
        )
        answer = client.publish(publish).result(60)
        print(number, answer.puback.reason_code.name, flush=True)
    client.stop()
    stopped.wait(10)
    return 0


def _parser() -> argparse.ArgumentParser:
    arguments = argparse.ArgumentParser(
        description="A weather station with awsiotsdk.", allow_abbrev=False
    )
    add = arguments.add_argument
    add("--endpoint", required=True, help="host or host:port of the broker")
    add("--ca-file", type=Path, help="the broker's authority (default: the system's)")
    add("--certificate", type=Path, required=True)
    add("--private-key", type=Path, required=True)
    add("--thing", required=True, help="the thing's name, which is the client id")
    add("--readings", type=int, default=10)
    return arguments


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
