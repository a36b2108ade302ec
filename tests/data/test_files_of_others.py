"""Files as brokers, exchanges and programs write them: what is read, and what a refusal says."""

from __future__ import annotations

import gzip
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stage1.base.errors import DataError
from stage1.data.bars import Rows
from stage1.data.checks import bar_rules, sound_bars
from stage1.data.csv_reader import read_csv
from stage1.data.store import is_table, read_parquet
from stage1.data.times import Clock

MINIMAL = Path(__file__).parent / "minimal"
SAME = "2024-03-04 14:30"


def rows_of(path: Path, clock: Clock | None = None) -> Rows:
    read = read_parquet if is_table(path) else read_csv
    return read(path, clock=clock or Clock())


@pytest.mark.parametrize(
    ("name", "count", "first", "open_", "close"),
    [
        ("jforex_eet.csv", 3, "2024-06-30 21:00", 1.1, 1.15),
        ("date_and_timestamp_qdm.csv", 3, SAME, 100, 100.5),
        ("pandas_unnamed_index.csv", 3, SAME, 100, 100.5),
        ("polygon_flat.csv", 2, SAME, 100, 100.5),
        ("yfinance_three_headers.csv", 3, SAME, 100, 100.5),
        ("german_header.csv", 2, SAME, 1.1, 1.15),
        ("comment_first.csv", 2, SAME, 1, 1.5),
        ("bars.pq", 5, SAME, 1, 1.5),
        ("bars.feather", 5, SAME, 1, 1.5),
        ("text_times.parquet", 5, SAME, 1, 1.5),
        ("index_timestamp.parquet", 5, SAME, 1, 1.5),
        ("tv_iso_offset.csv", 3, "2024-03-08 20:59", 1, 1.5),
        ("s_then_ms.csv", 4, SAME, 1, 1.5),
        ("utf16_mt5.csv", 2, SAME, 1.1, 1.15),
        ("trailing_comma.csv", 2, SAME, 1, 1.5),
        ("quoted_numbers.csv", 2, SAME, 1, 1.5),
        ("finam.txt", 2, "2024-03-04 10:01", 1, 1.5),
    ],
)
def test_a_file_is_read_by_the_names_of_its_columns_and_by_its_kind(
    name, count, first, open_, close
):
    rows = rows_of(MINIMAL / name)

    bars = sound_bars(rows, bar_rules(1))
    assert len(bars.open_time) == count
    assert bars.open_time[0] == pd.Timestamp(first, tz="UTC").timestamp()
    assert bars.prices[0, [0, 3]].tolist() == [open_, close]


@pytest.mark.parametrize(
    ("name", "facts"),
    [
        ("header_lacks_time.csv", ["line 1", "7 names over 8 cells, one too few, after Date"]),
        ("quoted_lines_tabs.csv", ["line 1", "take away the marks at both ends of every line"]),
        ("bid_and_ask.csv", ["line 1", "2 of the name 'open'"]),
        ("gbk_header_okx.csv", ["line 1", "save it as UTF-8"]),
        ("bars.json", ["got JSON; write it as CSV"]),
        ("us_dates.csv", ["line 2", "write the times as 2024-03-04 09:30"]),
        ("two_digit_hours.csv", ["line 2", "write the times as 2024-03-04 09:30"]),
        ("ib_zone_name.csv", ["line 2", "write the times as 2024-03-04 09:30"]),
        ("excel_serial.csv", ["line 2", "write the times as 2024-03-04 09:30"]),
        ("excel_damaged_unix.csv", ["line 2", "write the times as 2024-03-04 09:30"]),
    ],
)
def test_a_refusal_says_what_is_wrong_and_what_to_do(name, facts):
    with pytest.raises(DataError) as caught:
        rows_of(MINIMAL / name)

    for fact in facts:
        assert fact in str(caught.value)
    assert "timestamp,open,high,low,close" not in str(caught.value)


ROW = "2024-03-04 14:30,1,2,0.5,1.5"


