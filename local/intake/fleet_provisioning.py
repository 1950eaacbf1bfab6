"""Provisioning by claim: a device without a certificate of its own asks for one over MQTT.

The device asks for a certificate with its signing request, then to become a thing by a deployed
template; the template's hook, a function, has to admit it. Guarantee: nothing is attached or
activated before the hook has said yes, and an ownership token is good once, for an hour.

Known to differ from AWS: there are no CBOR topics, no keys made by the service, and no temporary
claims (CreateProvisioningClaim); an answer reaches everyone who may read its topic; what an error
is called is a guess where AWS does not say.

https://docs.aws.amazon.com/iot/latest/developerguide/fleet-provision-api.html
"""

import json
import logging
import re
import secrets
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from local.api import ACCOUNT_ID, REGION, ApiError
from local.deployment.provider import Created, DeploymentError, ReplacementNeeded
from local.intake.iot_registry import IotRegistry

CREATE_FROM_CSR: Final = "$aws/certificates/create-from-csr/json"
REQUEST_FILTERS: Final = (CREATE_FROM_CSR, "$aws/provisioning-templates/+/provision/json")
_REGISTER: Final = re.compile(r"\$aws/provisioning-templates/([^/]+)/provision/json")
_TOKEN_SECONDS: Final = 3600.0
_PAYLOAD_VERSION: Final = "2020-04-01"
_CERTIFICATE_ID: Final = "AWS::IoT::Certificate::Id"
_MAX_NAME: Final = 36
_MAX_BODY: Final = 10_240

_log = logging.getLogger(__name__)


class RefusedError(Exception):
    """A request is refused; `status` and `code` as the device is told them."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class Answer(Protocol):
    """What came of a function's invocation."""

    @property
    def payload(self) -> bytes: ...
    @property
    def error(self) -> str | None: ...


@dataclass(frozen=True)
class Claim:
    """Who asks, as far as the broker tells."""

    client_id: str | None = None
    certificate_id: str | None = None


@dataclass(frozen=True)
class ProvisioningTemplate:
    """A deployed template: of one thing, one certificate and one policy."""

    name: str
    enabled: bool
    hook_arn: str
    parameters: frozenset[str]
    thing_name: Any
    policy_name: Any
    active: bool

    @property
    def arn(self) -> str:
        return f"arn:aws:iot:{REGION}:{ACCOUNT_ID}:provisioningtemplate/{self.name}"


