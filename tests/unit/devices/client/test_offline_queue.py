"""The queue on disk: what it has taken is there after anything, in order, each with its number."""

import json
import random
import shutil
from pathlib import Path

import pytest

from devices.client.offline_queue import (
    MAX_PAYLOAD_BYTES,
    MessageTooLargeError,
    NewMessage,
    OfflineQueue,
    QueueDamagedError,
    QueueFullError,
    QueueInUseError,
    WhenFull,
)

ROOMY = 1_000_000
TOPIC = "dt/fleet/d1/telemetry"
# A message of the tests below has 100 bytes.
PAYLOAD_BYTES = 100 - len(TOPIC)


def numbered(sequence: int) -> bytes:
    return json.dumps({"sequence": sequence}).encode().ljust(PAYLOAD_BYTES)


def message(device_id: str = "d1") -> NewMessage:
    return NewMessage(device_id, TOPIC, numbered)


def fill(queue: OfflineQueue, count: int) -> list[int]:
    return [sequence for _ in range(count) for sequence in queue.append([message()])]


def sequences(queue: OfflineQueue) -> list[int]:
    return [json.loads(one.payload)["sequence"] for one in queue.oldest(10_000)]


def crashed(path: Path, folder: Path) -> Path:
    """What a kill at this moment would leave on disk."""
    folder.mkdir()
    for file in path.parent.glob(f"{path.name}*"):
        shutil.copy(file, folder)
    return folder / path.name


def test_messages_come_out_in_the_order_in_which_they_went_in(tmp_path: Path) -> None:
    queue = OfflineQueue(tmp_path / "q", ROOMY)
    assert fill(queue, 5) == [1, 2, 3, 4, 5]
    queue.remove(queue.oldest(2))
    assert sequences(queue) == [3, 4, 5]
    assert [one.topic for one in queue.oldest(1)] == [TOPIC]
    assert len(queue) == 3


def test_a_queue_that_was_closed_goes_on_where_it_was(tmp_path: Path) -> None:
    path = tmp_path / "made" / "on" / "the" / "way" / "q"
    queue = OfflineQueue(path, ROOMY)
    fill(queue, 3)
    queue.remove(queue.oldest(3))
    queue.close()
    again = OfflineQueue(path, ROOMY)
    assert len(again) == 0
    # Not from 1: numbers of readings that are long acknowledged are never given again.
    assert fill(again, 2) == [4, 5]


def test_a_queue_whose_process_was_killed_has_all_that_was_taken(tmp_path: Path) -> None:
    queue = OfflineQueue(tmp_path / "q", ROOMY)
    fill(queue, 10)
    queue.remove(queue.oldest(4))
    again = OfflineQueue(crashed(tmp_path / "q", tmp_path / "after"), ROOMY)
    assert sequences(again) == [5, 6, 7, 8, 9, 10]
    assert fill(again, 1) == [11]


def test_each_device_has_its_own_sequence(tmp_path: Path) -> None:
    queue = OfflineQueue(tmp_path / "q", ROOMY)
    assert queue.append([message("a"), message("b"), message("a")]) == [1, 1, 2]
    assert queue.append([message("b")]) == [2]


def test_syncs_at_every_append(tmp_path: Path) -> None:
    queue = OfflineQueue(tmp_path / "q", ROOMY)
    settings = {
        name: queue._database.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("synchronous", "journal_mode", "fullfsync")
    }
    # 2 is FULL: https://www.sqlite.org/pragma.html#pragma_synchronous
    assert settings == {"synchronous": 2, "journal_mode": "wal", "fullfsync": 1}


def test_what_a_power_cut_tore_is_cut_off_and_all_before_it_is_there(tmp_path: Path) -> None:
    path = tmp_path / "q"
    queue = OfflineQueue(path, ROOMY)
    log = tmp_path / "q-wal"
    ends = [log.stat().st_size]
    for _ in range(6):
        fill(queue, 1)
        ends.append(log.stat().st_size)
    whole = log.read_bytes()
    noise = random.Random(4)
    cuts = {end + off for end in ends for off in (-1, 0, 1, 25, 2_000)} | {ends[0] + 4_097}
    for number, cut in enumerate(sorted(cut for cut in cuts if ends[0] <= cut <= len(whole))):
        expected = list(range(1, sum(end <= cut for end in ends)))
        tails = {
            "missing": whole[:cut],
            "noise": whole[:cut] + noise.randbytes(len(whole) - cut),
            "zeros": whole[:cut].ljust(len(whole), b"\0"),
        }
        for kind, torn in tails.items():
            image = crashed(path, tmp_path / f"{kind}-{number}")
            image.with_name("q-wal").write_bytes(torn)
            again = OfflineQueue(image, ROOMY)
            assert sequences(again) == expected, (kind, cut)
            assert fill(again, 1) == [len(expected) + 1]
            again.close()


