"""`python -m stage1.prepare M1.csv --out data/derived`: 1-minute bars, checked and resampled."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import typer

from stage1.command import run_command
from stage1.data.bars import Bars, Repair
from stage1.data.checks import format_time, repair_rows, sound_bars
from stage1.data.csv_dialects import Dialect
from stage1.data.csv_reader import read_csv
from stage1.data.resample import resample_all
from stage1.data.store import read_parquet, write_parquet
from stage1.errors import DataError
from stage1.files import atomic_path, sha256_of_file
from stage1.timeframes import MINUTES

STATS_FILE = "stats.json"


class Gaps(NamedTuple):
    """Steps between bars that are longer than a bar."""

    number: int
    longest: int
    """Minutes without a bar."""
    after: int
    """Open time of the bar before the longest gap, unix seconds."""


def prepare(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="M1.csv",
            help="1-minute bars: CSV, also gzipped, or Parquet with the columns timestamp, open, "
            "high, low, close.",
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
    timeframes: Annotated[
        str, typer.Option(metavar="LIST", help="Which to write, with commas between.")
    ] = ",".join(MINUTES),
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
    """
    names = _parse_timeframes(timeframes)
    _require_own_folder(out, source)
    if source.suffix == ".parquet":
        rows = read_parquet(source, timezone=tz)
    else:
        rows = read_csv(source, dialect=dialect, timezone=tz)
    print(f"{source}: {rows.format}; {len(rows.lines):,} rows, clock {tz}")
    kept, notes = repair_rows(rows, repair or ())
    for note in notes:
        print(f"repair: {note}")
    m1 = sound_bars(kept, minutes=1)
    gaps = find_gaps(m1)
    print(_describe_times(m1, gaps))
    _require_minutes(source, m1)
    derived = resample_all(m1, names)
    origin = {
        "file": source.name,
        "sha256": sha256_of_file(source),
        "format": rows.format,
        "clock": tz,
        "rows": len(rows.lines),
        "repairs": notes,
    }
    _write(out, derived, {"source": origin, "timeframes": stats(derived)})
    print(f"{out}: " + ", ".join(f"{name} {len(derived[name].open_time):,}" for name in names))


def find_gaps(m1: Bars) -> Gaps:
    """Count the gaps between 1-minute bars, and find the longest."""
    missing = np.diff(m1.open_time) // 60 - 1
    if not (missing > 0).any():
        return Gaps(0, 0, int(m1.open_time[0]))
    longest = int(missing.argmax())
    return Gaps(int((missing > 0).sum()), int(missing[longest]), int(m1.open_time[longest]))


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
    ours = {STATS_FILE, *(f"{name}.parquet" for name in MINUTES)}
    foreign = sorted(
        path.name
        for path in out.glob("*")
        if path.name not in ours or path.resolve() == source.resolve()
    )
    if foreign:
        raise DataError(
            f"--out must be a folder of its own, got {out} with {foreign[0]} in it; name another"
        )


def _require_minutes(source: Path, m1: Bars) -> None:
    steps = np.diff(m1.open_time)
    if len(steps) and steps.min() > 60:
        raise DataError(
            f"{source}: bars must be 1-minute bars, got {int(steps.min()) // 60} minutes or more "
            "from each to the next"
        )


def _describe_times(m1: Bars, gaps: Gaps) -> str:
    first, last = format_time(int(m1.open_time[0])), format_time(int(m1.open_time[-1]))
    text = f"{len(m1.open_time):,} bars from {first} to {last} UTC; "
    if gaps.number == 0:
        return text + "no gap"
    return text + (
        f"{gaps.number:,} gaps, the longest {gaps.longest:,} minutes after "
        f"{format_time(gaps.after)}"
    )


def _write(out: Path, bars: dict[str, Bars], contents: dict[str, object]) -> None:
    with atomic_path(out) as folder:
        folder.mkdir()
        for name in bars:
            write_parquet(bars[name], folder / f"{name}.parquet")
        text = json.dumps(contents, indent=2) + "\n"
        (folder / STATS_FILE).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    run_command(prepare)
