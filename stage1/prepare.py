"""`python -m stage1.prepare M1.csv --out data/derived`: bars, checked and resampled.

They are of one minute, or of `--step`. With it also any regular series, checked; it is resampled
when it is loaded.
"""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Annotated, Literal

import typer

from stage1.base.errors import ConfigError, DataError
from stage1.base.files import atomic_path, must_be_writable
from stage1.base.steps import MINUTES, STANDARD, Step, parse_step
from stage1.base.terminal import run_command
from stage1.base.text import shown
from stage1.data.bars import Repair
from stage1.data.csv_dialects import ANY_DIALECT, DialectName
from stage1.data.prepared import BarLength, Prepared, holds_bars, prepare_bars, prepare_series
from stage1.data.store import SERIES_FILE
from stage1.data.times import Clock

STATS_FILE = "stats.json"


def prepare(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="M1.csv",
            help="Bars: CSV, also in gzip or zip, Parquet or Feather, with a header that names the "
            "time, open, high, low and close in any order, or as brokers write them without one. "
            "With --step also a series: CSV whose first line names its columns, or Parquet; times "
            "in the column timestamp (of a CSV without it, in the first).",
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
            help="Clock the times were read from: an IANA name such as America/New_York, also with "
            "hours ahead of it, as in America/New_York+7h for MetaTrader servers. Times that name "
            "their own zone need none, nor do dates; unix times do where a program wrote them from "
            "its local clock.",
        ),
    ] = "UTC",
    stamped: Annotated[
        Literal["begin", "end"],
        typer.Option(help="Whether a time is that of the begin or of the end of its bar or step."),
    ] = "begin",
    step: Annotated[
        str | None,
        typer.Option(
            help="How far the rows are apart, if not by one minute. Bars may be of 5min, 15min, "
            "30min, 1h, 4h, 1d, 1w and other parts of a day; a series of any numbers also of 10s, "
            "1mo, 1y."
        ),
    ] = None,
    channels: Annotated[
        str | None,
        typer.Option(
            metavar="LIST",
            help="With --step: take these columns, with commas between, as a series. By default a "
            "file with open, high, low and close has bars; of another all columns of numbers are.",
        ),
    ] = None,
    timeframes: Annotated[
        str | None,
        typer.Option(
            metavar="LIST",
            help="Of bars: which to write, with commas between; default: "
            f"{','.join(STANDARD)}, and with --step the coarser ones of these, d1 and w1.",
        ),
    ] = None,
    days: Annotated[
        str | None,
        typer.Option(
            metavar="ZONE",
            help="Clock on which days, weeks and hours of bars begin, if not --tz, such as "
            "America/New_York+7h for days from 17:00 in New York.",
        ),
    ] = None,
    dialect: Annotated[
        DialectName,
        typer.Option(help="Refuse a CSV that is of another dialect than this."),
    ] = ANY_DIALECT,
    repair: Annotated[
        list[Repair] | None,
        typer.Option(
            help="What to mend, where rows break a rule; once for each repair. drop-invalid drops "
            "rows that cannot be right, sort puts rows in order of time, drop-duplicates keeps the "
            "first row of each time, drop-still drops bars that do not move from the close before. "
            "Without it nothing is mended."
        ),
    ] = None,
    trust_prices: Annotated[
        bool,
        typer.Option(help="Take bars though those beside them say that their prices are wrong."),
    ] = False,
) -> None:
    """Check bars and write them in every timeframe.

    Every row must be a sound bar: times strictly increasing and on whole
    minutes, prices finite and above 0, high >= max(open, close),
    low <= min(open, close). If one is not, the faults are named and nothing is
    written. A local time that comes twice, as the clocks go back, is read by the
    order of the rows, and is a fault where that leaves it open. Coarse bars are aligned to the
    UTC clock and made of the bars that are there; intervals without a bar
    stay out. Where days or weeks are written, or the bars are of hours, all are
    aligned to the clock of --tz (or --days): a day is the exchange's, and a week
    begins on its Monday. Volume is not used.

    The rows of a series must be in order, one in a step and a step apart, and
    hold finite numbers; gaps are allowed. They are written as x1.parquet.
    """
    _require_own_folder(out, source)
    repairs = repair or ()
    steps = _parse_step(step or "1min")
    clock = _clock(tz, stamped, steps)
    if channels is not None and step is None:
        raise ConfigError("--channels must be left out for bars; a series needs --step as well")
    of_bars = dialect != ANY_DIALECT or timeframes is not None or days is not None
    is_bars = step is None or (channels is None and holds_bars(source))
    if of_bars and not is_bars:
        raise ConfigError(
            "--dialect, --timeframes and --days must be left out for a series, which a file "
            "without open, high, low and close is taken for"
        )
    if is_bars:
        prepared = prepare_bars(
            source,
            _bar_length(steps, timeframes, days, asked=step is not None),
            dialect=dialect,
            clock=clock,
            repairs=repairs,
            trust_prices=trust_prices,
            command=_command(source, out, tz, stamped, dialect),
        )
    else:
        wanted = None if channels is None else _parse_channels(channels)
        prepared = prepare_series(source, steps, channels=wanted, clock=clock, repairs=repairs)
    _write(out, prepared)
    print(f"{out}: {prepared.summary}")


