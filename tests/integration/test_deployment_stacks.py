"""Stacks on resource providers that only remember: order, updates, failures and what is undone.

https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/stacks.html
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
import yaml

from local.api import ApiError
from local.deployment.cloudformation import NO_CHANGES, CloudFormation
from local.deployment.deployer import Deployer
from local.deployment.provider import Created, DeploymentError, ReplacementNeeded

NOW = datetime(2026, 3, 10, tzinfo=UTC)


@dataclass
class Shelf:
    """Provides `Test::Shelf::Book`: keeps what was made and every call in order."""

    resource_type: str = "Test::Shelf::Book"
    properties: frozenset[str] = frozenset({"Title", "Pages", "Author", "Broken", "Fixed"})
    books: dict[str, dict[str, Any]] = field(default_factory=dict)
    calls: list[tuple[str, str]] = field(default_factory=list)

    def create(self, logical_id: str, name: str, properties: dict[str, Any]) -> Created:
        self.calls.append(("create", logical_id))
        self._check(properties)
        physical_id = str(properties.get("Title", name))
        self.books[physical_id] = properties
        return Created(physical_id, {"Arn": f"arn:book:{physical_id}"})

    def update(self, physical_id: str, old: dict[str, Any], new: dict[str, Any]) -> Created:
        self.calls.append(("update", physical_id))
        if old.get("Fixed") != new.get("Fixed"):
            raise ReplacementNeeded
        self._check(new)
        self.books[physical_id] = new
        return Created(physical_id, {"Arn": f"arn:book:{physical_id}"})

    def delete(self, physical_id: str, properties: dict[str, Any]) -> None:
        self.calls.append(("delete", physical_id))
        if properties.get("Broken") == "delete":
            raise DeploymentError("stuck to the shelf")
        self.books.pop(physical_id, None)

    def _check(self, properties: Mapping[str, Any]) -> None:
        if properties.get("Broken") == "yes":
            raise DeploymentError("pages are missing")


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
def cloud(shelf: Shelf) -> CloudFormation:
    deployer = Deployer({shelf.resource_type: shelf}, lambda: NOW)
    return CloudFormation(deployer, lambda bucket, key: b"", lambda: NOW)


def book(**properties: Any) -> dict[str, Any]:
    return {"Type": "Test::Shelf::Book", "Properties": properties}


def template(**resources: Any) -> str:
    return yaml.safe_dump({"Resources": resources})


def deploy(
    cloud: CloudFormation, text: str, *, kind: str | None = None, **parameters: str
) -> dict[str, Any]:
    """Deploy `text` as stack `s` through a change set; the stack as it is described after that."""
    exists = bool(cloud.describe_stacks({})["Stacks"])
    change_set = cloud.create_change_set(
        {
            "StackName": "s",
            "ChangeSetName": "c",
            "ChangeSetType": kind or ("UPDATE" if exists else "CREATE"),
            "TemplateBody": text,
            "Parameters": [
                {"ParameterKey": name, "ParameterValue": value}
                for name, value in parameters.items()
            ],
        }
    )
    described = cloud.describe_change_set({"ChangeSetName": change_set["Id"]})
    if described["Status"] == "FAILED":
        raise ApiError("ChangeSetFailed", described["StatusReason"])
    cloud.execute_change_set({"ChangeSetName": change_set["Id"]})
    cloud.idle()
    stack: dict[str, Any] = cloud.describe_stacks({"StackName": "s"})["Stacks"][0]
    return stack


def events(cloud: CloudFormation) -> list[tuple[str, str]]:
    told = cloud.describe_stack_events({"StackName": "s"})["StackEvents"]
    return [(event["LogicalResourceId"], event["ResourceStatus"]) for event in reversed(told)]


def test_resources_are_made_after_what_they_refer_to_or_depend_on(
    cloud: CloudFormation, shelf: Shelf
) -> None:
    deploy(
        cloud,
        template(
            First=book(Title={"Fn::Sub": "after ${Second}"}),
            Second=book(Title={"Fn::Join": ["-", ["x", {"Fn::GetAtt": ["Third", "Arn"]}]]}),
            Third={**book(), "DependsOn": "Fourth"},
            Fourth=book(Title="4"),
        ),
    )

    assert [logical_id for _, logical_id in shelf.calls] == ["Fourth", "Third", "Second", "First"]


def test_a_name_that_the_template_does_not_give_is_made_of_stack_id_and_chance(
    cloud: CloudFormation, shelf: Shelf
) -> None:
    deploy(cloud, template(Atlas=book()))

    (name,) = shelf.books
    assert name.startswith("s-Atlas-")
    assert len(name) == len("s-Atlas-") + 12


def test_a_deployment_that_changes_nothing_says_so(cloud: CloudFormation) -> None:
    deploy(cloud, template(Atlas=book(Pages=1)))

    with pytest.raises(ApiError) as caught:
        deploy(cloud, template(Atlas=book(Pages=1)))
    assert caught.value.message == NO_CHANGES


def test_only_what_changed_is_updated_in_place(cloud: CloudFormation, shelf: Shelf) -> None:
    deploy(cloud, template(A=book(Title="a"), B=book(Title="b", Pages=1)))
    shelf.calls.clear()

    stack = deploy(cloud, template(A=book(Title="a"), B=book(Title="b", Pages=2)))

    assert stack["StackStatus"] == "UPDATE_COMPLETE"
    assert shelf.calls == [("update", "b")]
    assert shelf.books["b"]["Pages"] == 2


def test_a_parameter_changes_what_refers_to_it_through_any_function(
    cloud: CloudFormation, shelf: Shelf
) -> None:
    text = yaml.safe_dump(
        {
            "Parameters": {"Name": {"Type": "String"}},
            "Resources": {"A": book(Title="a", Author={"Fn::Sub": "by ${Name}"})},
        }
    )
    deploy(cloud, text, Name="Ann")

    deploy(cloud, text, Name="Bob")

    assert shelf.books["a"]["Author"] == "by Bob"


def test_what_the_template_no_longer_has_is_deleted_after_the_rest(
    cloud: CloudFormation, shelf: Shelf
) -> None:
    deploy(cloud, template(A=book(Title="a"), B=book(Title="b")))
    shelf.calls.clear()

    deploy(cloud, template(A=book(Title="a", Pages=1)))

    assert shelf.calls == [("update", "a"), ("delete", "b")]


def test_a_change_that_needs_it_makes_a_new_resource_before_the_old_one_goes(
    cloud: CloudFormation, shelf: Shelf
) -> None:
    deploy(cloud, template(A=book(Fixed="1"), B=book(Title="b", Author={"Ref": "A"})))
    (old,) = shelf.books.keys() - {"b"}
    shelf.calls.clear()

    deploy(cloud, template(A=book(Fixed="2"), B=book(Title="b", Author={"Ref": "A"})))

    (new,) = shelf.books.keys() - {"b"}
    assert shelf.calls[:2] == [("update", old), ("create", "A")]
    assert ("delete", old) in shelf.calls
    assert shelf.books["b"]["Author"] == new != old


def test_a_resource_that_fails_undoes_the_stack_and_its_reason_is_told(
    cloud: CloudFormation, shelf: Shelf
) -> None:
    stack = deploy(cloud, template(A=book(Title="a"), B=book(Broken="yes")))

    assert stack["StackStatus"] == "ROLLBACK_COMPLETE"
    assert "pages are missing" in stack["StackStatusReason"]
    assert shelf.books == {}
    reasons = {
        event["LogicalResourceId"]: event.get("ResourceStatusReason")
        for event in cloud.describe_stack_events({"StackName": "s"})["StackEvents"]
        if event["ResourceStatus"] == "CREATE_FAILED"
    }
    assert reasons == {"B": "pages are missing"}


def test_an_update_that_fails_brings_everything_back(cloud: CloudFormation, shelf: Shelf) -> None:
    deploy(cloud, template(A=book(Title="a", Pages=1), B=book(Title="b")))

    stack = deploy(
        cloud,
        template(A=book(Title="a", Pages=2), C=book(Title="c"), B=book(Title="b", Broken="yes")),
    )

    assert stack["StackStatus"] == "UPDATE_ROLLBACK_COMPLETE"
    assert shelf.books == {"a": {"Title": "a", "Pages": 1}, "b": {"Title": "b"}}
    with pytest.raises(ApiError, match="didn't contain changes"):
        deploy(cloud, template(A=book(Title="a", Pages=1), B=book(Title="b")))


def test_a_property_that_the_provider_does_not_know_is_refused_by_its_name(
    cloud: CloudFormation, shelf: Shelf
) -> None:
    with pytest.raises(ApiError, match=r"Atlas: .*Test::Shelf::Book has no property Cover"):
        deploy(cloud, template(Atlas=book(Cover="red")))
    assert shelf.calls == []


def test_a_resource_type_that_nobody_provides_is_refused_by_its_name(
    cloud: CloudFormation, shelf: Shelf
) -> None:
    lamp = {"Type": "Test::Desk::Lamp"}

    with pytest.raises(ApiError, match=r"Light: the local cloud has no Test::Desk::Lamp"):
        deploy(cloud, template(Atlas=book(), Light=lamp))
    assert shelf.calls == []


def test_deleting_a_stack_deletes_what_no_policy_keeps_the_newest_first(
    cloud: CloudFormation, shelf: Shelf
) -> None:
    kept = {**book(Title="kept"), "DeletionPolicy": "RetainExceptOnCreate"}
    deploy(cloud, template(A=book(Title="a"), B={**book(Title="b"), "DependsOn": "A"}, C=kept))
    shelf.calls.clear()

    cloud.delete_stack({"StackName": "s"})
    cloud.idle()

    assert shelf.calls == [("delete", "b"), ("delete", "a")]
    assert list(shelf.books) == ["kept"]
    with pytest.raises(ApiError, match="does not exist"):
        cloud.describe_stacks({"StackName": "s"})


def test_what_is_retained_except_on_create_goes_when_its_creation_is_undone(
    cloud: CloudFormation, shelf: Shelf
) -> None:
    kept = {**book(Title="kept"), "DeletionPolicy": "RetainExceptOnCreate"}

    deploy(cloud, template(A=kept, B={**book(Broken="yes"), "DependsOn": "A"}))

    assert shelf.books == {}


def test_a_resource_that_can_not_be_deleted_leaves_the_stack_there_and_says_so(
    cloud: CloudFormation,
) -> None:
    deploy(cloud, template(A=book(Title="a"), B=book(Title="b", Broken="delete")))

    cloud.delete_stack({"StackName": "s"})
    cloud.idle()

    stack = cloud.describe_stacks({"StackName": "s"})["Stacks"][0]
    assert stack["StackStatus"] == "DELETE_FAILED"
    assert ("B", "DELETE_FAILED") in events(cloud)
    assert ("A", "DELETE_COMPLETE") in events(cloud)


def test_a_condition_decides_what_is_made_and_shown(cloud: CloudFormation, shelf: Shelf) -> None:
    text = yaml.safe_dump(
        {
            "Parameters": {"Wanted": {"Type": "String", "Default": "no"}},
            "Conditions": {
                "IsWanted": {"Fn::Equals": [{"Ref": "Wanted"}, "yes"]},
                "IsNot": {"Fn::Not": [{"Condition": "IsWanted"}]},
            },
            "Resources": {
                "A": {**book(Title="a"), "Condition": "IsWanted"},
                "B": {
                    **book(
                        Title="b",
                        Author={"Fn::If": ["IsWanted", {"Ref": "A"}, {"Ref": "AWS::NoValue"}]},
                    )
                },
            },
            "Outputs": {
                "Yes": {"Condition": "IsWanted", "Value": {"Ref": "A"}},
                "No": {"Condition": "IsNot", "Value": "none"},
            },
        }
    )

    stack = deploy(cloud, text)
    assert shelf.books == {"b": {"Title": "b"}}
    assert stack["Outputs"] == [{"OutputKey": "No", "OutputValue": "none"}]

    stack = deploy(cloud, text, Wanted="yes")
    assert shelf.books == {"a": {"Title": "a"}, "b": {"Title": "b", "Author": "a"}}
    assert stack["Outputs"] == [{"OutputKey": "Yes", "OutputValue": "a"}]


def test_more_than_a_hundred_resources_are_all_listed_only_in_pages(cloud: CloudFormation) -> None:
    names = {f"Book{number}" for number in range(101)}
    deploy(cloud, template(**dict.fromkeys(names, book())))

    described = cloud.describe_stack_resources({"StackName": "s"})["StackResources"]
    first = cloud.list_stack_resources({"StackName": "s"})
    rest = cloud.list_stack_resources({"StackName": "s", "NextToken": first["NextToken"]})

    assert len(described) == 100
    assert "NextToken" not in rest
    pages = [first["StackResourceSummaries"], rest["StackResourceSummaries"]]
    assert [len(page) for page in pages] == [100, 1]
    assert {one["LogicalResourceId"] for page in pages for one in page} == names
