"""What is wrong with a table of a run folder before anything is computed from it.

A folder may come from anyone: names must be fit to be printed, numbers to be computed with, and no
column may hold what is neither.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from stage1.faults import shown
from stage1.run_space import LONGEST_NAME
from stage1.run_tables import TEXT, TIME, Column

FILE_NAMES = ("trial_id", "arm", "config_id")
"""Columns from which a study that is resumed makes names of files."""
LONGEST_FILE_NAME = 250
"""Characters of each of them; a file system takes no more."""
MOST_ROWS = 20_000_000
"""Of a table; a file of few bytes can claim more than any memory holds."""
LARGEST = 1e100
"""Sums of squares of 32-bit floats are smaller, and sums of its own squares still finite."""

LAST_SECOND = 7_258_118_399
"""Of the year 2199, in unix seconds."""
_TICKS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


def table_faults(table: pa.Table, columns: Sequence[Column]) -> Iterator[str]:
    """The rules that a table breaks, each with its column and what is there instead.

    Types that can be converted, values that are not allowed and missing columns are not looked at.
    """
    for name, times in Counter(table.column_names).items():
        if times > 1:
            yield f"must have each column once, got {shown(name)} {times} times"
        elif not name.isprintable() or len(name) > LONGEST_NAME:
            yield f"must have columns with a name of one line, got {shown(name)}"
        else:
            yield from _column_faults(name, table.column(name), _column_of(name, columns))


def _column_of(name: str, columns: Sequence[Column]) -> Column | None:
    fitting = [
        c for c in columns if c.name == name or (c.is_family and name.startswith(c.name[:-1]))
    ]
    return fitting[0] if fitting else None


def _column_faults(name: str, values: pa.ChunkedArray, column: Column | None) -> Iterator[str]:
    if column is None:
        return
    kind = values.type
    is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    is_number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)
    is_time = pa.types.is_timestamp(kind) and column.type == TIME
    if not (is_text or is_number or is_time or pa.types.is_null(kind)):
        yield f"{name} must be text, numbers or truth values, got {shown(str(kind))}"
    elif pa.types.is_floating(kind):
        values = values.cast(pa.float64())
        good = pc.less_equal(pc.abs(values), LARGEST)
        yield from _first(name, values, pc.or_(good, pc.is_nan(values)), "a finite number")
    elif is_time:
        ticks, end = values.cast(pa.int64()), LAST_SECOND * _TICKS[kind.unit]
        good = pc.and_(pc.greater_equal(ticks, 0), pc.less_equal(ticks, end))
        yield from _first(name, ticks, good, f"a time from 1970 to 2199, in {kind.unit}")
    elif is_text and column.required and column.type == TEXT:
        most = LONGEST_FILE_NAME if name in FILE_NAMES else LONGEST_NAME
        short = pc.less_equal(pc.utf8_length(values), most)
        one_line = pc.and_(short, pc.utf8_is_printable(values))
        yield from _first(name, values, one_line, f"a line of at most {most:,} characters")
        if name in FILE_NAMES:
            good = pc.invert(pc.match_substring_regex(values, r"[/\\]|^\.+$|^$"))
            yield from _first(name, values, good, "a part of a file name, without slashes")


def _first(name: str, values: pa.ChunkedArray, good: pa.ChunkedArray, rule: str) -> Iterator[str]:
    """The first value that is not good, if any; a missing one is judged elsewhere."""
    place = pc.index(good, value=pa.scalar(False)).as_py()
    if place >= 0:
        value = values[place].as_py()
        told = str(value) if isinstance(value, float) and not math.isfinite(value) else shown(value)
        yield f"{name} must be {rule}, got {told}"
