"""Figures of a fleet in a lake that others use too."""

import duckdb

from local.demo.fleet_figures import own_duplicates


def test_duplicates_of_other_devices_and_of_replays_are_not_the_fleets() -> None:
    connection = duckdb.connect()
    connection.execute(
        """CREATE TABLE curation_runs AS SELECT * FROM (VALUES
            ('schedule', 30, 2), ('schedule', 12, 1), ('replay', 500, 0)
        ) AS runs(kind, duplicates, dropped)"""
    )
    connection.execute("CREATE TABLE readings AS SELECT * FROM range(1000)")
    # Others have 625 rows in raw, 600 readings and 3 dropped, hence 22 of the 42.
    assert own_duplicates(connection, others=625, curated=400) == 20
    # Alone in the lake.
    assert own_duplicates(connection, others=3, curated=1000) == 42
