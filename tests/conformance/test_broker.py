"""Device connections, against a real broker: who may connect, publish, read; what is kept."""

import base64
import dataclasses
import itertools
import json
import os
import resource
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from devices.__main__ import run as devices_command
from devices.behaviour import Habits, Period, plan_behaviour
from devices.connection import ConnectionRefused
from devices.fleet import Endpoint, FleetConfig, Shares, run_fleet
from devices.messages import plan_fleet
from devices.provisioning import DeviceCredentials
from devices.schedule import Clock, connected, publish
from local.intake.certificates import CertificateAuthority, write_private
from local.rules.engine import Inbound
from tests.conformance import iot_pages as pages
from tests.conformance.broker_bench import (
    COMMANDED_POLICY,
    CONNECTION_LOST,
    NOT_AUTHORIZED,
    TELEMETRY_POLICY,
    WAIT_SECONDS,
    Bench,
    running_bench,
)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with running_bench(tmp_path_factory.mktemp("broker")) as running:
        yield running


def payloads_of(bench: Bench, thing: str) -> list[bytes]:
    return [base64.b64decode(one["payload_b64"]) for one in bench.stream.of(thing)]


def topic(thing: str) -> str:
    return f"dt/fleet/{thing}/telemetry"


# Who may connect.


@pytest.mark.documented(pages.CERTIFICATES)
def test_a_device_without_a_certificate_cannot_connect(bench: Bench) -> None:
    with pytest.raises(ConnectionError):
        bench.device(None).connect()


@pytest.mark.documented(pages.CERTIFICATES)
def test_a_certificate_of_another_authority_cannot_connect(bench: Bench, tmp_path: Path) -> None:
    stranger = CertificateAuthority().issue_device()
    certificate, key = tmp_path / "c.pem", tmp_path / "k.pem"
    write_private(certificate, stranger.certificate_pem)
    write_private(key, stranger.private_key_pem)
    with pytest.raises(ConnectionError):
        bench.device(DeviceCredentials("stranger", "", certificate, key)).connect()


@pytest.mark.documented(pages.CERTIFICATE_STATUS)
def test_an_inactive_certificate_cannot_connect_until_it_is_activated(bench: Bench) -> None:
    (credentials,) = bench.register("switched")
    certificate_id = credentials.certificate_arn.rpartition("/")[2]
    for status, connects in (("INACTIVE", False), ("ACTIVE", True), ("REVOKED", False)):
        bench.iot.update_certificate(certificateId=certificate_id, newStatus=status)
        if connects:
            bench.device(credentials).connect().close()
        else:
            with pytest.raises(ConnectionError):
                bench.device(credentials).connect()


@pytest.mark.documented(pages.CONNECT)
def test_a_certificate_without_a_thing_or_a_policy_cannot_connect(bench: Bench) -> None:
    (credentials,) = bench.register("detached")
    bench.iot.detach_thing_principal(thingName="detached", principal=credentials.certificate_arn)
    with pytest.raises(ConnectionError):
        bench.device(credentials).connect()
    bench.register("detached")
    bench.iot.detach_policy(policyName="telemetry", target=credentials.certificate_arn)
    with pytest.raises(ConnectionError):
        bench.device(credentials).connect()


@pytest.mark.ours("AWS may take a moment; who calls the local cloud need not wait and try")
def test_a_device_can_connect_as_soon_as_its_registration_has_returned(bench: Bench) -> None:
    for number in range(3):
        thing = f"prompt-{number}"
        device = bench.device(bench.register(thing)[0]).connect()
        assert device.publish(topic(thing), b"{}") == 0
        device.close()


@pytest.mark.ours("a fleet of thousands connects, whatever the shell's limit of open files")
def test_the_broker_may_have_thousands_of_connections(bench: Bench) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(1_024, soft), hard))
    try:
        bench.intake.restart_broker()
        allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    # What it was started with: a process's limit is its parent's at that moment.
    assert allowed == 10_000 or allowed == hard < 10_000


