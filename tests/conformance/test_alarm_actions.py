"""What a changed alarm does: its state, its history, and who is told, once."""

import json
from collections.abc import Iterator

import pytest
from botocore.exceptions import ClientError

from local.api import ACCOUNT_ID, REGION
from tests.conformance import cloudwatch_pages
from tests.conformance.alarm_bench import AlarmBench, running_alarm_bench

pytestmark = pytest.mark.documented(cloudwatch_pages.EVALUATION)

FUNCTION = f"arn:aws:lambda:{REGION}:{ACCOUNT_ID}:function:answer"


@pytest.fixture
def bench() -> Iterator[AlarmBench]:
    with running_alarm_bench() as running:
        yield running


def shown(bench: AlarmBench) -> tuple[str, str]:
    (alarm,) = bench.cloudwatch.describe_alarms()["MetricAlarms"]
    return alarm["StateValue"], alarm["StateReason"]


@pytest.mark.documented(cloudwatch_pages.PUT_METRIC_ALARM)
def test_a_new_alarm_has_insufficient_data_and_a_changed_one_keeps_its_state(
    bench: AlarmBench,
) -> None:
    bench.alarm()
    assert shown(bench) == ("INSUFFICIENT_DATA", "Unchecked: Initial alarm creation")

    bench.measure(1)
    bench.later(0)
    bench.alarm(AlarmDescription="changed")

    assert shown(bench)[0] == "ALARM"


def test_alarm_goes_off_with_its_reason_and_ends(bench: AlarmBench) -> None:
    bench.alarm(TreatMissingData="notBreaching")
    bench.measure(2)

    assert bench.later(0) == "ALARM"
    assert shown(bench)[1] == (
        "Threshold Crossed: 1 out of the last 1 datapoint [2.0 (26/11/26 11:59:00)] was greater "
        "than the threshold (0.0) (minimum 1 datapoint for INSUFFICIENT_DATA -> ALARM transition)."
    )
    # Its one datapoint counts until it has left the evaluation range.
    assert [bench.later(60), bench.later(60), bench.later(60)] == ["ALARM", "ALARM", "OK"]
    assert shown(bench)[1] == (
        "Threshold Crossed: no datapoints were received for 1 period and 1 missing datapoint was "
        "treated as [NonBreaching]."
    )


@pytest.mark.documented(cloudwatch_pages.NOTIFICATIONS)
def test_topic_is_told_once_of_each_change(bench: AlarmBench) -> None:
    arn = bench.alarm(TreatMissingData="notBreaching", AlarmDescription="Something fails.")
    bench.later(0)
    bench.measure(1)
    for _ in range(5):
        bench.later(60)

    told = [(each["Subject"], json.loads(each["Message"])) for each in bench.messages()]

    assert [subject for subject, _ in told] == [
        f'{state}: "alarm" in {REGION}' for state in ("OK", "ALARM", "OK")
    ]
    message = told[1][1]
    assert message["AlarmArn"] == arn
    assert message["AlarmDescription"] == "Something fails."
    assert (message["OldStateValue"], message["NewStateValue"]) == ("OK", "ALARM")
    assert message["NewStateReason"].startswith("Threshold Crossed: 1 out of the last 1 datapoint")
    assert message["StateChangeTime"] == "2026-11-26T12:01:15.000+0000"


@pytest.mark.documented(cloudwatch_pages.PUT_METRIC_ALARM)
def test_alarm_whose_actions_are_disabled_changes_and_tells_nobody(bench: AlarmBench) -> None:
    bench.alarm(ActionsEnabled=False)
    bench.measure(1)

    assert bench.later(0) == "ALARM"
    assert bench.messages() == []


@pytest.mark.ours("no mail leaves the machine: its log says what would have")
def test_mail_is_a_line_in_the_log(bench: AlarmBench, caplog: pytest.LogCaptureFixture) -> None:
    bench.sns.subscribe(TopicArn=bench.topic, Protocol="email", Endpoint="ops@example.org")
    bench.alarm()
    bench.measure(1)
    with caplog.at_level("INFO"):
        bench.later(0)

    assert f'email to ops@example.org: ALARM: "alarm" in {REGION}' in caplog.messages


