"""IoT policies evaluated into the broker's access list: as AWS would decide, or refused."""

import json
import threading
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography import x509

from local.deployment.provider import DeploymentError
from local.intake.certificates import CertificateAuthority
from local.intake.device_access import (
    Access,
    PolicyError,
    Registration,
    access_list,
    check_policy,
    evaluate,
)
from local.intake.intake import Publisher, Publishers
from local.intake.iot_registry import IotApi, IotRegistry, PolicyProvider
from tests.conformance import iot_pages as pages
from tests.conformance.broker_bench import COMMANDED_POLICY, CONNECT, TELEMETRY_POLICY

ARN = "arn:aws:iot:us-east-1:123456789012:"
THING = "${iot:Connection.Thing.ThingName}"


@pytest.fixture(scope="module")
def issuer() -> CertificateAuthority:
    return CertificateAuthority()


def registration(
    issuer: CertificateAuthority,
    *policies: dict[str, Any],
    thing: str = "d1",
    things: tuple[str, ...] | None = None,
    active: bool = True,
) -> Registration:
    certificate = x509.load_pem_x509_certificate(
        issuer.issue_client(f"cn-{thing}").certificate_pem.encode()
    )
    return Registration(
        certificate_id=f"certificate-of-{thing}",
        certificate=certificate,
        active=active,
        things=(thing,) if things is None else things,
        policies=tuple(json.dumps(policy) for policy in policies),
    )


