"""Rule SQL, by the documented rules of version 2016-03-23."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.rules.sql import (
    Evaluation,
    PayloadError,
    parse_statement,
    parse_template,
    topic_matches,
)
from tests.conformance import iot_pages as pages

TIME_MS = 1_795_503_600_123  # 2026-11-24T07:00:00.123Z
ENVELOPE = """
    SELECT encode(*, 'base64') AS payload_b64, topic() AS topic, clientid() AS client_id,
    principal() AS principal, timestamp() AS broker_time, newuuid() AS ingest_id,
    traceid() AS trace_id FROM 'dt/+/+/telemetry'"""


def message(payload: bytes = b"{}", topic: str = "dt/fleet/d1/telemetry") -> Evaluation:
    return Evaluation(topic, payload, TIME_MS, "trace-1", "d1", "certificate-1")


def value(expression: str, payload: Any = None) -> Any:
    """What an expression yields for a JSON payload; "undefined" where the column is missing."""
    statement = parse_statement("SELECT " + expression + " AS v FROM 'a/b'")  # noqa: S608 - no database
    output = statement.evaluate(message(json.dumps(payload or {}).encode()))
    assert output is not None
    return json.loads(output).get("v", "undefined")


# The page's own examples, of every function that is known. Not `get("abc", 1)`, which is "a" there
# although the index begins at 0, and not `concat(1)`, which is "1" and is "returned unmodified".
DOCUMENTED = [
    ("abs(-5)", 5),
    ("accountid()", "123456789012"),
    ("cast(true as Int)", 1),
    ("cast(2 as Boolean)", True),
    ("cast('False' as bool)", False),
    ("ceil(1.2)", 2),
    ("ceil(-1.2)", -1),
    ("clientid()", "d1"),
    ("concat([1, 2, 3], 4)", [1, 2, 3, 4]),
    ("concat([1, 2, 3], 'hello')", [1, 2, 3, "hello"]),
    ("concat('con', 'cat')", "concat"),
    ("concat(1, 'hello')", "1hello"),
    ("concat('he', 'is', 'man')", "heisman"),
    ("concat([1, 2, 3], 'hello', [4, 5, 6])", [1, 2, 3, "hello", 4, 5, 6]),
    ("encode(temp, 'base64')", "MjE="),
    ("endswith('cat', 'at')", True),
    ("floor(1.2)", 1),
    ("floor(-1.2)", -2),
    ("get(['a', 'b', 'c'], 1)", "b"),
    ("indexof('abcd', 'bc')", 1),
    ("isNull(5)", False),
    ("isNull(Null)", True),
    ("isUndefined(5)", False),
    ("isUndefined(floor([1, 2, 3]))", True),
    ("length('hi')", 2),
    ("length(false)", 5),
    ("lower('HELLO')", "hello"),
    ("lower(['HELLO'])", '["hello"]'),
    ("Ltrim(' h i ')", "h i "),
    ("mod(8, 3)", 2),
    ("Nanvl(8, 3)", 8),
    ("numbytes('hi')", 2),
    ("numbytes('\N{EURO SIGN}')", 3),
    ("power(2, 5)", 32),
    ("regexp_matches('aaaa', 'a{2,}')", True),
    ("regexp_matches('aaaa', 'b')", False),
    ("Round(1.2)", 1),
    ("Round(1.5)", 2),
    ("Round(1.7)", 2),
    ("Round(-1.1)", -1),
    ("Round(-1.5)", -2),
    ("rtrim(' h i ')", " h i"),
    ("sqrt(9)", 3),
    ("startswith('ranger', 'ran')", True),
    ("substring('012345', 0)", "012345"),
    ("substring('012345', 2)", "2345"),
    ("substring('012345', 2.745)", "2345"),
    ("substring(123, 2)", "3"),
    ("substring('012345', -1)", "012345"),
    ("substring(true, 1.2)", "rue"),
    ("substring(false, -2.411E247)", "false"),
    ("substring('012345', 1, 3)", "12"),
    ("substring('012345', -50, 50)", "012345"),
    ("substring('012345', 3, 1)", ""),
    ("timestamp()", TIME_MS),
    ("topic()", "dt/fleet/d1/telemetry"),
    ("topic(1)", "dt"),
    ("Trim(' hi ')", "hi"),
    ("upper('hello')", "HELLO"),
    ("upper(['hello'])", '["HELLO"]'),
    (
        'parse_time("yyyy.MM.dd G \'at\' HH:mm:ss z", 100000000, "America/Belize")',
        "1970.01.01 AD at 21:46:40 CST",
    ),
    (
        "parse_time(\"yyyy.MM.dd G 'at' HH:mm:ss z\", timestamp())",
        "2026.11.24 AD at 07:00:00 UTC",
    ),
    ('parse_time("yyyy", timestamp(), "UTC")', "2026"),
]


@pytest.mark.documented(pages.FUNCTIONS)
@pytest.mark.parametrize(("expression", "expected"), DOCUMENTED)
def test_functions_give_what_their_documentation_shows(expression: str, expected: Any) -> None:
    assert value(expression, {"temp": 21}) == expected


@pytest.mark.documented(pages.DECODE)
def test_decode_makes_an_encoded_document_addressable() -> None:
    payload = {"encoded_temp": "eyAidGVtcGVyYXR1cmUiOiAzMyB9Cg=="}
    assert value('decode(encoded_temp, "base64").temperature', payload) == 33


@pytest.mark.documented(pages.DECODE)
def test_decode_gives_other_text_as_text_and_null_for_what_it_cannot_decode() -> None:
    assert value("decode('aGVsbG8=', 'base64')") == "hello"
    assert value("decode('%%%', 'base64')") is None


@pytest.mark.documented(pages.BINARY)
@pytest.mark.parametrize(
    ("sql", "output"),
    [
        ("SELECT encode(*, 'base64') AS data FROM 'a'", b'{"data":"/w=="}'),
        (
            "SELECT encode(*, 'base64') AS data, timestamp() AS ts FROM 'a'",
            b'{"data":"/w==","ts":1795503600123}',
        ),
        ("SELECT * FROM 'a' WHERE timestamp() % 12 = 3", b"\xff"),
        ("SELECT * FROM 'a' WHERE timestamp() % 12 = 0", None),
    ],
)
def test_statements_that_name_no_field_take_any_bytes(sql: str, output: bytes | None) -> None:
    assert parse_statement(sql).evaluate(message(b"\xff")) == output


@pytest.mark.documented(pages.BINARY)
@pytest.mark.parametrize(
    "payload", [b"", b"\x00\xff\xfe", b"not json", b"[1,", "é".encode("latin-1")]
)
def test_encode_carries_any_bytes_of_the_payload(payload: bytes) -> None:
    output = parse_statement(ENVELOPE).evaluate(message(payload))
    assert output is not None
    assert base64.b64decode(json.loads(output)["payload_b64"]) == payload


@pytest.mark.documented(pages.ENCODE)
@given(st.binary(max_size=2_000))
def test_encode_carries_every_payload_byte_for_byte(payload: bytes) -> None:
    output = parse_statement(ENVELOPE).evaluate(message(payload))
    assert output is not None
    assert base64.b64decode(json.loads(output)["payload_b64"]) == payload


@pytest.mark.documented(pages.FUNCTIONS)
def test_the_envelope_holds_what_the_broker_knows() -> None:
    output = parse_statement(ENVELOPE).evaluate(message(b"{}"))
    assert output is not None
    envelope = json.loads(output)
    assert len(envelope.pop("ingest_id")) == 36
    assert envelope == {
        "payload_b64": "e30=",
        "topic": "dt/fleet/d1/telemetry",
        "client_id": "d1",
        "principal": "certificate-1",
        "broker_time": TIME_MS,
        "trace_id": "trace-1",
    }


@pytest.mark.ours("AWS always knows who published; this broker tells only where one may")
def test_what_the_broker_does_not_know_is_left_out_rather_than_null() -> None:
    output = parse_statement(ENVELOPE).evaluate(Evaluation("a", b"", TIME_MS, "t"))
    assert output is not None
    assert not {"client_id", "principal"} & json.loads(output).keys()


@pytest.mark.documented(pages.NEW_UUID)
def test_newuuid_is_another_one_each_time() -> None:
    statement = parse_statement("SELECT newuuid() AS a, newuuid() AS b FROM 'a'")
    output = json.loads(statement.evaluate(message()) or b"")
    assert output["a"] != output["b"]


OPERATORS = [
    ("temp > 9", True),
    ("temp > '9'", True),
    ("temp > 'warm'", "undefined"),
    ("missing > 9", "undefined"),
    ("temp >= 10 AND temp <= 10", True),
    ("temp < 10 OR state = 'on'", True),
    ("NOT (temp < 10)", True),
    ("'TRUE' AND true", True),
    ("temp AND true", "undefined"),
    ("missing = 1", "undefined"),
    ("missing <> 1", "undefined"),
    ("temp = '10'", False),
    ("temp <> '10'", True),
    ("nothing = Null", True),
    ("list = [1, 2]", True),
    ("true = 1", False),
    ("temp + 1", 11),
    ("'a' + temp", "a10"),
    ("temp - '4'", 6),
    ("temp * 1.5", 15),
    ("7 / 2", 3),
    ("7 / 2.5", 2.8),
    ("7 / 0", "undefined"),
    ("-7 % 3", -1),
    ("-temp", -10),
    ("temp IN (1, 10)", True),
]


@pytest.mark.documented(pages.OPERATORS)
@pytest.mark.parametrize(("expression", "expected"), OPERATORS)
def test_operators_follow_their_tables(expression: str, expected: Any) -> None:
    payload = {"temp": 10.0, "state": "on", "nothing": None, "list": [1, 2]}
    assert value(expression, payload) == expected


@pytest.mark.documented(pages.CASE)
@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        (
            "CASE color WHEN 'green' THEN 'go' WHEN 'yellow' THEN 'caution' ELSE 'none' END",
            "caution",
        ),
        ("CASE color WHEN 'yellow' THEN 1 WHEN 'yellow' THEN 2 END", 1),
        ("CASE color WHEN 'green' THEN 'go' ELSE 'none' END", "none"),
        ("CASE color WHEN 'green' THEN 'go' END", "undefined"),
        ("CASE missing WHEN 'green' THEN 'go' ELSE 'none' END", "undefined"),
    ],
)
def test_case_gives_its_first_match_else_its_else(expression: str, expected: Any) -> None:
    assert value(expression, {"color": "yellow"}) == expected


@pytest.mark.documented(pages.DATA_TYPES)
def test_a_decimal_without_a_fraction_is_an_int() -> None:
    statement = parse_statement("SELECT temp FROM 'a'")
    assert statement.evaluate(message(b'{"temp": 10.0}')) == b'{"temp":10}'


@pytest.mark.documented(pages.NESTED)
def test_nested_paths_reach_into_objects_and_arrays() -> None:
    payload = {"data": {"air": {"temp": 1}, "values": [{"x": 5}, {"x": 6}]}}
    assert value("data.air.temp", payload) == 1
    assert value("data.values[1].x", payload) == 6
    assert value("data.air.missing.deeper", payload) == "undefined"


@pytest.mark.documented(pages.SELECT)
def test_star_takes_the_whole_object_and_later_columns_go_over_it() -> None:
    statement = parse_statement("SELECT *, topic(3) AS device, 1 AS a FROM 'dt/#'")
    output = json.loads(statement.evaluate(message(b'{"a": 5, "b": null}')) or b"")
    assert output == {"a": 1, "b": None, "device": "d1"}


@pytest.mark.documented(pages.BINARY)
def test_star_alone_keeps_bytes_that_are_no_json() -> None:
    assert parse_statement("SELECT * FROM 'a'").evaluate(message(b"\xff")) == b"\xff"


@pytest.mark.documented(pages.BINARY)
@pytest.mark.parametrize(
    "sql",
    [
        "SELECT *, timestamp() AS ts FROM 'a'",
        "SELECT temp FROM 'a'",
        "SELECT * FROM 'a' WHERE device_type = 'thermostat'",
    ],
)
def test_reading_fields_of_a_payload_that_is_no_json_is_a_parse_error(sql: str) -> None:
    with pytest.raises(PayloadError):
        parse_statement(sql).evaluate(message(b"\xff"))


@pytest.mark.documented(pages.BINARY)
def test_conditions_on_functions_alone_need_no_json() -> None:
    statement = parse_statement("SELECT * FROM 'a' WHERE timestamp() % 2 = 1")
    assert statement.evaluate(message(b"\xff")) == b"\xff"


@pytest.mark.documented(pages.METRICS)
@pytest.mark.parametrize("payload", [b'{"a":NaN}', b'{"a":1e999}', b"[" * 100_000, b'{"a":'])
def test_hostile_payloads_are_parse_errors_and_nothing_worse(payload: bytes) -> None:
    with pytest.raises(PayloadError):
        parse_statement("SELECT a FROM 'a'").evaluate(message(payload))


@pytest.mark.documented(pages.WHERE)
def test_where_must_be_true_and_undefined_is_not() -> None:
    statement = parse_statement("SELECT * FROM 'a' WHERE temp > 10")
    assert statement.evaluate(message(b'{"temp": 11}')) == b'{"temp": 11}'
    assert statement.evaluate(message(b'{"temp": 10}')) is None
    assert statement.evaluate(message(b"{}")) is None


@pytest.mark.documented(pages.TOPIC)
def test_topic_counts_its_levels_from_one() -> None:
    assert value("topic(1)") == "dt"
    assert value("topic(4)") == "telemetry"
    assert value("topic(5)") == "undefined"
    assert value("topic(0)") == "undefined"


@pytest.mark.documented(pages.MQTT)
@pytest.mark.parametrize(
    ("topic_filter", "topic", "matches"),
    [
        ("dt/+/+/telemetry", "dt/fleet/d1/telemetry", True),
        ("dt/+/+/telemetry", "dt/fleet/d1/status", False),
        ("dt/+/+/telemetry", "dt/fleet/d1/telemetry/more", False),
        ("dt/+/+/telemetry", "dt/d1/telemetry", False),
        ("dt/#", "dt/fleet/d1/telemetry", True),
        ("dt/#", "dt", True),
        ("dt/#", "other", False),
        ("#", "a/b", True),
        ("+", "a", True),
        ("+", "a/b", False),
        ("a/+", "a/", True),
        ("a", "a", True),
        ("a", "A", False),
        ("#", "$aws/things/d1", False),
        ("+/things/d1", "$aws/things/d1", False),
        ("$aws/things/#", "$aws/things/d1", True),
    ],
)
def test_topic_filters(topic_filter: str, topic: str, matches: bool) -> None:
    assert topic_matches(topic_filter, topic) is matches


@pytest.mark.documented(pages.TEMPLATES)
@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("${topic(3)}", "d1"),
        ("plain", "plain"),
        ("a-${topic(3)}-${coords.latitude}", "a-d1-47.6"),
        ('iot/${parse_time("yyyy/MM/dd/HH", timestamp())}/x.json', "iot/2026/11/24/07/x.json"),
        ("${concat('}', '{')}", "}{"),
        ("<${missing}>", "<>"),
        ("${topic()}/republish", "dt/fleet/d1/telemetry/republish"),
    ],
)
def test_substitution_templates(template: str, text: str) -> None:
    payload = b'{"coords": {"latitude": 47.6}}'
    assert parse_template(template).render(message(payload)) == text
