"""From the file of a series to its bars: columns, steps, means, and what is refused."""

import re
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from synthetic_series import frame_of, waves, write_frame

from stage1.base.errors import DataError
from stage1.base.steps import parse_step
from stage1.config import Config, DataConfig, with_values
from stage1.data.bars import resample_means
from stage1.data.checks import sound_bars, steps_of_series
from stage1.data.load import load_bars, load_data, load_series
from stage1.data.series import on_steps, read_series
from stage1.prepare import prepare

VALUES = waves(60)


def settings(**changes):
    values = {"kind": "series", "timeframes": ["x1"]} | changes
    return DataConfig.model_validate(values)


@pytest.fixture
def prepared(call_command, tmp_path):
    """Prepares a frame as hourly rows; gives the folder."""

    def prepare_frame(frame, *options, step="1h"):
        source = write_frame(frame, tmp_path / "series.csv")
        status, _, error = call_command(
            prepare, source, "--step", step, "--out", tmp_path / "out", *options
        )
        assert (status, error) == (0, "")
        return tmp_path / "out"

    return prepare_frame


def read_sound(path, step, **options):
    """The rows of a file, on steps of this length, checked."""
    rows = on_steps(read_series(path, **options), parse_step(step))
    return sound_bars(rows, steps_of_series(parse_step(step)).rules)


def refusal(call_command, source, *options, step="1h", out=None):
    """The lines of the error of preparing a file that cannot be."""
    out = out or source.parent / "out"
    status, _, error = call_command(prepare, source, "--step", step, "--out", out, *options)
    assert status == 2
    assert not out.exists()
    return error.removeprefix("error: ").splitlines()


# --- columns become channels ---


def test_a_configuration_learns_channels_and_step_from_the_folder(prepared):
    frame = frame_of(VALUES)
    frame.insert(1, "station", "north")
    config = with_values(Config(), {"data.kind": "series", "data.timeframes": ["x1", "x4"]})

    bars, complete = load_data(prepared(frame), config)

    assert complete.data.channels == ("wave0", "wave1", "wave2")
    assert complete.data.step == "1h"
    assert list(bars) == ["x1", "x4"]
    np.testing.assert_array_equal(bars["x1"].prices, VALUES)


def test_a_configuration_may_name_channels_and_write_the_step_in_another_unit(prepared):
    series = load_series(
        prepared(frame_of(VALUES)), settings(channels=["wave2", "wave0"], step="60min")
    )

    assert (series.channels, series.step) == (("wave2", "wave0"), "60min")
    np.testing.assert_array_equal(series.bars["x1"].prices, VALUES[:, [2, 0]])


def test_columns_without_numbers_are_told(call_command, tmp_path):
    frame = frame_of(VALUES).assign(sky="", wind="100,5", note=np.nan)
    frame.loc[frame.index[3] :, "sky"] = "clear"
    source = tmp_path / "series.csv"
    frame.to_csv(source, sep=";")

    status, message, _ = call_command(prepare, source, "--step", "1h", "--out", tmp_path / "out")

    assert status == 0
    left_out = "sky ('clear'), wind ('100,5'; write a decimal point), note ('')"
    assert message.splitlines()[1] == f"left out, no numbers: {left_out}"
    frame[["sky", "wind", "note"]].to_csv(source, sep=";")
    (line,) = refusal(call_command, source, out=tmp_path / "other")
    assert line == f"{source}: must have a column of numbers beside the time, got {left_out}"


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin"])
def test_the_folder_holds_the_columns_that_were_asked_for_under_times_in_utc(prepared, zone):
    folder = prepared(frame_of(VALUES), "--channels", "wave2, wave1", "--tz", zone)

    stored = pd.read_parquet(folder / "x1.parquet")

    assert list(stored) == ["timestamp", "wave2", "wave1"]
    assert list(stored["timestamp"]) == list(frame_of(VALUES).index.tz_localize(zone))


