"""Functions and layers as resources of a template.

moto's own CloudFormation leaves out what a function needs to run: layers, architecture, the log's
format. These providers put all of it into moto's Lambda, through its API. Guarantee: what this
machine can't run is refused at deployment.

https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-lambda-function.html
"""

from collections.abc import Mapping
from typing import Any, Final

from botocore.exceptions import ClientError

from local.api import ACCOUNT_ID, REGION
from local.deployment.provider import (
    ApiResource,
    Created,
    DeploymentError,
    Properties,
    ReplacementNeeded,
    shaped,
)
from local.functions.artifact import UnsupportedFunctionError, host_architecture
from local.functions.deployed import DeployedFunctions

# What goes to moto's API as it is.
_CONFIGURATION: Final = frozenset(
    {"Description", "Environment", "Handler", "Layers", "MemorySize", "Role", "Runtime", "Timeout"}
)
# Settings that change nothing that could be observed here: tracing goes nowhere, tags are for
# people, and a function's temporary files are on this machine's disk.
_WITHOUT_EFFECT: Final = frozenset({"EphemeralStorage", "Tags", "TracingConfig"})
# What Lambda sets itself. https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html
_RESERVED_VARIABLES: Final = frozenset(
    {
        "AWS_ACCESS_KEY",
        "AWS_ACCESS_KEY_ID",
        "AWS_DEFAULT_REGION",
        "AWS_EXECUTION_ENV",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
        "AWS_LAMBDA_FUNCTION_NAME",
        "AWS_LAMBDA_FUNCTION_VERSION",
        "AWS_LAMBDA_INITIALIZATION_TYPE",
        "AWS_LAMBDA_LOG_GROUP_NAME",
        "AWS_LAMBDA_LOG_STREAM_NAME",
        "AWS_LAMBDA_RUNTIME_API",
        "AWS_REGION",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "LAMBDA_RUNTIME_DIR",
        "LAMBDA_TASK_ROOT",
        "_HANDLER",
        "_X_AMZN_TRACE_ID",
    }
)


class FunctionProvider:
    """AWS::Lambda::Function."""

    resource_type = "AWS::Lambda::Function"
    properties = (
        _CONFIGURATION
        | _WITHOUT_EFFECT
        | {
            "Architectures",
            "Code",
            "FunctionName",
            "LoggingConfig",
            "PackageType",
            "ReservedConcurrentExecutions",
        }
    )

    def __init__(self, client: Any, backend: Any, functions: DeployedFunctions) -> None:
        self._client = client
        self._backend = backend
        self._functions = functions

    def create(self, logical_id: str, name: str, properties: dict[str, Any]) -> Created:
        """Create the function; refuse what this machine can't run."""
        name = properties.get("FunctionName") or name
        _refuse_unsupported(logical_id, properties)
        request = {
            key: value
            for key, value in properties.items()
            if key in _CONFIGURATION or key in ("Architectures", "Code", "PackageType")
        }
        self._client.create_function(
            **shaped(self._client, "CreateFunction", request | {"FunctionName": name})
        )
        self._apply_rest(name, properties)
        return _created(name)

    def update(self, physical_id: str, old: dict[str, Any], new: dict[str, Any]) -> Created:
        """Change code and configuration in place; another name makes another function."""
        if old.get("FunctionName") != new.get("FunctionName"):
            raise ReplacementNeeded
        if old.get("Architectures") != new.get("Architectures"):
            raise ReplacementNeeded
        _refuse_unsupported(physical_id, new)
        if old.get("Code") != new.get("Code"):
            self._client.update_function_code(FunctionName=physical_id, **new["Code"])
        empty: dict[str, Any] = {"Layers": [], "Environment": {"Variables": {}}, "Description": ""}
        request = empty | {key: value for key, value in new.items() if key in _CONFIGURATION}
        self._client.update_function_configuration(
            **shaped(
                self._client,
                "UpdateFunctionConfiguration",
                request | {"FunctionName": physical_id},
            )
        )
        self._apply_rest(physical_id, new)
        return _created(physical_id)

    def delete(self, physical_id: str, properties: dict[str, Any]) -> None:
        """Delete the function and end its processes."""
        self._functions.forget(physical_id)
        try:
            self._client.delete_function(FunctionName=physical_id)
        except ClientError as error:
            if error.response["Error"]["Code"] != "ResourceNotFoundException":
                raise

    def _apply_rest(self, name: str, properties: Mapping[str, Any]) -> None:
        """What moto's API takes otherwise or not at all."""
        reserved = properties.get("ReservedConcurrentExecutions")
        function = self._backend.get_function(name)
        function.reserved_concurrency = None if reserved in (None, "") else int(reserved)
        logging_config = properties.get("LoggingConfig") or {}
        function.local_log_format = logging_config.get("LogFormat", "Text")
        function.local_log_group = logging_config.get("LogGroup", f"/aws/lambda/{name}")
        self._functions.prepare(name)


