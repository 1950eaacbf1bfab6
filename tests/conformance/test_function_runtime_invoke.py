"""Lambda's API invokes what a template deployed, as clients of AWS know it."""

import base64
import io
import json
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from moto.backends import get_backend

from local.api import ACCOUNT_ID, REGION, Api
from local.deployment.provider import DeploymentError, ReplacementNeeded
from local.functions.artifact import host_architecture
from local.functions.deployed import DeployedFunctions, describe_from_moto
from local.functions.resources import FunctionProvider, LayerProvider
from tests.conformance import lambda_pages as pages
from tests.loopback import client_of, empty_moto, served

CODE = """
import json, os, pathlib
def handle(event, context):
    print("about to answer")
    if event.get("fail"):
        raise RuntimeError("as asked")
    if event.get("touch"):
        pathlib.Path(event["touch"]).touch()
    return {"event": event, "greeting": os.environ.get("GREETING")}
"""
ASKING_LAYER = "import asked\ndef handle(event, context):\n    return asked.ANSWER\n"


def zip_of(files: dict[str, str]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return buffer.getvalue()


@dataclass
class Cloud:
    """moto and this project's Lambda on a free port, and clients of it."""

    functions: DeployedFunctions
    provider: FunctionProvider
    layers: LayerProvider
    aws: Any
    s3: Any
    role: str
    folder: Path

    def properties(self, code: str = CODE, **properties: Any) -> dict[str, Any]:
        """A function's properties, with its archive in S3, as `sam deploy` leaves it."""
        body = zip_of({"greeter.py": code})
        key = f"code-{hash(code)}"
        self.s3.put_object(Bucket="artifacts", Key=key, Body=body)
        return {
            "Code": {"S3Bucket": "artifacts", "S3Key": key},
            "Handler": "greeter.handle",
            "Role": self.role,
            "Runtime": "python3.13",
            "Timeout": "20",
            "Architectures": [host_architecture()],
        } | properties

    def layer(self, text: str) -> str:
        """Publish a layer with a module `asked`; the version's ARN."""
        key = f"layer-{hash(text)}"
        self.s3.put_object(Bucket="artifacts", Key=key, Body=zip_of({"python/asked.py": text}))
        created = self.layers.create(
            "Layer", "stack-Layer", {"Content": {"S3Bucket": "artifacts", "S3Key": key}}
        )
        return created.physical_id


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    moto = empty_moto()
    backend = get_backend("lambda")[ACCOUNT_ID][REGION]
    folder = tmp_path_factory.mktemp("build")
    functions = DeployedFunctions(
        describe_from_moto(backend),
        folder,
        "http://localhost:1",
        lambda *_data: None,
    )
    application = Api({}, functions.routes(), {}, moto)
    with served(application) as endpoint:
        aws, s3 = client_of(endpoint, "lambda"), client_of(endpoint, "s3")
        s3.create_bucket(Bucket="artifacts")
        statement = {
            "Effect": "Allow",
            "Principal": {"Service": "lambda.amazonaws.com"},
            "Action": "sts:AssumeRole",
        }
        role = client_of(endpoint, "iam").create_role(
            RoleName="greeter",
            AssumeRolePolicyDocument=json.dumps(
                {"Version": "2012-10-17", "Statement": [statement]}
            ),
        )
        yield Cloud(
            functions,
            FunctionProvider(aws, backend, functions),
            LayerProvider(aws),
            aws,
            s3,
            role["Role"]["Arn"],
            folder,
        )
        functions.stop()


def invoke(cloud: Cloud, name: str, event: object = None, **arguments: Any) -> Any:
    payload = json.dumps(event if event is not None else {}).encode()
    answer = cloud.aws.invoke(FunctionName=name, Payload=payload, **arguments)
    answer["Payload"] = answer["Payload"].read()
    return answer


def deploy(cloud: Cloud, name: str, **properties: Any) -> dict[str, Any]:
    deployed = cloud.properties(**properties)
    created = cloud.provider.create("Greeter", name, deployed)
    assert created.physical_id == name
    assert created.attributes["Arn"].endswith(f":function:{name}")
    return deployed


@pytest.mark.documented(pages.INVOKE)
def test_answers_synchronously_with_status_version_and_payload(cloud: Cloud) -> None:
    deploy(cloud, "sync", Environment={"Variables": {"GREETING": "hello"}})
    answer = invoke(cloud, "sync", {"n": 1})
    assert answer["StatusCode"] == 200
    assert answer["ExecutedVersion"] == "$LATEST"
    assert "FunctionError" not in answer
    assert json.loads(answer["Payload"]) == {"event": {"n": 1}, "greeting": "hello"}


@pytest.mark.documented(pages.INVOKE)
def test_function_can_be_named_by_its_arn(cloud: Cloud) -> None:
    deploy(cloud, "by-arn")
    arn = f"arn:aws:lambda:{REGION}:{ACCOUNT_ID}:function:by-arn"
    assert json.loads(invoke(cloud, arn, {"n": 2})["Payload"])["event"] == {"n": 2}


@pytest.mark.documented(pages.INVOKE)
def test_exception_is_a_success_of_the_call_with_a_function_error(cloud: Cloud) -> None:
    deploy(cloud, "failing")
    answer = invoke(cloud, "failing", {"fail": True})
    assert answer["StatusCode"] == 200
    assert answer["FunctionError"] == "Unhandled"
    assert json.loads(answer["Payload"])["errorMessage"] == "as asked"


@pytest.mark.documented(pages.INVOKE)
def test_log_result_has_the_end_of_the_log(cloud: Cloud) -> None:
    deploy(cloud, "tail")
    answer = invoke(cloud, "tail", LogType="Tail")
    log = base64.b64decode(answer["LogResult"]).decode()
    assert "about to answer" in log
    assert log.splitlines()[-1].startswith("REPORT RequestId: ")


@pytest.mark.documented(pages.INVOKE)
def test_event_is_accepted_at_once_and_run(cloud: Cloud, tmp_path: Path) -> None:
    deploy(cloud, "later")
    answer = invoke(cloud, "later", {"touch": str(tmp_path / "ran")}, InvocationType="Event")
    assert (answer["StatusCode"], answer["Payload"]) == (202, b"")
    for thread in threading.enumerate():
        if thread.name == "invoke-later":
            thread.join(20)
    assert (tmp_path / "ran").exists()


@pytest.mark.documented(pages.INVOKE)
def test_dry_run_runs_nothing(cloud: Cloud, tmp_path: Path) -> None:
    deploy(cloud, "dry")
    answer = invoke(cloud, "dry", {"touch": str(tmp_path / "ran")}, InvocationType="DryRun")
    assert answer["StatusCode"] == 204
    assert not (tmp_path / "ran").exists()


@pytest.mark.documented(pages.INVOKE)
def test_unknown_function_is_not_found(cloud: Cloud) -> None:
    with pytest.raises(ClientError) as refused:
        invoke(cloud, "nobody")
    assert refused.value.response["Error"]["Code"] == "ResourceNotFoundException"


@pytest.mark.documented(pages.INVOKE)
def test_payload_that_is_not_json_is_refused(cloud: Cloud) -> None:
    deploy(cloud, "json")
    with pytest.raises(ClientError) as refused:
        cloud.aws.invoke(FunctionName="json", Payload=b"{not json")
    assert refused.value.response["Error"]["Code"] == "InvalidRequestContentException"


@pytest.mark.documented(pages.FUNCTION_RESOURCE)
def test_layers_of_the_template_are_there(cloud: Cloud) -> None:
    deploy(cloud, "layered", code=ASKING_LAYER, Layers=[cloud.layer("ANSWER = 42\n")])
    assert json.loads(invoke(cloud, "layered")["Payload"]) == 42


@pytest.mark.documented(pages.FUNCTION_RESOURCE)
def test_update_of_the_stack_takes_effect_with_the_next_invocation(cloud: Cloud) -> None:
    old = deploy(cloud, "updated", code=ASKING_LAYER, Layers=[cloud.layer("ANSWER = 1\n")])
    assert json.loads(invoke(cloud, "updated")["Payload"]) == 1
    new = old | {"Layers": [cloud.layer("ANSWER = 2\n")]}
    cloud.provider.update("updated", old, new)
    assert json.loads(invoke(cloud, "updated")["Payload"]) == 2
    newest = cloud.properties(Environment={"Variables": {"GREETING": "goodbye"}})
    cloud.provider.update("updated", new, newest)
    assert json.loads(invoke(cloud, "updated")["Payload"])["greeting"] == "goodbye"


@pytest.mark.documented(pages.UPDATE_CODE)
def test_update_through_lambdas_api_takes_effect_with_the_next_invocation(cloud: Cloud) -> None:
    deploy(cloud, "by-api")
    invoke(cloud, "by-api")
    cloud.aws.update_function_configuration(
        FunctionName="by-api", Environment={"Variables": {"GREETING": "by api"}}
    )
    assert json.loads(invoke(cloud, "by-api")["Payload"])["greeting"] == "by api"
    cloud.aws.update_function_code(
        FunctionName="by-api",
        ZipFile=zip_of({"greeter.py": "def handle(event, context):\n    return 'new code'\n"}),
    )
    assert json.loads(invoke(cloud, "by-api")["Payload"]) == "new code"


@pytest.mark.documented(pages.RESERVED_CONCURRENCY)
def test_reserved_concurrency_of_0_throttles_every_invocation(cloud: Cloud) -> None:
    deploy(cloud, "off", ReservedConcurrentExecutions="0")
    with pytest.raises(ClientError) as throttled:
        invoke(cloud, "off")
    assert throttled.value.response["Error"]["Code"] == "TooManyRequestsException"


@pytest.mark.documented(pages.DELETE_FUNCTION)
def test_deleted_function_is_gone_with_its_processes(cloud: Cloud) -> None:
    properties = deploy(cloud, "gone")
    invoke(cloud, "gone")
    cloud.provider.delete("gone", properties)
    with pytest.raises(ClientError) as refused:
        invoke(cloud, "gone")
    assert refused.value.response["Error"]["Code"] == "ResourceNotFoundException"
    cloud.provider.delete("gone", properties)  # as often as anyone likes


@pytest.mark.ours("what the local cloud does so that the first invocation need not wait")
def test_deployment_unpacks_the_function_before_its_first_invocation(cloud: Cloud) -> None:
    code = "def handle(event, context):\n    return 'never run'\n"
    deploy(cloud, "prepared", code=code)
    for thread in threading.enumerate():
        if thread.name == "prepare-prepared":
            thread.join(20)
    unpacked = cloud.folder.glob("artifacts/*/task/greeter.py")
    assert code in [path.read_text() for path in unpacked]


@pytest.mark.ours("this machine has one processor")
def test_function_for_another_processor_is_refused_at_deployment(cloud: Cloud) -> None:
    other = {"x86_64": "arm64", "arm64": "x86_64"}[host_architecture()]
    with pytest.raises(DeploymentError, match=f"Architecture={host_architecture()}"):
        deploy(cloud, "foreign", Architectures=[other])


@pytest.mark.documented(pages.QUOTAS)
def test_event_of_more_than_1_mb_is_refused(cloud: Cloud) -> None:
    deploy(cloud, "large")
    event = {"pad": "x" * (1024 * 1024 - len(json.dumps({"pad": ""})))}
    assert invoke(cloud, "large", event, InvocationType="Event")["StatusCode"] == 202
    with pytest.raises(ClientError) as refused:
        invoke(cloud, "large", event | {"pad": event["pad"] + "x"}, InvocationType="Event")
    assert refused.value.response["Error"]["Code"] == "RequestTooLargeException"


@pytest.mark.documented(pages.VARIABLES)
@pytest.mark.parametrize("name", ["AWS_REGION", "AWS_ACCESS_KEY_ID", "_HANDLER"])
def test_variable_that_lambda_sets_itself_is_refused_at_deployment(cloud: Cloud, name: str) -> None:
    with pytest.raises(DeploymentError, match=name):
        deploy(cloud, "reserved", Environment={"Variables": {name: "x"}})
    with pytest.raises(ClientError) as refused:
        invoke(cloud, "reserved")
    assert refused.value.response["Error"]["Code"] == "ResourceNotFoundException"


@pytest.mark.documented(pages.FUNCTION_RESOURCE)
def test_another_name_asks_for_another_function(cloud: Cloud) -> None:
    properties = cloud.properties(FunctionName="one")
    with pytest.raises(ReplacementNeeded):
        cloud.provider.update("one", properties, properties | {"FunctionName": "two"})


@pytest.mark.documented(pages.LAYER_RESOURCE)
def test_changed_layer_asks_for_another_version(cloud: Cloud) -> None:
    with pytest.raises(ReplacementNeeded):
        cloud.layers.update(cloud.layer("ANSWER = 7\n"), {}, {})
