"""Which windows the bars have, and which train, validate and test: no bar does two of these."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stage1.base.errors import DataError
from stage1.config import DataConfig
from stage1.data.bars import Bars

DAY = 86_400
DAY_MINUTES = DAY // 60
LONGEST_GAP = 10**9
"""In minutes: no gap is longer."""
FEWEST_BARS = 8
"""Of a timeframe in a calendar window to be drawn from; with fewer it is context."""


class WindowIndex(NamedTuple):
    """Windows in order of time; each timeframe's bars are the `lengths` up to `last`."""

    ends: NDArray[np.int64]
    """(windows,) the instant at which all bars of the window are completed, unix seconds."""
    starts: NDArray[np.int64]
    """(windows,) open time of the window's earliest bar, unix seconds."""
    last: NDArray[np.int64]
    """(windows, timeframes) index of the last completed bar."""
    lengths: NDArray[np.int64]
    """(windows, timeframes) bars; in a calendar window they differ, and may be 0."""

    def take(self, chosen: NDArray[np.int64] | NDArray[np.bool_]) -> WindowIndex:
        """The chosen windows."""
        return WindowIndex(*(field[chosen] for field in self))


class Split(NamedTuple):
    """Training, validation and test windows, with nothing in common."""

    training: WindowIndex
    validation: WindowIndex
    test: WindowIndex
    """None without `test_share`."""
    boundary: int
    """Unix seconds; training windows end by it, validation windows start from it."""
    test_from: int
    """Likewise of validation and test windows; the end of all bars without `test_share`."""


