"""The built functions and layers fit into Lambda, load there, and are built from this source.

`make build` makes them; without them these tests fail.
"""

import importlib.util
import marshal
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.template.expand import ROOT
from tests.template.shared_object import SharedObject, read_shared_object
from tests.template.statements import services_called

MEGABYTE = 1024 * 1024
# Lambda's limit is 250 MB, unzipped, function and layers together: who comes near it should know.
MOST_BYTES = {
    "IngestTelemetryFunction": 200 * MEGABYTE,
    "AuditLakeFunction": 240 * MEGABYTE,
    "ExportRegistryFunction": 200 * MEGABYTE,
    "AdmitDeviceFunction": 40 * MEGABYTE,
}

# Amazon Linux 2023: glibc 2.34, and libstdc++ of GCC 11.
NEWEST_OF_THE_RUNTIME = {"GLIBC": (2, 34), "GLIBCXX": (3, 4, 29), "CXXABI": (1, 3, 13)}
LIBRARIES_OF_THE_RUNTIME = re.compile(
    r"lib(c|m|dl|rt|pthread|gcc_s|stdc\+\+|util)\.so\.\d+|ld-linux-.*\.so\.\d+"
)

# In the consumer each would cost a cold start more than all of it, or is a second SDK.
UNWANTED = ("boto3", "numpy", "pandas", "pydantic", "aws_xray_sdk")

PARTS = {
    # Folder in the build, and where Lambda puts it.
    "IngestTelemetryFunction": "/var/task",
    "ContractLayer/python": "/opt/python",
    "ColumnarLayer/python": "/opt/python",
    "AuditLakeFunction": "/var/task",
    "PauseIngestionFunction": "/var/task",
    "ExportRegistryFunction": "/var/task",
    "AdmitDeviceFunction": "/var/task",
}
# What Lambda loads together.
CONSUMER = ("IngestTelemetryFunction", "ContractLayer/python", "ColumnarLayer/python")
AUDIT = ("AuditLakeFunction", "ContractLayer/python")
EXPORT = ("ExportRegistryFunction",)
ADMISSION = ("AdmitDeviceFunction",)
TOGETHER = (CONSUMER, AUDIT, EXPORT, ADMISSION)


@dataclass(frozen=True)
class Artifact:
    """A build of the application."""

    folder: Path

    @property
    def parts(self) -> list[Path]:
        return self.of(PARTS)

    def of(self, parts: Iterable[str]) -> list[Path]:
        return [self.folder / part for part in parts]

    def shared_objects(self, parts: Iterable[str] = tuple(PARTS)) -> dict[Path, SharedObject]:
        return {
            path: read_shared_object(path)
            for part in self.of(parts)
            for path in sorted(part.rglob("*.so*"))
        }


@pytest.fixture(scope="module", params=["build/sam-host", "build/sam-arm64"])
def artifact(request: pytest.FixtureRequest) -> Artifact:
    found = Artifact(ROOT / request.param)
    for part in found.parts:
        assert part.is_dir(), f"{part.relative_to(ROOT)} is missing: run `make build`"
    return found


