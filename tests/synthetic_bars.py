"""Bars that tests make up: random walks, whole or with gaps, in several timeframes."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from hypothesis import strategies as st

from stage1.base.steps import MINUTES
from stage1.config import DataConfig
from stage1.data.bars import Bars, resample_all
from stage1.data.store import write_parquet

MIDNIGHT = 1_514_851_200
"""2018-01-02 00:00 UTC, where every timeframe opens a bar."""


def m1_bars(minutes: Iterable[int], *, seed: int = 0) -> Bars:
    """A random walk of prices whose bars open so many minutes after midnight."""
    offsets = np.fromiter(minutes, dtype=np.int64)
    generator = np.random.default_rng(seed)
    close = 1.1 * np.exp(np.cumsum(generator.normal(0, 3e-4, len(offsets))))
    open_ = np.concatenate([[1.1], close[:-1]])[: len(offsets)]
    wicks = np.abs(generator.normal(0, 2e-4, (2, len(offsets))))
    high = np.maximum(open_, close) * (1 + wicks[0])
    low = np.minimum(open_, close) * (1 - wicks[1])
    return Bars(MIDNIGHT + 60 * offsets, np.stack([open_, high, low, close], axis=1))


def market(
    minutes: int | Iterable[int], timeframes: tuple[str, ...] = ("m1", "m5"), *, seed: int = 0
) -> dict[str, Bars]:
    """Bars of several timeframes; a number of minutes means all of them."""
    offsets = range(minutes) if isinstance(minutes, int) else minutes
    return resample_all(m1_bars(offsets, seed=seed), timeframes)


def coarse_market(offsets: Iterable[int], timeframes: tuple[str, ...]) -> dict[str, Bars]:
    """Bars of several timeframes, the finest of which is longer than a minute; offsets count it."""
    m1 = m1_bars(offsets)
    opens = MIDNIGHT + (m1.open_time - MIDNIGHT) * MINUTES[timeframes[0]]
    return resample_all(Bars(opens, m1.prices), timeframes, own=timeframes[0])


@st.composite
def gappy_minutes(draw: st.DrawFn, *, longest_gap: int = 40, runs: int = 6) -> list[int]:
    """Minutes of runs of bars with gaps between, and some minutes missing here and there."""
    parts = draw(
        st.lists(
            st.tuples(st.integers(1, 120), st.integers(1, longest_gap)), min_size=1, max_size=runs
        )
    )
    start, minutes = draw(st.integers(0, 59)), []
    for length, gap in parts:
        minutes += range(start, start + length)
        start += length + gap
    if draw(st.booleans()):
        kept = np.random.default_rng(draw(st.integers(0, 999))).random(len(minutes)) < 0.9
        minutes = [minute for minute, keep in zip(minutes, kept, strict=True) if keep]
    return minutes


def write_bars(folder: Path, *, count: int) -> None:
    """A new folder with so many m1 bars from the first minute of 1970 on."""
    folder.mkdir()
    closes = 100 + np.random.default_rng(0).normal(size=count).cumsum() * 0.01
    prices = np.stack([closes, closes + 0.01, closes - 0.01, closes], axis=1)
    write_parquet(Bars(60 * np.arange(count, dtype=np.int64), prices), folder / "m1.parquet")


def data_config(**changes: object) -> DataConfig:
    """Short windows of m1 and m5."""
    values = {"timeframes": ("m1", "m5"), "seq_len": 16, "validation_windows": 40}
    return DataConfig.model_validate(values | changes)
