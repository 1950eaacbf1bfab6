"""What a shared object asks of the machine it is loaded on, read from its ELF file.

No readelf: a Mac has none, and it builds Lambda's artifacts too.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_MACHINES = {62: "x86_64", 183: "arm64"}
_SECTION_DYNAMIC = 6
_SECTION_VERSIONS_NEEDED = 0x6FFFFFFE
_TAG_NEEDED = 1


@dataclass(frozen=True)
class SharedObject:
    """`libraries` it links to, and the `versions` of their symbols: GLIBC_2.28, CXXABI_1.3.9."""

    machine: str
    libraries: frozenset[str]
    versions: frozenset[str]


def read_shared_object(path: Path) -> SharedObject:
    """Raises ValueError for what is not a 64-bit little-endian ELF file."""
    data = path.read_bytes()
    if data[:6] != b"\x7fELF\x02\x01":
        raise ValueError(f"{path} is not a 64-bit little-endian ELF file")
    (machine,) = struct.unpack_from("<H", data, 18)
    libraries: set[str] = set()
    versions: set[str] = set()
    sections = list(_sections(data))
    for section in sections:
        if section.kind == _SECTION_DYNAMIC:
            libraries |= set(_libraries(data, section, sections[section.link].offset))
        elif section.kind == _SECTION_VERSIONS_NEEDED:
            versions |= set(_versions(data, section, sections[section.link].offset))
    return SharedObject(
        _MACHINES.get(machine, str(machine)), frozenset(libraries), frozenset(versions)
    )


@dataclass(frozen=True)
class _Section:
    kind: int
    offset: int
    size: int
    link: int  # the section that holds its strings


def _sections(data: bytes) -> Iterator[_Section]:
    (table,) = struct.unpack_from("<Q", data, 40)
    size, count = struct.unpack_from("<HH", data, 58)
    for position in range(table, table + size * count, size):
        _, kind, _, _, offset, length, link = struct.unpack_from("<IIQQQQI", data, position)
        yield _Section(kind, offset, length, link)


def _libraries(data: bytes, dynamic: _Section, strings: int) -> Iterator[str]:
    for position in range(dynamic.offset, dynamic.offset + dynamic.size, 16):
        tag, value = struct.unpack_from("<QQ", data, position)
        if tag == _TAG_NEEDED:
            yield _text(data, strings + value)


def _versions(data: bytes, needed: _Section, strings: int) -> Iterator[str]:
    position = needed.offset
    while True:
        _, count, _, first, following = struct.unpack_from("<HHIII", data, position)
        entry = position + first
        for _ in range(count):
            _, _, _, name, step = struct.unpack_from("<IHHII", data, entry)
            yield _text(data, strings + name)
            entry += step
        if not following:
            return
        position += following


def _text(data: bytes, start: int) -> str:
    return data[start : data.index(b"\0", start)].decode()