def readings_of_the_access_list(bench: Bench) -> int:
    (log,) = bench.folder.rglob("broker.log")
    return log.read_text().count("Reloading config")


@pytest.mark.ours("a thousand devices are registered in a minute, and again in less")
def test_what_changes_nothing_for_the_broker_is_not_read_by_it(bench: Bench) -> None:
    bench.register("first-of-many")
    before = readings_of_the_access_list(bench)
    bench.register("first-of-many")
    assert readings_of_the_access_list(bench) == before
    bench.register("second-of-many")
    assert readings_of_the_access_list(bench) > before


@pytest.mark.documented(pages.OWN_KEY)
def test_a_certificate_made_from_a_signing_request_connects(bench: Bench, tmp_path: Path) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    pem = request.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()
    created = bench.iot.create_certificate_from_csr(certificateSigningRequest=pem, setAsActive=True)
    arn = created["certificateArn"]
    bench.iot.create_thing(thingName="own-key")
    bench.iot.attach_policy(policyName="telemetry", target=arn)
    bench.iot.attach_thing_principal(thingName="own-key", principal=arn)
    certificate, key_file = tmp_path / "c.pem", tmp_path / "k.pem"
    write_private(certificate, created["certificatePem"])
    write_private(
        key_file,
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        ).decode(),
    )
    bench.device(DeviceCredentials("own-key", arn, certificate, key_file)).connect().close()


# Where it may publish and read.


@pytest.mark.documented(pages.FUNCTIONS)
def test_a_message_arrives_with_its_publishers_thing_and_certificate(bench: Bench) -> None:
    (credentials,) = bench.register("known")
    device = bench.device(credentials).connect()
    assert device.publish(topic("known"), b"\x00\xff") == 0
    assert bench.stream.wait_for(lambda _: len(bench.stream.of("known")) == 1)
    device.close()
    (envelope,) = bench.stream.of("known")
    assert base64.b64decode(envelope["payload_b64"]) == b"\x00\xff"
    assert envelope["client_id"] == "known"
    assert envelope["principal"] == credentials.certificate_arn.rpartition("/")[2]


@pytest.mark.documented(pages.PUBLISH)
@pytest.mark.parametrize(
    "elsewhere",
    [
        "dt/fleet/victim/telemetry",
        "dt/fleet/impostor/status",
        "$aws/rules/telemetry/dt/fleet/victim/telemetry",
    ],
)
def test_a_device_cannot_publish_as_another_or_on_another_topic(
    bench: Bench, elsewhere: str
) -> None:
    bench.register("victim")
    device = bench.device(bench.register("impostor")[0]).connect()
    before = len(bench.stream.of("victim"))
    assert device.publish(elsewhere, b"{}") == NOT_AUTHORIZED
    # What was published later has arrived, so this would have.
    count = len(bench.stream.of("impostor"))
    assert device.publish(topic("impostor"), b"{}") == 0
    assert bench.stream.wait_for(lambda _: len(bench.stream.of("impostor")) == count + 1)
    assert len(bench.stream.of("victim")) == before
    device.close()


@pytest.mark.ours("AWS refuses the connection; mosquitto puts the certificate's name for the claim")
def test_a_device_that_claims_anothers_client_id_still_speaks_as_itself(bench: Bench) -> None:
    """So it takes over neither the other's connection nor its session, and not its name."""
    claimed = bench.device(bench.register("claimed")[0]).connect()
    device = bench.device(bench.register("claimant")[0], client_id="claimed").connect()
    assert device.publish(topic("claimed"), b"{}") == NOT_AUTHORIZED
    assert device.publish(topic("claimant"), b"{}") == 0
    assert bench.stream.wait_for(lambda _: len(bench.stream.of("claimant")) == 1)
    assert bench.stream.of("claimant")[0]["client_id"] == "claimant"
    assert claimed.publish(topic("claimed"), b"{}") == 0
    assert not claimed.is_gone
    claimed.close()
    device.close()


