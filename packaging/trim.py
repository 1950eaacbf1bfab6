"""Takes out of an artifact what it does not need; Lambda takes 250 MB with the layers.

Guarantee: everything that a function loads, or may load, stays. A pattern that matches nothing
ends the build: a new release has moved something, and someone should look again.

Shared objects are not stripped. It would save 22 of 100 MB and no time at start (measured), and
the artifact would depend on whose machine, with or without a fitting `strip`, built it.
"""

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

UNNEEDED_OF_PYARROW = (
    # For building and testing pyarrow and programs on top of it.
    "tests",
    "include",
    "includes",
    "src",
    "*.pyx",
    "*.pxd",
    "*.pxi",
    "_pyarrow_cpp_tests*",
    "conftest.py",
    # The linker's other names for libraries that are loaded by their `.so.<major>` name.
    "libarrow_python*.so",
    "libarrow_python*.so.*.*.*",
    # Remote procedure calls, file systems, formats and query plans that no function touches.
    # libarrow_substrait stays, though only named: pyarrow's core library is linked against it.
    "libarrow_flight.so.*",
    "libarrow_python_flight.so.*",
    "_flight*",
    "flight.py",
    "libarrow_s3.so.*",
    "_s3fs*",
    "_gcsfs*",
    "_azurefs*",
    "_hdfs*",
    "_substrait*",
    "substrait.py",
    "_orc*",
    "orc.py",
    "_dataset_orc*",
    "_feather*",
    "feather.py",
    "_csv*",
    "csv.py",
    "_json*",
    "json.py",
    "_dataset_parquet_encryption*",
    "cuda.py",
    "jvm.py",
)

# PyIceberg reads tables by pyarrow's S3, and its datasets import more formats.
NEEDED_BY_PYICEBERG = ("libarrow_s3.so.*", "_s3fs*", "_csv*", "csv.py", "_json*", "json.py")
UNNEEDED_BESIDE_PYICEBERG = (
    "hive_metastore",  # another catalogue's client
    "zstandard/*cffi*",  # the second of two backends, 12 MB
    "aws_lambda_powertools/event_handler",
)

# botocore's models of all of AWS's services are 28 MB, and it looks through their folders at start.
SERVICES_OF = {
    "ingest_telemetry": ("s3",),
    "audit_lake": ("glue", "kinesis", "s3"),
    "export_registry": ("glue", "iot", "s3"),
    "admit_device": ("iot",),
    "pause_ingestion": ("lambda", "sns"),
}


def trim(folder: Path) -> None:
    """Delete from the installed packages in `folder` what the application does not need.

    Raises FileNotFoundError when a pattern matches nothing.
    """
    shutil.rmtree(folder / "bin", ignore_errors=True)  # command line tools of some packages
    has_pyiceberg = (folder / "pyiceberg").exists()
    if has_pyiceberg:
        _trim_by_patterns(folder, UNNEEDED_BESIDE_PYICEBERG)
    if (folder / "pyarrow").exists():
        kept = NEEDED_BY_PYICEBERG if has_pyiceberg else ()
        _trim_by_patterns(
            folder / "pyarrow", [each for each in UNNEEDED_OF_PYARROW if each not in kept]
        )
    if (folder / "botocore").exists():
        (function,) = (name for name in SERVICES_OF if (folder / name).is_dir())
        _trim_botocore(folder / "botocore", SERVICES_OF[function])


def _trim_by_patterns(package: Path, patterns: Sequence[str]) -> None:
    for pattern in patterns:
        _remove(package, sorted(package.glob(pattern)), pattern)


def _trim_botocore(package: Path, services: Sequence[str]) -> None:
    models = package / "data"
    others = [path for path in models.iterdir() if path.is_dir() and path.name not in services]
    _remove(package, others, "data/<service>")
    for service in services:
        if not (models / service).is_dir():
            raise FileNotFoundError(f"{models} has no model of {service}")


def _remove(package: Path, found: list[Path], pattern: str) -> None:
    if not found:
        raise FileNotFoundError(f"{package} has nothing called {pattern}: look at trim.py again")
    for path in found:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


if __name__ == "__main__":
    trim(Path(sys.argv[1]))
