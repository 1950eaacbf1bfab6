"""Rules at work: matching, the Kinesis action, the error action, limits and metrics."""

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest

from local.api import ApiError
from local.deployment.provider import DeploymentError
from local.kinesis.streams import Streams
from local.rules.engine import MAX_PAYLOAD_BYTES, Inbound, Retry, RuleEngine
from local.rules.resources import TopicRuleProvider, parse_rule
from tests.conformance import iot_pages as pages

NOW = 1_795_503_600.0  # 2026-11-24T07:00:00Z
SQL = "SELECT encode(*, 'base64') AS payload_b64, topic() AS topic FROM 'dt/+/+/telemetry'"


def properties(sql: str = SQL, **changes: Any) -> dict[str, Any]:
    """A rule's properties as the template has them."""
    payload = {
        "AwsIotSqlVersion": "2016-03-23",
        "Sql": sql,
        "RuleDisabled": False,
        "Actions": [
            {
                "Kinesis": {
                    "StreamName": "telemetry",
                    "PartitionKey": "${topic(3)}",
                    "RoleArn": "arn:aws:iam::123456789012:role/r",
                }
            }
        ],
        "ErrorAction": {
            "S3": {
                "BucketName": "failed",
                "Key": 'iot/${parse_time("yyyy/MM/dd/HH", timestamp())}/${newuuid()}.json',
                "RoleArn": "arn:aws:iam::123456789012:role/r",
            }
        },
    }
    return {"TopicRulePayload": payload | changes}


class Stream:
    """A Kinesis that fails as told: `errors` are raised one after the other, then it succeeds."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.records: list[tuple[str, bytes]] = []
        self.calls = 0

    def put_record(self, *, StreamName: str, Data: bytes, PartitionKey: str) -> None:
        assert StreamName == "telemetry"
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        self.records.append((PartitionKey, Data))


class Bucket:
    """An S3 that keeps objects, or fails as told."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.objects: dict[str, bytes] = {}

    def put_object(self, *, Bucket: str, Key: str, Body: bytes) -> None:
        assert Bucket == "failed"
        if self.error is not None:
            raise self.error
        self.objects[Key] = Body


def engine_with(
    kinesis: Any,
    s3: Any = None,
    sleep: Callable[[float], None] = lambda _: None,
    **changes: Any,
) -> RuleEngine:
    """An engine with one deployed rule, `telemetry`."""
    engine = RuleEngine(kinesis, s3 or Bucket(), lambda: NOW, sleep, Retry(attempts=4))
    provider = TopicRuleProvider(engine)
    provider.create("Rule", "stack-Rule-1", {"RuleName": "telemetry", **properties(**changes)})
    return engine


def metrics(engine: RuleEngine) -> dict[str, float]:
    """Metric and rule (and action) to sum."""
    return {
        "/".join((datum.name, *datum.dimensions.values())): sum(datum.values)
        for datum in engine.take_metrics()
    }


THROTTLED = ApiError("ProvisionedThroughputExceededException", "slow down")
MISSING = ApiError("ResourceNotFoundException", "no such stream")


@pytest.mark.documented(pages.KINESIS_ACTION)
def test_a_message_of_a_matching_topic_becomes_one_record_of_its_device() -> None:
    stream = Stream()
    engine = engine_with(stream)
    engine.handle(Inbound("dt/fleet/d1/telemetry", b"\xff"))
    ((key, data),) = stream.records
    assert key == "d1"
    assert json.loads(data) == {"payload_b64": "/w==", "topic": "dt/fleet/d1/telemetry"}
    assert metrics(engine) == {"TopicMatch/telemetry": 1, "Success/telemetry/Kinesis": 1}


@pytest.mark.documented(pages.FROM)
def test_a_message_of_another_topic_goes_nowhere_and_is_counted() -> None:
    stream = Stream()
    engine = engine_with(stream)
    engine.handle(Inbound("dt/fleet/d1/status", b"{}"))
    assert (stream.records, metrics(engine)) == ([], {})
    assert engine.counts() == {"received": 1, "unmatched": 1}


@pytest.mark.documented(pages.BASIC_INGEST)
def test_basic_ingest_runs_the_named_rule_without_the_prefix_in_its_topic() -> None:
    stream = Stream()
    engine = engine_with(stream)
    engine.handle(Inbound("$aws/rules/telemetry/dt/fleet/d1/telemetry", b"{}"))
    ((key, data),) = stream.records
    assert key == "d1"
    assert json.loads(data)["topic"] == "dt/fleet/d1/telemetry"


