"""Gaps between bars, or between the rows of a series."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from stage1.data.bars import Bars
from stage1.errors import DataError
from stage1.faults import plural


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
