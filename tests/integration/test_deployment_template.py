"""Templates: what functions give, and what is refused before anything is made.

https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/intrinsic-function-reference.html
"""

from typing import Any

import pytest

from local.api import ApiError
from local.deployment.intrinsics import Resolver
from local.deployment.template import Template, dependency_order, expand, parameter_values, parse


class Known:
    """One resource, `Bucket`."""

    def ref(self, logical_id: str) -> str:
        return f"the-{logical_id.lower()}"

    def attribute(self, logical_id: str, name: str) -> str:
        return f"{logical_id}.{name}!"


def resolve(value: Any) -> Any:
    template = Template(
        description="",
        parameters={},
        mappings={"Sizes": {"small": {"pages": 3}}},
        conditions={
            "Yes": {"Fn::Equals": ["a", "a"]},
            "No": {"Fn::Not": [{"Condition": "Yes"}]},
            "Both": {"Fn::And": [{"Condition": "Yes"}, {"Condition": "No"}]},
            "Either": {"Fn::Or": [{"Condition": "Yes"}, {"Condition": "No"}]},
        },
        resources={"Bucket": {"Type": "AWS::S3::Bucket"}},
        outputs={},
    )
    return Resolver(template, {"Days": "7", "Size": "small"}, "s", "id", Known()).resolve(value)


@pytest.mark.parametrize(
    ("function", "value"),
    [
        ({"Ref": "Days"}, "7"),
        ({"Ref": "Bucket"}, "the-bucket"),
        ({"Ref": "AWS::AccountId"}, "123456789012"),
        ({"Ref": "AWS::StackName"}, "s"),
        ({"Fn::GetAtt": ["Bucket", "Arn"]}, "Bucket.Arn!"),
        ({"Fn::GetAtt": "Bucket.Arn"}, "Bucket.Arn!"),
        ({"Fn::Sub": "${Bucket}/${Bucket.Arn}/${AWS::Region}/${Days}"},
         "the-bucket/Bucket.Arn!/us-east-1/7"),
        ({"Fn::Sub": ["${x}-${Days}", {"x": {"Ref": "Size"}}]}, "small-7"),
        ({"Fn::Sub": "${!Literal} ${Days}"}, "${Literal} 7"),
        ({"Fn::If": ["Yes", 1, 2]}, 1),
        ({"Fn::If": ["No", 1, 2]}, 2),
        ({"Fn::If": ["Both", 1, 2]}, 2),
        ({"Fn::If": ["Either", 1, 2]}, 1),
        ({"Fn::Join": [":", ["a", {"Ref": "Days"}, 3]]}, "a:7:3"),
        ({"Fn::Select": [1, {"Fn::Split": ["-", "a-b-c"]}]}, "b"),
        ({"Fn::FindInMap": ["Sizes", {"Ref": "Size"}, "pages"]}, 3),
        ({"a": {"Ref": "AWS::NoValue"}, "b": [1, {"Ref": "AWS::NoValue"}]}, {"b": [1]}),
        # A substitution template of an IoT rule is text like any other.
        ("${topic(3)}", "${topic(3)}"),
    ],
)  # fmt: skip
def test_a_function_gives_what_is_documented(function: Any, value: Any) -> None:
    assert resolve(function) == value


@pytest.mark.parametrize(
    "function",
    [
        {"Ref": "Nothing"},
        {"Fn::GetAtt": ["Nothing", "Arn"]},
        {"Fn::Sub": "${Nothing}"},
        {"Fn::If": ["Never", 1, 2]},
        {"Fn::Cidr": ["10.0.0.0/16", 2, 8]},
        {"Fn::ImportValue": "x"},
        {"Fn::FindInMap": ["Sizes", "large", "pages"]},
    ],
)
def test_what_is_not_known_is_refused(function: Any) -> None:
    with pytest.raises(ApiError, match="Template error"):
        resolve(function)