@pytest.mark.documented(cloudwatch_pages.LAMBDA_ACTIONS)
def test_function_is_invoked_if_its_policy_lets_alarms_do_so(bench: AlarmBench) -> None:
    arn = bench.alarm(AlarmActions=[FUNCTION], OKActions=[])
    bench.functions.policies[FUNCTION] = {
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"Service": "lambda.alarms.cloudwatch.amazonaws.com"},
                "Action": "lambda:InvokeFunction",
                "Resource": FUNCTION,
                "Condition": {"ArnLike": {"AWS:SourceArn": arn}},
            }
        ]
    }
    bench.measure(1)
    bench.later(0)

    ((function, how, event),) = bench.functions.invoked
    assert (function, how) == (FUNCTION, "Event")
    assert (event["source"], event["alarmArn"]) == ("aws.cloudwatch", arn)
    assert event["alarmData"]["alarmName"] == "alarm"
    assert event["alarmData"]["state"]["value"] == "ALARM"
    assert event["alarmData"]["state"]["timestamp"] == "2026-11-26T12:00:15.000+0000"
    assert event["alarmData"]["previousState"]["value"] == "INSUFFICIENT_DATA"


@pytest.mark.documented(cloudwatch_pages.LAMBDA_ACTIONS)
@pytest.mark.parametrize("principal", [None, "events.amazonaws.com"])
def test_function_whose_policy_says_nothing_of_alarms_is_not_invoked(
    bench: AlarmBench, principal: str | None
) -> None:
    bench.alarm(AlarmActions=[FUNCTION, bench.topic])
    if principal:
        statement = {"Effect": "Allow", "Principal": {"Service": principal}}
        bench.functions.policies[FUNCTION] = {"Statement": [statement]}
    bench.measure(1)
    bench.later(0)

    assert bench.functions.invoked == []
    summaries = [item["HistorySummary"] for item in bench.history(HistoryItemType="Action")]
    assert summaries == [
        f"Successfully executed action {bench.topic}",
        f"Failed to execute action {FUNCTION}",
    ]


@pytest.mark.documented(cloudwatch_pages.ALARM_HISTORY)
def test_history_tells_changes_and_actions_the_newest_first(bench: AlarmBench) -> None:
    bench.alarm("first")
    bench.alarm("second", Threshold=5)
    bench.measure(1)
    bench.alarms.evaluate()

    items = bench.history(AlarmName="first")

    assert [item["HistoryItemType"] for item in items] == ["Action", "StateUpdate"]
    change = items[1]
    assert change["HistorySummary"] == "Alarm updated from INSUFFICIENT_DATA to ALARM"
    assert change["Timestamp"].timestamp() == bench.now[0]
    new = json.loads(change["HistoryData"])["newState"]
    assert (new["stateValue"], new["stateReasonData"]["recentDatapoints"]) == ("ALARM", [1.0])


@pytest.mark.ours("an alarm that was put by hand is evaluated too, or said not to be")
def test_alarm_that_cannot_be_evaluated_is_told_in_the_log(
    bench: AlarmBench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.cloudwatch.put_metric_alarm(
        AlarmName="odd",
        Namespace="Bench",
        MetricName="Errors",
        Statistic="Sum",
        Period=10,
        ComparisonOperator="GreaterThanThreshold",
        Threshold=0,
        EvaluationPeriods=1,
    )

    assert bench.later(0) == "INSUFFICIENT_DATA"
    assert "alarm odd: Period 10 is no multiple of 60 seconds: it is not evaluated" in caplog.text


@pytest.mark.ours("an action that fails is no reason to forget the others, nor to be silent")
def test_topic_that_is_gone_is_told_in_the_history(bench: AlarmBench) -> None:
    bench.alarm()
    bench.sns.delete_topic(TopicArn=bench.topic)
    with pytest.raises(ClientError):
        bench.sns.publish(TopicArn=bench.topic, Message="anyone?")
    bench.measure(1)
    bench.later(0)

    (action, _) = bench.history()
    assert action["HistorySummary"] == f"Failed to execute action {bench.topic}"
