"""What the bill depends on, read from the template and its parameters, stated nowhere else.

Parameters have the template's defaults, or the values of a deployed stack; what the template fixes
(memory, alarms, metrics, dashboards) is read from its resources as they are with these parameters.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import yaml
from botocore.exceptions import ClientError

from ops.cost.schedules import runs_a_month
from ops.errors import OperationError

if TYPE_CHECKING:
    from mypy_boto3_cloudformation import CloudFormationClient

TEMPLATE: Final = Path(__file__).parents[2] / "template.yaml"
# Alarms and dashboards name our own metrics by the stack's namespace.
_NAMESPACE: Final = "TelemetryLake/"
_IN_DASHBOARD: Final = re.compile(
    r'"TelemetryLake/\$\{AWS::StackName\}", "(\w+)"(?:, "service", "(\w+)")?'
)
_NO_VALUE: Final = {"Ref": "AWS::NoValue"}
# Whose metrics they are: by the dimension `service`, or none where a log filter makes them.
_FUNCTION: Final = "ingest_telemetry"
_AUDIT: Final = "audit_lake"
_EXPORT: Final = "export_registry"


@dataclass(frozen=True)
class Settings:
    """The settings that cost, each by its parameter's or property's meaning."""

    stream_mode: str
    shard_count: int
    retention_hours: int
    batch_size: int
    window_seconds: int
    parallelization: int
    architecture: str
    ingest_memory_mb: int
    audit_memory_mb: int
    export_memory_mb: int
    is_traced: bool
    curation_schedule: str
    curation_runs: float
    maintenance_runs: float
    audit_runs: float
    export_runs: float
    crawls: bool
    worker_type: str
    workers: int
    snapshot_hours: int
    raw_retention_days: int
    rejected_retention_days: int
    noncurrent_days: int
    log_retention_days: int
    customer_keys: int
    alarm_metrics: int
    function_metrics: int
    audit_metrics: int
    export_metrics: int
    job_metrics: int
    dashboards: int


def deployed_parameters(cloudformation: CloudFormationClient, stack_name: str) -> dict[str, str]:
    """The parameters of a deployed stack."""
    try:
        [stack] = cloudformation.describe_stacks(StackName=stack_name)["Stacks"]
    except ClientError as error:
        raise OperationError(
            f"stack {stack_name} cannot be read: {error.response['Error']['Message']}. "
            "Check --stack-name, the region and the credentials."
        ) from error
    return {
        parameter["ParameterKey"]: parameter["ParameterValue"]
        for parameter in stack.get("Parameters", [])
    }


def read_settings(
    given: Mapping[str, str], deployed: Mapping[str, str] | None = None, template: Path = TEMPLATE
) -> Settings:
    """The settings under the template's defaults, a stack's values over them, and the given ones
    over both; raises OperationError for what the template does not know or allow."""
    shape = _Shape(template, {**(deployed or {}), **given})
    shape.check(given)
    schedule = shape.text("CurationSchedule")
    metrics = shape.own_metrics()
    return Settings(
        stream_mode=shape.text("StreamMode"),
        shard_count=shape.number("ShardCount"),
        retention_hours=shape.number("StreamRetentionHours"),
        batch_size=shape.number("BatchSize"),
        window_seconds=shape.number("MaxBatchingWindowSeconds"),
        parallelization=shape.number("ParallelizationFactor"),
        architecture=shape.text("Architecture"),
        ingest_memory_mb=shape.memory("IngestTelemetryFunction"),
        audit_memory_mb=shape.memory("AuditLakeFunction"),
        export_memory_mb=shape.memory("ExportRegistryFunction"),
        is_traced=shape.template["Globals"]["Function"].get("Tracing") == "Active",
        curation_schedule=schedule,
        curation_runs=runs_a_month(schedule) if shape.holds("CurateOnSchedule") else 0.0,
        maintenance_runs=runs_a_month(shape.text("MaintenanceSchedule")),
        audit_runs=runs_a_month(shape.text("AuditSchedule")),
        export_runs=runs_a_month(shape.text("RegistryExportSchedule")),
        crawls=shape.holds("CrawlBeforeCuration"),
        worker_type=shape.text("GlueWorkerType"),
        workers=shape.number("GlueNumberOfWorkers"),
        snapshot_hours=shape.number("SnapshotRetentionHours"),
        raw_retention_days=shape.number("RawRetentionDays"),
        rejected_retention_days=shape.number("RejectedRetentionDays"),
        noncurrent_days=shape.noncurrent_days("CuratedZoneBucket"),
        log_retention_days=shape.number("LogRetentionDays"),
        customer_keys=int(shape.holds("HasKmsKey")),
        alarm_metrics=sum(map(_metrics_watched, shape.resources("AWS::CloudWatch::Alarm"))),
        function_metrics=len(metrics[_FUNCTION]),
        audit_metrics=len(metrics[_AUDIT]),
        export_metrics=len(metrics[_EXPORT]),
        job_metrics=len(metrics[""]),
        dashboards=sum(1 for _ in shape.resources("AWS::CloudWatch::Dashboard")),
    )


class _Loader(yaml.SafeLoader):
    """YAML with the short forms of CloudFormation's functions."""


def _short_form(loader: yaml.SafeLoader, suffix: str, node: yaml.Node) -> dict[str, Any]:
    if isinstance(node, yaml.SequenceNode):
        value: Any = loader.construct_sequence(node, deep=True)
    elif isinstance(node, yaml.MappingNode):
        value = loader.construct_mapping(node, deep=True)
    else:
        value = loader.construct_scalar(node)  # type: ignore[arg-type] # no fourth kind of node
    return {suffix: value}


