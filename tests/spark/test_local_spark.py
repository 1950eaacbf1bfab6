"""Finding Java, Spark and its jars on a machine, and running a script with them."""

import hashlib
import os
import select
import subprocess
import threading
from pathlib import Path

import pytest

from local.glue import spark as local_spark
from local.glue.java import Java, JavaNotFoundError, find_java
from local.glue.spark import (
    SparkInstallation,
    SparkSetupError,
    cache_folder,
    local_conf,
    script_arguments,
    split_conf,
    submit,
)
from tests.conformance.fault_bench import ForgottenInTime

NOWHERE = {"PATH": "/nonexistent"}


def executable(path: Path, script: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def output_of(*command: str | Path) -> str:
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    return ran.stdout + ran.stderr


def fake_java(folder: Path, version: str) -> Path:
    return executable(
        folder / "bin" / "java",
        f"""case "$*" in *-version*) echo 'openjdk version "{version}"' >&2;; esac; echo "$@" """,
    )


def test_java_home_comes_first_and_a_version_that_spark_does_not_take_is_passed_over(
    tmp_path: Path,
) -> None:
    old, good = fake_java(tmp_path / "old", "11.0.2"), fake_java(tmp_path / "good", "21.0.1")
    java = find_java(tmp_path / "cache", {"JAVA_HOME": str(tmp_path / "good"), "PATH": "/none"})
    assert (java.executable, java.version) == (good, 21)
    path = {"JAVA_HOME": str(old.parent.parent), "PATH": str(good.parent)}
    assert find_java(tmp_path / "cache", path).executable == good


def test_the_home_for_spark_runs_java_without_the_module_that_it_may_lack(tmp_path: Path) -> None:
    fake_java(tmp_path / "a java", "17.0.1")
    java = find_java(tmp_path / "cache", {"JAVA_HOME": str(tmp_path / "a java"), "PATH": "/none"})
    launcher = java.home / "bin" / "java"
    told = output_of(launcher, "--add-modules=jdk.incubator.vector", "-Xmx1g", "a  b", "--x=y")
    assert told.strip() == "-Xmx1g a  b --x=y"


def test_a_machine_without_java_uses_the_packages_own(tmp_path: Path) -> None:
    java = find_java(tmp_path, NOWHERE)
    assert (java.version, java.can_archive_classes) == (17, False)
    launcher = java.home / "bin" / "java"
    assert 'version "17' in output_of(launcher, "--add-modules=jdk.incubator.vector", "-version")


def test_a_machine_without_any_java_is_told_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("local.glue.java.find_spec", lambda _: None)
    fake_java(tmp_path, "11.0.2")
    with pytest.raises(JavaNotFoundError, match=r"Java 17 or 21 is needed.*java is 11"):
        find_java(tmp_path, {"JAVA_HOME": str(tmp_path), "PATH": "/none"})


def test_the_cache_is_where_the_environment_says(tmp_path: Path) -> None:
    assert cache_folder({"IOT_TELEMETRY_LAKE_CACHE": str(tmp_path)}) == tmp_path
    assert cache_folder({"XDG_CACHE_HOME": "/c"}) == Path("/c/iot-telemetry-lake")
    assert cache_folder({}) == Path.home() / ".cache" / "iot-telemetry-lake"


@pytest.fixture
def resolver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Spark whose resolver writes one jar, and counts how often."""
    digest = hashlib.sha256(b"jar\n").hexdigest()
    monkeypatch.setattr(local_spark, "_JARS", {"one.jar": digest})
    executable(
        tmp_path / "spark" / "bin" / "spark-submit",
        f"""for each; do case "$each" in spark.jars.ivy=*) ivy=${{each#*=}};; esac; done
mkdir "$ivy/jars" && echo jar > "$ivy/jars/one.jar" && echo >> {tmp_path}/calls""",
    )
    return tmp_path


JAVA = Java(Path("/java"), Path("/java/bin/java"), 17, can_archive_classes=True)


def find_jars(folder: Path) -> tuple[Path, ...]:
    return local_spark._find_jars(folder / "cache", folder / "spark", JAVA)


def test_jars_are_fetched_once_and_again_when_they_are_damaged(resolver: Path) -> None:
    (jar,) = find_jars(resolver)
    assert find_jars(resolver) == (jar,)
    assert (resolver / "calls").read_text() == "\n"
    jar.write_text("damaged")
    assert find_jars(resolver) == (jar,)
    assert jar.read_text() == "jar\n"


def test_a_jar_that_is_not_the_one_expected_is_refused(
    resolver: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_spark, "_JARS", {"one.jar": "00"})
    with pytest.raises(SparkSetupError, match=r"one\.jar has SHA-256 [0-9a-f]{64}, not 00"):
        find_jars(resolver)
    assert not list((resolver / "cache" / "jars").iterdir())


def test_a_resolver_that_fails_is_one_clear_error(resolver: Path) -> None:
    executable(resolver / "spark" / "bin" / "spark-submit", "echo unreachable; exit 1")
    with pytest.raises(SparkSetupError, match="could not be downloaded, see"):
        find_jars(resolver)
    assert (resolver / "cache" / "jars.log").read_text() == "unreachable\n"


def test_glues_chained_conf_is_split() -> None:
    chained = "spark.a=1 --conf spark.b=x=y\n   --conf spark.c=s3://z/curated/"
    assert split_conf(chained) == {"spark.a": "1", "spark.b": "x=y", "spark.c": "s3://z/curated/"}
    assert split_conf("") == {}


def test_the_script_sees_its_arguments_without_those_that_glue_takes() -> None:
    given = {"--conf": "a=b", "--datalake-formats": "iceberg", "--n": "1", "--enable-metrics": ""}
    assert script_arguments(given) == ["--n", "1", "--enable-metrics"]


def test_every_iceberg_catalogue_is_pointed_to_the_local_cloud() -> None:
    conf = {
        "spark.sql.catalog.one": "org.apache.iceberg.spark.SparkCatalog",
        "spark.sql.catalog.one.warehouse": "s3://curated/",
    }
    added = local_conf("http://127.0.0.1:1", conf)
    assert added["spark.sql.catalog.one.glue.endpoint"] == "http://127.0.0.1:1"
    assert added["spark.sql.catalog.one.s3.endpoint"] == "http://127.0.0.1:1"
    assert not any("warehouse" in name for name in added)


@pytest.fixture
def installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SparkInstallation:
    """A Spark whose spark-submit is a shell script of the test's."""
    found = SparkInstallation(tmp_path / "spark", JAVA, (), tmp_path / "classes.jsa")
    monkeypatch.setattr(local_spark, "find_spark", lambda: found)
    return found


def run(folder: Path, script: str, stopping: threading.Event | None = None) -> tuple[int, str]:
    executable(folder / "spark" / "bin" / "spark-submit", script)
    log, stopping = folder / "output.log", stopping or threading.Event()
    arguments = {"--conf": "spark.sql.shuffle.partitions=7", "--n": "1"}
    processes = ForgottenInTime()
    code = submit(
        *(Path("job.py"), arguments, log, stopping),
        endpoint="http://127.0.0.1:1",
        processes=processes,
    )
    assert (len(processes.forgotten), processes.reaped) == (1, [])
    return code, log.read_text()


def test_submit_gives_the_exit_code_and_keeps_what_was_printed(
    installation: SparkInstallation, tmp_path: Path
) -> None:
    script = 'echo "$@"; echo "$AWS_ENDPOINT_URL $JAVA_HOME" >&2; exit 3'
    code, printed = run(tmp_path, script)
    assert code == 3
    assert "--conf spark.sql.shuffle.partitions=7" in printed  # the job's own setting wins
    assert printed.splitlines()[0].endswith("job.py --n 1")
    assert printed.splitlines()[1] == "http://127.0.0.1:1 /java"


def test_submit_keeps_the_class_archive_of_a_run_that_succeeded(
    installation: SparkInstallation, tmp_path: Path
) -> None:
    write = r"""for each; do case "$each" in *ArchiveClassesAtExit=*)
each=${each#*ArchiveClassesAtExit=}; echo classes > "${each%% *}";; esac; done"""
    run(tmp_path, f"{write}; exit 1")
    assert not list(tmp_path.glob("classes*"))
    run(tmp_path, write)
    assert list(tmp_path.glob("classes*")) == [installation.class_archive]
    _, printed = run(tmp_path, 'echo "$@"')
    assert f"-XX:SharedArchiveFile={installation.class_archive}" in printed


def test_a_stopped_run_leaves_no_process_behind(
    installation: SparkInstallation, tmp_path: Path
) -> None:
    fifo = tmp_path / "alive"
    os.mkfifo(fifo)
    stopping = threading.Event()
    readers: list[int] = []

    def stop_once_it_is_there() -> None:
        readers.append(os.open(fifo, os.O_RDONLY))  # returns when somebody has it open to write
        stopping.set()

    threading.Thread(target=stop_once_it_is_there, daemon=True).start()
    # The child holds the pipe open for as long as it lives, and hears no SIGTERM.
    script = f"""(trap '' TERM; exec 3> {fifo}; while :; do sleep 1; done) & wait"""
    code, _ = run(tmp_path, script, stopping)
    assert code != 0
    (reader,) = readers
    assert select.select([reader], [], [], 10)[0]
    assert os.read(reader, 1) == b""  # end of file: nobody has it open any more
    os.close(reader)
