"""Text files of bars, also compressed, read into rows that know where in the file they stand."""

from __future__ import annotations

import codecs
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
from numpy.typing import NDArray

from stage1.base.errors import DataError
from stage1.base.text import brief, shown
from stage1.data.bars import Fault, Repair, Rows
from stage1.data.checks import no_rows
from stage1.data.csv_dialects import (
    ANY_DIALECT,
    DATE_TEMPLATES,
    TIME_TEMPLATES,
    Layout,
    find_layout,
    names_prices,
    series_layout,
)
from stage1.data.plausibility import require_one_symbol
from stage1.data.times import (
    UNIX,
    UTC,
    Clock,
    find_template,
    is_time,
    parse_numbers,
    parse_times,
    to_instants,
    to_numpy,
)

HEAD_BYTES = 65_536
"""The first lines of a file lie within its first so many bytes."""
HEAD_LINES = 5
"""So many of them say how the file is to be read."""
SURE_ZONES = {"UTC": "UTC", "GMT": "UTC", "EET": "EET"}
"""Clocks that a header may name, beside IANA's names with a region, and what is meant. Others, such
as EST, are written by programs both for a clock with summer time and for one without."""
_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+")
_JSON = ("JSON", "write it as CSV, as pandas.read_json(FILE).to_csv(NEW) does")
_PAGE = ("a web page or XML", "save the table itself as CSV")
_OTHER_KINDS = {
    b"\xd0\xcf\x11\xe0": ("an Excel workbook", "save the sheet as CSV"),
    b"\x89HDF": ("an HDF5 file", "write it as CSV, as DataFrame.to_csv of pandas does"),
    **dict.fromkeys((b"[", b"{"), _JSON),
    **dict.fromkeys((b"<!", b"<?", b"<html", b"<HTML"), _PAGE),
}
"""How files begin that are no CSV: what they are, and what to do."""


NOTHING = ("", "nan", "null", "none", "na", "n/a", "-")
"""What programs write where there is no number, in lower case."""


class Head(NamedTuple):
    """The start of a file."""

    compression: str | None
    """gzip, or zip for an archive with one file in it; None for plain text."""
    encoding: str
    numbers: tuple[int, ...]
    """Of the first `HEAD_LINES` lines that are neither blank nor, above all others, begin with #;
    from 1."""
    lines: tuple[str, ...]
    """What they say; at least one."""


class Table(NamedTuple):
    """The columns in use, as text."""

    texts: dict[str, pa.ChunkedArray]
    """`time`, and the layout's names."""
    lines: NDArray[np.int64]
    """(rows,) where each row stands in the file, from 1."""
    ragged: list[Fault]
    """Lines with too few or too many cells; they are no rows."""

    def cell(self, line: int, column: str) -> str:
        """What the file says at a line."""
        return str(self.texts[column][int(np.searchsorted(self.lines, line))])

    def blank(self, lines: NDArray[np.int64], column: str) -> NDArray[np.bool_]:
        """At which of these lines nothing stands in a column, or a word for nothing."""
        texts = self.texts[column].take(pa.array(np.searchsorted(self.lines, lines)))
        words = pc.utf8_lower(pc.utf8_trim_whitespace(texts))
        return np.asarray(pc.is_in(words, value_set=pa.array(NOTHING)))


def read_csv(path: Path, *, dialect: str = ANY_DIALECT, clock: Clock = UTC) -> Rows:
    """Read a text file of bars, plain, gzipped or alone in a zip archive.

    Args:
        path: The file.
        dialect: Refuse what is not of this dialect; `auto` takes any.
        clock: What times without a zone of their own were read from.

    Raises:
        DataError: Not text, no bars in it, or of no dialect that is known.
    """
    head = _read_head(path)
    try:
        layout = find_layout(head.lines, dialect, is_time=is_time)
    except ValueError as error:
        raise DataError(f"{path}: line {head.numbers[0]}: {error}") from None
    return _read_rows(path, head, layout, _clock(path, head, layout, clock))


def has_bars(path: Path) -> bool:
    """Whether a text file has bars, rather than a series of other numbers.

    Raises:
        DataError: Not text, or it seems to have bars and cannot be read as such.
    """
    head = _read_head(path)
    try:
        find_layout(head.lines, is_time=is_time)
    except ValueError as error:
        if names_prices(head.lines[0]):
            advice = "or take columns as a series with --channels LIST"
            raise DataError(f"{path}: line {head.numbers[0]}: {error}; {advice}") from None
        return False
    return True


