"""Files whose rows are sound one by one and whose reading would be wrong: each is said, or refused.

The numbers are invented; the files are in the manner of brokers, exchanges and tools.
"""

from __future__ import annotations

import pandas as pd
import pytest

from stage1.prepare import prepare


def said(call_command, source, *options):
    """Status, and all that is said of a file."""
    out = source.parent / "out"
    status, output, error = call_command(prepare, source, "--out", out, *options)
    assert out.exists() == (status == 0)
    return status, output + error


STACKED = """symbol,timestamp,open,high,low,close,volume
AAA,2024-03-04 14:30:00,100,101,99,100.5,10
AAA,2024-03-04 14:31:00,100.5,101,100,100.8,10
BBB,2024-03-05 14:30:00,20,21,19,20.5,30
BBB,2024-03-05 14:31:00,20.5,20.9,20.1,20.4,30
"""


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_several_symbols_are_named_with_the_row_they_begin_at(call_command, write, tmp_path, kind):
    source = write(STACKED, "stacked.csv")
    if kind == "parquet":
        pd.read_csv(source).to_parquet(tmp_path / "stacked.parquet")
        source = tmp_path / "stacked.parquet"
    first, second = ("line 2", "line 4") if kind == "csv" else ("row 1", "row 3")

    status, text = said(call_command, source)

    assert status == 2
    assert text == (
        f"error: {source}: a file must hold the bars of one symbol, got 2: "
        f"AAA ({first}), BBB ({second}); keep the rows of one\n"
    )


def test_one_symbol_in_every_row_does_no_harm(call_command, write):
    status, _ = said(call_command, write(STACKED.replace("BBB", "AAA"), "one.csv"))

    assert status == 0


OTHER_ORDER = """1609459200,101.0,104.0,102.0,103.0,5.1
1609459260,102.5,103.5,103.0,102.5,4.0
1609459320,102.0,105.0,102.0,104.5,7.2
1609459380,104.0,106.0,104.0,105.0,3.3
1609459440,103.0,105.5,105.0,103.5,6.4
1609459500,103.0,104.0,103.0,104.0,1.0
"""


@pytest.mark.parametrize("repairs", [(), ("--repair", "drop-invalid")])
def test_columns_in_another_order_are_asked_for_and_not_dropped(call_command, write, repairs):
    source = write(OTHER_ORDER, "coinbase.csv")

    status, text = said(call_command, source, *repairs)
    advice = "name each in the first line by what it holds, such as timestamp,low,high,open,close"
    followed = write("timestamp,low,high,open,close,volume\n" + OTHER_ORDER, "followed.csv")
    then, _ = said(call_command, followed)

    assert status == 2
    assert "line 1: low must be <= min(open, close), got 102.0 > 101.0" in text
    assert advice in text.splitlines()[1]
    assert then == 0
    bars = pd.read_parquet(source.parent / "out" / "m1.parquet")
    assert bars.iloc[0, 1:].tolist() == [102, 104, 101, 103]


def one_day(count=1440):
    """Lines of a sound day, from line 2 on."""
    stamps = pd.date_range("2024-03-04", periods=count, freq="1min").strftime("%Y-%m-%d %H:%M")
    bars = [f"{stamp},{100 + k % 7},108,99,{100 + (k + 1) % 7}" for k, stamp in enumerate(stamps)]
    return ["timestamp,open,high,low,close", *bars]


@pytest.mark.parametrize(
    ("damage", "named", "advice"),
    [
        pytest.param(",3,2,4,1", "high must be >= max(open, close)", "another order", id="order"),
        pytest.param(
            ",100,108,99", "the line must have 5 cells", "cells in every line", id="cells"
        ),
        pytest.param(",1'000,1'080,990,1'000", "open must be a finite", "plain numbers", id="text"),
    ],
)
def test_no_repair_drops_many_rows_that_may_be_misread(call_command, write, damage, named, advice):
    lines = one_day()
    few = [line[:16] + damage if k in range(500, 514) else line for k, line in enumerate(lines)]
    many = [line[:16] + damage if k in range(500, 516) else line for k, line in enumerate(lines)]

    after_few, _ = said(call_command, write("\n".join(few), "few.csv"), "--repair", "drop-invalid")
    source = write("\n".join(many), "many.csv")
    (source.parent / "out" / "m1.parquet").unlink()
    status, _, error = call_command(prepare, source, "--out", source.parent / "new")
    after_many, _, refused = call_command(
        prepare, source, "--out", source.parent / "new", "--repair", "drop-invalid"
    )

    assert (after_few, status, after_many) == (0, 2, 2)
    assert f"line 501: {named}" in error
    assert "--repair" not in error
    assert advice in error.splitlines()[0]
    assert "--repair drop-invalid must drop at most 1% of 1," in refused
    assert advice in refused.splitlines()[0]