@pytest.mark.parametrize(
    ("lines", "fact"),
    [
        pytest.param(["a,open,high,low,close", ROW], "with no time; rename", id="no time"),
        pytest.param(["time,open,high,low,x", ROW], "with no close; rename", id="no close"),
        pytest.param(["A,2024-03-04 14:30,1,2"], "names every column as it stands", id="no header"),
        pytest.param(
            ["https://example.org", "time,open,high,low,close", ROW],
            "delete what stands above the header",
            id="a line above the header",
        ),
        pytest.param(
            ["open,high,low,close", ROW], "4 names over 5 cells, one too few", id="no name for it"
        ),
        pytest.param(["Time (EST),open,high,low,close", ROW], "--tz ZONE", id="EST"),
        pytest.param(
            ["date,open,high,low,close", *["2024-03-04,1,2,0.5,1.5"] * 2],
            "dates without a time of day, some more than once",
            id="the time of day is elsewhere",
        ),
    ],
)
def test_a_header_that_does_not_fit_is_told_what_is_missing(tmp_path, lines, fact):
    (tmp_path / "m1.csv").write_text("\n".join(lines) + "\n")

    with pytest.raises(DataError) as caught:
        read_csv(tmp_path / "m1.csv")

    assert fact in str(caught.value)


def test_the_clock_of_the_header_holds_unless_another_is_asked_for(tmp_path):
    lines = "Time ({}),Open,High,Low,Close\n2024.07.01 00:00:00,1,2,0.5,1.5\n"
    (tmp_path / "m1.csv").write_text(lines.format("EET"))
    (tmp_path / "utc.csv").write_text(lines.format("UTC"))

    other = rows_of(tmp_path / "m1.csv", Clock("America/New_York+7h"))

    assert other.clock == "America/New_York+7h"
    with pytest.raises(DataError, match="--tz must be left out"):
        rows_of(tmp_path / "utc.csv", Clock("EET"))


