"""Runs a Glue job's script on this machine with spark-submit, as Glue 6.0 runs it on AWS.

Spark is the one of PyPI; Iceberg and the S3 file system come as jars by coordinate through Spark's
own resolver, once, and are then taken from the cache folder, checked against the hashes below, with
no network and no resolver. The job gets its own deployed
arguments; added is only where S3 and the catalogue are.
"""

import fcntl
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from local.faults.processes import APP_ID, Processes, has_ended, signal_group
from local.glue.java import Java, find_java

_PACKAGES: Final = (
    "org.apache.iceberg:iceberg-spark-runtime-4.1_2.13:1.11.0",
    "org.apache.iceberg:iceberg-aws-bundle:1.11.0",
    "org.apache.hadoop:hadoop-aws:3.4.2",
    "software.amazon.awssdk:s3-transfer-manager:2.44.4",
)
# hadoop-aws alone would bring the 600 MB bundle of the AWS SDK. What it needs of it is in Iceberg's
# bundle of the same release, but for the transfer manager.
_EXCLUDED: Final = (
    "software.amazon.awssdk:[!s]*",
    "software.amazon.awssdk:s3",
    "software.amazon.awssdk:sdk-core",
)
# File name as Spark's resolver gives it -> SHA-256; changes with the coordinates above only.
_JARS: Final = {
    "org.apache.hadoop_hadoop-aws-3.4.2.jar": (
        "d2d24e6b715b5656b9d238bf13b6682a07e2004dd36aad74a73aeb854319f4d9"
    ),
    "org.apache.iceberg_iceberg-aws-bundle-1.11.0.jar": (
        "38f01da7e96850cdd05e6616d758b77b43314b712a8808e3f9a824d56976162f"
    ),
    "org.apache.iceberg_iceberg-spark-runtime-4.1_2.13-1.11.0.jar": (
        "d6ea6c5d099288daeb7d5a92061bd3d7d8f296492632b42378e5f2f0e3066242"
    ),
    "org.wildfly.openssl_wildfly-openssl-2.1.4.Final.jar": (
        "95decbc5d088b40e85f58d7726b8c8f4e3be6312a0f2660c2d714a23cee80279"
    ),
    "software.amazon.awssdk_s3-transfer-manager-2.44.4.jar": (
        "dbcad736b19f6eb8471f9edf027d9fffe994228f25f415894efd01fd80cb6c02"
    ),
    "software.amazon.s3.analyticsaccelerator_analyticsaccelerator-s3-1.2.1.jar": (
        "11029552e37408e41e689b20150f4b372e0b4f232de321ccafd0fcf443cdfb5a"
    ),
}

_LOGGING: Final = "spark_logging.properties"
# What Glue itself takes from a job's arguments and no script sees.
_GLUE_ARGUMENTS: Final = ("--conf", "--datalake-formats")
_STOP_PATIENCE_SECONDS: Final = 5.0
_POLL_SECONDS: Final = 0.1

REGION: Final = "us-east-1"


class SparkSetupError(Exception):
    """Spark can't be made ready on this machine; the message says why and what to do."""


@dataclass(frozen=True)
class SparkInstallation:
    """A Spark that can be started: its folder, its Java, the jars to add, and where the archive of
    its loaded classes is or will be (see `conf`)."""

    home: Path
    java: Java
    jars: tuple[Path, ...]
    class_archive: Path

    def conf(self, new_class_archive: Path | None = None) -> dict[str, str]:
        """Settings for little data on two cores, where starting up is most of the time.

        Measured for one run of the curation job, seconds of CPU: 52 as Spark comes, 27 without the
        second of Java's compilers and Spark's own, 17 with the classes from an archive that Java
        wrote when an earlier run ended (`new_class_archive`, 240 MB).
        """
        options = [
            *("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xlog:disable"),
            f"-Dlog4j2.configurationFile={Path(__file__).with_name(_LOGGING).as_uri()}",
        ]
        if self.class_archive.exists():
            options.append(f"-XX:SharedArchiveFile={self.class_archive}")
        elif new_class_archive and self.java.can_archive_classes:
            options.append(f"-XX:ArchiveClassesAtExit={new_class_archive}")
        return {
            # Not as spark.jars: only classes that Java's own loader loads are archived.
            "spark.driver.extraClassPath": os.pathsep.join(map(str, self.jars)),
            "spark.driver.extraJavaOptions": " ".join(options),
            "spark.driver.bindAddress": "127.0.0.1",
            "spark.driver.host": "127.0.0.1",
            "spark.ui.enabled": "false",
            "spark.ui.showConsoleProgress": "false",
            "spark.sql.adaptive.enabled": "false",
            "spark.sql.codegen.wholeStage": "false",
            "spark.sql.shuffle.partitions": "2",
        }

    def environment(self) -> dict[str, str]:
        """The variables with which to start it, over those of this process."""
        return {
            "JAVA_HOME": str(self.java.home),
            "SPARK_HOME": str(self.home),
            "PYSPARK_PYTHON": sys.executable,
            "SPARK_LOCAL_IP": "127.0.0.1",
        }