@pytest.mark.documented(pages.TOPIC)
def test_topic_counts_the_levels_of_basic_ingest_from_behind_the_rules_name() -> None:
    stream = Stream()
    provider = TopicRuleProvider(engine := RuleEngine(stream, Bucket(), lambda: NOW))
    sql = "SELECT topic() AS whole, topic(3) AS third FROM 'Buildings/#'"
    provider.create("Rule", "r", {"RuleName": "BuildingManager", **properties(sql)})
    rest = "Buildings/Building5/Floor2/Room201/Lights"
    engine.handle(Inbound(f"$aws/rules/BuildingManager/{rest}", b"{}"))
    ((key, data),) = stream.records
    assert (key, json.loads(data)) == ("Floor2", {"whole": rest, "third": "Floor2"})


@pytest.mark.documented(pages.BASIC_INGEST)
def test_a_rule_without_from_is_reached_by_basic_ingest_alone() -> None:
    stream = Stream()
    engine = engine_with(stream, sql="SELECT encode(*, 'base64') AS payload_b64")
    engine.handle(Inbound("dt/fleet/d1/telemetry", b"{}"))
    assert stream.records == []
    engine.handle(Inbound("$aws/rules/telemetry/dt/fleet/d1/telemetry", b"{}"))
    assert stream.records == [("d1", b'{"payload_b64":"e30="}')]


@pytest.mark.documented(pages.BASIC_INGEST)
@pytest.mark.parametrize("disabled", [False, True])
def test_basic_ingest_to_a_rule_that_is_missing_or_disabled_is_rule_not_found(
    disabled: bool,
) -> None:
    engine = engine_with(Stream(), RuleDisabled=disabled)
    name = "telemetry" if disabled else "other"
    engine.handle(Inbound(f"$aws/rules/{name}/dt/fleet/d1/telemetry", b"{}"))
    assert metrics(engine) == {f"RuleNotFound/{name}": 1}


@pytest.mark.documented(pages.TOPIC_RULE)
def test_a_disabled_rule_does_nothing() -> None:
    stream = Stream()
    engine = engine_with(stream, RuleDisabled="true")
    engine.handle(Inbound("dt/fleet/d1/telemetry", b"{}"))
    assert stream.records == []


@pytest.mark.documented(pages.RULES)
def test_every_matching_rule_gets_the_message() -> None:
    stream = Stream()
    engine = engine_with(stream)
    TopicRuleProvider(engine).create("Other", "stack-Other-1", properties("SELECT * FROM 'dt/#'"))
    engine.handle(Inbound("dt/fleet/d1/telemetry", b"{}"))
    assert len(stream.records) == 2


@pytest.mark.documented(pages.RULE_ACTIONS)
def test_a_throttled_put_is_tried_again_after_growing_waits() -> None:
    waits: list[float] = []
    stream = Stream(THROTTLED, ConnectionError("reset"), THROTTLED)
    bucket = Bucket()
    engine = engine_with(stream, bucket, waits.append)
    engine.handle(Inbound("dt/fleet/d1/telemetry", b"{}"))
    assert len(stream.records) == 1
    assert bucket.objects == {}
    assert waits == [0.05, 0.1, 0.2]


@pytest.mark.documented(pages.ERROR_ACTION)
def test_an_error_that_trying_again_cannot_help_goes_to_the_error_action_at_once() -> None:
    stream, bucket = Stream(MISSING), Bucket()
    engine = engine_with(stream, bucket)
    engine.handle(Inbound("dt/fleet/d1/telemetry", b"{}"))
    assert stream.calls == 1
    assert len(bucket.objects) == 1


@pytest.mark.documented(pages.ERROR_ACTION)
def test_the_error_action_gets_the_documented_record_with_the_whole_payload() -> None:
    stream, bucket = Stream(*[THROTTLED] * 4), Bucket()
    engine = engine_with(stream, bucket)
    payload = bytes(range(256))
    engine.handle(Inbound("dt/fleet/d1/telemetry", payload, "d1", "certificate-1"))
    ((key, body),) = bucket.objects.items()
    assert key.startswith("iot/2026/11/24/07/")
    record = json.loads(body)
    failure = record["failures"][0]
    assert base64.b64decode(record.pop("base64OriginalPayload")) == payload
    assert len(record.pop("cloudwatchTraceId")) == 36
    assert "slow down" in failure.pop("errorMessage")
    assert record == {
        "ruleName": "telemetry",
        "topic": "dt/fleet/d1/telemetry",
        "clientId": "d1",
        "sourceIp": "127.0.0.1",
        "failures": [{"failedAction": "KinesisAction", "failedResource": "telemetry"}],
    }
    assert metrics(engine) == {
        "TopicMatch/telemetry": 1,
        "Failure/telemetry/Kinesis": 1,
        "ErrorActionSuccess/telemetry": 1,
    }


