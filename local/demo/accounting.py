"""Does everything add up? The figures of a run, each counted where it happened, and what must hold.

Guarantee: `adds_up` is false as soon as one message was lost, counted twice or put in the wrong
place anywhere between the devices and the curated zone, because the two sides of every equation
are counted in different places: devices, stream, CloudWatch metrics, raw and rejected objects,
the job's account, rows.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Sent:
    """What the fleet says: messages, of which `distinct` are different readings to be accepted."""

    sent: int
    acknowledged: int
    distinct: int
    duplicates: int
    rejected: Mapping[str, int]
    late: int | None = None  # of the distinct ones; None where the fleet can't know


@dataclass(frozen=True)
class Figures:
    """What was found behind the fleet, each figure with the place where it was counted."""

    records: int  # read from the stream
    received: int  # the consumer's metrics: ReadingsReceived
    received_accepted: int  # the consumer's metrics: ReadingsAccepted
    accepted: int  # rows of the raw zone's objects
    rejected: Mapping[str, int]  # rows of the rejected zone's objects, by reason
    failed: int  # objects in the failed zone
    rows_in: int  # the job's account, curation_runs, over all runs
    duplicates: int
    dropped: int
    late: int
    accounted_curated: int
    curated: int  # rows of readings
    distinct: int  # different event ids in readings
    curated_late: int  # rows of readings that are marked late
    summarised: int  # readings that device_hours counts


@dataclass(frozen=True)
class Equation:
    """Two numbers, each with its words, that must be equal."""

    left: str
    left_value: int
    right: str
    right_value: int

    @property
    def holds(self) -> bool:
        return self.left_value == self.right_value


def equations(sent: Sent, found: Figures) -> list[Equation]:
    """Everything that must hold, in data-flow order."""
    rejected = sum(found.rejected.values())
    reasons = sorted({*sent.rejected, *found.rejected})
    return [
        Equation("messages sent", sent.sent, "acknowledged by the broker", sent.acknowledged),
        Equation("acknowledged", sent.acknowledged, "records in the stream", found.records),
        Equation(
            "records in the stream", found.records, "received by the consumer", found.received
        ),
        Equation(
            "received",
            found.received,
            "accepted + rejected objects' rows",
            found.accepted + rejected,
        ),
        Equation(
            "accepted by the consumer's metrics",
            found.received_accepted,
            "rows in the raw zone",
            found.accepted,
        ),
        Equation("objects in the failed zone", found.failed, "none", 0),
        *(
            Equation(
                f"sent to be rejected as {reason}",
                sent.rejected.get(reason, 0),
                "rejected so",
                found.rejected.get(reason, 0),
            )
            for reason in reasons
        ),
        Equation("rows in the raw zone", found.accepted, "rows read by the job", found.rows_in),
        Equation(
            "rows read by the job",
            found.rows_in,
            "curated + duplicates + dropped",
            found.accounted_curated + found.duplicates + found.dropped,
        ),
        Equation("curated by the account", found.accounted_curated, "rows", found.curated),
        Equation("rows in readings", found.curated, "different event ids", found.distinct),
        Equation("rows in readings", found.curated, "summed up by the hour", found.summarised),
        Equation(
            "different readings sent",
            sent.distinct,
            "curated + dropped",
            found.curated + found.dropped,
        ),
        Equation("sent again", sent.duplicates, "duplicates removed", found.duplicates),
        Equation("late by the account", found.late, "rows marked late", found.curated_late),
        *(
            []
            if sent.late is None
            else [Equation("sent late", sent.late, "rows marked late", found.curated_late)]
        ),
    ]


def result(
    sent: Sent, found: Figures, seconds: Mapping[str, float], details: Mapping[str, Any]
) -> dict[str, Any]:
    """The figures as `result.json` keeps them."""
    checked = equations(sent, found)
    return {
        "sent": sent.sent,
        "acknowledged": sent.acknowledged,
        "received": found.received,
        "accepted": found.accepted,
        "rejected": dict(sorted(found.rejected.items())),
        "duplicates": found.duplicates,
        "dropped": found.dropped,
        "late": found.late,
        "curated": found.curated,
        "adds_up": all(equation.holds for equation in checked),
        "seconds": dict(seconds),
        "equations": [{**asdict(equation), "holds": equation.holds} for equation in checked],
        "expected": asdict(sent),
        "counted": asdict(found),
        **details,
    }