def test_an_archive_is_read_if_it_holds_one_file(tmp_path):
    text = f"time,open,high,low,close\n{ROW}\n"
    for name, files in {"one": ["m1.csv"], "two": ["a.csv", "b.csv"], "x": ["mimetype"]}.items():
        with zipfile.ZipFile(tmp_path / f"{name}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for file in files:
                archive.writestr(file, text)
    (tmp_path / "m1.csv.gz").write_bytes(gzip.compress(text.encode()))

    assert rows_of(tmp_path / "one.zip").prices.tolist() == [[1, 2, 0.5, 1.5]]
    assert rows_of(tmp_path / "m1.csv.gz").prices.tolist() == [[1, 2, 0.5, 1.5]]
    with pytest.raises(DataError, match=r"must hold one file, got 2 \(a\.csv, b\.csv\)"):
        rows_of(tmp_path / "two.zip")
    with pytest.raises(DataError, match="got a workbook; save the sheet as CSV"):
        rows_of(tmp_path / "x.zip")


@pytest.mark.parametrize(
    ("prices", "first"),
    [
        ("1,1;1,2;1,0;1,15", [1.1, 1.2, 1.0, 1.15]),
        ("151,234;151,3;151,2;151,25", [151.234, 151.3, 151.2, 151.25]),
        ("45,100;45,120;45,090;45,110", [np.nan] * 4),  # 45 or 45,100?
        ("1.045,1;1.046,0;1.044,0;1.045,5", [np.nan] * 4),  # points between thousands
    ],
)
def test_a_decimal_comma_is_read_only_where_it_is_certain(tmp_path, prices, first):
    (tmp_path / "m1.csv").write_text(f"zeit;eröffnung;hoch;tief;schluss\n{SAME};{prices}\n")

    rows = read_csv(tmp_path / "m1.csv")

    np.testing.assert_array_equal(rows.prices[0], first)


@pytest.mark.parametrize(
    "frame",
    [
        pytest.param(lambda f: f.rename_axis("Datetime").rename(columns=str.title), id="yfinance"),
        pytest.param(lambda f: f.rename_axis(None), id="index without a name"),
        pytest.param(lambda f: f.reset_index(names="ts"), id="ts"),
        pytest.param(
            lambda f: f.reset_index(names="t").rename(columns=lambda n: n[0]), id="letters"
        ),
        pytest.param(
            lambda f: f.reset_index(names="window_start").astype({"window_start": "int64"}),
            id="unix times",
        ),
        pytest.param(
            lambda f: f.assign(
                Date=f.index.strftime("%Y-%m-%d"), Time=f.index.strftime("%H:%M:%S")
            ).reset_index(drop=True),
            id="date and time apart",
        ),
    ],
)
def test_tables_may_name_their_columns_as_text_files_do(tmp_path, frame):
    index = pd.date_range(SAME, periods=3, freq="1min", tz="UTC")
    prices = {"low": 0.5, "close": 1.5, "open": 1.0, "high": 2.0}
    frame(pd.DataFrame(prices, index)).to_parquet(tmp_path / "m1.parquet")

    rows = rows_of(tmp_path / "m1.parquet")

    assert rows.open_time.tolist() == [int(stamp.timestamp()) for stamp in index]
    assert rows.prices.tolist() == [[1, 2, 0.5, 1.5]] * 3


STAMPS = ("%Y-%m-%d %H:%M", "%Y.%m.%d %H:%M:%S", "%d.%m.%Y %H:%M", "%Y%m%d %H%M%S", "unix", "zone")
NAMES = {
    "generic": ("Datetime", "Open", "High", "Low", "Close"),
    "letters": ("t", "o", "h", "l", "c"),
    "German": ("Datum", "Eröffnung", "Hoch", "Tief", "Schluss"),
    "NinjaTrader": ("Date", "Open", "High", "Low", "Last"),
    "unnamed": ("", "open", "high", "low", "close"),
}


@settings(max_examples=80, deadline=None)
@given(
    body=st.lists(st.tuples(st.integers(1, 10**6), st.integers(1, 10**6)), min_size=1, max_size=12),
    gaps=st.lists(st.integers(1, 3000), min_size=12, max_size=12),
    start=st.sampled_from(["2024-01-05 09:00", "2024-03-08 20:00", "2024-11-01 20:00"]),
    names=st.sampled_from([None, *sorted(NAMES)]),
    stamp=st.sampled_from(STAMPS),
    zone=st.sampled_from(["UTC", "America/New_York", "America/New_York+7h", "Asia/Tokyo", "EET"]),
    delimiter=st.sampled_from([",", ";", "\t"]),
    order=st.permutations(range(6)),
    comma=st.booleans(),
)
def test_what_is_read_is_what_was_written_or_is_refused(
    tmp_path_factory, body, gaps, start, names, stamp, zone, delimiter, order, comma
):
    path = tmp_path_factory.mktemp("written") / "m1.csv"
    minutes = pd.to_timedelta(np.cumsum(gaps[: len(body)]), unit="min")
    times = pd.Timestamp(start, tz="UTC") + minutes
    prices = np.array([[first, max(first, last), min(first, last), last] for first, last in body])
    prices = prices / 100
    name, ahead, _ = zone.partition("+7h")
    shown_there = times.tz_convert(name).tz_localize(None) + pd.Timedelta("7h" if ahead else "0h")
    if stamp == "unix":
        texts = [str(int(time.timestamp())) for time in times]
    elif stamp == "zone":
        texts = [time.isoformat() for time in times.tz_convert(name)]
    else:
        texts = shown_there.strftime(stamp).tolist()
    with_comma = comma and delimiter != ","
    numbers = [[f"{n:.2f}".replace(".", "," if with_comma else ".") for n in row] for row in prices]
    table = [[text, *row, "7"] for text, row in zip(texts, numbers, strict=True)]
    if names is None:  # a file without a header has one order
        order = range(6)
    else:
        table.insert(0, [*NAMES[names], "volume"])
        if names == "unnamed":
            order = [0, *(n for n in order if n != 0)]
    lines = [delimiter.join(line[n] for n in order) for line in table]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")

    rows = read_csv(path, clock=Clock("UTC" if stamp in ("unix", "zone") else zone))

    np.testing.assert_array_equal(rows.prices, prices)
    right = np.array([int(time.timestamp()) for time in times])
    refused = np.isin(rows.lines, [line for fault in rows.faults for line in fault.lines])
    assert rows.open_time[~refused].tolist() == right[~refused].tolist()
    if zone in ("UTC", "Asia/Tokyo") or start < "2024-02":
        assert not refused.any()
