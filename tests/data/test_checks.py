from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from stage1.base.errors import DataError
from stage1.data.bars import UNREADABLE, Repair, Rows
from stage1.data.checks import bar_rules, format_time, repair_rows, sound_bars

START = 1_514_851_200
"""2018-01-02 00:00 UTC."""
SOUND = [2.0, 3.0, 1.0, 2.5]


def rows_of(minutes: Sequence[float], prices: Sequence[Sequence[float]] | None = None) -> Rows:
    """Rows of a file whose first row stands at line 2, so many minutes after `START`."""
    table = np.array(prices or [SOUND] * len(minutes), dtype=float).reshape(-1, 4)
    return Rows(
        path=Path("m1.csv"),
        unit="line",
        format="generic",
        lines=np.arange(2, len(minutes) + 2),
        open_time=np.array([round(START + 60 * minute) for minute in minutes], dtype=np.int64),
        prices=table,
        faults=(),
        cell=lambda line, column: f"{column} of {line}",
    )


def broken_rules(rows: Rows, minutes: int = 1) -> dict[str, list[int]]:
    return {fault.rule: fault.lines.tolist() for fault in bar_rules(minutes)(rows)}


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 0.0, -1.0])
@pytest.mark.parametrize("column", range(4))
def test_a_price_that_is_no_positive_number_breaks_the_rule_of_its_column(column, value):
    prices = [list(SOUND) for _ in range(3)]
    prices[1][column] = value
    name = ("open", "high", "low", "close")[column]

    rules = broken_rules(rows_of([0, 1, 2], prices))

    assert rules[f"{name} must be a finite number > 0"] == [3]


@pytest.mark.parametrize(
    ("bar", "rule"),
    [
        pytest.param([2, 1.9, 1, 1.5], "high must be >= max(open, close)", id="below the open"),
        pytest.param([1.5, 1.9, 1, 2], "high must be >= max(open, close)", id="below the close"),
        pytest.param([2, 3, 2.1, 2.5], "low must be <= min(open, close)", id="above the open"),
        pytest.param([2.5, 3, 2.1, 2], "low must be <= min(open, close)", id="above the close"),
    ],
)
def test_high_and_low_enclose_the_body(bar, rule):
    assert broken_rules(rows_of([0, 1], [SOUND, bar])) == {rule: [3]}


def test_coarse_bars_must_not_overlap():
    rules = broken_rules(rows_of([0, 5, 9]), minutes=5)

    assert rules == {"time must be 5 minutes or more after the row before": [4]}


def test_a_bar_without_movement_is_sound_and_a_row_without_a_time_left_out_of_the_order():
    rows = rows_of([0, 1, 2], [SOUND, SOUND, [2, 2, 2, 2]])
    rows.open_time[1] = UNREADABLE

    assert broken_rules(rows) == {}


def test_faults_are_told_in_the_order_of_the_file_with_line_rule_and_value():
    prices = [SOUND, SOUND, [2.0, 1.5, 1.0, 1.25], [np.nan, 3, 1, 2]]

    with pytest.raises(DataError) as caught:
        sound_bars(rows_of([0, 0, 1, 2], prices), bar_rules(1))

    assert str(caught.value).split("\n") == [
        "m1.csv: every row must be a sound bar, got 3 faults; mend the file, or use "
        "--repair drop-invalid --repair drop-duplicates",
        "m1.csv: line 3: time must not repeat, "
        "got 2018-01-02 00:00 UTC after 2018-01-02 00:00 (line 2)",
        "m1.csv: line 4: high must be >= max(open, close), got 1.5 < 2.0",
        "m1.csv: line 5: open must be a finite number > 0, got 'open of 5'",
    ]


def test_of_many_faults_the_first_20_are_shown_and_all_are_counted():
    with pytest.raises(DataError) as caught:
        sound_bars(rows_of(list(range(3000)), [[2, 3, 1, -1]] * 3000), bar_rules(1))

    headline, *shown = str(caught.value).split("\n")
    assert "got 6,000 faults (the first 20 below)" in headline  # low > close is one too
    assert len(shown) == 20
    assert shown[0].startswith("m1.csv: line 2: ")
    assert shown[-1].startswith("m1.csv: line 11: ")


def test_no_rows_are_an_error():
    with pytest.raises(DataError, match=r"m1\.csv: must hold bars, got none"):
        sound_bars(rows_of([]), bar_rules(1))


def test_dropping_invalid_rows_leaves_the_order_alone():
    rows = rows_of([2, 1, 3], [SOUND, SOUND, [1, 1, 1, -1]])

    kept, notes = repair_rows(rows, [Repair.DROP_INVALID], bar_rules(1))

    assert kept.lines.tolist() == [2, 3]
    assert notes == ["dropped 1 invalid row"]
    assert broken_rules(kept) == {"time must be later than the row before": [3]}


def test_sorting_moves_whole_rows():
    prices = [[k] * 4 for k in (3.0, 1.0, 2.0)]

    kept, _ = repair_rows(rows_of([3, 1, 2], prices), [Repair.SORT], bar_rules(1))

    assert kept.lines.tolist() == [3, 4, 2]
    assert kept.prices[:, 0].tolist() == [1, 2, 3]
    assert broken_rules(kept) == {}


def test_of_rows_with_one_time_the_first_stays_and_differing_prices_are_told():
    prices = [SOUND, SOUND, SOUND, [5.0] * 4]

    kept, notes = repair_rows(rows_of([0, 1, 1, 0], prices), [Repair.DROP_DUPLICATES], bar_rules(1))

    assert kept.lines.tolist() == [2, 3]
    assert notes == [
        "dropped 2 rows with a time that was there already, 1 of them with other prices"
    ]


def test_all_repairs_together_leave_sound_bars():
    rows = rows_of([3, 1, 1, 2.5, 2], [SOUND, SOUND, SOUND, SOUND, [9, 1, 1, 1]])

    kept, _ = repair_rows(rows, list(Repair), bar_rules(1))

    assert kept.lines.tolist() == [3, 2]
    assert broken_rules(kept) == {}


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(START, "2018-01-02 00:00"), (START + 61, "2018-01-02 00:01:01"), (0, "1970-01-01 00:00")],
)
def test_an_instant_is_written_to_the_minute_where_it_is_on_one(seconds, text):
    assert format_time(seconds) == text