def cache_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Where downloads are kept between runs: IOT_TELEMETRY_LAKE_CACHE, else ~/.cache."""
    if chosen := environment.get("IOT_TELEMETRY_LAKE_CACHE"):
        return Path(chosen).absolute()
    base = environment.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "iot-telemetry-lake"


def find_spark(cache: Path | None = None) -> SparkInstallation:
    """Spark, its Java and its jars; the first time the jars are downloaded (115 MB).

    Raises SparkSetupError, or JavaNotFoundError of `local.glue.java`.
    """
    cache = cache or cache_folder()
    spec = find_spec("pyspark")
    if spec is None or spec.origin is None:
        raise SparkSetupError("pyspark is not installed in this environment")
    home = Path(spec.origin).parent
    java = find_java(cache)
    jars = _find_jars(cache, home, java)
    # Java checks what it is given against the archive, and silently does without if it differs.
    changed = java.executable.resolve().stat().st_mtime_ns
    parts = repr((java, changed, home, version("pyspark"), _JARS))
    archive = f"classes-{hashlib.sha256(parts.encode()).hexdigest()[:16]}.jsa"
    return SparkInstallation(home, java, jars, cache / "java" / archive)


def submit(
    script: Path,
    arguments: Mapping[str, str],
    log: Path,
    stopping: threading.Event,
    *,
    endpoint: str,
    processes: Processes | None = None,
) -> int:
    """Run a Glue script to its end, or until `stopping` is set, and give its exit code.

    `arguments` are those of the job run, those for Glue included (`--conf`); S3 and the catalogue
    are at `endpoint`. What the script and Spark print goes to the file `log`, in whose folder they
    run. While it runs it is one of `processes`. Raises as `find_spark`.
    """
    processes = processes or Processes()
    app_id = processes.new_app_id()
    spark = find_spark()
    deployed = split_conf(arguments.get("--conf", ""))
    new_archive = spark.class_archive.with_suffix(f".{os.getpid()}")
    conf = spark.conf(new_archive) | deployed | local_conf(endpoint, deployed)
    command = [
        str(spark.home / "bin" / "spark-submit"),
        *_options(conf),
        str(script.absolute()),
        *script_arguments(arguments),
    ]
    environment = {
        **os.environ,
        **spark.environment(),
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": REGION,
        "AWS_REGION": REGION,
        "PYTHONUNBUFFERED": "1",
        APP_ID: app_id,
    }
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=log.parent,
            env=environment,
            start_new_session=True,  # a group of its own: Java and Python end together
        )
        processes.started(app_id, arguments.get("--JOB_NAME", script.stem), process.pid)
        try:
            while not has_ended(process.pid) and not stopping.wait(_POLL_SECONDS):
                pass
        finally:
            processes.ended(app_id)
            exit_code = _end_group(process)
            if exit_code == 0 and new_archive.exists():
                for outdated in spark.class_archive.parent.glob("classes-*.jsa"):
                    outdated.unlink(missing_ok=True)
                new_archive.replace(spark.class_archive)
            new_archive.unlink(missing_ok=True)
    return exit_code


def split_conf(chained: str) -> dict[str, str]:
    """Glue's one `--conf` argument, the first pair bare and the rest chained, as pairs."""
    pairs = (pair.strip().partition("=") for pair in chained.split("--conf ") if pair.strip())
    return {name: value for name, _, value in pairs}


