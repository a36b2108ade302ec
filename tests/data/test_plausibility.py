"""What only the bars beside a bar betray."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from stage1.data.bars import Repair, Rows
from stage1.data.checks import new_bars, repair_rows
from stage1.data.csv_reader import read_csv
from stage1.data.load import SAMPLE
from stage1.data.plausibility import in_future, notes, unlikely, week_ends

START = 1_709_562_600
"""2024-03-04 14:30 UTC."""


def walk(count: int = 300, price: float = 1.0581, seed: int = 0) -> np.ndarray:
    """Open, high, low, close of bars that follow each other, at some price."""
    random = np.random.default_rng(seed)
    close = price * np.exp(np.cumsum(random.normal(0, 2e-4, count)))
    open_ = np.append(price, close[:-1])
    reach = np.exp(np.abs(random.normal(0, 1e-4, (2, count))))
    top, bottom = np.maximum(open_, close) * reach[0], np.minimum(open_, close) / reach[1]
    return np.stack([open_, top, bottom, close], axis=1)


def rows_of(prices: np.ndarray, minutes: np.ndarray | None = None) -> Rows:
    """Rows of a file whose first row stands at line 2."""
    minutes = np.arange(len(prices)) if minutes is None else minutes
    names = ("open", "high", "low", "close")
    return Rows(
        path=Path("m1.csv"),
        unit="line",
        format="generic",
        lines=np.arange(2, len(prices) + 2),
        open_time=START + 60 * minutes,
        prices=prices,
        faults=(),
        cell=lambda line, name: (
            f"{prices[line - 2, names.index(name)]:.6g}" if name in names else ""
        ),
    )


def named(rows: Rows) -> set[int]:
    """Lines that some fault names."""
    return {line for fault in unlikely(rows) for line in fault.lines.tolist()}


def test_real_bars_are_all_likely():
    rows = read_csv(SAMPLE)

    assert new_bars().rules(rows) == []
    assert list(notes(rows)) == []


@pytest.mark.parametrize("factor", [0.001, 0.1, 10, 1000])
@pytest.mark.parametrize("place", [0, 1, 150, 298, 299])
@pytest.mark.parametrize("columns", [[1], [2], [0, 1], [0, 1, 2, 3]], ids=str)
def test_a_price_without_its_decimal_point_is_named(place, columns, factor):
    prices = walk()
    prices[place, columns] *= factor

    assert named(rows_of(prices)) == {place + 2}


@pytest.mark.parametrize("length", [2, 5, 140])
def test_so_are_many_of_them_in_a_row(length):
    prices = walk()
    prices[100 : 100 + length] *= 100

    assert named(rows_of(prices)) == set(range(102, 102 + length))


def test_a_crash_and_a_split_are_no_faults_but_told():
    crash = walk()
    crash[120:] /= 8
    crash[120, 0], crash[120, 1] = crash[119, 3], crash[119, 3]  # falls within a bar
    split = walk()
    split[200:] /= 4

    assert named(rows_of(crash)) == named(rows_of(split)) == set()
    (note,) = notes(rows_of(split))
    assert note.startswith("look at line 202: the price goes from 1.05")
    assert "a split, another contract or symbol?" in note


def test_a_price_that_lost_a_digit_is_told():
    prices = walk()
    prices[77, 1] = 1.38

    (note,) = notes(rows_of(prices))

    assert named(rows_of(prices)) == set()
    assert note.startswith("look at line 79: ")
    assert "to 1.38 between" in note


def test_bars_that_span_far_to_the_end_of_the_file_are_told():
    prices = walk()
    prices[270:, [0, 2, 3]] /= 1000

    (note,) = notes(rows_of(prices))

    assert named(rows_of(prices)) == set()
    assert "in one bar, the widest of 30 bars that span 5 times or more" in note


def test_a_far_price_names_its_value_and_is_dropped_on_request_and_the_rest_checked_again():
    prices = walk()
    prices[149, 1] *= 1000
    rows = rows_of(prices)

    (fault,) = unlikely(rows)
    kept, done = repair_rows(rows, [Repair.DROP_INVALID], new_bars().rules)

    assert fault.rule == "high must be less than 5 times above or below the bars beside it"
    assert fault.value(0) == f"{prices[149, 1]:.6g} beside {prices[148, 1]:.6g} (line 150)"
    assert kept.lines.tolist() == [line for line in rows.lines if line != 151]
    assert done == ["dropped 1 invalid row"]
    assert new_bars(trust_prices=True).rules(rows) == []


def rules(rows: Rows) -> list[str]:
    return [fault.rule for fault in unlikely(rows)]


def test_two_symbols_by_turns_are_named_whatever_their_prices():
    both = np.empty((600, 4))
    both[::2], both[1::2] = walk(seed=1), walk(price=1.2702, seed=2)

    (rule,) = rules(rows_of(both))

    assert rule == "bars must touch a bar beside them, which 598 of 600 do not, not even within 1 %"


def test_an_open_and_a_close_that_are_swapped_are_named():
    (rule,) = rules(rows_of(walk()[:, [3, 1, 2, 0]]))

    assert rule == "a bar must open near where the one before has closed"


def test_an_hour_written_a_second_time_under_the_next_hours_times_is_told():
    prices = walk()
    prices[120:180] = prices[60:120]

    (note,) = notes(rows_of(prices))

    assert note.startswith("look at line 122: 60 bars from there on are those from line 62 on: ")


def test_hours_in_which_nothing_moves_are_no_copies():
    (note,) = notes(rows_of(np.ones((300, 4))))

    assert note.startswith("299 of 300 bars do not move")


def test_filled_weekends_are_told_and_dropped_on_request():
    prices = walk()
    prices[100:250] = prices[99, 3]
    prices[250, 0] = prices[249, 3]
    rows = rows_of(prices)

    (note,) = notes(rows)
    kept, done = repair_rows(rows, [Repair.DROP_STILL], new_bars().rules)

    assert note.startswith("150 of 300 bars do not move, all four prices being the close before")
    assert "the longest run 150 from line 102 on" in note
    assert kept.lines.tolist() == [*range(2, 102), *range(252, 302)]
    assert done == ["dropped 150 bars that did not move"]


def test_times_to_come_are_named():
    rows = rows_of(walk(3), (int(time.time()) - START) // 60 + np.array([0, 2 * 1440 - 1, 5000]))

    (fault,) = in_future(rows)

    assert fault.rule == "time must not lie in the future"
    assert fault.lines.tolist() == [4]


NEW_YORK = "America/New_York"


def market(zone: str, opens: str, closes: str, first="2017-01-02", last="2019-12-27"):
    """Half hours from Monday's open to Friday's close of a market, as instants."""
    half_hours = pd.date_range(first, last, freq="30min", tz=zone)
    day = (half_hours.day_of_week + 1) % 7 - 1  # Sunday is -1
    week = day * 24 + half_hours.hour + half_hours.minute / 60
    hours = [day * 24 + float(text) for day, text in ((0, opens), (4, closes))]
    return half_hours[(week >= hours[0]) & (week < hours[1])]


def read_by(instants, written_by, read_in: str) -> list[str]:
    """What is said of instants that a clock wrote and another zone's clock reads."""
    shown = written_by(instants).tz_localize(None)
    read = shown.tz_localize(read_in, ambiguous="NaT", nonexistent="NaT").dropna()
    seconds = read.tz_convert("UTC").as_unit("s").astype(np.int64).to_numpy()
    return list(week_ends(seconds, read_in))


