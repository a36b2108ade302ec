"""What no single row shows, but its neighbours do: prices that cannot be, copies, filled weekends.

The rules here take rows that are sound one by one and in order of time. They compare prices with
those beside them only by their ratio, so that they hold for any market and any unit. They know
neither a price that is right nor a clock; what they find is named and left to people.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from stage1.base.errors import DataError
from stage1.base.text import brief, plural, shown
from stage1.data.bars import UNREADABLE, Fault, Rows, faults_where
from stage1.data.times import local_to_utc, utc_to_local

FAR = 5.0
"""A price so many times above or below those on both sides of it is no price: a lost decimal point
makes it 10 or more, and real bars (1.1 million of EUR/USD, 14 days of BTC/USD) stay below 1.04."""
EDGE = 3
"""Rows before the first jump or after the last one that may be wrong rather than the rest."""
APART = 1.01
"""Bars so far above or below both their neighbours do not even touch them."""
SHARE_APART = 0.1
"""Of bars that lie apart; in real 1-minute bars none in ten thousand does."""
SWAPPED = 3
"""Where open and close are swapped, so many more bars open further from the close before than they
close from the open before; in real bars it is the other way round."""
FEWEST = 20
"""Pairs of bars without which nothing is said of swapped columns."""
HOUR, FEWEST_OF_HOUR = 3600, 12
"""Seconds, and the bars that it must have for half of them, in a row, not to be another hour's by
chance."""
TELLING_JUMP, TELLING_WICK = 1.5, 1.2
"""Ratios from which on a price is told, as a note."""
STILL_SHARE, STILL_RUN = 0.1, 120
"""Share of bars, or bars in a row, without any movement from which on they are told."""
SOON = 2 * 86_400
"""Seconds that times may be ahead of this machine's clock."""

WEEKEND, FEWEST_WEEKS = 30 * HOUR, 2
"""Seconds without a bar around a Saturday's noon, and so many of them to speak of weeks."""
ZONES = ("America/New_York", "Europe/Berlin", "UTC")
"""Clocks in which a market may end its week at one time all year; the last stands for all without
summer time."""
SEASONS = ("winter", "between the changes in America and Europe", "summer")
FRIDAY_17 = 82
"""Half hours from Thursday's midnight; currencies end their week then, in New York."""
BROKERS = (
    *("America/New_York", "America/New_York+7h", "EET", "Europe/London", "Europe/Berlin", "UTC"),
    *("Etc/GMT+5", "America/Chicago", "Europe/Moscow", "Asia/Tokyo"),
)
"""Clocks that files of currencies are written by."""
SYMBOLS_SHOWN = 3
"""At most so many symbols are named."""
LISTED = 6
"""At most so many stretches of weeks are written out."""

TRUST = "if the prices are right, use --trust-prices"
_SYMBOLS = f"if the file holds several symbols, keep one; {TRUST}"


def require_one_symbol(path: Path, column: pa.ChunkedArray, place: Callable[[int], str]) -> None:
    """All rows must be of one symbol; those without a name do not count.

    Args:
        path: The file.
        column: (rows,) names, encoded by a dictionary.
        place: Where a row, from 0, stands in the file.

    Raises:
        DataError: They are of several.
    """
    names = {name for chunk in column.chunks for name in chunk.dictionary.to_pylist() if name}
    if len(names) < 2:
        return
    texts = pc.cast(column, pa.string())
    first = {name: pc.index(texts, name).as_py() for name in names}
    some = sorted(first, key=lambda name: first[name])[:SYMBOLS_SHOWN]
    shown = ", ".join(f"{brief(name)} ({place(first[name])})" for name in some)
    raise DataError(
        f"{path}: a file must hold the bars of one symbol, got {len(names):,}: {shown}"
        f"{', ...' * (len(names) > len(some))}; keep the rows of one"
    )


