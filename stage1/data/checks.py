"""Which rows of a file are sound: the rules, the faults in words, the repairs, and the gaps."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stage1.base.errors import DataError
from stage1.base.steps import MINUTES, Step
from stage1.base.text import plural
from stage1.data.bars import (
    UNREADABLE,
    UTC_DAYS,
    Bars,
    DayClock,
    Fault,
    Repair,
    Rows,
    faults_where,
)
from stage1.data.plausibility import in_future, standing_still, unlikely
from stage1.data.times import instants_of, off_the_clock

SHOWN = 20
"""At most this many faults are written out; the rest are counted."""
LARGEST = 1e100
"""Of a series' values; the squares of larger ones would not be finite."""
SMALL_SHARE = 0.01
"""Of a file's rows may be dropped for other faults than empty cells."""
FEW_ROWS = 2
"""May be so even in short files, if they are not more than half."""
STREAK = 10
"""Lines in a row of which it is not chance that they contradict others, or that no such time is."""
ON_STEP, LONGEST_STEP = 0.75, 10_080
"""Share of rows that lie a longer step apart from which on it is theirs; and how long, a week of
minutes, such a step may be."""
ORDER = (
    "if the columns are in another order, name each in the first line by what it holds, such as "
    "timestamp,low,high,open,close,volume"
)
PLAIN_NUMBERS = "write prices as plain numbers above 0, such as 45100.5, or leave them empty"
CONTRADICTION = (
    "if the file holds several symbols, keep one; if its clock was set back in autumn, name its "
    "zone with --tz"
)

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
    minutes: int = 1
    """How long a row is."""
    clock: DayClock = UTC_DAYS
    """Of bars: what their times are those of."""
    command: str = ""
    """Of bars: what to run again with another step."""


def format_time(seconds: int) -> str:
    """An instant as `2018-01-02 03:04` (with seconds where they are not 0)."""
    text = str(np.datetime64(seconds, "s")).replace("T", " ")
    return text.removesuffix(":00") if len(text) == len("2018-01-02 03:04:00") else text


def no_rows(path: Path, row: str) -> DataError:
    """That a file has no rows that could become bars or steps."""
    return DataError(f"{path}: must hold {row}s, got none; give a file with rows of {row}s")


def bar_rules(minutes: int, clock: DayClock = UTC_DAYS) -> Rules:
    """The rules for bars of this length: sound prices, times on the minute and in order.

    `clock` is what their times are those of.
    """
    time_text = partial(_clock_text, clock)

    def find(rows: Rows) -> list[Fault]:
        off_the_minute = faults_where(
            rows.lines,
            (rows.open_time != UNREADABLE) & (rows.open_time % 60 != 0),
            rule="time must be on a whole minute",
            value=rows.as_written("time"),
            instead="make 1-minute bars of them first",
        )
        in_order = _time_faults(rows, minutes, time_text)
        return [*rows.faults, *_price_faults(rows), *off_the_minute, *in_order]

    return find


def _clock_text(clock: DayClock, open_time: int) -> str:
    return format_time(int(instants_of(clock, np.array([open_time]))[0]))


def new_bars(
    step: str = "1min",
    minutes: int = 1,
    *,
    days: str = "UTC",
    local: bool = False,
    trust_prices: bool = False,
    command: str = "",
) -> Spacing:
    """The rules for new bars: those of each row, then what rows beside each other betray.

    Args:
        step: How long they are, as people write it.
        minutes: The same.
        days: The clock that they are counted on, on which they begin at multiples of their length.
        local: Whether their times are those of that clock; else instants.
        trust_prices: Leave out what neighbours betray of prices.
        command: What to run again with another step.
    """
    clock = DayClock(days) if local else DayClock()
    of_each = bar_rules(minutes, clock)

    def find(rows: Rows) -> list[Fault]:
        faults = [*of_each(rows), *in_future(rows)]
        if minutes > 1 and not faults:
            faults = off_the_clock(rows, step, minutes, days, local=local)
        return faults if faults or trust_prices else unlikely(rows)

    unit = "minute" if minutes == 1 else "bar"
    wanted = "1-minute bars" if minutes == 1 else f"bars of {step}"
    return Spacing(find, "bar", wanted, unit, partial(_clock_text, clock), minutes, clock, command)