def find_windows(
    bars: dict[str, Bars], config: DataConfig, *, calendar: bool = False
) -> WindowIndex:
    """All windows of completed bars that cross no long gap.

    A window ends with a bar of the finest timeframe, every `stride` minutes of the clock; where the
    data are a series, with a step of it, and its steps count as minutes everywhere. Of each
    timeframe it holds the last `seq_len` bars completed by then, or, if `calendar`, all bars that
    lie whole in the time of the last `seq_len` finest bars. Left out are windows in which a
    timeframe (the finest, if `calendar`) has no bar for more than `max_gap` minutes, and calendar
    windows with fewer than `FEWEST_BARS` of the finest bars.

    Raises:
        DataError: A bar opens off the clock, so that nobody knows what it overlaps.
    """
    ends = bars[config.timeframes[0]].open_time + _finest_seconds(config)
    ends = ends[(ends // 60) % config.stride == 0]
    find = _calendar_windows if calendar else _windows_of_equal_length
    return find(bars, config, ends)


def _windows_of_equal_length(
    bars: dict[str, Bars], config: DataConfig, ends: NDArray[np.int64]
) -> WindowIndex:
    usable = np.ones(len(ends), dtype=bool)
    last = np.empty((len(ends), len(config.timeframes)), dtype=np.int64)
    starts = ends.copy()
    for column, timeframe in enumerate(config.timeframes):
        times, length = _times_on_clock(bars, timeframe, config.minutes[column])
        if len(times) == 0:
            return WindowIndex(ends[:0], starts[:0], last[:0], last[:0])
        index = np.searchsorted(times + length, ends, side="right") - 1
        begun = np.searchsorted(times, ends, side="left") - 1  # the newest bar, completed or not
        first = index - config.seq_len + 1
        usable &= first >= 0
        index, begun, first = (np.maximum(bar, 0) for bar in (index, begun, first))
        longest = length + config.max_gap * 60
        gaps = np.concatenate([[0], (np.diff(times) > longest).cumsum()])
        usable &= (gaps[begun] == gaps[first]) & (ends - times[begun] <= longest)
        last[:, column] = index
        starts = np.minimum(starts, times[first])
    return WindowIndex(ends, starts, last, np.full_like(last, config.seq_len)).take(usable)


def _calendar_windows(
    bars: dict[str, Bars], config: DataConfig, ends: NDArray[np.int64]
) -> WindowIndex:
    finest = _finest_seconds(config)
    starts = ends - config.seq_len * finest
    last = np.empty((len(ends), len(config.timeframes)), dtype=np.int64)
    first = np.empty_like(last)
    for column, timeframe in enumerate(config.timeframes):
        times, length = _times_on_clock(bars, timeframe, config.minutes[column])
        last[:, column] = np.searchsorted(times + length, ends, side="right") - 1
        first[:, column] = np.searchsorted(times, starts, side="left")
    count = np.maximum(last - first + 1, 0)
    times, longest = bars[config.timeframes[0]].open_time, finest + config.max_gap * 60
    gaps = np.concatenate([[0], (np.diff(times) > longest).cumsum()])
    usable = (count[:, 0] >= FEWEST_BARS) & (gaps[last[:, 0]] == gaps[first[:, 0]])
    usable &= times[first[:, 0]] - starts < longest
    usable &= starts >= times[:1]  # before the first bar nobody knows whether there was a gap
    return WindowIndex(ends, starts, last, count).take(usable)


def _finest_seconds(config: DataConfig) -> int:
    """Length of a bar of the finest timeframe."""
    return 60 * config.minutes[0]


def _times_on_clock(
    bars: dict[str, Bars], timeframe: str, minutes: int
) -> tuple[NDArray[np.int64], int]:
    """When the bars of a timeframe open, and their length in seconds."""
    times, length = bars[timeframe].open_time, minutes * 60
    zone, weeks = bars[timeframe].clock
    off = times[times % length != 0]
    if timeframe == "w1" and not weeks:
        rule = "w1: weeks must begin on a Monday"
        raise DataError(f"{rule}, got other bars; make them with `python -m stage1.prepare`")
    if len(off):
        raise DataError(
            f"{timeframe}: every bar must open on the {zone} clock at a multiple of "
            f"{minutes} minutes, got {np.datetime64(int(off[0]), 's')}; make the bars "
            "anew from finer ones: python -m stage1.prepare"
        )
    return times, length


def split_windows(
    windows: WindowIndex, bars: dict[str, Bars], config: DataConfig, *, calendar: bool = False
) -> Split:
    """Cut by time and purge: windows that reach across a cut belong to neither side.

    Of the validation and the test windows at most `config.validation_windows` each are kept, evenly
    spaced.

    Raises:
        DataError: A side is empty; says how many days or steps the bars must span.

    Source:
        Purging after Lopez de Prado 2018, "Advances in Financial Machine Learning", section 7.4.1.
    """
    times = bars[config.timeframes[0]].open_time
    first, last = (
        (int(times[0]), int(times[-1]) + _finest_seconds(config)) if len(times) else (0, 0)
    )
    test_from = round(last - (config.test_share or 0) * (last - first))
    boundary = round(test_from - config.validation_share * (test_from - first))
    training = windows.take(windows.ends <= boundary)
    validation = windows.take((windows.starts >= boundary) & (windows.ends <= test_from))
    test = windows.take(windows.starts >= test_from)
    wanted = (training, validation, test) if config.test_share else (training, validation)
    if not all(len(side.ends) for side in wanted):
        cuts = (boundary, test_from)[: len(wanted) - 1]
        raise DataError(_too_little_data(config, times, cuts, calendar=calendar))
    if calendar:
        _check_every_timeframe(windows, config)
    most = config.validation_windows
    return Split(training, _evenly(validation, most), _evenly(test, most), boundary, test_from)


def _evenly(windows: WindowIndex, most: int) -> WindowIndex:
    count = min(most, len(windows.ends))
    return windows.take(np.linspace(0, len(windows.ends) - 1, count).round().astype(np.int64))


def days_needed(config: DataConfig, *, calendar: bool = False) -> float:
    """Days without gaps that give each side of the split its first window, rounded up."""
    return float(np.ceil(_minutes_needed(config, calendar=calendar) * 60 / DAY * 10) / 10)


def _minutes_needed(config: DataConfig, *, calendar: bool) -> float:
    validation, test = config.validation_share, config.test_share or 0.0
    shares = [(1 - test) * validation, (1 - test) * (1 - validation), *filter(None, [test])]
    return _minutes_of_side(config, calendar=calendar) / min(shares)


def _minutes_of_side(config: DataConfig, *, calendar: bool) -> int:
    """What each side of the split needs for one window."""
    coarsest = config.minutes[0] if calendar else config.minutes[-1]
    # One bar more, since the first may have begun too early; one stride, until a window may end.
    return (config.seq_len + 1) * coarsest + max(config.stride, config.minutes[0])


def _longest_stretch(times: NDArray[np.int64], config: DataConfig) -> int:
    """Seconds from the first to the last of these bars between which there is no long gap."""
    if len(times) == 0:
        return 0
    length = _finest_seconds(config)
    gaps = np.flatnonzero(np.diff(times) > length + config.max_gap * 60)
    first, last = times[np.append(0, gaps + 1)], times[np.append(gaps, len(times) - 1)]
    return int((last - first).max()) + length


def _check_every_timeframe(windows: WindowIndex, config: DataConfig) -> None:
    """Calendar windows take what bars there are: that a timeframe has none at all must be told."""
    for column, timeframe in enumerate(config.timeframes):
        if not windows.lengths[:, column].any():
            first, last = (np.datetime64(int(end), "s") for end in windows.ends[[0, -1]])
            there = f"that end from {first} to {last}; make the bars of all timeframes anew from "
            there += "the same fine ones: python -m stage1.prepare"
            if config.kind == "series":
                there = "that there are; leave it out of data.timeframes, or raise data.seq_len"
            raise DataError(
                f"{timeframe} must have a bar in some window, got none in the "
                f"{len(windows.ends):,} {there}"
            )


def _too_little_data(
    config: DataConfig, times: NDArray[np.int64], cuts: tuple[int, ...], *, calendar: bool
) -> str:
    length, further = f"bars of {config.timeframes[-1]}", ""
    advice = ["add data", "change data.seq_len", "drop coarse timeframes", "raise data.max_gap"]
    if calendar:
        length = _span_unit(config)
        advice.remove("drop coarse timeframes")
        further = f" and with at least {FEWEST_BARS} bars of {config.timeframes[0]} in each window"
    needed = f"{days_needed(config, calendar=calendar):.1f} days"
    took = _minutes_of_side(config, calendar=calendar)
    sides = np.split(times, np.searchsorted(times, cuts))
    stretches = [_longest_stretch(side, config) // 60 for side in sides]
    whole = _longest_stretch(times, config.model_copy(update={"max_gap": LONGEST_GAP})) // 60
    if config.kind == "series":
        needed = f"{int(np.ceil(_minutes_needed(config, calendar=calendar))):,} steps"
        spans, least = [f"{steps:,}" for steps in (whole, *stretches)], f"{took:,}"
        unit = "steps"
    else:
        spans = [f"{minutes / DAY_MINUTES:.1f}" for minutes in (whole, *stretches)]
        least = f"{np.ceil(took / DAY_MINUTES * 10) / 10:.1f}"
        unit = "days"
    side, shares = "either side", f"data.validation_share={config.validation_share}"
    where = f"{spans[1]} before the split and {spans[2]} after it"
    if len(cuts) > 1:
        side, shares = "each side", f"{shares}, data.test_share={config.test_share:g}"
        where = f"{spans[1]} to train, {spans[2]} to validate and {spans[3]} to test"
        advice.append("set data.test_share to 0, and no period is left that nothing was chosen by")
    return (
        f"the bars must span at least {needed} without a gap over {config.max_gap} {config.unit}"
        f"{further} (data.seq_len={config.seq_len} {length} on {side} of the split, "
        f"{shares}), got {spans[0]} {unit}, the longest stretch without one {where}, where "
        f"{least} are needed; {', '.join(advice[:-1])} or {advice[-1]}"
    )


def _span_unit(config: DataConfig) -> str:
    """What the length of a calendar window is counted in."""
    return config.unit if config.minutes[0] == 1 else f"bars of {config.timeframes[0]}"