def allow(action: str | list[str], *resources: str, **more: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": action, "Resource": list(resources)} | more


def policy(*statements: dict[str, Any]) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": [CONNECT, *statements]}


def access_of(issuer: CertificateAuthority, *policies: dict[str, Any]) -> Access:
    allowed, refused = evaluate([registration(issuer, *policies)])
    assert refused == []
    (access,) = allowed
    return access


@pytest.mark.documented(pages.POLICY_RESOURCES)
def test_a_thing_gets_its_own_topics_with_as_many_levels_as_the_star_may_mean(
    issuer: CertificateAuthority,
) -> None:
    access = access_of(issuer, TELEMETRY_POLICY)
    plain = {one for one in access.publish if not one.startswith("$aws")}
    assert plain == {"dt/" + "+/" * levels + "d1/telemetry" for levels in range(1, 6)}
    # The three levels of the prefix are not counted.
    assert len(access.publish - plain) == 5
    assert access.read == frozenset()


@pytest.mark.documented(pages.THING_VARIABLES)
@pytest.mark.parametrize(
    ("change", "connects"),
    [
        ({}, True),
        ({"active": False}, False),
        ({"things": ()}, False),
        ({"things": ("d1", "d2")}, False),
    ],
)
def test_who_connects(issuer: CertificateAuthority, change: dict[str, Any], connects: bool) -> None:
    allowed, refused = evaluate([registration(issuer, TELEMETRY_POLICY, **change)])
    assert (len(allowed), len(refused)) == ((1, 0) if connects else (0, 1))


@pytest.mark.documented(pages.CONNECT)
@pytest.mark.parametrize(
    ("statements", "connects"),
    [
        ([], False),
        ([allow("iot:Publish", f"{ARN}topic/a")], False),
        ([allow("iot:Connect", f"{ARN}client/another")], False),
        ([allow("iot:Connect", f"{ARN}client/{THING}")], True),
        ([allow("iot:Connect", f"{ARN}client/${{iot:ClientId}}")], True),
        ([allow("iot:Connect", f"{ARN}client/d*")], True),
        ([allow("iot:Connect", f"{ARN}client/claim-*")], False),
        ([CONNECT, allow("iot:Connect", f"{ARN}client/d*") | {"Effect": "Deny"}], False),
        ([CONNECT, allow("iot:Connect", f"{ARN}client/claim-*") | {"Effect": "Deny"}], True),
        ([allow("iot:Connect", "*")], True),
        ([allow("iot:*", "*")], True),
        (
            [CONNECT, {"Effect": "Deny", "Action": "iot:Connect", "Resource": f"{ARN}client/d1"}],
            False,
        ),
        (
            [
                allow(
                    "iot:Connect",
                    "*",
                    Condition={"Bool": {"iot:Connection.Thing.IsAttached": "false"}},
                )
            ],
            False,
        ),
    ],
)
def test_connecting_needs_a_policy_for_the_things_name(
    issuer: CertificateAuthority, statements: list[dict[str, Any]], connects: bool
) -> None:
    document = {"Version": "2012-10-17", "Statement": statements}
    allowed, _ = evaluate([registration(issuer, document)])
    assert bool(allowed) is connects


@pytest.mark.documented(pages.POLICIES)
def test_several_policies_add_up(issuer: CertificateAuthority) -> None:
    access = access_of(
        issuer,
        policy(allow("iot:Publish", f"{ARN}topic/a")),
        policy(allow("iot:Publish", f"{ARN}topic/b")),
    )
    assert access.publish == {"a", "b"}


@pytest.mark.documented(pages.POLICY_RESOURCES)
def test_a_star_at_the_end_is_every_topic_below(issuer: CertificateAuthority) -> None:
    assert access_of(issuer, policy(allow("iot:Publish", f"{ARN}topic/a/*"))).publish == {"a/#"}
    everything = access_of(issuer, policy(allow("iot:Publish", "*"))).publish
    assert everything == {"#", "$aws/rules/#"}


@pytest.mark.documented(pages.POLICY_ACTIONS)
def test_reading_needs_both_permissions(issuer: CertificateAuthority) -> None:
    assert access_of(issuer, COMMANDED_POLICY).read == {"cmd/d1"}
    for action in ("iot:Subscribe", "iot:Receive"):
        kind = "topicfilter" if action == "iot:Subscribe" else "topic"
        assert not access_of(issuer, policy(allow(action, f"{ARN}{kind}/a"))).read


@pytest.mark.documented(pages.PUBLISH)
def test_mqtts_wildcards_are_mere_characters_but_in_a_filter_that_is_subscribed_to(
    issuer: CertificateAuthority,
) -> None:
    for action in ("iot:Publish", "iot:Receive"):
        with pytest.raises(PolicyError, match="not wildcards: some/"):
            check_policy(json.dumps(policy(allow(action, f"{ARN}topic/some/+/topic"))))
    subscribed = allow("iot:Subscribe", f"{ARN}topicfilter/some/+/topic")
    access = access_of(issuer, policy(subscribed, allow("iot:Receive", f"{ARN}topic/some/*/topic")))
    assert access.read == {"some/+/topic"}


@pytest.mark.documented(pages.BASIC_INGEST)
def test_no_policy_lets_a_device_read_basic_ingest(issuer: CertificateAuthority) -> None:
    everything = allow(["iot:Subscribe", "iot:Receive"], "*")
    named = allow(
        ["iot:Subscribe", "iot:Receive"],
        f"{ARN}topicfilter/$aws/rules/*",
        f"{ARN}topic/$aws/rules/*",
    )
    assert access_of(issuer, policy(everything)).read == {"#"}
    assert not access_of(issuer, policy(named)).read


@pytest.mark.documented(pages.DELETE_POLICY)
def test_a_policy_that_a_certificate_holds_is_not_deleted() -> None:
    deleted: list[str] = []
    registry = SimpleNamespace(
        principal_policies={("certificate", "held"): None},
        policies=SimpleNamespace(pop=lambda name, _: deleted.append(name)),
    )
    provider = PolicyProvider(registry, lambda: None)
    with pytest.raises(DeploymentError, match=r"attached to one or more principals \(name=held\)"):
        provider.delete("held", {})
    provider.delete("free", {})
    assert deleted == ["free"]


@pytest.mark.documented(pages.POLICIES)
def test_a_denial_goes_before_a_permission(issuer: CertificateAuthority) -> None:
    denial = {"Effect": "Deny", "Action": "iot:Publish", "Resource": f"{ARN}topic/a/b"}
    access = access_of(issuer, policy(allow("iot:Publish", f"{ARN}topic/a/*"), denial))
    assert access.denied == {"a/b"}
    lines = access_list([access], "bridge").splitlines()
    assert lines.index("topic deny a/b") < lines.index("topic write a/#")


@pytest.mark.ours("mosquitto's access list knows no such part; widening it would let devices in")
@pytest.mark.parametrize(
    ("statement", "named"),
    [
        (allow("iot:Publish", f"{ARN}topic/site*/x"), "site*"),
        (allow("iot:Publish", f"{ARN}topic/a?/x"), "a?"),
        (allow("iot:Connect", f"{ARN}client/sensor-*-a"), "sensor-*-a"),
        (allow("iot:RetainPublish", f"{ARN}topic/a"), "iot:RetainPublish"),
        (allow("iot:Publish", f"{ARN}topic/${{iot:Connection.Thing.Attributes[site]}}"), "site"),
        (allow("iot:Publish", f"{ARN}rule/a"), "rule/a"),
        (
            allow("iot:Publish", f"{ARN}topic/a", Condition={"IpAddress": {"aws:SourceIp": "x"}}),
            "aws:SourceIp",
        ),
        ({"Effect": "Allow", "NotAction": "iot:Connect", "Resource": "*"}, "NotAction"),
    ],
)
def test_what_the_broker_cannot_enforce_exactly_refuses_the_deployment(
    statement: dict[str, Any], named: str
) -> None:
    with pytest.raises(PolicyError) as refused:
        check_policy(json.dumps(policy(statement)))
    assert named in str(refused.value)
    registered: list[str] = []
    registry = SimpleNamespace(create_policy=lambda name, _: registered.append(name))
    provider = PolicyProvider(registry, lambda: None)
    with pytest.raises(DeploymentError):
        provider.create("Policy", "p", {"PolicyDocument": policy(statement)})
    assert registered == []


@pytest.mark.ours("mosquitto tells no subscriber who published; AWS knows")
def test_the_publisher_of_a_topic_is_whoever_alone_may_publish_there(
    issuer: CertificateAuthority,
) -> None:
    gateway = policy(
        allow("iot:Publish", f"{ARN}topic/dt/shared/*", f"{ARN}topic/dt/shared/d2/telemetry")
    )
    allowed, _ = evaluate(
        [
            registration(issuer, TELEMETRY_POLICY, thing="d1"),
            registration(issuer, TELEMETRY_POLICY, thing="d2"),
            registration(issuer, gateway, thing="gateway"),
        ]
    )
    publishers = Publishers(allowed)
    assert publishers.of("dt/a/d1/telemetry") == Publisher("d1", "certificate-of-d1")
    assert publishers.of("$aws/rules/telemetry/dt/a/d2/telemetry").client_id == "d2"
    # Two may have spoken, so nobody is named.
    assert publishers.of("dt/shared/d2/telemetry") == Publisher(None, None)
    assert publishers.of("dt/nobody/d9/telemetry") == Publisher(None, None)


@pytest.mark.ours("moto has no locks, and looks through all things while another is added")
def test_registering_devices_at_once_disturbs_none_of_them(issuer: CertificateAuthority) -> None:
    alone: list[bool] = []

    def is_somebody_else_let_in() -> None:
        is_let_in = registry.lock.acquire(blocking=False)
        if is_let_in:
            registry.lock.release()
        alone.append(not is_let_in)

    def moto(*_: Any) -> list[bytes]:
        other = threading.Thread(target=is_somebody_else_let_in)
        other.start()
        other.join()
        return []

    def register_certificate(*_: Any) -> SimpleNamespace:
        moto()
        return SimpleNamespace(arn="a", certificate_id="c", certificate_pem="p")

    backend = SimpleNamespace(register_certificate_without_ca=register_certificate)
    registry = IotRegistry(issuer, backend)
    api = IotApi(registry, moto, lambda: None, lambda: "localhost:8883")
    signed = {"HTTP_AUTHORIZATION": "Credential=testing/20261126/us-east-1/iot/aws4_request"}
    for path in ("/things/d1/principals", "/keys-and-certificate"):
        request = {**signed, "REQUEST_METHOD": "POST", "PATH_INFO": path}
        api(request, lambda *_: print)
    assert alone == [True, True]