_Loader.add_multi_constructor("!", _short_form)


@cache
def _read(template: Path) -> dict[str, Any]:
    return dict(yaml.load(template.read_text(), _Loader))  # noqa: S506 - a SafeLoader


class _Shape:
    """The template with parameters put in, as far as a bill asks."""

    def __init__(self, template: Path, values: Mapping[str, str]) -> None:
        self.template = _read(template)
        self._declared = self.template["Parameters"]
        defaults = {name: str(entry["Default"]) for name, entry in self._declared.items()}
        self._values = defaults | {
            name: value for name, value in values.items() if name in self._declared
        }

    def check(self, given: Mapping[str, str]) -> None:
        """Refuses what CloudFormation would refuse."""
        for name, value in given.items():
            entry = self._declared.get(name)
            if entry is None:
                raise OperationError(
                    f"{name} is no parameter of template.yaml; {len(self._declared)} are: "
                    f"{', '.join(sorted(self._declared))}"
                )
            allowed = [str(item) for item in entry.get("AllowedValues", [])]
            wrong = (
                (allowed and value not in allowed)
                or not re.search(entry.get("AllowedPattern", ""), value)
                or (entry["Type"] == "Number" and not _is_within(entry, value))
            )
            if wrong:
                bounds = {
                    key: entry[key]
                    for key in ("AllowedValues", "AllowedPattern", "MinValue", "MaxValue")
                    if key in entry
                }
                raise OperationError(f"{name}={value} is not allowed by template.yaml: {bounds}")

    def text(self, parameter: str) -> str:
        return self._values[parameter]

    def number(self, parameter: str) -> int:
        return int(self._values[parameter])

    def memory(self, function: str) -> int:
        return int(self._resolved(self.template["Resources"][function]["Properties"]["MemorySize"]))

    def noncurrent_days(self, bucket: str) -> int:
        rules = self.template["Resources"][bucket]["Properties"]["LifecycleConfiguration"]["Rules"]
        return max(
            int(rule["NoncurrentVersionExpiration"]["NoncurrentDays"])
            for rule in rules
            if "NoncurrentVersionExpiration" in rule
        )

    def holds(self, condition: str) -> bool:
        """Whether one of the template's conditions is true with these parameters."""
        return self._is_true(self.template["Conditions"][condition])

    def resources(self, kind: str) -> Iterator[dict[str, Any]]:
        """Properties of the resources of a type that are made."""
        for resource in self.template["Resources"].values():
            made = "Condition" not in resource or self.holds(resource["Condition"])
            if resource["Type"] == kind and made:
                yield self._decided(resource["Properties"])

    def own_metrics(self) -> dict[str, set[str]]:
        """Names of the metrics in the stack's namespace that filters make or someone looks at, by
        the function that emits them."""
        names: dict[str, set[str]] = {name: set() for name in (_FUNCTION, _AUDIT, _EXPORT, "")}
        for metric_filter in self.resources("AWS::Logs::MetricFilter"):
            for transformation in metric_filter["MetricTransformations"]:
                names[""].add(transformation["MetricName"])
        for alarm in self.resources("AWS::CloudWatch::Alarm"):
            for metric in _metrics_of(alarm):
                if _NAMESPACE in str(metric.get("Namespace")):
                    dimensions = {
                        item["Name"]: item["Value"] for item in metric.get("Dimensions", [])
                    }
                    names.setdefault(dimensions.get("service", ""), set()).add(metric["MetricName"])
        for dashboard in self.resources("AWS::CloudWatch::Dashboard"):
            for name, service in _IN_DASHBOARD.findall(str(dashboard["DashboardBody"])):
                names.setdefault(service, set()).add(name)
        return names

    def _decided(self, value: Any) -> Any:
        """A value with every !If in it decided, and what is then left out left out."""
        if isinstance(value, dict):
            if value.keys() == {"If"}:
                condition, then, otherwise = value["If"]
                return self._decided(then if self.holds(condition) else otherwise)
            decided = {key: self._decided(item) for key, item in value.items()}
            return {key: item for key, item in decided.items() if item != _NO_VALUE}
        if isinstance(value, list):
            items = [self._decided(item) for item in value]
            return [item for item in items if item != _NO_VALUE]
        return value

    def _resolved(self, value: Any) -> Any:
        return self._values[value["Ref"]] if isinstance(value, dict) else value

    def _is_true(self, condition: Any) -> bool:
        [(function, value)] = condition.items()
        match function:
            case "Condition":
                return self.holds(value)
            case "Equals":
                return len({str(self._resolved(side)) for side in value}) == 1
            case "Not":
                return not self._is_true(value[0])
            case "And":
                return all(map(self._is_true, value))
            case "Or":
                return any(map(self._is_true, value))
        raise ValueError(f"a condition of template.yaml uses !{function}")


def _is_within(entry: Mapping[str, Any], value: str) -> bool:
    if not re.fullmatch(r"-?\d+", value):
        return False
    return bool(entry.get("MinValue", 0) <= int(value) <= entry.get("MaxValue", float("inf")))


def _metrics_of(alarm: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The metrics of an alarm, be it on one or on an expression; a query counts as one."""
    if "Metrics" not in alarm:
        return [dict(alarm)]
    return [
        entry["MetricStat"]["Metric"] if "MetricStat" in entry else {}
        for entry in alarm["Metrics"]
        if "MetricStat" in entry or "SELECT " in str(entry["Expression"])
    ]


def _metrics_watched(alarm: Mapping[str, Any]) -> int:
    return len(_metrics_of(alarm))