def script_arguments(arguments: Mapping[str, str]) -> list[str]:
    """The arguments as the script finds them in sys.argv; a flag without value stands alone."""
    given: list[str] = []
    for name, value in arguments.items():
        if name not in _GLUE_ARGUMENTS:
            given += [name, value] if value else [name]
    return given


def local_conf(endpoint: str, conf: Mapping[str, str]) -> dict[str, str]:
    """Spark settings that point S3 and every Iceberg catalogue of `conf` to the local cloud."""
    added = {
        "spark.hadoop.fs.s3.impl": "org.apache.hadoop.fs.s3a.S3AFileSystem",
        "spark.hadoop.fs.s3a.endpoint": endpoint,
        "spark.hadoop.fs.s3a.endpoint.region": REGION,
        "spark.hadoop.fs.s3a.path.style.access": "true",
        "spark.hadoop.fs.s3a.connection.ssl.enabled": str(endpoint.startswith("https")).lower(),
        "spark.hadoop.fs.s3a.aws.credentials.provider": (
            "software.amazon.awssdk.auth.credentials.EnvironmentVariableCredentialsProvider"
        ),
    }
    for name, value in conf.items():
        if name.startswith("spark.sql.catalog.") and value.endswith("iceberg.spark.SparkCatalog"):
            added |= {
                f"{name}.s3.endpoint": endpoint,
                f"{name}.s3.path-style-access": "true",
                f"{name}.glue.endpoint": endpoint,
                f"{name}.client.region": REGION,
            }
    return added


def _options(conf: Mapping[str, str]) -> Iterator[str]:
    yield from ("--master", "local[2]", "--driver-memory", "2g")
    for name, value in conf.items():
        yield from ("--conf", f"{name}={value}")


def _end_group(process: subprocess.Popen[bytes]) -> int:
    """End the process and what it has started: politely, then for good. Its exit code."""
    deadline = time.monotonic() + _STOP_PATIENCE_SECONDS
    if not has_ended(process.pid):
        signal_group(process.pid, signal.SIGTERM)
    while not has_ended(process.pid) and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
    signal_group(process.pid, signal.SIGKILL)
    return process.wait()


def _find_jars(cache: Path, spark_home: Path, java: Java) -> tuple[Path, ...]:
    folder = cache / "jars"
    with _locked(cache / "jars.lock"):
        if any(_digest(folder / name) != digest for name, digest in _JARS.items()):
            _download_jars(cache, spark_home, java)
    return tuple(folder / name for name in _JARS)


def _download_jars(cache: Path, spark_home: Path, java: Java) -> None:
    """Let Spark's resolver fetch the jars, check each, and move them to the cache."""
    folder, log = cache / "jars", cache / "jars.log"
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as scratch, log.open("wb") as output:
        nothing = Path(scratch) / "nothing.py"
        nothing.write_text("")
        resolved = subprocess.run(
            [
                str(spark_home / "bin" / "spark-submit"),
                *("--conf", f"spark.jars.ivy={scratch}"),
                *("--packages", ",".join(_PACKAGES)),
                *("--exclude-packages", ",".join(_EXCLUDED)),
                str(nothing),
            ],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "JAVA_HOME": str(java.home), "PYSPARK_PYTHON": sys.executable},
            check=False,
        )
        if resolved.returncode != 0:
            raise SparkSetupError(f"Spark's jars could not be downloaded, see {log}")
        for name, digest in _JARS.items():
            downloaded = Path(scratch) / "jars" / name
            if (found := _digest(downloaded)) != digest:
                raise SparkSetupError(f"{name} has SHA-256 {found or '(missing)'}, not {digest}")
            shutil.move(downloaded, folder / name)


def _digest(file: Path) -> str | None:
    if not file.exists():
        return None
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


@contextmanager
def _locked(lock: Path) -> Iterator[None]:
    """One process at a time; the others wait and then find the jars there."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
