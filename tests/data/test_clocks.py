"""Clocks that files of bars and series are written from: what instants, or dates, they mean."""

import numpy as np
import pandas as pd
import pytest

from stage1.prepare import prepare

HEADER = "timestamp,open,high,low,close"
FLAT = "1,1,1,1"


@pytest.fixture
def prepared(call_command, tmp_path):
    """Prepares lines; gives the stored times, and what was printed."""

    def run(lines, *options, file="m1", name="bars.csv"):
        source = tmp_path / name
        source.write_text("\n".join(lines) + "\n")
        status, output, error = call_command(prepare, source, "--out", tmp_path / "out", *options)
        assert (status, error) == (0, "")
        return pd.read_parquet(tmp_path / "out" / f"{file}.parquet"), output

    return run


def bars_at(stamps):
    return [HEADER, *(f"{stamp},{FLAT}" for stamp in stamps)]


def as_utc(stamps):
    return list(pd.to_datetime(stamps, utc=True))


def test_a_server_seven_hours_ahead_of_new_york_keeps_new_yorks_summer(prepared):
    written = ["2024-03-08 23:58", "2024-03-08 23:59"]  # New York in winter
    written += ["2024-03-11 00:00", "2024-03-11 00:01"]  # in summer, when Europe is still not
    written += ["2024-03-15 23:58", "2024-03-15 23:59", "2024-03-18 00:00", "2024-03-18 00:01"]

    table, output = prepared(bars_at(written), "--tz", "America/New_York+7h")

    new_york = pd.to_datetime(written) - pd.Timedelta(hours=7)
    assert list(table["timestamp"]) == list(new_york.tz_localize("America/New_York"))
    assert table["timestamp"][0] == pd.Timestamp("2024-03-08 21:58Z")
    assert table["timestamp"][2] == pd.Timestamp("2024-03-10 21:00Z")
    assert "clock America/New_York+7h" in output


@pytest.mark.parametrize("zone", ["New_York+7h", "America/New_York+7", "America/New_York+7h30", ""])
def test_no_other_spelling_of_hours_ahead_is_guessed_at(call_command, tmp_path, zone):
    (tmp_path / "bars.csv").write_text("\n".join(bars_at(["2024-03-08 23:58"])))

    status, _, error = call_command(
        prepare, tmp_path / "bars.csv", "--tz", zone, "--out", tmp_path / "out"
    )

    assert status == 2
    assert "--tz must be an IANA name such as America/New_York, perhaps with hours ahead" in error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["bars.csv", "bars.parquet"])
def test_unix_times_of_a_brokers_clock_are_read_by_it_and_said_to_be(call_command, tmp_path, name):
    shown = pd.to_datetime(["2024-06-28 23:38", "2024-06-28 23:39", "2024-07-01 00:00"])
    unix = shown.as_unit("s").astype(np.int64)
    frame = pd.DataFrame({"timestamp": unix} | dict.fromkeys(["open", "high", "low", "close"], 1.0))
    source = tmp_path / name
    frame.to_csv(source, index=False) if name.endswith("csv") else frame.to_parquet(source)

    status, output, _ = call_command(
        prepare, source, "--tz", "EET", "--out", tmp_path / "out", "--timeframes", "m1"
    )

    assert status == 0
    stored = pd.read_parquet(tmp_path / "out" / "m1.parquet")["timestamp"]
    assert list(stored) == as_utc(["2024-06-28 20:38", "2024-06-28 20:39", "2024-06-30 21:00"])
    assert "unix times read as what a clock in EET showed, as --tz says, not as UTC" in output


def test_a_bar_stamped_at_its_end_lies_in_the_interval_in_which_it_began(prepared):
    ends = pd.date_range("2024-03-04 15:56", "2024-03-04 16:00", freq="1min")
    ends = [*ends, pd.Timestamp("2024-03-05 09:31"), pd.Timestamp("2024-03-05 09:32")]
    lines = [HEADER, *(f"{end:%Y-%m-%d %H:%M},1,9,1,{k + 1}" for k, end in enumerate(ends))]

    table, output = prepared(lines, "--stamped", "end", file="m5")

    assert list(table["timestamp"]) == as_utc(["2024-03-04 15:55", "2024-03-05 09:30"])
    assert list(table["close"]) == [5, 7]
    assert "times of the end of each bar: set back by 60 seconds" in output


def test_hours_that_end_where_the_clocks_jump_are_hours_that_began_before(prepared):
    ends = ["2024-03-09 23:00", "2024-03-10 00:00", "2024-03-10 01:00", "2024-03-10 02:00"]
    ends += ["2024-03-10 04:00", "2024-03-10 05:00"]
    options = ["--tz", "America/New_York", "--step", "1h", "--stamped", "end"]

    table, output = prepared(
        ["time_ending,load", *(f"{end},{k}" for k, end in enumerate(ends))], *options, file="x1"
    )

    assert list(table["timestamp"]) == list(
        pd.date_range("2024-03-09 22:00", periods=6, freq="1h", tz="America/New_York")
    )
    assert "no gap" in output


