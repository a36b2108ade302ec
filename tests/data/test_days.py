"""Bars counted on the clock of an exchange, against pandas and zoneinfo."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from synthetic_bars import data_config

from stage1.base.errors import DataError
from stage1.data.bars import Bars, DayClock, resample_all
from stage1.data.gathering import ResidentBars
from stage1.data.load import load_bars
from stage1.data.times import instants_of, on_clock
from stage1.prepare import prepare

RULES = {"open": "first", "high": "max", "low": "min", "close": "last"}


def hours_of_currencies(start: str, end: str, step: str = "1h") -> pd.DataFrame:
    """Bars from Sunday to Friday, 17:00 in New York, through changes of its clock."""
    index = pd.date_range(start, end, freq=step, tz="UTC", inclusive="left", name="timestamp")
    local = index.tz_convert("America/New_York").tz_localize(None) + pd.Timedelta("7h")
    index = index[local.day_of_week < 5]
    generator = np.random.default_rng(0)
    close = np.exp(generator.normal(0, 1e-3, len(index)).cumsum())
    open_ = np.append(1.0, close[:-1])
    high, low = np.maximum(open_, close) * 1.0001, np.minimum(open_, close) * 0.9999
    return pd.DataFrame({"open": open_, "high": high, "low": low, "close": close}, index)


def by_local(frame: pd.DataFrame, rule: str, zone: str, ahead: str = "0h") -> pd.DataFrame:
    """Resampled by what a clock shows; labelled by the instants at which it shows the label."""
    local = frame.copy()
    local.index = frame.index.tz_convert(zone).tz_localize(None) + pd.Timedelta(ahead)
    coarse = local.resample(rule, origin=pd.Timestamp("1970-01-05")).agg(RULES).dropna()
    coarse.index = (coarse.index - pd.Timedelta(ahead)).tz_localize(zone).tz_convert("UTC")
    return coarse


@pytest.fixture
def prepared(call_command, tmp_path):
    """Prepares a table: status, what it says, and the folder."""

    def run(frame: pd.DataFrame, *options: str, **to_csv: str):
        frame.to_csv(tmp_path / "bars.csv", **to_csv)
        out = tmp_path / "out"
        status, output, error = call_command(prepare, tmp_path / "bars.csv", "--out", out, *options)
        return status, output + error, out

    return run


def assert_written(folder: Path, name: str, expected: pd.DataFrame) -> None:
    written = pd.read_parquet(folder / f"{name}.parquet").set_index("timestamp")
    pd.testing.assert_frame_equal(
        written, expected, check_freq=False, check_index_type=False, check_names=False
    )


@pytest.mark.parametrize(
    ("zone", "ahead"), [("America/New_York", "7h"), ("EET", "0h"), ("Asia/Kolkata", "0h")]
)
def test_days_weeks_and_hours_are_those_of_the_exchange(prepared, zone, ahead):
    frame = hours_of_currencies("2023-03-05", "2023-12-01", step="30min")
    days = zone + (f"+{ahead}" if ahead != "0h" else "")

    status, said, out = prepared(frame, "--step", "30min", "--days", days)

    assert status == 0, said
    for name, rule in {"h4": "4h", "d1": "1D", "w1": "7D"}.items():
        assert_written(out, name, by_local(frame, rule, zone, ahead))
    bars = load_bars(out, ("m30", "h4", "d1", "w1"))
    assert {one.clock for one in bars.values()} == {DayClock(days, weeks=True)}
    opens = pd.to_datetime(instants_of(bars["d1"].clock, bars["d1"].open_time), unit="s", utc=True)
    assert opens.tolist() == by_local(frame, "1D", zone, ahead).index.tolist()


def test_a_broker_s_four_hours_are_read_through_the_changes_of_its_clock(prepared):
    frame = hours_of_currencies("2023-03-05", "2023-12-01")
    expected = by_local(frame, "4h", "America/New_York", "7h")
    broker = expected.tz_convert("America/New_York").tz_localize(None)
    broker.index += pd.Timedelta("7h")

    status, said, out = prepared(broker, "--step", "4h", "--tz", "America/New_York+7h")

    assert status == 0, said
    assert_written(out, "h4", expected)
    assert_written(out, "d1", by_local(frame, "1D", "America/New_York", "7h"))


def test_daily_bars_keep_their_dates(prepared):
    frame = by_local(hours_of_currencies("2023-01-01", "2023-06-01"), "1D", "UTC")

    status, said, out = prepared(frame.rename_axis("Date"), "--step", "1d", date_format="%Y-%m-%d")

    assert status == 0, said
    assert_written(out, "d1", frame)
    assert_written(out, "w1", by_local(frame, "7D", "UTC"))


@pytest.mark.parametrize(
    ("step", "written"), [("5min", "--step 5min"), ("1h", "--step 1h"), ("1D", "--step 1d")]
)
def test_the_step_that_a_file_shows_is_said_with_the_command(prepared, tmp_path, step, written):
    frame = hours_of_currencies("2023-01-02", "2023-02-01", step=step)

    status, said, _ = prepared(frame)

    assert status == 2
    command = f"python -m stage1.prepare {tmp_path / 'bars.csv'} --out {tmp_path / 'out'} {written}"
    assert said.strip().endswith(command)


def test_bars_are_not_read_as_longer_ones(prepared):
    frame = hours_of_currencies("2023-01-02", "2023-02-01", step="5min")

    refused, said, _ = prepared(frame, "--step", "1h")
    repaired, _, _ = prepared(frame, "--step", "1h", "--repair", "drop-invalid")

    assert (refused, repaired) == (2, 2)
    assert "say with --step how far the rows are apart" in said


def test_hours_from_half_past_are_counted_on_a_clock_that_says_so(prepared):
    frame = hours_of_currencies("2023-01-02", "2023-04-01")
    frame.index += pd.Timedelta("30min")

    status, said, _ = prepared(frame, "--step", "1h")
    ahead, of_ahead, _ = prepared(frame, "--step", "1h", "--days", "America/New_York+7h")
    followed, _, out = prepared(frame, "--step", "1h", "--days", "UTC-30min")

    assert (status, ahead) == (2, 2)
    assert "begin 30 minutes later" in said
    assert "--days UTC-30min" in said
    assert "--days America/New_York+390min" in of_ahead
    assert followed == 0
    assert_written(out, "h1", frame)


def test_a_market_that_never_closes_has_no_days_on_a_clock_that_is_set_back(prepared):
    index = pd.date_range("2023-11-01", "2023-11-10", freq="1h", tz="UTC", name="timestamp")
    frame = pd.DataFrame({"open": 2.0, "high": 3.0, "low": 1.0, "close": 2.5}, index)

    status, said, _ = prepared(frame, "--step", "1h", "--days", "America/New_York")
    followed, _, _ = prepared(frame, "--step", "1h", "--days", "UTC")

    assert (status, followed) == (2, 0)
    assert "2023-11-05 06:00 UTC in America/New_York" in said


def test_what_the_clock_shows_means_the_instants_it_was_made_of():
    frame = hours_of_currencies("2023-01-02", "2023-04-01")
    bars = Bars(frame.index.as_unit("s").asi8, frame.to_numpy())
    there = on_clock(bars, DayClock("America/New_York"))

    assert np.diff(there.open_time).min() == 3600
    assert instants_of(there.clock, there.open_time).tolist() == bars.open_time.tolist()


def test_bars_of_two_clocks_are_not_mixed():
    frame = hours_of_currencies("2023-01-02", "2023-04-01")
    hours = Bars(frame.index.as_unit("s").asi8, frame.to_numpy())
    there = on_clock(hours, DayClock("America/New_York+7h"))
    days = resample_all(there, ("h1", "d1"), own="h1")

    with pytest.raises(DataError, match="on one clock, got h1 UTC, d1 America"):
        ResidentBars({**days, "h1": hours}, data_config(timeframes=("h1", "d1")), calendar=False)


def test_weeks_begin_on_mondays_in_memory_too():
    frame = hours_of_currencies("2023-01-02", "2023-04-01", step="1min").iloc[:30_000]
    m1 = Bars(frame.index.as_unit("s").asi8, frame.to_numpy())

    week = resample_all(m1, ("m1", "w1"))["w1"]

    opens = pd.to_datetime(instants_of(week.clock, week.open_time), unit="s", utc=True)
    assert opens.tolist() == by_local(frame, "7D", "UTC").index.tolist()


def test_a_series_may_still_be_made_of_the_columns_of_bars(prepared):
    frame = hours_of_currencies("2023-01-02", "2023-02-01")

    status, said, out = prepared(frame, "--step", "1h", "--channels", "open,close")

    assert status == 0, said
    assert [path.name for path in sorted(out.iterdir())] == ["stats.json", "x1.parquet"]


def test_a_step_that_no_timeframe_has_is_refused_with_the_way_out(prepared):
    frame = hours_of_currencies("2023-01-02", "2023-02-01", step="5h")

    status, said, _ = prepared(frame, "--step", "5h")

    assert status == 2
    assert "--channels open,high,low,close" in said
