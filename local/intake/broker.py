"""The broker process: mosquitto with mutual TLS on loopback, and its access list.

Guarantee: what it acknowledges it keeps until the bridge has it, without a limit on the queue, and
across a restart; a device connects only with a certificate that may connect at that moment.

Known to differ from AWS: mosquitto 2.0 marks every session that has no connection as ended when it
reads its access list again, and queues nothing more for it until it is back. So `Intake` lets it do
so only while the bridge is connected; a device that is away misses what is sent to it meanwhile.
And if its session is one of MQTT 5 that expires, its return may crash mosquitto, which has then
noted the expiry twice (https://github.com/eclipse-mosquitto/mosquitto/issues/1521).
"""

import logging
import os
import re
import resource
import signal
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from cryptography import x509

from local.intake.certificates import CertificateAuthority, write_private
from local.intake.device_access import Access, access_list
from local.intake.mosquitto import Program

BRIDGE: Final = "local-intake"
HOST: Final = "127.0.0.1"
# A payload of 128 KiB (https://docs.aws.amazon.com/general/latest/gr/iot-core.html) with room for
# its topic. IoT Core ends the connection of a device that sends more; so does mosquitto.
_MAX_PACKET_BYTES: Final = 129 * 1024
_CONNECTIONS: Final = 10_000
_START_SECONDS: Final = 20.0
_STOP_SECONDS: Final = 10.0
# mosquitto says that it runs shortly before it heeds signals, and forgets one that comes in
# between: so it is told again.
_SIGNAL_SECONDS: Final = 0.2
# Lines of its log.
_CONNECTED: Final = re.compile(r"New client connected from \S+ as (\S+) ")
_LEFT: Final = re.compile(r"Client (\S+) (?:disconnected|closed its|has exceeded)")

_log = logging.getLogger(__name__)


class BrokerError(Exception):
    """The broker did not start, or ended; the message says why in its own words."""


@dataclass(frozen=True)
class BrokerFiles:
    """Where the broker's files lie, all below one folder."""

    folder: Path

    @property
    def authority(self) -> Path:
        """The root certificate that devices trust."""
        return self.folder / "certificates/ca.pem"

    @property
    def access(self) -> Path:
        """mosquitto's access list."""
        return self.folder / "access.list"

    @property
    def revoked(self) -> Path:
        """The list of certificates that may not connect."""
        return self.folder / "certificates/revoked.pem"

    @property
    def settings(self) -> Path:
        """mosquitto's configuration."""
        return self.folder / "mosquitto.conf"

    @property
    def process_id(self) -> Path:
        """The number of the running process."""
        return self.folder / "broker.pid"

    def credentials(self, name: str) -> tuple[Path, Path]:
        """Certificate and key of `name`."""
        return (
            self.folder / f"certificates/{name}.pem",
            self.folder / f"certificates/{name}.key.pem",
        )


