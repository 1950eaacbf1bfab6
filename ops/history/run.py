"""Import: messages that were kept elsewhere go to the deployed function, as records.

Dry by default: it says what the contract makes of each message under the deployed function's own
settings, and sends nothing. With `--apply` it sends them all; what breaks the contract is rejected
by the function, with its reason, as it would be from a device. Guarantee: idempotent. A message's
record id is made of its file's bytes and its place, its event id of its own bytes, so the curated
zone holds a reading once, however often it is imported and also if the stream brought it before.
What is of a device that was erased is not sent.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from hashlib import sha256
from itertools import batched
from typing import Final

from ops.delivery import Function
from ops.erase.device import without_erased
from ops.erasures import Tombstones
from ops.errors import OperationError
from ops.history.messages import messages_in, text_of
from ops.history.sources import Source
from ops.kinesis_event import EVENT_ROOM, MAX_EVENT_RECORDS, event_around, kinesis_record
from ops.redrive.marks import MarkError, Marks
from ops.redrive.pace import Pace
from telemetry_contract.aggregation import records_in
from telemetry_contract.event_time import microseconds_of
from telemetry_contract.limits import Limits
from telemetry_contract.reading import interpret
from telemetry_contract.rejection import Rejection

IMPORTED_PREFIX: Final = "imported/"
# What is marked at once; a kill makes at most so many messages go twice, which changes nothing.
CHUNK_MESSAGES: Final = 5_000

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Terms:
    """How to import. `arrived` stands for all messages, else each file's own time of writing;
    `limit` is the most messages that one run sends; `again` sends what is marked too."""

    arrived: datetime | None = None
    limit: int | None = None
    again: bool = False


@dataclass
class Findings:
    """What is there, and what became of it. Readings and rejections are the contract's, of the
    messages that were not imported before and that the limit lets through."""

    files: int = 0
    files_before: int = 0
    messages: int = 0
    messages_before: int = 0
    accepted: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    erased: int = 0
    erased_in_part: int = 0
    left: int = 0
    sent: int = 0
    accepted_by_function: int = 0
    rejected_by_function: int = 0
    was_interrupted: bool = False
    troubles: list[str] = field(default_factory=list)

    @property
    def chosen(self) -> int:
        """Messages that are sent, or in a dry run would be."""
        return self.messages - self.messages_before - self.erased - self.left

    @property
    def rejected_share(self) -> float:
        """The share of readings that break the contract."""
        return self.rejected.total() / max(self.accepted + self.rejected.total(), 1)


@dataclass(frozen=True)
class _Message:
    position: str
    records: tuple[bytes, ...]  # one, unless an erased device was taken out of it
    mark: str

    @property
    def size(self) -> int:
        return sum(map(len, self.records))


@dataclass(frozen=True)
class _Part:
    """Some messages of one file, in a row, and the mark that stands for all of them."""

    source: Source
    arrival_time: int
    messages: tuple[_Message, ...]
    mark: str


@dataclass(frozen=True)
class Import:
    """One run against one stack."""

    function: Function
    stream_arn: str
    limits: Limits
    marks: Marks
    progress: Progress
    pace: Pace = field(default_factory=Pace)
    erased: Tombstones = field(default_factory=dict)

    def run(self, sources: Iterable[Source], terms: Terms, *, apply: bool) -> Findings:
        """Reads everything and, with `apply`, sends it; trouble with one file is noted in the
        findings and leaves the others alone. Interrupted, it marks what was confirmed."""
        findings = Findings()
        try:
            for source in sources:
                self._import(source, terms, findings, apply=apply)
        except KeyboardInterrupt:
            findings.was_interrupted = True
        except MarkError as error:
            findings.troubles.append(str(error))
        finally:
            try:
                self.marks.write()
            except MarkError as error:
                findings.troubles.append(str(error))
        return findings

    def _import(self, source: Source, terms: Terms, findings: Findings, *, apply: bool) -> None:
        findings.files += 1
        self.progress(f"file {findings.files:,}, {findings.messages:,} messages")
        of_all = f"{source.name} {source.version}" if source.version else None
        if of_all and not terms.again and self.marks.has(None, of_all):
            findings.files_before += 1
            return
        try:
            parts = parts_of(source, terms.arrived)
        except OperationError as error:
            findings.troubles.append(f"{source.name} {error}")
            return
        troubles, left = len(findings.troubles), findings.left
        for part in parts:
            self._import_part(part, terms, findings, apply=apply)
        if apply and of_all and (len(findings.troubles), findings.left) == (troubles, left):
            self.marks.add(None, [of_all])

    def _import_part(self, part: _Part, terms: Terms, findings: Findings, *, apply: bool) -> None:
        findings.messages += len(part.messages)
        if not terms.again and self.marks.has(None, part.mark):
            findings.messages_before += len(part.messages)
            return
        waiting = [
            message
            for message in part.messages
            if terms.again or not self.marks.has(None, message.mark)
        ]
        findings.messages_before += len(part.messages) - len(waiting)
        waiting = list(self._without_erased(waiting, terms, findings))
        room = (
            len(waiting) if terms.limit is None else terms.limit - (findings.chosen - len(waiting))
        )
        chosen = waiting[: max(0, room)]
        findings.left += len(waiting) - len(chosen)
        self._judge(chosen, part.arrival_time, findings)
        if apply and chosen:
            self._send(part, chosen, findings)

    def _without_erased(
        self, waiting: list[_Message], terms: Terms, findings: Findings
    ) -> Iterator[_Message]:
        """The messages without what is of erased devices. When a file was written tells nothing of
        its messages, it may be a copy: new is only what the caller says arrived afterwards."""
        arrived = terms.arrived or datetime.min.replace(tzinfo=UTC)
        for message in waiting:
            left = tuple(
                left
                for data in message.records
                for left in without_erased(data, self.erased, arrived)
            )
            findings.erased += not left
            findings.erased_in_part += left not in ((), message.records)
            if left:
                yield replace(message, records=left)

    def _judge(self, chosen: list[_Message], arrival_time: int, findings: Findings) -> None:
        for position, data in ((one.position, data) for one in chosen for data in one.records):
            for record in records_in(position, arrival_time, data, self.limits):
                if isinstance(record, Rejection):
                    findings.rejected[record.reason.value] += 1
                    continue
                readings, rejections = interpret(record, self.limits)
                findings.accepted += len(readings)
                findings.rejected.update(rejection.reason.value for rejection in rejections)

    def _send(self, part: _Part, chosen: list[_Message], findings: Findings) -> None:
        sent: list[_Message] = []
        most = self.pace.portion(MAX_EVENT_RECORDS)
        try:
            for event, messages in self._events_of(part, chosen, most, findings):
                self.pace.wait(len(messages))
                self.progress(f"file {findings.files:,}, {findings.sent:,} messages sent")
                try:
                    account = self.function.ingest(event)
                except OperationError as error:
                    where = f"{part.source.name}, {len(messages):,} messages from"
                    findings.troubles.append(f"{where} {messages[0].position}: {error}")
                    continue
                sent += messages
                findings.sent += len(messages)
                findings.accepted_by_function += account["accepted"]
                findings.rejected_by_function += account["rejected"]
        finally:
            # At a slow pace a part takes minutes: what was sent is marked, however this ends.
            done = {message.mark for message in sent}
            if all(
                message.mark in done or self.marks.has(None, message.mark)
                for message in part.messages
            ):
                self.marks.add(None, [part.mark])
            else:
                self.marks.add(None, sorted(done))

    def _events_of(
        self, part: _Part, chosen: list[_Message], most: int, findings: Findings
    ) -> Iterator[tuple[bytes, list[_Message]]]:
        """Lambda events of at most `most` messages, within its bounds."""
        records: list[bytes] = []
        gathered: list[_Message] = []
        size = 0
        for message in chosen:
            record = self._record(message, part.arrival_time)
            if len(record) > EVENT_ROOM:
                findings.troubles.append(
                    f"{part.source.name}, message {message.position}: {message.size:,} bytes "
                    "are more than the function takes in a call; it was left out"
                )
                continue
            if gathered and (size + len(record) + 1 > EVENT_ROOM or len(gathered) == most):
                yield event_around(records), gathered
                records, gathered, size = [], [], 0
            records.append(record)
            gathered.append(message)
            size += len(record) + 1
        if gathered:
            yield event_around(records), gathered

    def _record(self, message: _Message, arrival_time: int) -> bytes:
        """A message as an event holds it: its record, or what is left of it, one after another."""
        records = (
            kinesis_record(
                message.position, data, arrival_time / 1_000_000, "imported", self.stream_arn
            )
            for data in message.records
        )
        return b",".join(json.dumps(one, separators=(",", ":")).encode() for one in records)


def parts_of(source: Source, arrived: datetime | None) -> list[_Part]:
    """A file's messages in parts; raises OperationError if it cannot be read as messages.

    The record id is `history-<digest of the text>:<place>`: the same wherever the file lies.
    """
    text = text_of(source.read())
    shard = f"history-{sha256(text).hexdigest()[:16]}"
    arrival_time = microseconds_of(arrived or source.written)
    messages = (
        _Message(f"{shard}:{place}", (data,), f"{shard}:{place}")
        for place, data in enumerate(messages_in(text))
    )
    return [
        _Part(source, arrival_time, part, f"{shard} part {number}")
        for number, part in enumerate(batched(messages, CHUNK_MESSAGES, strict=False))
    ]
