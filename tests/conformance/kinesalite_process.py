"""kinesalite, an implementation of Kinesis that shares nothing with ours, run by the tests.

It keeps everything in memory, listens on loopback, and is told the time by the tests. Its version
and those of its parts are pinned with their digests in `kinesalite/package-lock.json`; npm puts
them into the project's cache once. Its native store is left out: nothing is compiled.
"""

import hashlib
import os
import select
import shutil
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

from local.api import ACCOUNT_ID, REGION
from local.glue.spark import cache_folder

FOLDER = Path(__file__).parent / "kinesalite"
INSTALL_SECONDS = 300
ANSWER_SECONDS = 60


class KinesaliteNotInstalledError(Exception):
    """npm is missing or failed; the message is what it said."""


def installed_kinesalite() -> Path:
    """The folder with kinesalite's modules; the first time npm fetches them (9 MB)."""
    pinned = FOLDER / "package-lock.json"
    digest = hashlib.sha256(pinned.read_bytes()).hexdigest()[:16]
    modules = cache_folder() / f"kinesalite-{digest}" / "node_modules"
    if modules.is_dir():
        return modules
    npm = shutil.which("npm")
    if npm is None:
        raise KinesaliteNotInstalledError("there is Node on PATH but no npm")
    modules.parent.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=modules.parent.parent, prefix="kinesalite-") as draft:
        for file in ("package.json", "package-lock.json"):
            shutil.copy(FOLDER / file, draft)
        command = [npm, "ci", "--omit=optional", "--ignore-scripts", "--no-audit", "--no-fund"]
        try:
            done = subprocess.run(
                command,
                cwd=draft,
                check=False,
                capture_output=True,
                text=True,
                timeout=INSTALL_SECONDS,
            )
        except subprocess.TimeoutExpired as error:
            raise KinesaliteNotInstalledError(str(error)) from error
        if done.returncode:
            raise KinesaliteNotInstalledError(f"`npm ci` failed:\n{done.stdout}{done.stderr}")
        modules.parent.mkdir(exist_ok=True)
        try:
            (Path(draft) / "node_modules").rename(modules)
        except OSError:  # another run was quicker, and what it put there is the same
            if not modules.is_dir():
                raise
    return modules


class Kinesalite:
    """The process. Each `start` is a fresh service; `stop` ends it, as does the end of pytest."""

    def __init__(self, modules: Path) -> None:
        self._process = subprocess.Popen(
            ["node", str(FOLDER / "serve.js")],
            env={
                **os.environ,
                "NODE_PATH": str(modules),
                "AWS_ACCOUNT_ID": ACCOUNT_ID,
                "AWS_REGION": REGION,
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def start(self, now_ms: int) -> str:
        """A fresh service at that time; its endpoint."""
        return f"http://127.0.0.1:{int(self._told(f'start {now_ms}'))}"

    def set_clock(self, now_ms: int) -> None:
        """Make it that time."""
        self._told(f"clock {now_ms}")

    def stop(self) -> None:
        """End the process, which ends when its input does."""
        try:
            self._process.communicate(timeout=ANSWER_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
            raise

    def _told(self, line: str) -> str:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        # It answers each line with one, so there is never a second one in the buffer.
        if not select.select([self._process.stdout], [], [], ANSWER_SECONDS)[0]:
            raise TimeoutError(f"kinesalite does not answer {line!r}")
        return self._process.stdout.readline().strip()
