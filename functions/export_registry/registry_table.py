"""The Iceberg table `device_registry`: read for what holds, and appended to in one commit.

Guarantee: an append that another writer came before is refused by the catalogue and raised, so that
the export is tried again from what is there then.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa
from pyiceberg.catalog import Catalog, load_catalog
from pyiceberg.exceptions import NoSuchTableError
from pyiceberg.table import Table

from export_registry.changes import Known, Row

TABLE: Final = "device_registry"
# The curation job's REGISTRY_COLUMNS; tests/template holds the two together.
SCHEMA: Final = pa.schema(
    [
        ("device_id", pa.string()),
        ("valid_from", pa.timestamp("us", tz="UTC")),
        ("model", pa.string()),
        ("site", pa.string()),
        ("owner", pa.string()),
        ("attributes", pa.map_(pa.string(), pa.string())),
    ]
)
# As the curation job makes its tables: Athena can't read version 3, and old metadata would stay.
_PROPERTIES: Final = {"format-version": "2", "write.metadata.delete-after-commit.enabled": "true"}


def catalogue_of(session: Any) -> Catalog:
    """The account's Glue catalogue as PyIceberg sees it, at the endpoints that the SDK takes."""
    keys = session.get_credentials().get_frozen_credentials()
    return load_catalog(
        "lake",
        type="glue",
        **{
            "client.region": session.region_name,
            "client.access-key-id": keys.access_key,
            "client.secret-access-key": keys.secret_key,
            **({"client.session-token": keys.token} if keys.token else {}),
            "glue.endpoint": session.client("glue").meta.endpoint_url,
            "s3.endpoint": session.client("s3").meta.endpoint_url,
        },
    )


@dataclass(frozen=True, slots=True)
class RegistryTable:
    """The table of one database; it is made when the first row is appended."""

    catalogue: Catalog
    database_name: str
    location: str

    def rows(self) -> Iterator[Row]:
        """Every row; none before there is a table."""
        table = self._table()
        if table is None:
            return
        for batch in table.scan(selected_fields=tuple(_columns_of(table))).to_arrow_batch_reader():
            for row in batch.to_pylist():
                if row["device_id"] is not None:
                    yield _row(row)

    def append(self, rows: Iterable[Row]) -> None:
        """Append in one commit; nothing is committed for no rows."""
        content = pa.Table.from_pylist([_columns(row) for row in rows], SCHEMA)
        if content.num_rows == 0:
            return
        table = self._table() or self.catalogue.create_table(
            (self.database_name, TABLE), SCHEMA, location=self.location, properties=_PROPERTIES
        )
        table.append(_as_in(table, content))

    def _table(self) -> Table | None:
        try:
            return self.catalogue.load_table((self.database_name, TABLE))
        except NoSuchTableError:
            return None


def _as_in(table: Table, content: pa.Table) -> pa.Table:
    """The content by the table's own types: whoever made it may have said more of them (that a
    device's id is never null), which PyIceberg wants to see."""
    columns, types = _columns_of(table), table.schema().as_arrow()
    return content.select(columns).cast(pa.schema([types.field(name) for name in columns]))


def _columns_of(table: Table) -> list[str]:
    """Those of ours that it has. One that an earlier version made lacks some until the job adds
    them in its next run; what they hold is a change to the export after that."""
    present = {each.name for each in table.schema().fields}
    return [name for name in SCHEMA.names if name in present]


def _row(row: dict[str, Any]) -> Row:
    known = Known(
        model=row.get("model"),
        site=row.get("site"),
        owner=row.get("owner"),
        attributes=dict(row.get("attributes") or ()),
    )
    return Row(row["device_id"], row.get("valid_from"), known)


def _columns(row: Row) -> dict[str, Any]:
    known = row.known
    return {
        "device_id": row.device_id,
        "valid_from": row.valid_from,
        "model": known.model,
        "site": known.site,
        "owner": known.owner,
        # No attributes are null, as they are to who fills the table by hand.
        "attributes": sorted(known.attributes.items()) or None,
    }
