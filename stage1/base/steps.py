"""Names of timeframes, and steps of time in minutes."""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

DAY = 1440
MINUTES: dict[str, int] = {
    **{f"m{count}": count for count in (1, 2, 3, 5, 10, 15, 30)},
    **{f"h{count}": 60 * count for count in (1, 2, 3, 4, 6, 8, 12)},
    "d1": DAY,
    "w1": 7 * DAY,
}
"""Minutes per bar of every timeframe, fine to coarse; all divide a day, or are days."""
STANDARD = ("m1", "m5", "m15", "m30", "h1", "h4")
"""The timeframes that are made where no others are asked for."""
FINEST_OF_SERIES = "x1"
"""The timeframe of a series' own steps; `x12` is that of 12 steps each."""


def steps_per_bar(timeframe: str) -> int | None:
    """Steps of a series in a bar of a timeframe such as `x12`; None for another name."""
    match = re.fullmatch(r"x([1-9][0-9]{0,5})", timeframe)
    return int(match[1]) if match else None


_SECONDS = {"s": 1, "min": 60, "h": 3600, "d": 86_400, "w": 604_800}
_MONTHS = {"mo": 1, "y": 12}
_TEXT = re.compile(rf"([1-9][0-9]{{0,5}})({'|'.join((*_SECONDS, *_MONTHS))})")


class Step(NamedTuple):
    """A step; the steps of a series are numbered, the one that 1970 begins with is 0."""

    text: str
    """Such as `1h`, `15min`, `1d`, `1mo`."""
    seconds: int
    """How long it is; 0 if it is months."""
    months: int
    """How long it is; 0 if it is seconds."""

    @property
    def by_date(self) -> bool:
        """Whether it is a day or longer, so that dates as they are written count its steps."""
        return not 0 < self.seconds < _SECONDS["d"]

    def numbers(self, seconds: NDArray[np.int64]) -> NDArray[np.int64]:
        """Of the steps that these instants lie in, from unix seconds."""
        if self.seconds:
            return seconds // self.seconds
        months = seconds.astype("M8[s]").astype("M8[M]").astype(np.int64)
        numbers: NDArray[np.int64] = months // self.months
        return numbers

    def starts(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Unix seconds at which the steps of these numbers begin."""
        if self.seconds:
            return numbers * self.seconds
        months = (numbers * self.months).astype("M8[M]")
        return months.astype("M8[s]").astype(np.int64)

    def misplaced(self, seconds: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which instants lie elsewhere in their step than most do; in steps of months, none."""
        if len(seconds) == 0 or not self.seconds:
            return np.zeros(len(seconds), dtype=bool)
        place = seconds % self.seconds
        places, counts = np.unique(place, return_counts=True)
        elsewhere: NDArray[np.bool_] = place != places[counts.argmax()]
        return elsewhere


def parse_step(text: str) -> Step:
    """Read a step such as `1h`.

    Raises:
        ValueError: Not a whole number from 1 and a unit.
    """
    match = _TEXT.fullmatch(text)
    if match is None:
        units = ", ".join((*_SECONDS, *_MONTHS))
        raise ValueError(f"must be a number and one of {units}, such as 1h or 1mo, got {text!r}")
    count, unit = int(match[1]), match[2]
    return Step(text, count * _SECONDS.get(unit, 0), count * _MONTHS.get(unit, 0))
