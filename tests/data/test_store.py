from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import stage1
from stage1.base.errors import DataError
from stage1.base.steps import STANDARD
from stage1.data.bars import Bars, fingerprint
from stage1.data.load import load_bars
from stage1.data.store import write_parquet

SAMPLE = Path(stage1.__file__).parent / "sample" / "bitstamp_btcusd_1min_14d.csv.gz"
START = 1_514_851_200


def frame(count: int = 4, minutes: int = 1) -> pd.DataFrame:
    stamps = pd.to_datetime(START + 60 * minutes * np.arange(count), unit="s")
    middle = 10.0 + np.arange(count)
    prices = {"open": middle, "high": middle + 2, "low": middle - 2, "close": middle + 1}
    return pd.DataFrame({"timestamp": stamps, **prices})


def saved(folder: Path, table: pd.DataFrame, name: str = "m1.parquet") -> Path:
    table.to_parquet(folder / name, index=False)
    return folder


def test_the_sample_is_the_bars_of_its_file_in_every_timeframe_asked_for():
    with gzip.open(SAMPLE, "rt") as stream:
        table = pd.read_csv(stream)

    bars = load_bars(None, ("h4", "m1", "m15"))

    np.testing.assert_array_equal(bars["m1"].open_time, table["timestamp"])
    np.testing.assert_array_equal(bars["m1"].prices, table[["open", "high", "low", "close"]])
    numbers = [(name, len(loaded.open_time)) for name, loaded in bars.items()]
    assert numbers == [("h4", 84), ("m1", 20_160), ("m15", 1344)]


def test_what_is_written_is_loaded(tmp_path):
    bars = load_bars(None, STANDARD)
    for name, found in bars.items():
        write_parquet(found, tmp_path / f"{name}.parquet")

    loaded = load_bars(tmp_path, STANDARD)

    assert fingerprint(loaded) == fingerprint(bars)


@pytest.mark.parametrize(
    "convert",
    [
        pytest.param(lambda stamps: stamps, id="datetime without a zone"),
        pytest.param(lambda stamps: stamps.dt.tz_localize("UTC"), id="datetime in UTC"),
        pytest.param(
            lambda stamps: stamps.dt.tz_localize("UTC").dt.tz_convert("Asia/Tokyo"),
            id="datetime in another zone",
        ),
        pytest.param(lambda stamps: stamps.astype("datetime64[ns]"), id="nanoseconds"),
        pytest.param(lambda stamps: stamps.astype("datetime64[s]").astype("int64"), id="unix"),
        pytest.param(lambda stamps: stamps.astype("datetime64[ms]").astype("int64"), id="unix ms"),
        pytest.param(
            lambda stamps: stamps.astype("datetime64[s]").astype("int64").astype(float),
            id="unix as floats",
        ),
    ],
)
def test_a_timestamp_may_be_a_datetime_or_a_unix_time(tmp_path, convert):
    table = frame()
    table["timestamp"] = convert(table["timestamp"])

    m1 = load_bars(saved(tmp_path, table), ("m1",))["m1"]

    assert m1.open_time.tolist() == [START, START + 60, START + 120, START + 180]
    np.testing.assert_array_equal(m1.prices, frame()[["open", "high", "low", "close"]])


def test_the_files_of_older_folders_are_found(tmp_path):
    saved(tmp_path, frame(), "simple_gap_aware_m1.parquet")
    saved(tmp_path, frame(3, 240), "simple_gap_aware_h4.parquet")

    bars = load_bars(tmp_path, ("m1", "h4"))

    assert {name: len(found.open_time) for name, found in bars.items()} == {"m1": 4, "h4": 3}


def fault(folder, *timeframes):
    with pytest.raises(DataError) as caught:
        load_bars(folder, timeframes)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_folder_that_lacks_the_bars_is_one_line(tmp_path):
    saved(tmp_path, frame())

    nowhere = "nowhere: must be a folder of bars, got no folder; run `python -m stage1.prepare"
    assert nowhere in fault(tmp_path / "nowhere", "m1")
    assert "must be a folder, got a file; give the folder" in fault(tmp_path / "m1.parquet", "m1")
    missing = "must hold m5.parquet, h4.parquet, got m1.parquet; run"
    assert missing in fault(tmp_path, "m1", "m5", "h4")
    assert "timeframes must be among m1, m2, " in fault(None, "m1", "m7")


def test_a_file_that_holds_no_bars_is_one_line(tmp_path):
    saved(tmp_path, frame().rename(columns={"high": "High"}))
    assert "must have the columns timestamp, open, high" in fault(tmp_path, "m1")

    saved(tmp_path, frame(0))
    assert "must hold bars, got none" in fault(tmp_path, "m1")

    (tmp_path / "m1.parquet").write_text("timestamp,open\n")
    assert "m1.parquet: must be a Parquet file" in fault(tmp_path, "m1")


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        pytest.param("open", np.nan, r"row 3: open must be a finite number > 0, got", id="NaN"),
        pytest.param("close", None, r"row 3: close must be a finite number > 0, got", id="null"),
        pytest.param("timestamp", pd.NaT, r"row 3: time must be readable", id="no time"),
        pytest.param(
            "timestamp",
            pd.Timestamp(START + 120.5, unit="s"),
            r"row 3: time must be on a whole minute",
            id="off the minute",
        ),
    ],
)
def test_stored_bars_are_checked_row_by_row(tmp_path, column, value, message):
    table = frame()
    table.loc[2, column] = value

    with pytest.raises(DataError, match=message) as caught:
        load_bars(saved(tmp_path, table), ("m1",))

    assert f"run `python -m stage1.prepare M1.csv --out {tmp_path}`" in str(caught.value)


def test_the_fingerprint_is_that_of_names_times_and_prices_in_any_order():
    bars = load_bars(None, ("m5", "m15"))
    variants = [
        {name: Bars(*(array.copy() for array in bars[name][:2])) for name in ("m15", "m5")}
        for _ in range(3)
    ]
    variants[1]["m15"].open_time[-1] += 1
    variants[2]["m15"].prices[-1] += 1

    same, *others = map(fingerprint, variants)

    assert same == fingerprint(bars)
    others += [fingerprint({"m5": bars["m5"]}), fingerprint({"m15": bars["m5"]})]
    assert len({same, *others}) == 5