@pytest.mark.parametrize(
    "write",
    [
        pytest.param(lambda frame, path: frame.to_csv(path), id="csv"),
        pytest.param(lambda frame, path: frame.to_csv(path, sep=";"), id="semicolons"),
        pytest.param(lambda frame, path: frame.to_csv(path, compression="gzip"), id="gzip"),
        pytest.param(lambda frame, path: frame.rename_axis("day").to_csv(path), id="another name"),
        pytest.param(
            lambda frame, path: frame.reset_index()[["wave1", "timestamp", "wave0"]].to_csv(
                path, index=False
            ),
            id="timestamp in the middle",
        ),
    ],
)
def test_text_is_read_however_it_is_written(tmp_path, write):
    path = tmp_path / "series.csv"
    write(frame_of(VALUES, freq="1D"), path)

    bars = read_sound(path, "1d", channels=("wave1", "wave0"))

    np.testing.assert_array_equal(bars.prices, VALUES[:, [1, 0]])
    days = pd.date_range("2001-01-01", periods=60).to_numpy("M8[D]").astype(int)
    np.testing.assert_array_equal(bars.open_time, 60 * days)


@pytest.mark.parametrize(
    ("written", "step"),
    [
        pytest.param("%Y-%m-%d", "1d", id="dates"),
        pytest.param("%d.%m.%Y", "1d", id="days first"),
        pytest.param("%Y%m%d", "1d", id="digits"),
        pytest.param("%Y-%m", "1mo", id="months"),
        pytest.param("%Y", "1y", id="years"),
    ],
)
def test_times_may_be_dates(tmp_path, written, step):
    freq = {"1d": "1D", "1mo": "MS", "1y": "YS"}[step]
    frame = frame_of(VALUES, start="1950-01-01", freq=freq)
    frame.index = pd.Index(frame.index.strftime(written), name="date")

    rows = on_steps(read_series(write_frame(frame, tmp_path / "series.csv")), parse_step(step))

    assert rows.faults == ()
    assert (np.diff(rows.open_time) == 60).all()


@pytest.mark.parametrize("suffix", ["csv", "unix.csv", "parquet"])
@pytest.mark.parametrize(("freq", "step"), [("10s", "10s"), ("1s", "1s")])
def test_fractions_of_a_second_move_no_row(tmp_path, suffix, freq, step):
    frame = frame_of(VALUES, start="2011-01-01 00:00:00.5", freq=freq)
    path = tmp_path / f"series.{suffix}"
    if suffix == "unix.csv":
        frame.index = pd.Index(frame.index.to_numpy("M8[ms]").astype(np.int64), name="timestamp")
    frame.reset_index().to_parquet(path) if suffix == "parquet" else frame.to_csv(path)

    rows = read_sound(path, step)

    assert (np.diff(rows.open_time) == 60).all()


def test_parquet_may_have_decimals_and_dates_and_columns_without_numbers(tmp_path):
    days = pa.array(frame_of(VALUES, freq="1D").index.date, pa.date32())
    values = pa.array([Decimal(row) / 4 for row in range(60)])
    table = pa.table({"timestamp": days, "station": ["north"] * 60, "load": values})
    pq.write_table(table, tmp_path / "s.parquet")

    rows = on_steps(read_series(tmp_path / "s.parquet"), parse_step("1d"))

    assert rows.names == ("load",)
    assert rows.left_out == "station (string)"
    np.testing.assert_array_equal(rows.prices[:, 0], np.arange(60) / 4)
    assert (np.diff(rows.open_time) == 60).all()


# --- means ---


