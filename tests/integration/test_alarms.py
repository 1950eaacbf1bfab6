"""Each deployed alarm goes off when what it watches for happens, ends when it is over, and tells.

One small stack lives through ten bad days: real faults, by the stack's own parts, on a clock that
is moved. Which alarms there are is asked of the deployed stack, so an alarm without a provocation
here fails `test_every_deployed_alarm_is_provoked`: give it one in ONCE, or an act of `_live`.
"""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest

from ops.__main__ import run as ops
from tests.integration.alarm_scene import Scene, all_in, scene_of, wait_until
from tests.integration.deployed_stack import deployed_cloud

PERIOD: Final = 300
HALF_AN_HOUR: Final = 1_800
SIX_DAYS: Final = 6 * 86_400

# ------------------------------------------------------------------------------------ provocations


def _oversize_message(scene: Scene) -> None:
    """Base64 takes it over the rule's limit."""
    scene.publish(scene.device, scene.topic, b"x" * 100_000, "dropped_too_large")


def _message_to_no_rule(scene: Scene) -> None:
    scene.publish(
        scene.stranger, "$aws/rules/no_such_rule/dt/f/t/telemetry", b"{}", "rule_not_found"
    )


def _throttled_rule(scene: Scene) -> None:
    scene.cloud.inject("throttle", on="iot:RunRule")
    scene.publish(scene.device, scene.topic, b"{}", "throttled")


def _failed_delivery(scene: Scene) -> None:
    """The stream refuses for good; the message goes to the failed zone."""
    scene.cloud.inject("error", on="kinesis:PutRecord", code="AccessDeniedException", status=400)
    scene.publish(scene.device, scene.topic, b"{}", "failed_over")


def _failed_error_action(scene: Scene) -> None:
    """So does the failed zone."""
    scene.cloud.inject("error", on="kinesis:PutRecord", code="AccessDeniedException", status=400)
    scene.cloud.inject("error", on="s3:PutObject", where="/iot/", code="AccessDenied", status=403)
    scene.publish(scene.device, scene.topic, b"{}", "lost")


def _killed_function(scene: Scene) -> None:
    """The next batch's first attempt ends with its process."""
    scene.cloud.inject("kill", on="s3:PutObject", where="raw_data/", process="ingest")


def _too_much_for_a_shard_and_half_of_it_rejected(scene: Scene) -> None:
    """Two megabytes at once; of what the shard takes, half breaks the contract."""
    scene.put_readings(250, bad=250, filler=4_000)


# What happens in each of three periods in a row, for alarms that want it so.
ROUNDS: Final[dict[Callable[[Scene], None], set[str]]] = {
    _killed_function: {"IngestTelemetryErrorsAlarm"},
    _too_much_for_a_shard_and_half_of_it_rejected: {
        "StreamWritesThrottledAlarm",
        "RejectedShareAlarm",
    },
}
# What has to happen once, in the last of them.
ONCE: Final[dict[Callable[[Scene], None], set[str]]] = {
    _oversize_message: {"RuleParseErrorsAlarm"},
    _message_to_no_rule: {"RuleNotFoundAlarm"},
    _throttled_rule: {"RuleThrottledAlarm"},
    _failed_delivery: {"RuleDeliveriesFailedAlarm"},
    _failed_error_action: {"RuleErrorActionsFailedAlarm"},
}
IN_ROUNDS: Final = set().union(*ROUNDS.values(), *ONCE.values())
# On until what they watch has run for the first time, and when it has not for a day.
STALE: Final = {"CurationStaleAlarm", "AuditStaleAlarm", "RegistryExportStaleAlarm"}
OF_CURATION: Final = {"ObjectsSetAsideAlarm"}
OF_AUDIT: Final = {"AuditFindingsAlarm"}
OF_PAUSE: Final = {"StreamNotConsumedAlarm"}
OF_THROTTLES: Final = {"IngestTelemetryThrottlesAlarm", "StreamIteratorAgeAlarm"}
OF_AGE: Final = {"FailedRecordsAlarm", "LostRecordsAlarm"}
# The output that names the job, or the crawler's name, by the rule for events that watches it.
WATCHED_JOBS: Final = {
    "CurateTelemetryFailedRule": "CurateTelemetryJobName",
    "SummariseDevicesFailedRule": "SummariseDevicesJobName",
    "MaintainTablesFailedRule": "MaintainTablesJobName",
}
EVENT_RULES: Final = {*WATCHED_JOBS, "RawZoneCrawlFailedRule"}
PROVOKED: Final = IN_ROUNDS | STALE | OF_CURATION | OF_AUDIT | OF_PAUSE | OF_THROTTLES | OF_AGE

