from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stage1.base.steps import MINUTES
from stage1.data.bars import Bars, resample, resample_all

NOON = 1_514_894_400
"""2018-01-02 12:00 UTC."""


def bars_at(minutes: list[int], prices: np.ndarray | None = None) -> Bars:
    """Bars that open so many minutes after noon; by default with prices made of their row."""
    if prices is None:
        middle = 10.0 + np.arange(len(minutes))
        prices = np.stack([middle, middle + 2, middle - 2, middle + 1], axis=1)
    return Bars(NOON + 60 * np.array(minutes, dtype=np.int64), prices)


@st.composite
def gappy_bars(draw: st.DrawFn) -> Bars:
    minutes = sorted(draw(st.sets(st.integers(0, 2000), min_size=1, max_size=80)))
    seed = draw(st.integers(0, 2**32 - 1))
    return bars_at(minutes, np.random.default_rng(seed).uniform(1, 2, (len(minutes), 4)))


def with_pandas(bars: Bars, minutes: int) -> pd.DataFrame:
    index = pd.to_datetime(bars.open_time, unit="s", utc=True)
    frame = pd.DataFrame(bars.prices, index, columns=["open", "high", "low", "close"])
    rules = {"open": "first", "high": "max", "low": "min", "close": "last"}
    return frame.resample(f"{minutes}min", closed="left", label="left").agg(rules).dropna()


@given(bars=gappy_bars(), minutes=st.sampled_from(list(MINUTES.values())))
@settings(max_examples=60, deadline=None)
def test_coarse_bars_are_those_of_pandas_through_any_gaps(bars, minutes):
    coarse = resample(bars, minutes)

    expected = with_pandas(bars, minutes)
    assert coarse.open_time.tolist() == [stamp.timestamp() for stamp in expected.index]
    np.testing.assert_array_equal(coarse.prices, expected.to_numpy())


def test_a_coarse_bar_takes_first_highest_lowest_and_last():
    prices = np.array([[5, 6, 4, 5], [5, 9, 5, 8], [8, 8, 1, 2], [2, 3, 2, 3]], dtype=float)

    coarse = resample(bars_at([0, 1, 4, 5], prices), 5)  # the last one opens the next interval

    assert coarse.open_time.tolist() == [NOON, NOON + 300]
    assert coarse.prices.tolist() == [[5, 9, 1, 2], [2, 3, 2, 3]]


@given(bars=gappy_bars())
@settings(max_examples=30, deadline=None)
def test_going_through_the_finer_timeframes_gives_the_same_bars(bars):
    cascaded = resample_all(bars, MINUTES)

    for timeframe, minutes in MINUTES.items():
        direct = resample(bars, minutes)
        np.testing.assert_array_equal(cascaded[timeframe].open_time, direct.open_time)
        np.testing.assert_array_equal(cascaded[timeframe].prices, direct.prices)


@pytest.mark.parametrize("minutes", [1, 5, 240])
def test_no_bars_make_no_bars(minutes):
    coarse = resample(bars_at([]), minutes)

    assert coarse.open_time.shape == (0,)
    assert coarse.prices.shape == (0, 4)
