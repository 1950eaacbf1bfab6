"""What a job printed, as CloudWatch Logs has it, and the metrics that log filters make of it.

The job prints its account as one JSON line; the template's metric filters turn it into the
metrics that dashboards and alarms read. Only the filter patterns of that kind are understood:
`{ $.path = * }`.
https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/FilterAndPatternSyntaxForMetricFilters.html
"""

import json
import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from local.glue.definitions import Definition
from local.logs import requests

logger = logging.getLogger(__name__)

_EXISTS = re.compile(r"\{\s*\$\.([\w.]+)\s*=\s*\*\s*\}")


class JobLog:
    """Publishes job logs; `logs` and `cloudwatch` are boto3 clients. Lines have the time of
    `clock`, as the run's process has it, and metrics that of `metric_clock`, the services'."""

    def __init__(
        self,
        logs: Any,
        cloudwatch: Any,
        clock: Callable[[], datetime],
        metric_clock: Callable[[], datetime],
    ) -> None:
        self._logs = logs
        self._cloudwatch = cloudwatch
        self._clock = clock
        self._metric_clock = metric_clock

    def publish(self, job: Definition, run_id: str, log: Path) -> None:
        """Put a finished run's log into the job's output group, if the stack has one."""
        arguments = job.get("DefaultArguments", {})
        prefix = arguments.get("--custom-logGroup-prefix", "/aws-glue/jobs")
        group = f"{prefix}/output"
        found = self._logs.describe_log_groups(logGroupNamePrefix=group)["logGroups"]
        if not log.exists() or group not in {one["logGroupName"] for one in found}:
            return
        lines = log.read_text(errors="replace").splitlines()
        now = self._clock()
        self._logs.create_log_stream(logGroupName=group, logStreamName=run_id)
        at = round(now.timestamp() * 1000)
        for events in requests([(at, line) for line in lines]):
            self._logs.put_log_events(logGroupName=group, logStreamName=run_id, logEvents=events)
        measured_at = self._metric_clock()
        filters = self._logs.describe_metric_filters(logGroupName=group)["metricFilters"]
        for metric_filter in filters:
            for namespace, name, value in filtered(metric_filter, lines):
                self._cloudwatch.put_metric_data(
                    Namespace=namespace,
                    MetricData=[{"MetricName": name, "Value": value, "Timestamp": measured_at}],
                )


def filtered(
    metric_filter: Mapping[str, Any], lines: Sequence[str]
) -> Iterator[tuple[str, str, float]]:
    """(namespace, metric, value) for each line that a metric filter matches."""
    pattern = _EXISTS.fullmatch(metric_filter["filterPattern"].strip())
    if pattern is None:
        logger.warning("metric filter pattern not understood: %s", metric_filter["filterPattern"])
        return
    for line in lines:
        document = _json_object(line)
        if document is None or _at(document, pattern.group(1)) is None:
            continue
        for transformation in metric_filter["metricTransformations"]:
            value = transformation["metricValue"]
            found = _at(document, value[2:]) if value.startswith("$.") else value
            if found is not None:
                yield transformation["metricNamespace"], transformation["metricName"], float(found)


def _json_object(line: str) -> dict[str, Any] | None:
    if not line.startswith("{"):
        return None
    try:
        document = json.loads(line)
    except ValueError:
        return None
    return document if isinstance(document, dict) else None


def _at(document: Any, path: str) -> Any:
    for name in path.split("."):
        document = document.get(name) if isinstance(document, dict) else None
    return document
