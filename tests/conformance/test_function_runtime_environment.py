"""A function finds what is deployed and what Lambda gives it, and nothing of this project."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from local.api import ApiError
from local.functions.artifact import (
    FolderArtifact,
    UnsupportedFunctionError,
    host_architecture,
    lay_out,
    runtime_client_folder,
)
from tests.conformance import lambda_pages as pages
from tests.conformance.function_bench import (
    FunctionBench,
    answer,
    deployed_function,
    failure,
    zip_artifact,
)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[FunctionBench]:
    with deployed_function(tmp_path) as bench:
        yield bench


@pytest.mark.documented(pages.SEARCH_PATH)
def test_path_has_code_layers_runtime_client_and_standard_library_only(
    bench: FunctionBench,
) -> None:
    *deployed, client = answer(bench.invoke())["path"][:4]
    assert [Path(path).relative_to(bench.folder / "artifacts").parts[1:] for path in deployed] == [
        ("task",),
        ("opt", "python", "lib", "python3.13", "site-packages"),
        ("opt", "python"),
    ]
    assert Path(client).parent == bench.folder / "artifacts"
    rest = answer(bench.invoke())["path"][4:]
    assert not any("site-packages" in path for path in rest)
    assert os.fspath(Path.cwd()) not in rest


@pytest.mark.ours("the local cloud must not lend a function what Lambda would not have")
@pytest.mark.parametrize("name", ["boto3", "local", "moto", "pytest", "yaml"])
def test_packages_of_this_environment_can_not_be_imported(bench: FunctionBench, name: str) -> None:
    error = failure(bench.invoke("import", name=name))
    assert error["errorType"] == "ModuleNotFoundError"


@pytest.mark.ours("the local cloud must not lend a function what Lambda would not have")
def test_runtime_client_is_all_that_its_folder_has(tmp_path: Path) -> None:
    folder = runtime_client_folder(tmp_path)
    importable = {
        path.name.partition(".")[0]
        for path in folder.iterdir()
        if not path.name.endswith(".dist-info")
    }
    assert importable == {"awslambdaric", "runtime_client", "simplejson", "snapshot_restore_py"}


@pytest.mark.documented(pages.LAYER_ORDER)
def test_layers_are_merged_and_a_later_one_covers_an_earlier_one(bench: FunctionBench) -> None:
    bench.deployed = replace(
        bench.deployed,
        layers=(
            zip_artifact("one", python__first="WHO = 'one'", python__both="WHO = 'one'"),
            zip_artifact("two", python__both="WHO = 'two'"),
        ),
        code=zip_artifact(
            "code",
            greeter="import both, first\ndef handle(e, c):\n    return [first.WHO, both.WHO]\n",
        ),
    )
    assert answer(bench.invoke()) == ["one", "two"]


@pytest.mark.documented(pages.SEARCH_PATH)
def test_code_covers_what_a_layer_has_under_the_same_name(bench: FunctionBench) -> None:
    bench.deployed = replace(
        bench.deployed,
        layers=(zip_artifact("layer", python__thing="WHO = 'layer'"),),
        code=zip_artifact(
            "code",
            greeter="import thing\ndef handle(e, c):\n    return thing.WHO\n",
            thing="WHO = 'code'",
        ),
    )
    assert answer(bench.invoke()) == "code"


@pytest.mark.documented(pages.LAYER_PATHS)
def test_programs_and_libraries_of_layers_are_found(bench: FunctionBench) -> None:
    variables = answer(bench.invoke("environment"))
    (opt,) = (bench.folder / "artifacts").glob("*/opt")
    assert str(opt / "bin") in variables["PATH"].split(":")
    assert str(opt / "lib") in variables["LD_LIBRARY_PATH"].split(":")
    assert variables["LAMBDA_TASK_ROOT"] == str(opt.parent / "task")


@pytest.mark.documented(pages.VARIABLES)
def test_environment_is_the_functions_and_lambdas_and_nothing_of_ours(
    bench: FunctionBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_OF_THE_DEVELOPER", "x")
    monkeypatch.setenv("PYTHONSTARTUP", "x")
    monkeypatch.setenv("AWS_PROFILE", "x")
    variables = answer(bench.invoke("environment"))
    assert variables["GREETING"] == "hello"
    assert variables["AWS_LAMBDA_FUNCTION_NAME"] == "greeter"
    assert variables["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"] == "256"
    assert variables["AWS_REGION"] == "us-east-1"
    assert variables["_HANDLER"] == "greeter.handle"
    assert not {"SECRET_OF_THE_DEVELOPER", "PYTHONSTARTUP", "AWS_PROFILE"} & variables.keys()
    assert variables["HOME"] != os.environ.get("HOME")
    assert list(Path(variables["HOME"]).iterdir()) == []


@pytest.mark.documented(pages.LOGS)
def test_log_format_json_is_told_to_the_runtime(bench: FunctionBench) -> None:
    assert "AWS_LAMBDA_LOG_FORMAT" not in answer(bench.invoke("environment"))
    bench.deployed = replace(bench.deployed, log_format="JSON")
    variables = answer(bench.invoke("environment"))
    assert variables["AWS_LAMBDA_LOG_FORMAT"] == "JSON"
    assert variables["AWS_LAMBDA_LOG_LEVEL"] == "INFO"


@pytest.mark.ours("how a function finds the local cloud")
def test_endpoint_that_is_declared_empty_becomes_the_local_clouds(bench: FunctionBench) -> None:
    assert answer(bench.invoke("environment"))["AWS_ENDPOINT_URL"] == "http://localhost:1"


@pytest.mark.ours("how a function finds the local cloud")
def test_endpoint_that_is_deployed_stays(bench: FunctionBench) -> None:
    bench.deployed = replace(bench.deployed, environment={"AWS_ENDPOINT_URL": "http://other:2"})
    assert answer(bench.invoke("environment"))["AWS_ENDPOINT_URL"] == "http://other:2"


@pytest.mark.ours("this machine has one processor")
def test_function_of_another_processor_is_refused_with_what_to_do(bench: FunctionBench) -> None:
    other = {"x86_64": "arm64", "arm64": "x86_64"}[host_architecture()]
    bench.deployed = replace(bench.deployed, architecture=other)
    with pytest.raises(ApiError, match=f"deploy with Architecture={host_architecture()}"):
        bench.invoke()


@pytest.mark.ours("this machine has one processor")
def test_shared_object_of_another_processor_is_refused_by_its_name(tmp_path: Path) -> None:
    # An ELF header of machine 243, RISC-V, which Lambda has never had.
    header = b"\x7fELF\x02\x01\x01" + bytes(9) + (3).to_bytes(2, "little")
    foreign = tmp_path / "code" / "fast.cpython-313-riscv64-linux-gnu.so"
    foreign.parent.mkdir()
    foreign.write_bytes(header + (243).to_bytes(2, "little") + bytes(44))
    with pytest.raises(UnsupportedFunctionError, match=r"fast\.cpython-313-riscv64"):
        lay_out(FolderArtifact(foreign.parent), (), tmp_path / "build")


@pytest.mark.ours("this environment has one Python")
def test_another_version_of_python_is_refused(bench: FunctionBench) -> None:
    bench.deployed = replace(bench.deployed, runtime="python3.12")
    with pytest.raises(ApiError, match=r"deployed for python3\.12, and this is python3\.13"):
        bench.invoke()
