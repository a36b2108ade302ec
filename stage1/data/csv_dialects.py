"""Bars from the text files that brokers, exchanges and programs write.

The first line decides how a file is read: by its column names where it has them, by the look of its
first cells where it has none. A dialect is one row of `HEADERS` or `HEADERLESS`.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, NamedTuple

from stage1.base.text import brief, shown
from stage1.data.bars import PRICES

Dialect = Literal["auto", "metatrader", "histdata", "binance", "dukascopy", "oanda", "generic"]

DELIMITERS = "\t;,"
BINANCE_COLUMNS = 12

HEADERS: tuple[tuple[Dialect, tuple[str, ...], tuple[str, ...]], ...] = (
    ("metatrader", ("<date>", "<time>"), ("<open>", "<high>", "<low>", "<close>")),
    ("binance", ("open_time",), PRICES),
    ("binance", ("open time",), PRICES),
    ("dukascopy", ("gmt time",), PRICES),
    ("dukascopy", ("local time",), PRICES),
    ("oanda", ("time",), ("o", "h", "l", "c")),
    ("oanda", ("time",), ("mid.o", "mid.h", "mid.l", "mid.c")),
    ("oanda", ("time",), ("mid_o", "mid_h", "mid_l", "mid_c")),
    ("oanda", ("time",), ("openmid", "highmid", "lowmid", "closemid")),
    ("generic", ("timestamp",), PRICES),
    ("generic", ("unix",), PRICES),
    ("generic", ("datetime",), PRICES),
    ("generic", ("date", "time"), PRICES),
    ("generic", ("time",), PRICES),
    ("generic", ("date",), PRICES),
)
"""Dialect, the columns that make the time, the columns of the prices; the first that fits."""

HEADERLESS: tuple[tuple[Dialect, int, tuple[str, ...]], ...] = (
    ("metatrader", 2, (r"\d{4}\.\d\d\.\d\d", r"\d\d:\d\d(:\d\d)?")),
    ("histdata", 1, (r"\d{8} \d{6}",)),
    ("binance", 1, (r"\d{13}|\d{16}", *[r"[\d.]+"] * (BINANCE_COLUMNS - 1))),
    ("dukascopy", 1, (r"\d\d\.\d\d\.\d{4} .+",)),
    ("generic", 2, (r"\d{8}|\d{4}-\d\d-\d\d", r"\d{4}|\d{6}|\d\d:\d\d(:\d\d)?")),
    ("generic", 1, (r"\d.*",)),
)
"""Dialect, cells that make the time, what the first cells look like; the prices follow the time."""

NUMBER = re.compile(r"[+-]?\d*\.?\d+")


class Layout(NamedTuple):
    """How a file is to be read."""

    dialect: str
    has_header: bool
    delimiter: str
    columns: int
    time: tuple[int, ...]
    """Columns that make the time, from 0."""
    prices: tuple[int, ...]
    """Columns of open, high, low, close, from 0; or of a series' numbers."""
    names: tuple[str, ...] = PRICES
    """Of those columns."""


TIME = "timestamp"
"""The column that a series' times are in; if there is none of that name, the first."""


def series_layout(line: str, channels: tuple[str, ...] | None) -> Layout:
    """How the file of a series is to be read, from the line that names its columns.

    Args:
        line: The first line that is not blank.
        channels: Columns to take; None for all but the time.

    Raises:
        ValueError: The line names no columns, or not these, or one twice.
    """
    delimiter, cells = _cells(line)
    named = [cell for cell in cells if cell]
    if any(NUMBER.fullmatch(cell) for cell in cells) or len(set(named)) < len(named):
        raise ValueError(f"must name the columns, each once, got {shown(line)}")
    time = cells.index(TIME) if TIME in cells else 0
    names = channels or tuple(cell for place, cell in enumerate(cells) if place != time)
    if not names:
        raise ValueError(f"must have a column beside the time, got {shown(line)}")
    require_channels(channels or (), cells, cells[time])
    if not all(name and name.isprintable() and name != "time" for name in names):
        raise ValueError(f"must give every column a name, and not 'time', got {shown(line)}")
    places = tuple(map(cells.index, names))
    return Layout("series", True, delimiter, len(cells), (time,), places, names)


def require_channels(channels: Iterable[str], columns: Sequence[str], time: str) -> None:
    """Channels that were asked for must be columns of the file, and not its times.

    Raises:
        ValueError: One is not.
    """
    known = [name for name in columns if name not in ("", time)]
    for name in channels:
        if name == time:
            raise ValueError(f"--channels must leave out {name}, which holds the times")
        if name not in known:
            raise ValueError(f"--channels must be among {brief(', '.join(known))}, got {name!r}")


def find_layout(line: str, dialect: Dialect = "auto") -> Layout | None:
    """Tell from its first line how a file is to be read.

    Args:
        line: The first line that is not blank.
        dialect: The only one to think of; `auto` for any.

    Returns:
        None if no dialect fits.
    """
    delimiter, cells = _cells(line)
    has_header = not any(NUMBER.fullmatch(cell) for cell in cells)
    candidates = _by_header(cells) if has_header else _by_look(cells)
    for name, time, prices in candidates:
        if dialect in ("auto", name):
            return Layout(name, has_header, delimiter, len(cells), time, prices)
    return None


def _cells(line: str) -> tuple[str, list[str]]:
    delimiter = max(DELIMITERS, key=line.count)
    return delimiter, [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter))]


def _by_header(cells: list[str]) -> Iterator[tuple[str, tuple[int, ...], tuple[int, ...]]]:
    names = [cell.lower() for cell in cells]
    for dialect, time, prices in HEADERS:
        if {*time, *prices} <= set(names):
            yield dialect, tuple(map(names.index, time)), tuple(map(names.index, prices))


def _by_look(cells: list[str]) -> Iterator[tuple[str, tuple[int, ...], tuple[int, ...]]]:
    for dialect, time, looks in HEADERLESS:
        fits = len(cells) >= len(looks) and all(map(re.fullmatch, looks, cells))
        if fits and len(cells) >= time + len(PRICES):
            yield dialect, tuple(range(time)), tuple(range(time, time + len(PRICES)))
