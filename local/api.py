"""How a request reaches what answers it: the local cloud's front door.

Every emulated service registers here in one of two ways: as an operation of an AWS JSON API, which
clients name in the header `X-Amz-Target`, or as a route, a method and a path. What neither knows
goes to the fallback (moto). Guarantee: an error raised as `ApiError` reaches the client as the
exception that AWS documents, and anything else as an `InternalFailure` with its traceback in the
log, never as a broken connection.
"""

import base64
import binascii
import json
import logging
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

REGION: Final = "us-east-1"
# Key and secret of the only credentials: fixed, and no account's.
ACCESS_KEY: Final = "testing"
ACCOUNT_ID: Final = "123456789012"

_log = logging.getLogger(__name__)


class ApiError(Exception):
    """The caller's fault, in AWS's words: `code` is the exception's name, `status` HTTP's."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.status = status


@dataclass(frozen=True)
class Response:
    """What a route answers: a status, headers and the body's bytes."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


# A JSON operation takes the decoded request and gives the response before encoding. It may answer
# with bytes and datetimes: they become base64 and epoch seconds, as in every AWS JSON protocol.
Operation = Callable[[dict[str, Any]], Mapping[str, Any] | None]
RouteHandler = Callable[[re.Match[str], Mapping[str, str], bytes], Response]


@dataclass(frozen=True)
class Route:
    """One method ("*" for any) and a regular expression that the whole path must match.

    The handler gets the match, the headers (names in lower case; the query string is under
    ":query") and the body.
    """

    method: str
    path: re.Pattern[str]
    handler: RouteHandler


def json_response(value: Any, status: int = 200) -> Response:
    """`value` as a JSON body, with bytes as base64 and datetimes as epoch seconds."""
    return Response(status, {"Content-Type": "application/json"}, encode_json(value))


def encode_json(value: Any) -> bytes:
    """`value` as JSON in AWS's encoding: bytes as base64, datetimes as epoch seconds."""
    return json.dumps(value, default=_encode_special, separators=(",", ":")).encode()


def _encode_special(value: object) -> object:
    if isinstance(value, (bytes, bytearray, memoryview)):
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, datetime):
        return round(value.timestamp(), 3)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    raise TypeError(f"{type(value).__name__} has no place in a response: {value!r}")


def decode_blob(value: Any, name: str) -> bytes:
    """The bytes of a base64 member `name` of a JSON request; ApiError if it is not base64."""
    if isinstance(value, (bytes, bytearray)):
        return bytes(value)
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError, TypeError):
        raise ApiError("SerializationException", f"{name} is not valid base64") from None


class Api:
    """The WSGI application: our operations, then our services, then our routes, then the fallback.

    `services` are whole services of the query protocol, by the name that requests are signed for.
    """

    def __init__(
        self,
        operations: Mapping[str, Operation],
        routes: Iterable[Route],
        services: Mapping[str, Callable[[bytes], Response]],
        fallback: "WSGIApplication",
    ) -> None:
        self._operations = dict(operations)
        self._own_services = frozenset(target.partition(".")[0] for target in operations)
        self._routes = tuple(routes)
        self._services = dict(services)
        self._fallback = fallback
        # A service of which some operations are ours and the rest moto's, by its target prefix.
        self._shared_services = frozenset({"AWSGlue", "AmazonAthena"})

    def __call__(
        self, environ: "WSGIEnvironment", start_response: "StartResponse"
    ) -> Iterable[bytes]:
        answer = self._own_answer(environ)
        if answer is None:
            return self._fallback(environ, start_response)
        headers = {"x-amzn-RequestId": str(uuid4()), "Content-Length": str(len(answer.body))}
        headers.update(answer.headers)
        start_response(status_line(answer.status), list(headers.items()))
        return () if environ["REQUEST_METHOD"] == "HEAD" else (answer.body,)

    def _own_answer(self, environ: "WSGIEnvironment") -> Response | None:
        target = environ.get("HTTP_X_AMZ_TARGET", "")
        if target:
            service = target.partition(".")[0]
            operation = self._operations.get(target)
            if operation is None and (
                service not in self._own_services or service in self._shared_services
            ):
                return None
            return _run_operation(target, operation, _body(environ))
        if service_answer := self._services.get(service_signed_for(environ)):
            return service_answer(_body(environ))
        method, path = environ["REQUEST_METHOD"], environ.get("PATH_INFO", "/")
        for route in self._routes:
            if route.method in ("*", method) and (match := route.path.fullmatch(path)):
                return _run_route(route, match, environ)
        return None