def in_future(rows: Rows) -> list[Fault]:
    """Rows of times that this machine's clock has not reached."""
    now = int(time.time())
    today = np.datetime64(now, "s").astype("M8[D]")
    return faults_where(
        rows.lines,
        rows.open_time > now + SOON,
        rule="time must not lie in the future",
        value=lambda row: f"{shown(rows.cell(int(rows.lines[row]), 'time'))} (today is {today})",
        instead="if the years are of another calendar (Buddhist ones are 543 ahead), write those "
        "of the common one; if this machine's date is wrong, set it",
        always=True,
    )


def unlikely(rows: Rows) -> list[Fault]:
    """Prices that their neighbours say are wrong. Rows must be sound bars, in order of time."""
    if len(rows.lines) < 2:
        return []
    return [*far_prices(rows), *_lying_apart(rows), *_swapped(rows)]


def far_prices(rows: Rows) -> Iterator[Fault]:
    """Prices, also several rows of them, `FAR` from those before and those after them.

    A price that jumps and stays, as in a crash or a split, is none. At the begin and the end of the
    file up to `EDGE` rows are compared with those on their one side.
    """
    for column, name in enumerate(rows.names):
        prices = rows.prices[:, column]
        before, after = prices[:-1], prices[1:]
        jumps = np.flatnonzero((after >= FAR * before) | (before >= FAR * after)) + 1
        if len(jumps) == 0:
            continue
        first, end = np.append(0, jumps), np.append(jumps, len(prices))
        far = _far_runs(prices, first, end)
        beside = np.repeat(np.where(first > 0, first - 1, end), end - first)

        def value(row: int, name: str = name, beside: NDArray[np.int64] = beside) -> str:
            cells = [rows.cell(int(rows.lines[place]), name) for place in (row, beside[row])]
            return f"{cells[0]} beside {cells[1]} ({rows.unit} {rows.lines[beside[row]]})"

        yield from faults_where(
            rows.lines,
            np.repeat(far, end - first),
            rule=f"{name} must be less than {FAR:.0f} times above or below the bars beside it",
            value=value,
            instead=_SYMBOLS,
            always=True,
        )


