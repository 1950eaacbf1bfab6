"""A replay from the command line: what the job is told, and what is made of what it says."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import pytest

from ops.__main__ import run
from ops.curation_job import CurationJob
from ops.errors import OperationError
from ops.replay.report import lines_of
from ops.replay.run import Outcome, Replay, Selection
from tests.unit.ops.conftest import STACK, Deployed

NOW = datetime(2026, 11, 25, 10, tzinfo=UTC)
COUNTS: dict[str, Any] = {
    "run_id": "replay-1",
    "objects": 3,
    "rows_in": 1_500,
    "days": [
        {"day": "2026-11-01", "rows_now": 1_000, "rows_after": 1_002}
        | {"added": 3, "removed": 1, "changed": 7},
        {"day": "2026-11-02", "rows_now": 5, "rows_after": 5}
        | {"added": 0, "removed": 0, "changed": 0},
    ],
}
ACCOUNT = {"run_id": "replay-1", "kind": "replay"}


class ConcurrentRunsExceededException(Exception):  # noqa: N818 - as botocore names it
    pass


class ResourceNotFoundException(Exception):  # noqa: N818 - as botocore names it
    pass


EXCEPTIONS = SimpleNamespace(
    ConcurrentRunsExceededException=ConcurrentRunsExceededException,
    ResourceNotFoundException=ResourceNotFoundException,
)


@dataclass
class Job:
    """Glue and its log: a job that runs for some looks, and whose log comes some looks later."""

    states: list[str] = field(default_factory=lambda: ["STARTING", "RUNNING", "SUCCEEDED"])
    lines: list[str] = field(default_factory=list)
    log_comes_after: int = 0
    is_running: bool = False
    started: list[dict[str, str]] = field(default_factory=list)
    exceptions: Any = field(default_factory=lambda: EXCEPTIONS)

    def start_job_run(self, **request: Any) -> dict[str, str]:
        if self.is_running:
            raise ConcurrentRunsExceededException
        assert request["JobName"] == "curate-telemetry"
        self.started.append(request["Arguments"])
        return {"JobRunId": "jr_1"}

    def get_job_runs(self, **request: Any) -> dict[str, Any]:
        assert request == {"JobName": "curate-telemetry", "MaxResults": 1}
        return {"JobRuns": [{"JobRunState": state} for state in self.states[:1]]}

    def get_job_run(self, **request: Any) -> dict[str, Any]:
        assert request == {"JobName": "curate-telemetry", "RunId": "jr_1"}
        state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        return {"JobRun": {"JobRunState": state, "ErrorMessage": "no such table"}}

    def get_job(self, **_: Any) -> dict[str, Any]:
        return {"Job": {"DefaultArguments": {"--custom-logGroup-prefix": "/aws-glue/jobs/lake"}}}

    def get_log_events(self, **request: Any) -> dict[str, Any]:
        assert (request["logGroupName"], request["logStreamName"]) == (
            "/aws-glue/jobs/lake/output",
            "jr_1",
        )
        if self.log_comes_after:
            self.log_comes_after -= 1
            raise ResourceNotFoundException
        # A page holds one line; the last token comes again, as CloudWatch has it.
        place = int(request.get("nextToken", "0"))
        page = self.lines[place : place + 1]
        return {
            "events": [{"message": line} for line in page],
            "nextForwardToken": str(min(place + 1, len(self.lines))),
        }


def said(*, account: bool) -> list[str]:
    told = ["INFO run replay-1: 3 objects", json.dumps({"replay": COUNTS})]
    return [*told, json.dumps({"account": ACCOUNT})] if account else told


def replay_of(job: Job, deployed: Deployed, pauses: list[float]) -> Replay:
    return Replay(
        "curate-telemetry",
        "curated-zone",
        job,  # type: ignore[arg-type]  # a fake
        job,
        deployed.s3,
        pauses.append,
        deployed.progress.append,
    )


def test_a_dry_run_tells_the_job_to_write_nothing(deployed: Deployed) -> None:
    job, pauses = Job(lines=said(account=False), log_comes_after=2), list[float]()
    outcome = replay_of(job, deployed, pauses).run(
        Selection(days="2026-11-01:2026-11-02", device="truck-7"), NOW, apply=False
    )
    assert job.started == [
        {
            "--replay_days": "2026-11-01:2026-11-02",
            "--replay_device": "truck-7",
            "--dry_run": "true",
        }
    ]
    assert outcome == Outcome(COUNTS, None)
    assert len(pauses) == 4
    assert deployed.progress[0] == "curate-telemetry: starting, 0 s"


def test_named_objects_go_as_a_list_that_the_job_may_read(deployed: Deployed) -> None:
    deployed.s3.create_bucket(Bucket="curated-zone")
    job = Job(lines=said(account=True))
    keys = ("raw_data/a.parquet", "raw_data/b.parquet")
    outcome = replay_of(job, deployed, []).run(Selection(objects=keys), NOW, apply=True)
    [arguments] = job.started
    uri = arguments.pop("--replay_objects")
    assert arguments == {}
    assert uri.startswith("s3://curated-zone/curated/")
    key = uri.removeprefix("s3://curated-zone/")
    body = deployed.s3.get_object(Bucket="curated-zone", Key=key)["Body"].read()
    assert body.decode().splitlines() == list(keys)
    assert outcome.account == ACCOUNT


def test_late_readings_are_promoted_by_an_argument(deployed: Deployed) -> None:
    job = Job(lines=said(account=True))
    replay_of(job, deployed, []).run(Selection(late=True), NOW, apply=True)
    assert job.started == [{"--replay_late": "true"}]


def test_a_run_in_progress_is_said_in_one_line(deployed: Deployed) -> None:
    with pytest.raises(OperationError, match="only one may write: try again"):
        replay_of(Job(is_running=True), deployed, []).run(Selection(late=True), NOW, apply=True)


@pytest.mark.parametrize("state", ["FAILED", "TIMEOUT", "STOPPED"])
def test_a_run_that_failed_says_why_and_where_its_log_is(deployed: Deployed, state: str) -> None:
    job = Job(states=["RUNNING", state], lines=said(account=True))
    with pytest.raises(OperationError, match=rf"{state}: no such table.*/aws-glue/jobs/lake"):
        replay_of(job, deployed, []).run(Selection(late=True), NOW, apply=True)


def test_a_log_that_never_comes_is_no_endless_wait(deployed: Deployed) -> None:
    pauses: list[float] = []
    with pytest.raises(OperationError, match="its counts are not in /aws-glue/jobs/lake/output"):
        replay_of(Job(lines=said(account=False)), deployed, pauses).run(
            Selection(late=True), NOW, apply=True
        )
    assert sum(pauses) < 300


@pytest.mark.parametrize(
    ("account", "changes", "last"),
    [
        (None, True, "Nothing was changed. Run again with --apply to swap 1 days."),
        (ACCOUNT, True, "1 days were swapped, by run replay-1."),
        (None, False, "The tables are as raw says: there is nothing to change."),
    ],
)
def test_the_report_has_the_counts_by_day_and_what_comes_next(
    account: dict[str, Any] | None, changes: bool, last: str
) -> None:
    counts = COUNTS if changes else COUNTS | {"days": COUNTS["days"][1:]}
    lines = list(lines_of(Outcome(counts, account), "lake"))
    assert ("(dry run)" in lines[0]) is (account is None)
    assert any(line.split() == ["2026-11-02", "5", "5", "0", "0", "0"] for line in lines)
    assert lines[-1] == last


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "say what to replay"),
        (["--days", "yesterday"], "no range of days such as 2026-11-01:2026-11-03"),
        (["--days", "2026-11-03:2026-11-01"], "ends before it begins"),
        (["--late", "--objects", "keys.txt"], "know no objects"),
    ],
)
def test_a_wrong_call_says_what_is_wrong(
    capsys: pytest.CaptureFixture[str], arguments: list[str], told: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        run(["replay", "--stack-name", STACK, *arguments])
    assert ended.value.code == 2
    assert told in capsys.readouterr().err


def test_a_file_without_keys_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "keys.txt").write_text("\n\n")
    arguments = ["replay", "--stack-name", STACK, "--objects", str(tmp_path / "keys.txt")]
    assert run(arguments) == 1
    assert "holds no keys" in capsys.readouterr().err


def test_the_command_prints_the_report(
    deployed: Deployed, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    job = Job(states=["SUCCEEDED"], lines=said(account=False))
    clients = {"cloudformation": boto3.client("cloudformation"), "s3": deployed.s3}

    class Session:
        def client(self, name: str) -> Any:
            return clients.get(name, job)

    monkeypatch.setattr(boto3, "Session", Session)
    assert run(["replay", "--stack-name", STACK, "--days", "2026-11-01"]) == 0
    assert job.started == [{"--replay_days": "2026-11-01:2026-11-01", "--dry_run": "true"}]
    assert "Run again with --apply" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("states", "is_free"), [([], True), (["SUCCEEDED"], True), (["RUNNING"], False)]
)
def test_objects_are_written_only_while_no_run_is_in_progress(
    states: list[str], *, is_free: bool
) -> None:
    fake: Any = Job(states=states)
    job = Replay("curate-telemetry", "curated-zone", fake, fake, fake, print, print).job
    if is_free:
        job.require_free()
    else:
        with pytest.raises(OperationError, match="a run of curate-telemetry is in progress"):
            job.require_free()


def test_a_run_of_another_job_is_waited_for_until_it_has_ended() -> None:
    fake: Any = Job(states=["RUNNING"])
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        fake.states = ["RUNNING"] if len(pauses) < 3 else ["FAILED"]

    told: list[str] = []
    CurationJob("curate-telemetry", fake, fake, pause, told.append).await_free()
    assert len(pauses) == 3
    assert told[0] == "waiting for a run of curate-telemetry, 0 s"
