"""The text files that brokers, exchanges and programs write: `DIALECTS` has one row for each.

The first line decides how a file is read: by its column names where it has them, by the look of its
first cells where it has none. All dialects share the forms of times: `TIME_TEMPLATES`, or a unix
time in one of `UNIX_UNITS`. The files of series have no dialect, but a header with their own names.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterable, Sequence
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


class FirstCells(NamedTuple):
    """The look of a first line without column names; the prices follow the time."""

    time: int
    """How many cells make the time."""
    patterns: tuple[str, ...]
    """What the first cells match, as regular expressions."""


class Dialect(NamedTuple):
    """The files of one origin. Names are as `plain_name` has them; further columns do no harm."""

    name: str
    times: tuple[tuple[str, ...], ...] = ()
    """Names of the columns that make the time, the best first: one row for each way to name it."""
    prices: tuple[tuple[str, str, str, str], ...] = (PRICES,)
    """Names of the columns of open, high, low, close; likewise."""
    first_cells: tuple[FirstCells, ...] = ()


DIALECTS = (
    Dialect(
        "metatrader",
        (("<date>", "<time>"), ("<dtyyyymmdd>", "<time>"), ("<date>",), ("<dtyyyymmdd>",)),
        (("<open>", "<high>", "<low>", "<close>"),),
        (FirstCells(2, (r"\d{4}\.\d\d\.\d\d", r"\d\d:\d\d(:\d\d)?")),),
    ),
    Dialect("histdata", first_cells=(FirstCells(1, (r"\d{8} \d{6}",)),)),
    Dialect(
        "binance",
        (("open time",),),
        first_cells=(FirstCells(1, (r"\d{13}|\d{16}", *[r"[\d.]+"] * 11)),),
    ),
    Dialect(
        "dukascopy",
        (("gmt time",), ("local time",)),
        first_cells=(FirstCells(1, (r"\d\d\.\d\d\.\d{4} .+",)),),
    ),
    Dialect(
        "oanda",
        (("time",),),
        (
            ("o", "h", "l", "c"),
            ("mid o", "mid h", "mid l", "mid c"),
            ("openmid", "highmid", "lowmid", "closemid"),
        ),
    ),
    Dialect(
        "generic",
        (
            *(("timestamp",), ("unix",), ("datetime",)),
            *(("date", "time"), ("date", "timestamp"), ("dtyyyymmdd", "time")),
            *(("datum", "zeit"), ("datum", "uhrzeit")),  # German, as TAI-PAN and ariva.de write
            *(("time",), ("date",), ("ts",), ("t",), ("dtyyyymmdd",), ("window start",)),
            *(("open time",), ("begin",), ("zeit",), ("datum",)),
            # What pandas makes of an index without a name.
            *(("",), ("unnamed: 0",), ("index",), ("index level 0",)),
        ),
        (
            PRICES,
            ("o", "h", "l", "c"),
            ("open", "high", "low", "last"),
            ("open price", "high price", "low price", "close price"),
            ("eröffnung", "hoch", "tief", "schluss"),
            ("eröffnung", "hoch", "tief", "schlusskurs"),
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
_NUMBER = re.compile(r"[+-]?\d*[.,]?\d+")
_ASIDE = re.compile(r"\s*(\([^)]*\)|/.*|\*+)$")
_ZONE = re.compile(r"\(([^()]+)\)$")
_LEVELS = ("price", "ticker", "date", "datetime", "time")
"""First cells of the two or three header lines that pandas writes for columns with two levels."""


SYMBOLS = {
    *("symbol", "<symbol>", "ticker", "<ticker>", "tic", "instrument", "instrument name"),
    *("pair", "currency pair", "product", "product id", "asset", "coin", "stock", "security"),
    *("isin", "ric", "#ric", "secid", "name"),
}
"""Columns, as `plain_name` has them, that say what a bar is of."""


class Layout(NamedTuple):
    """How a file is to be read."""

    dialect: str
    header: int
    """Lines that name the columns; 0 for a file without a header."""
    delimiter: str
    columns: int
    time: tuple[int, ...]
    """Columns that make the time, from 0."""
    prices: tuple[int, ...]
    """Columns of open, high, low, close, from 0; or of a series' numbers."""
    names: tuple[str, ...] = PRICES
    """Of those columns."""
    zone: str = ""
    """The clock of the times as the header names it, such as EET in `Time (EET)`."""
    symbols: tuple[int, ...] = ()
    """Columns that say what the bars are of, from 0."""


