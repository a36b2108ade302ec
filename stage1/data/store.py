"""Bars on disk: found by folder and timeframe, checked when loaded; the sample without a folder."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from stage1.base.errors import DataError
from stage1.base.steps import FINEST_OF_SERIES, MINUTES
from stage1.base.text import brief
from stage1.data.bars import PRICES, UNREADABLE, Bars, Rows
from stage1.data.checks import sound_bars
from stage1.data.csv_reader import read_csv
from stage1.data.resample import resample_all
from stage1.data.text_columns import UNIX_UNITS, Times, to_numpy, unix_seconds
from stage1.data.time_zones import to_instants

__all__ = [
    "Bars",
    "fingerprint",
    "found_timeframes",
    "load_bars",
    "read_parquet",
    "write_parquet",
]

SAMPLE = Path(__file__).parents[1] / "sample" / "bitstamp_btcusd_1min_14d.csv.gz"
FILE_NAMES = ("{timeframe}.parquet", "simple_gap_aware_{timeframe}.parquet")
"""What the file of a timeframe may be called, the first that exists: as `prepare` names it, and as
older folders do."""
COLUMNS = ("timestamp", *PRICES)
TICKS = dict(zip(("s", "ms", "us", "ns"), UNIX_UNITS, strict=True))


def load_bars(data_dir: Path | None, timeframes: tuple[str, ...]) -> dict[str, Bars]:
    """Load the bars of each timeframe, and check every one of them.

    Args:
        data_dir: Folder with a Parquet file for each timeframe; None for the bundled sample.
        timeframes: Which, in the order of the result.

    Raises:
        DataError: A folder, file or column is missing, or a bar is not sound; says what to run.
    """
    unknown = [name for name in timeframes if name not in MINUTES]
    if unknown:
        raise DataError(f"timeframes must be among {', '.join(MINUTES)}, got {unknown[0]!r}")
    if data_dir is None:
        return resample_all(sound_bars(read_csv(SAMPLE), minutes=1), timeframes)
    files = find_files(data_dir, timeframes, _advice(data_dir))
    return {
        name: sound_bars(read_parquet(file), minutes=MINUTES[name], advice=_advice(data_dir))
        for name, file in files.items()
    }


def found_timeframes(data_dir: Path) -> tuple[str, ...]:
    """The timeframes that a folder has a file of, fine to coarse."""
    return tuple(name for name in MINUTES if _file_of(data_dir, name).is_file())


def fingerprint(bars: dict[str, Bars]) -> str:
    """Hexadecimal SHA-256 over every array, with its timeframe and length, whatever the order."""
    digest = hashlib.sha256()
    for name in sorted(bars):
        digest.update(f"{name} {len(bars[name].open_time)}\n".encode())
        digest.update(np.ascontiguousarray(bars[name].open_time, dtype="<i8").tobytes())
        digest.update(np.ascontiguousarray(bars[name].prices, dtype="<f8").tobytes())
    return digest.hexdigest()


def read_parquet(
    path: Path,
    *,
    timezone: str = "UTC",
    names: tuple[str, ...] = PRICES,
    row: Literal["bar", "step"] = "bar",
) -> Rows:
    """Read a Parquet file with the columns timestamp, open, high, low, close.

    The timestamp is a datetime with a zone, a datetime without one, or a unix time in seconds or a
    finer unit.

    Args:
        path: The file.
        timezone: IANA name of the clock that datetimes without a zone were read from.
        names: Of the columns beside the timestamp.
        row: What a row is to be.

    Raises:
        DataError: Not Parquet, or without these columns.
    """
    table = _read_columns(path, ("timestamp", *names))
    lines = np.arange(1, table.num_rows + 1)
    times = _parquet_times(table.column("timestamp"), path, floor=row == "step")
    instants = to_instants(times, timezone, path)
    prices = np.stack([_prices(table.column(name), path) for name in names], axis=1)

    def cell(line: int, column: str) -> str:
        name = "timestamp" if column == "time" else column
        value = table.column(name)[line - 1]
        try:
            return str(value)
        except (OverflowError, ValueError):  # a time that Python's years do not reach
            return str(value.cast(pa.int64()))

    kind = brief(str(table.schema.field("timestamp").type))
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
    )


def write_parquet(bars: Bars, path: Path) -> None:
    """Write bars with the columns timestamp (datetime in UTC), open, high, low, close."""
    stamps = pa.array(bars.open_time * TICKS["us"], pa.timestamp("us", tz="UTC"))
    columns = [stamps, *(pa.array(column) for column in bars.prices.T)]
    pq.write_table(pa.table(columns, names=list(COLUMNS)), path, use_dictionary=False)


def find_files(data_dir: Path, timeframes: tuple[str, ...], advice: str) -> dict[str, Path]:
    """The file of each timeframe.

    Args:
        data_dir: Folder made by `stage1.prepare`.
        timeframes: Which.
        advice: What to run where one is missing.

    Raises:
        DataError: A folder or file is missing.
    """
    if data_dir.is_file():
        advice = "give the folder that `python -m stage1.prepare` writes"
        raise DataError(f"{data_dir}: must be a folder, got a file; {advice}")
    if not data_dir.is_dir():
        raise DataError(f"{data_dir}: must be a folder of bars, got no folder; {advice}")
    files = {name: _file_of(data_dir, name) for name in timeframes}
    missing = [file.name for file in files.values() if not file.is_file()]
    if missing:
        found = ", ".join(sorted(file.name for file in data_dir.glob("*.parquet"))) or "none"
        raise DataError(f"{data_dir}: must hold {', '.join(missing)}, got {found}; {advice}")
    return files


def _file_of(data_dir: Path, timeframe: str) -> Path:
    """The first that exists of the names a timeframe's file may have; else the first name."""
    candidates = [data_dir / pattern.format(timeframe=timeframe) for pattern in FILE_NAMES]
    return next((file for file in candidates if file.is_file()), candidates[0])


def _advice(data_dir: Path) -> str:
    if (data_dir / f"{FINEST_OF_SERIES}.parquet").is_file():  # which `prepare` would replace
        return "it holds a series, which wants data.kind: series"
    return f"run `python -m stage1.prepare M1.csv --out {data_dir}`"


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
        return Times(unix_seconds(_filled(numbers, pa.float64()), floor=floor), in_utc=True)
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


def _prices(column: pa.ChunkedArray, path: Path) -> NDArray[np.float64]:
    try:
        return _filled(column, pa.float64())
    except pa.ArrowException as error:
        raise DataError(f"{path}: prices must be numbers ({brief(str(error))})") from None


def _filled(column: pa.ChunkedArray, kind: pa.DataType) -> NDArray[Any]:
    """A column as NumPy's; where it is null, NaN or `UNREADABLE`."""
    array = pc.cast(column, kind).combine_chunks()
    if array.null_count:
        array = pc.fill_null(array, float("nan") if pa.types.is_floating(kind) else UNREADABLE)
    return to_numpy(array)
