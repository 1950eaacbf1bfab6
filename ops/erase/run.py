"""The erasure of a device: every step may be repeated, so that one that was killed is run again.

tombstone -> places in the stream -> new raw objects -> the job (tables, ledger, snapshots)
-> rejected and failed zone -> old versions -> no other job -> files of the tables -> look again

Guarantee: from the tombstone on, no run of the job lets the device in, whatever comes next. Until
the job has committed, nothing is deleted; what is then, is in no version of any object.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Final

from ops.curation_job import CurationJob
from ops.erase.tables import Tables
from ops.erase.versions import delete_versions
from ops.erase.zones import Holding, Passing, Search, Unread
from ops.erasures import Erasures
from ops.errors import OperationError
from ops.exchange import Exchange, put_once, write_list

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

HALF_DONE: Final = "The device is kept out from now on; running it again finishes the erasure."


@dataclass
class Findings:
    """Where a device is, or was until it was erased."""

    rows: Counter[str] = field(default_factory=Counter)
    objects: Counter[str] = field(default_factory=Counter)
    tables: dict[str, int] = field(default_factory=dict)
    passing: int = 0
    unread: list[Unread] = field(default_factory=list)
    holdings: list[Holding] = field(default_factory=list, repr=False)
    versions_deleted: int = 0
    files_deleted: int = 0

    @property
    def is_empty(self) -> bool:
        """Whether the device is nowhere."""
        return not (self.holdings or any(self.tables.values()))


@dataclass(frozen=True)
class Erasure:
    """One erasure of a stack. `others`: the jobs that write tables beside the curation job; what a
    run of theirs read before the erasure it may write after it."""

    s3: S3Client
    search: Search
    tables: Tables
    erasures: Erasures
    job: CurationJob
    others: Sequence[CurationJob]
    progress: Callable[[str], None]

    def look(self) -> Findings:
        """Find the device; changes nothing."""
        findings = Findings()
        for found in self.search.run():
            if isinstance(found, Unread):
                findings.unread.append(found)
            elif isinstance(found, Passing):
                findings.passing += found.rows
            else:
                findings.holdings.append(found)
                findings.rows[found.zone] += found.rows
                findings.objects[found.zone] += 1
        findings.tables = self.tables.rows_of(self.search.target)
        return findings

    def run(self, findings: Findings, now: datetime) -> None:
        """Erase what was found."""
        target = self.search.target
        self.erasures.bury(target.device, target.until)
        self.erasures.note_positions(
            place for held in findings.holdings for place in held.positions
        )
        raw = [held for held in findings.holdings if held.zone == "raw"]
        # Or a run might take the new objects beside the old ones, or bring back what it has read.
        for job in (self.job, *self.others):
            job.require_free()
        self._put(raw)
        arguments = {"--erase": "true"}
        if exchanges := list(_exchanges(raw, self.search.superseded)):
            bucket = self.erasures.bucket
            arguments["--exchange"] = write_list(self.s3, bucket, exchanges, now)
        said = self.job.run(arguments, ("erase", "account"), HALF_DONE)
        findings.tables = said["erase"]
        for zone in ("raw", "rejected", "failed"):
            held = [one for one in findings.holdings if one.zone == zone]
            if zone != "raw":
                self._put(held)
            findings.versions_deleted += self._delete(zone, held)
        for job in self.others:
            job.await_free()  # it may have begun meanwhile, before the job's commit
        findings.files_deleted = self.tables.purge(target)
        if left := sum(self.tables.rows_of(target).values()):
            raise OperationError(
                f"{left:,} rows are in the tables again: another job, begun before, wrote them. "
                "Run it again when no job runs."
            )

    def _put(self, held: Iterable[Holding]) -> None:
        for one in held:
            body = self.search.body_for(one) if one.new_key else None
            if one.new_key is None or body is None:
                continue
            self.progress(f"{one.zone} zone: writing {one.new_key}")
            bucket = self.search.bucket_of(one.zone)
            if one.new_key == one.version.key:
                self.s3.put_object(Bucket=bucket, Key=one.new_key, Body=body)
            else:
                put_once(self.s3, bucket, one.new_key, body)

    def _delete(self, zone: str, held: list[Holding]) -> int:
        """Delete the versions that hold the device."""
        self.progress(f"{zone} zone: deleting {len(held):,} object versions")
        bucket = self.search.bucket_of(zone)
        return delete_versions(self.s3, bucket, [one.version for one in held])


def _exchanges(raw: Iterable[Holding], superseded: frozenset[str]) -> Iterable[Exchange]:
    for held in raw:
        if held.version.is_current and held.version.key not in superseded:
            yield Exchange(held.version.key, held.new_key, held.size, held.rows_left)
