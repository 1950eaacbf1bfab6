"""Where a device was found, and what an erasure removed, as lines for people."""

from __future__ import annotations

from collections.abc import Iterator

from ops.erase.run import Findings
from ops.erase.zones import ZONES, Target
from ops.tables import aligned

MAX_SHOWN = 5


def lines_of(findings: Findings, target: Target, stack_name: str, *, apply: bool) -> Iterator[str]:
    """What there is of the device, or was, place by place."""
    yield f"Erasure of device {target.device} from stack {stack_name}" + (
        "" if apply else " (dry run)"
    )
    yield f"What arrived before {target.until:%Y-%m-%d %H:%M:%SZ}."
    yield ""
    heads = ("rows", "object versions")
    yield from aligned(
        [
            ("zone", *heads),
            *((zone, findings.rows[zone], findings.objects[zone]) for zone in ZONES),
        ]
    )
    if findings.tables:
        yield ""
        yield from aligned([("table", "rows"), *findings.tables.items()])
    yield ""
    if findings.passing:
        yield (
            f"{findings.passing:,} rows of other devices that it sent stay, with its name as their "
            "sender."
        )
    if findings.unread:
        yield (
            f"{len(findings.unread):,} object versions can't be read, so nobody can tell whether "
            "they hold it; look at them, and delete them by hand if they may:"
        )
        for one in findings.unread[:MAX_SHOWN]:
            yield f"  {one.zone} zone: {one.version.key} (version {one.version.version_id})"
        if len(findings.unread) > MAX_SHOWN:
            yield f"  and {len(findings.unread) - MAX_SHOWN:,} more"


def removed_lines(findings: Findings, device: str, retention_hours: int) -> Iterator[str]:
    """What an erasure did, and what goes by itself."""
    yield (
        f"Removed: {sum(findings.rows.values()):,} rows of the zones, "
        f"{sum(findings.tables.values()):,} rows of the tables, "
        f"{findings.versions_deleted:,} object versions, and {findings.files_deleted:,} files that "
        "the tables no longer need. Older states of the tables can't be read any more."
    )
    yield (
        "The device's tombstone keeps what comes of it again out of the tables: a replay, a "
        "redrive, a copy that was restored."
    )
    yield (
        f"The stream's own copy ages out by itself, within {retention_hours:,} hours. What was "
        "still on its way to a zone is in no table, but may be in the raw zone: run it again once "
        "the consumer is through."
    )
    yield (
        "It is about data: the device's thing, certificate and policy are as they were. While the "
        "thing is in IoT, the hourly export brings it back into device_registry: revoke its "
        "certificates (python -m devices revoke), delete it (aws iot delete-thing --thing-name "
        f"{device}), and run this again. The log group of the function that admits devices holds "
        "the thing's name until its retention ends."
    )