def _command(source: Path, out: Path, tz: str, stamped: str, dialect: str) -> str:
    """What to run again with another step."""
    options = {"--out": str(out), "--tz": tz, "--stamped": stamped, "--dialect": dialect}
    usual = {"--tz": "UTC", "--stamped": "begin", "--dialect": ANY_DIALECT}
    words = ["python", "-m", "stage1.prepare", str(source)]
    for option, value in options.items():
        words += [option, value] if value != usual.get(option) else []
    return shlex.join(words)


def _bar_length(step: Step, timeframes: str | None, days: str | None, *, asked: bool) -> BarLength:
    name = next((one for one, n in MINUTES.items() if 60 * n == step.seconds), None)
    if name is None:
        lengths = ", ".join(MINUTES)
        raise ConfigError(
            f"--step of bars must be the length of one of {lengths}, got {step.text}; take other "
            "steps as a series, with --channels open,high,low,close"
        )
    if days is not None and step.by_date:
        raise ConfigError(f"--days must be left out with --step {step.text}: dates are its days")
    possible = [one for one, n in MINUTES.items() if n % MINUTES[name] == 0]
    if timeframes is None:
        usual = (name, *STANDARD, "d1", "w1") if asked else STANDARD
        chosen = [one for one in possible if one in usual]
    else:
        chosen = _parse_timeframes(timeframes, possible)
    return BarLength(name, step, chosen, days)


def _parse_step(text: str) -> Step:
    try:
        return parse_step(text)
    except ValueError as error:
        raise ConfigError(f"--step {error}") from None


def _clock(tz: str, stamped: str, step: Step) -> Clock:
    if stamped == "end" and not step.seconds:
        raise ConfigError(
            f"--stamped must be left out with --step {step.text}: a date counts for its own month"
        )
    return Clock(tz, step.seconds * (stamped == "end"), step.by_date)


def _parse_channels(text: str) -> tuple[str, ...]:
    names = _names(text)
    if not all(names):
        raise ConfigError(f"--channels must be names with commas between, got {shown(text)}")
    return names


def _names(text: str) -> tuple[str, ...]:
    """What a list with commas names, each once."""
    return tuple(dict.fromkeys(name.strip() for name in text.split(",")))


def _parse_timeframes(text: str, possible: list[str]) -> list[str]:
    names = _names(text)
    unknown = [name for name in names if name not in possible]
    if unknown:
        raise DataError(f"--timeframes must be among {','.join(possible)}, got {unknown[0]!r}")
    return [name for name in possible if name in names]


def _require_own_folder(out: Path, source: Path) -> None:
    """The folder is replaced as a whole, so that no file of an earlier run stays among the new."""
    if out.exists() and not out.is_dir():
        raise DataError(f"--out must be a folder, got the file {out}")
    ours = {STATS_FILE, SERIES_FILE, *(f"{name}.parquet" for name in MINUTES)}
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
    advice = "make room or give another --out"
    with must_be_writable(out, advice=advice), atomic_path(out) as folder:
        folder.mkdir()
        for name, write in prepared.files.items():
            write(folder / name)
        text = json.dumps(prepared.stats, indent=2) + "\n"
        (folder / STATS_FILE).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    run_command(prepare)
