"""Whole runs over small lakes."""

from datetime import timedelta

from tests.spark.lake import NOON, Lake, raw_row


def test_curates_each_reading_once(lake: Lake) -> None:
    lake.put([raw_row("a", temperature=20.0), raw_row("b", temperature=21.0)])
    lake.put([raw_row("a", temperature=20.0), raw_row("c", status=" On  The-Way ")])
    account = lake.run()
    assert (account.rows_in, account.curated, account.duplicates, account.dropped) == (4, 3, 1, 0)
    assert lake.readings("device_id", "status") == [
        ("a", None),
        ("b", None),
        ("c", "on_the_way"),
    ]
    again = lake.run()
    assert (again.rows_in, again.curated) == (0, 0)
    lake.put(
        [
            raw_row("a", temperature=20.0),
            raw_row("d", temperature=21.0, event_time=NOON - timedelta(days=400)),
        ]
    )
    third = lake.run()
    assert (third.rows_in, third.curated, third.duplicates, third.late) == (2, 1, 1, 0)
