"""Provisioning by claim, by the deployed template's own resources: a device comes without a
certificate and speaks as itself, and nobody gets one whom the hook does not admit."""

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import pytest
from botocore.exceptions import ClientError

from admit_device.admission import refusal
from devices.claim import (
    ClaimFiles,
    ClaimRefusedError,
    ClaimUnansweredError,
    claim_device,
)
from devices.connection import Endpoint
from devices.keys import make_request, write_private
from devices.provisioning import Device, DeviceCredentials, Registrar
from local.deployment.provider import DeploymentError
from local.intake.fleet_provisioning import (
    CREATE_FROM_CSR,
    Claim,
    ProvisioningTemplateProvider,
    parse_template,
)
from tests.conformance import iot_pages as pages
from tests.conformance.broker_bench import Bench, running_bench
from tests.template.expand import expand
from tests.template.resolve import resolve

HOOK: Final = "AdmitDeviceFunction.Arn"
TEMPLATE: Final = "DeviceProvisioningTemplate"


@pytest.fixture(scope="module")
def stack() -> dict[str, Any]:
    resources: dict[str, Any] = resolve(expand())["Resources"]
    return resources


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory, stack: dict[str, Any]) -> Iterator[Bench]:
    """The broker with the stack's template, policies and hook."""
    with running_bench(tmp_path_factory.mktemp("claims")) as running:
        for policy in ("DevicePolicy", "ClaimPolicy"):
            running.policies.create(policy, policy, stack[policy]["Properties"])
        provider = ProvisioningTemplateProvider(running.provisioning)
        provider.create(TEMPLATE, TEMPLATE, stack[TEMPLATE]["Properties"])
        yield running


@pytest.fixture(autouse=True)
def asked(bench: Bench) -> list[dict[str, Any]]:
    """What the hook was asked; it is the deployed function's own decision."""
    events: list[dict[str, Any]] = []

    def hook(event: dict[str, Any]) -> Any:
        events.append(event)
        admitted = refusal(bench.iot, event["parameters"].get("ThingName")) is None
        return SimpleNamespace(
            error=None, payload=json.dumps({"allowProvisioning": admitted}).encode()
        )

    bench.hooks[HOOK] = hook
    return events


@pytest.fixture
def claim(bench: Bench, tmp_path: Path) -> ClaimFiles:
    """A claim certificate, as an operator makes one."""
    made = bench.iot.create_keys_and_certificate(setAsActive=True)
    files = ClaimFiles(tmp_path / "claim.pem", tmp_path / "claim.key.pem")
    write_private(files.certificate, made["certificatePem"])
    write_private(files.private_key, made["keyPair"]["PrivateKey"])
    bench.iot.attach_policy(policyName="ClaimPolicy", target=made["certificateArn"])
    return files


def announce(bench: Bench, thing: str) -> None:
    Registrar(bench.iot, "DevicePolicy", Path()).announce(Device(thing, {"site": "depot"}))


def claimed(bench: Bench, claim: ClaimFiles, thing: str, folder: Path) -> DeviceCredentials:
    endpoint = Endpoint("localhost", bench.port, bench.intake.authority_file)
    files = claim_device(endpoint, claim, TEMPLATE, thing, folder)
    return DeviceCredentials(thing, "", files.certificate, files.private_key)


def registered(bench: Bench, thing: str) -> list[str]:
    principals: list[str] = bench.iot.list_thing_principals(thingName=thing)["principals"]
    return principals


@pytest.mark.documented(pages.CLAIM)
def test_an_announced_device_claims_its_certificate_and_speaks_as_itself(
    bench: Bench, claim: ClaimFiles, asked: list[dict[str, Any]], tmp_path: Path
) -> None:
    announce(bench, "new-1")
    credentials = claimed(bench, claim, "new-1", tmp_path)
    device = bench.device(credentials).connect()
    assert device.publish("dt/fleet/new-1/telemetry", b"{}") == 0
    assert bench.stream.wait_for(lambda _: len(bench.stream.of("new-1")) == 1)
    device.close()
    # What the registry knew of it is still there.
    assert bench.iot.describe_thing(thingName="new-1")["attributes"] == {"site": "depot"}
    (event,) = asked
    assert event["parameters"] == {"ThingName": "new-1"}
    assert event["templateArn"].endswith(f":provisioningtemplate/{TEMPLATE}")
    assert set(event) == {
        *("claimCertificateId", "certificateId", "certificatePem", "templateArn"),
        *("clientId", "parameters"),
    }


