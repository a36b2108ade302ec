"""Which rows of a file are sound: the rules, the faults in words, the repairs, and the gaps."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stage1.base.errors import DataError
from stage1.base.steps import Step
from stage1.base.text import plural
from stage1.data.bars import UNREADABLE, Bars, Fault, Repair, Rows, faults_where

SHOWN = 20
"""At most this many faults are written out; the rest are counted."""
LARGEST = 1e100
"""Of a series' values; the squares of larger ones would not be finite."""

Rules = Callable[[Rows], list[Fault]]
"""What finds every fault of rows; a row can have several."""


class Spacing(NamedTuple):
    """How far the rows of a file are apart: their rules, and the words for them."""

    rules: Rules
    row: str
    wanted: str
    """What the rows must be."""
    unit: str
    """What gaps between them are counted in, one of it."""
    time_text: Callable[[int], str]
    """An open time for people."""


def format_time(seconds: int) -> str:
    """An instant as `2018-01-02 03:04` (with seconds where they are not 0)."""
    text = str(np.datetime64(seconds, "s")).replace("T", " ")
    return text.removesuffix(":00") if len(text) == len("2018-01-02 03:04:00") else text


def no_rows(path: Path, row: str) -> DataError:
    """That a file has no rows that could become bars or steps."""
    return DataError(f"{path}: must hold {row}s, got none; give a file with rows of {row}s")


def bar_rules(minutes: int) -> Rules:
    """The rules for bars of this length: sound prices, times on the minute and in order."""

    def find(rows: Rows) -> list[Fault]:
        off_the_minute = faults_where(
            rows.lines,
            (rows.open_time != UNREADABLE) & (rows.open_time % 60 != 0),
            rule="time must be on a whole minute",
            value=rows.as_written("time"),
        )
        in_order = _time_faults(rows, minutes, format_time)
        return [*rows.faults, *_price_faults(rows), *off_the_minute, *in_order]

    return find


MINUTE_BARS = Spacing(bar_rules(1), "bar", "1-minute bars", "minute", format_time)