@pytest.mark.documented(pages.BASIC_INGEST)
def test_basic_ingest_reaches_the_rule_under_the_devices_own_topic(bench: Bench) -> None:
    device = bench.device(bench.register("basic")[0]).connect()
    assert device.publish("$aws/rules/telemetry/" + topic("basic"), b"{}") == 0
    assert bench.stream.wait_for(lambda _: len(bench.stream.of("basic")) == 1)
    (envelope,) = bench.stream.of("basic")
    assert (envelope["topic"], envelope["client_id"]) == (topic("basic"), "basic")
    device.close()


@pytest.mark.ours("AWS ends the connection; mosquitto grants the subscription and sends nothing")
def test_a_subscription_that_the_policy_forbids_brings_nothing(bench: Bench) -> None:
    reader = bench.device(bench.register("curious", policy="commanded")[0]).connect()
    assert reader.subscribe("cmd/somebody") == [1]
    reader.subscribe("cmd/curious")
    commander = bench.device(bench.register("commander", policy="commander")[0]).connect()
    commander.publish("cmd/somebody", b"not for you")
    commander.publish("cmd/curious", b"for you")
    assert reader.wait_for(lambda received: b"for you" in received)
    assert reader.received == [b"for you"]
    reader.close()
    commander.close()


@pytest.mark.documented(pages.PUBLISH)
def test_a_device_reads_only_what_its_policy_lets_it_read(bench: Bench) -> None:
    reader = bench.device(bench.register("reader", policy="commanded")[0]).connect()
    reader.subscribe("#")
    commander = bench.device(bench.register("commander", policy="commander")[0]).connect()
    assert commander.publish("cmd/somebody", b"not for you") in (0, 16)
    assert commander.publish("cmd/reader", b"for you") in (0, 16)
    assert reader.wait_for(lambda received: b"for you" in received)
    assert reader.received == [b"for you"]
    reader.close()
    commander.close()


@pytest.mark.documented(pages.POLICIES)
def test_a_policy_that_changes_holds_for_devices_that_are_connected(bench: Bench) -> None:
    bench.policies.create("P", "changing", {"PolicyDocument": TELEMETRY_POLICY})
    device = bench.device(bench.register("changed", policy="changing")[0]).connect()
    assert device.publish(topic("changed"), b"{}") == 0
    for _ in range(6):  # IoT keeps five versions of a policy
        bench.policies.update("changing", {}, {"PolicyDocument": COMMANDED_POLICY})
    assert device.publish(topic("changed"), b"{}") == NOT_AUTHORIZED
    device.close()


@pytest.mark.documented(pages.CERTIFICATE_STATUS)
def test_a_revoked_certificate_publishes_no_more_on_the_line_that_it_has(bench: Bench) -> None:
    (credentials,) = bench.register("revoked")
    device = bench.device(credentials).connect()
    bench.iot.update_certificate(
        certificateId=credentials.certificate_arn.rpartition("/")[2], newStatus="REVOKED"
    )
    assert device.publish(topic("revoked"), b"{}") != 0
    device.close()


# Limits and quality of service.


@pytest.mark.documented(pages.QUOTAS)
def test_a_payload_of_128_kib_is_taken_by_the_broker_and_a_larger_one_refused(
    bench: Bench,
) -> None:
    device = bench.device(bench.register("large")[0]).connect()
    before = bench.engine.counts().get("dropped_too_large", 0)
    assert device.publish(topic("large"), b"x" * 131_072) == 0
    assert device.publish(topic("large"), b"x" * 90_000) == 0
    # The larger one grew past the limit in the rule; the one of 90,000 bytes fits.
    assert bench.stream.wait_for(lambda _: len(bench.stream.of("large")) == 1)
    assert bench.engine.counts()["dropped_too_large"] == before + 1
    assert device.publish(topic("large"), b"x" * 133_000) == CONNECTION_LOST
    device.close()