def plain_name(cell: str) -> str:
    """A column's name as the tables have it: `Open_Price` and `open.price (EUR)` are one name."""
    return re.sub(r"[ _.\-]+", " ", _ASIDE.sub("", cell.strip().lower())).strip()


def find_layout(
    lines: Sequence[str], dialect: str = ANY_DIALECT, *, is_time: Callable[[str], bool]
) -> Layout:
    """Tell from its first lines how a file is to be read.

    Args:
        lines: The first ones that are not blank, at least one.
        dialect: The only one to think of; `auto` for any.
        is_time: Whether a text is a time as files have it; it tells which of several columns that
            may hold times does.

    Raises:
        ValueError: No dialect fits, or the rows have another number of cells than the header; says
            what is missing and what to do.
    """
    delimiter, _ = _split(lines[0])
    rows = [_cells(line, delimiter) for line in lines]
    header = _header_lines(rows)
    first_row = rows[header] if len(rows) > header else []
    for one in DIALECTS:
        if dialect not in (ANY_DIALECT, one.name):
            continue
        names = _names_of(rows[:header])
        found = (
            _columns_by_name(one, names, first_row, is_time)
            if header
            else _columns_by_look(one, rows[0])
        )
        if found:
            time, prices = found
            if header:
                _require_one_name_a_cell(lines, rows, header, is_time)
                _require_named_once(names, (*time, *prices))
            zone = _ZONE.search(rows[0][time[0]]) if header else None
            return Layout(
                one.name,
                header,
                delimiter,
                len(rows[0]),
                time,
                prices,
                zone="UTC" if header and names[time[0]] == "gmt time" else zone[1] if zone else "",
                symbols=tuple(n for n, name in enumerate(names) if name in SYMBOLS),
            )
    raise ValueError(_no_dialect(lines, rows, header, dialect, is_time))


_Columns = tuple[tuple[int, ...], tuple[int, ...]]


