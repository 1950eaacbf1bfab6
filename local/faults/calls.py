"""What an HTTP request is called in AWS's words: `s3:PutObject`, `kinesis:PutRecords`.

Names are botocore's: the service as `boto3.client` has it, the operation as the API has it. S3 is
path-style here, as every client of the local cloud is told.
"""

import re
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import filter as matching
from functools import cache
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl

from botocore.session import Session

from local.api import service_signed_for
from local.faults.processes import OwnProcess

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

# What no API has and still can be struck: IoT running a rule on a message.
_OF_OUR_OWN: Final = {"iot": ["RunRule"]}
_SIGNED_AS: Final = {"monitoring": "cloudwatch"}
_PLACEHOLDER: Final = re.compile(r"{\w+(\+?)}")


@dataclass(frozen=True)
class Call:
    """One call of an AWS service. `resource` is what it names: path and query, or the request's
    members; `process` made it, if it was one that the local cloud has started."""

    name: str
    resource: str = ""
    process: OwnProcess | None = None
    protocol: str = "json"

    @property
    def service(self) -> str:
        """Such as `kinesis`."""
        return self.name.partition(":")[0]


def call_of(environ: "WSGIEnvironment", body: bytes, process: OwnProcess | None) -> Call | None:
    """The call that a signed request is; None for what is no call of AWS."""
    signed = service_signed_for(environ)
    service = _SIGNED_AS.get(signed, signed)
    if not service:
        return None
    if target := environ.get("HTTP_X_AMZ_TARGET"):
        return Call(f"{service}:{target.rpartition('.')[2]}", body.decode("latin-1"), process)
    path, query = environ.get("PATH_INFO", "/"), environ.get("QUERY_STRING", "")
    if path == "/" and "x-www-form-urlencoded" in environ.get("CONTENT_TYPE", ""):
        form = dict(parse_qsl(body.decode("latin-1")))
        return Call(
            f"{service}:{form.get('Action', '')}", " ".join(form.values()), process, "query"
        )
    given = {name.lower() for name, _ in parse_qsl(query, keep_blank_values=True)}
    given |= {name[5:].replace("_", "-").lower() for name in environ if name.startswith("HTTP_")}
    operation = _rest_operation(service, environ["REQUEST_METHOD"], path, query, given)
    protocol = "s3" if service == "s3" else "rest-json"
    return Call(f"{service}:{operation}", f"{path}?{query}", process, protocol)


def _rest_operation(service: str, method: str, path: str, query: str, given: set[str]) -> str:
    """The operation whose path matches and that needs most of what is `given`; of two that have all
    in common (S3's directory buckets are signed for another service), the plainer name."""
    fixed = {f"{name}={value}".lower() for name, value in parse_qsl(query, keep_blank_values=True)}
    named = [
        (len(needs), len(its_path.pattern), -len(name), name)
        for name, its_method, its_path, needs in _rest_operations(service)
        if its_method == method and its_path.fullmatch(path) and needs <= given | fixed
    ]
    return max(named)[-1] if named else ""


@cache
def _rest_operations(service: str) -> list[tuple[str, str, re.Pattern[str], frozenset[str]]]:
    """Name, method, path and the query's and headers' members without which it is another one."""
    operations = []
    for name in _session().get_service_model(service).operation_names:
        model = _session().get_service_model(service).operation_model(name)
        path, _, query = model.http["requestUri"].partition("?")
        pattern = _PLACEHOLDER.sub(lambda found: ".+" if found[1] else "[^/]+", path)
        needs = {
            f"{key}={value}".lower() for key, value in parse_qsl(query, keep_blank_values=True)
        }
        shape: Any = model.input_shape
        for member in shape.required_members if shape else ():
            where = shape.members[member].serialization
            if where.get("location") in ("querystring", "header"):
                needs.add(where["name"].lower())
        operations.append(
            (name, model.http["method"], re.compile(f"{pattern}/?"), frozenset(needs))
        )
    return operations


def no_such_call(pattern: str) -> str | None:
    """Why no call can match `pattern`, if so; one line that says what there is."""
    if not pattern:
        return "'on' is missing: which calls, as service:Operation, such as s3:PutObject"
    service, colon, operation = pattern.partition(":")
    if not colon:
        return f"'on' names calls as service:Operation, such as s3:PutObject, not {pattern!r}"
    services = matching(_session().get_available_services(), service)
    if not services:
        near = get_close_matches(service, _session().get_available_services(), 3)
        return f"there is no service {service!r}" + (f"; near: {', '.join(near)}" if near else "")
    names = [name for one in services for name in _operations(one)]
    if matching(names, operation):
        return None
    near = get_close_matches(operation, names, 3)
    return f"{service} has no {operation!r}" + (f"; near: {', '.join(near)}" if near else "")


@cache
def _session() -> Session:
    return Session()


@cache
def _operations(service: str) -> list[str]:
    api = _session().get_service_model(service).operation_names
    return [*api, *_OF_OUR_OWN.get(service, [])]
