"""Any regular series: its rows numbered by their step, checked, averaged to coarser ones.

Inside, a step counts as a minute: the row of step n opens at 60 n seconds, whatever its step is by
the clock or the calendar. So windows, hiding and gaps are those of bars.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from stage1.base.errors import DataError
from stage1.base.steps import FINEST_OF_SERIES, Step, parse_step, steps_per_bar
from stage1.base.text import brief, shown
from stage1.config import DataConfig
from stage1.data.bars import UNREADABLE, Bars, Fault, Rows, faults_where
from stage1.data.checks import FindFaults, format_time, number_faults, sound_rows, time_faults
from stage1.data.csv_dialects import TIME, require_channels
from stage1.data.csv_reader import read_series_csv
from stage1.data.store import find_files, found_timeframes, read_parquet, read_schema

LARGEST = 1e100
"""Of a value; the squares of larger ones would not be finite."""


def on_steps(rows: Rows, step: Step) -> Rows:
    """The rows with the number of their step, times 60, in place of their time.

    In steps of seconds to weeks every row must lie at the same place of its step as most do; in
    steps of months anywhere.
    """
    readable = rows.open_time != UNREADABLE
    times = rows.open_time[readable]
    astray = np.zeros(len(readable), dtype=bool)
    astray[readable] = step.astray(times)
    numbers = np.full(len(readable), UNREADABLE)
    numbers[readable] = 60 * step.numbers(times)
    numbers[astray] = UNREADABLE
    faults = faults_where(
        rows.lines,
        astray,
        rule=f"time must be a whole number of steps of {step.text} from the other rows'",
        value=lambda row: shown(rows.cell(int(rows.lines[row]), "time")),
    )
    return rows._replace(open_time=numbers, faults=(*rows.faults, *faults))


def start_text(step: Step, open_time: int) -> str:
    """When the step of a row begins, such as `1990-01-01 00:00`."""
    return format_time(int(step.starts(np.array([open_time // 60]))[0]))


def rules_of(step: Step) -> FindFaults:
    """What finds the faults of rows that are `on_steps`: finite numbers, a row a step, in order."""

    def find(rows: Rows) -> list[Fault]:
        broken = ~(np.abs(rows.prices) <= LARGEST)
        rule = "must be a finite number, at most 1e100 in size"
        return [
            *rows.faults,
            *number_faults(rows, broken, rule=rule),
            *time_faults(rows, 1, partial(start_text, step)),
        ]

    return find


def resample_means(rows: Bars, timeframes: Iterable[str]) -> dict[str, Bars]:
    """The rows of a series, and means of several.

    Groups are counted from 1970: of a monthly series `x3` are the quarters and `x12` the years, of
    an hourly one `x24` the days in UTC. A group that lost some rows to a gap, or to either end of
    the series, is the mean of those that are there; one without a row stays out.

    Args:
        rows: Of the series itself.
        timeframes: Such as `x1` and `x12`, in the order of the result.
    """
    return {name: _means(rows, steps_per_bar(name) or 1) for name in timeframes}


def _means(rows: Bars, steps: int) -> Bars:
    if steps == 1 or len(rows.open_time) == 0:
        return rows
    group = rows.open_time // (60 * steps)
    first = np.flatnonzero(np.diff(group, prepend=group[0] - 1))
    sums = np.add.reduceat(rows.prices, first, axis=0)
    counts = np.diff(first, append=len(group))
    return Bars(group[first] * (60 * steps), sums / counts[:, None])


FILE = f"{FINEST_OF_SERIES}.parquet"
"""The rows of a series themselves; coarser timeframes are made of them when they are loaded."""
_STEP = b"stage1.step"
_NUMBERS = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal)
EXAMPLES = 1000
"""Rows among which an example of a column's cells is looked for."""
_DECIMAL_COMMA = re.compile(r"[+-]?[\d.]*,\d+")


