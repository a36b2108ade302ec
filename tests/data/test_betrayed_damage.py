"""Damage that the data themselves betray is never read as if the file were whole."""

from __future__ import annotations

import contextlib
import io
import tempfile
from itertools import permutations
from pathlib import Path

import numpy as np
import pandas as pd
from fuzz import few_and_many, for_all
from hypothesis import strategies as st

from stage1.base.errors import Stage1Error
from stage1.data.bars import Repair
from stage1.prepare import prepare

PRICES = ["open", "high", "low", "close"]
SWAPS = [order for order in permutations(range(4)) if order != (0, 1, 2, 3)]
SIGNS = ("look at ", "warning: ", "repair: ")
"""What lines begin with that say more than what a whole file has."""


def walk(seed: int, price: float, count: int = 1500) -> pd.DataFrame:
    """Bars of consecutive minutes, each opening near where the one before has closed; the seed says
    how coarse their prices are.
    """
    random = np.random.default_rng(seed)
    close = price * np.exp(np.cumsum(random.normal(0, 5e-4, count)))
    open_ = np.append(price, close[:-1]) * np.exp(random.normal(0, 5e-5, count))
    reach = np.exp(np.abs(random.normal(0, 2e-4, (2, count))))
    top, bottom = np.maximum(open_, close) * reach[0], np.minimum(open_, close) / reach[1]
    times = pd.date_range("2024-03-04", periods=count, freq="1min")
    tick = price * (0, 1e-5, 2e-4)[seed % 3]
    prices = np.stack([open_, top, bottom, close])
    prices = np.round(prices / tick) * tick if tick else prices
    return pd.DataFrame(dict(zip(PRICES, prices, strict=True)), times)


def lost_point(bars, random):
    first, count = random.integers(len(bars)), random.choice([1, 1, 2, 40])
    columns = random.permutation(4)[: random.integers(1, 5)]
    bars.iloc[first : first + count, columns] *= 10.0 ** random.choice([-3, -2, -1, 1, 2, 3])
    return bars


def swapped_columns(bars, random):
    return bars.set_axis([PRICES[n] for n in SWAPS[random.integers(len(SWAPS))]], axis=1)[PRICES]


def doubled_hour(bars, random):
    first = 60 * random.integers(1, 20)
    hour = bars.iloc[first : first + 60]
    if random.random() < 0.5:
        return pd.concat([bars.iloc[: first + 60], hour, bars.iloc[first + 60 :]])
    bars.iloc[first + 60 : first + 120] = hour.to_numpy()
    return bars


def shifted_hour(bars, random):
    first = 60 * random.integers(1, 20)
    times = bars.index.to_numpy().copy()
    end = first + 60 if random.random() < 0.5 else len(bars)
    times[first:end] += np.timedelta64(random.choice([-60, 60]), "m")
    return bars.set_axis(times)


def second_symbol(bars, random):
    factor = random.choice([0.001, 0.2, 0.6, 1.7, 20.0])
    other = walk(int(random.integers(1 << 30)), bars["close"].iloc[-1] * factor, len(bars))
    way = random.integers(3)
    if way == 0:  # under the same times
        return pd.concat([bars, other])
    if way == 1:  # after the first
        return pd.concat([bars, other.set_axis(other.index + pd.Timedelta(2, "D"))])
    return pd.concat([bars[::2], other[1::2]]).sort_index()


def lost_rows(bars, random):
    first, count = random.integers(1, len(bars) - 100), random.integers(1, 99)
    return pd.concat([bars.iloc[:first], bars.iloc[first + count :]])


DAMAGES = (lost_point, swapped_columns, doubled_hour, shifted_hour, second_symbol, lost_rows)


def prepared(bars: pd.DataFrame, *repairs: str) -> tuple[str, pd.DataFrame | None]:
    """What is said of bars, and the 1-minute bars that are made of them; None if refused."""
    said = io.StringIO()
    with tempfile.TemporaryDirectory() as name:
        source, out = Path(name) / "m1.csv", Path(name) / "out"
        bars.to_csv(source, index_label="timestamp", date_format="%Y-%m-%d %H:%M")
        try:
            with contextlib.redirect_stdout(said):
                prepare(source, out, repair=[Repair(name) for name in repairs], timeframes="m1")
        except Stage1Error as error:
            return said.getvalue() + str(error), None
        return said.getvalue(), pd.read_parquet(out / "m1.parquet").set_index("timestamp")


def says_more(text: str) -> bool:
    return "no gap" not in text or any(line.startswith(SIGNS) for line in text.splitlines())


@few_and_many(40, 2000)
def test_no_damage_is_read_in_silence_and_what_is_advised_leaves_no_wrong_bar(examples):
    def check(case):
        damage, seed, price = case
        whole = walk(seed, price)

        damaged = damage(whole.copy(), np.random.default_rng(seed))
        text, bars = prepared(damaged)

        assert bars is not None or "error" in text or "must" in text
        assert bars is None or says_more(text), (damage, text)
        if bars is None and "or use " in text:
            options = text.split("or use ")[1].split("\n")[0].split(";")[0].split()
            after, repaired = prepared(damaged, *options[1::2])
            assert repaired is not None, (damage, text, after)
            np.testing.assert_allclose(
                repaired, whole.loc[repaired.index.tz_localize(None)], rtol=1e-12, err_msg=after
            )

    cases = st.tuples(
        st.sampled_from(DAMAGES), st.integers(0, 1 << 30), st.sampled_from([1e-4, 1.0581, 4.2e4])
    )
    for_all(cases, check, examples)


def test_whole_bars_are_read_without_a_word_more():
    for seed, price in ((0, 1e-4), (1, 1.0581), (2, 4.2e4)):
        text, bars = prepared(walk(seed, price))

        assert bars is not None
        assert not says_more(text)
