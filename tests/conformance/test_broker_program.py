"""The broker's process: found or refused in one line, its port, its end, what a crash leaves."""

import os
import shutil
import signal
import socket
from pathlib import Path

import pytest

from local.glue.spark import cache_folder
from local.intake import mosquitto
from local.intake.broker import Broker, BrokerError
from local.intake.certificates import CertificateAuthority
from local.intake.mosquitto import NoBroker, find_broker

pytestmark = pytest.mark.ours("the process in the place of AWS's message broker")


@pytest.fixture
def broker(tmp_path: Path) -> Broker:
    return Broker(find_broker(cache_folder()), tmp_path, CertificateAuthority())


def test_says_in_one_line_what_to_install_where_there_is_no_broker_and_no_apt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(mosquitto, "_PLACES", ())
    with pytest.raises(NoBroker, match=r"^[^\n]*brew install mosquitto[^\n]*$"):
        find_broker(tmp_path / "cache")


def test_an_archive_that_cannot_be_reached_leaves_nothing_half_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("apt-get", "dpkg"):
        program = programs / name
        program.write_text("#!/bin/sh\necho 'E: no network' >&2\nexit 100\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", str(programs))
    monkeypatch.setattr(mosquitto, "_PLACES", ())
    with pytest.raises(NoBroker, match="E: no network"):
        find_broker(tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_two_that_fetch_it_at_once_both_have_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unpack(root: Path) -> None:
        (root / "usr/sbin").mkdir(parents=True)
        (root / "usr/sbin/mosquitto").touch()

    def download_while_another_is_quicker(work: Path) -> None:
        unpack(work / "root")
        unpack(tmp_path / "cache/mosquitto")

    monkeypatch.setattr(mosquitto, "_PLACES", ())
    monkeypatch.setattr(shutil, "which", lambda name, **_: None if name == "mosquitto" else name)
    monkeypatch.setattr(mosquitto, "_download", download_while_another_is_quicker)
    program = find_broker(tmp_path / "cache")
    assert program.path.is_relative_to(tmp_path / "cache/mosquitto")
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["mosquitto"]


def test_a_broker_on_the_path_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "mosquitto"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_broker(tmp_path / "cache").path == program


def test_listens_on_loopback_alone_with_files_that_only_their_owner_reads(broker: Broker) -> None:
    broker.prepare()
    broker.start()
    try:
        # Another address of this machine's, which a broker on every address would answer.
        with pytest.raises(OSError, match=r"refused|assign"):
            socket.create_connection(("127.0.0.2", broker.port), 5)
    finally:
        broker.stop()
    keys = list(broker.files.folder.glob("certificates/*.key.pem"))
    assert keys
    assert all(key.stat().st_mode & 0o077 == 0 for key in keys)


def test_a_port_in_use_is_said_in_the_brokers_own_words(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        broker = Broker(find_broker(cache_folder()), tmp_path, CertificateAuthority(), port)
        broker.prepare()
        with pytest.raises(BrokerError, match="Address already in use"):
            broker.start()
    assert not broker.running


def test_stopping_ends_the_process_and_stopping_twice_is_no_error(broker: Broker) -> None:
    broker.prepare()
    broker.start()
    number = broker.process_id
    assert number is not None
    broker.stop()
    broker.stop()
    with pytest.raises(ProcessLookupError):
        os.kill(number, 0)


def test_a_broker_that_a_killed_local_cloud_left_behind_is_ended(broker: Broker) -> None:
    broker.prepare()
    broker.start()
    process = broker._process
    assert process is not None
    try:
        heir = Broker(find_broker(cache_folder()), broker.files.folder, CertificateAuthority())
        heir.prepare()
        assert process.wait(20) == 0
    finally:
        broker.stop()


def test_a_process_of_another_program_is_left_alone(broker: Broker) -> None:
    broker.files.folder.mkdir(exist_ok=True)
    broker.files.process_id.write_text(str(os.getpid()))
    caught: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: caught.append(number))
    try:
        broker.prepare()
    finally:
        signal.signal(signal.SIGTERM, before)
    assert caught == []
