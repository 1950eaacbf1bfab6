"""The messages in a file of history, each with its own bytes: what a device once sent.

Understood are one JSON value a line (NDJSON), a JSON array (its elements), one JSON object, and
objects one after the other without anything between them, as Firehose writes them; each also
gzipped. Guarantee: every byte of a file that is not blank is in a message, in order; what is no
JSON is a message too, so that the contract rejects it with its reason.
"""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import Iterator
from io import BytesIO
from typing import Final

import msgspec

from ops.errors import OperationError

# A file is held in memory; beyond this one splits it.
MAX_FILE_BYTES: Final = 512 * 1024 * 1024

_GZIP: Final = b"\x1f\x8b"
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_BLANK: Final = " \t\r\n"
_PARQUET: Final = b"PAR1"
_ADJACENT: Final = re.compile(rb"\}\s*\{")
_decode_array: Final = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_value: Final = msgspec.json.Decoder(msgspec.Raw).decode
_next_value: Final = json.JSONDecoder().raw_decode


def text_of(stored: bytes, limit: int = MAX_FILE_BYTES) -> bytes:
    """A file's text, unpacked; raises OperationError if it is damaged, too large or no text."""
    if stored.startswith(_GZIP):
        try:
            with gzip.GzipFile(fileobj=BytesIO(stored)) as packed:
                stored = packed.read(limit + 1)
        except (OSError, EOFError, zlib.error) as error:
            raise OperationError(f"is damaged gzip ({error})") from error
    if len(stored) > limit:
        raise OperationError(f"is larger than {limit:,} bytes; split it")
    if stored.startswith(_PARQUET) or b"\0" in stored[:1024]:
        raise OperationError("is no text, so it holds no JSON messages")
    return stored.removeprefix(_BYTE_ORDER_MARK)


def messages_in(text: bytes) -> list[bytes]:
    """The messages of a file's text, in their order."""
    text = text.strip()
    if not text:
        return []
    if text.startswith(b"["):
        try:
            return [bytes(element) for element in _decode_array(text)]
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            pass  # lines that are arrays
    if _is_value(text):
        return [text]
    lines = [line.strip() for line in text.split(b"\n")]
    if not _is_value(lines[0]) and (pieces := _pieces_of(text)):
        return pieces
    return [message for line in lines if line for message in _messages_on(line)]


def _messages_on(line: bytes) -> Iterator[bytes]:
    """A line is one message, unless it is several objects, one right after the other."""
    if _ADJACENT.search(line) and not _is_value(line) and (pieces := _pieces_of(line)):
        yield from pieces
    else:
        yield line


def _is_value(text: bytes) -> bool:
    try:
        _decode_value(text)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return False
    return True


def _pieces_of(text: bytes) -> list[bytes] | None:
    """The objects that a text consists of, and nothing else; None if it does not."""
    try:
        characters = text.decode()
        pieces, end = [], 0
        while end < len(characters):
            if characters[end] in _BLANK:
                end += 1
                continue
            value, after = _next_value(characters, end)
            if not isinstance(value, dict):
                return None
            pieces.append(characters[end:after].encode())
            end = after
    except (ValueError, RecursionError):
        return None
    return pieces
