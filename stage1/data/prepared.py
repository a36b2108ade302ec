"""What `stage1.prepare` writes: bars in every timeframe, or the rows of a series."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from stage1.base.files import sha256_of_file
from stage1.base.steps import Step
from stage1.base.text import plural
from stage1.data.bars import Bars, Repair, Rows
from stage1.data.checks import (
    FindFaults,
    describe_times,
    format_time,
    minute_faults,
    repair_rows,
    require_next,
    sound_bars,
    sound_rows,
)
from stage1.data.csv_dialects import Dialect
from stage1.data.csv_reader import read_csv
from stage1.data.resample import resample_all
from stage1.data.series import FILE, on_steps, read_series, rules_of, start_text, write_series
from stage1.data.store import read_parquet, write_parquet


class Prepared(NamedTuple):
    """What is to be written."""

    files: dict[str, Callable[[Path], None]]
    """By name, what writes each."""
    stats: dict[str, object]
    """What there is, and where it comes from."""
    told: str
    """The same in a few words."""


def prepare_bars(
    source: Path,
    timeframes: Sequence[str],
    *,
    dialect: Dialect,
    tz: str,
    repairs: Collection[Repair],
) -> Prepared:
    """Read 1-minute bars, check every one, and aggregate them; what is found is printed.

    Args:
        source: CSV or Parquet.
        timeframes: Which to make.
        dialect: That the CSV must be of, or auto.
        tz: IANA name of the clock that times without a zone were read from.
        repairs: What to mend.

    Raises:
        DataError: The file cannot be read, or breaks a rule.
    """
    if source.suffix == ".parquet":
        rows = read_parquet(source, timezone=tz)
    else:
        rows = read_csv(source, dialect=dialect, timezone=tz)
    kept, origin = _repaired(rows, repairs, minute_faults, tz=tz)
    m1 = sound_bars(kept, minutes=1)
    print(describe_times(m1, row="bar", unit="minute", written=format_time))
    require_next(source, m1, row="bar", wanted="1-minute bars", unit="minute")
    derived = resample_all(m1, timeframes)
    return Prepared(
        {f"{name}.parquet": partial(write_parquet, bars) for name, bars in derived.items()},
        {"source": origin, "timeframes": _bar_stats(derived)},
        ", ".join(f"{name} {len(derived[name].open_time):,}" for name in timeframes),
    )


def prepare_series(
    source: Path,
    step: Step,
    *,
    channels: tuple[str, ...] | None,
    tz: str,
    repairs: Collection[Repair],
) -> Prepared:
    """Read any regular series and check every row; what is found is printed.

    Args:
        source: CSV or Parquet.
        step: How far its rows are apart.
        channels: Columns to take; None for all of numbers.
        tz: IANA name of the clock that times without a zone were read from.
        repairs: What to mend.

    Raises:
        DataError: The file cannot be read, or breaks a rule.
    """
    rows = on_steps(read_series(source, timezone=tz, channels=channels), step)
    kept, origin = _repaired(rows, repairs, rules_of(step), tz=tz)
    series = sound_rows(kept, rules_of(step))
    print(describe_times(series, row="row", unit="step", written=partial(start_text, step)))
    require_next(source, series, row="row", wanted=f"{step.text} apart", unit="step")

    def write(path: Path) -> None:
        write_series(series, kept.names, step, path)

    return Prepared(
        {FILE: write},
        {"source": origin, "series": _series_stats(series, kept.names, step)},
        f"{plural(len(series.open_time), 'row')} of {', '.join(kept.names)}",
    )


def _repaired(
    rows: Rows, repairs: Collection[Repair], find: FindFaults, *, tz: str
) -> tuple[Rows, dict[str, object]]:
    """The rows after the repairs asked for, and where they come from; both are told."""
    print(f"{rows.path}: {rows.format}; {plural(len(rows.lines), 'row')}, clock {tz}")
    if rows.left_out:
        print(f"left out, no numbers: {rows.left_out}")
    kept, notes = repair_rows(rows, repairs, find)
    for note in notes:
        print(f"repair: {note}")
    return kept, {
        "file": rows.path.name,
        "sha256": sha256_of_file(rows.path),
        "format": rows.format,
        "clock": tz,
        "rows": len(rows.lines),
        "repairs": notes,
    }


def _bar_stats(bars: dict[str, Bars]) -> dict[str, dict[str, int | float | str]]:
    """What there is of each timeframe; log prices are those of all four columns together."""
    found: dict[str, dict[str, int | float | str]] = {}
    for name, (open_time, prices) in bars.items():
        log_prices = np.log(prices)
        found[name] = {
            "bars": len(open_time),
            "first": _iso(open_time[0]),
            "last": _iso(open_time[-1]),
            "log_price_mean": float(log_prices.mean()),
            "log_price_std": float(log_prices.std()),
        }
    return found


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
