"""Takes out of pyarrow what writing Parquet does not need, so that the layer stays far below Lambda's limit.

Guarantee: everything that `import pyarrow.parquet` loads, or may load, stays. A pattern that matches
nothing ends the build: a new release has moved something, and someone should look again.
"""

import shutil
import sys
from pathlib import Path

UNNEEDED = (
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
    # Remote procedure calls, file systems, formats and query plans that the function never touches.
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


def trim(package: Path) -> None:
    """Delete what UNNEEDED names from an installed pyarrow.

    Raises FileNotFoundError when a pattern matches nothing.
    """
    for pattern in UNNEEDED:
        found = sorted(package.glob(pattern))
        if not found:
            raise FileNotFoundError(f"{package} has nothing called {pattern}: look at UNNEEDED again")
        for path in found:
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()


if __name__ == "__main__":
    trim(Path(sys.argv[1]))
