"""Trainings on bars of which none is of one minute, from the file to the vectors."""

import numpy as np
import pandas as pd
import pytest
from tiny_training import tiny_config, tiny_language_model

from stage1.config import with_values
from stage1.data.batches import MarketWindows
from stage1.data.load import load_data
from stage1.prepare import prepare
from stage1.training.fit import fit

RULES = {"open": "first", "high": "max", "low": "min", "close": "last"}


def hours(count: int) -> pd.DataFrame:
    """Bars of an hour from Sunday to Friday, 17:00 in New York."""
    index = pd.date_range("2023-01-01", periods=count, freq="1h", tz="UTC", name="timestamp")
    local = index.tz_convert("America/New_York").tz_localize(None) + pd.Timedelta("7h")
    index = index[local.day_of_week < 5]
    close = np.exp(np.random.default_rng(0).normal(0, 1e-3, len(index)).cumsum())
    open_ = np.append(1.0, close[:-1])
    high, low = np.maximum(open_, close) * 1.0001, np.minimum(open_, close) * 0.9999
    return pd.DataFrame({"open": open_, "high": high, "low": low, "close": close}, index)


def train(folder, timeframes, *, calendar=False):
    """The rows of a training, and its windows."""
    config = tiny_config(data={"timeframes": timeframes}, calendar=calendar)
    bars, config = load_data(folder, with_values(config, {"training.epochs": 1}))
    windows = MarketWindows.of(bars, config)
    rows = []
    fit(config, windows, tiny_language_model(), report=rows.append)
    return rows, windows


@pytest.mark.parametrize("calendar", [False, True], ids=["equal lengths", "calendar"])
def test_a_training_begins_at_hours_and_has_the_days_of_the_exchange(
    call_command, tmp_path, calendar
):
    timeframes = ["h1", "h4"] if calendar else ["h1", "h4", "d1"]
    hours(24 * 300).to_csv(tmp_path / "h1.csv")
    options = ("--step", "1h", "--days", "America/New_York+7h", "--out", tmp_path / "bars")
    assert call_command(prepare, tmp_path / "h1.csv", *options)[0] == 0

    rows, windows = train(tmp_path / "bars", timeframes, calendar=calendar)

    assert [row["epoch"] for row in rows] == [0, 1]
    names = ("val_loss", *(f"val_corr_{name}" for name in timeframes))
    assert np.isfinite([[row[name] for name in names] for row in rows]).all()
    ends = pd.to_datetime(windows.resident.instants(windows.split.validation.ends), unit="s")
    assert ends.isin(hours(24 * 300).index.tz_localize(None) + pd.Timedelta("1h")).all()


def test_an_older_folder_without_m1_is_trained_on(tmp_path):
    bars = hours(24 * 120)
    for name, rule in {"m30": "30min", "h1": "1h", "h4": "4h"}.items():
        coarse = bars.resample(rule).agg(RULES).dropna().reset_index()
        coarse.to_parquet(tmp_path / f"simple_gap_aware_{name}.parquet")

    rows, _ = train(tmp_path, ["h1", "h4"])

    assert np.isfinite([row["val_correlation"] for row in rows]).all()
