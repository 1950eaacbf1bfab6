"""The document that a mapping leaves at its on-failure destination, with the whole event.

Guarantee: key and shape are the documented ones, and `payload` is the event as the function
would have got it, so that nothing of a discarded batch is lost.

https://docs.aws.amazon.com/lambda/latest/dg/kinesis-on-failure-destination.html
"""

import json
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from local.mapping.batch_retry import Discard
from local.mapping.kinesis_event import event_payload


def object_key(mapping_uuid: str, shard_id: str, at: float) -> str:
    """`aws/lambda/<mapping>/<shard>/YYYY/MM/DD/YYYY-MM-DDTHH.MM.SS-<UUID>`; at epoch seconds."""
    moment = datetime.fromtimestamp(at, UTC)
    return f"aws/lambda/{mapping_uuid}/{shard_id}/{moment:%Y/%m/%d/%Y-%m-%dT%H.%M.%S}-{uuid4()}"


def invocation_record(
    discard: Discard, function_arn: str, stream_arn: str, shard_id: str, at: float
) -> bytes:
    """The document about `discard`, written at `at` (epoch seconds)."""
    first, last = discard.records[0], discard.records[-1]
    failure = discard.last_failure
    document: dict[str, Any] = {
        "requestContext": {
            "requestId": failure.request_id if failure else str(uuid4()),
            "functionArn": function_arn,
            "condition": discard.condition.value,
            "approximateInvokeCount": discard.invocations,
        },
    }
    if failure:
        document["responseContext"] = {
            "statusCode": 200,
            "executedVersion": "$LATEST",
            "functionError": failure.function_error,
        }
    document |= {
        "version": "1.0",
        "timestamp": _iso(at),
        "KinesisBatchInfo": {
            "shardId": shard_id,
            "startSequenceNumber": first.sequence_number,
            "endSequenceNumber": last.sequence_number,
            "approximateArrivalOfFirstRecord": _iso(first.arrived_at),
            "approximateArrivalOfLastRecord": _iso(last.arrived_at),
            "batchSize": len(discard.records),
            "streamArn": stream_arn,
        },
        "payload": event_payload(discard.records).decode("ascii"),
    }
    return json.dumps(document).encode("ascii")


def _iso(at: float) -> str:
    moment = datetime.fromtimestamp(at, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