@pytest.mark.documented(pages.QOS)
def test_messages_of_both_qualities_of_service_arrive(bench: Bench) -> None:
    device = bench.device(bench.register("qualities")[0]).connect()
    device.publish(topic("qualities"), b"0", qos=0)
    assert device.publish(topic("qualities"), b"1", qos=1) == 0
    assert bench.stream.wait_for(lambda _: len(bench.stream.of("qualities")) == 2)
    assert payloads_of(bench, "qualities") == [b"0", b"1"]
    device.close()


@pytest.mark.ours(
    "AWS knows no quality 2; mosquitto 2.0 forgets max_qos when it reads its access list"
)
def test_a_message_of_quality_2_is_taken_like_any_other(bench: Bench) -> None:
    device = bench.device(bench.register("demanding")[0]).connect()
    assert device.publish(topic("demanding"), b"2", qos=2) == 0
    assert bench.stream.wait_for(lambda _: payloads_of(bench, "demanding") == [b"2"])
    device.close()


@pytest.mark.documented(pages.PERSISTENT_SESSIONS)
@pytest.mark.parametrize("clean", [False, True], ids=["resumed", "clean"])
def test_a_device_that_returns_to_its_session_gets_what_it_missed_unless_it_ends_it(
    bench: Bench, clean: bool
) -> None:
    (credentials,) = bench.register(f"returning-{clean}", policy="commanded")
    (commanding,) = bench.register("commander", policy="commander")
    own = f"cmd/{credentials.thing_name}"
    device = bench.device(credentials, clean=False).connect()
    device.subscribe(own)
    device.close()
    commander = bench.device(commanding).connect()
    commander.publish(own, b"missed")
    again = bench.device(credentials, clean=clean).connect()
    assert again.session_present is not clean
    if clean:
        again.subscribe(own)
    commander.publish(own, b"later")
    assert again.wait_for(lambda received: b"later" in received)
    assert again.received == ([b"later"] if clean else [b"missed", b"later"])
    again.close()
    commander.close()
    # No session may be left without its device while the next test registers another: see `broker`.
    bench.device(credentials).connect().close()


# What is acknowledged is kept.


def numbered(count: int) -> list[bytes]:
    return [b"%d" % number for number in range(count)]


@pytest.mark.documented(pages.QOS)
def test_nothing_acknowledged_is_lost_when_the_publisher_vanishes(bench: Bench) -> None:
    device = bench.device(bench.register("vanishing")[0]).connect()
    assert set(device.publish_all(topic("vanishing"), numbered(1_000))) == {0}
    device.vanish()
    assert bench.stream.wait_for(lambda _: len(bench.stream.of("vanishing")) >= 1_000)
    assert payloads_of(bench, "vanishing") == numbered(1_000)


@pytest.mark.ours("AWS's broker is not one process; both keep what they have acknowledged")
def test_nothing_acknowledged_is_lost_when_the_broker_restarts_while_the_stream_is_stuck(
    bench: Bench,
) -> None:
    device = bench.device(bench.register("patient")[0]).connect()
    bench.stream.gate.clear()
    try:
        # More than the bridge may have in flight: most of these wait in the broker.
        assert set(device.publish_all(topic("patient"), numbered(1_000))) == {0}
        device.close()
        bench.intake.restart_broker()
    finally:
        bench.stream.gate.set()
    assert bench.stream.wait_for(lambda _: len(set(payloads_of(bench, "patient"))) == 1_000)