def clock_of(zone: str, hours: int = 0):
    return lambda instants: (instants.tz_convert(zone).tz_localize(None)) + pd.Timedelta(hours, "h")


def changing(instants):
    """New York's clock, from 2019 on its winter time all year."""
    new_york, est = clock_of(NEW_YORK)(instants), clock_of("Etc/GMT+5")(instants)
    return pd.DatetimeIndex(np.where(instants.year < 2019, new_york, est))


CURRENCIES = market(NEW_YORK, "-7", "17")  # from Sunday at 17:00
SHARES = market("Europe/Berlin", "9", "17.5")
TOKYO = market("Asia/Tokyo", "9", "15")
UTC_ALL_YEAR = "warning: weeks end at one time all year, which is right for a market without summer"


@pytest.mark.parametrize(
    ("instants", "written_by", "read_in", "end", "warning"),
    [
        pytest.param(CURRENCIES, clock_of("UTC"), "UTC", "America/New_York: winter Fri 17:00", ""),
        pytest.param(CURRENCIES, clock_of("EET"), "EET", "America/New_York: winter Fri 17:00", ""),
        pytest.param(SHARES, clock_of("UTC"), "UTC", "Europe/Berlin: winter Fri 17:30", ""),
        pytest.param(TOKYO, clock_of("UTC"), "UTC", "UTC: winter Fri 06:00", UTC_ALL_YEAR),
        pytest.param(
            *(CURRENCIES, clock_of(NEW_YORK, 7), "UTC", "UTC: winter Sat 00:00", UTC_ALL_YEAR)
        ),
        pytest.param(CURRENCIES, clock_of(NEW_YORK), "UTC", "UTC: winter Fri 17:00", UTC_ALL_YEAR),
        pytest.param(
            *(CURRENCIES, clock_of(NEW_YORK, 7), "EET", "Europe/Berlin: winter Fri 23:00"),
            "warning: weeks end by the clock of Europe/Berlin; if these are currencies, use",
        ),
        pytest.param(
            *(CURRENCIES, clock_of("Europe/London"), "UTC", "America/New_York: winter Fri 17:00"),
            "warning: weeks end at no one time",
        ),
        pytest.param(
            *(CURRENCIES, changing, NEW_YORK, "America/New_York: winter Fri 17:00"),
            "warning: weeks end at no one time",
        ),
    ],
)
def test_the_end_of_weeks_tells_a_wrong_clock(instants, written_by, read_in, end, warning):
    said, *warnings = read_by(instants, written_by, read_in)

    assert said.startswith(f"weeks end, by the clock of {end} (")
    assert bool(warnings) == bool(warning)
    assert all(line.startswith(warning) for line in warnings[:1])