DAYS = [7, 8, 9, 10, 11, 12]
NEW_YORK = [f"2024-03-{day:02} 00:00:00-0{5 if day < 11 else 4}:00" for day in DAYS]


@pytest.mark.parametrize(
    ("stamps", "options"),
    [
        pytest.param(NEW_YORK, (), id="dates as written"),
        pytest.param(NEW_YORK, ("--tz", "America/New_York"), id="dates of the zone"),
        pytest.param(
            [f"{pd.Timestamp(stamp).tz_convert('UTC'):%Y-%m-%dT%H:%M:%SZ}" for stamp in NEW_YORK],
            ("--tz", "America/New_York"),
            id="instants in the zone",
        ),
        pytest.param(
            [f"2024-03-{day:02}T00:00:00+09:00" for day in DAYS], (), id="ahead of Greenwich"
        ),
    ],
)
def test_days_written_in_two_offsets_are_days_of_their_dates(prepared, stamps, options):
    lines = ["Date,close", *(f"{stamp},{k}" for k, stamp in enumerate(stamps))]

    table, output = prepared(lines, "--step", "1d", *options, file="x1")

    assert list(table["timestamp"]) == as_utc([f"2024-03-{day:02}" for day in DAYS])
    assert "no gap" in output


def test_days_in_parquet_are_those_of_its_zone(call_command, tmp_path):
    index = pd.date_range("2024-03-28", periods=6, freq="1D", tz="Europe/Berlin")
    pd.DataFrame({"timestamp": index, "load": range(6)}).to_parquet(tmp_path / "s.parquet")

    status, *_ = call_command(
        prepare, tmp_path / "s.parquet", "--step", "1d", "--out", tmp_path / "out"
    )

    assert status == 0
    stored = pd.read_parquet(tmp_path / "out" / "x1.parquet")["timestamp"]
    assert list(stored) == list(index.tz_localize(None).tz_localize("UTC"))


def test_a_month_has_no_end_to_be_stamped_at(call_command, tmp_path):
    (tmp_path / "s.csv").write_text("date,a\n2024-01-31,1\n2024-02-29,2\n")

    status, _, error = call_command(
        prepare, tmp_path / "s.csv", "--step", "1mo", "--stamped", "end", "--out", tmp_path / "out"
    )

    assert status == 2
    assert "--stamped must be left out with --step 1mo" in error


def test_the_hour_that_comes_twice_is_two_rows_of_an_hourly_file(prepared):
    instants = pd.date_range("2024-10-26 20:00", periods=12, freq="1h", tz="UTC")
    shown = instants.tz_convert("Europe/Berlin")
    lines = ["time,load", *(f"{hour:%Y-%m-%d %H:%M},{k}" for k, hour in enumerate(shown))]

    table, output = prepared(lines, "--tz", "Europe/Berlin", "--step", "1h", file="x1")

    assert list(table["timestamp"]) == list(instants)
    assert "no gap" in output


def test_an_hour_that_no_clock_shows_is_never_dropped_however_long_the_file(call_command, tmp_path):
    stamps = pd.date_range("2024-03-04", periods=8 * 1440, freq="1min").strftime("%Y-%m-%d %H:%M")
    source = tmp_path / "utc.csv"
    source.write_text("\n".join(bars_at(stamps)))
    options = ("--tz", "America/New_York", "--out", tmp_path / "out")

    status, _, error = call_command(prepare, source, *options)
    repaired, _, refused = call_command(prepare, source, *options, "--repair", "drop-invalid")

    assert (status, repaired) == (2, 2)
    assert "if the clock is another than that of --tz" in error
    assert "--repair" not in error
    assert "--repair drop-invalid must not drop many rows of times that cannot be" in refused


def test_a_minute_that_no_clock_shows_is_asked_about(call_command, tmp_path):
    instants = pd.date_range("2024-03-10 05:00", periods=200, freq="1min", tz="UTC")
    ends = instants.tz_convert("America/New_York").tz_localize(None) + pd.Timedelta(1, "min")
    source = tmp_path / "ends.csv"
    source.write_text("\n".join(bars_at(ends.strftime("%Y-%m-%d %H:%M"))))
    options = ("--tz", "America/New_York", "--out", tmp_path / "out")

    _, _, error = call_command(prepare, source, *options)
    status, output, _ = call_command(prepare, source, *options, "--stamped", "end")

    assert "if times are those of the end, use --stamped end; else mend the file" in error
    assert status == 0
    assert "200 bars from 2024-03-10 05:00 to 2024-03-10 08:19 UTC; no gap" in output