@pytest.mark.ours("AWS's broker does not end; mosquitto may, and then devices must find it again")
@pytest.mark.parametrize("is_registered_first", [True, False])
def test_a_broker_that_crashed_is_started_again_and_takes_messages(
    bench: Bench, is_registered_first: bool
) -> None:
    thing = f"survivor-{is_registered_first}"
    known = bench.register(thing)[0] if is_registered_first else None
    broker, crashes = bench.intake._broker, bench.intake.status()["broker_crashes"]
    assert broker is not None
    assert broker.process_id is not None
    os.kill(broker.process_id, signal.SIGKILL)
    waited = threading.Event()
    if known is None:
        while broker.running:
            waited.wait(0.01)
        known = bench.register(thing)[0]
    for _ in range(int(WAIT_SECONDS * 10)):
        status = bench.intake.status()
        if status["broker_crashes"] > crashes and status["bridge"] == "connected":
            break
        waited.wait(0.1)
    device = bench.device(known).connect()
    assert set(device.publish_all(topic(thing), numbered(10))) == {0}
    assert bench.stream.wait_for(lambda _: len(set(payloads_of(bench, thing))) == 10)


@pytest.mark.ours("what becomes of a message at a bug in the local cloud")
def test_a_message_that_could_not_be_handled_comes_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = bench.device(bench.register("unhandled")[0]).connect()
    handled = bench.engine.handle
    failures: list[bytes] = []

    def fail_once(message: Inbound) -> None:
        if not failures:
            failures.append(message.payload)
            raise RuntimeError("a bug")
        handled(message)

    monkeypatch.setattr(bench.engine, "handle", fail_once)
    assert set(device.publish_all(topic("unhandled"), numbered(10))) == {0}
    assert bench.stream.wait_for(lambda _: len(bench.stream.of("unhandled")) == 9)
    bench.intake.restart_broker()
    assert bench.stream.wait_for(lambda _: len(set(payloads_of(bench, "unhandled"))) == 10)
    assert failures == [b"0"]
    device.close()


# The whole fleet.


@pytest.mark.documented(pages.BINARY)
def test_a_fleet_is_acknowledged_and_arrives_byte_for_byte(bench: Bench) -> None:
    names = [f"tracker-{number}" for number in range(4)]
    now = datetime(2026, 11, 24, 7, 0, tzinfo=UTC)
    config = FleetConfig(
        endpoint=Endpoint("localhost", bench.port, bench.intake.authority_file),
        devices=tuple(bench.register(*names)),
        now=now,
        messages=1_000,
        shares=Shares(bad=0.1),
    )
    result = run_fleet(config)
    assert (result.sent, result.acknowledged, result.devices) == (1_000, 1_000, 4)
    assert result.distinct + result.duplicates + sum(result.expected_rejected.values()) == 1_000
    sent = Counter(
        message.payload
        for message in plan_fleet(names, 1_000, config.shares, config.seed, now).messages
    )
    assert bench.stream.wait_for(
        lambda _: sum(len(bench.stream.of(name)) for name in names) >= 1_000
    )
    arrived = Counter(payload for name in names for payload in payloads_of(bench, name))
    assert arrived == sent


@pytest.mark.ours("a session without its device may crash mosquitto 2.0: see `broker`")
def test_a_fleet_that_has_ended_leaves_no_session_behind(bench: Bench) -> None:
    (credentials,) = bench.register("leaving")
    config = FleetConfig(
        endpoint=Endpoint("localhost", bench.port, bench.intake.authority_file),
        devices=(credentials,),
        now=datetime(2026, 11, 24, 7, 0, tzinfo=UTC),
        messages=5,
    )
    assert run_fleet(config).acknowledged == 5
    again = bench.device(credentials, clean=False).connect()
    assert not again.session_present
    again.close()
    bench.device(credentials).connect().close()


@pytest.mark.ours("the simulated fleet's connections, in one process")
def test_a_fleet_that_lives_by_its_plan_arrives_byte_for_byte_in_each_devices_order(
    bench: Bench,
) -> None:
    names = tuple(f"living-{n}" for n in range(1, 6))
    devices = bench.register(*names)
    endpoint = Endpoint("localhost", bench.port, bench.intake.authority_file)
    plan = plan_behaviour(names, Period(datetime(2026, 11, 24, 7, tzinfo=UTC), 60.0), 3, Habits(1))
    seen: list[tuple[int, int]] = []
    moment = itertools.count(step=1_000)
    hurried = Clock(now=lambda: float(next(moment)), sleep=lambda _: None)
    with connected(endpoint, devices, lambda *counts: seen.append(counts)) as speakers:
        published = publish(plan.publications, speakers, "dt/fleet", hurried)
    assert seen == [(n, 5) for n in range(1, 6)]
    assert published.acknowledged == published.sent == len(plan.publications)
    assert bench.stream.wait_for(
        lambda _: sum(len(bench.stream.of(name)) for name in names) >= published.sent
    )
    for name in names:
        sent = [each.payload for each in plan.publications if each.device_id == name]
        assert payloads_of(bench, name) == sent


