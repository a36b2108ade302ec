"""Parquet files as chance or malice damages them."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from fuzz import ANY_BYTES, damaged_bytes
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

INTEGERS = (None, 0, 1, -1, 4, 1514862240, 1514862300, 2**53, 2**62, -(2**63), 2**63 - 1)
FLOATS = (
    *(None, 0.0, -1.0, 0.9, 1.0, 1e-9, 5e-324, 1514862240.0, 1e99, -1e99, 1e308, -1e308),
    *(float("nan"), float("inf"), float("-inf")),
)
TEXTS = (
    *(None, "", "x", "a\nb", "\x1b[31m", "\0", "<b>", "|", "$x$", "[/]", "../x", "é", "\u202e"),
    *("x" * 5000, "design", "search", "completed", "failed", "diverged", "pretrained", "random"),
    *("c0", "c1", "m1", "m5", "open", "close"),
)
UNITS, ZONES = ("s", "ms", "us", "ns"), (None, "UTC", "Europe/Berlin")
NAMES = ("x", "", "\0", "a\nb", "index", "timestamp", "close", "param.", "param.x", "param.a\nb")
METADATA = (b"", b"{}", b"x", b'{"index_columns": ["seed"], "columns": [], "column_indexes": []}')


def odd_columns(length: int) -> list[pa.Array]:
    """A column of every type that no table of ours has."""
    return [
        pa.nulls(length),
        pa.array([True] * length, pa.bool_()),
        pa.array([[1.0]] * length, pa.list_(pa.float64())),
        pa.array([{"a": 1}] * length, pa.struct([("a", pa.int64())])),
        pa.array([b"x"] * length, pa.binary()),
        pa.array(["x"] * length, pa.string()).dictionary_encode(),
        pa.array(["x"] * length, pa.large_string()),
        pa.array([1] * length, pa.decimal128(5)),
        pa.array([1] * length, pa.date32()),
        pa.array([1] * length, pa.duration("s")),
        pa.array([2**64 - 1] * length, pa.uint64()),
        pa.array(np.ones(length, np.float16)),
    ]


@st.composite
def columns(draw: DrawFn, length: int) -> pa.Array:
    """Any column: numbers, texts, times, or of a type that no table of ours has."""
    kind = draw(st.sampled_from(["integers", "floats", "floats", "texts", "texts", "times", "odd"]))
    if kind == "odd":
        return draw(st.sampled_from(odd_columns(length)))
    pool: Sequence[Any] = {"floats": FLOATS, "texts": TEXTS}.get(kind, INTEGERS)
    known = draw(st.lists(st.sampled_from(pool), min_size=min(length, 1), max_size=min(length, 8)))
    values = [known[place % len(known)] for place in range(length)]
    if kind == "times":
        stamps = pa.array(values, pa.int64())
        return stamps.cast(
            pa.timestamp(draw(st.sampled_from(UNITS)), draw(st.sampled_from(ZONES))), safe=False
        )
    types = {"integers": pa.int64(), "floats": pa.float64(), "texts": pa.string()}
    return pa.array(values, types[kind])


@st.composite
def damaged_table(draw: DrawFn, whole: pa.Table) -> bytes:
    """A Parquet file whose columns were replaced, lost, doubled or renamed, or its rows lost."""
    table = whole
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, table.num_columns - 1))
        name = table.column_names[place]
        match draw(st.sampled_from([*["replace"] * 5, "add", "drop", "double", "rename", "rows"])):
            case "replace":
                table = table.set_column(place, name, draw(columns(len(table))))
            case "add":
                table = table.append_column(draw(st.sampled_from(NAMES)), draw(columns(len(table))))
            case "drop" if table.num_columns > 1:
                table = table.remove_column(place)
            case "double":
                table = table.append_column(name, table.column(place))
            case "rename":
                other = draw(st.sampled_from(NAMES))
                names = [other if column == name else column for column in table.column_names]
                table = table.rename_columns(names)
            case "rows":
                table = table.slice(0, draw(st.integers(0, 2)))
    if draw(st.booleans()):
        key = draw(st.sampled_from([b"pandas", b"ARROW:schema"]))
        table = table.replace_schema_metadata({key: draw(st.sampled_from(METADATA))})
    return as_parquet(table)


def as_parquet(table: pa.Table) -> bytes:
    """The bytes of a table's file; none where no file can hold it."""
    stream = io.BytesIO()
    try:
        pq.write_table(table, stream)
    except (pa.ArrowException, ValueError):
        return b""
    return stream.getvalue()


def damaged_parquet(table: pa.Table, others: Sequence[bytes] = ()) -> SearchStrategy[bytes]:
    """A damaged table, damaged bytes of its file, other files in its place, arbitrary bytes."""
    spoiled = damaged_table(table)
    bytes_ = damaged_bytes([as_parquet(table)])
    return st.one_of(spoiled, spoiled, spoiled, bytes_, st.sampled_from([b"", *others]), ANY_BYTES)
