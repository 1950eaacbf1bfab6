"""Functions and layers as they are deployed, and Lambda's API to invoke them.

What is deployed is kept by moto, where `aws lambda get-function-configuration` and
`update-function-code` find it too; here it is read before every invocation, so that a change takes
effect with the next one. Guarantee: what runs is what Lambda's API tells.

https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html
"""

import base64
import json
import logging
import re
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import unquote

from local.api import ACCOUNT_ID, REGION, ApiError, Response, Route
from local.faults.processes import Processes
from local.functions.artifact import UnsupportedFunctionError, ZipArtifact
from local.functions.runtime import FunctionDescription, FunctionRuntime, Invocation
from local.mapping.settings import function_name

# https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
_MAX_ASYNCHRONOUS_BYTES: Final = 1024 * 1024
# An asynchronous invocation that fails is tried again after a minute, and after two more.
# https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html
_ASYNCHRONOUS_DELAYS_SECONDS: Final = (60.0, 120.0)

_log = logging.getLogger(__name__)


class DescribeFunction(Protocol):
    """Tells what is deployed under a function's name; ApiError if nothing is."""

    def __call__(self, name: str) -> FunctionDescription: ...


def describe_from_moto(backend: Any) -> DescribeFunction:
    """Descriptions out of moto's Lambda backend of the local cloud's account and region.

    Its API tells everything but the archives' bytes: a real GetFunction gives a link to them,
    moto's gives one that leads nowhere, hence the look inside (moto 5.2).
    """

    def describe(name: str) -> FunctionDescription:
        function = next((f for f in backend.list_functions() if f.function_name == name), None)
        if function is None:
            arn = f"arn:aws:lambda:{REGION}:{ACCOUNT_ID}:function:{name}"
            raise ApiError("ResourceNotFoundException", f"Function not found: {arn}", 404)
        layers = [_layer(backend, layer["Arn"]) for layer in function.layers]
        reserved = function.reserved_concurrency
        return FunctionDescription(
            name=name,
            handler=function.handler,
            runtime=function.run_time,
            architecture=function.architectures[0],
            timeout_seconds=int(function.timeout),
            memory_megabytes=int(function.memory_size),
            environment=dict(function.environment_vars),
            code=_archive(function),
            layers=tuple(_archive(layer) for layer in layers),
            role_arn=function.role,
            log_format=getattr(function, "local_log_format", "Text"),
            log_group=getattr(function, "local_log_group", f"/aws/lambda/{name}"),
            reserved_concurrency=None if reserved is None else int(reserved),
        )

    return describe


def _layer(backend: Any, arn: str) -> Any:
    layer = backend.layers_versions_by_arn(arn)
    if layer is None:
        raise ApiError("ResourceNotFoundException", f"Layer version not found: {arn}", 404)
    return layer


def _archive(stored: Any) -> ZipArtifact:
    return ZipArtifact(stored.code_sha_256, lambda: bytes(stored.code_bytes))