@pytest.mark.documented(pages.HOOK)
@pytest.mark.parametrize("thing", ["never-heard-of", "taken-1", "revoked-1"])
def test_whom_the_hook_does_not_admit_gets_nothing(
    bench: Bench, claim: ClaimFiles, thing: str, tmp_path: Path
) -> None:
    if thing != "never-heard-of":
        (before,) = bench.register(thing)
        if thing == "revoked-1":
            bench.iot.update_certificate(
                certificateId=before.certificate_arn.rpartition("/")[2], newStatus="REVOKED"
            )
    with pytest.raises(ClaimRefusedError, match="AccessDenied"):
        claimed(bench, claim, thing, tmp_path)
    if thing == "never-heard-of":
        with pytest.raises(ClientError, match="ResourceNotFound"):
            bench.iot.describe_thing(thingName=thing)
    else:
        assert registered(bench, thing) == [before.certificate_arn]
    # Of the certificate that IoT has not activated nothing is left.
    assert {path.name for path in tmp_path.glob(f"{thing}*")} == {f"{thing}.key.pem"}


@pytest.mark.documented(pages.CLAIM)
def test_a_certificate_that_is_not_activated_lets_nobody_in(bench: Bench, tmp_path: Path) -> None:
    request = make_request("waiting-1", tmp_path / "key.pem")
    body = json.dumps({"certificateSigningRequest": request}).encode()
    _, told = bench.provisioning.answer(CREATE_FROM_CSR, body, Claim())
    pending = tmp_path / "pending.pem"
    pending.write_text(json.loads(told)["certificatePem"])
    with pytest.raises(ConnectionError):
        bench.device(DeviceCredentials("waiting-1", "", pending, tmp_path / "key.pem")).connect()


@pytest.mark.documented(pages.CLAIM)
def test_a_second_claim_is_refused_and_the_device_keeps_what_works(
    bench: Bench, claim: ClaimFiles, tmp_path: Path
) -> None:
    announce(bench, "twice-1")
    credentials = claimed(bench, claim, "twice-1", tmp_path)
    certificate = credentials.certificate_file.read_bytes()
    with pytest.raises(ClaimRefusedError, match="AccessDenied"):
        claimed(bench, claim, "twice-1", tmp_path)
    assert credentials.certificate_file.read_bytes() == certificate
    assert not list(tmp_path.glob("*.pending.pem"))
    bench.device(credentials).connect().close()


@pytest.mark.documented(pages.CLAIM)
@pytest.mark.parametrize("is_done", [True, False])
def test_a_claim_whose_answer_was_lost_ends_well_when_made_again(
    bench: Bench,
    claim: ClaimFiles,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    is_done: bool,
) -> None:
    thing = f"lost-{is_done}"
    announce(bench, thing)
    real = bench.provisioning.answer

    def broken(topic: str, payload: bytes, by: Claim) -> tuple[str, bytes]:
        if topic == CREATE_FROM_CSR:
            return real(topic, payload, by)
        if is_done:
            real(topic, payload, by)
        failure = {"statusCode": 500, "errorCode": "InternalError", "errorMessage": "lost"}
        return f"{topic}/rejected", json.dumps(failure).encode()

    with monkeypatch.context() as patched:
        patched.setattr(bench.provisioning, "answer", broken)
        with pytest.raises(ClaimUnansweredError, match="InternalError"):
            claimed(bench, claim, thing, tmp_path)
    assert len(list(tmp_path.glob(f"{thing}.*.pending.pem"))) == 1
    credentials = claimed(bench, claim, thing, tmp_path)
    bench.device(credentials).connect().close()
    assert len(registered(bench, thing)) == 1
    assert not list(tmp_path.glob("*.pending.pem"))


@pytest.mark.documented(pages.HOOK)
@pytest.mark.parametrize("answer", [b"null", b"{}", b'{"allowProvisioning": "true"}'])
def test_only_a_clear_yes_admits(
    bench: Bench, claim: ClaimFiles, answer: bytes, tmp_path: Path
) -> None:
    announce(bench, "unclear-1")
    bench.hooks[HOOK] = lambda _: SimpleNamespace(error=None, payload=answer)
    with pytest.raises(ClaimRefusedError, match="AccessDenied"):
        claimed(bench, claim, "unclear-1", tmp_path)
    failed = SimpleNamespace(error="Unhandled", payload=b'{"allowProvisioning": true}')
    bench.hooks[HOOK] = lambda _: failed
    with pytest.raises(ClaimRefusedError, match="AccessDenied"):
        claimed(bench, claim, "unclear-1", tmp_path)
    assert registered(bench, "unclear-1") == []


