"""Parquet files of any origin, read without letting a few bytes of them fill the memory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

MOST_BYTES = 2**30
"""That a table may take in memory, whatever the size of its file."""
MOST_TIMES = 50
"""The size of its file that it may take else: what was measured repeats far less."""


def read_parquet_table(file: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Read a Parquet file, or some of its columns, unless it would take absurdly much memory.

    A value that repeats lies in the file once, so some kilobytes can hold gigabytes, and what the
    file says of its size is that of what lies there. Numbers are therefore counted by their rows;
    text is read as it lies there, each value once, and counted before it is spread out.

    Raises:
        OSError, pa.ArrowException: The file cannot be read.
        ValueError: It takes too much memory, or a column has lists in it.
    """
    size = file.stat().st_size
    with pq.ParquetFile(file) as stored:
        metadata, schema = stored.metadata, stored.schema_arrow
    if columns is not None:
        schema = pa.schema(one for name in columns for one in schema if one.name == name)
    groups = [metadata.row_group(place) for place in range(metadata.num_row_groups)]
    require_fitting(sum(map(_width, schema)) * metadata.num_rows, size)
    require_fitting(sum(group.total_byte_size for group in groups), size)
    texts = [one.name for one in schema if _is_text(one.type)]
    with pq.ParquetFile(file, read_dictionary=texts) as stored:
        table = stored.read(columns)
    require_fitting(table.nbytes + text_bytes(table), size)
    return table.cast(schema)


def require_fitting(needed: int, file_size: int) -> None:
    """Raise ValueError for a table that takes absurdly much memory; both are in bytes."""
    most = max(MOST_BYTES, MOST_TIMES * file_size)
    if needed > most:
        raise ValueError(f"{needed:,} bytes of memory are needed, more than the {most:,} allowed")


def text_bytes(table: pa.Table | pa.RecordBatch) -> int:
    """Bytes of the columns of text that lie there as dictionaries, once they are spread out."""
    total = 0
    for column in table.columns:
        if pa.types.is_dictionary(column.type) and _is_text(column.type.value_type):
            for chunk in getattr(column, "chunks", [column]):
                lengths = pc.binary_length(chunk.dictionary)
                total += pc.sum(lengths.take(chunk.indices)).as_py() or 0
    return total


def _is_text(kind: pa.DataType) -> bool:
    tests = (pa.types.is_string, pa.types.is_binary, pa.types.is_large_string)
    return any(test(kind) for test in (*tests, pa.types.is_large_binary))


def _width(column: pa.Field) -> int:
    """Bytes of a value; of a text, of its number in the dictionary."""
    kind = getattr(column.type, "storage_type", column.type)
    if pa.types.is_nested(kind):
        raise ValueError(f"column {column.name} must hold single values, got {kind}")
    if pa.types.is_null(kind):
        return 1
    return 4 if _is_text(kind) or pa.types.is_dictionary(kind) else kind.bit_width // 8 or 1
