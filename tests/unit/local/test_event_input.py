"""What an input transformer makes of an event, and what is refused of one.

https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-transform-target-input.html
"""

import json
from typing import Any

import pytest

from local.event_input import EventInputError, check, made_of

EVENT = {"detail": {"jobRunId": "jr_1", "state": "FAILED", "message": 'no "rows"\n', "code": 3}}


def target(template: str, **paths: str) -> dict[str, Any]:
    return {"InputTransformer": {"InputPathsMap": paths, "InputTemplate": template}}


def test_target_without_one_gets_the_event() -> None:
    check({"Id": "topic", "Arn": "a"})
    assert json.loads(made_of(EVENT, {"Id": "topic", "Arn": "a"}, "r")) == EVENT


@pytest.mark.parametrize(
    ("template", "made"),
    [
        ('{"said": "<run> ended as <state>, <code>."}', {"said": "jr_1 ended as FAILED, 3."}),
        ('{"said": <state>, "code": <code>}', {"said": "FAILED", "code": 3}),
        ('{"why": <message>}', {"why": 'no "rows"\n'}),
        ('{"absent": "<none>."}', {"absent": "."}),
        ('{"by": "<aws.events.rule-name>"}', {"by": "failed"}),
        ('{"event": <aws.events.event.json>}', {"event": EVENT}),
        ('{"a": "<b", "said": "\\"<run>\\""}', {"a": "<b", "said": '"jr_1"'}),
    ],
)
def test_templates_are_filled(template: str, made: dict[str, Any]) -> None:
    detail = {"run": "jobRunId", "state": "state", "code": "code", "message": "message"}
    paths = {name: f"$.detail.{path}" for name, path in detail.items()}
    transformed = target(template, **paths, none="$.detail.none.deeper")
    check(transformed)
    assert json.loads(made_of(EVENT, transformed, "failed")) == made


def test_message_with_quotes_within_a_string_is_not_delivered_as_something_else() -> None:
    quoted = target('{"why": "<message>"}', message="$.detail.message")
    check(quoted)
    with pytest.raises(EventInputError, match="makes no JSON"):
        made_of(EVENT, quoted, "failed")


@pytest.mark.parametrize(
    ("refused", "named"),
    [
        ({"Input": "{}"}, "Input"),
        ({"InputPath": "$.detail"}, "InputPath"),
        (target('"<run> failed"', run="$.detail.jobRunId"), "JSON object"),
        (target("{", run="$.detail.jobRunId"), "makes no JSON"),
        (target('{"a": <b>}'), "<b>"),
        (target('{"a": <b>}', b="$.detail[0]"), r"\$.detail\[0\]"),
    ],
)
def test_what_is_not_understood_is_refused_by_name(refused: dict[str, Any], named: str) -> None:
    with pytest.raises(EventInputError, match=named):
        check(refused)
