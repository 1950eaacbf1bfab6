"""Every alarm reaches someone who finds it in the runbook; every dashboard can be drawn."""

import json
import re
from typing import Any

import pytest

from audit_lake.metrics import Metric as AuditMetric
from export_registry.metrics import Metric as ExportMetric
from ingest_telemetry.metrics import Metric
from local.dashboards.body import widgets as parsed_widgets
from local.event_input import made_of
from tests.template.conftest import MakeStack
from tests.template.expand import ROOT, TEMPLATE

RUNBOOK = ROOT / "docs" / "operations.md"
DASHBOARDS = ("PipelineDashboard", "OperationsDashboard")

CHOICES: list[dict[str, str]] = [
    {},
    {"AuditSchedule": ""},
    {"CrawlRawZone": "false"},
    {"SecondTopicFilter": "asset/tracker"},
]
GRID_WIDTH = 24
MOST_WIDGETS = 12


def alarms(stack: dict[str, Any]) -> dict[str, Any]:
    return {
        name: each["Properties"]
        for name, each in stack.items()
        if each["Type"] == "AWS::CloudWatch::Alarm"
    }


def event_rules(stack: dict[str, Any]) -> dict[str, Any]:
    return {
        name: each["Properties"]
        for name, each in stack.items()
        if each["Type"] == "AWS::Events::Rule"
    }


def budgets(stack: dict[str, Any]) -> dict[str, Any]:
    return {
        name: each["Properties"]
        for name, each in stack.items()
        if each["Type"] == "AWS::Budgets::Budget"
    }


@pytest.fixture(scope="module")
def watched_stack(make_stack: MakeStack) -> dict[str, Any]:
    """With everything that a parameter adds to what watches."""
    return make_stack(DisableMappingOnRejectedShare="true", MonthlyBudgetUsd="100")


def body(stack: dict[str, Any], dashboard: str) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(stack[dashboard]["Properties"]["DashboardBody"])
    return parsed


