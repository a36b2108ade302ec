"""Any regular series: its columns read from a file, its rows numbered by their step.

Inside, a step counts as a minute: the row of step n opens at 60 n seconds, whatever its step is by
the clock or the calendar. So windows, hiding and gaps are those of bars.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pyarrow as pa

from stage1.base.errors import DataError
from stage1.base.steps import Step
from stage1.base.text import brief, shown
from stage1.data.bars import UNREADABLE, Rows, faults_where
from stage1.data.csv_dialects import TIME, require_channels
from stage1.data.csv_reader import read_series_csv
from stage1.data.store import is_table, read_parquet, read_schema
from stage1.data.times import UTC, Clock

EXAMPLES = 1000
"""Rows among which an example of a column's cells is looked for."""
_NUMBERS = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal)
_DECIMAL_COMMA = re.compile(r"[+-]?[\d.]*,\d+")


def read_series(path: Path, *, clock: Clock = UTC, channels: tuple[str, ...] | None = None) -> Rows:
    """Read a series from CSV, also gzipped, or Parquet; whether it is regular is not known yet.

    Args:
        path: The file; Parquet must have the column `timestamp`.
        clock: What times without a zone of their own were read from.
        channels: Columns to read; None for all that have a number.

    Raises:
        DataError: Not such a file, no rows in it, or without these columns.
    """
    if not is_table(path):
        rows = read_series_csv(path, clock=clock, channels=channels)
        return rows if channels else _with_numbers(rows)
    try:
        require_channels(channels or (), read_schema(path).names, TIME)
    except ValueError as error:
        raise DataError(f"{path}: {error}") from None
    names = channels or numeric_columns(path)
    if "time" in names:
        raise DataError(f"{path}: must have no channel of the name 'time', got {shown(names)}")
    rows = read_parquet(path, clock=clock, names=names, row="step")
    return rows if channels else rows._replace(left_out=_of_other_types(path, names))


def on_steps(rows: Rows, step: Step) -> Rows:
    """The rows with the number of their step, times 60, in place of their time.

    In steps of seconds to weeks every row must lie at the same place of its step as most do; in
    steps of months anywhere.
    """
    readable = rows.open_time != UNREADABLE
    times = rows.open_time[readable]
    misplaced = np.zeros(len(readable), dtype=bool)
    misplaced[readable] = step.misplaced(times)
    numbers = np.full(len(readable), UNREADABLE)
    numbers[readable] = 60 * step.numbers(times)
    numbers[misplaced] = UNREADABLE
    faults = faults_where(
        rows.lines,
        misplaced,
        rule=f"time must be a whole number of steps of {step.text} from the other rows'",
        value=rows.as_written("time"),
        instead="if days or hours are those of a zone, name it with --tz; else mend --step",
    )
    return rows._replace(open_time=numbers, faults=(*rows.faults, *faults))


def numeric_columns(path: Path) -> tuple[str, ...]:
    """Names of the columns of a Parquet file that hold numbers, the times left out.

    Raises:
        DataError: There are none, or columns without a name of their own.
    """
    schema = read_schema(path)
    names = schema.names
    if len(set(names)) < len(names) or not all(name and name.isprintable() for name in names):
        raise DataError(f"{path}: must name its columns, each once, got {shown(names)}")
    numeric = tuple(
        field.name
        for field in schema
        if field.name != TIME and any(is_number(field.type) for is_number in _NUMBERS)
    )
    if not numeric:
        raise _without_numbers(path, _of_other_types(path, ()))
    return numeric


def _of_other_types(path: Path, numeric: tuple[str, ...]) -> str:
    """The columns beside those of numbers, each with its type."""
    return ", ".join(
        f"{field.name} ({brief(str(field.type))})"
        for field in read_schema(path)
        if field.name not in (TIME, *numeric)
    )


def _with_numbers(rows: Rows) -> Rows:
    """The rows without columns that have no number at all."""
    empty = np.isnan(rows.prices).all(axis=0)
    left_out = ", ".join(_with_example(rows, rows.names[place]) for place in np.flatnonzero(empty))
    chosen = np.flatnonzero(~empty)
    if len(chosen) == 0:
        raise _without_numbers(rows.path, left_out)
    names = tuple(rows.names[place] for place in chosen)
    return rows._replace(prices=rows.prices[:, chosen], names=names, left_out=left_out)


def _with_example(rows: Rows, name: str) -> str:
    cells = (rows.cell(int(line), name) for line in rows.lines[:EXAMPLES])
    example = next((cell for cell in cells if cell.strip()), "")
    advice = "; write a decimal point" if _DECIMAL_COMMA.fullmatch(example.strip()) else ""
    return f"{name} ({shown(example)}{advice})"


def _without_numbers(path: Path, left_out: str) -> DataError:
    got = left_out or "none"
    return DataError(f"{path}: must have a column of numbers beside the time, got {got}")
