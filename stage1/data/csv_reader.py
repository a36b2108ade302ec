"""Text files of bars, plain or gzipped, read into rows that know where in the file they stand."""

from __future__ import annotations

import codecs
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
    series_layout,
)
from stage1.data.times import (
    UNIX,
    UTC,
    Clock,
    find_template,
    parse_numbers,
    parse_times,
    to_instants,
    to_numpy,
)

HEAD_BYTES = 65_536
"""The first two lines of a file lie within its first so many bytes."""


NOTHING = ("", "nan", "null", "none", "na", "n/a", "-")
"""What programs write where there is no number, in lower case."""


class Head(NamedTuple):
    """The start of a file."""

    compression: str | None
    encoding: str
    number: int
    """Of the first line that is not blank, from 1."""
    line: str
    has_more: bool
    """Whether anything follows on that line."""


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
    """Read a text file of bars, plain or gzipped.

    Args:
        path: The file.
        dialect: Refuse what is not of this dialect; `auto` takes any.
        clock: What times without a zone of their own were read from.

    Raises:
        DataError: Not text, no bars in it, or of no dialect that is known.
    """
    head = _read_head(path)
    layout = find_layout(head.line, dialect)
    if layout is None:
        wanted = "of a known dialect" if dialect == ANY_DIALECT else f"of the dialect {dialect}"
        raise DataError(
            f"{path}: line {head.number}: header or first row must be {wanted}, "
            f"got {shown(head.line)}; give it the header timestamp,open,high,low,close"
        )
    return _read_rows(path, head, layout, clock)


def read_series_csv(
    path: Path, *, clock: Clock = UTC, channels: tuple[str, ...] | None = None
) -> Rows:
    """Read a text file of a series, plain or gzipped: a line of names, then a line for each row.

    Times are in the column `timestamp`, or if there is none in the first, and may be dates.

    Args as of `read_csv`; `channels` are the columns to read, None for all but the time.

    Raises:
        DataError: Not text, no rows in it, or without these columns.
    """
    head = _read_head(path)
    try:
        layout = series_layout(head.line, channels)
    except ValueError as error:
        raise DataError(f"{path}: line {head.number}: {error}") from None
    return _read_rows(path, head, layout, clock)


def _read_rows(path: Path, head: Head, layout: Layout, clock: Clock) -> Rows:
    row: Literal["bar", "step"] = "step" if layout.dialect == "series" else "bar"
    table = _read_table(path, head, layout)
    if len(table.lines) == 0 and not table.ragged:
        raise no_rows(path, row)
    open_time, time_faults, template = _read_times(path, table, clock, series=row == "step")
    header = "with" if layout.has_header else "without"
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
    )


def _read_head(path: Path) -> Head:
    if not path.is_file():
        raise DataError(f"{path}: must be a file of bars, got no file; check the path")
    with path.open("rb") as stream:
        start = stream.read(4)
    if start.startswith(b"PK"):
        raise DataError(f"{path}: must be text or gzip, got a zip archive; unzip it")
    compression = "gzip" if start.startswith(b"\x1f\x8b") else None
    try:
        with pa.input_stream(str(path), compression=compression) as stream:
            data = stream.read(HEAD_BYTES)
    except OSError as error:
        raise DataError(
            f"{path}: must be text or gzip, and cannot be read ({brief(str(error))})"
        ) from None
    encoding = "utf-16" if data.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    lines = data.decode(encoding, errors="replace").splitlines()
    filled = [number for number, line in enumerate(lines) if line.strip()]
    if not filled:
        raise DataError(f"{path}: must hold bars, got an empty file")
    number, line = filled[0] + 1, lines[filled[0]]
    if "\N{REPLACEMENT CHARACTER}" in line:
        rule = "must be UTF-8 text" if encoding == "utf-8-sig" else "must be UTF-16 text"
        raise DataError(f"{path}: line {number}: {rule}, got {shown(line)}; save it as UTF-8")
    return Head(compression, encoding, number, line, len(filled) > 1)


def _read_table(path: Path, head: Head, layout: Layout) -> Table:
    skip = head.number - 1 + layout.has_header
    ragged: list[Any] = []

    def set_aside(row: Any) -> str:
        ragged.append(row)
        return "skip"

    names = [str(column) for column in range(layout.columns)]
    used = [names[column] for column in (*layout.time, *layout.prices)]
    if layout.has_header and not head.has_more:
        return Table({}, np.empty(0, np.int64), [])

    def parsed(handler: Callable[[Any], str] | None) -> pa.Table:
        with pa.input_stream(str(path), compression=head.compression) as stream:
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
                    include_columns=used,
                    column_types=dict.fromkeys(used, pa.string()),
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
    columns = [table.column(name) for name in used]
    time, prices = columns[: len(layout.time)], columns[len(layout.time) :]
    joined = time[0] if len(time) == 1 else pc.binary_join_element_wise(*time, " ")
    texts = dict(zip(("time", *layout.names), (joined, *prices), strict=True))
    return _without_blank_lines(texts, *_number_lines(skip, table.num_rows, ragged))


def _require_text(path: Path, head: Head) -> None:
    """Read the file once as text; UnicodeError if it is none."""
    decoder = codecs.getincrementaldecoder(head.encoding)()
    with pa.input_stream(str(path), compression=head.compression) as stream:
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
    template = find_template(example, dates=series)
    if template is None:
        known = ", ".join((*TIME_TEMPLATES, *(DATE_TEMPLATES if series else ())))
        raise DataError(
            f"{path}: line {table.lines[0]}: time must be a unix time or begin like {known}, "
            f"got {shown(example)}"
        )
    as_written = clock.by_date and clock.zone == "UTC"
    times = parse_times(texts, template, floor=series, as_written=as_written)
    instants = to_instants(times, clock, path)
    return instants.seconds, instants.faults(table.lines, table.cell), template
