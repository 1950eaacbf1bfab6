"""AWS::IoT::TopicRule: from the template to the rule engine.

Guarantee: what is deployed is what runs. A property, an action or an SQL expression that the engine
doesn't know refuses the deployment by its name.
https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-iot-topicrule.html
"""

import re
from collections.abc import Mapping
from typing import Any, Final, Protocol

from local.api import ACCOUNT_ID, REGION
from local.deployment.provider import Created, DeploymentError
from local.rules.engine import KinesisAction, Rule, RuleEngine, S3Action
from local.rules.sql import SQL_VERSION, RuleSqlError, Template, parse_statement, parse_template

_NAME: Final = re.compile(r"[A-Za-z0-9_]{1,128}")
_PAYLOAD_PROPERTIES: Final = frozenset(
    {"Sql", "Actions", "AwsIotSqlVersion", "Description", "ErrorAction", "RuleDisabled"}
)
_MAX_ACTIONS: Final = 10


class RuleRegistry(Protocol):
    """Where rules can be read back: `aws iot get-topic-rule`."""

    def put_rule(self, name: str, payload: Mapping[str, Any]) -> None: ...
    def remove_rule(self, name: str) -> None: ...


def parse_rule(name: str, payload: Mapping[str, Any]) -> Rule:
    """The rule of a `TopicRulePayload`; DeploymentError names what is not understood."""
    _only(payload, _PAYLOAD_PROPERTIES, "TopicRulePayload")
    if not _NAME.fullmatch(name):
        raise DeploymentError(f"RuleName {name!r}: only letters, digits and underscores")
    if payload.get("AwsIotSqlVersion") != SQL_VERSION:
        raise DeploymentError(f"AwsIotSqlVersion must be '{SQL_VERSION}': the default is another")
    actions = payload.get("Actions") or []
    if not 1 <= len(actions) <= _MAX_ACTIONS:
        raise DeploymentError(f"Actions: 1 to {_MAX_ACTIONS}, not {len(actions)}")
    try:
        return Rule(
            name=name,
            statement=parse_statement(str(payload.get("Sql", ""))),
            actions=tuple(_kinesis_action(action) for action in actions),
            error_action=_error_action(payload.get("ErrorAction")),
            disabled=str(payload.get("RuleDisabled", False)).lower() == "true",
        )
    except RuleSqlError as error:
        raise DeploymentError(f"rule {name}: {error}") from None


def _kinesis_action(action: Mapping[str, Any]) -> KinesisAction:
    settings = _the_only(action, "Kinesis", "Actions")
    _only(settings, {"StreamName", "PartitionKey", "RoleArn"}, "Kinesis action")
    return KinesisAction(
        stream_name=_template(settings, "StreamName"),
        partition_key=_template(settings, "PartitionKey"),
    )


def _error_action(action: Mapping[str, Any] | None) -> S3Action | None:
    if not action:
        return None
    settings = _the_only(action, "S3", "ErrorAction")
    _only(settings, {"BucketName", "Key", "RoleArn"}, "S3 action")
    return S3Action(bucket_name=_template(settings, "BucketName"), key=_template(settings, "Key"))


def _the_only(action: Mapping[str, Any], kind: str, where: str) -> Mapping[str, Any]:
    if set(action) != {kind}:
        raise DeploymentError(f"{where}: only {kind} is emulated, not {', '.join(sorted(action))}")
    settings: Mapping[str, Any] = action[kind]
    return settings


def _only(settings: Mapping[str, Any], known: frozenset[str] | set[str], where: str) -> None:
    if unknown := set(settings) - known:
        raise DeploymentError(f"{where}: not emulated: {', '.join(sorted(unknown))}")


def _template(settings: Mapping[str, Any], name: str) -> Template:
    value = settings.get(name)
    if not isinstance(value, str) or not value:
        raise DeploymentError(f"an action needs {name}")
    return parse_template(value)


class TopicRuleProvider:
    """Creates, updates and deletes rules when a stack is deployed."""

    resource_type = "AWS::IoT::TopicRule"
    properties = frozenset({"RuleName", "TopicRulePayload", "Tags"})

    def __init__(self, engine: RuleEngine, registry: RuleRegistry | None = None) -> None:
        self._engine = engine
        self._registry = registry

    def create(self, logical_id: str, name: str, properties: dict[str, Any]) -> Created:
        """Parse and start the rule. Without RuleName, CloudFormation's name without its hyphens."""
        del logical_id
        rule_name = properties.get("RuleName") or name.replace("-", "_")
        return self._deploy(rule_name, properties)

    def update(self, physical_id: str, old: dict[str, Any], new: dict[str, Any]) -> Created:
        """Replace what the rule does; its name stays."""
        if old.get("RuleName") != new.get("RuleName"):
            raise DeploymentError("a rule's name can't be changed: deploy another rule")
        return self._deploy(physical_id, new)

    def delete(self, physical_id: str, properties: dict[str, Any]) -> None:
        """Stop and forget the rule."""
        del properties
        self._engine.remove(physical_id)
        if self._registry is not None:
            self._registry.remove_rule(physical_id)

    def _deploy(self, name: str, properties: dict[str, Any]) -> Created:
        payload = properties.get("TopicRulePayload")
        if not isinstance(payload, Mapping):
            raise DeploymentError("a rule needs TopicRulePayload")
        self._engine.put(parse_rule(name, payload))
        if self._registry is not None:
            self._registry.put_rule(name, payload)
        return Created(name, {"Arn": f"arn:aws:iot:{REGION}:{ACCOUNT_ID}:rule/{name}"})
