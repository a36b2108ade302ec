"""Steps of a series: read, numbered, and back."""

import numpy as np
import pandas as pd
import pytest

from stage1.base.steps import parse_step


def seconds(index):
    return index.to_numpy("M8[s]").astype(np.int64)


@pytest.mark.parametrize(
    ("text", "freq", "start"),
    [
        pytest.param("10s", "10s", "2020-02-28 23:50", id="seconds"),
        pytest.param("15min", "15min", "1999-12-31 22:00", id="minutes"),
        pytest.param("1h", "1h", "1969-12-31 20:00", id="hours, before and after 1970"),
        pytest.param("1d", "1D", "1960-02-20", id="days through a leap year"),
        pytest.param("1w", "7D", "1970-01-01", id="weeks"),
        pytest.param("1mo", "MS", "1955-11-01", id="months"),
        pytest.param("3mo", "QS", "1959-01-01", id="quarters"),
        pytest.param("1y", "YS", "1700-01-01", id="years"),
    ],
)
def test_steps_are_numbered_one_by_one_and_begin_where_pandas_says(text, freq, start):
    times = seconds(pd.date_range(start, periods=40, freq=freq))
    step = parse_step(text)

    numbers = step.numbers(times)

    assert set(np.diff(numbers)) == {1}
    np.testing.assert_array_equal(step.starts(numbers), times)


def test_the_step_that_1970_begins_with_is_number_0():
    for text in ("1s", "15min", "1w", "1mo", "2y"):
        assert parse_step(text).numbers(np.array([0, -1])).tolist() == [0, -1]


def test_months_may_be_written_by_any_of_their_days():
    ends = pd.date_range("2020-01-31", periods=24, freq="ME")

    numbers = parse_step("1mo").numbers(seconds(ends))

    np.testing.assert_array_equal(numbers, (ends.year - 1970) * 12 + ends.month - 1)
    assert not parse_step("1mo").misplaced(seconds(ends)).any()


def test_a_step_may_begin_anywhere_but_everywhere_alike():
    saturdays = seconds(pd.date_range("1958-03-29", periods=10, freq="7D"))
    saturdays[[0, 6]] += 86_400

    misplaced = parse_step("1w").misplaced(saturdays)

    assert np.flatnonzero(misplaced).tolist() == [0, 6]


def test_steps_of_a_day_or_more_are_counted_by_dates():
    counted = {text: parse_step(text).by_date for text in ("23h", "24h", "1d", "2w", "1mo", "1y")}

    assert [text for text, by_date in counted.items() if not by_date] == ["23h"]


@pytest.mark.parametrize("text", ["", "h", "0h", "1.5h", "-1d", "1 h", "1m", "1hour", "9999999s"])
def test_what_is_no_step_is_refused(text):
    with pytest.raises(ValueError, match=r"must be a number and one of s, min, .* such as 1h"):
        parse_step(text)
