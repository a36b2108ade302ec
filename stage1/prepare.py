"""`python -m stage1.prepare M1.csv --out data/derived`: 1-minute bars, checked and resampled.

With `--step` any regular series, checked; it is resampled when it is loaded.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import typer

from stage1.command import run_command
from stage1.data.bars import Bars, Repair, Rows
from stage1.data.checks import (
    FindFaults,
    format_time,
    minute_faults,
    repair_rows,
    sound_bars,
    sound_rows,
)
from stage1.data.csv_dialects import Dialect
from stage1.data.csv_reader import read_csv
from stage1.data.gaps import describe_times, require_next
from stage1.data.resample import resample_all
from stage1.data.series import on_steps, rules_of, start_text
from stage1.data.series_store import FILE, read_series, write_series
from stage1.data.store import read_parquet, write_parquet
from stage1.errors import ConfigError, DataError
from stage1.files import atomic_path, sha256_of_file
from stage1.steps import Step, parse_step
from stage1.timeframes import MINUTES

STATS_FILE = "stats.json"


class Prepared(NamedTuple):
    """What is to be written."""

    files: dict[str, Callable[[Path], None]]
    """By name, what writes each."""
    stats: dict[str, object]
    """What there is, and where it comes from."""
    told: str
    """The same in a few words."""


def prepare(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="M1.csv",
            help="1-minute bars: CSV, also gzipped, or Parquet with the columns timestamp, open, "
            "high, low, close. With --step a series: CSV whose first line names its columns, or "
            "Parquet; times in the column timestamp (of a CSV without it, in the first).",
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(help="Folder of its own for {timeframe}.parquet and stats.json; replaced."),
    ] = Path("data/derived"),
    tz: Annotated[
        str,
        typer.Option(
            metavar="ZONE",
            help="IANA name of the clock the times were read from, such as America/New_York. Times "
            "that name their own zone and unix times need none.",
        ),
    ] = "UTC",
    step: Annotated[
        str | None,
        typer.Option(
            help="The rows are a series of any numbers, so far apart: 10s, 15min, 1h, 1d, 1w, 1mo, "
            "1y. Without it they are 1-minute bars."
        ),
    ] = None,
    channels: Annotated[
        str | None,
        typer.Option(
            metavar="LIST",
            help="With --step: columns to take, with commas between; default: all of numbers.",
        ),
    ] = None,
    timeframes: Annotated[
        str | None,
        typer.Option(
            metavar="LIST",
            help=f"Of bars: which to write, with commas between; default: {','.join(MINUTES)}.",
        ),
    ] = None,
    dialect: Annotated[
        Dialect,
        typer.Option(help="Refuse a CSV that is of another dialect than this."),
    ] = "auto",
    repair: Annotated[
        list[Repair] | None,
        typer.Option(
            help="What to mend, where rows break a rule; once for each repair. drop-invalid drops "
            "rows that cannot be right, sort puts rows in order of time, drop-duplicates keeps the "
            "first row of each time. Without it nothing is mended."
        ),
    ] = None,
) -> None:
    """Check 1-minute bars and write them in every timeframe.

    Every row must be a sound bar: times strictly increasing and on whole
    minutes, prices finite and above 0, high >= max(open, close),
    low <= min(open, close). If one is not, the faults are named and nothing is
    written. Local times that a change of clocks repeats are told apart by their
    order, and are faults where it does not tell. Coarse bars are aligned to the
    UTC clock and made of the minutes that are there; intervals without a bar
    stay out. Volume is not used.

    The rows of a series must be in order, one in a step and a step apart, and
    hold finite numbers; gaps are allowed. They are written as x1.parquet.
    """
    _require_own_folder(out, source)
    repairs = repair or ()
    if step is not None:
        if dialect != "auto" or timeframes is not None:
            raise ConfigError("--dialect and --timeframes must be left out with --step")
        prepared = _prepare_series(source, step, channels, tz, repairs)
    elif channels is not None:
        raise ConfigError("--channels must be left out for bars; a series needs --step as well")
    else:
        prepared = _prepare_bars(source, timeframes, dialect, tz, repairs)
    _write(out, prepared)
    print(f"{out}: {prepared.told}")


def _prepare_bars(
    source: Path,
    timeframes: str | None,
    dialect: Dialect,
    tz: str,
    repairs: Collection[Repair],
) -> Prepared:
    names = list(MINUTES) if timeframes is None else _parse_timeframes(timeframes)
    if source.suffix == ".parquet":
        rows = read_parquet(source, timezone=tz)
    else:
        rows = read_csv(source, dialect=dialect, timezone=tz)
    kept, origin = _repaired(rows, tz, repairs, minute_faults)
    m1 = sound_bars(kept, minutes=1)
    print(describe_times(m1, rows="bars", unit="minutes", written=format_time))
    require_next(source, m1, rows="bars", wanted="1-minute bars", unit="minutes")
    derived = resample_all(m1, names)
    return Prepared(
        {f"{name}.parquet": partial(write_parquet, derived[name]) for name in names},
        {"source": origin, "timeframes": stats(derived)},
        ", ".join(f"{name} {len(derived[name].open_time):,}" for name in names),
    )


def _prepare_series(
    source: Path, step_text: str, channels: str | None, tz: str, repairs: Collection[Repair]
) -> Prepared:
    try:
        step = parse_step(step_text)
    except ValueError as error:
        raise ConfigError(f"--step {error}") from None
    wanted = None
    if channels is not None:
        wanted = tuple(dict.fromkeys(name.strip() for name in channels.split(",")))
    rows = on_steps(read_series(source, timezone=tz, channels=wanted), step)
    kept, origin = _repaired(rows, tz, repairs, rules_of(step))
    series = sound_rows(kept, rules_of(step))
    print(describe_times(series, rows="rows", unit="steps", written=partial(start_text, step)))
    require_next(source, series, rows="rows", wanted=f"{step.text} apart", unit="steps")

    def write(path: Path) -> None:
        write_series(series, kept.names, step, path)

    return Prepared(
        {FILE: write},
        {"source": origin, "series": _series_stats(series, kept.names, step)},
        f"{len(series.open_time):,} rows of {', '.join(kept.names)}",
    )


def _repaired(
    rows: Rows, tz: str, repairs: Collection[Repair], find: FindFaults
) -> tuple[Rows, dict[str, object]]:
    """The rows after the repairs asked for, and where they come from; both are told."""
    print(f"{rows.path}: {rows.format}; {len(rows.lines):,} rows, clock {tz}")
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


def stats(bars: dict[str, Bars]) -> dict[str, dict[str, int | float | str]]:
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


def _parse_timeframes(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    unknown = [name for name in names if name not in MINUTES]
    if unknown:
        raise DataError(f"--timeframes must be among {','.join(MINUTES)}, got {unknown[0]!r}")
    return [name for name in MINUTES if name in names]


def _require_own_folder(out: Path, source: Path) -> None:
    """The folder is replaced as a whole, so that no file of an earlier run stays among the new."""
    if out.exists() and not out.is_dir():
        raise DataError(f"--out must be a folder, got the file {out}")
    ours = {STATS_FILE, FILE, *(f"{name}.parquet" for name in MINUTES)}
    foreign = sorted(
        path.name
        for path in out.glob("*")
        if path.name not in ours or path.resolve() == source.resolve()
    )
    if foreign:
        raise DataError(
            f"--out must be a folder of its own, got {out} with {foreign[0]} in it; name another"
        )


def _write(out: Path, prepared: Prepared) -> None:
    with atomic_path(out) as folder:
        folder.mkdir()
        for name, write in prepared.files.items():
            write(folder / name)
        text = json.dumps(prepared.stats, indent=2) + "\n"
        (folder / STATS_FILE).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    run_command(prepare)
