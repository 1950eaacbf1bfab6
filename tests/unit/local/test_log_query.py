"""Log queries as Logs Insights documents them, as far as they are used.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/CWL_QuerySyntax.html
"""

import pytest

from local.dashboards.log_query import LogQueryError, parse_query
from local.logs import LogEvent

EVENTS = [
    LogEvent("/function", "local", 1.5, '{"level": "ERROR", "message": "audit_finding"}'),
    LogEvent("/function", "local", 2.0, '{"level": "INFO", "message": "no ERROR | at all"}'),
    LogEvent("/job", "jr_1", 3.0, "ERROR set aside raw_data/x: not Parquet"),
    LogEvent("/job", "jr_1", 4.0, "INFO done"),
    LogEvent("/other", "x", 5.0, "ERROR elsewhere"),
]


def messages(query: str) -> list[str]:
    return [row[-1] for row in parse_query(query).run(EVENTS)]


def test_finds_sorts_and_cuts_off() -> None:
    query = parse_query(
        "SOURCE '/function' | SOURCE '/job' | fields @timestamp, @log, @message"
        " | filter @message like /ERROR|Traceback/ | sort @timestamp desc | limit 2"
    )
    assert query.sources == ("/function", "/job")
    assert query.run(EVENTS) == [
        ["1970-01-01 00:00:03.000", "/job", "ERROR set aside raw_data/x: not Parquet"],
        ["1970-01-01 00:00:02.000", "/function", EVENTS[1].message],
    ]


def test_lines_of_json_have_fields() -> None:
    assert messages('SOURCE "/function" | fields message | filter level = "ERROR"') == [
        "audit_finding"
    ]
    assert messages("SOURCE '/function' | fields level | filter level != 'ERROR'") == ["INFO"]


def test_conditions_are_joined_and_negated() -> None:
    both = "SOURCE '/job' | filter @message like /ERROR/ and @message not like /Parquet/"
    either = "SOURCE '/job' | filter @message like /done/ or @message like /aside/"
    assert messages(both) == []
    assert len(messages(either)) == 2


@pytest.mark.parametrize(
    "query",
    [
        "fields @message",
        "SOURCE '/a' | stats count(*) by bin(5m)",
        "SOURCE '/a' | parse @message '*'",
        "SOURCE '/a' | fields strlen(@message)",
        "SOURCE '/a' | filter strlen(@message) > 3",
        "SOURCE '/a' | filter @message like /(/",
        "SOURCE '/a' | sort @timestamp desc, @message",
        "SOURCE '/a' | limit many",
        "SOURCE logGroups(namePrefix: ['x'])",
    ],
)
def test_what_is_not_known_is_refused_by_name(query: str) -> None:
    with pytest.raises(LogQueryError, match="query"):
        parse_query(query)
