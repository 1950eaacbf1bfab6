"""Who gets through: every kind of device on every kind of topic, under the deployed policy.

The policy, the rules and the template are the application's own, as deployed with a second topic
filter. What is asserted is what arrives on the stream, and as whose: a device gets its own
readings through, and nobody anything of another's.
"""

import base64
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest

from devices.provisioning import DeviceCredentials
from devices.revocation import revoke_device
from local.intake.certificates import CertificateAuthority, write_private
from local.rules.resources import TopicRuleProvider
from telemetry_contract.identity import identity_of
from telemetry_contract.limits import Limits
from telemetry_contract.rejection import ContractViolation
from tests.conformance import iot_pages as pages
from tests.conformance.broker_bench import (
    CONNECTION_LOST,
    NOT_AUTHORIZED,
    Bench,
    Device,
    running_bench,
)
from tests.template.expand import expand
from tests.template.resolve import resolve

SHARED: Final = "asset/tracker"
RULE: Final = "TelemetryRule"

# Topics by what they are to the device `me`; `victim` is another registered device.
ALLOWED: Final = {
    "its own": "dt/fleet/me/telemetry",
    "its own, of another application": "dt/sensors/me/telemetry",
    "its own, by Basic Ingest": f"$aws/rules/{RULE}/dt/fleet/me/telemetry",
    "the shared one of the second filter": SHARED,
}
# The policy's star spans levels: allowed, and no rule's topic.
ALLOWED_FOR_NOTHING: Final = {
    "its own, a level too deep": "dt/fleet/hall/me/telemetry",
    "another's, as a level before its own": "dt/victim/telemetry/me/telemetry",
}
REFUSED: Final = {
    "another's": "dt/fleet/victim/telemetry",
    "another's, of another application": "dt/sensors/victim/telemetry",
    "another's, by Basic Ingest": f"$aws/rules/{RULE}/dt/fleet/victim/telemetry",
    "a device's that does not exist": "dt/fleet/nobody/telemetry",
    "its own, under another rule": "$aws/rules/other/dt/fleet/me/telemetry",
    "the second rule, by Basic Ingest": f"$aws/rules/SecondTelemetryRule/{SHARED}",
    "no device's": "dt/fleet/telemetry",
    "an empty device's": "dt/fleet//telemetry",
    "its own, further on": "dt/fleet/me/telemetry/more",
    "its own, for something else": "dt/fleet/me/commands",
    "its own, but for a letter": "dt/fleet/Me/telemetry",
    "its own, behind a slash": "/dt/fleet/me/telemetry",
    "beside the shared one": "asset/tracker/me",
    "another prefix": "tracker/me",
    "a shadow": "$aws/things/me/shadow/update",
    "the broker's own": "$SYS/broker/load",
    "provisioning, which needs a claim": "$aws/certificates/create-from-csr/json",
}
FILTERS: Final = (
    "#",
    "+/+/+/+",
    "dt/#",
    "dt/+/+/telemetry",
    "dt/fleet/victim/telemetry",
    "dt/fleet/me/telemetry",
    SHARED,
    "$aws/rules/#",
    "$aws/certificates/#",
    "$SYS/#",
)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    stack: dict[str, Any] = resolve(expand(), SecondTopicFilter=SHARED)["Resources"]
    with running_bench(tmp_path_factory.mktemp("spoofing")) as running:
        running.policies.create("p", "DevicePolicy", stack["DevicePolicy"]["Properties"])
        rules = TopicRuleProvider(running.engine)
        rules.delete("telemetry", {})
        for rule in (RULE, "SecondTelemetryRule"):
            payload = stack[rule]["Properties"]["TopicRulePayload"]
            rules.create(rule, rule, {"TopicRulePayload": payload, "RuleName": rule})
        yield running


@pytest.fixture(scope="module")
def me(bench: Bench) -> DeviceCredentials:
    return bench.register("me", policy="DevicePolicy")[0]


@pytest.fixture(scope="module")
def victim(bench: Bench) -> DeviceCredentials:
    return bench.register("victim", policy="DevicePolicy")[0]


