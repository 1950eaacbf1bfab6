"""Which state an alarm's datapoints mean: the tables of CloudWatch's guide, and what follows."""

from typing import Any

import pytest

from local.alarms.definition import Alarm, AlarmNotSupportedError, alarm_of
from local.alarms.evaluation import datapoints, judge, window_end
from local.metrics import Datum
from tests.conformance import cloudwatch_pages

pytestmark = pytest.mark.documented(cloudwatch_pages.MISSING_DATA)

END = 1_795_694_400  # a whole minute
POLICIES = ("missing", "ignore", "breaching", "notBreaching")
CURRENT = "the state before"


def request(**settings: Any) -> dict[str, Any]:
    wanted: dict[str, Any] = {
        "AlarmName": "alarm",
        "Namespace": "Bench",
        "MetricName": "Errors",
        "Statistic": "Sum",
        "Period": 60,
        "ComparisonOperator": "GreaterThanThreshold",
        "Threshold": 0,
        "EvaluationPeriods": 3,
    }
    return {key: value for key, value in (wanted | settings).items() if value is not None}


def alarm(**settings: Any) -> Alarm:
    return alarm_of(request(**settings))


def math(expression: str, *names: str) -> Alarm:
    """An alarm on an expression over the sums of metrics, each named like its id."""
    metrics: list[dict[str, Any]] = [{"Id": "result", "Expression": expression}]
    for name in names:
        metric = {"Namespace": "Bench", "MetricName": name}
        stat = {"Metric": metric, "Period": 60, "Stat": "Sum"}
        metrics.append({"Id": name, "ReturnData": False, "MetricStat": stat})
    return alarm(MetricName=None, Namespace=None, Statistic=None, Period=None, Metrics=metrics)


def points(text: str) -> list[float | None]:
    """The guide's spelling: 0 does not breach, X does, - is missing."""
    return [{"0": 0.0, "X": 1.0, "-": None}[one] for one in text.split()]


def states(text: str, **settings: Any) -> list[str]:
    return [
        judge(alarm(TreatMissingData=policy, **settings), points(text), CURRENT, END).state
        for policy in POLICIES
    ]


def datum(name: str, value: float, at: float, **dimensions: str) -> Datum:
    return Datum("Bench", name, (value,), at, dimensions=dimensions)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0 - X - X", ["OK", "OK", "OK", "OK"]),
        ("- - - - 0", ["OK", "OK", "OK", "OK"]),
        ("- - - - -", ["INSUFFICIENT_DATA", CURRENT, "ALARM", "OK"]),
        ("0 X X - X", ["ALARM", "ALARM", "ALARM", "ALARM"]),
        ("- - X - -", ["ALARM", CURRENT, "ALARM", "OK"]),
    ],
)
def test_three_of_three_is_as_in_the_guides_table(text: str, expected: list[str]) -> None:
    assert states(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0 - X - X", ["ALARM", "ALARM", "ALARM", "ALARM"]),
        ("0 0 X 0 X", ["ALARM", "ALARM", "ALARM", "ALARM"]),
        ("0 - X - -", ["OK", "OK", "ALARM", "OK"]),
        ("- - - - 0", ["OK", "OK", "ALARM", "OK"]),
        ("- - - X -", ["ALARM", CURRENT, "ALARM", "OK"]),
    ],
)
def test_two_of_three_is_as_in_the_guides_table(text: str, expected: list[str]) -> None:
    assert states(text, DatapointsToAlarm=2) == expected


@pytest.mark.parametrize("text", ["- - - - X", "- - - X -"])
def test_too_few_datapoints_do_not_alarm_prematurely(text: str) -> None:
    missing = alarm(TreatMissingData="missing")
    assert judge(missing, points(text), "OK", END).state == "OK"


def test_missing_is_the_policy_of_an_alarm_that_names_none() -> None:
    assert judge(alarm(), points("- - - - -"), "OK", END).state == "INSUFFICIENT_DATA"


@pytest.mark.ours(
    "the guide's examples look at five periods for three; how many it is, is not told"
)
def test_evaluation_range_is_two_periods_longer_than_what_is_evaluated() -> None:
    assert len(datapoints(alarm(), [], END)) == 5


@pytest.mark.documented(cloudwatch_pages.EVALUATION)
def test_periods_end_with_the_minute_not_with_the_clocks_multiple_of_them() -> None:
    end = window_end(END + 3 * 60 + 59)
    assert end == END + 180
    five_minutes = alarm(Period=300, EvaluationPeriods=1)
    data = [datum("Errors", 1, end - 300), datum("Errors", 2, end - 1), datum("Errors", 4, end)]
    assert datapoints(five_minutes, data, end) == [None, None, 3.0]


@pytest.mark.documented(cloudwatch_pages.PUT_METRIC_ALARM)
@pytest.mark.parametrize(
    ("operator", "breaching"),
    [
        ("GreaterThanThreshold", [False, False, True]),
        ("GreaterThanOrEqualToThreshold", [False, True, True]),
        ("LessThanThreshold", [True, False, False]),
        ("LessThanOrEqualToThreshold", [True, True, False]),
    ],
)
def test_values_are_compared_with_the_threshold(operator: str, breaching: list[bool]) -> None:
    watching = alarm(ComparisonOperator=operator, Threshold=2)
    assert [watching.is_breaching(value) for value in (1.0, 2.0, 3.0)] == breaching