def _clock(path: Path, head: Head, layout: Layout, clock: Clock) -> Clock:
    """The clock to read the times by: the one asked for, or else the one that the header names."""
    named = SURE_ZONES.get(layout.zone.upper(), layout.zone)
    if not named or named == clock.zone or (clock.by_date and clock.zone == "UTC"):
        return clock
    if named not in SURE_ZONES.values() and "/" not in named:
        if clock.zone != "UTC":
            return clock
        raise DataError(
            f"{path}: line {head.numbers[0]}: the header must name the clock of the times by an "
            f"IANA name such as America/New_York, or not at all, got ({layout.zone}), which has no "
            "one meaning; say the clock with --tz ZONE (with --tz Etc/UTC that it is UTC)"
        )
    if named == "UTC":
        raise DataError(
            f"{path}: line {head.numbers[0]}: --tz must be left out for times that the header says "
            f"are in {layout.zone}, got {clock.zone}"
        )
    return clock._replace(zone=named) if clock.zone == "UTC" else clock


def read_series_csv(
    path: Path, *, clock: Clock = UTC, channels: tuple[str, ...] | None = None
) -> Rows:
    """Read a text file of a series: a line of names, then a line for each row.

    Times are in the column `timestamp`, or if there is none in the first, and may be dates.

    Args as of `read_csv`; `channels` are the columns to read, None for all but the time.

    Raises:
        DataError: Not text, no rows in it, or without these columns.
    """
    head = _read_head(path)
    try:
        layout = series_layout(head.lines[0], channels)
    except ValueError as error:
        raise DataError(f"{path}: line {head.numbers[0]}: {error}") from None
    return _read_rows(path, head, layout, clock)


def _read_rows(path: Path, head: Head, layout: Layout, clock: Clock) -> Rows:
    row: Literal["bar", "step"] = "step" if layout.dialect == "series" else "bar"
    table = _read_table(path, head, layout)
    if len(table.lines) == 0 and not table.ragged:
        raise no_rows(path, row)
    if row == "bar":
        table = table._replace(texts=_with_decimal_points(table.texts))
    open_time, time_faults, template = _read_times(path, table, clock, series=row == "step")
    header = "with" if layout.header else "without"
    prices = np.empty((len(table.lines), len(layout.names)))
    for column, name in enumerate(layout.names if len(prices) else ()):
        prices[:, column] = parse_numbers(table.texts[name])
    return Rows(
        path=path,
        unit="line",
        format=f"{layout.dialect}, {header} header, times as {template}",
        lines=table.lines,
        open_time=open_time,
        prices=prices,
        faults=(*table.ragged, *time_faults),
        cell=table.cell,
        names=layout.names,
        row=row,
        blank=table.blank,
        unix_times=template == UNIX,
        clock=clock.zone,
    )


def _with_decimal_points(texts: dict[str, pa.ChunkedArray]) -> dict[str, pa.ChunkedArray]:
    """Prices with decimal commas as ones with points, if the file shows that this is meant.

    `1,234` can be more than a thousand: some price must have other than three digits after its
    comma, and none a point.
    """
    prices = {name: texts[name] for name in texts if name != "time"}
    first = [str(column[0]) for column in prices.values() if len(column)]
    if not any(map(_DECIMAL_COMMA.fullmatch, first)):
        return texts
    columns = prices.values()
    points = any(pc.any(pc.match_substring(column, ".")).as_py() for column in columns)
    sure = r"^\s*[+-]?\d+,(\d{1,2}|\d{4,})\s*$"
    if points or not any(pc.any(pc.match_substring_regex(c, sure)).as_py() for c in columns):
        return texts
    return texts | {
        name: pc.replace_substring_regex(column, r"^(\s*[+-]?\d+),(\d+\s*)$", r"\1.\2")
        for name, column in prices.items()
    }


def _open(path: Path, compression: str | None) -> Any:
    """The text of a file, as a stream of bytes."""
    if compression != "zip":
        return pa.input_stream(str(path), compression=compression)
    with zipfile.ZipFile(path) as archive:
        return pa.PythonFile(archive.open(_file_in(path, archive)), mode="r")


