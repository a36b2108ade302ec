"""Bars, how coarser ones are made of them, and the rows of a file that are to become bars."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from enum import StrEnum
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stage1.base.steps import MINUTES, steps_per_bar
from stage1.base.text import shown
from stage1.config.data import PRICES as PRICES

UNREADABLE: int = np.iinfo(np.int64).min
"""Stands for the open time of a row whose stamp names no instant."""


WEEKS_BEGIN = 3 * 86_400
"""Seconds that 1970 is put forward, so that a multiple of a week is a Monday."""


class DayClock(NamedTuple):
    """What bars are counted on; see `stage1.data.times`."""

    zone: str = "UTC"
    """IANA name, perhaps with a time ahead of it, such as `America/New_York+7h`."""
    weeks: bool = False
    """Whether times are put forward by `WEEKS_BEGIN`, as bars of weeks need it."""


UTC_DAYS = DayClock()


class Bars(NamedTuple):
    """Bars of one timeframe that keep every rule; or the rows of a series, or means of them."""

    open_time: NDArray[np.int64]
    """(bars,) of the bar's open, strictly increasing: unix seconds, in UTC, or what `clock` shows;
    of a series 60 times the number of its step, as `stage1.data.series` counts them."""
    prices: NDArray[np.float64]
    """(bars, 4) open, high, low, close, above 0; of a series (bars, channels); finite."""
    clock: DayClock = UTC_DAYS
    """What the bars of a timeframe are counted on; all of a market are on one."""


def resample(bars: Bars, minutes: int) -> Bars:
    """Aggregate bars to coarser ones, aligned to the clock that they are counted on.

    Intervals are closed and labelled on the left: the bar of 12:00 holds what opened from 12:00 up
    to, but not at, 12:00 + `minutes`. It takes the first open, the highest high, the lowest low and
    the last close of the minutes that are there. An interval without a bar stays out.

    Args:
        bars: Bars of a timeframe that divides `minutes`.
        minutes: Length of the coarse bars.
    """
    if minutes == 1 or len(bars.open_time) == 0:
        return bars
    times, first = _intervals(bars, minutes)
    last = np.append(first[1:], len(bars.open_time)) - 1
    open_, high, low, close = bars.prices.T
    highest, lowest = np.maximum.reduceat(high, first), np.minimum.reduceat(low, first)
    prices = np.stack([open_[first], highest, lowest, close[last]], axis=1)
    return Bars(times, prices, bars.clock)


def from_monday(bars: Bars) -> Bars:
    """The same bars with their times put forward, so that weeks are multiples of their length."""
    if bars.clock.weeks:
        return bars
    return Bars(bars.open_time + WEEKS_BEGIN, bars.prices, bars.clock._replace(weeks=True))


def resample_all(finest: Bars, timeframes: Iterable[str], *, own: str = "m1") -> dict[str, Bars]:
    """Aggregate bars to timeframes of `MINUTES`, each from the coarsest finer one that divides it.

    Args:
        finest: Bars of the timeframe `own`.
        timeframes: Which, in the order of the result; multiples of `own`, or it.
        own: That of `finest`.
    """
    timeframes = tuple(timeframes)
    finest = from_monday(finest) if "w1" in timeframes else finest
    bars = {own: finest}
    for name, minutes in MINUTES.items():
        if name in timeframes and name not in bars:
            finer = next(one for one in reversed(bars) if minutes % MINUTES[one] == 0)
            bars[name] = resample(bars[finer], minutes)
    return {timeframe: bars[timeframe] for timeframe in timeframes}


def resample_means(rows: Bars, timeframes: Iterable[str]) -> dict[str, Bars]:
    """Average the rows of a series to several timeframes.

    Groups are counted from 1970: of a monthly series `x3` are the quarters and `x12` the years, of
    an hourly one `x24` the days in UTC. A group that lost some rows to a gap, or to either end of
    the series, is the mean of those that are there; one without a row stays out.
    """
    return {name: _means(rows, steps_per_bar(name) or 1) for name in timeframes}


def _means(rows: Bars, steps: int) -> Bars:
    if steps == 1 or len(rows.open_time) == 0:
        return rows
    times, first = _intervals(rows, steps)
    sums = np.add.reduceat(rows.prices, first, axis=0)
    counts = np.diff(first, append=len(rows.open_time))
    return Bars(times, sums / counts[:, None])


def _intervals(bars: Bars, minutes: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """When the intervals that hold a bar begin, and the place of the first bar in each."""
    interval = bars.open_time // (60 * minutes)
    first = np.flatnonzero(np.diff(interval, prepend=interval[0] - 1))
    return interval[first] * (60 * minutes), first


def fingerprint(bars: dict[str, Bars]) -> str:
    """Hexadecimal SHA-256 over every array, with its timeframe and length, whatever the order."""
    digest = hashlib.sha256()
    for name in sorted(bars):
        digest.update(f"{name} {len(bars[name].open_time)}\n".encode())
        digest.update(np.ascontiguousarray(bars[name].open_time, dtype="<i8").tobytes())
        digest.update(np.ascontiguousarray(bars[name].prices, dtype="<f8").tobytes())
    return digest.hexdigest()


class Repair(StrEnum):
    """What can be done about rows that break a rule, in the order of doing it."""

    DROP_INVALID = "drop-invalid"
    SORT = "sort"
    DROP_DUPLICATES = "drop-duplicates"
    DROP_STILL = "drop-still"


class Fault(NamedTuple):
    """Rows that break one rule."""

    rule: str
    """Such as `high must be >= max(open, close)`."""
    lines: NDArray[np.int64]
    """Where the rows stand in their file."""
    value: Callable[[int], str]
    """What the n-th of these lines has instead."""
    repair: Repair | None
    """What takes these faults away; None if only people can."""
    instead: str = ""
    """What else may be wrong, and what to do then: the repair must touch few rows, as many would
    mean that the file is misread. Empty where any number may be repaired."""
    always: bool = False
    """Whether that is to be said also of few rows."""
    streak: bool = False
    """Whether some rows in a row are many, too, however long the file is."""


class Rows(NamedTuple):
    """The rows of a file as they were read, not yet checked."""

    path: Path
    unit: Literal["line", "row"]
    """What `lines` counts: lines of a text file, or rows of a table, from 1."""
    format: str
    """What the reader took the file for, in a few words."""
    lines: NDArray[np.int64]
    """(rows,) where each row stands in the file."""
    open_time: NDArray[np.int64]
    """(rows,) UTC, unix seconds, or `UNREADABLE`."""
    prices: NDArray[np.float64]
    """(rows, columns) by `names`; NaN where it is no number."""
    faults: tuple[Fault, ...]
    """What the reader could not read."""
    cell: Callable[[int, str], str]
    """What the file says at a line, in the column `time` or one of `names`."""
    names: tuple[str, ...] = PRICES
    """Of the columns of `prices`."""
    row: Literal["bar", "step"] = "bar"
    """What a row is to be; of a series, a step."""
    unix_times: bool = False
    """Whether the times are written as unix times."""
    blank: Callable[[NDArray[np.int64], str], NDArray[np.bool_]] | None = None
    """At which of some lines a column is empty; None if it never is."""
    clock: str = "UTC"
    """What the times were read by, where they do not name their own."""
    left_out: str = ""
    """Columns without numbers that a series was not asked for, each with an example."""

    def as_written(self, column: str) -> Callable[[int], str]:
        """What gives the cell of a row, counted from 0, as a message shows it."""
        return lambda row: shown(self.cell(int(self.lines[row]), column))


def faults_where(
    lines: NDArray[np.int64],
    broken: NDArray[np.bool_],
    *,
    rule: str,
    value: Callable[[int], str],
    repair: Repair = Repair.DROP_INVALID,
    instead: str = "",
    always: bool = False,
    streak: bool = False,
) -> list[Fault]:
    """The rows where `broken` is True as one fault; none if there are no such rows.

    `lines`, (rows,), is where the rows stand in their file, `value` what a row, counted from 0,
    has instead. All else as `Fault` has it.
    """
    where = np.flatnonzero(broken)
    if len(where) == 0:
        return []
    named = Fault(rule, lines[where], lambda n: value(int(where[n])), repair)
    return [named._replace(instead=instead, always=always, streak=streak)]
