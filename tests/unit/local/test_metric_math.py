"""Statistics and metric math, as CloudWatch documents them.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/using-metric-math.html
"""

import pytest

from local.metric_math import MetricMathError, is_statistic, parse, statistic

PERIODS = (0.0, 60.0, 120.0)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Sum", 10),
        ("Average", 2.5),
        ("Maximum", 4),
        ("Minimum", 1),
        ("SampleCount", 4),
        ("p50", 2),
        ("p99", 4),
        ("p100", 4),
        ("p0.1", 1),
    ],
)
def test_statistics(name: str, expected: float) -> None:
    assert is_statistic(name)
    assert statistic(name, [3, 1, 4, 2]) == expected


def test_an_unknown_statistic_is_refused() -> None:
    assert not is_statistic("TM(10%:90%)")
    with pytest.raises(MetricMathError, match="TM"):
        statistic("TM(10%:90%)", [1])


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("100 * a / b", {0: 50, 60: 25}),
        ("a - b", {0: -2, 60: -12, 120: 5}),
        ("-a", {0: -2, 60: -4, 120: -5}),
        ("FILL(c, 0)", {0: 0, 60: 7, 120: 0}),
        ("FILL(c, REPEAT)", {60: 7, 120: 7}),
        ("EPOCH(c)", {0: 0, 60: 60, 120: 120}),
        ("(EPOCH(c) - FILL(IF(c > 0, EPOCH(c)), REPEAT)) / 60", {60: 0, 120: 1}),
        ("IF(a > 2 AND FILL(c, 0) == 0, 1, 0)", {0: 0, 60: 0, 120: 1}),
        ("IF(a > 4 OR c == 7, b)", {60: 16}),
        ("3", {0: 3, 60: 3, 120: 3}),
    ],
)
def test_expressions(expression: str, expected: dict[float, float]) -> None:
    series = {"a": {0.0: 2.0, 60.0: 4.0, 120.0: 5.0}, "b": {0.0: 4.0, 60.0: 16.0, 120.0: 0.0}}
    assert parse(expression).over(series | {"c": {60.0: 7.0}}, PERIODS) == expected


def test_a_division_by_zero_has_no_value() -> None:
    assert parse("a / b").over({"a": {0.0: 1.0}, "b": {0.0: 0.0}}, PERIODS) == {}


def test_names_what_an_expression_is_made_of() -> None:
    assert parse("IF(a > 0 AND FILL(b, REPEAT) == 0, 1, a)").ids == ("a", "b")


@pytest.mark.parametrize(
    "expression",
    [
        "RATE(a)",
        "FILL(a, LINEAR)",
        "EPOCH(a, b)",
        "MAX(a, c)",
        "a ** 2",
        "a.b",
        "'text'",
        "a < b < c",
        "a in b",
        "a is not b",
        "FILL(a, 'x')",
        "FILL(a, True)",
        "SELECT AVG(x) FROM y",
        "SEARCH('{A,b}', 'Sum')",
        "a +",
    ],
)
def test_what_is_not_known_is_refused_by_name(expression: str) -> None:
    with pytest.raises(MetricMathError, match=r"expression"):
        parse(expression)
