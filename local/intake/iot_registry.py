"""IoT's control plane: moto's registry, with real certificates and a broker that follows it.

Guarantee: when a call that changes who may connect or publish returns, the broker already goes by
it. What the registry can't mean here (rules made past the template) is refused.

https://docs.aws.amazon.com/iot/latest/apireference/Welcome.html
"""

import io
import json
import logging
import re
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs, unquote

from cryptography import x509

from local.api import ACCOUNT_ID, REGION, ApiError, Response, encode_json, json_response
from local.deployment.provider import Created, DeploymentError
from local.intake.certificates import CertificateAuthority, common_name
from local.intake.device_access import PolicyError, Registration, check_policy

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

# What a request is for is in its signature: `Credential=<key>/<day>/<region>/iot/aws4_request`.
_SIGNED_FOR_IOT: Final = re.compile(r"Credential=[^/]+/\d+/[^/]+/iot/")
_THING: Final = re.compile(r"/things/([^/]+)")
_RULE_CHANGE: Final = re.compile(r"/rules/[^/]+")
_RULE_SWITCH: Final = re.compile(r"/rules/([^/]+)/(enable|disable)")

_log = logging.getLogger(__name__)


def iot_backend() -> Any:
    """moto's IoT registry of the one account and region."""
    # Imported late: it is heavy, and tests of the rest need no moto.
    from moto.iot.models import iot_backends

    return iot_backends[ACCOUNT_ID][REGION]


class IotRegistry:
    """moto's registry, read as the broker needs it."""

    def __init__(self, authority: CertificateAuthority, backend: Any) -> None:
        self._authority = authority
        self._backend = backend
        self._parsed: dict[str, x509.Certificate] = {}
        # Held while moto is at work: it has none, and looks through what another request changes.
        self.lock = threading.Lock()

    def registrations(self) -> list[Registration]:
        """Every certificate of this authority's making, with its things and policies."""
        things = _by_certificate(self._backend.principal_things)
        policies = _by_certificate(self._backend.principal_policies)
        return [
            Registration(
                certificate_id=certificate.certificate_id,
                certificate=self._parse(certificate),
                active=certificate.status == "ACTIVE",
                things=tuple(things.get(certificate.arn, ())),
                policies=tuple(map(self._document, policies.get(certificate.arn, ()))),
            )
            for certificate in list(self._backend.certificates.values())
            if common_name(self._parse(certificate))
        ]

    def create_keys_and_certificate(self, active: bool) -> dict[str, Any]:
        """CreateKeysAndCertificate's response."""
        issued = self._authority.issue_device()
        return self._register(issued.certificate_pem, _status(active)) | {
            "keyPair": {"PublicKey": issued.public_key_pem, "PrivateKey": issued.private_key_pem}
        }

    def create_certificate_from_csr(self, request_pem: str, status: str) -> dict[str, Any]:
        """CreateCertificateFromCsr's response."""
        try:
            return self._register(self._authority.sign_request(request_pem), status)
        except ValueError as error:
            raise ApiError("InvalidRequestException", str(error)) from None

    def refuse_other_thing(self, name: str, request: Mapping[str, Any]) -> None:
        """ApiError if a thing of this name has other settings, which moto would overwrite.

        https://docs.aws.amazon.com/iot/latest/apireference/API_CreateThing.html
        """
        present = next(
            (t for t in list(self._backend.things.values()) if t.thing_name == name), None
        )
        if present is None:
            return
        attributes = (request.get("attributePayload") or {}).get("attributes") or {}
        thing_type = present.thing_type.thing_type_name if present.thing_type else None
        if (attributes, request.get("thingTypeName")) != (present.attributes, thing_type):
            raise ApiError(
                "ResourceAlreadyExistsException",
                f"Thing {name} already exists in account with different attributes",
                409,
            )

    def put_rule(self, name: str, payload: Mapping[str, Any]) -> None:
        """Keep a rule for GetTopicRule and ListTopicRules, in the API's spelling."""
        self.remove_rule(name)
        self._backend.create_topic_rule(
            rule_name=name,
            sql=payload["Sql"],
            description=payload.get("Description", ""),
            rule_disabled=str(payload.get("RuleDisabled", False)).lower() == "true",
            actions=[_api_spelling(action) for action in payload["Actions"]],
            error_action=_api_spelling(payload.get("ErrorAction") or {}),
            aws_iot_sql_version=payload["AwsIotSqlVersion"],
        )

    def remove_rule(self, name: str) -> None:
        """Forget a rule."""
        self._backend.rules.pop(name, None)

    def provision(self, thing_name: str, certificate_id: str, policy_name: str) -> None:
        """Attach a certificate to a thing, which is made if it isn't there, and a policy to it."""
        with self.lock:
            if all(thing.thing_name != thing_name for thing in self._backend.things.values()):
                self._backend.create_thing(thing_name, "", None)
            arn = self._backend.certificates[certificate_id].arn
            self._backend.attach_thing_principal(thing_name, arn)
            self._backend.attach_policy(policy_name, arn)

    def set_status(self, certificate_id: str, status: str) -> None:
        """What UpdateCertificate does."""
        with self.lock:
            self._backend.update_certificate(certificate_id, status)

    def certificate_pem(self, certificate_id: str) -> str:
        """A certificate in PEM."""
        return str(self._backend.certificates[certificate_id].certificate_pem)

    def _register(self, certificate_pem: str, status: str) -> dict[str, Any]:
        with self.lock:
            certificate = self._backend.register_certificate_without_ca(certificate_pem, status)
        return {
            "certificateArn": certificate.arn,
            "certificateId": certificate.certificate_id,
            "certificatePem": certificate.certificate_pem,
        }

    def _parse(self, certificate: Any) -> x509.Certificate:
        parsed = self._parsed.get(certificate.certificate_id)
        if parsed is None:
            parsed = x509.load_pem_x509_certificate(certificate.certificate_pem.encode())
            self._parsed[certificate.certificate_id] = parsed
        return parsed

    def _document(self, policy_name: str) -> str:
        document = self._backend.policies[policy_name].document
        return document if isinstance(document, str) else json.dumps(document)


