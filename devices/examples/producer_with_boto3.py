"""A service that puts readings on the stream with plain boto3 `put_record`, one at a time.

Names in snake_case, local ISO times without an offset, as `datetime.isoformat` gives them: the lake
takes such a time for UTC and flags it `event_time_offset_assumed`.
"""

import argparse
import json
import sys
from datetime import datetime

import boto3


def main(argv: list[str]) -> int:
    """Put so many readings."""
    arguments = argparse.ArgumentParser(description="A producer with boto3.", allow_abbrev=False)
    arguments.add_argument("--stream", required=True)
    arguments.add_argument("--device", default="device123")
    arguments.add_argument("--readings", type=int, default=10)
    options = arguments.parse_args(argv)
    kinesis = boto3.client("kinesis")
    for number in range(options.readings):
        reading = {
            "device_id": options.device,
            "timestamp": datetime.now().isoformat(),  # noqa: DTZ005 - as such producers do
            "latitude": 37.7749,
            "longitude": -122.4194,
            "sequence": number,
            "status": "active",
        }
        kinesis.put_record(
            StreamName=options.stream,
            Data=json.dumps(reading).encode(),
            PartitionKey=options.device,
        )
    print(f"{options.readings} put")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