def _far_runs(
    prices: NDArray[np.float64], first: NDArray[np.int64], end: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Of the runs between jumps: which stand out from what lies beside them."""
    length = end - first
    far = np.zeros(len(first), dtype=bool)
    inner = slice(1, -1)
    starts, stops = prices[first[inner]], prices[end[inner] - 1]
    left, right = prices[first[inner] - 1], prices[end[inner]]
    above = (starts > left) & (stops > right)
    below = (starts < left) & (stops < right)
    far[inner] = (above | below) & (length[inner] < length[:-2] + length[2:])
    for edge, beside in ((0, 1), (-1, -2)):
        far[edge] = length[edge] <= EDGE and length[edge] < length[beside] and not far[beside]
    return far


def _lying_apart(rows: Rows) -> list[Fault]:
    """Bars that jump up and down by turns: those of two symbols, put in order of time."""
    _, high, low, _ = rows.prices.T
    rises, falls = low[1:] > APART * high[:-1], low[:-1] > APART * high[1:]
    apart = np.zeros(len(high), dtype=bool)
    apart[1:-1] = (rises[:-1] & falls[1:]) | (falls[:-1] & rises[1:])
    count = int(apart.sum())
    if count < EDGE or count <= SHARE_APART * len(high):
        return []
    place = int(apart.argmax())
    return _one(
        rows,
        place,
        f"bars must touch a bar beside them, which {count:,} of {len(high):,} do not, not even "
        "within 1 %",
        f"{_range(rows, place)} between {_range(rows, place - 1)} and {_range(rows, place + 1)}",
        _SYMBOLS,
    )


def _range(rows: Rows, place: int) -> str:
    return f"{rows.prices[place, 2]:g} to {rows.prices[place, 1]:g}"


def _swapped(rows: Rows) -> list[Fault]:
    """A close that follows the open before it, rather than an open the close."""
    open_, _, _, close = rows.prices.T
    gaps = np.diff(rows.open_time)
    near = gaps == gaps.min()
    if near.sum() < FEWEST:
        return []
    to_close_before = np.abs(open_[1:] - close[:-1])[near]
    other_way = np.abs(close[1:] - open_[:-1])[near]
    worse = int((to_close_before > other_way).sum())
    if worse <= SWAPPED * int((to_close_before < other_way).sum()):
        return []
    return _one(
        rows,
        1,
        "a bar must open near where the one before has closed",
        f"{worse:,} of {near.sum():,} that open further from it than they close from its open",
        f"if the columns open and close are swapped, swap their names; {TRUST}",
    )


def _one(rows: Rows, place: int, rule: str, got: str, instead: str) -> list[Fault]:
    """A fault of many rows, named at one of them; no repair takes it away."""
    lines = rows.lines[place : place + 1]
    return [Fault(rule, lines, lambda _: got, None, instead, always=True)]


def _runs(where: NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """First place and end of every unbroken run of True."""
    edges = np.flatnonzero(np.diff(where, prepend=False, append=False))
    yield from zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)


def notes(rows: Rows) -> Iterator[str]:
    """What is likely to be right, and to be looked at all the same, a line for each kind.

    Rows must be sound bars, in order of time.
    """
    if len(rows.lines) < 2:
        return
    yield from _jumps(rows)
    yield from _wide(rows)
    yield from _wicks(rows)
    yield from _standing_still(rows)
    yield from _copied_hours(rows)
    yield from week_ends(rows.open_time, rows.clock)


def _jumps(rows: Rows) -> Iterator[str]:
    _, high, low, close = rows.prices.T
    up, down = low[1:] / high[:-1], low[:-1] / high[1:]
    jumps = np.maximum(up, down)
    count = int((jumps >= TELLING_JUMP).sum())
    if count:
        place = int(jumps.argmax()) + 1
        yield (
            f"look at {rows.unit} {rows.lines[place]}: the price goes from {close[place - 1]:g} to "
            f"{close[place]:g} in one bar, the largest of {plural(count, 'jump')} by "
            f"{TELLING_JUMP} times or more: a split, another contract or symbol?"
        )


def _wide(rows: Rows) -> Iterator[str]:
    _, high, low, _ = rows.prices.T
    wide = high >= FAR * low
    if wide.any():
        place = int((high / low).argmax())
        yield (
            f"look at {rows.unit} {rows.lines[place]}: {_range(rows, place)} in one bar, the "
            f"widest of {plural(int(wide.sum()), 'bar')} that span {FAR:.0f} times or more"
        )


def _wicks(rows: Rows) -> Iterator[str]:
    """Prices beyond both neighbours that are not so far as to be faults."""
    _, high, low, _ = rows.prices.T
    beyond = np.ones(len(high))
    top, bottom = high[1:-1], low[1:-1]
    above = top / np.maximum(high[:-2], high[2:])
    below = np.minimum(low[:-2], low[2:]) / bottom
    beyond[1:-1] = np.maximum(above, below)
    count = int((beyond >= TELLING_WICK).sum())
    if count:
        place = int(beyond.argmax())
        yield (
            f"look at {rows.unit} {rows.lines[place]}: {_range(rows, place)} between "
            f"{_range(rows, place - 1)} and {_range(rows, place + 1)}, the furthest of "
            f"{plural(count, 'bar')} that reach {TELLING_WICK} times or more beyond both beside "
            "them: a digit lost?"
        )


def _standing_still(rows: Rows) -> Iterator[str]:
    still = standing_still(rows)
    count = int(still.sum())
    longest, first = max(((end - first, first) for first, end in _runs(still)), default=(0, 0))
    if longest >= STILL_RUN or (longest > 1 and count > STILL_SHARE * len(still)):
        yield (
            f"{count:,} of {plural(len(still), 'bar')} do not move, all four prices being the "
            f"close before, the longest run {longest:,} from {rows.unit} {rows.lines[first]} on: "
            "if they fill nights or weekends without trade, drop them with --repair drop-still"
        )


def standing_still(rows: Rows) -> NDArray[np.bool_]:
    """(rows,) True where all four prices are the close of the row before."""
    open_, high, low, close = rows.prices.T
    still = np.zeros(len(rows.lines), dtype=bool)
    still[1:] = (high[1:] == low[1:]) & (open_[1:] == close[:-1])
    still &= rows.open_time != UNREADABLE
    return still


def _copied_hours(rows: Rows) -> Iterator[str]:
    """Bars that move and are, minute for minute, those of an hour before; either may be wrong."""
    steps = max(1, HOUR // int(np.diff(rows.open_time).min()))
    if steps < FEWEST_OF_HOUR or len(rows.lines) <= steps:
        return
    same = rows.prices[steps:, 3] == rows.prices[:-steps, 3]
    if same.sum() < steps // 2:
        return
    same &= rows.open_time[steps:] - rows.open_time[:-steps] == HOUR
    same &= (rows.prices[steps:] == rows.prices[:-steps]).all(axis=1)
    for first, end in _runs(same):
        bars = rows.prices[first + steps : end + steps]
        moving = bars[:, 1] > bars[:, 2]
        if end - first >= steps // 2 and moving.sum() > len(bars) / 2:
            yield (
                f"look at {rows.unit} {rows.lines[first + steps]}: {plural(end - first, 'bar')} "
                f"from there on are those from {rows.unit} {rows.lines[first]} on: an hour written "
                "twice? delete the one that is wrong"
            )


class _Weeks(NamedTuple):
    """When weeks end, in order."""

    last: NDArray[np.int64]
    """(weeks,) unix seconds at which the last bar of each ends."""
    season: NDArray[np.int64]
    """(weeks,) which of `SEASONS` it lies in."""

    @classmethod
    def of(cls, last: NDArray[np.int64]) -> _Weeks:
        """The weeks that end then."""
        ahead = [utc_to_local(last, zone) - last for zone in ZONES[:2]]
        in_summer = [ahead[0] > -5 * HOUR, ahead[1] > HOUR]
        return cls(last, np.sum(in_summer, axis=0))

    def ends(self, zone: str) -> NDArray[np.int64]:
        """(weeks,) half hours from Thursday's midnight to the end, by the clocks of a zone."""
        shown = utc_to_local(self.last, zone) + HOUR // 4
        ends: NDArray[np.int64] = shown % (7 * 24 * HOUR) // (HOUR // 2)
        return ends

    def periods(self) -> list[NDArray[np.int64]]:
        """The places of the weeks between one change of clocks and the next."""
        changes = np.flatnonzero(np.diff(self.season)) + 1
        return np.split(np.arange(len(self.season)), changes)


def week_ends(open_times: NDArray[np.int64], clock: str = "UTC") -> Iterator[str]:
    """When weeks end, by season, and a warning where no clock ends them at one time.

    Nothing where the bars know no weekends, or are too long to tell.

    Args:
        open_times: (bars,) unix seconds, rising.
        clock: By which they were read.
    """
    weeks = _weeks(open_times)
    if weeks is None:
        return
    usual = {zone: _usual(weeks.ends(zone)) for zone in ZONES}
    steady = [zone for zone in ZONES if _is_steady(weeks, zone, usual[zone])]
    zone = steady[0] if steady else ZONES[0]
    ends = weeks.ends(zone)
    by_season = []
    for season in np.unique(weeks.season):
        those = ends[weeks.season == season]
        often = _usual(those, usual[zone])
        share = f"{(those == often).sum():,} of {len(those):,}"
        by_season.append(f"{SEASONS[season]} {_day_and_time(often)} ({share})")
    yield f"weeks end, by the clock of {zone}: {', '.join(by_season)}"
    advice = _clocks_of_currencies(weeks, clock)
    if not steady:
        yield (
            "warning: weeks end at no one time, neither by a clock with summer time nor by one "
            f"without: {clock} is not the clock of this file, or not of all of it{advice}"
        )
        yield from _unusual_stretches(weeks, ends, usual[zone])
    elif zone == "UTC" and len(by_season) > 1:
        yield (
            "warning: weeks end at one time all year, which is right for a market without summer "
            f"time{advice}"
        )
    elif advice:
        yield f"warning: weeks end by the clock of {zone}{advice}"


def _clocks_of_currencies(weeks: _Weeks, clock: str) -> str:
    """Of the clocks that brokers use: by which weeks would end as those of currencies do."""
    shown = utc_to_local(weeks.last, clock)
    fitting = []
    for name in BROKERS:
        read = local_to_utc(shown, name).seconds
        if (read != UNREADABLE).all() and _is_steady(_Weeks.of(read), ZONES[0], FRIDAY_17):
            fitting.append(f"--tz {name}")
    if not fitting or f"--tz {clock}" in fitting:
        return ""
    return (
        f"; if these are currencies, use {' or '.join(fitting)}: their weeks then end Fri 17:00 in "
        "New York all year"
    )


def _weeks(open_times: NDArray[np.int64]) -> _Weeks | None:
    gaps = np.diff(open_times)
    if len(gaps) == 0 or gaps.min() > HOUR:
        return None
    noon = 60 * HOUR  # of the first Saturday since 1970
    week = (open_times - noon) // (7 * 24 * HOUR)
    last = open_times[:-1][(gaps >= WEEKEND) & (np.diff(week) == 1)] + gaps.min()
    if len(last) < FEWEST_WEEKS:
        return None
    return _Weeks.of(last)


def _usual(ends: NDArray[np.int64], among: int | None = None) -> int:
    """The most frequent; `among`, where it is as frequent."""
    values, counts = np.unique(ends, return_counts=True)
    most = values[counts == counts.max()]
    return int(among if among is not None and among in most else most[0])


def _is_steady(weeks: _Weeks, zone: str, usual: int) -> bool:
    """Whether weeks end at that time in every season, and between all changes of clocks."""
    ends = weeks.ends(zone)
    seasons = [ends[weeks.season == season] for season in np.unique(weeks.season)]
    periods = [ends[places] for places in weeks.periods() if len(places) > FEWEST_WEEKS]
    return all(
        _usual(those, usual) == usual and not _has_second(those, usual)
        for those in (*seasons, *periods)
    )


def _has_second(ends: NDArray[np.int64], usual: int) -> bool:
    """Whether a third of the weeks, and more than holidays do, end at one other time."""
    others = ends[np.abs(ends - usual) >= 2]
    count = int((others == _usual(others)).sum()) if len(others) else 0
    return count > FEWEST_WEEKS and 3 * count >= len(ends)


def _unusual_stretches(weeks: _Weeks, ends: NDArray[np.int64], usual: int) -> Iterator[str]:
    """Weeks between two changes of clocks that end at another time than most, one line each."""
    periods = [(places, _usual(ends[places], usual)) for places in weeks.periods()]
    others = [(places, often) for places, often in periods if often != usual]
    for places, often in others[:LISTED]:
        first, last = (
            str(np.datetime64(int(weeks.last[n]), "s").astype("M8[D]")) for n in places[[0, -1]]
        )
        yield (
            f"  {_day_and_time(often)} from {first} to {last} "
            f"({SEASONS[weeks.season[places[0]]]}), {_day_and_time(usual)} mostly"
        )
    if len(others) > LISTED:
        yield f"  and so {len(others) - LISTED:,} times more"


def _day_and_time(half_hours: int) -> str:
    days = ("Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed")
    day, rest = divmod(half_hours, 48)
    return f"{days[day]} {rest // 2:02}:{30 * (rest % 2):02}"
