"""Any regular series: its rows numbered by their step, checked, averaged to coarser ones.

Inside, a step counts as a minute: the row of step n opens at 60 n seconds, whatever its step is by
the clock or the calendar. So windows, hiding and gaps are those of bars.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

import numpy as np

from stage1.data.bars import UNREADABLE, Bars, Fault, Rows, faults_where
from stage1.data.checks import FindFaults, format_time, number_faults, time_faults
from stage1.faults import shown
from stage1.steps import Step
from stage1.timeframes import steps_per_bar

LARGEST = 1e100
"""Of a value; the squares of larger ones would not be finite."""


def on_steps(rows: Rows, step: Step) -> Rows:
    """The rows with the number of their step, times 60, in place of their time.

    In steps of seconds to weeks every row must lie at the same place of its step as most do; in
    steps of months anywhere.
    """
    readable = rows.open_time != UNREADABLE
    times = rows.open_time[readable]
    astray = np.zeros(len(readable), dtype=bool)
    astray[readable] = step.astray(times)
    numbers = np.full(len(readable), UNREADABLE)
    numbers[readable] = 60 * step.numbers(times)
    numbers[astray] = UNREADABLE
    faults = faults_where(
        rows.lines,
        astray,
        rule=f"time must be a whole number of steps of {step.text} from the other rows'",
        value=lambda row: shown(rows.cell(int(rows.lines[row]), "time")),
    )
    return rows._replace(open_time=numbers, faults=(*rows.faults, *faults))


def start_text(step: Step, open_time: int) -> str:
    """When the step of a row begins, such as `1990-01-01 00:00`."""
    return format_time(int(step.starts(np.array([open_time // 60]))[0]))


def rules_of(step: Step) -> FindFaults:
    """What finds the faults of rows that are `on_steps`: finite numbers, a row a step, in order."""

    def find(rows: Rows) -> list[Fault]:
        broken = ~(np.abs(rows.prices) <= LARGEST)
        rule = "must be a finite number, at most 1e100 in size"
        return [
            *rows.faults,
            *number_faults(rows, broken, rule=rule),
            *time_faults(rows, 1, partial(start_text, step)),
        ]

    return find


def resample_means(rows: Bars, timeframes: Iterable[str]) -> dict[str, Bars]:
    """The rows of a series, and means of several.

    Groups are counted from 1970: of a monthly series `x3` are the quarters and `x12` the years, of
    an hourly one `x24` the days in UTC. A group that lost some rows to a gap, or to either end of
    the series, is the mean of those that are there; one without a row stays out.

    Args:
        rows: Of the series itself.
        timeframes: Such as `x1` and `x12`, in the order of the result.
    """
    return {name: _means(rows, steps_per_bar(name) or 1) for name in timeframes}


def _means(rows: Bars, steps: int) -> Bars:
    if steps == 1 or len(rows.open_time) == 0:
        return rows
    group = rows.open_time // (60 * steps)
    first = np.flatnonzero(np.diff(group, prepend=group[0] - 1))
    sums = np.add.reduceat(rows.prices, first, axis=0)
    counts = np.diff(first, append=len(group))
    return Bars(group[first] * (60 * steps), sums / counts[:, None])
