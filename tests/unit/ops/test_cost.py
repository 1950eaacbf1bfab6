"""The bill: quantities by hand, prices of the table, settings of the template."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import boto3
import pytest
from moto import mock_aws

from ops.__main__ import run
from ops.cost.advice import advice_of
from ops.cost.command import reckon
from ops.cost.load import Load, Way, batches_of
from ops.cost.prices import PRICES, read_prices
from ops.cost.reckoning import Bill, bill_of, firehose_bill_of
from ops.cost.schedules import runs_a_month
from ops.cost.settings import Settings, deployed_parameters, read_settings
from ops.errors import OperationError

TABLE = read_prices()
# 1,000 devices, each 1 KB a minute: 43.8 million messages a month.
FLEET = Load(
    messages_per_second=1000 / 60,
    payload_bytes=1024,
    readings_per_message=1,
    devices=1000,
    way=Way.MQTT,
    rejected_share=0.0,
    months_kept=1.0,
)
IDLE = replace(FLEET, messages_per_second=0.0, devices=0)


def settings(**parameters: str) -> Settings:
    return read_settings(parameters)


def usd(bill: Bill, service: str, what: str) -> float:
    [line] = [line for line in bill.lines if (line.service, line.what) == (service, what)]
    return line.usd


def bill(load: Load = FLEET, **parameters: str) -> Bill:
    return bill_of(load, settings(**parameters), TABLE)


def advice(load: Load = FLEET, **parameters: str) -> dict[str, float]:
    found = advice_of(load, settings(**parameters), TABLE)
    return {entry.setting: entry.saves_usd for entry in found}


def test_the_bill_of_a_fleet_is_what_one_reckons_by_hand() -> None:
    reckoned = bill()
    assert usd(reckoned, "IoT Core", "messages") == pytest.approx(43.80)
    assert usd(reckoned, "IoT Core", "rule") == pytest.approx(43.8 * 0.15)
    assert usd(reckoned, "IoT Core", "connections") == pytest.approx(1000 * 43_800 / 1e6 * 0.08)
    # 1,024 bytes are 1,368 as base64, and 1,662 with the envelope: two steps of 1 KB.
    assert usd(reckoned, "Kinesis", "data in") == pytest.approx(43.8e6 * 2048 / 2**30 * 0.08)
    assert usd(reckoned, "Kinesis", "data out, audit") == pytest.approx(
        43.8e6 * 1662 / 2**30 * 0.04
    )
    # Six of its seven days, of a month of 730 hours.
    assert usd(reckoned, "Kinesis", "retention to 7 days") == pytest.approx(
        43.8e6 * 1662 / 2**30 * 144 / 730 * 0.10
    )
    # 4 shards, and the window opens 0.24 s after the last one closed.
    objects = 4 * 2_628_000 / (30 + 0.24)
    assert usd(reckoned, "S3", "objects written") == pytest.approx(objects / 1000 * 0.005)
    assert usd(reckoned, "Glue", "crawler") == pytest.approx(8 * 365 / 12 * 2 / 6 * 0.44)
    assert reckoned.usd == pytest.approx(sum(line.usd for line in reckoned.lines))


def test_an_idle_stack_owes_exactly_what_is_called_fixed() -> None:
    none = {"AuditSchedule": "", "RegistryExportSchedule": ""}
    for mode in ("ON_DEMAND", "PROVISIONED"):
        idle = bill(IDLE, StreamMode=mode, **none)
        assert idle.usd == pytest.approx(idle.fixed_usd)
        assert bill(FLEET, StreamMode=mode, **none).fixed_usd == pytest.approx(idle.fixed_usd)


def test_a_provisioned_stream_pays_for_shards_and_for_keeping_more_than_a_day() -> None:
    provisioned = bill(StreamMode="PROVISIONED", ShardCount="3")
    assert usd(provisioned, "Kinesis", "shards") == pytest.approx(3 * 730 * 0.015)
    assert usd(provisioned, "Kinesis", "retention to 7 days") == pytest.approx(3 * 730 * 0.02)
    assert usd(provisioned, "Kinesis", "records in") == pytest.approx(43.8 * 0.014)
    longer = bill(StreamMode="PROVISIONED", ShardCount="3", StreamRetentionHours="898")
    assert usd(longer, "Kinesis", "retention beyond") == pytest.approx(
        43.8e6 * 1662 / 2**30 * 0.023
    )


def test_each_way_pays_for_what_it_passes() -> None:
    by_way = {way: bill(replace(FLEET, way=way)) for way in Way}
    assert by_way[Way.SDK].of("IoT Core") == 0
    assert by_way[Way.MQTT].usd - by_way[Way.BASIC_INGEST].usd == pytest.approx(43.80)
    # Bare, a message of 1 KB is one step of 1 KB.
    assert usd(by_way[Way.SDK], "Kinesis", "data in") == pytest.approx(43.8e6 / 2**20 * 0.08)


@pytest.mark.parametrize(
    ("payload", "publishes", "actions"), [(1, 1, 1), (5080, 1, 2), (5081, 2, 2), (3000, 1, 1)]
)
def test_iot_core_meters_payload_and_topic_and_then_the_envelope(
    payload: int, publishes: int, actions: int
) -> None:
    load = replace(FLEET, payload_bytes=payload)
    assert (load.metered_units, load.action_units) == (publishes, actions)


def test_batches_end_by_window_by_size_or_by_six_megabytes() -> None:
    by_window = batches_of(FLEET, settings())
    assert by_window.records == pytest.approx(FLEET.messages_per_second / 4 * 30.24)
    assert batches_of(FLEET, settings(BatchSize="10")).records == pytest.approx(10)
    busy = replace(FLEET, messages_per_second=4000.0)
    assert batches_of(busy, settings()).records == 6 * 1024 * 1024 // (545 + 2216)
    rare = replace(FLEET, messages_per_second=1 / 3600)
    assert batches_of(rare, settings()).records == pytest.approx(1, rel=0.01)


def test_a_batch_with_a_rejected_reading_writes_two_objects() -> None:
    def objects(share: float) -> float:
        load = replace(FLEET, rejected_share=share)
        return usd(bill(load), "S3", "objects written")

    assert objects(1.0) == pytest.approx(2 * objects(0.0))
    assert objects(0.0) < objects(0.001) < objects(0.01)


def test_zones_keep_what_their_retention_and_the_versions_keep() -> None:
    years = replace(FLEET, months_kept=24.0, rejected_share=0.1)
    month = 43.8e6 * 1024 * 107 / 188 / 2**30 * 0.023
    for zone, parameter, share in (
        ("raw zone", "RawRetentionDays", 1.0),
        ("rejected zone", "RejectedRetentionDays", 0.1),
    ):
        assert usd(bill(years), "S3", zone) == pytest.approx(24 * month * share)
        # 60 days, and 30 more as versions.
        expiring = bill_of(years, settings(**{parameter: "60"}), TABLE)
        assert usd(expiring, "S3", zone) == pytest.approx(90 / 365 * 12 * month * share)
    # Compacted once: what was replaced stays for 5 days as a snapshot and 30 as a version.
    curated = usd(bill(years), "S3", "curated zone")
    assert curated == pytest.approx((24 + 35 / 365 * 12) * month)


def test_firehose_rounds_each_record_up_to_five_kilobytes_and_has_no_stream() -> None:
    beside = firehose_bill_of(FLEET, settings(), TABLE, partitions=0)
    gb = 43.8e6 * 5 * 1024 / 2**30
    assert usd(beside, "Firehose", "data taken in") == pytest.approx(gb * 0.029)
    assert usd(beside, "Firehose", "conversion to Parquet") == pytest.approx(gb * 0.018)
    assert beside.of("Kinesis") == beside.of("Lambda") == 0
    assert beside.of("IoT Core") == bill().of("IoT Core")
    parted = firehose_bill_of(FLEET, settings(), TABLE, partitions=50)
    assert usd(parted, "Firehose", "partitioned objects") == pytest.approx(
        50 * 2_628_000 / 900 / 1000 * 0.005
    )
    assert parted.usd > beside.usd


def test_more_messages_never_cost_less() -> None:
    for way in Way:
        bills = [
            bill(replace(FLEET, messages_per_second=10.0**power, way=way)).usd
            for power in range(-4, 6)
        ]
        assert bills == sorted(bills)


def test_a_crawler_on_every_run_is_told_with_what_it_costs() -> None:
    assert advice()["CrawlRawZone"] == pytest.approx(35.69, abs=0.01)
    hourly = advice(CurationSchedule="cron(0 * * * ? *)")
    assert hourly["CrawlRawZone"] == pytest.approx(107.07, abs=0.01)
    assert "CrawlRawZone" not in advice(CrawlRawZone="false")


def test_shards_that_stand_idle_and_shards_that_are_missing_are_told() -> None:
    eight = advice(StreamMode="PROVISIONED", ShardCount="8")
    assert eight["ShardCount"] > 7 * 730 * 0.035
    busy = replace(FLEET, messages_per_second=5000.0)
    assert advice(busy, StreamMode="PROVISIONED", ShardCount="2")["ShardCount"] == 0
    assert "ShardCount" not in advice(StreamMode="PROVISIONED")


def test_one_object_per_message_is_told_with_what_it_costs() -> None:
    # $5.00 a million for the PUTs alone.
    assert advice(BatchSize="1")["BatchSize"] > 43.8 * 5
    window = advice(MaxBatchingWindowSeconds="1", ParallelizationFactor="10")
    assert window["MaxBatchingWindowSeconds"] > 0
    assert window["ParallelizationFactor"] > 0
    assert not {"BatchSize", "MaxBatchingWindowSeconds"} & advice().keys()


def test_no_advice_costs_anything_and_the_largest_saving_comes_first() -> None:
    for a_second in (0.0, 0.01, 1.0, 300.0, 20_000.0):
        for parameters in (
            {},
            {"BatchSize": "1", "GlueNumberOfWorkers": "10", "StreamRetentionHours": "8760"},
            {"StreamMode": "PROVISIONED", "ShardCount": "40", "MaxBatchingWindowSeconds": "300"},
        ):
            load = replace(FLEET, messages_per_second=a_second)
            found = advice_of(load, settings(**parameters), TABLE)
            saves = [entry.saves_usd for entry in found]
            assert saves == sorted(saves, reverse=True)
            assert len({entry.setting for entry in found}) == len(found)
            assert all(saving == 0 or saving >= 1 for saving in saves)


def test_a_run_that_the_jobs_timeout_would_end_is_told() -> None:
    huge = replace(FLEET, messages_per_second=1e6)
    texts = [entry.text for entry in advice_of(huge, settings(), TABLE)]
    assert any("the job ends after 2" in text for text in texts)


def test_workers_that_a_load_does_not_need_are_told() -> None:
    assert advice(GlueNumberOfWorkers="10")["GlueNumberOfWorkers"] > 0
    assert "GlueNumberOfWorkers" not in advice()


@pytest.mark.parametrize(
    ("schedule", "runs"),
    [
        ("", 0),
        ("rate(1 hour)", 730),
        ("rate(30 minutes)", 1460),
        ("rate(2 days)", 365 / 24),
        ("cron(0 */3 * * ? *)", 8 * 365 / 12),
        ("cron(0/15 * * * ? *)", 96 * 365 / 12),
        ("cron(30 4 * * ? *)", 365 / 12),
        ("cron(0 6-18/6 * * ? *)", 3 * 365 / 12),
        ("cron(0 9 1,15 * ? *)", 2),
        ("cron(0 9 L * ? *)", 1),
        ("cron(0 9 ? * 6#3 *)", 1),
        ("cron(0 9 ? JAN-JUN MON *)", 26 / 12),
        ("cron(0 9 ? * MON-FRI *)", 261 / 12),
        ("cron(0 9 ? * 2-6 *)", 261 / 12),
    ],
)
def test_a_schedule_is_counted_over_a_year(schedule: str, runs: float) -> None:
    assert runs_a_month(schedule) == pytest.approx(runs)


@pytest.mark.parametrize(
    "schedule", ["cron(0 9 * *)", "rate(0 hours)", "every hour", "cron(99 * * * ? *)", "cron(x)"]
)
def test_refuses_a_schedule_that_it_cannot_count(schedule: str) -> None:
    with pytest.raises(OperationError, match="count"):
        runs_a_month(schedule)


def test_every_price_has_its_page_and_is_asked_for() -> None:
    asked: set[str] = set()
    for way in Way:
        for parameters in (
            {"StreamRetentionHours": "200", "KmsKeyArn": f"arn:aws:kms:x:{'1' * 12}:key/a"},
            {"StreamMode": "PROVISIONED", "StreamRetentionHours": "200", "Architecture": "x86_64"},
        ):
            load = replace(FLEET, way=way)
            reckoned = reckon(load, settings(**parameters), TABLE, partitions=9)
            lines = (*reckoned.bill.lines, *reckoned.firehose.lines)
            asked |= {line.price for line in lines}
    assert asked == set(TABLE.prices)
    for price in TABLE.prices.values():
        assert price.page.startswith("https://aws.amazon.com/")
    assert (TABLE.region, TABLE.as_of) == ("us-east-1", "October 2026")


def test_the_table_says_of_each_price_whether_it_could_be_verified() -> None:
    text = PRICES.read_text()
    assert not TABLE["kinesis_on_demand_retention"].verified
    assert TABLE["iot_message"].verified
    assert text.count('checked = "verified"') + text.count('checked = "unverified"') == len(
        TABLE.prices
    )


def test_steps_of_a_price_are_paid_one_after_the_other() -> None:
    price = TABLE["iot_message"]
    assert price.of(1e9) == pytest.approx(1000)
    assert price.of(6e9) == pytest.approx(1000 + 4000 * 0.8 + 1000 * 0.7)
    assert TABLE["cloudwatch_dashboard"].of(5) == pytest.approx(6)
    assert TABLE["cloudwatch_metric"].of(50_000) == pytest.approx(3000 + 4000)


def test_own_prices_are_laid_over_the_table(tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text('region = "eu-west-1"\n[iot_message]\nusd = 2.0\n[glue_dpu]\nusd = 0.5\n')
    table = read_prices(own)
    assert table.region == "eu-west-1"
    # Its own price for all of it, no steps.
    assert table["iot_message"].of(6e9) == pytest.approx(12_000)
    assert (table["glue_dpu"].of(1), table["glue_dpu"].page) == (0.5, str(own))
    assert table["s3_put"] == TABLE["s3_put"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[iot_mesage]\nusd = 1\n", "iot_mesage"),
        ("iot_message = 1\n", "is no table"),
        ("[iot_message]\nusd = 'much'\n", "iot_message is incomplete"),
        ("[iot_message]\nsteps = [{up_to = 5, usd = 1}]\n", "do not cover"),
        ("[iot_message]\nper = 0\n", "do not cover"),
        ("[", "cannot be read"),
    ],
)
def test_refuses_own_prices_that_are_wrong(tmp_path: Path, text: str, says: str) -> None:
    own = tmp_path / "own.toml"
    own.write_text(text)
    with pytest.raises(OperationError, match=says):
        read_prices(own)


def test_settings_are_the_templates_and_a_stacks_values_lie_over_them() -> None:
    assert settings().stream_mode == "ON_DEMAND"
    deployed = {"StreamMode": "PROVISIONED", "ShardCount": "4", "OfAnOlderTemplate": "x"}
    assert read_settings({}, deployed).shard_count == 4
    both = read_settings({"ShardCount": "2"}, deployed)
    assert (both.stream_mode, both.shard_count) == ("PROVISIONED", 2)


def test_the_registry_export_pays_for_its_runs_its_devices_and_its_metrics() -> None:
    exporting, without = bill(), bill(RegistryExportSchedule="")
    # Hourly, 2,048 MB: 10 s, and 2,500 devices a second.
    assert usd(exporting, "Lambda", "registry export") == pytest.approx(730 * 20 * 0.0000133334)
    assert usd(exporting, "Lambda", "registry export, per device") == pytest.approx(
        730 * 2 * 1000 / 2500 * 0.0000133334
    )
    metrics = [
        usd(each, "CloudWatch", "metrics of jobs, audit and registry export")
        for each in (exporting, without)
    ]
    # RegistryExports and RegistryChanges.
    assert metrics[0] - metrics[1] == pytest.approx(2 * 0.30)
    assert "registry export" not in [line.what for line in without.lines]


def test_what_a_parameter_leaves_out_of_the_stack_is_not_billed() -> None:
    assert settings(AuditSchedule="").audit_runs == 0
    assert settings(CurationEnabled="false").curation_runs == 0
    assert bill(AuditSchedule="").usd < bill().usd
    assert settings(RegistryExportSchedule="").export_runs == 0
    assert settings(KmsKeyArn=f"arn:aws:kms:x:{'1' * 12}:key/a").customer_keys == 1


@pytest.mark.parametrize(
    "parameter",
    [
        "Shards=3",
        "ShardCount=0",
        "ShardCount=many",
        "StreamMode=FREE",
        "CurationSchedule=hourly",
        "ShardCount",
    ],
)
def test_refuses_a_parameter_that_the_template_would_not_take(
    parameter: str, capsys: pytest.CaptureFixture[str]
) -> None:
    load = ["--messages-per-second", "1", "--payload-bytes", "100"]
    try:
        code = run(["cost", *load, "--parameter", parameter])
    except SystemExit as ended:
        code = int(str(ended.code))
    assert code in {1, 2}
    assert parameter.partition("=")[0] in capsys.readouterr().err


def test_prints_each_service_both_totals_and_the_advice(
    capsys: pytest.CaptureFixture[str],
) -> None:
    load = ["--messages-per-second", str(1000 / 60), "--payload-bytes", "1024"]
    assert run(["cost", *load]) == 0
    out = capsys.readouterr().out
    for service in ("IoT Core", "Kinesis", "Lambda", "S3", "Glue", "CloudWatch", "Firehose"):
        assert service in out
    total = bill(replace(FLEET, devices=1000)).usd
    assert f"In all {total:,.2f} a month" in out
    assert f"{total / 43.8:,.2f} per million messages" in out
    assert "us-east-1" in out
    assert "October 2026" in out
    assert "CrawlRawZone: 243 crawls a month" in out
    assert "0.10 (unverified)" in out
    assert "Not verified against AWS's page: kinesis_on_demand_retention." in out


def test_as_json_the_lines_add_up_and_name_their_pages(capsys: pytest.CaptureFixture[str]) -> None:
    load = ["--messages-per-second", "5", "--payload-bytes", "300", "--way", "sdk"]
    assert run(["cost", *load, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    for column in (told["bill"], told["firehose"]):
        assert math.isclose(
            sum(line["usd"] for line in column["lines"]), column["usd_a_month"], abs_tol=0.001
        )
    assert all(line["page"].startswith("https://") for line in told["bill"]["lines"])
    assert told["settings"]["stream_mode"] == "ON_DEMAND"


def test_reckons_with_a_deployed_stacks_parameters(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with mock_aws():
        client = boto3.client("cloudformation", region_name="us-east-1")
        template = {
            "Parameters": {"StreamMode": {"Type": "String"}},
            "Resources": {"Queue": {"Type": "AWS::SQS::Queue"}},
        }
        client.create_stack(
            StackName="lake",
            TemplateBody=json.dumps(template),
            Parameters=[{"ParameterKey": "StreamMode", "ParameterValue": "PROVISIONED"}],
        )
        deployed = deployed_parameters(client, "lake")
        with pytest.raises(OperationError, match="--stack-name"):
            deployed_parameters(client, "elsewhere")
    assert read_settings({}, deployed).stream_mode == "PROVISIONED"
