"""Shapes: payloads with the same keys in the same order, which most messages of a fleet have.

What has to be done with each value is decided once per shape instead of once per message; a decoder
made for the shape is twice as fast as one for any object.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import msgspec

from telemetry_contract.fields import CONTAINER, DEVICE_ID, EVENT_TIME, SPELLINGS, Field


@dataclass(frozen=True, slots=True)
class Shape:
    """Where things are in a row: the values of a payload, then those of its container.

    Names of unknown fields are as they are kept, with their path.
    """

    device_id: int
    event_time: int
    fields: tuple[tuple[Field, int], ...]
    unknown: tuple[tuple[str, int], ...]


type Keys = tuple[str, ...]
type Decode = Callable[[bytes], msgspec.Struct]


@lru_cache(maxsize=256)
def decoder_of(keys: Keys, contained: Keys | None) -> Decode | None:
    """What decodes payloads with exactly these keys, in any order, and refuses all others.

    It gives the values that a decoder for any object would give, in the order of the keys; those of
    the container are a struct of their own. Made once per shape: making a type is dear. None for
    keys that no struct can have: quotes, backslashes, control characters.
    """
    try:
        inside = None if contained is None else _struct_of(contained)
        return msgspec.json.Decoder(_struct_of(keys, inside)).decode
    except ValueError:
        return None


def _struct_of(keys: Keys, inside: type[msgspec.Struct] | None = None) -> type[msgspec.Struct]:
    fields = [
        (
            f"value_{place}",
            inside if inside is not None and key == CONTAINER else Any,
            msgspec.field(name=key),
        )
        for place, key in enumerate(keys)
    ]
    return msgspec.defstruct("Payload", fields, gc=False, forbid_unknown_fields=True)


def shape_of(keys: Keys, contained: Keys | None) -> Shape | None:
    """The shape of payloads with these keys and with those in their container, if they have one.

    None if it is not plain what belongs where: a field under two names, a name twice, no device id
    or no event time.
    """
    known: dict[str, int] = {}
    fields: list[tuple[Field, int]] = []
    unknown: dict[str, int] = {}
    inside = contained or ()
    paths = [*keys, *(f"{CONTAINER}.{key}" for key in inside)]
    for place, (key, path) in enumerate(zip((*keys, *inside), paths, strict=True)):
        if contained is not None and path == CONTAINER:
            continue
        spelling = SPELLINGS.get(key)
        if spelling is None:
            if path in unknown:
                return None
            unknown[path] = place
            continue
        field, _ = spelling
        if field.name in known:
            return None
        known[field.name] = place
        if field not in (DEVICE_ID, EVENT_TIME):
            fields.append((field, place))
    if DEVICE_ID.name not in known or EVENT_TIME.name not in known:
        return None
    return Shape(
        known[DEVICE_ID.name], known[EVENT_TIME.name], tuple(fields), tuple(unknown.items())
    )
