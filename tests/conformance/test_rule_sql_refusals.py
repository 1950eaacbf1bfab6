"""What this engine cannot, it refuses when the rule is deployed."""

import pytest

from local.rules.sql import RuleSqlError, parse_statement, parse_template


@pytest.mark.ours("what AWS can and this engine can't would be a silent null")
@pytest.mark.parametrize(
    ("sql", "named"),
    [
        ("SELECT md5(a) AS v FROM 'a'", "md5()"),
        ("SELECT get_thing_shadow('a', 'b') AS v FROM 'a'", "get_thing_shadow()"),
        ("SELECT a FROM 'a' WHERE aws_lambda('arn', *) = 1", "aws_lambda()"),
        ("SELECT topic(1, 2) AS v FROM 'a'", "topic()"),
        ("SELECT encode(*, 'hex') AS v FROM 'a'", "base64"),
        ("SELECT parse_time('QQQ', timestamp()) AS v FROM 'a'", "QQQ"),
        ("SELECT parse_time(pattern, timestamp()) AS v FROM 'a'", "pattern"),
        ("SELECT cast(a as date) AS v FROM 'a'", "date"),
        ("SELECT VALUE * FROM 'a'", "VALUE"),
        ("SELECT DISTINCT a FROM 'a'", "DISTINCT"),
        ("SELECT a FROM 'a' GROUP BY a", "GROUP"),
        ("SELECT a FROM 'a' ORDER BY a", "ORDER"),
        ("SELECT a FROM 'a' LIMIT 1", "LIMIT"),
        ("SELECT a FROM 'a', 'b'", "JOINS"),
        ("SELECT a FROM (SELECT * FROM 'a')", "FROM takes one topic filter"),
        ("SELECT a FROM topics", "FROM takes one topic filter"),
        ("SELECT a FROM 'a/#/b'", "not a topic filter"),
        ("SELECT a FROM 'a/b+'", "not a topic filter"),
        ("SELECT a IS NULL AS v FROM 'a'", "IS NULL"),
        ("SELECT a LIKE 'x' AS v FROM 'a'", "LIKE"),
        ("SELECT upper(*) AS v FROM 'a'", "*"),
        ("SELECT topic() FROM 'a'", "AS"),
        ("SELECT a, b AS a FROM 'a'", "two columns"),
        ("SET @v = 1 SELECT * FROM 'a'", "SET"),
        ("nonsense", "nonsense"),
        ("", ""),
    ],
)
def test_what_is_not_known_refuses_the_rule_by_name(sql: str, named: str) -> None:
    with pytest.raises(RuleSqlError) as refused:
        parse_statement(sql)
    assert named in str(refused.value)


@pytest.mark.ours("what AWS can and this engine can't would be a silent null")
@pytest.mark.parametrize("template", ["${md5(a)}", "${topic(3)", "${}", "a ${SELECT 1} b"])
def test_a_template_that_is_not_known_refuses_the_rule(template: str) -> None:
    with pytest.raises(RuleSqlError):
        parse_template(template)
