"""What a Parquet object's footer says, in the types of the Glue catalogue.

Used by the crawler alone. Only footers are fetched, so a crawl costs the same for small and
large objects.
"""

from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

Column = dict[str, str]
TAIL_BYTES = 64 * 1024  # a footer of some 35 columns takes about 8 kB
_PARQUET_MAGIC_BYTES = 8  # the footer's length and "PAR1" end the file


def columns_of(schema: pa.Schema) -> list[Column]:
    """A Parquet schema's columns in Glue's names (lower case) and types."""
    return [{"Name": field.name.lower(), "Type": glue_type(field.type)} for field in schema]


def glue_type(kind: pa.DataType) -> str:
    """The Hive type that a crawler gives a Parquet column. Raises ValueError when it has none."""
    if pa.types.is_timestamp(kind):
        return "timestamp"
    if pa.types.is_decimal(kind):
        return f"decimal({kind.precision},{kind.scale})"
    if pa.types.is_map(kind):
        return f"map<{glue_type(kind.key_type)},{glue_type(kind.item_type)}>"
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return f"array<{glue_type(kind.value_type)}>"
    if pa.types.is_struct(kind):
        inner = ",".join(f"{f.name.lower()}:{glue_type(f.type)}" for f in kind)
        return f"struct<{inner}>"
    try:
        return _SIMPLE_TYPES[str(kind)]
    except KeyError:
        raise ValueError(f"no Glue type for Parquet column type {kind}") from None


_SIMPLE_TYPES = {
    "string": "string",
    "large_string": "string",
    "binary": "binary",
    "large_binary": "binary",
    "bool": "boolean",
    "int8": "tinyint",
    "int16": "smallint",
    "int32": "int",
    "int64": "bigint",
    "float": "float",
    "double": "double",
    "date32[day]": "date",
}
_WIDER = {
    frozenset(("tinyint", "smallint")): "smallint",
    frozenset(("tinyint", "int")): "int",
    frozenset(("smallint", "int")): "int",
    frozenset(("int", "bigint")): "bigint",
    frozenset(("float", "double")): "double",
}


def merge_columns(left: list[Column], right: list[Column]) -> list[Column]:
    """Columns of both, `left` first, types widened where they differ.

    Raises ValueError when a column's types can't hold each other.
    """
    types = {column["Name"]: column["Type"] for column in left}
    for column in right:
        name, kind = column["Name"], column["Type"]
        known = types.get(name, kind)
        if known != kind:
            wider = _WIDER.get(frozenset((known, kind)))
            if wider is None:
                raise ValueError(f"column {name} is {known} here and {kind} there")
            kind = wider
        types[name] = kind
    return [{"Name": name, "Type": kind} for name, kind in types.items()]


def read_schema(s3: Any, bucket: str, key: str) -> pa.Schema:
    """The schema in a Parquet object's footer, fetched from its end only.

    Raises pa.ArrowInvalid when the object is not Parquet.
    """
    tail = s3.get_object(Bucket=bucket, Key=key, Range=f"bytes=-{TAIL_BYTES}")["Body"].read()
    footer = int.from_bytes(tail[-8:-4], "little") + _PARQUET_MAGIC_BYTES
    if tail[-4:] == b"PAR1" and footer > len(tail):
        tail = s3.get_object(Bucket=bucket, Key=key, Range=f"bytes=-{footer}")["Body"].read()
    return pq.read_schema(pa.BufferReader(tail))