def steps_of_series(step: Step) -> Spacing:
    """The rules for a series with numbered steps: finite numbers, a row a step, in order."""

    def time_text(open_time: int) -> str:
        return format_time(int(step.starts(np.array([open_time // 60]))[0]))

    def find(rows: Rows) -> list[Fault]:
        broken = ~(np.abs(rows.prices) <= LARGEST)
        rule = "must be a finite number, at most 1e100 in size"
        numbers = _number_faults(rows, broken, rule, "")
        return [*rows.faults, *numbers, *_time_faults(rows, 1, time_text)]

    return Spacing(find, "row", f"{step.text} apart", "step", time_text)


def sound_bars(rows: Rows, rules: Rules, advice: str | None = None) -> Bars:
    """Rows as bars, if every one of them keeps the rules.

    `advice` is what to do about faults; by default what would take them away.

    Raises:
        DataError: No rows, or some break a rule: one line for each fault, up to `SHOWN`.
    """
    if len(rows.lines) == 0 and not rows.faults:
        raise no_rows(rows.path, rows.row)
    faults = rules(rows)
    if faults:
        rule = f"every row must be a sound {rows.row}"
        raise DataError(_describe(rows, faults, rule, advice or _advice(rows, rules, faults)))
    return Bars(rows.open_time, rows.prices)


def _describe(rows: Rows, faults: Sequence[Fault], rule: str, advice: str) -> str:
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
    count = plural(total, "fault")
    counted = f"{count} (the first {SHOWN} below)" if total > SHOWN else count
    return "\n".join([f"{rows.path}: {rule}, got {counted}; {advice}", *shown])


def _advice(rows: Rows, rules: Rules, faults: list[Fault]) -> str:
    """The repairs that together leave sound rows, and what else may be meant; tried out here."""
    wanted: set[Repair] = set()
    doubts: dict[str, None] = {}
    repaired = rows
    while faults:
        if any(too_many(repaired, faults, repair) for repair in Repair):
            return f"mend the file: {_what_instead(faults)}"
        doubts |= dict.fromkeys(fault.instead for fault in faults if fault.always and fault.instead)
        repairs = {fault.repair for fault in faults if fault.repair} - wanted
        if not repairs:
            return "; ".join((*doubts, "else mend the file"))
        wanted |= repairs
        try:
            repaired, _ = repair_rows(rows, wanted, rules)
        except TooManyError as error:
            return f"mend the file: {error.advice}"
        faults = rules(repaired)
    options = " ".join(f"--repair {repair}" for repair in Repair if repair in wanted)
    text = f"mend the file, or use {options}"
    if rows.row == "step" and Repair.DROP_INVALID in wanted:
        text += ", or take other columns with --channels"
    return "; ".join((*doubts, f"else {text}")) if doubts else text


def _what_instead(faults: Sequence[Fault]) -> str:
    """What to do about faults that are too many to be repaired, by the most frequent of them."""
    return max((fault for fault in faults if fault.instead), key=lambda f: len(f.lines)).instead


class TooManyError(DataError):
    """A repair would touch so many rows that the file must be misread; `advice` says what to do."""

    def __init__(self, message: str, advice: str) -> None:
        super().__init__(message)
        self.advice = advice


def too_many(rows: Rows, faults: Collection[Fault], repair: Repair) -> list[Fault]:
    """The faults that this repair must not take away, as they are more than `SMALL_SHARE`.

    Empty cells do not count: what is not there is a gap. Of some faults `STREAK` rows in a row are
    too many, such as an hour of rows that contradict others: which are right is not known.
    """
    doubtful = [fault for fault in faults if fault.repair == repair and fault.instead]
    few = max(SMALL_SHARE * len(rows.lines), min(FEW_ROWS, len(rows.lines) // 2))
    lines = _distinct_lines(doubtful)
    streaks = _distinct_lines([fault for fault in doubtful if fault.streak])
    in_a_row = (streaks[STREAK - 1 :] - streaks[: 1 - STREAK] == STREAK - 1).any()
    return doubtful if len(lines) > few or in_a_row else []


def _distinct_lines(faults: Collection[Fault]) -> NDArray[np.int64]:
    return np.unique(np.concatenate([f.lines for f in faults] or [np.empty(0, np.int64)]))


def _require_few(rows: Rows, faults: Collection[Fault], repair: Repair) -> None:
    many = too_many(rows, faults, repair)
    if many:
        advice = _what_instead(many)
        rule = (
            f"--repair {repair} must drop at most {SMALL_SHARE:.0%} of {len(rows.lines):,} rows "
            "for other faults than empty cells"
        )
        if any(fault.streak for fault in many):
            rule = f"--repair {repair} must not drop many rows of times that cannot be"
        if repair == Repair.DROP_DUPLICATES:
            rule = f"--repair {repair} must not choose between many rows of one time that differ"
        raise TooManyError(_describe(rows, many, rule, advice), advice)


def repair_rows(rows: Rows, wanted: Collection[Repair], rules: Rules) -> tuple[Rows, list[str]]:
    """Do the repairs asked for, and no other, in the order of `Repair`.

    `drop-invalid` drops every row whose own content breaks a rule (also a local time that the
    change of clocks skips, or leaves undecided), `sort` puts rows in order of time,
    `drop-duplicates` keeps the first row of each time, `drop-still` drops bars that do not move.
    Once the rows are in order, `drop-invalid` also drops those that their neighbours say are wrong.

    Returns:
        The rows that are left, and a line about each repair.

    Raises:
        TooManyError: A repair would drop more than a small share of the rows for what may be no
            fault of theirs.
        DataError: More than half of the rows of a series are invalid.
    """
    notes = []
    if Repair.DROP_INVALID in wanted:
        invalid = [f for f in rules(rows) if f.repair == Repair.DROP_INVALID]
        _require_few(rows, invalid, Repair.DROP_INVALID)
        lines = _distinct_lines(invalid)
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
        rows, note = _without_duplicates(rows, rules)
        notes.append(note)
    if Repair.DROP_INVALID in wanted:
        rows, dropped = _without_far(rows, rules)
        notes += [f"dropped {plural(dropped, 'row')} far from those beside it"] * (dropped > 0)
    if Repair.DROP_STILL in wanted:
        still = standing_still(rows)
        rows = _take(rows, ~still)
        notes.append(f"dropped {plural(int(still.sum()), 'bar')} that did not move")
    return rows, notes


def _without_duplicates(rows: Rows, rules: Rules) -> tuple[Rows, str]:
    _require_few(rows, rules(rows), Repair.DROP_DUPLICATES)
    _, first, inverse = np.unique(rows.open_time, return_index=True, return_inverse=True)
    keep = rows.open_time == UNREADABLE
    keep[first] = True
    differ = (rows.prices != rows.prices[first[inverse]]).any(axis=1) & ~keep
    note = (
        f"dropped {plural(int((~keep).sum()), 'row')} with a time that was there already, "
        f"{int(differ.sum()):,} of them with other {_values(rows)}"
    )
    return _take(rows, keep), note


def _without_far(rows: Rows, rules: Rules) -> tuple[Rows, int]:
    """Drop rows until no price stands out, or something else is wrong; and how many."""
    count = len(rows.lines)
    while far := [f for f in rules(rows) if f.repair == Repair.DROP_INVALID]:
        _require_few(rows, far, Repair.DROP_INVALID)
        rows = _take(rows, ~np.isin(rows.lines, _distinct_lines(far)))
    return rows, count - len(rows.lines)


def _values(rows: Rows) -> str:
    return "prices" if rows.row == "bar" else "values"


def _take(rows: Rows, chosen: NDArray[np.bool_] | NDArray[np.int64]) -> Rows:
    return rows._replace(
        lines=rows.lines[chosen], open_time=rows.open_time[chosen], prices=rows.prices[chosen]
    )


def _price_faults(rows: Rows) -> Iterator[Fault]:
    open_, high, low, close = rows.prices.T
    broken = ~((rows.prices > 0) & (rows.prices < np.inf))
    yield from _number_faults(rows, broken, "must be a finite number > 0", PLAIN_NUMBERS)
    # A price that is no number is NaN, every comparison with it False: it is reported once.
    top, bottom = np.maximum(open_, close), np.minimum(open_, close)
    yield from faults_where(
        rows.lines,
        high < top,
        rule="high must be >= max(open, close)",
        value=lambda row: f"{high[row]} < {top[row]}",
        instead=ORDER,
    )
    yield from faults_where(
        rows.lines,
        low > bottom,
        rule="low must be <= min(open, close)",
        value=lambda row: f"{low[row]} > {bottom[row]}",
        instead=ORDER,
    )


def _number_faults(
    rows: Rows, broken: NDArray[np.bool_], rule: str, instead: str
) -> Iterator[Fault]:
    """A fault for each column that has rows where `broken`, (rows, columns), is True.

    Those that are empty are another than those with something in them.
    """
    for name, column in zip(rows.names, broken.T, strict=True):
        if not column.any():
            continue
        blank = np.zeros(len(column), dtype=bool)
        if rows.blank:
            blank[column] = rows.blank(rows.lines[column], name)
        for where, advice in ((blank, ""), (column & ~blank, instead)):
            yield from faults_where(
                rows.lines,
                where,
                rule=f"{name} {rule}",
                value=rows.as_written(name),
                instead=advice,
            )


def _time_faults(rows: Rows, minutes: int, time_text: Callable[[int], str]) -> Iterator[Fault]:
    """Rows out of order, or nearer to the one before than a bar of so many minutes is long."""
    readable = rows.open_time != UNREADABLE
    times, lines = rows.open_time[readable], rows.lines[readable]
    steps = np.diff(times, prepend=times[:1] - 60 * minutes)
    repeated = steps == 0
    contradicting = np.zeros_like(repeated)
    if repeated.any():
        prices = rows.prices[readable]
        contradicting[1:] = repeated[1:] & (prices[1:] != prices[:-1]).any(axis=1)

    def after_previous(row: int) -> str:
        return (
            f"{time_text(int(times[row]))} UTC after {time_text(int(times[row - 1]))} "
            f"({rows.unit} {lines[row - 1]})"
        )

    with_other = f"time must not repeat with other {_values(rows)}"
    too_near = f"time must be {minutes} minutes or more after the row before"
    drop, between = Repair.DROP_DUPLICATES, (steps > 0) & (steps < 60 * minutes) & (minutes > 1)
    for broken, rule, repair, instead in (
        (steps < 0, "time must be later than the row before", Repair.SORT, ""),
        (repeated & ~contradicting, "time must not repeat", drop, ""),
        (contradicting, with_other, drop, CONTRADICTION),
        (between, too_near, Repair.DROP_INVALID, "say with --step how far the rows are apart"),
    ):
        yield from faults_where(
            lines,
            broken,
            rule=rule,
            value=after_previous,
            repair=repair,
            instead=instead,
            always=True,
            streak=broken is contradicting,
        )


def describe_times(m1: Bars, spacing: Spacing) -> str:
    """From when to when there are 1-minute bars, or rows of a series, and the gaps between them."""
    first, last = (spacing.time_text(int(m1.open_time[place])) for place in (0, -1))
    text = f"{plural(len(m1.open_time), spacing.row)} from {first} to {last} UTC; "
    missing = np.diff(m1.open_time) // (60 * spacing.minutes) - 1
    gaps = int((missing > 0).sum())
    if gaps == 0:
        return text + "no gap"
    longest = int(missing.argmax())
    after = spacing.time_text(int(m1.open_time[longest]))
    length = plural(int(missing[longest]), spacing.unit)
    return f"{text}{plural(gaps, 'gap')}, the longest {length} after {after}"


def require_neighbours(source: Path, m1: Bars, spacing: Spacing) -> None:
    """Rows must follow each other in the step that they are said to have, not mostly in another.

    Gaps of any length are allowed; but where one of several steps is the most frequent, and nearly
    all rows lie such steps apart, that is theirs.

    Raises:
        DataError: They do.
    """
    if len(m1.open_time) < 2:
        return
    numbers = m1.open_time // (60 * spacing.minutes)
    steps = np.diff(numbers)
    if steps.min() > LONGEST_STEP:
        usual, on_step = int(steps.min()), len(numbers)
    else:
        usual = int(np.bincount(np.minimum(steps, LONGEST_STEP)).argmax())
        on_step = int(np.unique(numbers % usual, return_counts=True)[1].max())
    if usual > 1 and (on_step > ON_STEP * len(numbers) or steps.min() > 1):
        advice = "mend --step"
        if spacing.row == "bar" and usual * spacing.minutes in MINUTES.values():
            step = f"--step {_step_of(usual * spacing.minutes)}"
            advice = (
                f"say so: {spacing.command} {step}" if spacing.command else f"say so with {step}"
            )
        got = f"{plural(usual, spacing.unit)} apart {on_step:,} of {len(numbers):,}"
        if on_step <= ON_STEP * len(numbers):
            got, advice = f"none of {len(numbers):,} beside another", "give more of them"
        raise DataError(f"{source}: {spacing.row}s must be {spacing.wanted}, got {got}; {advice}")


def _step_of(minutes: int) -> str:
    unit, length = next((u, n) for u, n in (("d", 1440), ("h", 60), ("min", 1)) if minutes % n == 0)
    return f"{minutes // length}{unit}"