def steps_of_series(step: Step) -> Spacing:
    """The rules for a series with numbered steps: finite numbers, a row a step, in order."""

    def time_text(open_time: int) -> str:
        return format_time(int(step.starts(np.array([open_time // 60]))[0]))

    def find(rows: Rows) -> list[Fault]:
        broken = ~(np.abs(rows.prices) <= LARGEST)
        rule = "must be a finite number, at most 1e100 in size"
        numbers = _number_faults(rows, broken, rule=rule)
        return [*rows.faults, *numbers, *_time_faults(rows, 1, time_text)]

    return Spacing(find, "row", f"{step.text} apart", "step", time_text)


def sound_bars(rows: Rows, rules: Rules, advice: str | None = None) -> Bars:
    """Rows as bars, if every one of them keeps the rules.

    `advice` is what to do about faults; by default the repairs that would take them away.

    Raises:
        DataError: No rows, or some break a rule: one line for each fault, up to `SHOWN`.
    """
    if len(rows.lines) == 0 and not rows.faults:
        raise no_rows(rows.path, rows.row)
    faults = rules(rows)
    if faults:
        raise DataError(_describe(rows, faults, advice))
    return Bars(rows.open_time, rows.prices)


def _describe(rows: Rows, faults: Sequence[Fault], advice: str | None) -> str:
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


def repair_rows(rows: Rows, wanted: Collection[Repair], rules: Rules) -> tuple[Rows, list[str]]:
    """Do the repairs asked for, and no other, in the order of `Repair`.

    `drop-invalid` drops every row whose own content breaks a rule (also a local time that the
    change of clocks skips, or leaves undecided), `sort` puts rows in order of time,
    `drop-duplicates` keeps the first row of each time.

    Returns:
        The rows that are left, and a line about each repair.

    Raises:
        DataError: More than half of the rows of a series are invalid.
    """
    notes = []
    if Repair.DROP_INVALID in wanted:
        invalid = [f for f in rules(rows) if f.repair == Repair.DROP_INVALID]
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
        _, first, inverse = np.unique(rows.open_time, return_index=True, return_inverse=True)
        keep = rows.open_time == UNREADABLE
        keep[first] = True
        differ = (rows.prices != rows.prices[first[inverse]]).any(axis=1) & ~keep
        values = "prices" if rows.row == "bar" else "values"
        notes.append(
            f"dropped {plural(int((~keep).sum()), 'row')} with a time that was there already, "
            f"{int(differ.sum()):,} of them with other {values}"
        )
        rows = _take(rows, keep)
    return rows, notes


def _take(rows: Rows, chosen: NDArray[np.bool_] | NDArray[np.int64]) -> Rows:
    return rows._replace(
        lines=rows.lines[chosen], open_time=rows.open_time[chosen], prices=rows.prices[chosen]
    )


def _price_faults(rows: Rows) -> Iterator[Fault]:
    open_, high, low, close = rows.prices.T
    broken = ~((rows.prices > 0) & (rows.prices < np.inf))
    yield from _number_faults(rows, broken, rule="must be a finite number > 0")
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


def _number_faults(rows: Rows, broken: NDArray[np.bool_], *, rule: str) -> Iterator[Fault]:
    """A fault for each column that has rows where `broken`, (rows, columns), is True."""
    for name, column in zip(rows.names, broken.T, strict=True):
        yield from faults_where(
            rows.lines, column, rule=f"{name} {rule}", value=rows.as_written(name)
        )


def _time_faults(rows: Rows, minutes: int, time_text: Callable[[int], str]) -> Iterator[Fault]:
    """Rows out of order, or nearer to the one before than a bar of so many minutes is long."""
    readable = rows.open_time != UNREADABLE
    times, lines = rows.open_time[readable], rows.lines[readable]
    steps = np.diff(times, prepend=times[:1] - 60 * minutes)

    def after_previous(row: int) -> str:
        return (
            f"{time_text(int(times[row]))} UTC after {time_text(int(times[row - 1]))} "
            f"({rows.unit} {lines[row - 1]})"
        )

    too_near = f"time must be {minutes} minutes or more after the row before"
    for broken, rule, repair in (
        (steps < 0, "time must be later than the row before", Repair.SORT),
        (steps == 0, "time must not repeat", Repair.DROP_DUPLICATES),
        ((steps > 0) & (steps < 60 * minutes) & (minutes > 1), too_near, Repair.DROP_INVALID),
    ):
        yield from faults_where(lines, broken, rule=rule, value=after_previous, repair=repair)


def describe_times(m1: Bars, spacing: Spacing) -> str:
    """From when to when there are 1-minute bars, or rows of a series, and the gaps between them."""
    first, last = (spacing.time_text(int(m1.open_time[place])) for place in (0, -1))
    text = f"{plural(len(m1.open_time), spacing.row)} from {first} to {last} UTC; "
    missing = np.diff(m1.open_time) // 60 - 1
    gaps = int((missing > 0).sum())
    if gaps == 0:
        return text + "no gap"
    longest = int(missing.argmax())
    after = spacing.time_text(int(m1.open_time[longest]))
    length = plural(int(missing[longest]), spacing.unit)
    return f"{text}{plural(gaps, 'gap')}, the longest {length} after {after}"


def require_neighbours(source: Path, m1: Bars, spacing: Spacing) -> None:
    """Some two bars must follow each other: else all are further apart than they are said to be.

    Raises:
        DataError: No two do.
    """
    between = np.diff(m1.open_time)
    if len(between) and between.min() > 60:
        raise DataError(
            f"{source}: {spacing.row}s must be {spacing.wanted}, got "
            f"{plural(int(between.min()) // 60, spacing.unit)} or more from each to the next"
        )
