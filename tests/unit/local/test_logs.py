"""Lines on their way to CloudWatch Logs."""

from typing import Any

from local.logs import LogBuffer


class ResourceAlreadyExistsError(Exception):
    """What boto3's client raises for a group that is there."""


class FakeLogs:
    """Keeps what is put; has some groups from the beginning."""

    def __init__(self, *groups: str) -> None:
        self.groups: dict[str, list[tuple[int, str]]] = {group: [] for group in groups}
        self.is_broken = False

    @property
    def exceptions(self) -> Any:
        return type(
            "Exceptions", (), {"ResourceAlreadyExistsException": ResourceAlreadyExistsError}
        )

    def create_log_group(self, logGroupName: str) -> None:
        if logGroupName in self.groups:
            raise ResourceAlreadyExistsError
        self.groups[logGroupName] = []

    def create_log_stream(self, **_: str) -> None:
        if self.is_broken:
            raise ConnectionError

    def put_log_events(
        self,
        logGroupName: str,
        logStreamName: str,
        logEvents: list[dict[str, Any]],
    ) -> None:
        assert logStreamName == "local"
        self.groups[logGroupName] += [(one["timestamp"], one["message"]) for one in logEvents]


def test_lines_arrive_in_order_with_their_time_in_groups_old_and_new() -> None:
    logs, times = FakeLogs("/there"), iter((1.0, 2.0, 3.0))
    buffer = LogBuffer(logs, lambda: next(times))
    for group, line in (("/there", "a"), ("/new", "b"), ("/there", "c")):
        buffer.add(group, line)
    assert logs.groups == {"/there": []}
    buffer.flush()
    assert logs.groups == {"/there": [(1000, "a"), (3000, "c")], "/new": [(2000, "b")]}
    buffer.flush()
    assert len(logs.groups["/there"]) == 2


def test_logs_that_are_not_taken_stop_nobody() -> None:
    logs = FakeLogs()
    logs.is_broken = True
    buffer = LogBuffer(logs, lambda: 1.0)
    buffer.add("/a", "lost")
    buffer.flush()
    logs.is_broken = False
    buffer.add("/a", "kept")
    buffer.flush()
    assert logs.groups == {"/a": [(1000, "kept")]}
