"""Where faults strike: around the front door for every request, and around calls in the process.

Guarantees: without a fault that waits, nothing is looked at; a lost answer was applied, whole; a
call that is applied twice is the same request twice.
"""

import io
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Never

from botocore.exceptions import BotoCoreError, ClientError, ConnectionClosedError

from local.api import ApiError, status_line
from local.faults.answers import Refusal, refusal_of, response_of
from local.faults.calls import Call, call_of
from local.faults.faults import Fault, Faults
from local.faults.processes import Processes

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

type _Answer = tuple[str, list[tuple[str, str]], list[bytes]]


def _carry_out[T](
    fault: Fault,
    faults: Faults,
    apply: Callable[[], T],
    refuse: Callable[[], T],
    lose: Callable[[], T],
) -> T:
    """Do to a call what the fault says; `lose` ends it without an answer (a kill is one too)."""
    match fault.kind:
        case "throttle" | "error":
            return refuse()
        case "delay":
            faults.wait(fault)
            return apply()
        case "duplicate":
            _applied(apply)
            return apply()
        case "lose-response":
            _applied(apply)
            return lose()
        case "kill":
            if fault.when == "after":
                _applied(apply)
            return lose()
        case other:
            raise ValueError(f"{other} strikes no call")


def _applied(apply: Callable[[], object]) -> None:
    """Apply a call whose answer, an error included, nobody gets."""
    with suppress(ApiError, ClientError, BotoCoreError):
        apply()


class Door:
    """The WSGI layer in front of everything that is reached over HTTP."""

    def __init__(
        self, application: "WSGIApplication", faults: Faults, processes: Processes
    ) -> None:
        self._application = application
        self._faults = faults
        self._processes = processes

    def __call__(
        self, environ: "WSGIEnvironment", start_response: "StartResponse"
    ) -> Iterable[bytes]:
        if not self._faults.waiting:
            return self._application(environ, start_response)
        body: bytes = environ["wsgi.input"].read()
        process = self._processes.caller(environ.get("HTTP_USER_AGENT", ""))
        call = call_of(environ, body, process)
        fault = self._faults.strike(call) if call is not None else None

        def apply() -> _Answer:
            return self._answer({**environ, "wsgi.input": io.BytesIO(body)})

        if call is None or fault is None:
            status, headers, parts = apply()
        else:
            status, headers, parts = self._struck(fault, call, apply)
        start_response(status, headers)
        return parts

    def _struck(self, fault: Fault, call: Call, apply: Callable[[], _Answer]) -> _Answer:
        def refuse() -> _Answer:
            response = response_of(refusal_of(fault, call), call.protocol)
            headers = [*response.headers.items(), ("Content-Length", str(len(response.body)))]
            return status_line(response.status), headers, [response.body]

        def lose() -> Never:
            if fault.kind == "kill" and call.process is not None:
                self._processes.kill(call.process)
            # The server closes a connection that is broken, and says nothing on it.
            raise ConnectionAbortedError(f"the fault {fault.name} keeps the answer back")

        return _carry_out(fault, self._faults, apply, refuse, lose)

    def _answer(self, environ: "WSGIEnvironment") -> _Answer:
        """The application's whole answer."""
        head: list[Any] = []

        def start_response(*given: Any) -> Callable[[bytes], object]:
            head[:] = given
            return lambda _: None  # nothing here writes that way

        parts = self._application(environ, start_response)
        try:
            body = list(parts)
        finally:
            if hasattr(parts, "close"):
                parts.close()
        return head[0], head[1], body


class Struck:
    """A client in the process, `service` by name, whose calls faults strike as they do others.

    https://docs.aws.amazon.com/boto3/latest/guide/error-handling.html
    """

    def __init__(self, client: Any, service: str, faults: Faults) -> None:
        self._client = client
        self._service = service
        self._faults = faults

    def __getattr__(self, method: str) -> Any:
        target = getattr(self._client, method)
        operation = method.title().replace("_", "")
        return around(target, f"{self._service}:{operation}", self._faults)


def around[**P, T](call: Callable[P, T], name: str, faults: Faults) -> Callable[P, T]:
    """`call`, struck by the faults on calls of `name`; refused, it raises ApiError."""

    def struck(*args: P.args, **kwargs: P.kwargs) -> T:
        if not faults.waiting:
            return call(*args, **kwargs)
        resource = " ".join(text for text in (*args, *kwargs.values()) if isinstance(text, str))
        this = Call(name, resource)
        fault = faults.strike(this)
        if fault is None:
            return call(*args, **kwargs)
        return _carry_out(
            fault,
            faults,
            lambda: call(*args, **kwargs),
            lambda: _refuse(refusal_of(fault, this)),
            lambda: _lose(this),
        )

    return struck


def _refuse(refusal: Refusal) -> Never:
    raise ApiError(refusal.code, refusal.message, refusal.status)


def _lose(call: Call) -> Never:
    raise ConnectionClosedError(endpoint_url=call.name)
