"""Parquet and Feather files of bars and of series: what `stage1.prepare` writes and reads."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.ipc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from stage1.base.errors import DataError
from stage1.base.parquet import read_parquet_table, require_fitting, text_bytes
from stage1.base.steps import FINEST_OF_SERIES, Step
from stage1.base.text import brief, shown
from stage1.data.bars import PRICES, UNREADABLE, Bars, Rows
from stage1.data.csv_dialects import SYMBOLS, TIME, UNIX_UNITS, find_columns, plain_name
from stage1.data.plausibility import require_one_symbol
from stage1.data.times import (
    UTC,
    Clock,
    Times,
    find_template,
    instants_of,
    is_time,
    parse_times,
    to_instants,
    to_numpy,
    unix_seconds,
)

SERIES_FILE = f"{FINEST_OF_SERIES}.parquet"
"""The rows of a series themselves; coarser timeframes are made of them when they are loaded."""
TICKS = dict(zip(("s", "ms", "us", "ns"), UNIX_UNITS, strict=True))
_MAGIC = {b"PAR1": "parquet", b"ARROW1": "feather", b"FEA1": "feather"}
"""How such files begin."""
_STEP = b"stage1.step"
"""Under this key a series' file has the text of its step."""
_DAYS = b"stage1.days"
"""Under this key a file of bars has the clock that their days are counted on, if not UTC."""


def read_parquet(
    path: Path,
    *,
    clock: Clock = UTC,
    names: tuple[str, ...] = PRICES,
    row: Literal["bar", "step"] = "bar",
    own: bool = False,
) -> Rows:
    """Read a Parquet or Feather file with a column of times and columns of numbers.

    The times are datetimes with a zone, datetimes without one, dates, text as in CSV files, or unix
    times in seconds or a finer unit.

    Args:
        path: The file.
        clock: What datetimes without a zone were read from.
        names: Of the columns beside the timestamp.
        row: What a row is to be.
        own: Whether it is one of those that `stage1.prepare` has written; others may name the
            columns of bars as any of `csv_dialects.DIALECTS` does.

    Raises:
        DataError: Not such a file, or without these columns.
    """
    named = own or row == "step"
    stamps, columns = ((TIME,), names) if named else _columns_of_bars(path)
    table = _read_columns(path, (*stamps, *columns))
    if not named:
        _require_one_symbol(path)
    lines = np.arange(1, table.num_rows + 1)
    stamp = table.column(stamps[0]) if len(stamps) == 1 else _joined(table, stamps)
    if clock.by_date and clock.zone == "UTC" and getattr(stamp.type, "tz", None):
        stamp = pc.local_timestamp(stamp)
    times = _parquet_times(stamp, path, floor=row == "step")
    instants = to_instants(times, clock, path)
    try:
        prices = np.stack([_filled(table.column(name), pa.float64()) for name in columns], axis=1)
    except pa.ArrowException as error:
        raise DataError(f"{path}: prices must be numbers ({brief(str(error))})") from None
    by_name = dict(zip(names, columns, strict=True))

    def cell(line: int, column: str) -> str:
        value = stamp[line - 1] if column == "time" else table.column(by_name[column])[line - 1]
        try:
            return str(value)
        except (OverflowError, ValueError):  # a time that Python's years do not reach
            return str(value.cast(pa.int64()))

    kind = brief(str(stamp.type))
    return Rows(
        path=path,
        unit="row",
        format=f"{_kind_of(path)}, {' and '.join(stamps)} as {kind}",
        lines=lines,
        open_time=instants.seconds,
        prices=prices,
        faults=tuple(instants.faults(lines, cell)),
        cell=cell,
        names=names,
        row=row,
        blank=lambda some, name: np.isnan(prices[some - 1, names.index(name)]),
        unix_times=times.unix,
        clock=clock.zone,
    )