@pytest.mark.documented(pages.ERROR_ACTION)
def test_two_actions_of_a_rule_that_fail_are_told_in_one_record() -> None:
    bucket = Bucket()
    actions = [
        {"Kinesis": {"StreamName": name, "PartitionKey": "k", "RoleArn": "r"}}
        for name in ("first", "second")
    ]
    engine = engine_with(Streams(lambda: int(NOW * 1000)), bucket, Actions=actions)
    engine.handle(Inbound("dt/fleet/d1/telemetry", b"{}"))
    ((_, body),) = bucket.objects.items()
    failures = json.loads(body)["failures"]
    assert [failure["failedResource"] for failure in failures] == ["first", "second"]


@pytest.mark.documented(pages.ERROR_ACTION)
def test_the_record_of_a_failure_and_the_message_that_reached_the_stream_have_one_trace() -> None:
    stream, bucket = Stream(), Bucket()
    actions = properties()["TopicRulePayload"]["Actions"]
    missing = {"Kinesis": {"StreamName": "${missing}", "PartitionKey": "k", "RoleArn": "r"}}
    sql = "SELECT traceid() AS trace FROM 'dt/#'"
    engine = engine_with(stream, bucket, sql=sql, Actions=[*actions, missing])
    engine.handle(Inbound("dt/fleet/d1/telemetry", b"{}"))
    ((_, data),), ((_, body),) = stream.records, bucket.objects.items()
    assert json.loads(data)["trace"] == json.loads(body)["cloudwatchTraceId"]


@pytest.mark.documented(pages.ERROR_ACTION)
def test_each_failed_message_has_an_object_of_its_own() -> None:
    bucket = Bucket()
    engine = engine_with(Stream(MISSING, MISSING), bucket)
    for _ in range(2):
        engine.handle(Inbound("dt/fleet/d1/telemetry", b"{}"))
    assert len(bucket.objects) == 2


@pytest.mark.documented(pages.METRICS)
def test_an_error_action_that_fails_is_counted_as_the_loss_that_it_is() -> None:
    engine = engine_with(Stream(MISSING), Bucket(ApiError("NoSuchBucket", "gone")))
    engine.handle(Inbound("dt/fleet/d1/telemetry", b"{}"))
    assert engine.counts()["lost"] == 1
    assert metrics(engine)["ErrorActionFailure/telemetry"] == 1


@pytest.mark.documented(pages.RULE_ACTIONS)
def test_without_an_error_action_a_failed_message_is_lost_and_counted() -> None:
    engine = engine_with(Stream(MISSING), ErrorAction=None)
    engine.handle(Inbound("dt/fleet/d1/telemetry", b"{}"))
    assert engine.counts()["lost"] == 1


@pytest.mark.documented(pages.ERROR_ACTION)
def test_an_sql_error_does_not_reach_the_error_action() -> None:
    stream, bucket = Stream(), Bucket()
    engine = engine_with(stream, bucket, sql="SELECT temp FROM 'dt/#'")
    engine.handle(Inbound("dt/fleet/d1/telemetry", b"not json"))
    assert (stream.calls, bucket.objects) == (0, {})
    assert metrics(engine) == {"TopicMatch/telemetry": 1, "ParseError/telemetry": 1}


@pytest.mark.documented(pages.KINESIS_ACTION)
def test_an_undefined_partition_key_fails_the_action_as_kinesis_refuses_it() -> None:
    streams = Streams(lambda: int(NOW * 1000))
    streams.create_stream(StreamName="telemetry", ShardCount=1)
    bucket = Bucket()
    action = {"Kinesis": {"StreamName": "telemetry", "PartitionKey": "${missing}", "RoleArn": "r"}}
    engine = engine_with(streams, bucket, Actions=[action])
    engine.handle(Inbound("dt/fleet/d1/telemetry", b"{}"))
    assert len(bucket.objects) == 1


BY_CLIENT = {
    "Kinesis": {"StreamName": "telemetry", "PartitionKey": "${clientid()}", "RoleArn": "r"}
}


@pytest.mark.documented(pages.FUNCTIONS)
def test_a_partition_key_may_be_the_client_id() -> None:
    engine = engine_with(stream := Stream(), Actions=[BY_CLIENT])
    engine.handle(Inbound("dt/fleet/d1/telemetry", b"{}", "gateway-1"))
    assert [key for key, _ in stream.records] == ["gateway-1"]


@pytest.mark.ours("mosquitto tells no subscriber who published; the order of each must be kept")
def test_where_the_client_is_not_known_the_topic_is_its_partition_key() -> None:
    engine = engine_with(stream := Stream(), Actions=[BY_CLIENT])
    engine.handle(Inbound("dt/fleet/d1/telemetry", b"{}"))
    assert [key for key, _ in stream.records] == ["dt/fleet/d1/telemetry"]
    assert "client_id" not in json.loads(stream.records[0][1])