class Broker:
    """One mosquitto. `port` 0 takes a free one, kept across restarts."""

    def __init__(
        self, program: Program, folder: Path, authority: CertificateAuthority, port: int = 0
    ) -> None:
        self.files = BrokerFiles(folder)
        self.port = port
        self._program = program
        self._authority = authority
        self._process: subprocess.Popen[str] | None = None
        self._log_changed = threading.Condition()
        self._reloads = 0
        self._listening = False
        self._last_lines: list[str] = []
        self._clients: set[str] = set()
        self._access: str | None = None
        self._revoked: list[x509.Certificate] | None = None
        # Whether the broker goes by both.
        self._in_effect = False

    def prepare(self) -> None:
        """Write certificates and settings, once before the first start.

        A broker that a killed local cloud has left behind in the same folder is ended.
        """
        files = self.files
        _end_leftover(files)
        write_private(files.authority, self._authority.certificate_pem)
        for name, issued in (
            ("broker", self._authority.issue_server()),
            (BRIDGE, self._authority.issue_client(BRIDGE)),
        ):
            certificate, key = files.credentials(name)
            write_private(certificate, issued.certificate_pem)
            write_private(key, issued.private_key_pem)
        self._write_access([], [])
        (files.folder / "queue").mkdir(exist_ok=True)
        self.port = self.port or _free_port()
        write_private(files.settings, self._settings())

    def start(self) -> None:
        """Start and wait until devices can connect; BrokerError if it doesn't come to that."""
        self._listening = False
        self._clients.clear()
        _allow_connections()
        process = self._process = subprocess.Popen(
            [self._program.path, "-c", self.files.settings],
            env=os.environ | dict(self._program.environment),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            # Ctrl-C reaches the whole foreground group; this process ends by `stop` alone.
            start_new_session=True,
        )
        write_private(self.files.process_id, str(process.pid))
        threading.Thread(
            target=self._read_log, args=(process.stdout,), name="broker-log", daemon=True
        ).start()
        with self._log_changed:
            self._log_changed.wait_for(self._started_or_ended, timeout=_START_SECONDS)
            started = self._listening and self.running
        if not started:
            self.stop()
            raise BrokerError("mosquitto did not start: " + " / ".join(self._last_lines[-3:]))

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        return self._process is not None and self._process.poll() is None

    @property
    def process_id(self) -> int | None:
        """The process, while it runs."""
        return self._process.pid if self._process is not None and self.running else None

    def set_access(self, allowed: Iterable[Access], refused: Iterable[x509.Certificate]) -> None:
        """Put a new access list into effect: when this returns, the broker goes by it."""
        self._write_access(allowed, refused)
        if self._process is None or not self.running or self._in_effect:
            return
        with self._log_changed:
            before = self._reloads
            self._process.send_signal(signal.SIGHUP)
            # It blocks signals while it waits for packets, 100 ms at a time; any packet ends that.
            socket.create_connection((HOST, self.port), _START_SECONDS).close()
            reloading = self._log_changed.wait_for(
                lambda: self._reloads > before or not self.running, timeout=_START_SECONDS
            )
        if not reloading or not self.running:
            raise BrokerError("mosquitto did not read its access list: see its log")
        self._handshake()
        self._in_effect = True

    def _handshake(self) -> None:
        """Returns when the broker's only thread is through with what it did before."""
        with self._connected_as(BRIDGE):
            pass

    @contextmanager
    def _connected_as(self, name: str) -> Iterator[ssl.SSLSocket]:
        context = ssl.create_default_context(cafile=str(self.files.authority))
        context.load_cert_chain(*self.files.credentials(name))
        with (
            socket.create_connection((HOST, self.port), _START_SECONDS) as connection,
            context.wrap_socket(connection, server_hostname="localhost") as secured,
        ):
            yield secured

    def disconnect_clients(self) -> None:
        """Cut off every client, its session kept; they may connect again at once.

        mosquitto has no such command. As on AWS IoT, a second connection under a client's id ends
        the first: https://docs.aws.amazon.com/general/latest/gr/iot-core.html
        """
        with self._log_changed:
            clients = sorted(self._clients)
        for client in clients:
            name = f"takeover-{client}"
            certificate, key = self.files.credentials(name)
            issued = self._authority.issue_client(client)
            write_private(certificate, issued.certificate_pem)
            write_private(key, issued.private_key_pem)
            try:
                with self._connected_as(name) as connection:
                    connection.sendall(_connect_packet(client))
                    answer = connection.recv(4)  # once it is there, the other one is closed
            finally:
                certificate.unlink()
                key.unlink()
            if answer[:1] != b"\x20" or answer[3:] != b"\x00":
                raise BrokerError(f"{client} could not be cut off: mosquitto said {answer.hex()}")

    def save(self) -> None:
        """Have it write sessions and queues to disk now."""
        if self._process is not None and self.running:
            self._process.send_signal(signal.SIGUSR1)

    def stop(self) -> None:
        """End the process; what it keeps for the bridge is on disk. No error if it is gone."""
        process, self._process = self._process, None
        if process is None:
            return
        deadline = time.monotonic() + _STOP_SECONDS
        while process.poll() is None and time.monotonic() < deadline:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(_SIGNAL_SECONDS)
        if process.poll() is None:
            process.kill()
            process.wait()
        self.files.process_id.unlink(missing_ok=True)

    def _started_or_ended(self) -> bool:
        return self._listening or not self.running

    def _write_access(self, allowed: Iterable[Access], refused: Iterable[x509.Certificate]) -> None:
        access, revoked = access_list(allowed, BRIDGE), list(refused)
        if access != self._access:
            self._access, self._in_effect = access, False
            write_private(self.files.access, access)
        # A list that says the same as the one before would only fill the broker's memory.
        if revoked != self._revoked:
            self._revoked, self._in_effect = revoked, False
            write_private(self.files.revoked, self._authority.revocation_list(revoked).decode())

    def _settings(self) -> str:
        certificate, key = self.files.credentials("broker")
        settings = {
            "listener": f"{self.port} {HOST}",
            "cafile": self.files.authority,
            "certfile": certificate,
            "keyfile": key,
            "crlfile": self.files.revoked,
            "require_certificate": "true",
            "use_identity_as_username": "true",
            "use_username_as_clientid": "true",
            "tls_version": "tlsv1.2",
            "allow_anonymous": "false",
            "acl_file": self.files.access,
            # IoT Core's: 100 unacknowledged messages per connection and direction.
            "max_inflight_messages": 100,
            "max_qos": 1,
            # On AWS a retained message needs iot:RetainPublish and ends the connection without it;
            # no policy can give that here (`device_access`).
            "retain_available": "false",
            # An acknowledged message waits for the bridge, however many there are. With 0, which is
            # no limit too, mosquitto 2.0.11 cuts off a device after the first refused message.
            "max_queued_messages": 1_000_000_000,
            "max_packet_size": _MAX_PACKET_BYTES,
            # Not with `autosave_on_changes`: it writes everything at each change, and after the
            # acknowledgement, so that most kills still lost a message that was acknowledged.
            "persistence": "true",
            "persistence_location": f"{self.files.folder}/queue/",
            "set_tcp_nodelay": "true",
            # Its stdout is buffered when it is a pipe.
            "log_dest": "stderr",
            "log_timestamp": "false",
            "connection_messages": "true",
        }
        if os.geteuid() == 0:
            # As root it would change to a user who can't read its private files.
            settings["user"] = "root"
        return "".join(f"{name} {value}\n" for name, value in settings.items())

    def _read_log(self, output: IO[str]) -> None:
        with output, (self.files.folder / "broker.log").open("a", encoding="utf-8") as log:
            for line in output:
                log.write(line)
                log.flush()
                with self._log_changed:
                    self._last_lines = [*self._last_lines[-9:], line.strip()]
                    self._reloads += line.startswith("Reloading config")
                    self._listening = self._listening or "running" in line
                    if connected := _CONNECTED.match(line):
                        self._clients.add(connected[1])
                    elif left := _LEFT.match(line):
                        self._clients.discard(left[1])
                    self._log_changed.notify_all()
        with self._log_changed:
            self._log_changed.notify_all()