@dataclass
class FleetProvisioning:
    """Answers devices' requests. `invoke` runs a function, `access_changed` puts the registry's
    state into effect on the broker."""

    registry: IotRegistry
    invoke: Callable[[str, bytes], Answer]
    access_changed: Callable[[], None]
    now: Callable[[], float]
    templates: dict[str, ProvisioningTemplate] = field(default_factory=dict)
    _tokens: dict[str, tuple[str, float]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, topic: str, payload: bytes, claim: Claim) -> tuple[str, bytes]:
        """The answer to a request, and the topic that it goes to."""
        try:
            told = self._told(topic, payload, claim)
        except RefusedError as refused:
            _log.info("a claim was refused: %s", refused)
            body = {
                "statusCode": refused.status,
                "errorCode": refused.code,
                "errorMessage": str(refused),
            }
            return f"{topic}/rejected", json.dumps(body).encode()
        return f"{topic}/accepted", json.dumps(told).encode()

    def _told(self, topic: str, payload: bytes, claim: Claim) -> dict[str, Any]:
        try:
            request = json.loads(payload)
        except ValueError as error:
            raise RefusedError(400, "InvalidPayload", f"no JSON: {error}") from None
        if not isinstance(request, dict):
            raise RefusedError(400, "InvalidPayload", "not an object")
        if topic == CREATE_FROM_CSR:
            return self._create_certificate(request)
        if named := _REGISTER.fullmatch(topic):
            return self._register_thing(named[1], request, claim)
        raise RefusedError(404, "NotFound", topic)

    def _create_certificate(self, request: Mapping[str, Any]) -> dict[str, Any]:
        try:
            made = self.registry.create_certificate_from_csr(
                str(request.get("certificateSigningRequest", "")), "PENDING_ACTIVATION"
            )
        except ApiError as error:
            raise RefusedError(400, "InvalidCertificateSigningRequest", error.message) from None
        self.access_changed()
        token = secrets.token_urlsafe(32)
        with self._lock:
            self._tokens[token] = (made["certificateId"], self.now() + _TOKEN_SECONDS)
        return {
            "certificateOwnershipToken": token,
            "certificateId": made["certificateId"],
            "certificatePem": made["certificatePem"],
        }

    def _register_thing(
        self, name: str, request: Mapping[str, Any], claim: Claim
    ) -> dict[str, Any]:
        template = self.templates.get(name)
        if template is None or not template.enabled:
            raise RefusedError(404, "ResourceNotFound", f"no template {name} is enabled")
        given = request.get("parameters") or {}
        if not isinstance(given, dict) or not all(isinstance(v, str) for v in given.values()):
            raise RefusedError(400, "InvalidParameters", "parameters are texts by name")
        if missing := template.parameters - given.keys() - {_CERTIFICATE_ID}:
            raise RefusedError(400, "InvalidParameters", f"missing: {', '.join(sorted(missing))}")
        certificate_id = self._owned(str(request.get("certificateOwnershipToken", "")))
        parameters = given | self._admitted(template, certificate_id, given, claim)
        thing_name = str(_filled_in(template.thing_name, parameters))
        self.registry.provision(
            thing_name, certificate_id, str(_filled_in(template.policy_name, parameters))
        )
        self.registry.set_status(certificate_id, "ACTIVE" if template.active else "INACTIVE")
        self.access_changed()
        return {"deviceConfiguration": {}, "thingName": thing_name}

    def _owned(self, token: str) -> str:
        with self._lock:
            certificate_id, expires = self._tokens.pop(token, ("", 0.0))
        if not certificate_id or expires < self.now():
            raise RefusedError(
                400, "InvalidCertificateOwnershipToken", "unknown, used or expired token"
            )
        return certificate_id

    def _admitted(
        self,
        template: ProvisioningTemplate,
        certificate_id: str,
        parameters: Mapping[str, str],
        claim: Claim,
    ) -> dict[str, str]:
        """Parameters that the hook overrides; RefusedError if it does not admit the device."""
        event = {
            "claimCertificateId": claim.certificate_id or "",
            "certificateId": certificate_id,
            "certificatePem": self.registry.certificate_pem(certificate_id),
            "templateArn": template.arn,
            "clientId": claim.client_id or "",
            "parameters": dict(parameters),
        }
        try:
            invocation = self.invoke(template.hook_arn, json.dumps(event).encode())
        except ApiError as error:
            raise RefusedError(403, "AccessDenied", f"the hook: {error.message}") from None
        answer = {} if invocation.error else json.loads(invocation.payload or b"null") or {}
        if invocation.error or answer.get("allowProvisioning") is not True:
            raise RefusedError(403, "AccessDenied", "the pre-provisioning hook does not admit it")
        overridden: dict[str, str] = answer.get("parameterOverrides") or {}
        return overridden


class ProvisioningTemplateProvider:
    """AWS::IoT::ProvisioningTemplate, of a thing that is left as it is, a certificate, a policy.

    https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-iot-provisioningtemplate.html
    """

    resource_type = "AWS::IoT::ProvisioningTemplate"
    properties = frozenset(
        {
            "Description",
            "Enabled",
            "PreProvisioningHook",
            "ProvisioningRoleArn",
            "Tags",
            "TemplateBody",
            "TemplateName",
            "TemplateType",
        }
    )

    def __init__(self, provisioning: FleetProvisioning) -> None:
        self._provisioning = provisioning

    def create(self, logical_id: str, name: str, properties: dict[str, Any]) -> Created:
        """Deploy it under its name, or the end of CloudFormation's, which may be too long."""
        del logical_id
        return self._put(
            properties.get("TemplateName") or name[-_MAX_NAME:].lstrip("-"), properties
        )

    def update(self, physical_id: str, old: dict[str, Any], new: dict[str, Any]) -> Created:
        """Change it in place, but for its name and type."""
        for fixed in ("TemplateName", "TemplateType"):
            if old.get(fixed) != new.get(fixed):
                raise ReplacementNeeded
        return self._put(physical_id, new)

    def delete(self, physical_id: str, properties: dict[str, Any]) -> None:
        """Nobody is provisioned by it any more."""
        del properties
        self._provisioning.templates.pop(physical_id, None)

    def _put(self, name: str, properties: dict[str, Any]) -> Created:
        template = parse_template(name, properties)
        self._provisioning.templates[name] = template
        return Created(name, {"TemplateArn": template.arn})


