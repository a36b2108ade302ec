"""What `stage1.prepare` does with a file: read, repair, check, aggregate, and say what it found."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from stage1.base.files import sha256_of_file
from stage1.base.steps import DAY, MINUTES, Step
from stage1.base.text import plural
from stage1.data import plausibility
from stage1.data.bars import Bars, DayClock, Repair, Rows, resample_all
from stage1.data.checks import (
    Spacing,
    describe_times,
    new_bars,
    repair_rows,
    require_neighbours,
    sound_bars,
    steps_of_series,
)
from stage1.data.csv_reader import has_bars, read_csv
from stage1.data.series import on_steps, read_series
from stage1.data.store import SERIES_FILE, has_bars_in_table, is_table, read_parquet, write_parquet
from stage1.data.times import Clock, instants_of, on_clock, rows_on_clock


class Prepared(NamedTuple):
    """What is to be written, and what there is of it, in numbers and in a few words."""

    files: dict[str, Callable[[Path], None]]
    """By name, what writes each."""
    stats: dict[str, object]
    summary: str


def holds_bars(source: Path) -> bool:
    """Whether a file holds bars, rather than a series of other numbers.

    Raises:
        DataError: It cannot be read.
    """
    return has_bars_in_table(source) if is_table(source) else has_bars(source)


class BarLength(NamedTuple):
    """How long the bars of a file are, which are made of them, and what they are counted on."""

    name: str
    """Of their timeframe."""
    step: Step
    timeframes: Sequence[str]
    """Which to make."""
    days: str | None
    """The clock that days and weeks are counted on; None = that of the file's times, if bars longer
    than an hour come from it or days are made, else UTC."""

    def zone(self, clock: str) -> str:
        """What bars are counted on, where the times are read by a clock."""
        if self.days or self.step.by_date:
            return self.days or "UTC"
        days = any(MINUTES[name] >= DAY for name in self.timeframes)
        return clock if days or self.step.seconds > 3600 else "UTC"


def prepare_bars(
    source: Path,
    length: BarLength,
    *,
    dialect: str,
    clock: Clock,
    repairs: Collection[Repair],
    trust_prices: bool,
    command: str = "",
) -> Prepared:
    """Read bars of one length, check every one, and aggregate them; what is found is printed.

    Args:
        source: CSV or Parquet.
        length: Of the bars in it, and of those to make.
        dialect: That the CSV must be of, or auto.
        clock: What times without a zone were read from.
        repairs: What to mend.
        trust_prices: Whether prices that bars beside them speak against are right.
        command: This one, without a step, for messages.

    Raises:
        DataError: The file cannot be read, or breaks a rule.
    """
    if is_table(source):
        rows = read_parquet(source, clock=clock)
    else:
        rows = read_csv(source, dialect=dialect, clock=clock)
    # Bars of some hours follow the exchange's clock through the change to summer time; those of an
    # hour or less are checked as instants. Dates are read as its days in the first place.
    days = DayClock(length.zone(rows.clock))
    local = MINUTES[length.name] > 60
    if local and not length.step.by_date:
        rows = rows_on_clock(rows, days)
    spacing = new_bars(
        length.step.text,
        MINUTES[length.name],
        days=days.zone,
        local=local,
        trust_prices=trust_prices,
        command=command,
    )
    finest, source_stats = _sound(rows, repairs, spacing, clock=clock)
    finest = finest._replace(clock=days) if local else on_clock(finest, days)
    if days.zone != "UTC":
        print(f"days, weeks and bars of hours are counted on the clock {days.zone}")
    derived = resample_all(finest, length.timeframes, own=length.name)
    return Prepared(
        {f"{name}.parquet": partial(write_parquet, bars) for name, bars in derived.items()},
        {"source": {**source_stats, "days": days.zone}, "timeframes": _bar_stats(derived)},
        ", ".join(f"{name} {len(derived[name].open_time):,}" for name in length.timeframes),
    )


def prepare_series(
    source: Path,
    step: Step,
    *,
    channels: tuple[str, ...] | None,
    clock: Clock,
    repairs: Collection[Repair],
) -> Prepared:
    """Read any regular series and check every row; what is found is printed.

    Args as of `prepare_bars`; `channels` are the columns to take, None for all of numbers.

    Raises:
        DataError: The file cannot be read, or breaks a rule.
    """
    rows = on_steps(read_series(source, clock=clock, channels=channels), step)
    series, source_stats = _sound(rows, repairs, steps_of_series(step), clock=clock)
    write = partial(write_parquet, series, names=rows.names, step=step)
    return Prepared(
        {SERIES_FILE: write},
        {"source": source_stats, "series": _series_stats(series, rows.names, step)},
        f"{plural(len(series.open_time), 'row')} of {', '.join(rows.names)}",
    )


def _sound(
    rows: Rows, repairs: Collection[Repair], spacing: Spacing, *, clock: Clock
) -> tuple[Bars, dict[str, object]]:
    """The rows as bars, after the repairs asked for, and where they come from; prints both."""
    print(f"{rows.path}: {rows.format}; {plural(len(rows.lines), 'row')}, clock {rows.clock}")
    if rows.unix_times and clock.zone != "UTC":
        print(f"unix times read as what a clock in {clock.zone} showed, as --tz says, not as UTC")
    if clock.after_open:
        print(f"times of the end of each {spacing.row}: set back by {clock.after_open:,} seconds")
    if rows.left_out:
        print(f"left out, no numbers: {rows.left_out}")
    repaired, notes = repair_rows(rows, repairs, spacing.rules)
    for note in notes:
        print(f"repair: {note}")
    bars = sound_bars(repaired, spacing.rules)
    print(describe_times(bars, spacing))
    instants = repaired._replace(open_time=instants_of(spacing.clock, repaired.open_time))
    for note in plausibility.notes(instants) if spacing.row == "bar" else ():
        print(note)
    require_neighbours(rows.path, bars, spacing)
    return bars, {
        "file": rows.path.name,
        "sha256": sha256_of_file(rows.path),
        "format": rows.format,
        "clock": rows.clock,
        "stamped": "end" if clock.after_open else "begin",
        "rows": len(rows.lines),
        "repairs": notes,
    }


def _bar_stats(bars: dict[str, Bars]) -> dict[str, dict[str, int | float | str]]:
    """What there is of each timeframe; log prices are those of all four columns together."""
    stats: dict[str, dict[str, int | float | str]] = {}
    for name, (open_time, prices, clock) in bars.items():
        first, last = instants_of(clock, open_time[[0, -1]])
        log_prices = np.log(prices)
        stats[name] = {
            "bars": len(open_time),
            "first": _iso(first),
            "last": _iso(last),
            "log_price_mean": float(log_prices.mean()),
            "log_price_std": float(log_prices.std()),
        }
    return stats


def _series_stats(series: Bars, names: tuple[str, ...], step: Step) -> dict[str, object]:
    first, last = step.starts(series.open_time[[0, -1]] // 60)
    return {
        "step": step.text,
        "rows": len(series.open_time),
        "first": _iso(first),
        "last": _iso(last),
        "channels": {
            name: {"mean": float(values.mean()), "std": float(values.std())}
            for name, values in zip(names, series.prices.T, strict=True)
        },
    }


def _iso(seconds: np.int64) -> str:
    return f"{np.datetime64(int(seconds), 's')}Z"