@pytest.mark.documented(pages.CLAIM_TOPICS)
def test_an_ownership_token_is_good_once_and_for_an_hour(bench: Bench, tmp_path: Path) -> None:
    topic = f"$aws/provisioning-templates/{TEMPLATE}/provision/json"
    request = json.dumps(
        {"certificateSigningRequest": make_request("token-1", tmp_path / "key.pem")}
    ).encode()

    def token() -> str:
        where, told = bench.provisioning.answer(CREATE_FROM_CSR, request, Claim())
        assert where == f"{CREATE_FROM_CSR}/accepted"
        return str(json.loads(told)["certificateOwnershipToken"])

    def register(token: str) -> tuple[str, dict[str, Any]]:
        body = {"certificateOwnershipToken": token, "parameters": {"ThingName": "token-1"}}
        where, told = bench.provisioning.answer(topic, json.dumps(body).encode(), Claim())
        return where, json.loads(told)

    announce(bench, "token-1")
    late = token()
    bench.now[0] += 3601
    assert register(late)[1]["errorCode"] == "InvalidCertificateOwnershipToken"
    good = token()
    where, told = register(good)
    assert (where, told["thingName"]) == (f"{topic}/accepted", "token-1")
    assert register(good)[1]["errorCode"] == "InvalidCertificateOwnershipToken"
    assert len(registered(bench, "token-1")) == 1


@pytest.mark.documented(pages.CLAIM_TOPICS)
@pytest.mark.parametrize(
    ("topic", "payload"),
    [
        (CREATE_FROM_CSR, b"\xff"),
        (CREATE_FROM_CSR, b"[]"),
        (CREATE_FROM_CSR, b'{"certificateSigningRequest": "none"}'),
        (f"$aws/provisioning-templates/{TEMPLATE}/provision/json", b"{}"),
        (f"$aws/provisioning-templates/{TEMPLATE}/provision/json", b'{"parameters": {"a": 1}}'),
        ("$aws/provisioning-templates/other/provision/json", b"{}"),
    ],
)
def test_a_wrong_request_is_rejected_with_its_reason(
    bench: Bench, topic: str, payload: bytes
) -> None:
    where, told = bench.provisioning.answer(topic, payload, Claim())
    assert where == f"{topic}/rejected"
    assert set(json.loads(told)) == {"statusCode", "errorCode", "errorMessage"}


@pytest.mark.documented(pages.CLAIM)
def test_a_claim_certificate_is_good_for_nothing_else(
    bench: Bench, claim: ClaimFiles, tmp_path: Path
) -> None:
    announce(bench, "victim-1")
    nobody = DeviceCredentials("claim", "", claim.certificate, claim.private_key)
    device = bench.device(nobody, client_id="victim-1").connect()
    for topic in (
        "dt/fleet/victim-1/telemetry",
        "$aws/rules/telemetry/dt/fleet/victim-1/telemetry",
        "$aws/certificates/create/json",
        "$aws/provisioning-templates/other/provision/json",
    ):
        assert device.publish(topic, b"{}") != 0, topic
    device.close()
    assert bench.stream.of("victim-1") == []


@pytest.mark.documented(pages.PROVISIONING_RESOURCE)
@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"TemplateType": "JITP"}, "JITP|FLEET_PROVISIONING"),
        ({"PreProvisioningHook": {}}, "PreProvisioningHook"),
        ({"PreProvisioningHook": {"TargetArn": "f", "PayloadVersion": "1"}}, "2020-04-01"),
        ({"ProvisioningRoleArn": ""}, "ProvisioningRoleArn"),
        ({"TemplateBody": "no JSON"}, "no JSON"),
        ({"TemplateBody": '{"Mappings": {}}'}, "Mappings"),
        ({"TemplateBody": '{"Resources": {}}'}, "one each of"),
    ],
)
def test_what_is_not_emulated_is_refused_at_deployment(
    stack: dict[str, Any], change: dict[str, Any], named: str
) -> None:
    properties = stack[TEMPLATE]["Properties"]
    assert parse_template("t", properties).enabled
    with pytest.raises(DeploymentError, match=named):
        parse_template("t", properties | change)


@pytest.mark.documented(pages.TEMPLATE_BODY)
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("AWS::IoT::Thing", "AWS::IoT::ThingGroup"),
        ("DO_NOTHING", "REPLACE"),
        ('"PolicyName": "DevicePolicy"', '"PolicyDocument": "{}"'),
        ('{"Ref": "AWS::IoT::Certificate::Id"}', '"fixed"'),
    ],
)
def test_a_template_of_other_resources_is_refused(
    stack: dict[str, Any], old: str, new: str
) -> None:
    properties = stack[TEMPLATE]["Properties"]
    body = properties["TemplateBody"].replace(old, new, 1)
    assert body != properties["TemplateBody"]
    with pytest.raises(DeploymentError, match=r"emulated|one each of"):
        parse_template("t", properties | {"TemplateBody": body})
