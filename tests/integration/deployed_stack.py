"""A local cloud with the application's stack deployed, and how tests change stacks in it.

The first deployment is the real `sam deploy`; changes go through the CloudFormation API, as
`sam deploy` makes them, to be quick.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from local.lifecycle import LocalCloud
from tests.loopback import client_of


@contextmanager
def deployed_cloud(
    folder: Path, *, throttling: bool = False, **parameters: str
) -> Iterator[LocalCloud]:
    """A local cloud of its own with the stack deployed; the environment is left as it was."""
    environment = dict(os.environ)
    cloud = LocalCloud(folder, throttling=throttling)
    try:
        cloud.start()
        cloud.deploy(parameters=parameters)
        yield cloud
    finally:
        cloud.stop()
        os.environ.clear()
        os.environ.update(environment)


def client(cloud: LocalCloud, service: str) -> Any:
    """A boto3 client of the local cloud."""
    return client_of(cloud.endpoint, service, attempts=5)


def deploy(cloud: LocalCloud, template: dict[str, Any], stack: str) -> dict[str, Any]:
    """Deploy a small template; the stack as it ended."""
    cloudformation = client(cloud, "cloudformation")
    change_set = cloudformation.create_change_set(
        StackName=stack,
        ChangeSetName="change",
        ChangeSetType="CREATE",
        TemplateBody=yaml.safe_dump(template),
    )["Id"]
    described = cloudformation.describe_change_set(ChangeSetName=change_set)
    assert described["Status"] == "CREATE_COMPLETE", described["StatusReason"]
    cloudformation.execute_change_set(ChangeSetName=change_set)
    return settled(cloudformation, stack)


def template_of(cloud: LocalCloud) -> str:
    """The application's template as it was deployed last."""
    answer = client(cloud, "cloudformation").get_template(StackName=cloud.stack)
    return str(answer["TemplateBody"])


def update(cloud: LocalCloud, template: str | None = None, **changed: str) -> dict[str, Any]:
    """Deploy the application's stack with another template or other values of some parameters."""
    cloudformation = client(cloud, "cloudformation")
    described = cloudformation.describe_stacks(StackName=cloud.stack)["Stacks"][0]
    cloudformation.update_stack(
        StackName=cloud.stack,
        **({"TemplateBody": template} if template else {"UsePreviousTemplate": True}),
        Capabilities=["CAPABILITY_IAM"],
        Tags=described["Tags"],
        Parameters=[
            {"ParameterKey": one["ParameterKey"], "ParameterValue": changed[one["ParameterKey"]]}
            if one["ParameterKey"] in changed
            else {"ParameterKey": one["ParameterKey"], "UsePreviousValue": True}
            for one in described["Parameters"]
        ],
    )
    return settled(cloudformation, cloud.stack)


def settled(cloudformation: Any, stack: str) -> dict[str, Any]:
    """The stack when nothing is done to it any more."""
    # The first look comes after three seconds of execution at most, and is nearly always enough.
    for _ in range(600):
        told: dict[str, Any] = cloudformation.describe_stacks(StackName=stack)["Stacks"][0]
        if not told["StackStatus"].endswith("_IN_PROGRESS"):
            return told
    raise AssertionError(f"{stack} is still {told['StackStatus']}")
