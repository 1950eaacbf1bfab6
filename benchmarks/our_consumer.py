"""The project's consumer, its handler whole: decorators, metrics and logs included.

Only the S3 client is the comparison's stand-in; checksums, keys and conditional writes are ours.
What the handler prints goes to a stream that is thrown away, as Lambda's own pipe takes it.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

from benchmarks.object_store import ObjectStore
from benchmarks.records import ARRIVAL

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext
    from mypy_boto3_s3 import S3Client

_FLAGGED = re.compile(r'"ReadingsFlagged":\[([0-9]+)')
ENVIRONMENT = {
    "RAW_ZONE_BUCKET": "raw-zone",
    "REJECTED_ZONE_BUCKET": "rejected-zone",
    "EARLIEST_EVENT_TIME": "2000-01-01T00:00:00Z",
    "MAX_EVENT_TIME_AHEAD_SECONDS": "86400",
    "CLOCK_SKEW_FLAG_SECONDS": "3600",
    "IDENTITY_MISMATCH_POLICY": "reject",
    "MISSING_TIMESTAMP_POLICY": "reject",
    "POWERTOOLS_SERVICE_NAME": "ingest_telemetry",
    "POWERTOOLS_METRICS_NAMESPACE": "TelemetryLake",
    "POWERTOOLS_LOG_LEVEL": "INFO",
    "AWS_ENDPOINT_URL": "",
    "AWS_DEFAULT_REGION": "us-east-1",
    # Without any, the SDK would go and ask the network for credentials.
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
}


@dataclass(frozen=True)
class InvocationContext:
    """What the handler and Powertools' logger read of Lambda's context."""

    function_name: str = "ingest-telemetry"
    function_version: str = "$LATEST"
    memory_limit_in_mb: int = 1024
    invoked_function_arn: str = "arn:aws:lambda:us-east-1:123456789012:function:ingest-telemetry"
    aws_request_id: str = "00000000-0000-4000-8000-000000000000"

    @staticmethod
    def get_remaining_time_in_millis() -> int:
        return 300_000


class OurConsumer:
    """Takes Lambda events; `accepted`, `rejected` and `flagged` count the last one."""

    def __init__(self, store: ObjectStore) -> None:
        for name, value in ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        self._output = io.StringIO()
        with contextlib.redirect_stdout(self._output):
            # The module wires itself from the environment when it is imported.
            from ingest_telemetry import handler
            from ingest_telemetry.raw_zone import Zone
        client = cast("S3Client", store)
        self._handler = handler
        self._collaborators = replace(
            handler.COLLABORATORS,
            raw_zone=Zone(client, "raw-zone", lambda _key, _error: None),
            rejected_zone=Zone(client, "rejected-zone", lambda _key, _error: None),
            now=lambda: ARRIVAL,
        )
        self.accepted = self.rejected = self.flagged = 0

    def __call__(self, event: dict[str, Any]) -> object:
        # Final in the module; the comparison puts its own S3 in its place.
        self._handler.COLLABORATORS = self._collaborators  # type: ignore[misc]
        self._output.seek(0)
        self._output.truncate()
        with contextlib.redirect_stdout(self._output):
            answer = self._handler.lambda_handler(
                cast("Any", event), cast("LambdaContext", InvocationContext())
            )
        self.accepted, self.rejected = answer["accepted"], answer["rejected"]
        # The answer leaves out what only the metrics need.
        self.flagged = sum(map(int, _FLAGGED.findall(self._output.getvalue())))
        return answer
