from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from stage1.base.steps import MINUTES, STANDARD
from stage1.prepare import prepare

START = pd.Timestamp("2018-01-02 00:00")


def csv_lines(count: int = 8) -> list[str]:
    """Lines of a sound file; the bar of minute k stands at line k + 2."""
    stamps = pd.date_range(START, periods=count, freq="1min").strftime("%Y-%m-%d %H:%M")
    return ["timestamp,open,high,low,close", *(f"{stamp},2,3,1,2.5" for stamp in stamps)]


@pytest.fixture
def run(call_command, tmp_path):
    """Prepares a file with these lines: status, stdout, stderr."""

    def run(lines: list[str], *options: str, out: Path = tmp_path / "out"):
        source = tmp_path / "m1.csv"
        source.write_text("\n".join(lines) + "\n")
        return call_command(prepare, source, "--out", out, *options)

    return run


def test_every_timeframe_is_written_as_pandas_would(run, tmp_path):
    generator = np.random.default_rng(0)
    minutes = np.sort(generator.choice(3000, 2000, replace=False))
    index = START + pd.to_timedelta(minutes, unit="min")
    body = generator.uniform(1, 2, (len(minutes), 2))
    frame = pd.DataFrame(
        {
            "open": body[:, 0],
            "high": body.max(axis=1) + 0.5,
            "low": body.min(axis=1) - 0.5,
            "close": body[:, 1],
        },
        index.tz_localize("UTC").rename("timestamp"),
    )

    status, _, _ = run(frame.to_csv(date_format="%Y-%m-%d %H:%M").splitlines())

    assert status == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        *(f"{name}.parquet" for name in STANDARD),
        "stats.json",
    }
    rules = {"open": "first", "high": "max", "low": "min", "close": "last"}
    for name in STANDARD:
        length = MINUTES[name]
        written = pd.read_parquet(tmp_path / "out" / f"{name}.parquet").set_index("timestamp")
        expected = frame.resample(f"{length}min").agg(rules).dropna()
        pd.testing.assert_frame_equal(written, expected, check_freq=False, check_index_type=False)


def test_stats_say_what_there_is_and_where_it_comes_from(run, tmp_path):
    run(csv_lines(), "--timeframes", "m1,m5")

    stats = json.loads((tmp_path / "out" / "stats.json").read_text())
    logs = np.log([2, 3, 1, 2.5])
    assert list(stats["timeframes"]) == ["m1", "m5"]
    assert stats["timeframes"]["m5"] == {
        "bars": 2,
        "first": "2018-01-02T00:00:00Z",
        "last": "2018-01-02T00:05:00Z",
        "log_price_mean": pytest.approx(logs.mean(), rel=1e-12),
        "log_price_std": pytest.approx(logs.std(), rel=1e-12),
    }
    assert stats["source"]["file"] == "m1.csv"
    source = (tmp_path / "m1.csv").read_bytes()
    assert stats["source"]["sha256"] == hashlib.sha256(source).hexdigest()


def test_it_says_what_it_found(run):
    lines = csv_lines(30)
    del lines[10:20]  # minutes 9 to 18
    del lines[5]  # minute 4

    _, output, _ = run(lines)

    read, times, written = output.splitlines()
    assert read.endswith("generic, with header, times as YYYY-MM-DD hh:mm; 19 rows, clock UTC")
    assert times == (
        "19 bars from 2018-01-02 00:00 to 2018-01-02 00:29 UTC; "
        "2 gaps, the longest 10 minutes after 2018-01-02 00:08"
    )
    assert written.endswith("out: m1 19, m5 5, m15 2, m30 1, h1 1, h4 1")


AT = "2018-01-02 00:02"
FAULTS = [
    pytest.param(f"{AT},x,3,1,2.5", "open must be a finite number > 0, got 'x'", id="text"),
    pytest.param(f"{AT},2,3,1,", "close must be a finite number > 0, got ''", id="empty"),
    pytest.param(f"{AT},2,2.2,1,2.5", "high must be >= max(open, close), got 2.2 < 2.5", id="high"),
    pytest.param(f"{AT},2,3,2.1,2.5", "low must be <= min(open, close), got 2.1 > 2.0", id="low"),
    pytest.param(
        "2018-01-02 00:00,2,3,1,2.5",
        "time must be later than the row before, "
        "got 2018-01-02 00:00 UTC after 2018-01-02 00:01 (line 3)",
        id="unsorted",
    ),
    pytest.param(
        "2018-01-02 00:01,2,3,1,2.5",
        "time must not repeat, got 2018-01-02 00:01 UTC after 2018-01-02 00:01 (line 3)",
        id="duplicate",
    ),
    pytest.param(f"{AT}:30,2,3,1,2.5", f"time must be on a whole minute, got '{AT}:30'", id="30 s"),
    pytest.param(
        "2018-02-30 00:00,2,3,1,2.5",
        "time must be readable, as the first row's is, got '2018-02-30 00:00'",
        id="no such day",
    ),
    pytest.param(
        f"{AT},2,3,1", "the line must have 5 cells as the first line has, got 4", id="few cells"
    ),
]