@pytest.mark.parametrize("nothing", ["", "NaN", "null", "-"])
def test_empty_cells_are_gaps_however_many_they_are(call_command, write, nothing):
    lines = one_day()
    lines[300:1200] = [line[:16] + f",{nothing}" * 4 for line in lines[300:1200]]
    source = write("\n".join(lines), "gaps.csv")

    status, text = said(call_command, source)
    repaired, after = said(call_command, source, "--repair", "drop-invalid")

    assert status == 2
    assert "; mend the file, or use --repair drop-invalid\n" in text
    assert repaired == 0
    assert "dropped 900 invalid rows" in after


def test_an_hour_that_is_there_twice_names_both_repairs_at_once(call_command, write):
    lines = one_day()
    lines[121:121] = lines[61:121]  # the rows of 01:00 to 01:59 again
    source = write("\n".join(lines), "twice.csv")

    status, text = said(call_command, source)
    options = text.split("or use ")[1].split("\n")[0].split()
    after, output = said(call_command, source, *options)

    assert status == 2
    assert options == ["--repair", "sort", "--repair", "drop-duplicates"]
    assert after == 0
    assert "1,440 bars from 2024-03-04 00:00 to 2024-03-04 23:59 UTC; no gap" in output


def test_an_hour_of_other_prices_under_the_same_times_asks_for_the_clock(call_command, write):
    lines = one_day(24 * 60 * 8)
    block = [line.replace(",108,", ",109,") for line in lines[61:121]]
    lines[121:121] = block
    source = write("\n".join(lines), "autumn.csv")

    status, text = said(call_command, source)

    assert status == 2
    assert "or use" not in text
    assert "if its clock was set back in autumn, name its zone with --tz" in text


def test_a_second_symbol_under_the_times_of_the_first_is_not_mixed_in(call_command, write):
    lines = one_day()
    other = [line.replace(",108,", ",107,") for line in lines[1:]]
    source = write("\n".join([*lines, *other]), "two.csv")

    status, text = said(call_command, source)
    sorted_status, after = said(
        call_command, source, "--repair", "sort", "--repair", "drop-duplicates"
    )

    assert (status, sorted_status) == (2, 2)
    assert "if the file holds several symbols, keep one" in text
    assert "or use" not in text
    assert "--repair drop-duplicates must not choose between many rows of one time" in after


@pytest.mark.parametrize(
    ("lines", "options", "message"),
    [
        pytest.param(
            ["Date,Time,Open,High,Low,Close", "25670304,14:30:00,1,1,1,1"],
            (),
            "line 2: time must not lie in the future, got '25670304 14:30:00' (today is ",
            id="Buddhist years",
        ),
        pytest.param(
            [
                "timestamp,open,high,low,close",
                "2024-03-04 14:30,1.0581,1058,1.0579,1.0580",
                "2024-03-04 14:31,1.0580,1.0582,1.0578,1.0581",
                "2024-03-04 14:33,1.0579,1.0580,1.0577,1.0578",
            ],
            (),
            "line 2: high must be less than 5 times above or below the bars beside it, "
            "got 1058 beside 1.0582 (line 3)",
            id="decimal point lost",
        ),
    ],
)
def test_what_cannot_be_is_named_with_line_and_value(call_command, write, lines, options, message):
    status, text = said(call_command, write("\n".join(lines), "m1.csv"), *options)

    assert status == 2
    assert message in text


def test_a_filled_weekend_is_counted(call_command, write):
    rows = [f"01.03.2024 21:5{k}:00.000,1.0800,1.0802,1.0799,1.0801,55.1" for k in (8, 9)]
    rows += [f"01.03.2024 22:0{k}:00.000,1.0801,1.0801,1.0801,1.0801,0" for k in range(3)]
    rows += ["03.03.2024 22:01:00.000,1.0806,1.0808,1.0805,1.0807,12.3"]
    source = write("\n".join(["Gmt time,Open,High,Low,Close,Volume", *rows]), "weekend.csv")

    status, text = said(call_command, source)
    _, after = said(call_command, source, "--repair", "drop-still")

    assert status == 0
    assert "3 of 6 bars do not move, all four prices being the close before" in text
    assert "dropped 3 bars that did not move" in after
    assert len(pd.read_parquet(source.parent / "out" / "m1.parquet")) == 3