# ---------------------------------------------------------------------------------------- the days


def _live(scene: Scene) -> dict[str, Any]:
    """Everything in its order; what was seen on the way, by what it is for."""
    seen: dict[str, Any] = {"first": scene.ringing()}
    damaged = _begin_curation(scene)
    for number in range(3):
        # At its beginning, so that it is in the same of the periods that move with the minutes.
        scene.advance(PERIOD)
        for provoke in ROUNDS:
            provoke(scene)
        scene.wait_until_consumed()
        for provoke in ONCE if number == 2 else ():
            provoke(scene)
    scene.advance(PERIOD)
    seen["rounds"] = scene.ringing()
    seen |= _paused_by_the_alarm(scene)
    seen |= _curated_and_audited(scene, damaged)
    seen["failed runs"] = _stopped_runs_and_a_failed_crawl(scene)
    seen |= _paused_by_the_command(scene)
    seen |= _throttled(scene)
    seen |= _too_old(scene)
    seen["last"] = scene.ringing()
    return seen


def _begin_curation(scene: Scene) -> list[str]:
    """Start the job on an object that no one can read, and on one in each of the hours of which
    one is the first to be audited, whatever the minute; the keys of these."""
    s3, bucket = scene.client("s3"), scene.outputs["RawZoneBucketName"]
    scene.put_readings(10)
    wait_until(lambda: all_in(scene.put, scene.ingested()))
    (first, *_) = s3.list_objects_v2(Bucket=bucket, Prefix="raw_data/")["Contents"]
    copied = []
    for hours in (2, 3):
        hour = datetime.now(UTC) - timedelta(hours=hours)
        folder = f"raw_data/ingest_date={hour:%Y-%m-%d}/ingest_hour={hour:%H}"
        copied.append(f"{folder}/{first['Key'].rpartition('/')[2]}")
        source = {"Bucket": bucket, "Key": first["Key"]}
        s3.copy_object(Bucket=bucket, CopySource=source, Key=copied[-1])
    s3.put_object(Bucket=bucket, Key=f"{folder}/unreadable.parquet", Body=b"no Parquet")
    scene.client("glue").start_job_run(JobName=scene.outputs["CurateTelemetryJobName"])
    return copied


def _paused_by_the_alarm(scene: Scene) -> dict[str, Any]:
    """The alarm on rejects has disabled the mapping; a person enables it while it is still on."""
    wait_until(lambda: scene.mapping()["state"] == "Disabled", every_seconds=0.5)
    before = len(scene.put)
    scene.put_readings(50)
    while_paused = all_in(scene.put[before:], scene.ingested())
    assert ops(["resume", "ingestion", "--stack-name", scene.cloud.stack]) == 0
    scene.wait_until_consumed()
    still = scene.ringing()
    return {
        "read while paused by the alarm": while_paused,
        "arrived after that": all_in(scene.put, scene.ingested()),
        "on when it was enabled again": still,
        "left enabled": scene.mapping()["state"],
    }


def _curated_and_audited(scene: Scene, damaged: list[str]) -> dict[str, Any]:
    job = scene.outputs["CurateTelemetryJobName"]
    _wait_for_last_run(scene, job, "SUCCEEDED")
    scene.advance(PERIOD)
    curated = scene.ringing()
    for key in damaged:
        scene.client("s3").delete_object(Bucket=scene.outputs["RawZoneBucketName"], Key=key)
    # As their schedules would.
    for function in ("AuditLakeFunction", "ExportRegistryFunction"):
        _invoke(scene, function)
    scene.advance(PERIOD)
    return {"curated": curated, "audited": scene.ringing()}


def _invoke(scene: Scene, logical_id: str) -> None:
    found = scene.client("cloudformation").describe_stack_resource(
        StackName=scene.cloud.stack, LogicalResourceId=logical_id
    )["StackResourceDetail"]
    answer = scene.client("lambda").invoke(FunctionName=found["PhysicalResourceId"])
    assert "FunctionError" not in answer, answer["Payload"].read()