def parse_template(name: str, properties: Mapping[str, Any]) -> ProvisioningTemplate:
    """A template's properties; DeploymentError names what is not understood."""
    if not re.fullmatch(rf"[0-9A-Za-z_-]{{1,{_MAX_NAME}}}", name):
        raise DeploymentError(f"TemplateName {name!r}: 1 to {_MAX_NAME} of 0-9A-Za-z_-")
    if properties.get("TemplateType", "FLEET_PROVISIONING") != "FLEET_PROVISIONING":
        raise DeploymentError("TemplateType: only FLEET_PROVISIONING is emulated")
    if not properties.get("ProvisioningRoleArn"):
        raise DeploymentError("a provisioning template needs ProvisioningRoleArn")
    hook = properties.get("PreProvisioningHook") or {}
    _only(hook, {"TargetArn", "PayloadVersion"}, "PreProvisioningHook")
    if not hook.get("TargetArn") or hook.get("PayloadVersion") != _PAYLOAD_VERSION:
        raise DeploymentError(
            f"PreProvisioningHook: TargetArn, and PayloadVersion '{_PAYLOAD_VERSION}', are needed: "
            "without a hook whoever holds a claim certificate could be any device"
        )
    text = str(properties.get("TemplateBody", ""))
    try:
        body = json.loads(text)
    except ValueError as error:
        raise DeploymentError(f"TemplateBody is no JSON: {error}") from None
    if len(text) > _MAX_BODY:
        raise DeploymentError(f"TemplateBody: {len(text)} characters, at most {_MAX_BODY}")
    _only(body, {"Parameters", "Resources"}, "TemplateBody")
    thing, certificate, policy = _resources(body)
    return ProvisioningTemplate(
        name=name,
        enabled=str(properties.get("Enabled", False)).lower() == "true",
        hook_arn=str(hook["TargetArn"]),
        parameters=frozenset(body.get("Parameters") or ()),
        thing_name=thing["ThingName"],
        policy_name=policy["PolicyName"],
        active=str(certificate.get("Status", "Active")).lower() == "active",
    )


_KINDS: Final = {
    "AWS::IoT::Thing": frozenset({"ThingName"}),
    "AWS::IoT::Certificate": frozenset({"CertificateId", "Status"}),
    "AWS::IoT::Policy": frozenset({"PolicyName"}),
}


def _resources(body: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The properties of the thing, the certificate and the policy."""
    found: dict[str, Mapping[str, Any]] = {}
    for name, resource in (body.get("Resources") or {}).items():
        _only(resource, {"Type", "Properties", "OverrideSettings"}, name)
        kind, properties = resource["Type"], resource["Properties"]
        if kind not in _KINDS or kind in found:
            raise DeploymentError(f"TemplateBody: one each of {', '.join(_KINDS)}, not {kind}")
        _only(properties, _KINDS[kind], name)
        if set((resource.get("OverrideSettings") or {}).values()) - {"DO_NOTHING"}:
            raise DeploymentError(f"{name}: OverrideSettings: only DO_NOTHING is emulated")
        found[kind] = properties
    if found.keys() != _KINDS.keys():
        raise DeploymentError(f"TemplateBody needs one each of {', '.join(_KINDS)}")
    if found["AWS::IoT::Certificate"].get("CertificateId") != {"Ref": _CERTIFICATE_ID}:
        raise DeploymentError(f"CertificateId: only a Ref to {_CERTIFICATE_ID} is emulated")
    return [found[kind] for kind in _KINDS]


def _filled_in(value: Any, parameters: Mapping[str, str]) -> Any:
    if isinstance(value, dict) and value.keys() == {"Ref"}:
        return parameters[value["Ref"]]
    return value


def _only(given: Mapping[str, Any], known: frozenset[str] | set[str], where: str) -> None:
    if unknown := set(given) - known:
        raise DeploymentError(f"{where}: not emulated: {', '.join(sorted(unknown))}")
