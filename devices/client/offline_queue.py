"""The queue on disk between a reading and the broker's acknowledgement of it.

Guarantee: when `append` returns, its messages and their sequence numbers are on disk and survive a
kill and a power cut; they are all there or none is. What a power cut tore is not read: SQLite
checks each frame of its log by a checksum and takes the log up to the last whole transaction
(https://www.sqlite.org/wal.html, https://www.sqlite.org/fileformat2.html#walformat).

fsync policy: one per `append` (`synchronous=FULL`), so a slow card is spared by appending several
readings at once; one per `remove`, and a removal that is lost only sends a message again.
"""

import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

# IoT Core ends the connection of a device that sends more:
# https://docs.aws.amazon.com/general/latest/gr/iot-core.html
MAX_PAYLOAD_BYTES: Final = 128 * 1024

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS messages (
    number INTEGER PRIMARY KEY AUTOINCREMENT, topic TEXT NOT NULL, payload BLOB NOT NULL,
    size INTEGER AS (length(topic) + length(payload))
) STRICT;
CREATE TABLE IF NOT EXISTS sequences (device_id TEXT PRIMARY KEY, last INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS dropped (id INTEGER PRIMARY KEY CHECK (id = 0), count INTEGER) STRICT;
INSERT OR IGNORE INTO dropped VALUES (0, 0);
"""
_NEXT_SEQUENCE: Final = """
INSERT INTO sequences VALUES (?, 1) ON CONFLICT (device_id) DO UPDATE SET last = last + 1
RETURNING last
"""


class QueueFullError(Exception):
    """There is no room: the messages were not taken, and no sequence number was used up."""


class MessageTooLargeError(Exception):
    """No broker would take the message, so the queue doesn't: it would stay at its head."""


class QueueInUseError(Exception):
    """Another process has the queue open; two would send its messages twice and mixed."""


class QueueDamagedError(Exception):
    """The file is no queue, or the disk has damaged it."""


class WhenFull(StrEnum):
    """What happens to a reading for which there is no room."""

    # Nothing that was taken is ever lost; the caller decides what becomes of the reading.
    REFUSE_NEWEST = "refuse_newest"
    # Counted in `dropped`; the lake sees the gap in the device's sequence.
    DROP_OLDEST = "drop_oldest"


@dataclass(frozen=True)
class QueuedMessage:
    """A message and its place in the queue."""

    number: int
    topic: str
    payload: bytes


# Gets the sequence number that the message has to carry.
MakePayload = Callable[[int], bytes]


@dataclass(frozen=True)
class NewMessage:
    """A message before it has its sequence number, which is counted per `device_id`."""

    device_id: str
    topic: str
    make_payload: MakePayload


class OfflineQueue:
    """Messages in the order in which they were appended; may be used by several threads.

    `max_bytes` bounds topics and payloads; the file is larger by some 20 bytes a message.
    """

    def __init__(
        self, path: Path, max_bytes: int, when_full: WhenFull = WhenFull.REFUSE_NEWEST
    ) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._when_full = when_full
        self._lock = threading.Lock()
        path.parent.mkdir(parents=True, exist_ok=True)
        self._database = _open(path)
        (self._bytes,) = self._database.execute(
            "SELECT coalesce(sum(size), 0) FROM messages"
        ).fetchone()

    def append(self, messages: Sequence[NewMessage]) -> list[int]:
        """Keep all of the messages, or raise and keep none; the sequence numbers they have got."""
        with self._lock:
            sequences, size, dropped = [], self._bytes, 0
            with self._transaction() as database:
                for message in messages:
                    sequence, added = _insert(database, message)
                    sequences.append(sequence)
                    size += added
                while size > self._max_bytes and self._when_full is WhenFull.DROP_OLDEST:
                    size -= _drop_oldest(database)
                    dropped += 1
                if size > self._max_bytes:
                    raise QueueFullError(
                        f"{self._path} holds {self._bytes} of {self._max_bytes} bytes; "
                        f"{len(messages)} more messages were not queued"
                    )
                if dropped:
                    database.execute("UPDATE dropped SET count = count + ?", (dropped,))
            self._bytes = size
        return sequences

    def oldest(self, limit: int) -> list[QueuedMessage]:
        """The next messages to send, oldest first."""
        with self._lock:
            rows = self._database.execute(
                "SELECT number, topic, payload FROM messages ORDER BY number LIMIT ?", (limit,)
            )
            return [QueuedMessage(*row) for row in rows]

    def remove(self, messages: Sequence[QueuedMessage]) -> None:
        """Forget messages that are acknowledged; no error if one was dropped meanwhile."""
        with self._lock:
            size = self._bytes
            with self._transaction() as database:
                for message in messages:
                    size -= _delete(database, message.number)
            self._bytes = size

    def __len__(self) -> int:
        with self._lock:
            (count,) = self._database.execute("SELECT count(*) FROM messages").fetchone()
            return int(count)

    @property
    def dropped(self) -> int:
        """How many messages have ever been dropped for want of room."""
        with self._lock:
            (count,) = self._database.execute("SELECT count FROM dropped").fetchone()
            return int(count)

    def close(self) -> None:
        """Let another process open the queue."""
        with self._lock:
            self._database.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """All or nothing, for whoever holds the lock."""
        try:
            self._database.execute("BEGIN IMMEDIATE")
            yield self._database
            self._database.execute("COMMIT")
        except BaseException as error:  # Ctrl-C too: nothing half done; raised again
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")
            if _is(error, sqlite3.SQLITE_FULL):
                raise QueueFullError(f"no room on the disk of {self._path}") from error
            raise


def _open(path: Path) -> sqlite3.Connection:
    # Autocommit: transactions are begun and ended by `_transaction` alone.
    database = sqlite3.connect(path, timeout=0, autocommit=True, check_same_thread=False)
    try:
        # Held until it is closed or the process ends, however it ends.
        database.execute("PRAGMA locking_mode = EXCLUSIVE")
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
        # On a Mac only this reaches the medium: https://www.sqlite.org/pragma.html#pragma_fullfsync
        database.execute("PRAGMA fullfsync = ON")
        _check(database)
        database.executescript(_SCHEMA)
    except sqlite3.DatabaseError as error:
        database.close()
        if _is(error, sqlite3.SQLITE_BUSY):
            raise QueueInUseError(f"{path} is in use by another process") from None
        raise QueueDamagedError(
            f"{path} can't be read ({error}); move it away to start with an empty queue"
        ) from error
    return database


def _check(database: sqlite3.Connection) -> None:
    (state,) = database.execute("PRAGMA quick_check(1)").fetchone()
    if state != "ok":
        raise sqlite3.DatabaseError(state)


def _insert(database: sqlite3.Connection, message: NewMessage) -> tuple[int, int]:
    (sequence,) = database.execute(_NEXT_SEQUENCE, (message.device_id,)).fetchone()
    payload = message.make_payload(sequence)
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise MessageTooLargeError(
            f"a reading of {message.device_id} has {len(payload)} bytes; "
            f"the broker takes {MAX_PAYLOAD_BYTES}"
        )
    (size,) = database.execute(
        "INSERT INTO messages (topic, payload) VALUES (?, ?) RETURNING size",
        (message.topic, payload),
    ).fetchone()
    return sequence, size


def _drop_oldest(database: sqlite3.Connection) -> int:
    (number,) = database.execute("SELECT min(number) FROM messages").fetchone()
    return _delete(database, number)


def _delete(database: sqlite3.Connection, number: int) -> int:
    row = database.execute(
        "DELETE FROM messages WHERE number = ? RETURNING size", (number,)
    ).fetchone()
    return int(row[0]) if row else 0


def _is(error: BaseException, code: int) -> bool:
    # Only what SQLite itself has raised has a code; its lowest byte is the kind.
    found = getattr(error, "sqlite_errorcode", None)
    return found is not None and found & 0xFF == code
