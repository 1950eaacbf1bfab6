"""Where objects lie in the raw and rejected zones.

`<prefix>ingest_date=YYYY-MM-DD/ingest_hour=HH/<shard>-<first>-<last>-<digest>.parquet`: the hour is
the one in which the object is written, so that an hour is closed once it and the function's timeout
are over. First and last sequence number and the digest of the object's own bytes keep differently
cut batches apart: with the first number alone a slower, shorter attempt replaces a longer one.
"""

from datetime import UTC, datetime
from typing import Final

RAW_PREFIX: Final = "raw_data/"
REJECTED_PREFIX: Final = "rejected_data/"

_DIGEST_CHARACTERS: Final = 16


def hour_folder(prefix: str, written_at: datetime) -> str:
    """The folder of the hour (UTC) in which an object is written, with a slash at its end."""
    hour = written_at.astimezone(UTC)
    return f"{prefix}ingest_date={hour:%Y-%m-%d}/ingest_hour={hour:%H}/"


def object_key(
    prefix: str, written_at: datetime, first_position: str, last_position: str, digest: str
) -> str:
    """The key of a batch's object.

    Positions are `<shard>:<sequence>` of the batch's first and last record; `digest` is the
    hexadecimal SHA-256 of the object's bytes.
    """
    shard, _, first = first_position.rpartition(":")
    last = last_position.rpartition(":")[2]
    name = f"{shard}-{first}-{last}-{digest[:_DIGEST_CHARACTERS]}.parquet"
    return hour_folder(prefix, written_at) + name