def _stopped_runs_and_a_failed_crawl(scene: Scene) -> dict[str, str]:
    """What did not end well, by the rule for events that has to tell of it."""
    glue = scene.client("glue")
    failed = {rule: scene.outputs[output] for rule, output in WATCHED_JOBS.items()}
    for job in failed.values():
        run_id = glue.start_job_run(JobName=job)["JobRunId"]
        glue.batch_stop_job_run(JobName=job, JobRunIds=[run_id])
        _wait_for_last_run(scene, job, "STOPPED")
    (crawler,) = glue.list_crawlers()["CrawlerNames"]
    scene.cloud.inject("error", on="s3:ListObjectsV2")
    glue.start_crawler(Name=crawler)
    wait_until(lambda: glue.get_crawler(Name=crawler)["Crawler"]["State"] == "READY")
    return failed | {"RawZoneCrawlFailedRule": crawler}


def _wait_for_last_run(scene: Scene, job: str, state: str) -> None:
    glue = scene.client("glue")
    wait_until(lambda: glue.get_job_runs(JobName=job)["JobRuns"][0]["JobRunState"] == state)


def _paused_by_the_command(scene: Scene) -> dict[str, Any]:
    """Records come in for half an hour, and nobody takes them."""
    assert ops(["pause", "ingestion", "--stack-name", scene.cloud.stack]) == 0
    scene.advance(900)
    for _ in range(2):
        scene.put_readings(10)
        scene.advance(900)
    return {"paused": scene.ringing()}


def _throttled(scene: Scene) -> dict[str, Any]:
    """What has waited for half an hour meets a function without concurrency, for a quarter more."""
    functions, name = scene.client("lambda"), scene.outputs["IngestTelemetryFunctionName"]
    functions.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=0)
    # A batch is as old as the last record in it.
    scene.jump(HALF_AN_HOUR)
    assert ops(["resume", "ingestion", "--stack-name", scene.cloud.stack]) == 0
    for _ in range(3):
        _wait_for_a_throttle(scene, _throttles(scene))
        scene.advance(PERIOD)
    ringing = scene.ringing()
    functions.delete_function_concurrency(FunctionName=name)
    scene.wait_until_consumed()
    return {"throttled": ringing, "arrived in the end": all_in(scene.put, scene.ingested())}


def _wait_for_a_throttle(scene: Scene, before: int) -> None:
    wait_until(lambda: _throttles(scene) > before)


def _throttles(scene: Scene) -> int:
    """How often the function was refused, as far as CloudWatch knows."""
    now = datetime.now(UTC) + timedelta(seconds=scene.moved_seconds)
    points = scene.client("cloudwatch").get_metric_statistics(
        Namespace="AWS/Lambda",
        MetricName="Throttles",
        Dimensions=[
            {"Name": "FunctionName", "Value": scene.outputs["IngestTelemetryFunctionName"]}
        ],
        StartTime=now - timedelta(days=1),
        EndTime=now + timedelta(minutes=1),
        Period=86_400,
        Statistics=["Sum"],
    )["Datapoints"]
    return int(sum(point["Sum"] for point in points))


def _too_old(scene: Scene) -> dict[str, Any]:
    """Records wait for more than six days; of one shard, not even the failed zone takes them."""
    assert ops(["pause", "ingestion", "--stack-name", scene.cloud.stack]) == 0
    scene.put_readings(1, shard=0)
    scene.put_readings(1, shard=1)
    scene.jump(SIX_DAYS + 3600)
    scene.cloud.inject("error", on="s3:PutObject", where="shardId-000000000000", times=0)
    assert ops(["resume", "ingestion", "--stack-name", scene.cloud.stack]) == 0
    scene.wait_until_consumed()
    scene.advance(PERIOD)
    ringing = scene.ringing()
    scene.jump(10 * PERIOD)
    return {"too old": ringing}


