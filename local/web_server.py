"""The HTTP server of the local cloud: on loopback, connections kept alive, answers at once.

Werkzeug's own closes every connection and then waits 10 ms for more, which the thousands of small
calls of Iceberg, Spark and producers feel; so requests are read here and given to the application
as WSGI. Each connection has its thread.
"""

import io
import logging
import socket
import sys
from collections.abc import Callable, Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication, WSGIEnvironment

HOST: Final = "127.0.0.1"
_IDLE_SECONDS: Final = 300

_log = logging.getLogger(__name__)


class PortInUseError(Exception):
    """Somebody else listens on the port; the message says so, and what to do, in one line."""

    def __init__(self, port: int, variable: str) -> None:
        super().__init__(
            f"port {port} is in use by another program; {variable}=<port> takes another"
        )


class WebServer(ThreadingHTTPServer):
    """Serves one WSGI application on one address. `port` 0 takes a free one."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port: int, application: "WSGIApplication", host: str = HOST) -> None:
        self.application = application
        try:
            super().__init__((host, port), _Request)
        except OSError as error:
            raise PortInUseError(port, "LOCAL_CLOUD_PORT") from error

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self.server_address[1])

    def server_bind(self) -> None:
        """Bind without asking the name service for this machine's name, which may take seconds."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = HOST, self.port

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is nothing; anything else is for the log."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            _log.exception("a connection failed")


class _Request(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # An answer's last packet must not wait for the acknowledgement of the one before: 40 ms.
    disable_nagle_algorithm = True
    wbufsize = 256 * 1024
    timeout = _IDLE_SECONDS
    server: WebServer

    def handle_one_request(self) -> None:
        try:
            self.raw_requestline = self.rfile.readline(65537)
            if not self.raw_requestline:
                self.close_connection = True
            elif self.parse_request():
                self._answer()
        except TimeoutError:
            self.close_connection = True

    def handle_expect_100(self) -> bool:
        """Tell the client to send its body."""
        self.send_response_only(100)
        self.end_headers()
        self.wfile.flush()
        return True

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - inherited
        """Requests are not logged."""

    def _answer(self) -> None:
        body = self._body()
        head: dict[str, Any] = {}

        def start_response(
            status: str, headers: list[tuple[str, str]], exc_info: Any = None
        ) -> Callable[[bytes], object]:
            head["status"], head["headers"] = status, headers
            return self.wfile.write

        answer = self.server.application(self._environ(body), start_response)
        try:
            self._send(head["status"], head["headers"], answer)
        finally:
            if hasattr(answer, "close"):
                answer.close()

    def _send(self, status: str, headers: list[tuple[str, str]], parts: Iterable[bytes]) -> None:
        code, _, reason = status.partition(" ")
        names = {name.lower() for name, _ in headers}
        has_body = self.command != "HEAD" and int(code) not in (204, 304)
        if "content-length" not in names and has_body:
            parts = [b"".join(parts)]
            headers = [*headers, ("Content-Length", str(len(parts[0])))]
        self.send_response_only(int(code), reason)
        for name, value in headers:
            if name.lower() != "connection":
                self.send_header(name, value)
        self.end_headers()
        for part in parts:
            if has_body:
                self.wfile.write(part)
        self.wfile.flush()

    def _body(self) -> bytes:
        if "chunked" in self.headers.get("Transfer-Encoding", "").lower():
            return b"".join(iter(self._chunk, b""))
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _chunk(self) -> bytes:
        size = int(self.rfile.readline().split(b";")[0], 16)
        data = self.rfile.read(size)
        self.rfile.readline()
        return data

    def _environ(self, body: bytes) -> "WSGIEnvironment":
        path, _, query = self.path.partition("?")
        environ: WSGIEnvironment = {
            "REQUEST_METHOD": self.command,
            "SCRIPT_NAME": "",
            # WSGI's text is bytes read as Latin-1.
            "PATH_INFO": unquote(path, "latin-1"),
            "QUERY_STRING": query,
            "RAW_URI": self.path,
            "REQUEST_URI": self.path,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "SERVER_NAME": HOST,
            "SERVER_PORT": str(self.server.port),
            "SERVER_PROTOCOL": "HTTP/1.1",
            "REMOTE_ADDR": HOST,
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.input": io.BytesIO(body),
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": True,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
        }
        # WSGI can't tell `x-amz-meta-a_b` from `x-amz-meta-a-b`; moto asks here.
        environ["moto.preserved_header_names"] = {
            "HTTP_" + name.upper().replace("-", "_"): name for name in self.headers if "_" in name
        }
        for name, value in self.headers.items():
            key = "HTTP_" + name.upper().replace("-", "_")
            if name.lower() in ("content-type", "content-length", "transfer-encoding"):
                continue
            environ[key] = f"{environ[key]},{value}" if key in environ else value
        return environ


def is_listening(port: int) -> bool:
    """Whether somebody listens on loopback's `port`."""
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex((HOST, port)) == 0
