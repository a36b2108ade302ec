"""Rules that sound bars keep; all faults of a file are found, and repaired only where asked for."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stage1.base.errors import DataError
from stage1.base.text import plural, shown
from stage1.data.bars import UNREADABLE, Bars, Fault, Repair, Rows, faults_where

FindFaults = Callable[[Rows], list[Fault]]
"""Tells every rule that some row breaks."""
SHOWN = 20
"""At most this many faults are written out; the rest are counted."""


def format_time(seconds: int) -> str:
    """An instant as `2018-01-02 03:04` (with seconds where they are not 0)."""
    text = str(np.datetime64(seconds, "s")).replace("T", " ")
    return text.removesuffix(":00") if len(text) == len("2018-01-02 03:04:00") else text


def find_faults(rows: Rows, *, minutes: int) -> list[Fault]:
    """Every rule that some row breaks.

    A row can break several rules. Order is judged between a row and the one before it.

    Args:
        rows: What a reader made of a file.
        minutes: Length of the bars.
    """
    return [*rows.faults, *_price_faults(rows), *_off_the_minute(rows), *time_faults(rows, minutes)]


def minute_faults(rows: Rows) -> list[Fault]:
    """The same, of 1-minute bars."""
    return find_faults(rows, minutes=1)


def sound_bars(rows: Rows, *, minutes: int, advice: str | None = None) -> Bars:
    """Rows as bars, if every one of them is sound.

    Args:
        rows: What a reader made of a file.
        minutes: Length of the bars.
        advice: What to do about faults; by default the repairs that would take them away.

    Raises:
        DataError: No rows, or some break a rule: one line for each fault, up to `SHOWN`.
    """
    return sound_rows(rows, partial(find_faults, minutes=minutes), advice)


def sound_rows(rows: Rows, find: FindFaults, advice: str | None = None) -> Bars:
    """The same by other rules."""
    if len(rows.lines) == 0 and not rows.faults:
        named = f"{rows.row}s"
        raise DataError(
            f"{rows.path}: must hold {named}, got none; give a file with rows of {named}"
        )
    faults = find(rows)
    if faults:
        raise DataError(describe(rows, faults, advice))
    return Bars(rows.open_time, rows.prices)


def describe(rows: Rows, faults: Sequence[Fault], advice: str | None) -> str:
    """Faults in the order of the file, one line each, under a line with their number."""
    total = sum(len(fault.lines) for fault in faults)
    places = np.concatenate([fault.lines for fault in faults])
    owners = np.repeat(np.arange(len(faults)), [len(fault.lines) for fault in faults])
    positions = np.concatenate([np.arange(len(fault.lines)) for fault in faults])
    shown = [
        f"{rows.path}: {rows.unit} {places[k]}: {faults[owners[k]].rule}, "
        f"got {faults[owners[k]].value(int(positions[k]))}"
        for k in np.argsort(places, kind="stable")[:SHOWN]
    ]
    if advice is None:
        options = sorted({f"--repair {fault.repair}" for fault in faults})
        advice = f"mend the file, or use {' '.join(options)}"
        if rows.row == "step" and any(f.repair == Repair.DROP_INVALID for f in faults):
            advice += ", or take other columns with --channels"
    count = plural(total, "fault")
    counted = f"{count} (the first {SHOWN} below)" if total > SHOWN else count
    headline = f"{rows.path}: every row must be a sound {rows.row}, got {counted}; {advice}"
    return "\n".join([headline, *shown])


def repair_rows(
    rows: Rows, wanted: Collection[Repair], find: FindFaults = minute_faults
) -> tuple[Rows, list[str]]:
    """Do the repairs asked for, and no other, in the order of `Repair`.

    `drop-invalid` drops every row whose own content breaks a rule (also a local time that the
    change of clocks skips, or leaves undecided), `sort` puts rows in order of time,
    `drop-duplicates` keeps the first row of each time.

    Args:
        rows: What a reader made of a file.
        wanted: Which.
        find: The rules.

    Returns:
        The rows that are left, and a line about each repair.

    Raises:
        DataError: More than half of the rows of a series are invalid.
    """
    notes = []
    if Repair.DROP_INVALID in wanted:
        invalid = [f for f in find(rows) if f.repair == Repair.DROP_INVALID]
        lines = np.unique(np.concatenate([f.lines for f in invalid] or [np.empty(0, np.int64)]))
        sound = ~np.isin(rows.lines, lines)
        if rows.row == "step" and len(lines) > sound.sum():
            raise DataError(
                f"{rows.path}: --repair drop-invalid must leave half of the rows of a series, got "
                f"{len(lines):,} invalid ones and {sound.sum():,} others; leave a column out with "
                "--channels, or mend --step"
            )
        rows = _take(rows, sound)._replace(faults=())
        notes.append(f"dropped {plural(len(lines), 'invalid row')}")
    if Repair.SORT in wanted:
        moved = int((np.diff(rows.open_time) < 0).sum())
        rows = _take(rows, np.argsort(rows.open_time, kind="stable"))
        notes.append(f"sorted by time ({plural(moved, 'row')} came before the one above)")
    if Repair.DROP_DUPLICATES in wanted:
        rows, note = _drop_duplicates(rows)
        notes.append(note)
    return rows, notes


def _drop_duplicates(rows: Rows) -> tuple[Rows, str]:
    _, first, inverse = np.unique(rows.open_time, return_index=True, return_inverse=True)
    keep = rows.open_time == UNREADABLE
    keep[first] = True
    differ = (rows.prices != rows.prices[first[inverse]]).any(axis=1) & ~keep
    note = (
        f"dropped {plural(int((~keep).sum()), 'row')} with a time that was there already, "
        f"{int(differ.sum()):,} of them with other {'prices' if rows.row == 'bar' else 'values'}"
    )
    return _take(rows, keep), note


def _take(rows: Rows, chosen: NDArray[np.bool_] | NDArray[np.int64]) -> Rows:
    return rows._replace(
        lines=rows.lines[chosen], open_time=rows.open_time[chosen], prices=rows.prices[chosen]
    )


def _price_faults(rows: Rows) -> Iterator[Fault]:
    open_, high, low, close = rows.prices.T
    broken = ~((rows.prices > 0) & (rows.prices < np.inf))
    yield from number_faults(rows, broken, rule="must be a finite number > 0")
    # A price that is no number is NaN, every comparison with it False: it is reported once.
    top, bottom = np.maximum(open_, close), np.minimum(open_, close)
    yield from faults_where(
        rows.lines,
        high < top,
        rule="high must be >= max(open, close)",
        value=lambda row: f"{high[row]} < {top[row]}",
    )
    yield from faults_where(
        rows.lines,
        low > bottom,
        rule="low must be <= min(open, close)",
        value=lambda row: f"{low[row]} > {bottom[row]}",
    )


def number_faults(rows: Rows, broken: NDArray[np.bool_], *, rule: str) -> Iterator[Fault]:
    """A fault for each column of numbers that has rows which break a rule.

    Args:
        rows: What a reader made of a file.
        broken: (rows, columns) where the rule is broken.
        rule: As it goes on after the name of a column.
    """

    def written(name: str) -> Callable[[int], str]:
        return lambda row: shown(rows.cell(int(rows.lines[row]), name))

    for name, column in zip(rows.names, broken.T, strict=True):
        yield from faults_where(rows.lines, column, rule=f"{name} {rule}", value=written(name))


def _off_the_minute(rows: Rows) -> Iterator[Fault]:
    yield from faults_where(
        rows.lines,
        (rows.open_time != UNREADABLE) & (rows.open_time % 60 != 0),
        rule="time must be on a whole minute",
        value=lambda row: shown(rows.cell(int(rows.lines[row]), "time")),
    )


def time_faults(
    rows: Rows, minutes: int, written: Callable[[int], str] = format_time
) -> Iterator[Fault]:
    """Rows out of order, or too near to the one before.

    Args:
        rows: What a reader made of a file.
        minutes: Length of the bars.
        written: How a message tells an open time.
    """
    readable = rows.open_time != UNREADABLE
    times, lines = rows.open_time[readable], rows.lines[readable]
    steps = np.diff(times, prepend=times[:1] - 60 * minutes)

    def beside_previous(row: int) -> str:
        return (
            f"{written(int(times[row]))} UTC after {written(int(times[row - 1]))} "
            f"({rows.unit} {lines[row - 1]})"
        )

    yield from faults_where(
        lines,
        steps < 0,
        rule="time must be later than the row before",
        value=beside_previous,
        repair=Repair.SORT,
    )
    yield from faults_where(
        lines,
        steps == 0,
        rule="time must not repeat",
        value=beside_previous,
        repair=Repair.DROP_DUPLICATES,
    )
    if minutes > 1:
        yield from faults_where(
            lines,
            (steps > 0) & (steps < 60 * minutes),
            rule=f"time must be {minutes} minutes or more after the row before",
            value=beside_previous,
        )


class Gaps(NamedTuple):
    """Steps between bars that are longer than a bar."""

    number: int
    longest: int
    """Minutes without a bar; steps without a row."""
    after: int
    """Open time of the bar before the longest gap, unix seconds."""


def find_gaps(m1: Bars) -> Gaps:
    """Count the gaps between 1-minute bars, and find the longest."""
    missing = np.diff(m1.open_time) // 60 - 1
    if not (missing > 0).any():
        return Gaps(0, 0, int(m1.open_time[0]))
    longest = int(missing.argmax())
    return Gaps(int((missing > 0).sum()), int(missing[longest]), int(m1.open_time[longest]))


def describe_times(m1: Bars, *, row: str, unit: str, written: Callable[[int], str]) -> str:
    """From when to when there are bars, and the gaps between them.

    Args:
        m1: 1-minute bars, or the rows of a series.
        row: What one is called.
        unit: What a gap is counted in, one of it.
        written: How an open time is told.
    """
    first, last = (written(int(m1.open_time[place])) for place in (0, -1))
    text = f"{plural(len(m1.open_time), row)} from {first} to {last} UTC; "
    gaps = find_gaps(m1)
    if gaps.number == 0:
        return text + "no gap"
    after = written(gaps.after)
    longest = plural(gaps.longest, unit)
    return f"{text}{plural(gaps.number, 'gap')}, the longest {longest} after {after}"


def require_next(source: Path, m1: Bars, *, row: str, wanted: str, unit: str) -> None:
    """Some two bars must follow each other: else all are further apart than they are said to be.

    Args:
        source: The file they are from.
        m1: 1-minute bars, or the rows of a series.
        row: What one is called.
        wanted: What they should be.
        unit: What they are apart, one of it.

    Raises:
        DataError: No two do.
    """
    between = np.diff(m1.open_time)
    if len(between) and between.min() > 60:
        raise DataError(
            f"{source}: {row}s must be {wanted}, got {plural(int(between.min()) // 60, unit)} or "
            "more from each to the next"
        )