def _file_in(path: Path, archive: zipfile.ZipFile) -> str:
    """The one file of an archive."""
    names = [name for name in archive.namelist() if not name.endswith("/")]
    if "[Content_Types].xml" in names or "mimetype" in names:
        advice = "save the sheet as CSV (UTF-8), with times as 2024-03-04 09:30, and give that"
        raise DataError(f"{path}: must be CSV or Parquet, got a workbook; {advice}")
    if len(names) != 1:
        some = ", ".join(names[:3]) or "none"
        raise DataError(
            f"{path}: an archive must hold one file, got {len(names)} ({brief(some)}); unzip it "
            "and give one of them"
        )
    return names[0]


def _read_head(path: Path) -> Head:
    if not path.is_file():
        raise DataError(f"{path}: must be a file of bars, got no file; check the path")
    with path.open("rb") as stream:
        start = stream.read(4)
    known = {b"PK": "zip", b"\x1f\x8b": "gzip"}
    compression = next((name for magic, name in known.items() if start.startswith(magic)), None)
    try:
        with _open(path, compression) as stream:
            data = stream.read(HEAD_BYTES)
    except (OSError, zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        # The last two are zipfile's for a way to compress it does not know, and for a password.
        raise DataError(
            f"{path}: must be text, gzip or zip, and cannot be read ({brief(str(error))})"
        ) from None
    for magic, (kind, advice) in _OTHER_KINDS.items():
        if data.lstrip().startswith(magic):
            raise DataError(f"{path}: must be CSV or Parquet, got {kind}; {advice}")
    encoding = "utf-16" if data.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    lines = data.decode(encoding, errors="replace").splitlines()
    filled = [number for number, line in enumerate(lines) if line.strip()]
    while len(filled) > 1 and lines[filled[0]].startswith("#"):
        del filled[0]
    if not filled:
        raise DataError(f"{path}: must hold bars, got an empty file")
    chosen = filled[:HEAD_LINES]
    number, line = chosen[0] + 1, lines[chosen[0]]
    if "\N{REPLACEMENT CHARACTER}" in line:
        rule = "must be UTF-8 text" if encoding == "utf-8-sig" else "must be UTF-16 text"
        raise DataError(f"{path}: line {number}: {rule}, got {shown(line)}; save it as UTF-8")
    return Head(
        compression, encoding, tuple(n + 1 for n in chosen), tuple(lines[n] for n in chosen)
    )


def _read_table(path: Path, head: Head, layout: Layout) -> Table:
    skip = head.numbers[layout.header - 1] if layout.header else head.numbers[0] - 1
    ragged: list[Any] = []

    def set_aside(row: Any) -> str:
        ragged.append(row)
        return "skip"

    names = [str(column) for column in range(layout.columns)]
    used = [names[column] for column in (*layout.time, *layout.prices)]
    symbols = [names[column] for column in layout.symbols]
    kinds = dict.fromkeys(symbols, pa.dictionary(pa.int32(), pa.string()))
    if layout.header == len(head.lines):
        return Table({}, np.empty(0, np.int64), [])

    def parsed(handler: Callable[[Any], str] | None) -> pa.Table:
        with _open(path, head.compression) as stream:
            return pyarrow.csv.read_csv(
                stream,
                # Serial: only then are rows that are set aside numbered.
                pyarrow.csv.ReadOptions(
                    use_threads=False,
                    skip_rows=skip,
                    column_names=names,
                    encoding=head.encoding.removesuffix("-sig"),
                ),
                pyarrow.csv.ParseOptions(
                    delimiter=layout.delimiter,
                    ignore_empty_lines=False,
                    invalid_row_handler=handler,
                ),
                pyarrow.csv.ConvertOptions(
                    include_columns=[*used, *symbols],
                    column_types=kinds | dict.fromkeys(used, pa.string()),
                    strings_can_be_null=False,
                ),
            )

    try:
        try:
            table = parsed(None)
        except pa.ArrowInvalid:  # rows to set aside, which Arrow hands over as text
            _require_text(path, head)
            table = parsed(set_aside)
    except (pa.ArrowException, OSError, UnicodeError) as error:
        raise DataError(
            f"{path}: must be text with one bar a line, got {brief(str(error))}; mend the file"
        ) from None
    lines, faults = _number_lines(skip, table.num_rows, ragged)
    for name in symbols:
        require_one_symbol(path, table.column(name), lambda row: f"line {lines[row]}")
    columns = [table.column(name) for name in used]
    time, prices = columns[: len(layout.time)], columns[len(layout.time) :]
    joined = time[0] if len(time) == 1 else pc.binary_join_element_wise(*time, " ")
    texts = dict(zip(("time", *layout.names), (joined, *prices), strict=True))
    return _without_blank_lines(texts, lines, faults)


def _require_text(path: Path, head: Head) -> None:
    """Read the file once as text; UnicodeError if it is none."""
    decoder = codecs.getincrementaldecoder(head.encoding)()
    with _open(path, head.compression) as stream:
        while data := stream.read(HEAD_BYTES):
            decoder.decode(data)
        decoder.decode(b"", final=True)


def _number_lines(skip: int, rows: int, ragged: list[Any]) -> tuple[NDArray[np.int64], list[Fault]]:
    """The line of each row, and the fault of the lines set aside; blank ones are none."""
    numbers = np.arange(skip + 1, skip + 1 + rows + len(ragged))
    if not ragged:
        return numbers, []
    is_row = np.ones(len(numbers), dtype=bool)
    is_row[[row.number - skip - 1 for row in ragged]] = False
    filled = [row for row in ragged if row.text.strip()]
    if not filled:
        return numbers[is_row], []
    fault = Fault(
        f"the line must have {filled[0].expected_columns} cells as the first line has",
        np.array([row.number for row in filled]),
        lambda n: f"{filled[n].actual_columns}",
        Repair.DROP_INVALID,
        "save it again with the same number of cells in every line",
    )
    return numbers[is_row], [fault]


def _without_blank_lines(
    texts: dict[str, pa.ChunkedArray], lines: NDArray[np.int64], ragged: list[Fault]
) -> Table:
    filled = np.zeros(len(lines), dtype=bool)
    for column in texts.values():
        if filled.all():
            return Table(texts, lines, ragged)
        filled |= np.concatenate(
            [to_numpy(pc.binary_length(chunk)) > 0 for chunk in column.chunks] or [filled]
        )
    chosen = pa.array(filled)
    return Table(
        {name: column.filter(chosen) for name, column in texts.items()}, lines[filled], ragged
    )


def _read_times(
    path: Path, table: Table, clock: Clock, *, series: bool
) -> tuple[NDArray[np.int64], list[Fault], str]:
    """Open times, what is wrong with them, and the template they are written by."""
    texts = table.texts["time"]
    if len(texts) == 0:
        return np.empty(0, np.int64), [], "none"
    example = str(texts[0])
    template = find_template(example, dates=True)
    if template in DATE_TEMPLATES and not series:
        _require_dates_once(path, table, template)
    if template is None:
        known = ", ".join((*TIME_TEMPLATES, *(DATE_TEMPLATES if series else ())))
        raise DataError(
            f"{path}: line {table.lines[0]}: time must be a unix time or begin like {known}, "
            f"got {shown(example)}; write the times as 2024-03-04 09:30, dates "
            "as 2024-03-04"
        )
    as_written = clock.by_date and clock.zone == "UTC"
    times = parse_times(texts, template, floor=series, as_written=as_written)
    instants = to_instants(times, clock, path)
    return instants.seconds, instants.faults(table.lines, table.cell), template


def _require_dates_once(path: Path, table: Table, template: str) -> None:
    """Dates that come again have their time of day in a column that is not known."""
    if "D" not in template:
        raise DataError(
            f"{path}: line {table.lines[0]}: time must be a unix time, a time or a date of a bar, "
            f"got {shown(str(table.texts['time'][0]))}; write the times as 2024-03-04 09:30"
        )
    texts = table.texts["time"].combine_chunks()
    again = pc.equal(texts[1:], texts[:-1])
    if pc.any(again).as_py():
        row = pc.index(again, True).as_py() + 1
        raise DataError(
            f"{path}: line {table.lines[row]}: bars must have their time, got dates without a time "
            f"of day, some more than once ({shown(str(texts[row]))}); name the column that holds "
            "the time of day 'time'"
        )