def write_parquet(
    bars: Bars, path: Path, *, names: tuple[str, ...] = PRICES, step: Step | None = None
) -> None:
    """Write bars, or the rows of a series that its step numbers, under their times in UTC.

    `names` are those of the columns beside the timestamp; the step of a series is written too.
    """
    seconds = instants_of(bars.clock, bars.open_time)
    if step is not None:
        seconds = step.starts(bars.open_time // 60)
    stamps = pa.array(seconds * TICKS["us"], pa.timestamp("us", tz="UTC"))
    table = pa.table([stamps, *map(pa.array, bars.prices.T)], names=[TIME, *names])
    if step is not None:
        table = table.replace_schema_metadata({_STEP: step.text})
    elif bars.clock.zone != "UTC":
        table = table.replace_schema_metadata({_DAYS: bars.clock.zone})
    pq.write_table(table, path, use_dictionary=False)


def step_text(path: Path) -> str:
    """The step in a series' file, as it was written; empty without one."""
    return _noted(path, _STEP)


def zone_of_days(path: Path) -> str:
    """The clock that the bars of a file are counted on; UTC where none is noted."""
    return _noted(path, _DAYS) or "UTC"


def _noted(path: Path, key: bytes) -> str:
    metadata: dict[bytes, bytes] = read_schema(path).metadata or {}
    return metadata.get(key, b"").decode(errors="replace")


def read_schema(path: Path) -> pa.Schema:
    """Names and types of a Parquet file's columns, and what is noted beside them.

    Raises:
        DataError: No such file, or not Parquet.
    """
    if not path.is_file():
        raise DataError(f"{path}: must be a file of bars, got no file; check the path")
    try:
        if _kind_of(path) == "feather":
            with pa.ipc.open_file(path) as file:
                return file.schema
        return pq.read_schema(path)
    except (pa.ArrowException, OSError) as error:
        raise _not_a_table(path, error) from None


def is_table(path: Path) -> bool:
    """Whether a file is Parquet or Feather, as its first bytes or its name say."""
    if path.suffix.lower() in (".parquet", ".pq", ".feather"):
        return True
    with suppress(OSError), path.open("rb") as stream:
        return stream.read(6).startswith(tuple(_MAGIC))
    return False


def _kind_of(path: Path) -> str:
    with path.open("rb") as stream:
        start = stream.read(6)
    return next((kind for magic, kind in _MAGIC.items() if start.startswith(magic)), "parquet")


def _not_a_table(path: Path, error: Exception) -> DataError:
    return DataError(f"{path}: must be a Parquet file ({brief(str(error))})")


def _columns_of_bars(path: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The columns of the time, and of open, high, low, close, as the file names them."""
    names = read_schema(path).names
    if {TIME, *PRICES} <= set(names) and len(set(names)) == len(names):
        return (TIME,), PRICES

    first_row = _first_row(path) or [""] * len(names)
    try:
        return find_columns(names, first_row, is_time=is_time)
    except ValueError as error:
        raise DataError(f"{path}: {error}") from None


def _require_one_symbol(path: Path) -> None:
    for name in read_schema(path).names:
        if plain_name(name) in SYMBOLS:
            column = pc.cast(_read(path, (name,)).column(name), pa.string())
            encoded = pa.chunked_array([chunk.dictionary_encode() for chunk in column.chunks])
            require_one_symbol(path, encoded, lambda row: f"row {row + 1}")


def has_bars_in_table(path: Path) -> bool:
    """Whether a Parquet or Feather file has bars, rather than a series of other numbers."""
    try:
        _columns_of_bars(path)
    except DataError:
        return False
    return True


def _joined(table: pa.Table, names: tuple[str, ...]) -> pa.ChunkedArray:
    return pc.binary_join_element_wise(
        *(pc.cast(table.column(name), pa.string()) for name in names), " "
    )


def _read_columns(path: Path, columns: tuple[str, ...]) -> pa.Table:
    names = read_schema(path).names
    missing = [name for name in columns if name not in names]
    if missing:
        raise DataError(
            f"{path}: must have the columns {', '.join(columns)}, "
            f"got {brief(', '.join(names))}; write it with `python -m stage1.prepare`"
        )
    table = _read(path, columns)
    if table.num_rows == 0:
        raise DataError(f"{path}: must hold bars, got none")
    return table


def _read(path: Path, columns: tuple[str, ...]) -> pa.Table:
    try:
        if _kind_of(path) == "parquet":
            return read_parquet_table(path, columns)
        with pa.ipc.open_file(path) as file:
            chosen = [place for place, name in enumerate(file.schema.names) if name in columns]
        batches, needed = [], 0
        with pa.ipc.open_file(path, options=pa.ipc.IpcReadOptions(included_fields=chosen)) as file:
            for place in range(file.num_record_batches):
                batches.append(file.get_batch(place))
                needed += batches[-1].nbytes + text_bytes(batches[-1])
                require_fitting(needed, path.stat().st_size)
            return pa.Table.from_batches(batches, file.schema)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _not_a_table(path, error) from None


def _first_row(path: Path) -> list[str]:
    """Its values as text; none where the file has no row."""
    try:
        if _kind_of(path) == "parquet":
            with pq.ParquetFile(path) as stored:
                first = next(stored.iter_batches(batch_size=1), None)
        else:
            with pa.ipc.open_file(path) as file:
                first = file.get_batch(0) if file.num_record_batches else None
        return [str(column[0]) for column in first.columns] if first and len(first) else []
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _not_a_table(path, error) from None


def _parquet_times(column: pa.ChunkedArray, path: Path, *, floor: bool) -> Times:
    kind = column.type
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        # Nanoseconds are beyond the whole numbers that floats hold; whole minutes stay exact.
        numbers = pc.cast(column, pa.float64(), safe=False)
        return Times(unix_seconds(_filled(numbers, pa.float64()), floor=floor), True, unix=True)
    if pa.types.is_date(kind):
        return _parquet_times(pc.cast(column, pa.timestamp("s")), path, floor=floor)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        texts = pc.fill_null(pc.cast(column, pa.string()), "")
        template = find_template(str(texts[0]), dates=True)
        if template is None:
            raise DataError(
                f"{path}: row 1: time must be a datetime, a unix time or text such as 2024-03-04 "
                f"09:30, got {shown(texts[0].as_py())}"
            )
        return parse_times(texts, template, floor=floor)
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