# ------------------------------------------------------------------------------------------- tests


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Scene, dict[str, Any]]]:
    folder = tmp_path_factory.mktemp("cloud")
    parameters = {"DisableMappingOnRejectedShare": "true", "MonthlyBudgetUsd": "50"}
    with deployed_cloud(folder, throttling=True, **parameters) as cloud:
        scene = scene_of(cloud)
        with scene.told() as messages:
            seen = _live(scene)
        yield scene, seen | {"told": messages}


def test_every_deployed_alarm_is_provoked(lived: tuple[Scene, dict[str, Any]]) -> None:
    scene, _ = lived
    assert set(scene.alarms) - PROVOKED == set(), "without a provocation: see this module's head"
    assert PROVOKED - set(scene.alarms) == set(), "provoked, and not deployed"


@pytest.mark.parametrize("alarm", sorted(PROVOKED))
def test_alarm_goes_off_and_ends(alarm: str, lived: tuple[Scene, dict[str, Any]]) -> None:
    scene, _ = lived
    changes = scene.changes(alarm)
    assert "ALARM" in changes, changes
    assert "OK" in changes[changes.index("ALARM") :], changes


@pytest.mark.parametrize("alarm", sorted(PROVOKED))
def test_topic_is_told_of_both(alarm: str, lived: tuple[Scene, dict[str, Any]]) -> None:
    scene, seen = lived
    told = [
        message["NewStateValue"]
        for each in seen["told"]
        if each.get("Subject", "").startswith(("ALARM", "OK"))
        and (message := json.loads(each["Message"]))["AlarmName"] == scene.alarms[alarm]
    ]
    assert told[-2:] == scene.changes(alarm)[-2:]


def test_every_deployed_rule_for_events_is_provoked(lived: tuple[Scene, dict[str, Any]]) -> None:
    scene, _ = lived
    assert scene.event_rules == EVENT_RULES


@pytest.mark.parametrize("rule", sorted(EVENT_RULES))
def test_topic_is_told_of_a_run_that_did_not_end_well(
    rule: str, lived: tuple[Scene, dict[str, Any]]
) -> None:
    _, seen = lived
    messages = [json.loads(each["Message"]) for each in seen["told"] if not each.get("Subject")]
    told = [each for each in messages if seen["failed runs"][rule] in str(each["event"])]
    assert [each["event"]["detail"]["state"] for each in told] in (["STOPPED"], ["Failed"])
    assert [each["entry"] for each in told] == [f"docs/operations.md#{rule.lower()}"]


def test_nothing_else_goes_off_meanwhile(lived: tuple[Scene, dict[str, Any]]) -> None:
    _, seen = lived
    assert seen["first"] == STALE
    assert seen["rounds"] - OF_CURATION == IN_ROUNDS | (seen["rounds"] & STALE)
    assert seen["audited"] >= OF_AUDIT
    assert not seen["audited"] & STALE
    assert seen["paused"] == OF_PAUSE | OF_AUDIT
    assert seen["throttled"] >= OF_THROTTLES
    assert seen["too old"] == OF_AGE | STALE
    assert seen["last"] == STALE


def test_alarm_on_rejects_disables_the_mapping_and_nothing_is_lost(
    lived: tuple[Scene, dict[str, Any]],
) -> None:
    _, seen = lived
    assert not seen["read while paused by the alarm"]
    assert seen["arrived after that"]
    assert seen["arrived in the end"]


def test_mapping_that_was_enabled_again_stays_so_while_the_alarm_is_on(
    lived: tuple[Scene, dict[str, Any]],
) -> None:
    _, seen = lived
    assert "RejectedShareAlarm" in seen["on when it was enabled again"]
    assert seen["left enabled"] == "Enabled"


def test_topic_is_told_once_how_to_go_on(lived: tuple[Scene, dict[str, Any]]) -> None:
    scene, seen = lived
    told = [each for each in seen["told"] if each.get("Subject", "").startswith("Ingestion paused")]
    (message,) = told
    command = f"python -m ops resume ingestion --stack-name {scene.cloud.stack}"
    assert command in message["Message"]


def test_budget_is_kept(lived: tuple[Scene, dict[str, Any]]) -> None:
    scene, _ = lived
    account = scene.outputs["AlarmTopicArn"].split(":")[4]
    (budget,) = scene.client("budgets").describe_budgets(AccountId=account)["Budgets"]
    assert budget["BudgetLimit"] == {"Amount": "50", "Unit": "USD"}