def widgets(stack: dict[str, Any], dashboard: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = body(stack, dashboard)["widgets"]
    return found


def test_every_alarm_tells_the_topic_when_it_goes_off_and_when_it_ends(
    stack: dict[str, Any],
) -> None:
    assert alarms(stack)
    for name, alarm in alarms(stack).items():
        assert alarm["AlarmActions"] == ["AlarmTopic"], name
        assert alarm["OKActions"] == ["AlarmTopic"], name
        assert alarm["AlarmDescription"], name
        assert alarm["TreatMissingData"] in ("notBreaching", "breaching"), name


def test_beside_each_alarm_is_said_what_missing_data_means_and_why(stack: dict[str, Any]) -> None:
    text = TEMPLATE.read_text()
    for name, alarm in alarms(stack).items():
        (comments,) = re.findall(rf"((?:^  #[^\n]*\n)+)^  {name}:$", text, re.MULTILINE) or [""]
        (said,) = re.findall(r"^  # Missing is (good|bad)\b", comments, re.MULTILINE) or [""]
        meant = {"notBreaching": "good", "breaching": "bad"}[alarm["TreatMissingData"]]
        assert said == meant, f"{name}: # Missing is {meant}: <why>"


def test_alarm_on_rejects_disables_the_mapping_only_where_a_parameter_says_so(
    stack: dict[str, Any], watched_stack: dict[str, Any]
) -> None:
    assert "PauseIngestionFunction" not in stack
    acting = {
        name: alarm["AlarmActions"][1:]
        for name, alarm in alarms(watched_stack).items()
        if alarm["AlarmActions"] != ["AlarmTopic"]
    }
    assert acting == {"RejectedShareAlarm": ["PauseIngestionFunction.Arn"]}
    permission = watched_stack["PauseIngestionPermission"]["Properties"]
    assert permission == {
        "Action": "lambda:InvokeFunction",
        "FunctionName": "PauseIngestionFunction.Arn",
        "Principal": "lambda.alarms.cloudwatch.amazonaws.com",
        "SourceAccount": "THE-ACCOUNT",
        "SourceArn": "RejectedShareAlarm.Arn",
    }


def test_budget_tells_the_topic_and_is_there_only_where_a_parameter_says_so(
    stack: dict[str, Any], watched_stack: dict[str, Any]
) -> None:
    assert budgets(stack) == {}
    (budget,) = budgets(watched_stack).values()
    assert budget["Budget"]["BudgetLimit"] == {"Amount": "100", "Unit": "USD"}
    told = [each["Subscribers"] for each in budget["NotificationsWithSubscribers"]]
    assert told == [[{"SubscriptionType": "SNS", "Address": "AlarmTopic"}]] * 3


def test_parameters_stop_consumption_and_curation(
    stack: dict[str, Any], make_stack: MakeStack
) -> None:
    stopped = make_stack(ConsumerEnabled="false", CurationEnabled="false")
    mapping = "IngestTelemetryFunctionTelemetry"
    assert stack[mapping]["Properties"]["Enabled"] == "true"
    assert stopped[mapping]["Properties"]["Enabled"] == "false"
    assert set(stack) - set(stopped) == {"CurationScheduleTrigger"}


def test_failed_runs_tell_the_topic(stack: dict[str, Any]) -> None:
    rules = event_rules(stack)
    watched = {
        (detail_type, state)
        for rule in rules.values()
        for detail_type in rule["EventPattern"]["detail-type"]
        for state in rule["EventPattern"]["detail"]["state"]
    }
    assert watched == {
        ("Glue Job State Change", "FAILED"),
        ("Glue Job State Change", "STOPPED"),
        ("Glue Job State Change", "TIMEOUT"),
        ("Glue Crawler State Change", "Failed"),
    }
    for rule in rules.values():
        assert [target["Arn"] for target in rule["Targets"]] == ["AlarmTopic"]


def test_message_of_a_failed_run_names_its_entry_in_the_runbook(stack: dict[str, Any]) -> None:
    detail = {"jobName": "j", "crawlerName": "j", "jobRunId": "jr_1", "state": "FAILED"}
    event = {"detail": detail | {"message": 'no "rows"'}}
    for name, rule in event_rules(stack).items():
        (target,) = rule["Targets"]
        message = json.loads(made_of(event, target, name))
        assert message["said"].startswith(f"{name}: ")
        assert message["said"].endswith("j ended as FAILED.")
        assert message["entry"] == f"docs/operations.md#{name.lower()}"
        assert message["event"] == event


def test_runbook_has_one_entry_per_alarm(watched_stack: dict[str, Any]) -> None:
    headings = re.findall(r"^### `(\w+)`$", RUNBOOK.read_text(), re.MULTILINE)
    watching = [*alarms(watched_stack), *event_rules(watched_stack), *budgets(watched_stack)]
    assert sorted(headings) == sorted(watching)


def test_every_output_is_named_for_operators(template: dict[str, Any]) -> None:
    text = RUNBOOK.read_text()
    assert not [name for name in template["Outputs"] if name not in text]


def test_runbook_entries_say_what_it_means_where_to_look_what_to_do_and_how_it_ends() -> None:
    alarms_section = RUNBOOK.read_text().partition("\n## Alarms\n")[2].partition("\n## ")[0]
    for entry in re.split(r"^### ", alarms_section, flags=re.MULTILINE)[1:]:
        parts = re.findall(r"^\*\*(Means|Look|Do|Ends)\*\* \S", entry, re.MULTILINE)
        assert parts == ["Means", "Look", "Do", "Ends"], entry.splitlines()[0]


@pytest.mark.parametrize(
    ("namespace", "metric"),
    [
        ("AWS/Lambda", "IteratorAge"),
        ("AWS/Lambda", "Errors"),
        ("AWS/Lambda", "Throttles"),
        ("AWS/Lambda", "OnFailureDestinationDeliveredEventCount"),
        ("AWS/Lambda", "DroppedEventCount"),
        ("AWS/IoT", "ParseError"),
        ("AWS/IoT", "RuleExecutionThrottled"),
        ("AWS/IoT", "ErrorActionFailure"),
        ("AWS/IoT", "ErrorActionSuccess"),
        ("AWS/Kinesis", "WriteProvisionedThroughputExceeded"),
        ("TelemetryLake/lake", "ReadingsRejected"),
        ("TelemetryLake/lake", "ObjectsSetAside"),
        ("TelemetryLake/lake", "CurationRuns"),
        ("TelemetryLake/lake", "AuditFindings"),
        ("TelemetryLake/lake", "AuditedHours"),
        ("TelemetryLake/lake", "RegistryExports"),
    ],
)
def test_loss_and_delay_are_watched(stack: dict[str, Any], namespace: str, metric: str) -> None:
    watched = {
        (each["Namespace"], each["MetricName"])
        for alarm in alarms(stack).values()
        for each in (
            [alarm]
            if "MetricName" in alarm
            else [one["MetricStat"]["Metric"] for one in alarm["Metrics"] if "MetricStat" in one]
        )
    }
    assert (namespace, metric) in watched


def test_alarms_look_back_no_further_than_cloudwatch_lets_them(stack: dict[str, Any]) -> None:
    # A day with periods below an hour, a week with longer ones.
    for name, alarm in alarms(stack).items():
        periods = [alarm["Period"]] if "Period" in alarm else []
        for each in alarm.get("Metrics", []):
            periods += [each["Period"]] if "Period" in each else []
            periods += [each["MetricStat"]["Period"]] if "MetricStat" in each else []
        assert len(set(periods)) == 1, name
        limit = 7 * 86_400 if periods[0] >= 3_600 else 86_400
        assert periods[0] * alarm["EvaluationPeriods"] <= limit, name


def test_alarms_over_several_metrics_return_one(stack: dict[str, Any]) -> None:
    for name, alarm in alarms(stack).items():
        returned = [each for each in alarm.get("Metrics", []) if each.get("ReturnData", True)]
        assert len(returned) == ("Metrics" in alarm), name
        ids = {each["Id"] for each in alarm.get("Metrics", [])}
        for each in returned:
            if not each["Expression"].startswith("SELECT"):
                used = set(re.findall(r"\b[a-z]\w*\b", each["Expression"]))
                assert used == ids - {each["Id"]}, name


@pytest.mark.parametrize(
    "metric", ["ParseError", "RuleExecutionThrottled", "ErrorActionSuccess", "ErrorActionFailure"]
)
def test_alarms_on_the_rule_watch_the_second_one_as_well(
    make_stack: MakeStack, metric: str
) -> None:
    for topic_filter, rules in (
        ("", ["TelemetryRule"]),
        ("asset/tracker", ["TelemetryRule", "SecondTelemetryRule"]),
    ):
        found = alarms(make_stack(SecondTopicFilter=topic_filter))
        watched = [
            each["MetricStat"]["Metric"]["Dimensions"][0]["Value"]
            for alarm in found.values()
            for each in alarm.get("Metrics", [])
            if "MetricStat" in each and each["MetricStat"]["Metric"]["MetricName"] == metric
        ]
        assert watched == rules


def test_alarm_that_fills_what_is_missing_does_not_go_by_the_newest_period_alone(
    stack: dict[str, Any],
) -> None:
    # https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/using-metric-math.html: with
    # metrics that come late its newest value is always the filling.
    filled = {
        name: (alarm["DatapointsToAlarm"], alarm["EvaluationPeriods"])
        for name, alarm in alarms(stack).items()
        for each in alarm.get("Metrics", [])
        if re.fullmatch(r"FILL\(\w+, 0\)( \+ FILL\(\w+, 0\))*", each.get("Expression", ""))
    }
    assert len(filled) == 4
    assert set(filled.values()) == {(1, 3)}


@pytest.mark.parametrize("dashboard", DASHBOARDS)
@pytest.mark.parametrize("chosen", CHOICES)
def test_charts_that_draw_the_rule_draw_the_second_one_where_there_is_one(
    make_stack: MakeStack, dashboard: str, chosen: dict[str, str]
) -> None:
    second = "SecondTelemetryRule" if "SecondTopicFilter" in chosen else "none"
    of_rule: dict[str, set[str]] = {"TelemetryRule": set(), second: set()}
    for widget in widgets(make_stack(**chosen), dashboard):
        for _, name, dimension, value, *_ in (
            row for row in widget["properties"].get("metrics", []) if row[0] == "AWS/IoT"
        ):
            # Messages to no rule are counted under a name that is none.
            if dimension == "RuleName" and name != "RuleNotFound":
                of_rule[value].add(f"{widget['properties']['title']}: {name}")
    assert of_rule[second] <= of_rule["TelemetryRule"]
    if second != "none":
        assert of_rule[second] == of_rule["TelemetryRule"]


@pytest.mark.parametrize("dashboard", DASHBOARDS)
def test_dashboard_fits_the_grid(stack: dict[str, Any], dashboard: str) -> None:
    found = widgets(stack, dashboard)
    assert 0 < len(found) <= MOST_WIDGETS
    cells = [
        (x, y)
        for each in found
        for x in range(each["x"], each["x"] + each["width"])
        for y in range(each["y"], each["y"] + each["height"])
    ]
    assert len(cells) == len(set(cells)), "widgets overlap"
    assert max(x for x, _ in cells) < GRID_WIDTH


@pytest.mark.parametrize("dashboard", DASHBOARDS)
def test_dashboard_begins_with_what_to_look_at_first(stack: dict[str, Any], dashboard: str) -> None:
    first = min(widgets(stack, dashboard), key=lambda each: (each["y"], each["x"]))
    assert "**Look first**" in first["properties"]["markdown"]


@pytest.mark.parametrize(
    "chosen",
    [
        {},
        {"AuditSchedule": "", "RegistryExportSchedule": ""},
        {"DisableMappingOnRejectedShare": "true"},
    ],
)
def test_the_latest_errors_are_those_of_every_log_group_of_the_stack(
    make_stack: MakeStack, chosen: dict[str, str]
) -> None:
    made = make_stack(**chosen)
    (widget,) = [each for each in widgets(made, "OperationsDashboard") if each["type"] == "log"]
    asked = re.findall(r"SOURCE '([^']+)'", widget["properties"]["query"])
    groups = {name for name, each in made.items() if each["Type"] == "AWS::Logs::LogGroup"}
    assert sorted(asked) == sorted(groups)


@pytest.mark.parametrize("dashboard", DASHBOARDS)
@pytest.mark.parametrize("chosen", CHOICES)
def test_the_local_cloud_can_draw_the_dashboard_whatever_is_chosen(
    make_stack: MakeStack, dashboard: str, chosen: dict[str, str]
) -> None:
    text = make_stack(**chosen)[dashboard]["Properties"]["DashboardBody"]
    assert len(parsed_widgets(text)) == len(json.loads(text)["widgets"])


@pytest.mark.parametrize(
    ("dashboard", "drawn"),
    [
        ("PipelineDashboard", ["ReadingsReceived", "ReadingsAccepted", "ReadingsRejected"]),
        ("PipelineDashboard", ["Reason", "ObjectsWritten", "CompleteThrough"]),
        ("PipelineDashboard", ["ActiveDevices", "SilentDevices"]),
        ("OperationsDashboard", ["IteratorAge", "Errors", "Throttles"]),
        ("OperationsDashboard", ["OnFailureDestinationDeliveredEventCount", "ParseError"]),
        ("OperationsDashboard", ["CurationRuns", "CurationSeconds", "SummarySeconds"]),
        ("OperationsDashboard", ["TriggeredRules", "IncomingBytes", "BytesWritten"]),
    ],
)
def test_dashboard_answers_its_question(
    stack: dict[str, Any], dashboard: str, drawn: list[str]
) -> None:
    text = stack[dashboard]["Properties"]["DashboardBody"]
    assert [name for name in drawn if name not in text] == []


def test_iterator_age_is_drawn_against_the_retention(make_stack: MakeStack) -> None:
    found = widgets(make_stack(StreamRetentionHours="200"), "OperationsDashboard")
    (widget,) = [each for each in found if "'IteratorAge'" in str(each["properties"])]
    limits = [each["value"] for each in widget["properties"]["annotations"]["horizontal"]]
    # The retention, and the age at which the mapping gives a record up.
    assert limits == [200, 144]


@pytest.mark.parametrize("dashboard", DASHBOARDS)
def test_metric_widgets_say_where_and_what(stack: dict[str, Any], dashboard: str) -> None:
    for widget in widgets(stack, dashboard):
        properties = widget["properties"]
        assert "markdown" in properties or properties["title"]
        if widget["type"] == "metric":
            assert properties["region"] == "THE-REGION"
            assert properties["view"] in ("timeSeries", "singleValue")
            assert properties["period"] % 60 == 0
            assert properties["metrics"]


@pytest.mark.parametrize("dashboard", DASHBOARDS)
def test_widgets_draw_metrics_that_someone_emits(stack: dict[str, Any], dashboard: str) -> None:
    filters = {
        transformation["MetricName"]
        for each in stack.values()
        if each["Type"] == "AWS::Logs::MetricFilter"
        for transformation in each["Properties"]["MetricTransformations"]
    }
    drawn = [
        metric
        for widget in widgets(stack, dashboard)
        for metric in widget["properties"].get("metrics", [])
        if isinstance(metric[0], str)
    ]
    assert drawn
    for namespace, name, *dimensions in drawn:
        labels = [each for each in dimensions if isinstance(each, str)]
        if namespace != "TelemetryLake/lake":
            assert namespace in ("AWS/Events", "AWS/IoT", "AWS/Kinesis", "AWS/Lambda")
            continue
        if name in filters:
            assert labels == []
        else:
            services: dict[str, str] = {
                str(each): service
                for metrics, service in (
                    (Metric, "ingest_telemetry"),
                    (AuditMetric, "audit_lake"),
                    (ExportMetric, "export_registry"),
                )
                for each in metrics
            }
            assert labels == ["service", services[name]]


def test_every_metric_of_ours_is_drawn(stack: dict[str, Any]) -> None:
    text = "".join(stack[each]["Properties"]["DashboardBody"] for each in DASHBOARDS)
    assert [
        metric for metric in (*Metric, *AuditMetric, *ExportMetric) if f'"{metric}"' not in text
    ] == []


def test_operations_dashboard_shows_every_alarm(stack: dict[str, Any]) -> None:
    (widget,) = [each for each in widgets(stack, "OperationsDashboard") if each["type"] == "alarm"]
    assert widget["properties"]["alarms"] == [f"{name}.Arn" for name in alarms(stack)]


def test_a_finding_is_told_for_a_day_and_silence_is_no_finding(stack: dict[str, Any]) -> None:
    alarm = alarms(stack)["AuditFindingsAlarm"]
    assert alarm["EvaluationPeriods"] * alarm["Period"] == 24 * 3600
    assert (alarm["DatapointsToAlarm"], alarm["TreatMissingData"]) == (1, "notBreaching")


def test_an_audit_that_stands_still_is_told_and_one_that_nobody_wants_is_not(
    make_stack: MakeStack,
) -> None:
    for schedule, missing in (("rate(1 hour)", "breaching"), ("", "notBreaching")):
        stack = make_stack(AuditSchedule=schedule)
        assert alarms(stack)["AuditStaleAlarm"]["TreatMissingData"] == missing


def test_an_export_that_stands_still_is_told_and_one_that_nobody_wants_is_not(
    make_stack: MakeStack,
) -> None:
    for schedule, missing in (("rate(1 hour)", "breaching"), ("", "notBreaching")):
        stack = make_stack(RegistryExportSchedule=schedule)
        assert alarms(stack)["RegistryExportStaleAlarm"]["TreatMissingData"] == missing
