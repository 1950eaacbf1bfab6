"""One local Spark for the suite, and a lake of its own for each test.

Tables lie in a Hadoop catalogue and raw objects in a folder, which starts fast and does not fail as
S3 and Glue do; test_on_s3_and_glue.py runs the job on those two, emulated.
"""

import itertools
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

import curate_telemetry
from local.glue.spark import find_spark
from tests.spark.lake import Lake

# Far from UTC, with half an hour and with days of 23 and 25 hours: the job must not care where it
# runs.
ELSEWHERE = "America/St_Johns"

_databases = itertools.count()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write the golden files anew")
    parser.addoption("--soak", action="store_true", help="five seeds instead of one, where killed")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that takes a soak_seed runs once, or five times under --soak."""
    if "soak_seed" in metafunc.fixturenames:
        seeds = 5 if metafunc.config.getoption("--soak", default=False) else 1
        metafunc.parametrize("soak_seed", range(1, seeds + 1))


@pytest.fixture(scope="session")
def warehouse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("warehouse")


@pytest.fixture(scope="session")
def spark(warehouse: Path) -> Iterator[SparkSession]:
    installation = find_spark()
    conf = installation.conf()
    # With one compiler Java keeps 48 MB of code, which some hundred tests fill: from then on it
    # spent a quarter of the suite's time on throwing code out and making it again.
    conf["spark.driver.extraJavaOptions"] += (
        f" -Duser.timezone={ELSEWHERE} -XX:ReservedCodeCacheSize=512m"
    )
    conf |= {
        # Most expressions are evaluated for a handful of rows: compiling them first was an eighth
        # of the suite. Jobs that the tests submit (on S3, end to end) do compile them, as on Glue.
        "spark.sql.codegen.factoryMode": "NO_CODEGEN",
        # The default of 1 GB is full after some two hundred tests, and then all is collecting.
        "spark.driver.memory": "3g",
        "spark.ui.retainedJobs": "10",
        "spark.ui.retainedStages": "10",
        "spark.ui.retainedTasks": "100",
        "spark.sql.ui.retainedExecutions": "5",
        "spark.sql.extensions": (
            "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions"
        ),
        "spark.sql.catalog.lake": "org.apache.iceberg.spark.SparkCatalog",
        "spark.sql.catalog.lake.type": "hadoop",
        "spark.sql.catalog.lake.warehouse": str(warehouse),
        "spark.sql.warehouse.dir": str(warehouse / "unused"),
    }
    builder = SparkSession.builder.master("local[2]").appName("tests")
    for name, value in conf.items():
        builder = builder.config(name, value)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", ELSEWHERE)
        time.tzset()
        with pytest.MonkeyPatch.context() as starting:
            starting.chdir(warehouse)
            for name, value in installation.environment().items():
                starting.setenv(name, value)
            session = builder.getOrCreate()
        yield session
        session.stop()
    time.tzset()


@pytest.fixture
def lake(spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lake]:
    # The tests' objects are all small, and shall be treated as large ones are: where these are read
    # a second time there is more to go wrong.
    monkeypatch.setattr(curate_telemetry, "SMALL_OBJECT", 0)
    yield Lake(spark, tmp_path / "raw", f"lake_{next(_databases)}")
    # What a job has stored ends with its process; here that is the next test's too.
    spark.catalog.clearCache()