class DeployedFunctions:
    """Every function of the local cloud, each with its own processes. Thread-safe."""

    def __init__(
        self,
        describe: DescribeFunction,
        folder: Path,
        endpoint_url: str,
        add_metrics: Callable[..., None],
        processes: Processes | None = None,
        add_line: Callable[[str, str], None] = lambda _group, _line: None,
    ) -> None:
        self._describe = describe
        self._folder = folder
        self._add_line = add_line
        self._endpoint_url = endpoint_url
        self._add_metrics = add_metrics
        self._processes = processes
        self._runtimes: dict[str, FunctionRuntime] = {}
        self._lock = threading.Lock()
        self._stopping = threading.Event()

    def invoke(self, name_or_arn: str, payload: bytes) -> Invocation:
        """Run a function on `payload` and wait; ApiError if it could not be invoked."""
        name = function_name(name_or_arn)
        self._describe(name)
        return self._runtime(name).invoke(payload)

    def prepare(self, name: str) -> None:
        """Unpack a function that was deployed, in the background, before its first invocation."""
        threading.Thread(
            target=self._prepare, args=(name,), name=f"prepare-{name}", daemon=True
        ).start()

    def _prepare(self, name: str) -> None:
        try:
            self._runtime(name).prepare()
        except (ApiError, UnsupportedFunctionError) as error:
            _log.warning("%s can't run: %s", name, error)

    def _runtime(self, name: str) -> FunctionRuntime:
        with self._lock:
            if name not in self._runtimes:
                self._runtimes[name] = FunctionRuntime(
                    lambda: self._describe(name),
                    self._folder,
                    self._endpoint_url,
                    self._add_metrics,
                    processes=self._processes,
                    add_line=self._add_line,
                )
            return self._runtimes[name]

    def role_arn(self, name: str) -> str:
        """The role of a function; empty if there is no such function yet."""
        try:
            return self._describe(name).role_arn
        except ApiError:
            return ""

    def forget(self, name: str) -> None:
        """End the processes of a function that was deleted."""
        with self._lock:
            runtime = self._runtimes.pop(name, None)
        if runtime is not None:
            runtime.stop()

    def stop(self) -> None:
        """End every process."""
        self._stopping.set()
        with self._lock:
            runtimes = list(self._runtimes.values())
            self._runtimes.clear()
        for runtime in runtimes:
            runtime.stop()

    def routes(self) -> list[Route]:
        """Lambda's Invoke."""
        path = re.compile(r"/2015-03-31/functions/(?P<name>[^/]+)/invocations")
        return [Route("POST", path, self._invoke_route)]

    def _invoke_route(
        self, match: re.Match[str], headers: Mapping[str, str], body: bytes
    ) -> Response:
        name = function_name(unquote(match["name"]))
        payload = _checked_payload(body)
        self._describe(name)
        match headers.get("x-amz-invocation-type", "RequestResponse"):
            case "RequestResponse":
                return _synchronous_response(
                    self.invoke(name, payload), headers.get("x-amz-log-type") == "Tail"
                )
            case "Event":
                self._invoke_later(name, payload)
                return Response(202)
            case "DryRun":
                return Response(204)
            case other:
                raise ApiError("InvalidParameterValueException", f"InvocationType: {other!r}")

    def _invoke_later(self, name: str, payload: bytes) -> None:
        if len(payload) > _MAX_ASYNCHRONOUS_BYTES:
            raise ApiError("RequestTooLargeException", "asynchronous events end at 1 MB", 413)
        threading.Thread(
            target=self._attempts, args=(name, payload), name=f"invoke-{name}", daemon=True
        ).start()

    def _attempts(self, name: str, payload: bytes) -> None:
        for delay in (*_ASYNCHRONOUS_DELAYS_SECONDS, None):
            try:
                if self.invoke(name, payload).error is None:
                    return
            except ApiError as error:
                _log.info("asynchronous invocation of %s: %s", name, error)
            if delay is None or self._stopping.wait(delay):
                break
        _log.warning("an asynchronous invocation of %s was given up", name)


def _checked_payload(body: bytes) -> bytes:
    """The event's JSON; a call without a body means an empty object."""
    payload = body or b"{}"
    try:
        json.loads(payload)
    except ValueError as error:
        message = f"Could not parse request body into json: {error}"
        raise ApiError("InvalidRequestContentException", message) from None
    return payload


def _synchronous_response(invocation: Invocation, with_log: bool) -> Response:
    headers = {
        "Content-Type": "application/json",
        "X-Amz-Executed-Version": "$LATEST",
        "x-amzn-RequestId": invocation.request_id,
    }
    if invocation.error is not None:
        headers["X-Amz-Function-Error"] = invocation.error
    if with_log:
        headers["X-Amz-Log-Result"] = base64.b64encode(invocation.log_tail).decode("ascii")
    return Response(200, headers, invocation.payload)