def _created(name: str) -> Created:
    return Created(name, {"Arn": f"arn:aws:lambda:{REGION}:{ACCOUNT_ID}:function:{name}"})


def _refuse_unsupported(where: str, properties: Mapping[str, Any]) -> None:
    if properties.get("PackageType", "Zip") != "Zip":
        raise DeploymentError(f"{where}: the local cloud runs functions from archives only")
    variables = (properties.get("Environment") or {}).get("Variables") or {}
    if reserved := sorted(_RESERVED_VARIABLES & variables.keys()):
        raise DeploymentError(f"{where}: Lambda sets {', '.join(reserved)} itself")
    architectures = properties.get("Architectures") or ["x86_64"]
    try:
        host = host_architecture()
    except UnsupportedFunctionError as error:
        raise DeploymentError(f"{where}: {error}") from error
    if list(architectures) != [host]:
        raise DeploymentError(
            f"{where}: built for {', '.join(architectures)}, and this machine is {host}:"
            f" build and deploy with Architecture={host}"
        )


def permission_provider(client: Any) -> ApiResource:
    """AWS::Lambda::Permission: a statement of the function's policy, which alarms ask for."""
    known = frozenset({"Action", "FunctionName", "Principal", "SourceAccount", "SourceArn"})

    def put(name: str, properties: Properties) -> Created:
        request = {"StatementId": name, **properties}
        client.add_permission(**shaped(client, "AddPermission", request))
        return Created(name, {"Id": name})

    def remove(name: str, properties: Properties) -> None:
        try:
            client.remove_permission(FunctionName=properties["FunctionName"], StatementId=name)
        except ClientError as error:
            # Gone with its function.
            if error.response["Error"]["Code"] != "ResourceNotFoundException":
                raise

    return ApiResource("AWS::Lambda::Permission", known, put, remove, replaced=True)


class LayerProvider:
    """AWS::Lambda::LayerVersion. Each change publishes another version, as on AWS."""

    resource_type = "AWS::Lambda::LayerVersion"
    properties = frozenset(
        {
            "CompatibleArchitectures",
            "CompatibleRuntimes",
            "Content",
            "Description",
            "LayerName",
        }
    )

    def __init__(self, client: Any) -> None:
        self._client = client

    def create(self, logical_id: str, name: str, properties: dict[str, Any]) -> Created:
        """Publish a version; `!Ref` is its ARN."""
        request = {"LayerName": name} | properties
        answer = self._client.publish_layer_version(
            **shaped(self._client, "PublishLayerVersion", request)
        )
        arn = answer["LayerVersionArn"]
        return Created(arn, {"LayerVersionArn": arn})

    def update(self, physical_id: str, old: dict[str, Any], new: dict[str, Any]) -> Created:
        """A version never changes."""
        raise ReplacementNeeded

    def delete(self, physical_id: str, properties: dict[str, Any]) -> None:
        """Delete the version, which no function should have any more."""
        layer, _, version = physical_id.rpartition(":")
        try:
            self._client.delete_layer_version(LayerName=layer, VersionNumber=int(version))
        except ClientError as error:
            if error.response["Error"]["Code"] != "ResourceNotFoundException":
                raise
