"""The text files that brokers, exchanges and programs write: `DIALECTS` has one row for each.

The first line decides how a file is read: by its column names where it has them, by the look of its
first cells where it has none. All dialects share the forms of times: `TIME_TEMPLATES`, or a unix
time in one of `UNIX_UNITS`. The files of series have no dialect, but a header with their own names.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

from stage1.base.text import brief, shown
from stage1.data.bars import PRICES

TIME_TEMPLATES = (
    "YYYY-MM-DD hh:mm",
    "YYYY-MM-DDThh:mm",
    "YYYY.MM.DD hh:mm",
    "YYYY/MM/DD hh:mm",
    "DD.MM.YYYY hh:mm",
    "YYYYMMDD hhmm",
    "YYYYMMDD hh:mm",
    "YYYYMMDDThhmm",
    "YYYYMMDDhhmm",
)
"""How a written time begins; seconds, their fraction and a zone may follow."""
DATE_TEMPLATES = (
    "YYYY-MM-DD",
    "YYYY/MM/DD",
    "YYYY.MM.DD",
    "DD.MM.YYYY",
    "YYYYMMDD",
    "YYYY-MM",
    "YYYY",
)
"""How a written date looks, which a series may have in place of times."""
UNIX_UNITS = (1, 10**3, 10**6, 10**9)
"""Of unix times: seconds, milliseconds, microseconds, nanoseconds; the number's size says which."""


class Header(NamedTuple):
    """Column names, in lower case, that tell a dialect; further columns do no harm."""

    time: tuple[str, ...]
    """The columns that make the time."""
    prices: tuple[str, ...] = PRICES
    """The columns of open, high, low, close."""


class FirstCells(NamedTuple):
    """The look of a first line without column names; the prices follow the time."""

    time: int
    """How many cells make the time."""
    patterns: tuple[str, ...]
    """What the first cells match, as regular expressions."""


class Dialect(NamedTuple):
    """The files of one origin."""

    name: str
    headers: tuple[Header, ...] = ()
    first_cells: tuple[FirstCells, ...] = ()


DIALECTS = (
    Dialect(
        "metatrader",
        (Header(("<date>", "<time>"), ("<open>", "<high>", "<low>", "<close>")),),
        (FirstCells(2, (r"\d{4}\.\d\d\.\d\d", r"\d\d:\d\d(:\d\d)?")),),
    ),
    Dialect("histdata", first_cells=(FirstCells(1, (r"\d{8} \d{6}",)),)),
    Dialect(
        "binance",
        (Header(("open_time",)), Header(("open time",))),
        (FirstCells(1, (r"\d{13}|\d{16}", *[r"[\d.]+"] * 11)),),
    ),
    Dialect(
        "dukascopy",
        (Header(("gmt time",)), Header(("local time",))),
        (FirstCells(1, (r"\d\d\.\d\d\.\d{4} .+",)),),
    ),
    Dialect(
        "oanda",
        (
            Header(("time",), ("o", "h", "l", "c")),
            Header(("time",), ("mid.o", "mid.h", "mid.l", "mid.c")),
            Header(("time",), ("mid_o", "mid_h", "mid_l", "mid_c")),
            Header(("time",), ("openmid", "highmid", "lowmid", "closemid")),
        ),
    ),
    Dialect(
        "generic",
        (
            Header(("timestamp",)),
            Header(("unix",)),
            Header(("datetime",)),
            Header(("date", "time")),
            Header(("time",)),
            Header(("date",)),
        ),
        (
            FirstCells(2, (r"\d{8}|\d{4}-\d\d-\d\d", r"\d{4}|\d{6}|\d\d:\d\d(:\d\d)?")),
            FirstCells(1, (r"\d.*",)),
        ),
    ),
)
"""The first that fits a file is its dialect; `generic`, which fits most, comes last."""
ANY_DIALECT = "auto"
if TYPE_CHECKING:
    DialectName = str
else:  # what the option --dialect takes
    DialectName = Literal[(ANY_DIALECT, *(dialect.name for dialect in DIALECTS))]

_DELIMITERS = "\t;,"
_NUMBER = re.compile(r"[+-]?\d*\.?\d+")


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


def find_layout(line: str, dialect: str = ANY_DIALECT) -> Layout | None:
    """Tell from its first line how a file is to be read.

    Args:
        line: The first line that is not blank.
        dialect: The only one to think of; `auto` for any.

    Returns:
        None if no dialect fits.
    """
    delimiter, cells = _split(line)
    has_header = not any(map(_NUMBER.fullmatch, cells))
    find = _columns_by_name if has_header else _columns_by_look
    for one in DIALECTS:
        columns = find(one, cells) if dialect in (ANY_DIALECT, one.name) else None
        if columns:
            return Layout(one.name, has_header, delimiter, len(cells), *columns)
    return None


_Columns = tuple[tuple[int, ...], tuple[int, ...]]


def _columns_by_name(dialect: Dialect, cells: list[str]) -> _Columns | None:
    names = [cell.lower() for cell in cells]
    for time, prices in dialect.headers:
        if {*time, *prices} <= set(names):
            return tuple(map(names.index, time)), tuple(map(names.index, prices))
    return None


def _columns_by_look(dialect: Dialect, cells: list[str]) -> _Columns | None:
    for time, patterns in dialect.first_cells:
        fits = len(cells) >= len(patterns) and all(map(re.fullmatch, patterns, cells))
        if fits and len(cells) >= time + len(PRICES):
            return tuple(range(time)), tuple(range(time, time + len(PRICES)))
    return None


def _split(line: str) -> tuple[str, list[str]]:
    """The delimiter of a line, and its cells."""
    delimiter = max(_DELIMITERS, key=line.count)
    return delimiter, [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter))]


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
    delimiter, cells = _split(line)
    named = [cell for cell in cells if cell]
    if any(map(_NUMBER.fullmatch, cells)) or len(set(named)) < len(named):
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