@pytest.mark.parametrize(("line", "message"), FAULTS)
def test_a_fault_is_named_with_its_line_and_the_repair_that_takes_it_away(
    run, tmp_path, line, message
):
    lines = csv_lines()
    lines[3] = line

    status, _, error = run(lines)

    headline, named = error.splitlines()
    assert status == 2
    assert named == f"{tmp_path / 'm1.csv'}: line 4: {message}"
    assert "got 1 fault; mend the file, or use --repair " in headline
    assert not (tmp_path / "out").exists()
    repairs = headline.split("or use ")[1].split()
    repairs += ["--repair", "drop-duplicates"] * ("sort" in repairs)
    status, output, _ = run(lines, *repairs)
    assert status == 0
    assert "repair: " in output
    assert len(pd.read_parquet(tmp_path / "out" / "m1.parquet")) == 7
    assert json.loads((tmp_path / "out" / "stats.json").read_text())["source"]["repairs"]


def test_a_local_time_that_names_no_instant_is_a_fault(run):
    stamp = "2018-03-11 02:30"

    status, _, error = run([csv_lines()[0], f"{stamp},2,3,1,2"], "--tz", "America/New_York")

    assert status == 2
    rule = "line 2: time must exist in America/New_York, where the clocks jumped over it"
    assert f"{rule}, got '{stamp}'" in error


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param(["--timeframes", "m1,m7"], "--timeframes must be among m1,m2", id="timeframe"),
        pytest.param(["--tz", "Mars/Olympus"], "got 'Mars/Olympus'", id="zone"),
        pytest.param(["--dialect", "binance"], "must be of the dialect binance", id="dialect"),
        pytest.param(["--repair", "all"], "'all' is not one of", id="repair"),
    ],
)
def test_a_wrong_option_ends_with_status_2(run, tmp_path, options, message):
    status, _, error = run(csv_lines(), *options)

    assert status == 2
    assert message in error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("more", [[], [11]], ids=["all", "all but one"])
def test_bars_that_are_not_of_one_minute_are_refused(run, tmp_path, more):
    header, *rows = csv_lines(31)
    minutes = sorted([*range(0, 31, 5), *more])

    status, _, error = run([header, *(rows[minute] for minute in minutes)])

    assert status == 2
    apart = f"bars must be 1-minute bars, got 5 minutes apart 7 of {len(minutes)}"
    assert f"{apart}; say so: python -m stage1.prepare " in error
    assert error.endswith(" --step 5min\n")
    assert not (tmp_path / "out").exists()


def test_bars_of_which_no_two_follow_each_other_are_refused(run):
    header, *rows = csv_lines(31)

    status, _, error = run([header, *(rows[minute] for minute in (0, 2, 5, 11, 14, 18))])

    assert status == 2
    assert "bars must be 1-minute bars, got none of 6 beside another" in error


def test_a_faulty_file_leaves_the_earlier_run_as_it_was_and_a_sound_one_leaves_nothing_of_it(
    run, tmp_path
):
    run(csv_lines())
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}

    faulty, _, _ = run([*csv_lines(), "2018-01-03 00:00,2,1,1,2"])
    after = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    sound, _, _ = run(csv_lines(), "--timeframes", "m1")

    assert (faulty, sound) == (2, 0)
    assert after == before
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"m1.parquet", "stats.json"}


def test_a_full_disk_is_one_line_and_the_earlier_run_stays(run, tmp_path, monkeypatch):
    def full(*_arguments, **_options):
        raise OSError(28, "No space left on device")

    run(csv_lines())
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    with monkeypatch.context() as patch:
        patch.setattr("pyarrow.parquet.write_table", full)
        status, _, error = run(csv_lines())

    assert status == 2
    assert "No space left on device; make room or give another --out\n" in error
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before


def test_a_folder_with_other_files_or_the_source_is_not_touched(run, tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.txt").write_text("years of work")

    at_home, _, of_others = run(csv_lines(), out=tmp_path / "home")
    beside_source, _, of_source = run(csv_lines(), out=tmp_path)

    assert at_home == beside_source == 2
    assert "with thesis.txt in it; name another" in of_others
    assert (tmp_path / "home" / "thesis.txt").read_text() == "years of work"
    assert "--out must be a folder of its own" in of_source
    assert (tmp_path / "m1.csv").exists()


def test_bars_in_parquet_are_read_too(call_command, tmp_path):
    prices = {"open": 2.0, "high": 3.0, "low": 1.0, "close": 2.5}
    frame = pd.DataFrame({"timestamp": pd.date_range(START, periods=10, freq="1min")} | prices)
    frame.to_parquet(tmp_path / "bars.parquet", index=False)
    options = ("--out", tmp_path / "out", "--tz", "Asia/Tokyo")

    status, _, _ = call_command(prepare, tmp_path / "bars.parquet", *options)

    assert status == 0
    stamps = pd.read_parquet(tmp_path / "out" / "m5.parquet")["timestamp"].tolist()
    assert stamps == [pd.Timestamp(f"2018-01-01 15:0{minute}", tz="UTC") for minute in (0, 5)]
