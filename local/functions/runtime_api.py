"""Lambda's Runtime API, for one process of a function: gives it events, takes its answers.

Guarantee: one event is at the process at a time; whatever the process does (answer, fail, fail to
start, end), exactly that reaches `messages`.

https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
"""

import http.server
import json
import queue
import re
import threading
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Final

# https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html: 6 MB each for request and
# response; the service's own message gives this number for responses.
MAX_RESPONSE_BYTES: Final = 6_291_556

_PATH: Final = re.compile(
    r"/2018-06-01/runtime/(?:invocation/(?P<id>[^/]+)/(?P<what>response|error)|init/(?P<init>error))"
)


class Kind(Enum):
    """What a process has said."""

    READY = auto()
    RESPONSE = auto()
    ERROR = auto()
    INIT_ERROR = auto()
    TOO_LARGE = auto()
    EXITED = auto()


@dataclass(frozen=True, slots=True)
class Message:
    """What a process has said. `payload` is its answer's or error's JSON, `size` that of an answer
    that is too large; `exit_status` is set when it ended."""

    kind: Kind
    request_id: str = ""
    payload: bytes = b""
    size: int = 0
    exit_status: int = 0


@dataclass(frozen=True, slots=True)
class Event:
    """What goes to the process; `deadline_ms` in epoch milliseconds."""

    request_id: str
    payload: bytes
    deadline_ms: int
    function_arn: str


class RuntimeApi:
    """The server on a free port of loopback. `give` an event, read `messages`."""

    def __init__(self) -> None:
        self.messages: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self.events: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        self.ready = False
        self._server = _Server(self)
        # How long `shutdown` may take: its loop looks up from waiting this often.
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        )
        self._thread.start()

    @property
    def address(self) -> str:
        """`host:port`, for AWS_LAMBDA_RUNTIME_API."""
        return f"127.0.0.1:{self._server.server_port}"

    def give(self, event: Event) -> None:
        """Have the process answer `event` as its next one."""
        self.events.put(event)

    def close(self) -> None:
        """Free the port. The process should have ended before."""
        self.events.put(None)
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, api: RuntimeApi) -> None:
        self.api = api
        super().__init__(("127.0.0.1", 0), _Handler)

    def server_bind(self) -> None:
        # Without the look-up of the host's name that HTTPServer does.
        super(http.server.HTTPServer, self).server_bind()
        self.server_name, self.server_port = "localhost", self.server_address[1]


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Headers and body in one packet: apart they cost 40 ms for each small event (Nagle's algorithm
    # against delayed acknowledgement).
    wbufsize = -1
    disable_nagle_algorithm = True
    server: _Server

    def do_GET(self) -> None:
        api = self.server.api
        if self.path != "/2018-06-01/runtime/invocation/next":
            self._answer(404)
            return
        if not api.ready:
            api.ready = True
            api.messages.put(Message(Kind.READY))
        event = api.events.get()
        if event is None:
            self.close_connection = True
            return
        self._answer(
            200,
            event.payload,
            {
                "Lambda-Runtime-Aws-Request-Id": event.request_id,
                "Lambda-Runtime-Deadline-Ms": str(event.deadline_ms),
                "Lambda-Runtime-Invoked-Function-Arn": event.function_arn,
                "Content-Type": "application/json",
            },
        )

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        match = _PATH.fullmatch(self.path)
        if match is None:
            self._answer(404)
            return
        request_id = match["id"] or ""
        if match["init"]:
            message = Message(Kind.INIT_ERROR, payload=body)
        elif match["what"] == "error":
            message = Message(Kind.ERROR, request_id, body)
        elif len(body) > MAX_RESPONSE_BYTES:
            self.server.api.messages.put(Message(Kind.TOO_LARGE, request_id, size=len(body)))
            self._answer(413, _json({"errorType": "RequestEntityTooLarge"}))
            return
        else:
            message = Message(Kind.RESPONSE, request_id, body)
        self.server.api.messages.put(message)
        self._answer(202, _json({"status": "OK"}))

    def handle_expect_100(self) -> bool:
        proceed = super().handle_expect_100()
        self.wfile.flush()
        return proceed

    def _answer(
        self, status: int, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> None:
        self.send_response(status)
        for name, value in (headers or {"Content-Type": "application/json"}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Requests are no news."""


def _json(value: object) -> bytes:
    return json.dumps(value).encode()