def arrived(bench: Bench, through: bytes) -> list[tuple[str, str]]:
    """Topic and payload of all that came, once `through` is among it."""
    marker = base64.b64encode(through).decode()

    def is_there(envelopes: list[dict[str, Any]]) -> bool:
        return any(one["payload_b64"] == marker for one in envelopes)

    assert bench.stream.wait_for(is_there)
    return [
        (one["topic"], base64.b64decode(one["payload_b64"]).decode())
        for one in bench.stream.envelopes
    ]


def finished(device: Device, bench: Bench, marker: str) -> list[tuple[str, str]]:
    """What got through of all that the device sent before: its last message comes last."""
    assert device.publish("dt/fleet/me/telemetry", marker.encode()) == 0
    return arrived(bench, marker.encode())


@pytest.mark.documented(pages.PUBLISH)
@pytest.mark.parametrize("client_id", ["me", "victim"])
@pytest.mark.parametrize("qos", [0, 1])
def test_a_device_gets_through_on_its_own_topics_and_on_no_other(
    bench: Bench, me: DeviceCredentials, victim: DeviceCredentials, client_id: str, qos: int
) -> None:
    """With its own client id, and with another's, which this broker replaces by its own."""
    other = bench.device(victim).connect()
    device = bench.device(me, client_id=client_id).connect()
    run = f"as {client_id}, QoS {qos}"
    answers = {
        kind: device.publish(topic, f"{run}: {kind}".encode(), qos)
        for kind, topic in (ALLOWED | ALLOWED_FOR_NOTHING | REFUSED).items()
    }
    if qos:
        refused = {kind for kind, code in answers.items() if code == NOT_AUTHORIZED}
        assert refused == set(REFUSED)
        assert {answers[kind] for kind in (*ALLOWED, *ALLOWED_FOR_NOTHING)} <= {0, 16}
    through = [
        (topic, payload)
        for topic, payload in finished(device, bench, f"{run}: through")
        if payload.startswith(f"{run}: ") and payload != f"{run}: through"
    ]
    assert sorted(through) == sorted(
        (topic.removeprefix(f"$aws/rules/{RULE}/"), f"{run}: {kind}")
        for kind, topic in ALLOWED.items()
    )
    # The other one's connection is untouched, whatever name was claimed.
    assert other.publish("dt/fleet/victim/telemetry", f"{run}: still here".encode()) == 0
    assert not other.is_gone
    device.close()
    other.close()


@pytest.mark.documented(pages.PUBLISH)
def test_whatever_got_through_is_verified_as_its_sender_or_only_claimed(
    bench: Bench, me: DeviceCredentials
) -> None:
    """The second half of the promise is the consumer's: by topic and payload, who is it of?"""
    device = bench.device(me).connect()
    for kind, topic in (ALLOWED | ALLOWED_FOR_NOTHING | REFUSED).items():
        device.publish(topic, json.dumps({"device_id": "victim", "is": kind}).encode())
    seen = [topic for topic, payload in finished(device, bench, "{}") if '"is"' in payload]
    device.close()
    assert len(seen) == len(ALLOWED)
    identities: set[str] = set()
    for topic in seen:
        try:
            identities.add(identity_of("victim", topic, Limits())[0])
        except ContractViolation as violation:
            identities.add(violation.reason)
    assert identities == {"identity_mismatch", "claimed"}
    assert identity_of("victim", SHARED, Limits()) == ("claimed", ())


@pytest.mark.documented(pages.POLICY_ACTIONS)
def test_a_device_reads_nobodys_messages_not_even_its_own(
    bench: Bench, me: DeviceCredentials, victim: DeviceCredentials
) -> None:
    device, other = bench.device(me).connect(), bench.device(victim).connect()
    for topic_filter in FILTERS:
        device.subscribe(topic_filter)
    for topic in (*ALLOWED.values(), "dt/fleet/victim/telemetry"):
        sender, name = (other, "victim") if "victim" in topic else (device, "me")
        assert sender.publish(topic, f"read by nobody, of {name}".encode()) in (0, 16)
    finished(device, bench, "nothing was read")
    # What was meant for it would have come before the answer to its last message.
    assert device.received == []
    device.close()
    other.close()