@pytest.mark.documented(cloudwatch_pages.PUT_METRIC_ALARM)
@pytest.mark.parametrize(
    ("statistic", "value"),
    [
        ({"Statistic": "Sum"}, 10.0),
        ({"Statistic": "Average"}, 2.5),
        ({"Statistic": "Minimum"}, 1.0),
        ({"Statistic": "Maximum"}, 4.0),
        ({"Statistic": "SampleCount"}, 4.0),
        ({"Statistic": None, "ExtendedStatistic": "p50"}, 2.0),
        ({"Statistic": None, "ExtendedStatistic": "p99"}, 4.0),
    ],
)
def test_statistic_is_taken_over_the_period(statistic: dict[str, Any], value: float) -> None:
    data = [datum("Errors", each, END - 1) for each in (1, 2, 3, 4)]
    assert datapoints(alarm(**statistic), data, END)[-1] == value


@pytest.mark.documented(cloudwatch_pages.PUT_METRIC_ALARM)
def test_a_metric_is_its_name_its_namespace_and_exactly_its_dimensions() -> None:
    watching = alarm(Dimensions=[{"Name": "Stack", "Value": "ours"}])
    data = [
        datum("Errors", 1, END - 1),
        datum("Errors", 2, END - 1, Stack="ours"),
        datum("Errors", 4, END - 1, Stack="theirs"),
        datum("Errors", 8, END - 1, Stack="ours", Other="too"),
        datum("Faults", 16, END - 1, Stack="ours"),
    ]
    assert datapoints(watching, data, END)[-1] == 2.0


@pytest.mark.documented(
    "https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/"
    "cloudwatch-metrics-insights-querylanguage.html"
)
def test_a_query_over_a_schema_takes_all_values_of_its_dimensions() -> None:
    text = 'SELECT SUM(Errors) FROM SCHEMA("Bench", Rule)'
    watching = alarm(
        MetricName=None,
        Namespace=None,
        Statistic=None,
        Period=None,
        Metrics=[{"Id": "result", "Period": 60, "Expression": text}],
    )
    data = [
        datum("Errors", 1, END - 1, Rule="a"),
        datum("Errors", 2, END - 1, Rule="b"),
        datum("Errors", 4, END - 1, Rule="a", Action="too"),
        datum("Errors", 8, END - 1),
    ]
    assert datapoints(watching, data, END)[-1] == 3.0


@pytest.mark.documented(cloudwatch_pages.METRIC_MATH)
@pytest.mark.parametrize(
    ("expression", "values", "result"),
    [
        ("IF(a > 100, 100 * FILL(b, 0) / a, 0)", {"a": 200, "b": 30}, 15.0),
        ("IF(a > 100, 100 * FILL(b, 0) / a, 0)", {"a": 200}, 0.0),
        ("IF(a > 100, 100 * FILL(b, 0) / a, 0)", {"a": 50, "b": 50}, 0.0),
        ("IF(a > 100, 100 * FILL(b, 0) / a, 0)", {"b": 50}, None),
        ("IF(a > 0 AND FILL(b, 0) == 0, 1, 0)", {"a": 1}, 1.0),
        ("IF(a > 0 AND FILL(b, 0) == 0, 1, 0)", {"a": 1, "b": 1}, 0.0),
        ("IF(a > 0 || b > 0, 1, 0)", {"a": 0, "b": 1}, 1.0),
        ("(a - b) * -2", {"a": 1, "b": 3}, 4.0),
        ("a / b", {"a": 1, "b": 0}, None),
    ],
)
def test_expression_combines_the_datapoints_of_a_period(
    expression: str, values: dict[str, float], result: float | None
) -> None:
    data = [datum(name, value, END - 1) for name, value in values.items()]
    assert datapoints(math(expression, "a", "b"), data, END)[-1] == result


@pytest.mark.ours("what would not be evaluated as on AWS is refused when it is deployed")
@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"ComparisonOperator": "GreaterThanUpperThreshold"}, "GreaterThanUpperThreshold"),
        ({"ThresholdMetricId": "band"}, "ThresholdMetricId"),
        ({"Statistic": None, "ExtendedStatistic": "tm90"}, "tm90"),
        ({"Unit": "Seconds"}, "Unit"),
        ({"Period": 10}, "Period 10"),
        ({"DatapointsToAlarm": 4}, "DatapointsToAlarm"),
        ({"TreatMissingData": "bad"}, "bad"),
        ({"AlarmActions": ["arn:aws:automate:us-east-1:ec2:stop"]}, "ec2:stop"),
        ({"Period": 3600, "EvaluationPeriods": 200}, "looks back"),
    ],
)
def test_setting_that_is_not_evaluated_here_is_refused(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(AlarmNotSupportedError, match=told):
        alarm(**settings)


@pytest.mark.ours("what would not be evaluated as on AWS is refused when it is deployed")
@pytest.mark.parametrize(
    ("expression", "told"),
    [
        ("RATE(a)", "RATE"),
        ("FILL(a, LINEAR)", "FILL"),
        ("a + c", "c, which is no Id"),
        ("SELECT MAX(Errors) FROM Bench", "is not emulated"),
        ("a +", "can.t be read"),
        ("ANOMALY_DETECTION_BAND(a, 2)", "ANOMALY_DETECTION_BAND"),
    ],
)
def test_expression_that_is_not_spoken_here_is_refused(expression: str, told: str) -> None:
    with pytest.raises(AlarmNotSupportedError, match=told):
        math(expression, "a")