def test_the_short_forms_of_functions_are_read() -> None:
    document = parse(
        "Resources:\n  A:\n    Type: X\n    Properties:\n"
        "      One: !Ref B\n      Two: !GetAtt B.Arn\n      Three: !Sub '${B}'\n"
        "      Four: !If [IsBig, !Ref B, 2]\n      Version: 2012-10-17\n"
    )

    assert document["Resources"]["A"]["Properties"] == {
        "One": {"Ref": "B"},
        "Two": {"Fn::GetAtt": ["B", "Arn"]},
        "Three": {"Fn::Sub": "${B}"},
        "Four": {"Fn::If": ["IsBig", {"Ref": "B"}, 2]},
        "Version": "2012-10-17",
    }


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: [", "Template format error"),
        ("Resources: []", "Resources member"),
        ("{}", "Resources member"),
        ("Resources: {A: {Type: X}}\nHooks: {}", "Hooks"),
    ],
)
def test_a_text_that_is_no_template_is_refused(text: str, reason: str) -> None:
    with pytest.raises(ApiError, match=reason):
        parse(text)


def test_an_attribute_of_a_resource_that_is_not_known_is_refused() -> None:
    document = {"Resources": {"A": {"Type": "X", "CreationPolicy": {}}}}

    with pytest.raises(ApiError, match="CreationPolicy"):
        expand(document, {})


def test_another_transform_than_sams_is_refused() -> None:
    document = {"Transform": "AWS::Include", "Resources": {"A": {"Type": "X"}}}

    with pytest.raises(ApiError, match="AWS::Include"):
        expand(document, {})


def test_what_sams_translator_refuses_is_told_in_its_words() -> None:
    function = {"Type": "AWS::Serverless::Function", "Properties": {"Handler": "h"}}
    document = {"Transform": "AWS::Serverless-2016-10-31", "Resources": {"F": function}}

    with pytest.raises(ApiError, match=r"\[F\] is invalid"):
        expand(document, {})


def test_parameters_are_given_kept_or_defaulted() -> None:
    declared: dict[str, dict[str, Any]] = {
        "A": {"Type": "String"},
        "B": {"Type": "Number", "Default": 2},
    }

    assert parameter_values(declared, {"A": "x"}, {}) == {"A": "x", "B": "2"}
    assert parameter_values(declared, {"A": None, "B": "3"}, {"A": "old"}) == {"A": "old", "B": "3"}


@pytest.mark.parametrize(
    ("declaration", "value", "reason"),
    [
        ({"Type": "String", "AllowedValues": ["a", "b"]}, "c", "AllowedValues"),
        ({"Type": "String", "AllowedPattern": "[a-z]+"}, "A", "pattern"),
        ({"Type": "Number"}, "x", "number"),
        ({"Type": "Number", "MinValue": 2}, "1", "not less than 2"),
        ({"Type": "Number", "MaxValue": 2}, "3", "not greater than 2"),
        ({"Type": "AWS::EC2::VPC::Id"}, "x", "AWS::EC2::VPC::Id"),
    ],
)
def test_a_parameters_value_must_be_what_its_declaration_allows(
    declaration: dict[str, Any], value: str, reason: str
) -> None:
    with pytest.raises(ApiError, match=reason):
        parameter_values({"P": declaration}, {"P": value}, {})


def test_parameters_that_are_missing_or_unknown_are_refused() -> None:
    with pytest.raises(ApiError, match="must have values"):
        parameter_values({"P": {"Type": "String"}}, {}, {})
    with pytest.raises(ApiError, match="do not exist"):
        parameter_values({}, {"P": "x"}, {})


def test_a_circle_of_resources_is_refused() -> None:
    resources: dict[str, dict[str, Any]] = {
        "A": {"Type": "X", "Properties": {"P": {"Ref": "B"}}},
        "B": {"Type": "X", "DependsOn": ["A"]},
    }

    with pytest.raises(ApiError, match="Circular dependency"):
        dependency_order(resources)