def find_columns(
    columns: Sequence[str], first_row: Sequence[str], *, is_time: Callable[[str], bool]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The columns of a table that make the time, and those of open, high, low, close.

    Args:
        columns: Their names.
        first_row: What they hold in the first row, as text.
        is_time: As of `find_layout`.

    Raises:
        ValueError: Some are missing, or there are two of a name; says what to do.
    """
    names = [plain_name(column) for column in columns]
    for dialect in DIALECTS if names else ():
        if found := _columns_by_name(dialect, names, first_row, is_time):
            time, prices = found
            _require_named_once(names, (*time, *prices))
            return tuple(columns[n] for n in time), tuple(columns[n] for n in prices)
    raise ValueError(f"columns {_without(names, brief(', '.join(columns)))}")


def _header_lines(rows: Sequence[Sequence[str]]) -> int:
    """Lines that name columns: mostly one or none; up to three where columns have two levels."""
    if any(map(_NUMBER.fullmatch, rows[0])):
        return 0
    levels = [plain_name(row[0]) for row in rows[:3]]
    if not {"price", "ticker"} <= set(levels):
        return 1
    return next((n for n, level in enumerate(levels) if level not in _LEVELS), len(levels))


def _names_of(header: Sequence[Sequence[str]]) -> list[str]:
    """What the columns are called, by the level that names the prices where there are several."""
    if not header:
        return []
    level = next((row for row in header if plain_name(row[0]) == "price"), header[0])
    return [plain_name(cell) for cell in (header[-1][0], *level[1:])]


def _columns_by_name(
    dialect: Dialect, names: Sequence[str], first_row: Sequence[str], is_time: Callable[[str], bool]
) -> _Columns | None:
    times = [time for time in dialect.times if _named(time, names)]
    prices = next((row for row in dialect.prices if set(row) <= set(names)), None)
    if not times or prices is None:
        return None
    places = [tuple(map(names.index, time)) for time in times]
    fits = (
        place
        for place in places
        if max(place) < len(first_row) and is_time(" ".join(first_row[n] for n in place))
    )
    return next(fits, places[0]), tuple(map(names.index, prices))


def _named(time: tuple[str, ...], names: Sequence[str]) -> bool:
    """Whether columns of these names are there; one without a name must be the first."""
    return names[0] == "" if time == ("",) else set(time) <= set(names)


def _columns_by_look(dialect: Dialect, cells: list[str]) -> _Columns | None:
    for time, patterns in dialect.first_cells:
        fits = len(cells) >= len(patterns) and all(map(re.fullmatch, patterns, cells))
        if fits and len(cells) >= time + len(PRICES):
            return tuple(range(time)), tuple(range(time, time + len(PRICES)))
    return None


def _require_named_once(names: Sequence[str], used: Iterable[int]) -> None:
    for place in used:
        if names.count(names[place]) > 1:
            raise ValueError(
                f"header must name each column once, got {names.count(names[place])} of the name "
                f"{names[place]!r}; give the columns that are not to be read another name"
            )


def _require_one_name_a_cell(
    lines: Sequence[str], rows: list[list[str]], header: int, is_time: Callable[[str], bool]
) -> None:
    """All rows of the start having one number of cells and the header another is its fault."""
    names, row = rows[0], rows[header] if len(rows) > header else rows[0]
    counts = {len(cells) for cells in rows[header:]} or {len(names)}
    if counts == {len(names)} or len(counts) > 1:
        return
    where = ""
    if len(row) == len(names) + 1:
        after_first = len(row) > 1 and is_time(f"{row[0]} {row[1]}")
        where = f", one too few, after {names[0]}" if after_first else ", one too few"
    raise ValueError(
        f"header must name every column, got {len(names)} names over {len(row)} cells{where} "
        f"({shown(lines[0])} over {shown(lines[header])}); mend the header"
    )


def _no_dialect(
    lines: Sequence[str],
    rows: list[list[str]],
    header: int,
    dialect: str,
    is_time: Callable[[str], bool],
) -> str:
    """Why no dialect fits, and what to do."""
    got = shown(lines[0])
    if dialect != ANY_DIALECT:
        rule = f"header or first row must be of the dialect {dialect}, got {got}"
        return f"{rule}; leave --dialect out"
    if len(rows[0]) == 1 and len(_split(lines[0].strip('"'))[1]) > len(PRICES):
        rule = "the cells of a line must be side by side, got whole lines in quotation marks"
        return f"{rule} ({got}); take away the marks at both ends of every line"
    if not header:
        return (
            f"first row must be the time and then open, high, low, close, got {got}; put a line "
            "above it that names every column as it stands, with time, open, high, low and close "
            "among the names (in any order; other columns may stay, under any other name)"
        )
    for place in range(1, len(lines)):
        try:
            below = find_layout(lines[place:], is_time=is_time)
        except ValueError:
            continue
        if below.header:
            rule = f"header must be the first line, got {got} above {shown(lines[place])}"
            return f"{rule}; delete what stands above the header"
    _require_one_name_a_cell(lines, rows, header, is_time)
    return f"header {_without(_names_of(rows[:header]), got)}"


def _without(names: Sequence[str], got: str) -> str:
    """What is missing among names, and what to do."""
    there = bool(names) and any(_named(time, names) for time in DIALECTS[-1].times)
    row = max(DIALECTS[-1].prices, key=lambda row: len(set(row) & set(names)))
    row = row if len(set(row) & set(names)) > 1 else PRICES
    missing = [price for price, name in zip(PRICES, row, strict=True) if name not in names]
    missing = missing if there else ["time", *missing]
    return (
        f"must name the time, open, high, low and close, got {got} with no "
        f"{', '.join(missing) or 'such names'}; rename the columns that hold these (the order is "
        "free, and other columns may stay), or with --step STEP take the file as a series"
    )


def names_prices(line: str) -> bool:
    """Whether a line names some of open, high, low and close, as if bars were meant."""
    names = {plain_name(cell) for cell in _split(line)[1]}
    return any(len(names & set(row)) > 1 for row in DIALECTS[-1].prices[:1])


def _split(line: str) -> tuple[str, list[str]]:
    """The delimiter of a line, and its cells."""
    delimiter = max(_DELIMITERS, key=line.count)
    return delimiter, _cells(line, delimiter)


def _cells(line: str, delimiter: str) -> list[str]:
    return [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter))]


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
    return Layout("series", 1, delimiter, len(cells), (time,), places, names)


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