class IotApi:
    """Stands before moto in the path of requests: ours are answered here, the rest passed on.

    `access_changed` puts the registry's state into effect on the broker, `device_endpoint` is the
    broker's host:port, and `enable_rule` lets a rule run, or leaves it out.
    """

    def __init__(
        self,
        registry: IotRegistry,
        moto: "WSGIApplication",
        access_changed: Callable[[], None],
        device_endpoint: Callable[[], str],
        enable_rule: Callable[[str, bool], None] = lambda _name, _enabled: None,
    ) -> None:
        self._registry = registry
        self._moto = moto
        self._access_changed = access_changed
        self._device_endpoint = device_endpoint
        self._enable_rule = enable_rule

    def __call__(
        self, environ: "WSGIEnvironment", start_response: "StartResponse"
    ) -> Iterable[bytes]:
        if not _SIGNED_FOR_IOT.search(environ.get("HTTP_AUTHORIZATION", "")):
            return self._moto(environ, start_response)
        method, path = environ["REQUEST_METHOD"], unquote(environ.get("PATH_INFO", "/"))
        try:
            answer = self._answer(method, path, environ)
        except ApiError as error:
            body = encode_json({"message": error.message})
            answer = Response(error.status, {"x-amzn-ErrorType": error.code}, body)
        if answer is not None:
            headers = {"Content-Type": "application/json", "Content-Length": str(len(answer.body))}
            start_response(f"{answer.status} IoT", list((headers | dict(answer.headers)).items()))
            return [answer.body]
        with self._registry.lock:
            response = list(self._moto(environ, start_response))
        # Nobody's rights follow from a thing alone.
        if method != "GET" and not (method in ("POST", "PATCH") and _THING.fullmatch(path)):
            self._access_changed()
        return response

    def _issued(self, certificate: dict[str, Any]) -> Response:
        # Who holds it may not connect yet.
        self._access_changed()
        return json_response(certificate)

    def _answer(self, method: str, path: str, environ: "WSGIEnvironment") -> Response | None:
        query = parse_qs(environ.get("QUERY_STRING", ""))
        active = query.get("setAsActive", ["false"])[0].lower() == "true"
        match method, path:
            case "POST", "/keys-and-certificate":
                return self._issued(self._registry.create_keys_and_certificate(active))
            case "POST", "/certificates":
                request = json.loads(_body(environ))
                pem = str(request.get("certificateSigningRequest", ""))
                return self._issued(
                    self._registry.create_certificate_from_csr(pem, _status(active))
                )
            case "GET", "/endpoint":
                return json_response({"endpointAddress": self._device_endpoint()})
        if method == "POST" and (thing := _THING.fullmatch(path)):
            self._registry.refuse_other_thing(thing[1], json.loads(_body(environ) or b"{}"))
        if switch := _RULE_SWITCH.fullmatch(path):
            self._enable_rule(switch[1], switch[2] == "enable")
            return None
        if method != "GET" and _RULE_CHANGE.fullmatch(path):
            raise ApiError(
                "InvalidRequestException", "deploy rules with the template: it is what runs"
            )
        return None


