"""The timeframes, fine to coarse."""

import re

MINUTES: dict[str, int] = {"m1": 1, "m5": 5, "m15": 15, "m30": 30, "h1": 60, "h4": 240}
"""Minutes per bar."""
FINEST_OF_SERIES = "x1"
"""The timeframe of a series' own steps; `x12` is that of 12 steps each."""


def steps_per_bar(timeframe: str) -> int | None:
    """Steps of a series in a bar of a timeframe such as `x12`; None for another name."""
    match = re.fullmatch(r"x([1-9][0-9]{0,5})", timeframe)
    return int(match[1]) if match else None
