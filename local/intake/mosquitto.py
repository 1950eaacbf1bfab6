"""The MQTT broker's program: found on the machine, or fetched from Debian's archive, without root.

Guarantee: what is fetched comes through apt, which checks the archive's signatures; it is unpacked
into the cache folder and nothing is installed.
"""

import logging
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

_PLACES: Final = ("/usr/sbin", "/usr/local/sbin", "/opt/homebrew/sbin", "/opt/homebrew/bin")
_PACKAGE: Final = "mosquitto"
_APT_SECONDS: Final = 300

_log = logging.getLogger(__name__)


class NoBroker(Exception):  # noqa: N818 - reads as what the user lacks
    """No mosquitto here; the message is one line that says what to install."""


@dataclass(frozen=True)
class Program:
    """An executable and what its environment needs besides the caller's."""

    path: Path
    environment: Mapping[str, str] = field(default_factory=dict)


def find_broker(cache: Path) -> Program:
    """mosquitto from the usual places, else unpacked in `cache`; NoBroker if neither."""
    path = shutil.which("mosquitto", path=os.pathsep.join((os.environ.get("PATH", ""), *_PLACES)))
    if path is not None:
        return Program(Path(path))
    root = cache / "mosquitto"
    if not (root / "usr/sbin/mosquitto").exists():
        if shutil.which("apt-get") is None or shutil.which("dpkg") is None:
            raise NoBroker(
                "The MQTT broker mosquitto is missing: brew install mosquitto (macOS), "
                "or install the package mosquitto."
            )
        _fetch(root)
    libraries = sorted({str(path.parent) for path in root.glob("**/lib*.so*")})
    return Program(root / "usr/sbin/mosquitto", {"LD_LIBRARY_PATH": os.pathsep.join(libraries)})


def _fetch(root: Path) -> None:
    root.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root.parent, prefix="mosquitto-") as folder:
        work = Path(folder)
        try:
            _download(work)
            for package in sorted(work.glob("*.deb")):
                _run(["dpkg", "-x", str(package), str(work / "root")], work)
            (work / "root/usr/sbin/mosquitto").chmod(0o755)
        except (subprocess.SubprocessError, OSError) as error:
            raise NoBroker(
                "The MQTT broker mosquitto is missing and could not be fetched "
                f"({_reason(error)}): apt-get install mosquitto."
            ) from None
        # Whole or not at all: a run that is interrupted leaves nothing half unpacked.
        try:
            (work / "root").rename(root)
        except OSError:
            if not root.is_dir():  # else another process was faster, with the same content
                raise


def _download(work: Path) -> None:
    """With the machine's package lists; if it has none, or outdated ones, with lists of our own."""
    for name in ("lists/partial", "cache/archives/partial"):
        (work / name).mkdir(parents=True)
    # As root, apt drops to a user who can't write in the cache folder.
    options = ["-o", f"Dir::Cache={work}/cache", "-o", "APT::Sandbox::User=root"]
    packages = _missing_packages(options)
    try:
        if packages:
            _run(["apt-get", "-q", *options, "download", *packages], work)
            return
    except subprocess.CalledProcessError:
        _log.info("apt's package lists are outdated; fetching new ones")
    options += ["-o", f"Dir::State::lists={work}/lists", "-o", "Debug::NoLocking=1"]
    _run(["apt-get", "-q", *options, "update"], work)
    _run(["apt-get", "-q", *options, "download", *_missing_packages(options)], work)


def _missing_packages(options: list[str]) -> list[str]:
    """What an installation would add to this machine: the broker and libraries it lacks."""
    plan = subprocess.run(
        ["apt-get", *options, "install", "-s", "--no-install-recommends", _PACKAGE],
        capture_output=True,
        text=True,
        timeout=_APT_SECONDS,
        check=False,
        env=os.environ | {"LC_ALL": "C"},
    )
    words = [line.split() for line in plan.stdout.splitlines()]
    return [line[1] for line in words if line[:1] == ["Inst"]]


def _run(command: list[str], folder: Path) -> None:
    subprocess.run(
        command, cwd=folder, check=True, capture_output=True, text=True, timeout=_APT_SECONDS
    )


def _reason(error: Exception) -> str:
    output = getattr(error, "stderr", None) or str(error)
    lines = [line for line in str(output).splitlines() if line.startswith(("E:", "Err"))]
    return (lines or str(output).splitlines() or [type(error).__name__])[0]