def service_signed_for(environ: "WSGIEnvironment") -> str:
    """The service of a signature, `Credential=<id>/<date>/<region>/<service>/aws4_request`."""
    scope = environ.get("HTTP_AUTHORIZATION", "").partition("Credential=")[2].split(",")[0]
    return scope.split("/")[3] if scope.count("/") >= 4 else ""


_REASONS = {
    200: "OK",
    201: "Created",
    202: "Accepted",
    204: "No Content",
    400: "Bad Request",
    403: "Forbidden",
    404: "Not Found",
    409: "Conflict",
    429: "Too Many Requests",
    500: "Internal Server Error",
    503: "Service Unavailable",
}


def status_line(status: int) -> str:
    """HTTP's status with its reason, as WSGI has it."""
    return f"{status} {_REASONS.get(status, '')}"


def _body(environ: "WSGIEnvironment") -> bytes:
    # A chunked body has no length; werkzeug then ends the stream itself.
    size = -1 if environ.get("wsgi.input_terminated") else int(environ.get("CONTENT_LENGTH") or 0)
    body: bytes = environ["wsgi.input"].read(size)
    return body


def _run_operation(target: str, operation: Operation | None, body: bytes) -> Response:
    headers = {"Content-Type": "application/x-amz-json-1.1"}
    try:
        answer = operation(_request(body)) if operation else _unknown(target)
        return Response(200, headers, encode_json(answer or {}))
    except ApiError as error:
        refusal = {"__type": error.code, "message": error.message}
        return Response(error.status, headers, encode_json(refusal))
    except Exception:  # noqa: BLE001 - a bug of ours must reach the client as a fault, and the log
        return _internal_failure(target, headers)


def _unknown(target: str) -> Mapping[str, Any]:
    raise ApiError("UnknownOperationException", f"the local cloud has no {target}")


def _request(body: bytes) -> dict[str, Any]:
    try:
        request = json.loads(body or b"{}")
    except ValueError as error:
        raise ApiError("SerializationException", str(error)) from None
    if not isinstance(request, dict):
        raise ApiError("SerializationException", "the request is not a JSON object")
    return request


def _run_route(route: Route, match: re.Match[str], environ: "WSGIEnvironment") -> Response:
    headers = {
        name[5:].replace("_", "-").lower(): value
        for name, value in environ.items()
        if name.startswith("HTTP_")
    }
    headers["content-type"] = environ.get("CONTENT_TYPE", "")
    headers[":query"] = environ.get("QUERY_STRING", "")
    try:
        return route.handler(match, headers, _body(environ))
    except ApiError as error:
        return Response(
            error.status,
            {"Content-Type": "application/json", "x-amzn-ErrorType": error.code},
            encode_json({"Type": "User", "Code": error.code, "message": error.message}),
        )
    except Exception:  # noqa: BLE001 - a bug of ours must reach the client as a fault, and the log
        return _internal_failure(match.string, {"Content-Type": "application/json"})


def _internal_failure(what: str, headers: Mapping[str, str]) -> Response:
    _log.exception("the local cloud failed in %s", what)
    answer = {"__type": "InternalFailure", "message": f"{what}: see the local cloud's log"}
    return Response(500, headers, encode_json(answer))
