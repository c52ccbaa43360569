"""Parquet files: written atomically, and read from untrusted sources with limits.

A kilobyte of Parquet may expand to terabytes. So rows are read one at a time, a text that many rows share is held in
memory once, and the sizes of a cell and of a row group are limited.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import IO, Any

from mvp_data.system.files import atomic_write

MAX_GROUP_BYTES = 1 << 30  # uncompressed size of one row group, as stated in the metadata
_BATCH_ROWS = 1024


def open_parquet(file: IO[bytes]) -> Any:
    """Open a `pyarrow.parquet.ParquetFile` for `scalars`.

    Raises `ValueError` for a row group over the limit, and the errors of pyarrow for a damaged file.
    """
    import pyarrow.parquet as pq

    facts = pq.read_metadata(file)
    columns = [facts.schema.column(i) for i in range(facts.num_columns)]
    for number in range(facts.num_row_groups):
        size = facts.row_group(number).total_byte_size  # not the sizes of columns: pyarrow crashes on damaged ones
        if not 0 <= size <= MAX_GROUP_BYTES:
            raise ValueError(f"row group {number} has {size} bytes, the limit is {MAX_GROUP_BYTES}: write smaller ones")
    file.seek(0)
    return pq.ParquetFile(file, read_dictionary=[c.path for c in columns if c.physical_type == "BYTE_ARRAY"])


def scalars(table: Any) -> Iterator[tuple[Any, ...]]:
    """The rows as `pyarrow.Scalar`s, not yet converted to Python values."""
    for batch in table.iter_batches(batch_size=_BATCH_ROWS):
        yield from zip(*batch.columns, strict=True)


def plain_value(scalar: Any, limit: int) -> Any:
    """A cell as Python values; `ValueError` for more than about `limit` characters and numbers."""
    return _value(scalar, [limit])


def _value(scalar: Any, left: list[int]) -> Any:
    import pyarrow as pa

    left[0] -= 2  # each value takes at least two characters of JSON
    if left[0] < 0:
        raise ValueError("a cell is too large")
    if isinstance(scalar, pa.MapScalar):
        return None if scalar.values is None else [list(_value(item, left).values()) for item in scalar.values]
    if isinstance(scalar, pa.ListScalar | pa.LargeListScalar | pa.FixedSizeListScalar):
        return None if scalar.values is None else [_value(item, left) for item in scalar.values]
    if isinstance(scalar, pa.StructScalar) and scalar.is_valid:
        return {name: _value(item, left) for name, item in scalar.items()}
    found = scalar.as_py()
    left[0] -= len(found) if isinstance(found, str | bytes) else 0
    return found


def schema_of(*row_types: type, integer_bits: int = 32, metadata: Mapping[bytes, bytes] | None = None) -> Any:
    """An Arrow schema with one column for each text, number or boolean field of the dataclasses."""
    import pyarrow as pa

    integer = pa.int64() if integer_bits == 64 else pa.int32()
    kinds: dict[Any, Any] = {str: pa.string(), int: integer, float: pa.float64(), bool: pa.bool_()}
    columns = [(f.name, kinds[f.type]) for row_type in row_types for f in fields(row_type) if f.type in kinds]
    return pa.schema(columns, metadata=metadata)


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]], schema: Any) -> None:
    """Write a Parquet file atomically; values without a column in `schema` are dropped."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with atomic_write(path) as file:
        pq.write_table(pa.Table.from_pylist(rows, schema=schema), file)
