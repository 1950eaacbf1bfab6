"""CloudWatch Logs Insights as far as log widgets here use it.

`SOURCE`, `fields`, `filter` with `like /regex/` or a comparison of one field, joined by `and` or
`or`, `sort` by one field, `limit`. Anything else is refused by name.
https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/CWL_QuerySyntax.html
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from local.logs import LogEvent

DEFAULT_LIMIT: Final = 1000
_SOURCE: Final = re.compile(r"SOURCE\s+(?P<quote>['\"])(?P<name>[^'\"]+)(?P=quote)", re.I)
_FIELD: Final = r"@?[A-Za-z_][\w.]*"
_LIKE: Final = re.compile(rf"({_FIELD})\s+(not\s+)?(?:like|=~)\s+/((?:[^/\\]|\\.)+)/", re.I)
_IS: Final = re.compile(rf"({_FIELD})\s*(=|!=)\s*(?:\"([^\"]*)\"|'([^']*)')")
# A bar within quotes or within a regular expression ends no command.
_COMMAND: Final = re.compile(
    r"""(?:'[^']*'|"[^"]*"|(?<=like\s)/(?:[^/\\]|\\.)+/|(?<=~\s)/(?:[^/\\]|\\.)+/|[^|])+"""
)

type Record = Mapping[str, str]
type Condition = Callable[[Record], bool]


class LogQueryError(ValueError):
    """A query that is wrong or not understood here; the message names the part."""


@dataclass(frozen=True)
class LogQuery:
    """A parsed query."""

    sources: tuple[str, ...]
    fields: tuple[str, ...]
    conditions: tuple[Condition, ...]  # all of them hold
    order: tuple[str, bool] | None  # field, whether descending
    limit: int

    def run(self, events: Iterable[LogEvent]) -> list[list[str]]:
        """The rows of the answer, a text per field."""
        records = [_record(event) for event in events if event.group in self.sources]
        found = [one for one in records if all(holds(one) for holds in self.conditions)]
        if self.order:
            field, is_descending = self.order
            found.sort(key=lambda one: one.get(field, ""), reverse=is_descending)
        return [[one.get(field, "") for field in self.fields] for one in found[: self.limit]]


def parse_query(text: str) -> LogQuery:
    """A query's parts; LogQueryError if there is something else in it than is known."""
    sources: list[str] = []
    fields: tuple[str, ...] = ("@timestamp", "@message")
    conditions: list[Condition] = []
    order: tuple[str, bool] | None = None
    limit = DEFAULT_LIMIT
    for command in (part.strip() for part in _COMMAND.findall(text)):
        name, _, rest = command.partition(" ")
        if source := _SOURCE.fullmatch(command):
            sources.append(source["name"])
        elif name == "fields":
            fields = tuple(_field(part.strip()) for part in rest.split(","))
        elif name == "filter":
            conditions.append(_condition(rest.strip()))
        elif name == "sort" and (match := re.fullmatch(rf"({_FIELD})(\s+asc|\s+desc)?", rest)):
            order = match[1], (match[2] or "").strip() == "desc"
        elif name == "limit" and rest.strip().isdecimal():
            limit = int(rest)
        else:
            raise LogQueryError(f"query: {command} is not known here")
    if not sources:
        raise LogQueryError("query: it has no SOURCE")
    return LogQuery(tuple(sources), fields, tuple(conditions), order, limit)


def _field(name: str) -> str:
    if not re.fullmatch(_FIELD, name):
        raise LogQueryError(f"query: field {name} is not known here")
    return name


def _condition(text: str) -> Condition:
    either = [_part(part.strip(), text) for part in re.split(r"\s+or\s+", text, flags=re.I)]
    return lambda record: any(holds(record) for holds in either)


def _part(text: str, whole: str) -> Condition:
    parts = re.split(r"\s+and\s+", text, flags=re.I)
    if len(parts) > 1:
        all_of = [_part(part, whole) for part in parts]
        return lambda record: all(holds(record) for holds in all_of)
    if match := _LIKE.fullmatch(text):
        field, negated, pattern = match[1], bool(match[2]), _pattern(match[3])
        return lambda record: bool(pattern.search(record.get(field, ""))) is not negated
    if match := _IS.fullmatch(text):
        field, is_equal, value = match[1], match[2] == "=", match[3] or match[4] or ""
        return lambda record: (record.get(field, "") == value) is is_equal
    raise LogQueryError(f"query: filter {whole} is not known here")


def _pattern(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error as error:
        raise LogQueryError(f"query: /{text}/ is no regular expression: {error}") from None


def _record(event: LogEvent) -> dict[str, str]:
    """A line's fields: its own, and those of a line that is JSON."""
    at = datetime.fromtimestamp(event.at, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
    found = {
        "@timestamp": at,
        "@message": event.message,
        "@log": event.group,
        "@logStream": event.stream,
    }
    if event.message.startswith("{"):
        try:
            document: Any = json.loads(event.message)
        except ValueError:
            return found
        found |= {name: str(value) for name, value in document.items()}
    return found
