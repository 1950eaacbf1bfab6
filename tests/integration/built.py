"""The functions as `sam build` leaves them for this machine, run under the real runtime client.

The build is needed: without it the tests that use it fail, they don't skip.
"""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from local.deployment.template import parse
from local.functions.artifact import FolderArtifact, host_architecture
from local.functions.runtime import FunctionDescription, FunctionRuntime
from local.metrics import Datum

ROOT = Path(__file__).parents[2]
BUILD = ROOT / "build" / "sam-host"


@dataclass(frozen=True)
class Running:
    """A built function that can be invoked, what it measured, and where its logs are."""

    runtime: FunctionRuntime
    metrics: list[Datum]
    folder: Path


def built_function(name: str, resource: str, values: Mapping[str, str]) -> FunctionDescription:
    """A function of the build; `values` of the variables that are references in the template."""
    template = BUILD / "template.yaml"
    assert template.exists(), "there is no build: `make build` makes it"
    properties = parse(template.read_text())["Resources"][resource]["Properties"]
    variables = properties["Environment"]["Variables"]
    return FunctionDescription(
        name=name,
        handler=properties["Handler"],
        runtime="python3.13",
        architecture=host_architecture(),
        timeout_seconds=properties["Timeout"],
        memory_megabytes=properties["MemorySize"],
        environment={
            name: value if isinstance(value, str) else values[name]
            for name, value in variables.items()
        },
        code=FolderArtifact(BUILD / resource),
        layers=tuple(
            FolderArtifact(BUILD / layer["Ref"]) for layer in properties.get("Layers", ())
        ),
        log_format=properties["LoggingConfig"].get("LogFormat", "Text"),
    )


@contextmanager
def running(function: FunctionDescription, endpoint: str, folder: str) -> Iterator[Running]:
    """Run it beside the build, where it can be linked instead of copied."""
    below = ROOT / "build" / "test" / folder
    metrics: list[Datum] = []
    runtime = FunctionRuntime(lambda: function, below, endpoint, lambda *data: metrics.extend(data))
    try:
        yield Running(runtime, metrics, below)
    finally:
        runtime.stop()
        shutil.rmtree(below)
