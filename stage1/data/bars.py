"""What bars are, and what the rows of a file are before they are known to be bars."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stage1.config.data import PRICES as PRICES

UNREADABLE: int = np.iinfo(np.int64).min
"""Stands for the open time of a row whose stamp names no instant."""


class Repair(StrEnum):
    """What can be done about rows that break a rule, in the order of doing it."""

    DROP_INVALID = "drop-invalid"
    SORT = "sort"
    DROP_DUPLICATES = "drop-duplicates"


class Bars(NamedTuple):
    """Sound bars of one timeframe, in order of time; or the rows of a series, or means of them."""

    open_time: NDArray[np.int64]
    """(bars,) UTC, unix seconds of the bar's open, strictly increasing; of a series 60 times the
    number of its step, as `stage1.data.series` counts them."""
    prices: NDArray[np.float64]
    """(bars, 4) open, high, low, close; finite and positive. (bars, channels) of a series; finite.
    """


class Fault(NamedTuple):
    """Rows that break one rule."""

    rule: str
    """Such as `high must be >= max(open, close)`."""
    lines: NDArray[np.int64]
    """Where the rows stand in their file."""
    value: Callable[[int], str]
    """What the n-th of these lines has instead."""
    repair: Repair
    """What takes these faults away."""


class Rows(NamedTuple):
    """The rows of a file as they were read; whether they are sound bars is not known yet."""

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
    left_out: str = ""
    """Columns without numbers that a series was not asked for, each with an example."""


def faults_where(
    lines: NDArray[np.int64],
    broken: NDArray[np.bool_],
    *,
    rule: str,
    value: Callable[[int], str],
    repair: Repair = Repair.DROP_INVALID,
) -> list[Fault]:
    """The rows where `broken` is True as one fault; none if there are no such rows.

    Args:
        lines: (rows,) where the rows stand in their file.
        broken: (rows,) which of them break the rule.
        rule: What they break.
        value: What a row, counted from 0, has instead.
        repair: What takes the fault away.
    """
    where = np.flatnonzero(broken)
    if len(where) == 0:
        return []
    return [Fault(rule, lines[where], lambda n: value(int(where[n])), repair)]