@pytest.mark.documented(pages.QUOTAS)
def test_a_message_over_128_kib_is_dropped_and_counted() -> None:
    stream = Stream()
    engine = engine_with(stream)
    engine.handle(Inbound("dt/fleet/d1/telemetry", b"x" * (MAX_PAYLOAD_BYTES + 1)))
    assert stream.records == []
    assert engine.counts()["dropped_too_large"] == 1


@pytest.mark.ours("the least that AWS's limits leave room for, since none is stated")
def test_an_envelope_over_128_kib_is_dropped_and_counted_and_90_kb_always_fit() -> None:
    stream = Stream()
    engine = engine_with(stream)
    engine.handle(Inbound("dt/fleet/d1/telemetry", b"x" * 90_000))
    assert len(stream.records) == 1
    engine.handle(Inbound("dt/fleet/d1/telemetry", b"x" * 100_000))
    assert len(stream.records) == 1
    assert engine.counts()["dropped_too_large"] == 1
    assert metrics(engine)["ParseError/telemetry"] == 1


@pytest.mark.documented(pages.RULE_RESOURCE)
def test_a_changed_rule_takes_effect_and_a_deleted_one_stops() -> None:
    stream = Stream()
    engine = RuleEngine(stream, Bucket(), lambda: NOW)
    provider = TopicRuleProvider(engine)
    created = provider.create("Rule", "stack-Rule-1", properties())
    assert created.physical_id == "stack_Rule_1"
    changed = properties("SELECT topic() AS t FROM 'other/#'")
    provider.update("stack_Rule_1", properties(), changed)
    engine.handle(Inbound("dt/fleet/d1/telemetry", b"{}"))
    engine.handle(Inbound("other/x/d2", b"{}"))
    assert stream.records == [("d2", b'{"t":"other/x/d2"}')]
    provider.delete("stack_Rule_1", changed)
    engine.handle(Inbound("other/x/d2", b"{}"))
    assert len(stream.records) == 1


KINESIS = {"StreamName": "s", "PartitionKey": "k", "RoleArn": "r"}


@pytest.mark.ours("what would be ignored here must not look deployed")
@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"AwsIotSqlVersion": "2015-10-08"}, "AwsIotSqlVersion"),
        ({"AwsIotSqlVersion": None}, "AwsIotSqlVersion"),
        ({"Sql": "SELECT md5(a) AS v FROM 'a'"}, "md5()"),
        ({"Colour": "red"}, "Colour"),
        ({"Actions": []}, "Actions"),
        ({"Actions": [{"Lambda": {"FunctionArn": "f"}}]}, "Lambda"),
        ({"Actions": [{"Kinesis": KINESIS | {"BatchMode": True}}]}, "BatchMode"),
        ({"Actions": [{"Kinesis": {"StreamName": "s"}}]}, "PartitionKey"),
        ({"Actions": [{"Kinesis": KINESIS | {"PartitionKey": "${sha1(a)}"}}]}, "sha1()"),
        ({"ErrorAction": {"Sqs": {"QueueUrl": "q"}}}, "Sqs"),
        (
            {"ErrorAction": {"S3": {"BucketName": "b", "Key": "k", "CannedAcl": "private"}}},
            "CannedAcl",
        ),
    ],
)
def test_what_is_not_emulated_refuses_the_deployment_by_name(
    changes: dict[str, Any], named: str
) -> None:
    payload = properties()["TopicRulePayload"] | changes
    with pytest.raises(DeploymentError, match=named.replace("(", r"\(").replace(")", r"\)")):
        parse_rule("telemetry", payload)


@pytest.mark.documented(pages.CREATE_TOPIC_RULE)
def test_a_rules_name_has_no_hyphens() -> None:
    with pytest.raises(DeploymentError, match="letters, digits and underscores"):
        parse_rule("my-rule", properties()["TopicRulePayload"])


@pytest.mark.documented(pages.METRICS)
def test_a_throttled_rule_loses_the_message_and_counts_it() -> None:
    stream = Stream()
    engine = engine_with(stream)

    def refuse(rule: str) -> None:
        raise ApiError("ThrottlingException", f"{rule} runs too often")

    engine.admit = refuse
    engine.handle(Inbound("dt/fleet/d1/telemetry", b"{}"))

    assert stream.records == []
    assert engine.counts()["throttled"] == 1
    assert metrics(engine) == {"RuleExecutionThrottled/telemetry": 1}


@pytest.mark.documented(pages.BASIC_INGEST)
def test_a_rule_that_is_disabled_and_enabled_again_takes_what_comes_afterwards() -> None:
    stream = Stream()
    engine = engine_with(stream)
    engine.enable("telemetry", enabled=False)
    engine.handle(Inbound("dt/fleet/d1/telemetry", b"lost"))
    engine.enable("telemetry", enabled=True)
    engine.handle(Inbound("dt/fleet/d2/telemetry", b"taken"))
    assert [key for key, _ in stream.records] == ["d2"]