@pytest.mark.parametrize(
    ("written_by", "read_in", "right"),
    [
        (clock_of(NEW_YORK, 7), "UTC", "America/New_York+7h"),
        (clock_of(NEW_YORK, 7), "EET", "America/New_York+7h"),
        (clock_of(NEW_YORK), "UTC", NEW_YORK),
        (clock_of("Europe/London"), "UTC", "Europe/London"),
        (clock_of("EET"), "America/New_York", "EET"),
        (clock_of("Etc/GMT+5"), "America/New_York", "Etc/GMT+5"),
    ],
)
def test_currencies_read_by_a_wrong_clock_are_told_the_right_one(written_by, read_in, right):
    _, warning, *_ = read_by(CURRENCIES, written_by, read_in)

    assert f"if these are currencies, use --tz {right}: their weeks then end" in warning


def test_a_clock_that_changes_its_rules_is_told_with_the_time_from_which_on():
    said, warning, *stretches = read_by(CURRENCIES, changing, NEW_YORK)

    assert "summer Fri 17:00 (" in said
    assert warning.startswith("warning: weeks end at no one time")
    assert stretches[0].startswith("  Fri 16:00 from 2019-03-15 to 2019-03-29 (between")
    assert stretches[1].startswith("  Fri 16:00 from 2019-04-05 to 2019-10-25 (summer)")


def test_two_clocks_by_turns_within_a_season_are_told():
    an_hour_early = CURRENCIES[(CURRENCIES.day > 15) & (CURRENCIES.hour == 16)]

    said, warning, *_ = read_by(CURRENCIES.difference(an_hour_early), clock_of("UTC"), "UTC")

    assert "winter Fri 17:00" in said
    assert warning.startswith("warning: weeks end at no one time")


@pytest.mark.parametrize(
    "times",
    [
        pytest.param(START + 60 * np.arange(2), id="few bars"),
        pytest.param(START + 60 * np.arange(60 * 24 * 40), id="no weekends"),
        pytest.param(
            np.unique(CURRENCIES.as_unit("s").astype(np.int64) // 14_400 * 14_400), id="four hours"
        ),
    ],
)
def test_without_weekends_and_of_long_bars_nothing_is_said_of_weeks(times):
    assert list(week_ends(times)) == []
