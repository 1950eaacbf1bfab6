"""The settings of an event source mapping, from a template's properties or an API request.

Guarantee: what this local cloud would not do is refused by name here, at deployment: nothing is
accepted and ignored. Ranges and defaults are AWS's.

https://docs.aws.amazon.com/lambda/latest/dg/services-kinesis-parameters.html
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from local.api import ACCOUNT_ID, REGION, ApiError
from local.mapping.batch_retry import RetryPolicy
from local.mapping.shard_consumer import BatchSettings

# Names, in CloudFormation and in the API alike; Tags have no effect here and on AWS alike.
CREATE_ONLY: Final = frozenset({"EventSourceArn", "StartingPosition", "StartingPositionTimestamp"})
PROPERTIES: Final = CREATE_ONLY | {
    "BatchSize",
    "BisectBatchOnFunctionError",
    "DestinationConfig",
    "Enabled",
    "FunctionName",
    "MaximumBatchingWindowInSeconds",
    "MaximumRecordAgeInSeconds",
    "MaximumRetryAttempts",
    "MetricsConfig",
    "ParallelizationFactor",
    "Tags",
}
_STARTING_POSITIONS: Final = ("TRIM_HORIZON", "LATEST", "AT_TIMESTAMP")

_STREAM_ARN: Final = re.compile(r"arn:aws[\w-]*:kinesis:[\w-]+:\d{12}:stream/([\w.-]+)")
_FUNCTION: Final = re.compile(
    r"(?:arn:aws[\w-]*:lambda:[\w-]+:)?(?:\d{12}:)?(?:function:)?([\w-]+)(?::\$LATEST)?"
)
_BUCKET_ARN: Final = re.compile(r"arn:aws[\w-]*:s3:::([a-z0-9.-]+)")


@dataclass(frozen=True, slots=True)
class MappingSettings:
    """One mapping, checked. `starting_at` is in epoch seconds."""

    function_name: str
    stream_arn: str
    stream_name: str
    starting_position: str
    starting_at: float | None
    batches: BatchSettings
    retries: RetryPolicy
    destination_bucket: str | None
    counts_events: bool
    enabled: bool

    @property
    def function_arn(self) -> str:
        """The function's ARN."""
        return f"arn:aws:lambda:{REGION}:{ACCOUNT_ID}:function:{self.function_name}"


def invalid(message: str) -> ApiError:
    """The API's exception for a value that it does not take."""
    return ApiError("InvalidParameterValueException", message)


def mapping_settings(properties: Mapping[str, Any]) -> MappingSettings:
    """The settings in `properties`; ApiError names what is unknown or out of range."""
    unknown = sorted(set(properties) - PROPERTIES)
    if unknown:
        raise invalid(f"{', '.join(unknown)}: not supported for Kinesis by the local cloud")
    stream_arn = str(_required(properties, "EventSourceArn"))
    stream = _STREAM_ARN.fullmatch(stream_arn)
    if stream is None:
        raise invalid(f"EventSourceArn {stream_arn!r} is not the ARN of a Kinesis stream")
    position, starting_at = _starting_position(properties)
    return MappingSettings(
        function_name=function_name(str(_required(properties, "FunctionName"))),
        stream_arn=stream_arn,
        stream_name=stream[1],
        starting_position=position,
        starting_at=starting_at,
        batches=BatchSettings(
            batch_size=_number(properties, "BatchSize", 100, 1, 10_000),
            batching_window_seconds=_number(
                properties, "MaximumBatchingWindowInSeconds", 0, 0, 300
            ),
            parallelization_factor=_number(properties, "ParallelizationFactor", 1, 1, 10),
        ),
        retries=RetryPolicy(
            maximum_retry_attempts=_unlimited(
                _number(properties, "MaximumRetryAttempts", -1, -1, 10_000)
            ),
            maximum_record_age_seconds=_record_age(properties),
            bisect_on_function_error=_boolean(properties, "BisectBatchOnFunctionError", False),
        ),
        destination_bucket=_destination_bucket(properties.get("DestinationConfig")),
        counts_events=_counts_events(properties.get("MetricsConfig")),
        enabled=_boolean(properties, "Enabled", True),
    )


def function_name(name_or_arn: str) -> str:
    """The name in a function's name, partial ARN or ARN (of $LATEST, the only version here)."""
    match = _FUNCTION.fullmatch(name_or_arn)
    if match is None:
        raise invalid(f"FunctionName {name_or_arn!r} is neither a name nor an ARN of $LATEST")
    return match[1]


def _required(properties: Mapping[str, Any], name: str) -> Any:
    value = properties.get(name)
    if value in (None, ""):
        raise invalid(f"{name} is missing")
    return value


def _number(properties: Mapping[str, Any], name: str, default: int, least: int, most: int) -> int:
    value = properties.get(name, default)
    try:
        number = int(value)
    except (TypeError, ValueError):
        raise invalid(f"{name}: {value!r} is not a whole number") from None
    if not least <= number <= most:
        raise invalid(f"{name}: {number} is not from {least} to {most}")
    return number


def _unlimited(number: int) -> int | None:
    return None if number == -1 else number


def _record_age(properties: Mapping[str, Any]) -> int | None:
    age = _number(properties, "MaximumRecordAgeInSeconds", -1, -1, 604_800)
    if -1 < age < 60:
        raise invalid(f"MaximumRecordAgeInSeconds: {age} is neither -1 nor from 60 to 604800")
    return _unlimited(age)


def _boolean(properties: Mapping[str, Any], name: str, default: bool) -> bool:
    # A template's parameters are strings.
    value = properties.get(name, default)
    words = {True: True, False: False, "true": True, "false": False}
    key = value.lower() if isinstance(value, str) else value
    if key not in words:
        raise invalid(f"{name}: {value!r} is neither true nor false")
    return words[key]


def _starting_position(properties: Mapping[str, Any]) -> tuple[str, float | None]:
    position = str(_required(properties, "StartingPosition"))
    if position not in _STARTING_POSITIONS:
        raise invalid(f"StartingPosition: {position!r} is none of {', '.join(_STARTING_POSITIONS)}")
    timestamp = properties.get("StartingPositionTimestamp")
    if (position == "AT_TIMESTAMP") != (timestamp is not None):
        raise invalid("StartingPositionTimestamp belongs to AT_TIMESTAMP, and only to it")
    if timestamp is None:
        return position, None
    if isinstance(timestamp, datetime):
        return position, timestamp.timestamp()
    try:
        return position, float(timestamp)
    except (TypeError, ValueError):
        raise invalid(f"StartingPositionTimestamp: {timestamp!r} is no time in seconds") from None


def _destination_bucket(config: Any) -> str | None:
    if not config:
        return None
    if set(config) - {"OnFailure"}:
        raise invalid("DestinationConfig: only OnFailure is supported for Kinesis")
    on_failure = config.get("OnFailure") or {}
    destination = on_failure.get("Destination")
    if not destination:
        return None
    bucket = _BUCKET_ARN.fullmatch(str(destination))
    if bucket is None:
        raise invalid(f"OnFailure: the local cloud delivers to S3 only, not to {destination!r}")
    return bucket[1]


def _counts_events(config: Any) -> bool:
    metrics = (config or {}).get("Metrics") or []
    if set(metrics) - {"EventCount"}:
        raise invalid(f"MetricsConfig: for Kinesis there is only EventCount, not {metrics!r}")
    return "EventCount" in metrics
