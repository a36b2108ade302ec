"""Parquet files of bars and of series: what `stage1.prepare` writes, and what it reads as CSV."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from stage1.base.errors import DataError
from stage1.base.steps import FINEST_OF_SERIES, Step
from stage1.base.text import brief
from stage1.data.bars import PRICES, UNREADABLE, Bars, Rows
from stage1.data.csv_dialects import TIME, UNIX_UNITS
from stage1.data.times import UTC, Clock, Times, to_instants, to_numpy, unix_seconds

SERIES_FILE = f"{FINEST_OF_SERIES}.parquet"
"""The rows of a series themselves; coarser timeframes are made of them when they are loaded."""
TICKS = dict(zip(("s", "ms", "us", "ns"), UNIX_UNITS, strict=True))
_STEP = b"stage1.step"
"""Under this key a series' file has the text of its step."""


def read_parquet(
    path: Path,
    *,
    clock: Clock = UTC,
    names: tuple[str, ...] = PRICES,
    row: Literal["bar", "step"] = "bar",
) -> Rows:
    """Read a Parquet file with the columns timestamp, open, high, low, close.

    The timestamp is a datetime with a zone, a datetime without one, or a unix time in seconds or a
    finer unit.

    Args:
        path: The file.
        clock: What datetimes without a zone were read from.
        names: Of the columns beside the timestamp.
        row: What a row is to be.

    Raises:
        DataError: Not Parquet, or without these columns.
    """
    table = _read_columns(path, (TIME, *names))
    lines = np.arange(1, table.num_rows + 1)
    stamps = table.column(TIME)
    if clock.by_date and clock.zone == "UTC" and getattr(stamps.type, "tz", None):
        stamps = pc.local_timestamp(stamps)
    times = _parquet_times(stamps, path, floor=row == "step")
    instants = to_instants(times, clock, path)
    try:
        prices = np.stack([_filled(table.column(name), pa.float64()) for name in names], axis=1)
    except pa.ArrowException as error:
        raise DataError(f"{path}: prices must be numbers ({brief(str(error))})") from None

    def cell(line: int, column: str) -> str:
        name = TIME if column == "time" else column
        value = table.column(name)[line - 1]
        try:
            return str(value)
        except (OverflowError, ValueError):  # a time that Python's years do not reach
            return str(value.cast(pa.int64()))

    kind = brief(str(table.schema.field(TIME).type))
    return Rows(
        path=path,
        unit="row",
        format=f"parquet, timestamp as {kind}",
        lines=lines,
        open_time=instants.seconds,
        prices=prices,
        faults=tuple(instants.faults(lines, cell)),
        cell=cell,
        names=names,
        row=row,
        blank=lambda some, name: np.isnan(prices[some - 1, names.index(name)]),
        unix_times=times.unix,
    )


def write_parquet(
    bars: Bars, path: Path, *, names: tuple[str, ...] = PRICES, step: Step | None = None
) -> None:
    """Write bars, or the rows of a series that its step numbers, under their times in UTC.

    `names` are those of the columns beside the timestamp; the step of a series is written too.
    """
    seconds = bars.open_time if step is None else step.starts(bars.open_time // 60)
    stamps = pa.array(seconds * TICKS["us"], pa.timestamp("us", tz="UTC"))
    table = pa.table([stamps, *map(pa.array, bars.prices.T)], names=[TIME, *names])
    if step is not None:
        table = table.replace_schema_metadata({_STEP: step.text})
    pq.write_table(table, path, use_dictionary=False)


def step_text(path: Path) -> str:
    """The step in a series' file, as it was written; empty without one."""
    metadata: dict[bytes, bytes] = read_schema(path).metadata or {}
    return metadata.get(_STEP, b"").decode(errors="replace")


def read_schema(path: Path) -> pa.Schema:
    """Names and types of a Parquet file's columns, and what is noted beside them.

    Raises:
        DataError: No such file, or not Parquet.
    """
    if not path.is_file():
        raise DataError(f"{path}: must be a file of bars, got no file; check the path")
    try:
        return pq.read_schema(path)
    except (pa.ArrowException, OSError) as error:
        raise _not_parquet(path, error) from None


def _not_parquet(path: Path, error: Exception) -> DataError:
    return DataError(f"{path}: must be a Parquet file ({brief(str(error))})")


def _read_columns(path: Path, columns: tuple[str, ...]) -> pa.Table:
    names = read_schema(path).names
    missing = [name for name in columns if name not in names]
    if missing:
        raise DataError(
            f"{path}: must have the columns {', '.join(columns)}, "
            f"got {brief(', '.join(names))}; write it with `python -m stage1.prepare`"
        )
    try:
        table = pq.read_table(path, columns=list(columns))
    except (pa.ArrowException, OSError) as error:
        raise _not_parquet(path, error) from None
    if table.num_rows == 0:
        raise DataError(f"{path}: must hold bars, got none")
    return table


def _parquet_times(column: pa.ChunkedArray, path: Path, *, floor: bool) -> Times:
    kind = column.type
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        # Nanoseconds are beyond the whole numbers that floats hold; whole minutes stay exact.
        numbers = pc.cast(column, pa.float64(), safe=False)
        return Times(unix_seconds(_filled(numbers, pa.float64()), floor=floor), True, unix=True)
    if pa.types.is_date(kind):
        return _parquet_times(pc.cast(column, pa.timestamp("s")), path, floor=floor)
    if not pa.types.is_timestamp(kind):
        raise DataError(
            f"{path}: timestamp must be a datetime or a unix time, got {brief(str(kind))}"
        )
    ticks = _filled(column, pa.int64())
    seconds, rest = np.divmod(ticks, TICKS[kind.unit])
    if not floor:  # a fraction of a second is off the minute, as a full second is
        seconds += (rest > 0) & (seconds % 60 == 0)
    seconds[ticks == UNREADABLE] = UNREADABLE
    return Times(seconds, in_utc=kind.tz is not None)


def _filled(column: pa.ChunkedArray, kind: pa.DataType) -> NDArray[Any]:
    """A column as NumPy's; where it is null, NaN or `UNREADABLE`."""
    array = pc.cast(column, kind).combine_chunks()
    if array.null_count:
        array = pc.fill_null(array, float("nan") if pa.types.is_floating(kind) else UNREADABLE)
    return to_numpy(array)