@pytest.mark.documented(pages.POLICY_ACTIONS)
def test_a_retained_message_ends_the_connection(bench: Bench, me: DeviceCredentials) -> None:
    device = bench.device(me).connect()
    assert device.publish_retained("dt/fleet/me/telemetry", b"retained") == CONNECTION_LOST
    assert device.is_gone
    device.close()
    again = bench.device(me).connect()
    assert "retained" not in [payload for _, payload in finished(again, bench, "after it")]
    again.close()


def _of_another_authority(bench: Bench, folder: Path) -> DeviceCredentials:
    """A certificate with the very name of a registered one, signed by somebody else."""
    stranger = CertificateAuthority().issue_client("me")
    certificate, key = folder / "stranger.pem", folder / "stranger.key.pem"
    write_private(certificate, stranger.certificate_pem)
    write_private(key, stranger.private_key_pem)
    return DeviceCredentials("me", "", certificate, key)


def _certificate_id(credentials: DeviceCredentials) -> str:
    return credentials.certificate_arn.rpartition("/")[2]


@pytest.mark.documented(pages.CERTIFICATES)
@pytest.mark.parametrize(
    "kind",
    [
        *("of another authority", "none", "revoked", "inactive", "of no thing"),
        *("without a policy", "of two things", "just issued"),
    ],
)
def test_who_has_no_right_certificate_does_not_even_connect(
    bench: Bench, kind: str, tmp_path: Path
) -> None:
    thing = "no-" + kind.replace(" ", "-")
    (credentials,) = bench.register(thing, policy="DevicePolicy")
    presented: DeviceCredentials | None = credentials
    match kind:
        case "of another authority":
            presented = _of_another_authority(bench, tmp_path)
        case "none":
            presented = None
        case "revoked":
            assert revoke_device(bench.iot, thing) == (_certificate_id(credentials),)
        case "inactive":
            bench.iot.update_certificate(
                certificateId=_certificate_id(credentials), newStatus="INACTIVE"
            )
        case "of no thing":
            bench.iot.detach_thing_principal(thingName=thing, principal=credentials.certificate_arn)
        case "without a policy":
            bench.iot.detach_policy(policyName="DevicePolicy", target=credentials.certificate_arn)
        case "of two things":
            bench.iot.create_thing(thingName=f"{thing}-2")
            bench.iot.attach_thing_principal(
                thingName=f"{thing}-2", principal=credentials.certificate_arn
            )
        case "just issued":
            made = bench.iot.create_keys_and_certificate(setAsActive=True)
            presented = replace(
                credentials,
                certificate_file=tmp_path / "c.pem",
                private_key_file=tmp_path / "k.pem",
            )
            write_private(presented.certificate_file, made["certificatePem"])
            write_private(presented.private_key_file, made["keyPair"]["PrivateKey"])
    with pytest.raises(ConnectionError):
        bench.device(presented, client_id=thing).connect()
    assert bench.stream.of(thing) == []


@pytest.mark.documented(pages.CERTIFICATE_STATUS)
def test_a_device_that_is_revoked_while_it_is_connected_gets_nothing_more_through(
    bench: Bench, me: DeviceCredentials
) -> None:
    (credentials,) = bench.register("stolen", policy="DevicePolicy")
    device = bench.device(credentials).connect()
    assert device.publish("dt/fleet/stolen/telemetry", b"before") == 0
    revoke_device(bench.iot, "stolen")
    for topic in ("dt/fleet/stolen/telemetry", SHARED):
        assert device.publish(topic, b"stolen: after") in (NOT_AUTHORIZED, CONNECTION_LOST)
    device.close()
    witness = bench.device(me).connect()
    payloads = [payload for _, payload in finished(witness, bench, "after the theft")]
    witness.close()
    assert "before" in payloads
    assert "stolen: after" not in payloads