class Series(NamedTuple):
    """A series, loaded."""

    bars: dict[str, Bars]
    """Per timeframe."""
    channels: tuple[str, ...]
    """Names of their columns."""
    step: str
    """How far the rows are apart."""


def read_series(
    path: Path, *, timezone: str = "UTC", channels: tuple[str, ...] | None = None
) -> Rows:
    """Read a series from CSV, also gzipped, or Parquet; whether it is regular is not known yet.

    Args:
        path: The file; Parquet must have the column `timestamp`.
        timezone: IANA name of the clock that times without a zone of their own were read from.
        channels: Columns to read; None for all that have a number.

    Raises:
        DataError: Not such a file, no rows in it, or without these columns.
    """
    if path.suffix != ".parquet":
        rows = read_series_csv(path, timezone=timezone, channels=channels)
        return rows if channels else _with_numbers(rows)
    try:
        require_channels(channels or (), read_schema(path).names, TIME)
    except ValueError as error:
        raise DataError(f"{path}: {error}") from None
    names = channels or _numeric_columns(path)
    if "time" in names:
        raise DataError(f"{path}: must have no channel of the name 'time', got {shown(names)}")
    rows = read_parquet(path, timezone=timezone, names=names, row="step")
    return rows if channels else rows._replace(left_out=_of_other_types(path, names))


def write_series(rows: Bars, names: tuple[str, ...], step: Step, path: Path) -> None:
    """Write the rows of a series, each with the time at which its step begins, and the step.

    Args:
        rows: On their steps.
        names: Of their columns.
        step: Of the series.
        path: Of the file.
    """
    starts = step.starts(rows.open_time // 60).astype("M8[s]").astype("M8[us]")
    columns = [pa.array(starts, pa.timestamp("us", tz="UTC")), *map(pa.array, rows.prices.T)]
    table = pa.table(columns, names=[TIME, *names])
    noted = table.replace_schema_metadata({_STEP: step.text})
    pq.write_table(noted, path, use_dictionary=False)


def load_series(data_dir: Path | None, config: DataConfig) -> Series:
    """Load the rows of a series, check every one of them, and average them to coarser timeframes.

    Args:
        data_dir: Folder made by `stage1.prepare` with a step; there is no bundled series.
        config: Channels, step and timeframes; null channels are all that the folder has.

    Raises:
        DataError: A folder, file or column is missing, or a row is not sound; says what to run.
    """
    if data_dir is None:
        raise DataError(f"a series must be given with --data-dir, got none; {_advice(None)}")
    advice = _advice(data_dir)
    path = find_files(data_dir, (FINEST_OF_SERIES,), advice)[FINEST_OF_SERIES]
    step = _noted_step(path, advice)
    if config.step and parse_step(config.step)[1:] != step[1:]:
        raise DataError(f"data.step must be that of {path}, {step.text}, got {config.step}")
    known = _numeric_columns(path)
    for name in config.channels or ():
        if name not in known:
            of = f"columns of numbers in {path} ({', '.join(known)})"
            raise DataError(f"data.channels must be {of}, got {name!r}")
    channels = config.channels or known
    rows = on_steps(read_parquet(path, names=channels, row="step"), step)
    bars = resample_means(sound_rows(rows, rules_of(step), advice), config.timeframes)
    return Series(bars, channels, config.step or step.text)


def _advice(data_dir: Path | None) -> str:
    if data_dir and found_timeframes(data_dir):  # which `prepare` would replace
        return "it holds bars, which want data.kind: ohlc"
    return f"run `python -m stage1.prepare SERIES.csv --step STEP --out {data_dir or 'FOLDER'}`"


def _noted_step(path: Path, advice: str) -> Step:
    noted = (read_schema(path).metadata or {}).get(_STEP, b"").decode(errors="replace")
    try:
        return parse_step(noted)
    except ValueError:
        raise DataError(f"{path}: must say its step, got {shown(noted)}; {advice}") from None


def _numeric_columns(path: Path) -> tuple[str, ...]:
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
