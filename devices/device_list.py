"""Reads the devices of a CSV: one line each, its thing's name and what the registry shall know.

Guarantee: a list is taken whole or refused with every line that is wrong, before anything is
registered, by the rules by which IoT would refuse it one device at a time.

https://docs.aws.amazon.com/iot/latest/apireference/API_AttributePayload.html
"""

import csv
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from devices.errors import DeviceError
from devices.provisioning import Device, DeviceFiles, ThingNameError

NAME: Final = "thing"
TYPE: Final = "thing_type"
_ATTRIBUTE_NAME: Final = re.compile(r"[a-zA-Z0-9_.,@/:#=\[\]-]{1,128}")
_ATTRIBUTE_VALUE: Final = re.compile(r"[a-zA-Z0-9_.,@/:#=\[\]-]{1,800}")
# https://docs.aws.amazon.com/general/latest/gr/iot-core.html
_MOST_ATTRIBUTES: Final = {False: 3, True: 50}
_SHOWN: Final = 10


class DeviceListError(DeviceError):
    """A CSV that does not list devices; the message names its lines and what is wrong with each."""


def read_devices(path: Path) -> list[Device]:
    """The devices of a CSV with the column `thing`; every other column but `thing_type` is an
    attribute (`site`, `model`, `owner`), an empty cell none. Raises DeviceListError, OSError.
    """
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        _check_columns(path, reader.fieldnames or [])
        try:
            lines = [(reader.line_num, row) for row in reader]
        except (csv.Error, UnicodeDecodeError) as error:
            raise DeviceListError(f"{path} cannot be read as CSV: {error}") from None
    problems = list(_problems(lines))
    if problems:
        more = [f"and {len(problems) - _SHOWN} more"] if len(problems) > _SHOWN else []
        listed = "\n  ".join([*problems[:_SHOWN], *more])
        raise DeviceListError(f"{path} was refused, and nothing registered:\n  {listed}")
    return [_device(row) for _, row in lines]


def _check_columns(path: Path, columns: Iterable[str]) -> None:
    if NAME not in columns:
        raise DeviceListError(f"{path}: its first line must name the columns, {NAME} among them")
    for column in columns:
        if not _ATTRIBUTE_NAME.fullmatch(column):
            raise DeviceListError(
                f"{path}: {column!r} cannot be an attribute's name: letters, digits and _.,@/:#=[]-"
            )


def _device(row: dict[str, str]) -> Device:
    attributes = {name: value for name, value in row.items() if value and name not in (NAME, TYPE)}
    return Device(row[NAME], attributes, row.get(TYPE) or None)


def _problems(lines: Iterable[tuple[int, dict[str, str]]]) -> Iterator[str]:
    seen: dict[str, int] = {}
    for number, row in lines:
        if None in row or None in row.values():
            yield f"line {number}: another number of columns than the first line has"
            continue
        device = _device(row)
        try:
            stem = DeviceFiles(Path(), device.thing_name).stem
        except ThingNameError as error:
            yield f"line {number}: {error}"
        else:
            # Two names that differ by a colon alone would share their files.
            if stem in seen:
                yield f"line {number}: {device.thing_name} is the device of line {seen[stem]} again"
            seen[stem] = number
        for name, value in (device.attributes or {}).items():
            if not _ATTRIBUTE_VALUE.fullmatch(value):
                yield f"line {number}: {name} {value!r}: only letters, digits and _.,@/:#=[]-"
        most = _MOST_ATTRIBUTES[device.thing_type is not None]
        if len(device.attributes or {}) > most:
            yield (
                f"line {number}: IoT takes {most} attributes of a thing"
                + ("" if device.thing_type else f" without a thing type (column {TYPE})")
            )
