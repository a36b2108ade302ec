from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from stage1.base.errors import DataError
from stage1.data.checks import bar_rules, sound_bars
from stage1.data.csv_reader import read_csv

TIMES = [int(datetime(2018, 1, 2, 0, minute, tzinfo=UTC).timestamp()) for minute in (0, 1)]
PRICES = [[1.20, 1.25, 1.15, 1.22], [1.22, 1.23, 1.21, 1.21]]

SNIPPETS = [
    pytest.param(
        "metatrader",
        "<DATE>\t<TIME>\t<OPEN>\t<HIGH>\t<LOW>\t<CLOSE>\t<TICKVOL>\t<VOL>\t<SPREAD>\n"
        "2018.01.02\t00:00:00\t1.20\t1.25\t1.15\t1.22\t57\t0\t3\n"
        "2018.01.02\t00:01:00\t1.22\t1.23\t1.21\t1.21\t12\t0\t3\n",
        id="MetaTrader 5 with header",
    ),
    pytest.param(
        "metatrader",
        "2018.01.02,00:00,1.20,1.25,1.15,1.22,57\n2018.01.02,00:01,1.22,1.23,1.21,1.21,12\n",
        id="MetaTrader 4 without header",
    ),
    pytest.param(
        "histdata",
        "20180102 000000;1.200000;1.250000;1.150000;1.220000;0\n"
        "20180102 000100;1.220000;1.230000;1.210000;1.210000;0\n",
        id="HistData",
    ),
    pytest.param(
        "binance",
        "1514851200000,1.20,1.25,1.15,1.22,9.1,1514851259999,10.9,4,5.0,6.0,0\n"
        "1514851260000,1.22,1.23,1.21,1.21,9.1,1514851319999,10.9,4,5.0,6.0,0\n",
        id="Binance in milliseconds",
    ),
    pytest.param(
        "binance",
        "1514851200000000,1.20,1.25,1.15,1.22,9.1,1514851259999999,10.9,4,5.0,6.0,0\n"
        "1514851260000000,1.22,1.23,1.21,1.21,9.1,1514851319999999,10.9,4,5.0,6.0,0\n",
        id="Binance in microseconds",
    ),
    pytest.param(
        "binance",
        "open_time,open,high,low,close,volume,close_time,quote_volume,count,"
        "taker_buy_volume,taker_buy_quote_volume,ignore\n"
        "1514851200000,1.20,1.25,1.15,1.22,9.1,1514851259999,10.9,4,5.0,6.0,0\n"
        "1514851260000,1.22,1.23,1.21,1.21,9.1,1514851319999,10.9,4,5.0,6.0,0\n",
        id="Binance with header",
    ),
    pytest.param(
        "dukascopy",
        "Gmt time,Open,High,Low,Close,Volume\n"
        "02.01.2018 00:00:00.000,1.20,1.25,1.15,1.22,57.1\n"
        "02.01.2018 00:01:00.000,1.22,1.23,1.21,1.21,12.5\n",
        id="Dukascopy in GMT",
    ),
    pytest.param(
        "dukascopy",
        "Local time,Open,High,Low,Close,Volume\n"
        "02.01.2018 01:00:00.000 GMT+0100,1.20,1.25,1.15,1.22,57.1\n"
        "02.01.2018 01:01:00.000 GMT+0100,1.22,1.23,1.21,1.21,12.5\n",
        id="Dukascopy in local time",
    ),
    pytest.param(
        "dukascopy",
        "02.01.2018 00:00:00.000,1.20,1.25,1.15,1.22,57.1\n"
        "02.01.2018 00:01:00.000,1.22,1.23,1.21,1.21,12.5\n",
        id="Dukascopy without header",
    ),
    pytest.param(
        "oanda",
        "time,o,h,l,c,volume,complete\n"
        "2018-01-02T00:00:00.000000000Z,1.20,1.25,1.15,1.22,57,True\n"
        "2018-01-02T00:01:00.000000000Z,1.22,1.23,1.21,1.21,12,True\n",
        id="OANDA",
    ),
    pytest.param(
        "oanda",
        "complete,volume,time,mid.o,mid.h,mid.l,mid.c\n"
        "True,57,1514851200.000000000,1.20,1.25,1.15,1.22\n"
        "True,12,1514851260.000000000,1.22,1.23,1.21,1.21\n",
        id="OANDA mid prices and unix times",
    ),
    pytest.param(
        "generic",
        "timestamp,open,high,low,close,volume\n"
        "1514851200,1.20,1.25,1.15,1.22,0.1\n1514851260,1.22,1.23,1.21,1.21,0.1\n",
        id="unix seconds",
    ),
    pytest.param(
        "generic",
        "1514851200.0,1.20,1.25,1.15,1.22,0.1\n1514851260.0,1.22,1.23,1.21,1.21,0.1\n",
        id="unix seconds without header",
    ),
    pytest.param(
        "generic",
        "datetime,volume,close,low,high,open\n"
        "2018-01-02T00:00:00+00:00,5,1.22,1.15,1.25,1.20\n"
        "2018-01-02T00:01:00+00:00,5,1.21,1.21,1.23,1.22\n",
        id="ISO times, columns in another order",
    ),
    pytest.param(
        "generic",
        "Date,Time,Open,High,Low,Close\n"
        "20180102,000000,1.20,1.25,1.15,1.22\n20180102,000100,1.22,1.23,1.21,1.21\n",
        id="date and time apart",
    ),
    pytest.param(
        "generic",
        "time;open;high;low;close\n"
        "20180102 000000;1.20;1.25;1.15;1.22\n20180102 000100;1.22;1.23;1.21;1.21\n",
        id="YYYYMMDD HHMMSS under a header",
    ),
    pytest.param(
        "generic",
        '"date","open","high","low","close"\r\n'
        '"2018-01-02 00:00:00","1.20","1.25","1.15","1.22"\r\n'
        '"2018-01-02 00:01:00","1.22","1.23","1.21","1.21"\r\n',
        id="everything quoted, lines as Windows ends them",
    ),
    pytest.param(
        "generic",
        "\n\ntimestamp, open, high, low, close\n\n"
        "2018-01-02 00:00, 1.20, 1.25, 1.15, 1.22\n\n   \n"
        "2018-01-02 00:01, 1.22, 1.23, 1.21, 1.21\n\n",
        id="blank lines and blanks after commas",
    ),
]