@pytest.mark.parametrize("multiple", [2, 4, 24])
@pytest.mark.parametrize("freq", ["1h", "15min"])
def test_coarser_bars_are_the_means_that_pandas_takes(tmp_path, freq, multiple):
    random = np.random.default_rng(1)
    frame = frame_of(waves(300), start="2020-02-28 03:45", freq=freq)
    frame = frame[random.random(300) < 0.8]  # gaps too
    step = parse_step(freq)
    # pandas would begin at the first day, here they are counted from 1970
    expected = frame.resample(step.seconds * multiple * pd.Timedelta("1s"), origin="epoch").mean()
    expected = expected.dropna()

    rows = read_sound(write_frame(frame, tmp_path / "s.csv"), step.text)
    coarse = resample_means(rows, [f"x{multiple}"])[f"x{multiple}"]

    np.testing.assert_allclose(coarse.prices, expected, rtol=1e-12, atol=1e-12)
    starts = step.starts(coarse.open_time // 60)
    np.testing.assert_array_equal(
        starts, expected.index.to_numpy("M8[s]").astype(np.int64) // step.seconds * step.seconds
    )


@pytest.mark.parametrize(("timeframe", "freq"), [("x3", "QS"), ("x12", "YS")])
def test_months_make_quarters_and_years(tmp_path, timeframe, freq):
    frame = frame_of(waves(100), start="1958-03-01", freq="MS")
    step = parse_step("1mo")
    rows = read_sound(write_frame(frame, tmp_path / "s.csv"), step.text)

    coarse = resample_means(rows, [timeframe])[timeframe]

    expected = frame.resample(freq).mean()
    np.testing.assert_allclose(coarse.prices, expected, rtol=1e-12)
    starts = step.starts(coarse.open_time // 60)
    np.testing.assert_array_equal(starts, expected.index.to_numpy("M8[s]").astype(np.int64))


# --- what is refused ---


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
@pytest.mark.parametrize(
    ("channels", "message"),
    [
        pytest.param("wave1,timestamp", "must leave out timestamp, which holds", id="the time"),
        pytest.param("wave1,wind", "must be among wave0, .*, got 'wind'", id="unknown"),
        pytest.param("", "must be names with commas between, got ''", id="none"),
        pytest.param("wave1,", "must be names with commas between, got 'wave1,'", id="a comma"),
    ],
)
def test_channels_must_be_columns_of_values(call_command, tmp_path, suffix, channels, message):
    source = tmp_path / f"s.{suffix}"
    frame = frame_of(VALUES)
    frame.to_csv(source) if suffix == "csv" else frame.reset_index().to_parquet(source)

    (line,) = refusal(call_command, source, "--channels", channels)

    assert re.search(f"--channels {message}", line)


@pytest.mark.parametrize("options", [(), ("--channels", "time")])
def test_no_channel_of_parquet_is_called_time(call_command, tmp_path, options):
    source = tmp_path / "s.parquet"
    frame_of(VALUES).rename(columns={"wave1": "time"}).reset_index().to_parquet(source)

    (line,) = refusal(call_command, source, *options)

    assert "must have no channel of the name 'time'" in line


@pytest.mark.parametrize(
    ("line", "message"),
    [
        pytest.param(
            "2001-01-01 02:00:00,1,much,3",
            "wave1 must be a finite number, at most 1e100 in size, got 'much'",
            id="text in a column",
        ),
        pytest.param(
            "2001-01-01 02:20:00,1,2,3",
            "time must be a whole number of steps of 1h from the other rows', "
            "got '2001-01-01 02:20:00'",
            id="a row between two steps",
        ),
        pytest.param(
            "2001-01-01 01:00:00,1,2,3",
            "time must not repeat with other values, "
            "got 2001-01-01 01:00 UTC after 2001-01-01 01:00 (line 3)",
            id="two rows in a step",
        ),
    ],
)
def test_a_fault_is_named_with_its_line(call_command, tmp_path, line, message):
    source = write_frame(frame_of(VALUES), tmp_path / "s.csv")
    lines = source.read_text().splitlines()
    lines[3] = line
    source.write_text("\n".join(lines) + "\n")

    headline, first, *rest = refusal(call_command, source)

    assert "every row must be a sound step, got 1 fault; " in headline
    assert "mend the file, or use --repair " in headline
    assert ("--channels" in headline) == ("drop-invalid" in headline)
    assert first == f"{source}: line 4: {message}"
    assert rest == []


def test_repairs_take_the_faults_away_and_leave_gaps(call_command, tmp_path):
    source = write_frame(frame_of(VALUES), tmp_path / "s.csv")
    lines = source.read_text().splitlines()
    lines[3] = "2001-01-01 02:20:00,1,2,3"
    lines[10:12] = ["2001-01-01 09:00:00,,2,3", "2001-01-01 08:00:00,7,7,7"]
    source.write_text("\n".join(lines) + "\n")
    out = tmp_path / "out"

    status, message, _ = call_command(
        prepare, source, "--step", "1h", "--out", out,
        "--repair", "drop-invalid", "--repair", "drop-duplicates",
    )  # fmt: skip

    assert status == 0
    assert "repair: dropped 2 invalid rows" in message
    assert "; 2 gaps, the longest 2 steps after 2001-01-01 08:00\n" in message
    kept = np.delete(np.arange(60), [2, 9, 10])
    bars = load_series(out, settings()).bars["x1"]
    np.testing.assert_array_equal(np.diff(bars.open_time) // 60, np.diff(kept))
    np.testing.assert_array_equal(bars.prices, VALUES[kept])


def test_no_repair_drops_most_of_a_series(call_command, prepared, tmp_path):
    frame = frame_of(VALUES)
    frame.iloc[:30, 1] = np.nan
    prepared(frame, "--repair", "drop-invalid")
    frame.iloc[30, 1] = np.nan
    source = write_frame(frame, tmp_path / "s.csv")

    (line,) = refusal(call_command, source, "--repair", "drop-invalid", out=tmp_path / "other")

    assert "must leave half of the rows of a series, got 31 invalid ones and 29 others" in line
    assert "--channels" in line


def test_rows_that_are_all_further_apart_are_refused(call_command, tmp_path):
    source = write_frame(frame_of(VALUES, freq="1D"), tmp_path / "s.csv")

    (line,) = refusal(call_command, source)

    assert line == f"{source}: rows must be 1h apart, got 24 steps apart 60 of 60; mend --step"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("time,a\n", "must hold steps, got none", id="names alone"),
        pytest.param("2001-01-01,1\n2001-01-02,2\n", "line 1: must name the columns", id="rows"),
        pytest.param("time,a,a\n1,2,3\n", "line 1: must name the columns, each once", id="twice"),
        pytest.param("time\n2001-01-01\n", "must have a column beside the time", id="one column"),
        pytest.param("t,\n2001-01-01,1\n", "must give every column a name", id="no name"),
        pytest.param("t,a\nmonday,1\n", "line 2: time must be a unix time or begin", id="no time"),
        pytest.param("t,a\n2001-01-01,x\n", "must have a column of numbers", id="no numbers"),
    ],
)
def test_what_is_no_series_is_refused(call_command, write, text, message):
    first, *_ = refusal(call_command, write(text, "s.csv"), step="1d")

    assert message in first


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param(("--step", "soon"), "--step must be a number and one of", id="no step"),
        pytest.param(
            ("--step", "1h", "--timeframes", "m1"), "must be left out for a series", id="timeframes"
        ),
        pytest.param(("--channels", "a"), "--channels must be left out for bars", id="channels"),
    ],
)
def test_options_of_the_other_kind_are_refused(call_command, tmp_path, options, message):
    source = write_frame(frame_of(VALUES), tmp_path / "s.csv")

    status, _, error = call_command(prepare, source, "--out", tmp_path / "out", *options)

    assert status == 2
    assert message in error