def _status(active: bool) -> str:
    return "ACTIVE" if active else "INACTIVE"


def _body(environ: "WSGIEnvironment") -> bytes:
    """A request's body, which whoever answers it may read again."""
    body: bytes = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    environ["wsgi.input"] = io.BytesIO(body)
    return body


class PolicyProvider:
    """AWS::IoT::Policy: moto's registry, refusing what the broker could not enforce exactly."""

    resource_type = "AWS::IoT::Policy"
    properties = frozenset({"PolicyName", "PolicyDocument", "Tags"})

    def __init__(self, backend: Any, access_changed: Callable[[], None]) -> None:
        self._backend = backend
        self._access_changed = access_changed

    def create(self, logical_id: str, name: str, properties: dict[str, Any]) -> Created:
        """Register the policy under its name or CloudFormation's."""
        del logical_id
        policy_name = properties.get("PolicyName") or name
        self._backend.create_policy(policy_name, _checked(properties))
        return self._created(policy_name)

    def update(self, physical_id: str, old: dict[str, Any], new: dict[str, Any]) -> Created:
        """Replace the document; devices that are connected are held to the new one at once."""
        if old.get("PolicyName") != new.get("PolicyName"):
            raise DeploymentError("a policy's name can't be changed: deploy another policy")
        # IoT keeps five versions and then refuses more; CloudFormation drops the oldest.
        policy = self._backend.get_policy(physical_id)
        policy.versions = policy.versions[-1:]
        self._backend.create_policy_version(physical_id, _checked(new), set_as_default=True)
        self._access_changed()
        return self._created(physical_id)

    def delete(self, physical_id: str, properties: dict[str, Any]) -> None:
        """Remove the policy; DeploymentError while certificates hold it, as IoT refuses it.

        https://docs.aws.amazon.com/iot/latest/apireference/API_DeletePolicy.html
        """
        del properties
        if any(name == physical_id for _, name in list(self._backend.principal_policies)):
            raise DeploymentError(
                f"The policy cannot be deleted as the policy is attached to one or more principals "
                f"(name={physical_id})"
            )
        self._backend.policies.pop(physical_id, None)
        self._access_changed()

    def _created(self, policy_name: str) -> Created:
        arn = f"arn:aws:iot:{REGION}:{ACCOUNT_ID}:policy/{policy_name}"
        return Created(policy_name, {"Arn": arn, "Id": policy_name})


def _by_certificate(attached: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """What is attached to each certificate, by its ARN: looked up once for every device there is,
    not once for each of them."""
    found: dict[str, list[str]] = {}
    for arn, name in list(attached):
        found.setdefault(arn, []).append(name)
    return found


def _checked(properties: dict[str, Any]) -> str:
    document = properties.get("PolicyDocument")
    if not isinstance(document, str):
        document = json.dumps(document or {})
    try:
        check_policy(document)
    except PolicyError as error:
        raise DeploymentError(str(error)) from None
    return document


def _api_spelling(action: Mapping[str, Any]) -> dict[str, Any]:
    """An action in the API's spelling: the template's StreamName is the API's streamName."""
    return {
        name[0].lower() + name[1:]: _api_spelling(value) if isinstance(value, Mapping) else value
        for name, value in action.items()
    }