def written(folder: Path, text: str, encoding: str = "utf-8") -> Path:
    path = folder / "m1.csv"
    path.write_bytes(text.encode(encoding))
    return path


@pytest.mark.parametrize(("dialect", "text"), SNIPPETS)
def test_a_dialect_is_recognised_or_asked_for_and_every_other_is_refused(tmp_path, dialect, text):
    path = written(tmp_path, text)

    rows = read_csv(path)

    bars = sound_bars(rows, bar_rules(1))
    assert rows.format.startswith(f"{dialect}, ")
    assert bars.open_time.tolist() == TIMES
    assert bars.prices.tolist() == PRICES
    assert read_csv(path, dialect=dialect).open_time.tolist() == TIMES
    with pytest.raises(DataError, match=r"line \d: header or first row must be of the dialect"):
        read_csv(path, dialect="oanda" if dialect != "oanda" else "histdata")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_byte_order_marks_are_understood(tmp_path, encoding):
    header = "<DATE>\t<TIME>\t<OPEN>\t<HIGH>\t<LOW>\t<CLOSE>\n"
    text = header + "2018.01.02\t00:00\t1.20\t1.25\t1.15\t1.22\n"

    assert read_csv(written(tmp_path, text, encoding)).open_time.tolist() == TIMES[:1]


def test_lines_are_counted_as_an_editor_counts_them_in_a_file_of_many_blocks(tmp_path):
    count = 120_000  # some megabytes, so several blocks of Arrow's
    stamps = 1_514_851_200 + 60 * np.arange(count)
    lines = ["timestamp,open,high,low,close", *(f"{stamp},2,3,1,2" for stamp in stamps)]
    lines[10] = ""
    lines[50_000] = "1,2,3"
    lines[90_000] = "  "
    path = written(tmp_path, "\n".join(lines) + "\n")

    rows = read_csv(path)

    kept = np.delete(np.arange(count + 1), [0, 10, 50_000, 90_000])
    np.testing.assert_array_equal(rows.lines, kept + 1)
    np.testing.assert_array_equal(rows.open_time, stamps[kept - 1])
    assert [fault.lines.tolist() for fault in rows.faults] == [[50_001]]
    assert rows.cell(100_001, "time") == str(stamps[99_999])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("", r"must hold bars, got an empty file", id="empty"),
        pytest.param("\n\n", r"must hold bars, got an empty file", id="blank"),
        pytest.param("timestamp,open,high,low,close\n\n", r"must hold bars, got none", id="no row"),
        pytest.param(
            "a,b,c\n1,2,3\n", r"line 1: header must name the time, .* got 'a,b,c'", id="columns"
        ),
        pytest.param(
            "time,open,high,low,close\n01/02/2018 00:00,1,1,1,1\n",
            r"line 2: time must be a unix time or begin like .* got '01/02/2018 00:00'",
            id="time in no known form",
        ),
        pytest.param(
            "time,open,high,low,close,größe\n2018-01-02 00:00,1,1,1,1,1\n",
            r"line 1: must be UTF-8 text, got 'time,.*'; save it as UTF-8",
            id="a header in Latin-1",
        ),
        pytest.param("PK\x03\x04", r"must be text, gzip or zip, and cannot be read", id="bad zip"),
        pytest.param("\x1f\x8bnothing", r"cannot be read", id="broken gzip"),
    ],
)
def test_a_file_that_is_no_bars_is_one_clear_error(tmp_path, text, message):
    with pytest.raises(DataError, match=message) as caught:
        read_csv(written(tmp_path, text, "latin-1"))

    assert "m1.csv" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"m1\.csv: must be a file of bars"):
        read_csv(tmp_path / "m1.csv")