@pytest.mark.parametrize(("step", "freq"), [("1d", "1D"), ("1w", "7D"), ("1mo", "MS")])
def test_dates_are_not_moved_by_a_zone(call_command, tmp_path, step, freq):
    source = write_frame(frame_of(VALUES, freq=freq), tmp_path / "s.csv")

    (line,) = refusal(call_command, source, "--tz", "Europe/Berlin", step=step)

    assert line == (
        f"{source}: --tz must be left out: steps of a day or more are counted by their "
        "dates as written, got Europe/Berlin"
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param({"step": "1d"}, r"data\.step must be that of .*x1\.parquet, 1h, got 1d"),
        pytest.param({"channels": ["wind"]}, r"data\.channels must be columns .*, got 'wind'"),
    ],
    ids=["another step", "another column"],
)
def test_a_folder_must_be_what_the_configuration_says(prepared, changes, message):
    folder = prepared(frame_of(VALUES))

    with pytest.raises(DataError, match=message):
        load_series(folder, settings(**changes))


@pytest.mark.parametrize(
    ("load", "wanted", "stored", "advice"),
    [
        (load_bars, ("m1",), "x1", "it holds a series, which wants data.kind: series"),
        (load_series, settings(), "m1", "it holds bars, which want data.kind: ohlc"),
    ],
    ids=["bars", "series"],
)
def test_no_advice_replaces_data_of_the_other_kind(tmp_path, load, wanted, stored, advice):
    (tmp_path / f"{stored}.parquet").touch()

    with pytest.raises(DataError, match=rf"must hold .*, got {stored}\.parquet; {advice}$"):
        load(tmp_path, wanted)


def test_there_is_no_bundled_series_and_none_without_its_step(tmp_path):
    frame_of(VALUES).reset_index().to_parquet(tmp_path / "x1.parquet")

    with pytest.raises(DataError, match=r"must be given with --data-dir, .*--step STEP"):
        load_series(None, settings())
    with pytest.raises(DataError, match=r"x1\.parquet: must say its step, .*--step STEP"):
        load_series(tmp_path, settings())
