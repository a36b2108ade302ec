from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stage1.base.errors import DataError
from stage1.data.bars import UNREADABLE
from stage1.data.times import Times, local_to_utc, to_instants

NEW_YORK = "America/New_York"


def clock(*texts: str) -> np.ndarray:
    """What a clock showed, as if it were UTC."""
    return np.array([datetime.fromisoformat(f"{text}+00:00").timestamp() for text in texts], "i8")


def shown(instants: np.ndarray, zone: str) -> np.ndarray:
    """What clocks in a zone show at these instants, as if it were UTC."""
    local = [datetime.fromtimestamp(int(instant), ZoneInfo(zone)) for instant in instants]
    return np.array([time.replace(tzinfo=UTC).timestamp() for time in local], dtype=np.int64)


@given(
    start=st.integers(1_262_304_000, 1_893_456_000),
    zone=st.sampled_from([NEW_YORK, "Europe/Berlin", "Australia/Lord_Howe", "Asia/Tokyo"]),
)
@settings(max_examples=40, deadline=None)
def test_every_minute_of_a_day_comes_back_from_its_local_clock(start, zone):
    instants = (start // 60 + np.arange(1440)) * 60

    utc = local_to_utc(shown(instants, zone), zone)

    # A day that begins or ends within a repeated hour leaves that hour undecided.
    decided = utc.seconds != UNREADABLE
    np.testing.assert_array_equal(utc.seconds[decided], instants[decided])
    assert decided.sum() >= 1440 - 60


@pytest.mark.parametrize(
    ("zone", "utc_midnight"),
    [
        pytest.param(NEW_YORK, datetime(2018, 11, 4, tzinfo=UTC), id="New York, autumn"),
        pytest.param(NEW_YORK, datetime(2018, 3, 11, tzinfo=UTC), id="New York, spring"),
        pytest.param("Europe/Berlin", datetime(2018, 10, 28, tzinfo=UTC), id="Berlin, autumn"),
        pytest.param("Australia/Lord_Howe", datetime(2018, 4, 7, 6, tzinfo=UTC), id="half an hour"),
    ],
)
def test_the_days_on_which_clocks_change_come_back_whole(zone, utc_midnight):
    instants = int(utc_midnight.timestamp()) + 60 * np.arange(1440)

    utc = local_to_utc(shown(instants, zone), zone)

    assert utc.seconds.tolist() == instants.tolist()
    assert not any(broken.any() for broken in utc.broken.values())


def test_an_hour_that_comes_twice_and_stands_there_once_is_undecided():
    local = clock("2018-11-04 00:59", "2018-11-04 01:00", "2018-11-04 01:59", "2018-11-04 02:00")

    utc = local_to_utc(local, NEW_YORK)

    expected = [datetime(2018, 11, 4, 4, 59, tzinfo=UTC), datetime(2018, 11, 4, 7, tzinfo=UTC)]
    assert [utc.seconds[0], utc.seconds[3]] == [time.timestamp() for time in expected]
    assert (utc.seconds[1:3] == UNREADABLE).all()
    assert [rule for rule, broken in utc.broken.items() if broken.any()] == [
        "time must come once in America/New_York, or twice in order"
    ]


@pytest.mark.parametrize(
    "minutes",
    [
        pytest.param(["01:10", "01:10"], id="a repeated row"),
        pytest.param(["01:10", "01:20", "01:10", "01:20", "01:10"], id="two falls"),
    ],
)
def test_an_order_that_does_not_tell_decides_nothing(minutes):
    utc = local_to_utc(clock(*(f"2018-11-04 {minute}" for minute in minutes)), NEW_YORK)

    assert (utc.seconds == UNREADABLE).all()


def test_the_repeated_hours_of_two_years_are_two_hours():
    local = clock("2017-11-05 01:10", "2018-11-04 01:05")

    utc = local_to_utc(local, NEW_YORK)

    assert (utc.seconds == UNREADABLE).all()


def test_a_time_that_the_clocks_jumped_over_names_no_instant():
    utc = local_to_utc(clock("2018-03-11 01:59", "2018-03-11 02:30", "2018-03-11 03:00"), NEW_YORK)

    before = datetime(2018, 3, 11, 6, 59, tzinfo=UTC)
    after = before + timedelta(minutes=1)
    assert utc.seconds.tolist() == [before.timestamp(), UNREADABLE, after.timestamp()]
    assert [rule for rule, broken in utc.broken.items() if broken.any()] == [
        "time must exist in America/New_York, where the clocks jumped over it"
    ]


def test_an_unreadable_time_stays_unreadable():
    utc = local_to_utc(np.array([UNREADABLE, 1_514_851_200]), "Asia/Tokyo")

    assert utc.seconds.tolist() == [UNREADABLE, 1_514_851_200 - 9 * 3600]


def test_an_unknown_zone_is_an_error_that_shows_a_known_one():
    with pytest.raises(DataError, match=r"IANA name such as America/New_York, got 'Mars/Olympus'"):
        local_to_utc(clock("2018-01-02 00:00"), "Mars/Olympus")


def test_times_that_name_their_zone_cannot_be_read_in_another():
    times = Times(clock("2018-01-02 00:00"), in_utc=True)

    with pytest.raises(DataError, match=r"m1\.csv: time zone must be UTC .* got Asia/Tokyo"):
        to_instants(times, "Asia/Tokyo", Path("m1.csv"))