@pytest.mark.ours("the command of docs/fleet.md")
def test_the_command_lets_a_fleet_live_and_writes_down_what_it_did(
    bench: Bench,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("boto3.client", lambda _: bench.iot)
    truth = tmp_path / "truth.json"
    command = ["simulate", "--policy", "telemetry", "--devices", "9", "--truth", str(truth)]
    command += ["--minutes", "0.1", "--interval", "0.1", "--certificates", str(tmp_path / "keys")]
    command += ["--endpoint", f"localhost:{bench.port}"]
    assert devices_command([*command, "--ca-file", str(bench.intake.authority_file)]) == 0
    published, told = json.loads(capsys.readouterr().out), json.loads(truth.read_text())
    totals = told["totals"]
    assert published["acknowledged"] == published["sent"]
    assert published["sent"] == totals["sent"] + totals["garbage"] + totals["duplicates"]
    assert len(told["devices"]) == 9
    assert told["silent_devices"] == 1


@pytest.mark.ours("the simulated fleet's connections, in one process")
def test_a_fleet_of_which_one_may_not_connect_says_so(bench: Bench) -> None:
    allowed, refused = bench.register("allowed-one", "refused-one")
    bench.iot.update_certificate(
        certificateId=refused.certificate_arn.rpartition("/")[2], newStatus="INACTIVE"
    )
    endpoint = Endpoint("localhost", bench.port, bench.intake.authority_file)
    with (
        pytest.raises(ConnectionRefused, match="refused-one"),
        connected(endpoint, [allowed, refused]),
    ):
        pytest.fail("it connected")


@pytest.mark.documented(pages.PUBLISH)
def test_a_fleet_learns_how_many_messages_the_broker_refused(bench: Bench) -> None:
    (credentials,) = bench.register("misplaced")
    config = FleetConfig(
        endpoint=Endpoint("localhost", bench.port, bench.intake.authority_file),
        devices=(dataclasses.replace(credentials, thing_name="elsewhere"),),
        now=datetime(2026, 11, 24, 7, 0, tzinfo=UTC),
        messages=20,
    )
    result = run_fleet(config)
    assert (result.sent, result.acknowledged) == (20, 0)
    assert result.not_acknowledged == {"NOT_AUTHORIZED": 20}


@pytest.mark.documented(pages.DESCRIBE_ENDPOINT)
def test_the_status_tells_where_devices_connect_and_what_runs(bench: Bench) -> None:
    status = bench.intake.status()
    assert (status["broker"], status["bridge"], status["rules"]) == (
        "running",
        "connected",
        ["telemetry"],
    )
    described = bench.iot.describe_endpoint(endpointType="iot:Data-ATS")
    assert described["endpointAddress"] == status["endpoint"] == f"localhost:{bench.port}"


@pytest.mark.ours("what runs is what was deployed: a rule made past the template would be none")
def test_rules_are_deployed_by_the_template_alone_and_can_be_read_back(bench: Bench) -> None:
    rule = bench.iot.get_topic_rule(ruleName="telemetry")["rule"]
    assert rule["actions"][0]["kinesis"]["partitionKey"] == "${topic(3)}"
    with pytest.raises(bench.iot.exceptions.InvalidRequestException):
        bench.iot.create_topic_rule(
            ruleName="other", topicRulePayload={"sql": "SELECT 1", "actions": []}
        )