def test_a_turned_bit_in_the_last_transaction_takes_that_one_alone(tmp_path: Path) -> None:
    queue = OfflineQueue(tmp_path / "q", ROOMY)
    fill(queue, 3)
    log = tmp_path / "q-wal"
    start = log.stat().st_size
    fill(queue, 1)
    whole = log.read_bytes()
    for place in range(start, len(whole), 997):
        turned = bytearray(whole)
        turned[place] ^= 1
        image = crashed(tmp_path / "q", tmp_path / f"at-{place}")
        image.with_name("q-wal").write_bytes(turned)
        again = OfflineQueue(image, ROOMY)
        assert sequences(again) == [1, 2, 3]
        again.close()


def test_a_full_queue_refuses_what_is_new_and_uses_no_number_up(tmp_path: Path) -> None:
    queue = OfflineQueue(tmp_path / "q", 350)
    fill(queue, 3)
    with pytest.raises(QueueFullError, match="holds 300 of 350 bytes; 2 more messages"):
        queue.append([message(), message()])
    assert sequences(queue) == [1, 2, 3]
    queue.remove(queue.oldest(1))
    assert fill(queue, 1) == [4]
    assert (len(queue), queue.dropped) == (3, 0)


def test_a_full_queue_that_drops_the_oldest_counts_them(tmp_path: Path) -> None:
    queue = OfflineQueue(tmp_path / "q", 350, WhenFull.DROP_OLDEST)
    assert fill(queue, 5) == [1, 2, 3, 4, 5]
    assert (sequences(queue), queue.dropped) == ([3, 4, 5], 2)
    queue.append([message()] * 10)
    assert (sequences(queue), queue.dropped) == ([13, 14, 15], 12)
    queue.close()
    again = OfflineQueue(tmp_path / "q", 350, WhenFull.DROP_OLDEST)
    assert (fill(again, 1), again.dropped) == ([16], 13)


def test_a_message_that_was_dropped_while_it_was_sent_frees_its_room_once(tmp_path: Path) -> None:
    queue = OfflineQueue(tmp_path / "q", 350, WhenFull.DROP_OLDEST)
    fill(queue, 3)
    sending = queue.oldest(2)
    fill(queue, 1)
    queue.remove(sending)
    assert sequences(queue) == [3, 4]
    fill(queue, 1)
    assert (sequences(queue), queue.dropped) == ([3, 4, 5], 1)


def test_of_several_messages_all_are_taken_or_none(tmp_path: Path) -> None:
    queue = OfflineQueue(tmp_path / "q", ROOMY)
    large = NewMessage("d1", TOPIC, lambda _: b"x" * (MAX_PAYLOAD_BYTES + 1))
    with pytest.raises(MessageTooLargeError, match=r"131073 bytes; the broker takes 131072"):
        queue.append([message(), large, message()])
    assert len(queue) == 0
    assert fill(queue, 1) == [1]


def test_a_full_disk_is_a_full_queue(tmp_path: Path) -> None:
    queue = OfflineQueue(tmp_path / "q", ROOMY)
    fill(queue, 1)
    (pages,) = queue._database.execute("PRAGMA page_count").fetchone()
    queue._database.execute(f"PRAGMA max_page_count = {pages}")
    large = NewMessage("d1", TOPIC, lambda _: b"x" * 50_000)
    with pytest.raises(QueueFullError, match="no room on the disk"):
        queue.append([large])
    assert sequences(queue) == [1]
    assert fill(queue, 1) == [2]


def test_a_queue_that_is_open_is_refused_until_it_is_closed(tmp_path: Path) -> None:
    queue = OfflineQueue(tmp_path / "q", ROOMY)
    with pytest.raises(QueueInUseError, match="in use by another process"):
        OfflineQueue(tmp_path / "q", ROOMY)
    assert fill(queue, 1) == [1]
    queue.close()
    OfflineQueue(tmp_path / "q", ROOMY).close()


def test_a_file_that_is_no_queue_is_named(tmp_path: Path) -> None:
    path = tmp_path / "q"
    path.write_bytes(b"not a database at all, but long enough to be read as one" * 100)
    with pytest.raises(QueueDamagedError, match="move it away"):
        OfflineQueue(path, ROOMY)


def test_a_damaged_page_is_found_when_the_queue_is_opened(tmp_path: Path) -> None:
    path = tmp_path / "q"
    queue = OfflineQueue(path, ROOMY)
    fill(queue, 200)
    queue.close()
    body = path.read_bytes()
    path.write_bytes(body[:4_096] + b"\xff" * (len(body) - 4_096))
    with pytest.raises(QueueDamagedError):
        OfflineQueue(path, ROOMY)
