"""The data of a configuration: from the folder that `stage1.prepare` wrote, or the sample."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal, NamedTuple

from stage1.base.errors import DataError
from stage1.base.steps import FINEST_OF_SERIES, MINUTES, STANDARD, parse_step
from stage1.base.text import shown
from stage1.config import Config, DataConfig, with_values
from stage1.config.data import BUNDLED, TEST_SHARE
from stage1.data.bars import Bars, DayClock, fingerprint, resample_all, resample_means
from stage1.data.checks import bar_rules, sound_bars, steps_of_series
from stage1.data.csv_reader import read_csv
from stage1.data.series import numeric_columns, on_steps
from stage1.data.store import SERIES_FILE, read_parquet, step_text, zone_of_days
from stage1.data.times import rows_on_clock

SAMPLE = Path(__file__).parents[1] / "sample" / "bitstamp_btcusd_1min_14d.csv.gz"
FILE_NAMES = ("{timeframe}.parquet", "simple_gap_aware_{timeframe}.parquet")
"""What the file of a timeframe may be called, the first that exists: as `prepare` names it, and as
older folders do."""


def load_data(data_dir: str | Path | None, config: Config) -> tuple[dict[str, Bars], Config]:
    """Load what a configuration asks for.

    Args:
        data_dir: As somebody has said it now: the folder made by `stage1.prepare`, or `sample`, the
            bundled bars. None: as the configuration says, whose bars must still be those it names.
        config: Complete, but perhaps for the channels and the step of its series.

    Returns:
        Bars per timeframe, and the configuration with folder, fingerprint, channels and step of the
        data, and with its test share.

    Raises:
        DataError: The data cannot be read, or are not what the configuration asks for.
    """
    source = config.data
    if data_dir is not None:  # somebody has chosen, whatever the configuration was for
        source = source.model_copy(update={"data_dir": str(data_dir), "sha256": None})
    folder = _folder(source)
    stored: dict[str, Any] = {"data.data_dir": source.data_dir or BUNDLED}
    if source.test_share is None:
        new_and_own = folder is not None and config.data.sha256 is None
        stored["data.test_share"] = TEST_SHARE if new_and_own else 0.0
    if source.kind == "ohlc":
        bars = load_bars(folder, source.timeframes)
    else:
        series = load_series(folder, source)
        bars = series.bars
        stored |= {"data.channels": list(series.channels), "data.step": series.step}
    stored["data.sha256"] = found = fingerprint(bars)
    if source.sha256 not in (None, found):
        name = stored["data.data_dir"]
        raise DataError(
            f"{name}: must hold {_meant(source)}, got others (sha256 {found[:12]}); give their "
            f"folder with --data-dir, or say --data-dir {name} to use what it holds now"
        )
    return bars, with_values(config, stored)


def _folder(source: DataConfig) -> Path | None:
    """The folder that is named; None for the bundled bars.

    Raises:
        DataError: The name might mean either, or there is no such folder any more.
    """
    name = source.data_dir
    if name not in (None, BUNDLED):
        if source.sha256 and not os.path.lexists(name):
            raise DataError(
                f"{name}: must be the folder with {_meant(source)}, got no such folder here; give "
                "it with --data-dir"
            )
        return Path(name)
    if name and not source.sha256 and os.path.isdir(name):
        raise DataError(
            f"--data-dir {name} must mean one thing, got the bundled bars and a folder of that "
            f"name here; say ./{name} for the folder, or go to another one for the bundled bars"
        )
    return None


def _meant(source: DataConfig) -> str:
    """The bars that a configuration was written for."""
    of = f"{', '.join(source.timeframes)}, sha256 {str(source.sha256)[:12]}"
    return f"the bars that the configuration is for ({of})"


def load_bars(data_dir: Path | None, timeframes: tuple[str, ...]) -> dict[str, Bars]:
    """Load the bars of each timeframe, and check every one of them.

    Args:
        data_dir: Folder with a Parquet file for each timeframe; None for the bundled sample.
        timeframes: Which, in the order of the result.

    Raises:
        DataError: A folder, file or column is missing, or a bar is not sound; says what to run.
    """
    unknown = [name for name in timeframes if name not in MINUTES]
    if unknown:
        raise DataError(f"timeframes must be among {', '.join(MINUTES)}, got {unknown[0]!r}")
    if data_dir is None:
        return resample_all(sound_bars(read_csv(SAMPLE), bar_rules(1)), timeframes)
    advice = _advice(data_dir, "ohlc", timeframes)
    bars = {}
    for name, file in _find_files(data_dir, timeframes, advice).items():
        clock = DayClock(zone_of_days(file), weeks="w1" in timeframes)
        rows = rows_on_clock(read_parquet(file, own=True), clock)
        rules = bar_rules(MINUTES[name], clock)
        bars[name] = sound_bars(rows, rules, advice)._replace(clock=clock)
    return bars


def stored_timeframes(data_dir: Path) -> tuple[str, ...]:
    """The timeframes that a folder has a file of, fine to coarse."""
    return tuple(name for name in MINUTES if _file_of(data_dir, name).is_file())


class Series(NamedTuple):
    """A series, loaded: its bars per timeframe, the names of their columns, and its step."""

    bars: dict[str, Bars]
    channels: tuple[str, ...]
    step: str


def load_series(data_dir: Path | None, config: DataConfig) -> Series:
    """Load the rows of a series, check every one of them, and average them to coarser timeframes.

    Args:
        data_dir: Folder made by `stage1.prepare` with a step; there is no bundled series.
        config: Channels, step and timeframes; null channels are all that the folder has.

    Raises:
        DataError: A folder, file or column is missing, or a row is not sound; says what to run.
    """
    if data_dir is None:
        advice = "run `python -m stage1.prepare SERIES.csv --step STEP --out FOLDER`"
        raise DataError(f"a series must be given with --data-dir, got none; {advice}")
    advice = _advice(data_dir, "series")
    path = _find_files(data_dir, (FINEST_OF_SERIES,), advice)[FINEST_OF_SERIES]
    written = step_text(path)
    try:
        step = parse_step(written)
    except ValueError:
        raise DataError(f"{path}: must say its step, got {shown(written)}; {advice}") from None
    if config.step and parse_step(config.step)[1:] != step[1:]:
        raise DataError(f"data.step must be that of {path}, {step.text}, got {config.step}")
    known = numeric_columns(path)
    for name in config.channels or ():
        if name not in known:
            of = f"columns of numbers in {path} ({', '.join(known)})"
            raise DataError(f"data.channels must be {of}, got {name!r}")
    channels = config.channels or known
    rows = on_steps(read_parquet(path, names=channels, row="step", own=True), step)
    finest = sound_bars(rows, steps_of_series(step).rules, advice)
    bars = resample_means(finest, config.timeframes)
    return Series(bars, channels, config.step or step.text)


def _advice(
    data_dir: Path, kind: Literal["ohlc", "series"], timeframes: tuple[str, ...] = STANDARD
) -> str:
    """How to get a folder of this kind; one that holds the other kind must not be replaced."""
    if kind == "series":
        if stored_timeframes(data_dir):
            return "it holds bars, which want data.kind: ohlc"
        return f"run `python -m stage1.prepare SERIES.csv --step STEP --out {data_dir}`"
    if (data_dir / SERIES_FILE).is_file():
        return "it holds a series, which wants data.kind: series"
    if set(timeframes) <= set(STANDARD) and "m1" in timeframes:
        return f"run `python -m stage1.prepare M1.csv --out {data_dir}`"
    wanted = ",".join(timeframes)
    return (
        f"run `python -m stage1.prepare BARS.csv --timeframes {wanted} --out {data_dir}`, with "
        "--step STEP if the bars are longer than a minute"
    )


def _find_files(data_dir: Path, timeframes: tuple[str, ...], advice: str) -> dict[str, Path]:
    """The file of each timeframe; the error where one is missing ends with the advice."""
    if data_dir.is_file():
        advice = "give the folder that `python -m stage1.prepare` writes"
        raise DataError(f"{data_dir}: must be a folder, got a file; {advice}")
    if not data_dir.is_dir():
        raise DataError(f"{data_dir}: must be a folder of bars, got no folder; {advice}")
    files = {name: _file_of(data_dir, name) for name in timeframes}
    missing = [file.name for file in files.values() if not file.is_file()]
    if missing:
        present = ", ".join(sorted(file.name for file in data_dir.glob("*.parquet"))) or "none"
        raise DataError(f"{data_dir}: must hold {', '.join(missing)}, got {present}; {advice}")
    return files


def _file_of(data_dir: Path, timeframe: str) -> Path:
    """The first that exists of the names a timeframe's file may have; else the first name."""
    candidates = [data_dir / pattern.format(timeframe=timeframe) for pattern in FILE_NAMES]
    return next((file for file in candidates if file.is_file()), candidates[0])
