"""One local Spark for the suite, and a lake of its own for each test.

Tables live in a Hadoop catalogue and raw objects in a folder, which starts fast and fails as S3 and
Glue would not; `test_on_s3_and_glue.py` runs the job on the emulated services.
"""

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from local.spark import find_spark, small_machine_conf
from tests.spark.lake import Lake

_databases = itertools.count()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write the golden files anew")


@pytest.fixture(scope="session")
def warehouse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("warehouse")


@pytest.fixture(scope="session")
def spark(warehouse: Path) -> Iterator[SparkSession]:
    installation = find_spark()
    conf = {
        **small_machine_conf(),
        "spark.jars": ",".join(map(str, installation.jars)),
        "spark.sql.extensions": (
            "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions"
        ),
        "spark.sql.catalog.lake": "org.apache.iceberg.spark.SparkCatalog",
        "spark.sql.catalog.lake.type": "hadoop",
        "spark.sql.catalog.lake.warehouse": str(warehouse),
        # Far from UTC, and with days that have 23 and 25 hours: the job must not care.
        "spark.sql.session.timeZone": "America/St_Johns",
        "spark.driver.extraJavaOptions": "-Duser.timezone=America/St_Johns",
        "spark.sql.warehouse.dir": str(warehouse / "unused"),
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in installation.environment().items():
            patch.setenv(name, value)
        patch.chdir(warehouse)
        builder = SparkSession.builder.master("local[2]").appName("tests")
        for name, value in conf.items():
            builder = builder.config(name, value)
        session = builder.getOrCreate()
        session.sparkContext.setLogLevel("OFF")
        yield session
        session.stop()


@pytest.fixture
def lake(spark: SparkSession, tmp_path: Path) -> Lake:
    return Lake(spark, tmp_path / "raw", f"test_{next(_databases)}_{os.getpid()}")