def _connect_packet(client: str) -> bytes:
    """MQTT 3.1.1's CONNECT to the session that there is, which outlives this connection."""
    name = client.encode()
    body = b"\x00\x04MQTT\x04\x00\x00\x3c" + len(name).to_bytes(2) + name
    # The length in groups of seven bits, the least first: a thing's name may have 128 characters.
    length = (
        bytes([len(body)]) if len(body) < 128 else bytes([len(body) % 128 | 128, len(body) // 128])
    )
    return b"\x10" + length + body


def _allow_connections() -> None:
    """Let processes started from here have a file open for each of a large fleet's connections: the
    usual limit is 1,024, on macOS 256, and mosquitto refuses whoever comes after."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _CONNECTIONS if hard == resource.RLIM_INFINITY else min(_CONNECTIONS, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _end_leftover(files: BrokerFiles) -> None:
    if not files.process_id.exists():
        return
    number = files.process_id.read_text()
    if _runs_with(number, files.settings):
        deadline = time.monotonic() + _STOP_SECONDS
        while _runs_with(number, files.settings) and time.monotonic() < deadline:
            with suppress(ProcessLookupError):
                os.kill(int(number), signal.SIGTERM)
            time.sleep(_SIGNAL_SECONDS)
    files.process_id.unlink()


def _runs_with(process: str, settings: Path) -> bool:
    """The number may be another process's by now: only one with our settings is ours to end."""
    shown = subprocess.run(
        ["ps", "-ww", "-o", "command=", "-p", process], capture_output=True, text=True, check=False
    )
    return str(settings) in shown.stdout


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port
