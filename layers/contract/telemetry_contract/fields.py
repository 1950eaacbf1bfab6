"""The table of fields: which values a reading may carry, under which names, in which bounds.

This is the contract's source. A new field is one row of `FIELDS` (at its end, so that existing
columns keep their order) plus sample files in `events/readings/`; the raw schema, validation, the
fast path and `docs/contract.md` are derived from it. Raise `CONTRACT_VERSION` with every change:
it is stored with each row.
"""

from dataclasses import dataclass
from typing import Final, Literal

CONTRACT_VERSION: Final = 1

type Kind = Literal["integer", "number", "text", "boolean"]

LARGEST_INTEGER: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Field:
    """One named value of a reading.

    `minimum` and `maximum` are inclusive; for text, `maximum` is the length in characters.
    `aliases` are the further names under which devices send the field, in order of precedence.
    """

    name: str
    kind: Kind
    description: str
    unit: str | None = None
    minimum: float | None = None
    maximum: float | None = None
    aliases: tuple[str, ...] = ()

    @property
    def spellings(self) -> tuple[str, ...]:
        """Every name under which the field is recognised, in order of precedence."""
        return (self.name, *self.aliases)

    @property
    def out_of_range_flag(self) -> str:
        return f"{self.name}_out_of_range"

    @property
    def wrong_type_flag(self) -> str:
        return f"{self.name}_wrong_type"


# Fields are looked for at the top of the payload, then in this object of it.
CONTAINER: Final = "data"

DEVICE_ID: Final = Field(
    "device_id",
    "text",
    "The device that the reading is of.",
    maximum=128,
    aliases=("deviceId",),
)

EVENT_TIME: Final = Field(
    "event_time",
    "text",
    "When the device took the reading, by its own clock: ISO 8601, or a number since 1970.",
    aliases=("timestamp", "ts", "eventTime", "time"),
)

FIELDS: Final[tuple[Field, ...]] = (
    Field(
        "sequence",
        "integer",
        "The device's own running number of its readings.",
        minimum=0,
        maximum=LARGEST_INTEGER,
    ),
    Field(
        "device_name",
        "text",
        "What people call the device.",
        maximum=256,
        aliases=("deviceName", "device"),
    ),
    Field("status", "text", "What the device says it is doing.", maximum=256),
    Field("latitude", "number", "North of the equator, WGS 84.", "degrees", -90, 90),
    Field("longitude", "number", "East of Greenwich, WGS 84.", "degrees", -180, 180),
    Field("speed", "number", "Speed over ground.", "km/h", 0, 2_000),
    Field("temperature", "number", "Temperature.", "degrees Celsius", -100, 200, ("temp",)),
    Field("humidity", "number", "Relative humidity.", "percent", 0, 100),
    Field("pressure", "number", "Air pressure.", "hPa", 0, 2_000),
    Field("battery", "number", "Charge of the battery.", "percent", 0, 100),
    Field("co", "number", "Carbon monoxide.", "ppm", 0, 1_000_000),
    Field("lpg", "number", "Liquefied petroleum gas.", "ppm", 0, 1_000_000),
    Field("smoke", "number", "Smoke.", "ppm", 0, 1_000_000),
    Field("light", "boolean", "Whether light is seen."),
    Field("motion", "boolean", "Whether motion is seen."),
)

# Every name under which a field is recognised, with its precedence among the field's names.
SPELLINGS: Final[dict[str, tuple[Field, int]]] = {
    spelling: (field, precedence)
    for field in (DEVICE_ID, EVENT_TIME, *FIELDS)
    for precedence, spelling in enumerate(field.spellings)
}