@pytest.mark.parametrize("parts", TOGETHER, ids=lambda parts: parts[0])
def test_function_and_its_layers_fit_into_lambda(
    artifact: Artifact, parts: tuple[str, ...]
) -> None:
    files = [path for part in artifact.of(parts) for path in part.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < MOST_BYTES[parts[0]]


def test_shared_objects_are_of_one_processor(artifact: Artifact) -> None:
    machines = {each.machine for each in artifact.shared_objects().values()}
    assert len(machines) == 1
    if artifact.folder.name == "sam-arm64":
        assert machines == {"arm64"}


def test_shared_objects_need_nothing_newer_than_the_runtime_has(artifact: Artifact) -> None:
    too_new = [
        (path.name, version)
        for path, each in artifact.shared_objects().items()
        for version in each.versions
        if is_newer_than_the_runtime(version)
    ]
    assert not too_new


def is_newer_than_the_runtime(version: str) -> bool:
    library, _, number = version.partition("_")
    if library not in NEWEST_OF_THE_RUNTIME or not number[:1].isdigit():
        return False
    return tuple(map(int, number.split("."))) > NEWEST_OF_THE_RUNTIME[library]


@pytest.mark.parametrize(
    ("version", "is_newer"),
    [
        ("GLIBC_2.28", False),
        ("GLIBC_2.34", False),
        ("GLIBC_2.35", True),
        ("GLIBC_2.4", False),
        ("GLIBC_PRIVATE", False),
        ("GLIBCXX_3.4.30", True),
        ("CXXABI_1.3.13", False),
    ],
)
def test_versions_are_compared_as_numbers(version: str, is_newer: bool) -> None:
    assert is_newer_than_the_runtime(version) is is_newer


@pytest.mark.parametrize("parts", [CONSUMER, AUDIT, EXPORT], ids=lambda parts: parts[0])
def test_every_library_that_is_linked_to_is_there(
    artifact: Artifact, parts: tuple[str, ...]
) -> None:
    # What trimming took away too much shows here, for the other processor as well.
    objects = artifact.shared_objects(parts)
    there = {path.name for path in objects}
    missing = {
        (path.name, library)
        for path, each in objects.items()
        for library in each.libraries
        if library not in there and not LIBRARIES_OF_THE_RUNTIME.fullmatch(library)
    }
    assert objects
    assert not missing


@pytest.mark.parametrize("package", UNWANTED)
def test_nothing_heavy_came_along_with_the_consumer(artifact: Artifact, package: str) -> None:
    assert not [part for part in artifact.of(CONSUMER) if (part / package).exists()]


def test_pyarrow_is_trimmed(artifact: Artifact) -> None:
    package = artifact.folder / "ColumnarLayer" / "python" / "pyarrow"
    assert (package / "parquet").is_dir()
    for left_over in ("tests", "include", "flight.py", "libarrow_flight.so*", "libarrow_s3.so*"):
        assert not list(package.glob(left_over)), left_over


@pytest.mark.parametrize(
    ("function", "sources"),
    [
        ("IngestTelemetryFunction", ["functions/ingest_telemetry"]),
        ("AuditLakeFunction", ["functions/audit_lake", "ops/audit/catalogue.py"]),
        ("PauseIngestionFunction", ["functions/pause_ingestion"]),
        ("ExportRegistryFunction", ["functions/export_registry"]),
        ("AdmitDeviceFunction", ["functions/admit_device"]),
    ],
)
def test_botocore_knows_the_services_that_a_function_calls(
    artifact: Artifact, function: str, sources: list[str]
) -> None:
    models = artifact.folder / function / "botocore" / "data"
    known = {path.name for path in models.iterdir() if path.is_dir()}
    assert known == services_called(*(ROOT / source for source in sources))


@pytest.mark.parametrize(
    ("source", "built"),
    [
        ("functions/ingest_telemetry", "IngestTelemetryFunction/ingest_telemetry"),
        (
            "layers/contract/telemetry_contract",
            "ContractLayer/python/telemetry_contract",
        ),
        ("functions/audit_lake", "AuditLakeFunction/audit_lake"),
        ("functions/pause_ingestion", "PauseIngestionFunction/pause_ingestion"),
        ("functions/export_registry", "ExportRegistryFunction/export_registry"),
        ("functions/admit_device", "AdmitDeviceFunction/admit_device"),
    ],
)
def test_artifact_is_built_from_this_source(artifact: Artifact, source: str, built: str) -> None:
    ours = modules(ROOT / source)
    shipped = modules(artifact.folder / built)
    assert ours
    assert shipped == ours, "build again"


def test_the_scheduled_audit_is_the_operator_s(artifact: Artifact) -> None:
    shipped = modules(artifact.folder / "AuditLakeFunction/ops")
    ours = modules(ROOT / "ops")
    assert set(shipped) > {"audit/audit.py", "audit/checks.py", "audit/evidence.py"}
    assert shipped.items() <= ours.items(), "build again"
    for name, source in shipped.items():
        for imported in re.findall(
            r"^\s*(?:from|import) (ops[\w.]*)", source.decode(), re.MULTILINE
        ):
            path = imported.removeprefix("ops").lstrip(".").replace(".", "/")
            there = {f"{path}.py", f"{path}/__init__.py".lstrip("/")} & shipped.keys()
            assert there, f"{name} imports {imported}, which packaging/artifacts.mk leaves out"


def modules(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.py")}


def test_bytecode_is_shipped_and_never_checked_against_the_source(artifact: Artifact) -> None:
    for part in artifact.parts:
        sources = sorted(part.rglob("*.py"))
        assert sources
        for source in sources:
            compiled = Path(importlib.util.cache_from_source(str(source))).read_bytes()
            assert compiled[:4] == importlib.util.MAGIC_NUMBER, source
            flags = int.from_bytes(compiled[4:8], "little")
            assert flags == 0b01, f"{source}: by hash, unchecked"


@pytest.mark.parametrize("part", PARTS)
def test_tracebacks_name_files_as_lambda_has_them(artifact: Artifact, part: str) -> None:
    for compiled in sorted((artifact.folder / part).rglob("*.pyc"))[:20]:
        code = marshal.loads(compiled.read_bytes()[16:])  # noqa: S302 -- our own build
        assert code.co_filename.startswith(PARTS[part] + "/")


@pytest.mark.parametrize(
    "requirements",
    [
        "functions/ingest_telemetry/requirements.txt",
        "functions/audit_lake/requirements.txt",
        "functions/pause_ingestion/requirements.txt",
        "functions/export_registry/requirements.txt",
        "functions/admit_device/requirements.txt",
        "layers/contract/requirements.txt",
        "layers/columnar/requirements.txt",
    ],
)
def test_what_is_shipped_is_what_is_tested_with(requirements: str) -> None:
    shipped = pins(ROOT / requirements)
    tested = pins(ROOT / "requirements/local.txt") | pins(ROOT / "requirements/dev.txt")
    assert shipped
    assert shipped.items() <= tested.items()


def pins(path: Path) -> dict[str, str]:
    text = path.read_text()
    assert "://" not in text, f"{path} names a host"
    found = dict(re.findall(r"^([\w.-]+)==(\S+)", text, re.MULTILINE))
    assert text.count("--hash=sha256:") >= len(found)
    return found


WRITE_PARQUET = """
import io, sys
import ingest_telemetry.handler, pyarrow as pa, pyarrow.parquet as pq
from telemetry_contract.raw_schema import RAW_SCHEMA
file = io.BytesIO()
pq.write_table(RAW_SCHEMA.empty_table(), file, compression="zstd")
assert pq.read_table(file).schema == RAW_SCHEMA
print(sorted({name.split(".")[0] for name in sys.modules}))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the artifact is Linux's")
def test_built_consumer_starts_with_its_layers_and_nothing_else(
    environment_of_the_function: dict[str, str],
) -> None:
    artifact = Artifact(ROOT / "build" / "sam-host")
    machine = platform.machine().replace("aarch64", "arm64")
    machines = {each.machine for each in artifact.shared_objects().values()}
    assert machines == {machine}, "built for another processor: run `make build`"
    paths = os.pathsep.join(map(str, artifact.of(CONSUMER)))
    result = subprocess.run(
        [sys.executable, "-S", "-c", WRITE_PARQUET],
        env=environment_of_the_function | {"PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    for package in UNWANTED:
        assert f"'{package}'" not in result.stdout


@pytest.fixture
def environment_of_the_function() -> dict[str, str]:
    return {
        "AWS_REGION": "us-east-1",
        "RAW_ZONE_BUCKET": "raw",
        "REJECTED_ZONE_BUCKET": "rejected",
        "EARLIEST_EVENT_TIME": "2000-01-01T00:00:00Z",
        "MAX_EVENT_TIME_AHEAD_SECONDS": "86400",
        "CLOCK_SKEW_FLAG_SECONDS": "3600",
        "IDENTITY_MISMATCH_POLICY": "reject",
        "MISSING_TIMESTAMP_POLICY": "reject",
        "POWERTOOLS_SERVICE_NAME": "ingest_telemetry",
        "POWERTOOLS_METRICS_NAMESPACE": "TelemetryLake/test",
        "POWERTOOLS_LOG_LEVEL": "INFO",
        "AWS_ENDPOINT_URL": "",
    }
