"""One local Spark for the benchmarks of the jobs, with two cores, set as Glue sets it.

Nothing of what the tests switch off to start quickly is off here: both of Java's compilers, Spark's
own code generation and adaptive execution work as on AWS. Tables lie in a Hadoop catalogue in a
folder: no network is in any figure. Spark writes an event log, of which `spark_cost` reads what a
run has read.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import py4j.java_gateway
from pyspark.sql import SparkSession

import local.glue.spark
from local.glue.spark import find_spark

CATALOG = "lake"
LOG_FOLDER = "events"


@contextmanager
def spark_in(folder: Path, memory: str = "4g") -> Iterator[SparkSession]:
    """A session whose tables and event log are in `folder`; the caller's folder stays his own."""
    installation = find_spark()
    logs = folder / LOG_FOLDER
    logs.mkdir(parents=True)
    logging = Path(local.glue.spark.__file__).with_name("spark_logging.properties")
    conf = {
        "spark.driver.extraClassPath": os.pathsep.join(map(str, installation.jars)),
        "spark.driver.extraJavaOptions": f"-Dlog4j2.configurationFile={logging.as_uri()}",
        "spark.driver.memory": memory,
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        # Hadoop does not count what it reads in this way from a local disk.
        "spark.hadoop.parquet.hadoop.vectored.io.enabled": "false",
        "spark.eventLog.enabled": "true",
        "spark.eventLog.dir": logs.as_uri(),
        "spark.eventLog.rolling.enabled": "false",
        "spark.eventLog.compress": "false",
        "spark.sql.session.timeZone": "UTC",
        # Glue with auto scaling derives it from the workers; Spark's own 200 is for other machines.
        "spark.sql.shuffle.partitions": "4",
        "spark.sql.warehouse.dir": str(folder / "unused"),
        "spark.sql.extensions": (
            "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions"
        ),
        f"spark.sql.catalog.{CATALOG}": "org.apache.iceberg.spark.SparkCatalog",
        f"spark.sql.catalog.{CATALOG}.type": "hadoop",
        f"spark.sql.catalog.{CATALOG}.warehouse": str(folder / "warehouse"),
    }
    builder = SparkSession.builder.master("local[2]").appName("benchmark")
    for name, value in conf.items():
        builder = builder.config(name, value)
    for name, value in installation.environment().items():
        os.environ[name] = value
    session = builder.getOrCreate()
    try:
        yield session
    finally:
        session.stop()


def java(session: SparkSession) -> py4j.java_gateway.JVMView:
    """Spark's Java side."""
    machine = session._jvm
    assert machine is not None
    return machine


def cpu_seconds(session: SparkSession) -> float:
    """CPU time of Spark's process so far: driver, tasks, Java's compilers and collector."""
    spent = java(session).java.lang.ProcessHandle.current().info().totalCpuDuration().get()
    return float(spent.toNanos()) / 1e9
