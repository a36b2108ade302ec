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


def bars_at(minutes: list[int], *, seed: int = 0) -> Bars:
    """Bars that open so many minutes after noon."""
    prices = np.random.default_rng(seed).uniform(1, 2, (len(minutes), 4))
    return Bars(NOON + 60 * np.array(minutes, dtype=np.int64), prices)


@st.composite
def gappy_bars(draw: st.DrawFn) -> Bars:
    minutes = sorted(draw(st.sets(st.integers(0, 2000), min_size=1, max_size=80)))
    return bars_at(minutes, seed=draw(st.integers(0, 2**32 - 1)))


def with_pandas(bars: Bars, minutes: int) -> pd.DataFrame:
    index = pd.to_datetime(bars.open_time, unit="s", utc=True)
    frame = pd.DataFrame(bars.prices, index, columns=["open", "high", "low", "close"])
    rules = {"open": "first", "high": "max", "low": "min", "close": "last"}
    return frame.resample(f"{minutes}min", closed="left", label="left").agg(rules).dropna()


@given(bars=gappy_bars())
@settings(max_examples=40, deadline=None)
def test_coarse_bars_are_those_of_pandas_through_any_gaps(bars):
    timeframes = {name: minutes for name, minutes in MINUTES.items() if name != "w1"}
    through_the_finer_ones = resample_all(bars, timeframes)

    for timeframe, minutes in timeframes.items():
        expected = with_pandas(bars, minutes)
        for coarse in (through_the_finer_ones[timeframe], resample(bars, minutes)):
            assert coarse.open_time.tolist() == [stamp.timestamp() for stamp in expected.index]
            np.testing.assert_array_equal(coarse.prices, expected.to_numpy())


@pytest.mark.parametrize("minutes", [1, 5, 240])
def test_no_bars_make_no_bars(minutes):
    coarse = resample(bars_at([]), minutes)

    assert coarse.open_time.shape == (0,)
    assert coarse.prices.shape == (0, 4)
