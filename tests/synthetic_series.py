"""Series that tests make up: waves with noise, of any sign and size, and the files of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tiny_training import tiny_config

from stage1.base.steps import parse_step
from stage1.config import Config
from stage1.data.bars import Bars, resample_means
from stage1.data.store import SERIES_FILE, write_parquet


def waves(rows: int = 400, *, channels: int = 3, seed: int = 0) -> np.ndarray:
    """(rows, channels) of sizes and levels a thousandfold apart, the first around 0."""
    random = np.random.default_rng(seed)
    time = np.arange(rows)[:, None]
    periods, phases = random.uniform(12, 30, channels), random.uniform(0, 6, channels)
    wave = np.sin(2 * np.pi * time / periods + phases) + random.normal(0, 0.1, (rows, channels))
    return wave * 1000.0 ** np.arange(channels) - 500 * np.arange(channels)


def series_of(
    values: np.ndarray, timeframes: Sequence[str] = ("x1", "x4"), numbers: Any = None
) -> dict[str, Bars]:
    """The series with these rows, on the steps of these numbers; by default from 0 on."""
    numbers = np.arange(len(values)) if numbers is None else np.asarray(numbers)
    return resample_means(Bars(60 * numbers.astype(np.int64), values), timeframes)


def names_of(channels: int) -> list[str]:
    """Of the columns."""
    return [f"wave{place}" for place in range(channels)]


def series_config(channels: int = 3, **sections: dict[str, Any]) -> Config:
    """The small configuration, for waves."""
    data = {
        "kind": "series",
        "channels": names_of(channels),
        "step": "1h",
        "timeframes": ["x1", "x4"],
        "max_gap": 0,
        "validation_share": 0.3,
    }
    return tiny_config(**{**sections, "data": data | sections.get("data", {})})


def frame_of(values: np.ndarray, start: str = "2001-01-01", freq: str = "1h") -> pd.DataFrame:
    """The rows with times, as a person would write them to a file."""
    index = pd.date_range(start, periods=len(values), freq=freq, name="timestamp")
    return pd.DataFrame(values, index, names_of(values.shape[1]))


def write_folder(folder: Path, values: np.ndarray, step: str = "1h") -> Path:
    """The rows from step 0 on, as `stage1.prepare` would write them."""
    folder.mkdir()
    names, rows = tuple(names_of(values.shape[1])), series_of(values, ["x1"])["x1"]
    write_parquet(rows, folder / SERIES_FILE, names=names, step=parse_step(step))
    return folder


def write_frame(frame: pd.DataFrame, path: Path) -> Path:
    """As CSV, without a zone."""
    frame.to_csv(path)
    return path
