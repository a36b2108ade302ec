from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stage1.base.errors import DataError
from stage1.data.bars import UNREADABLE
from stage1.data.csv_dialects import TIME_TEMPLATES
from stage1.data.times import (
    UNIX,
    Clock,
    Times,
    find_template,
    local_to_utc,
    parse_numbers,
    parse_times,
    to_instants,
    unix_seconds,
)

STRFTIME = {"YYYY": "%Y", "MM": "%m", "DD": "%d", "hh": "%H", "mm": "%M"}


def column(*chunks: list[str]) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(chunk, pa.string()) for chunk in chunks])


@given(
    times=st.lists(
        st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1)), min_size=1, max_size=20
    ),
    template=st.sampled_from(TIME_TEMPLATES),
)
@settings(max_examples=100, deadline=None)
def test_a_written_time_is_recognised_and_read_back_as_it_was(times, template):
    whole = [time.replace(microsecond=0, tzinfo=UTC) for time in times]
    written = template + (":%S" if template.endswith("hh:mm") else "%S")
    for letters, directive in STRFTIME.items():
        written = written.replace(letters, directive)
    texts = [time.strftime(written) for time in whole]

    parsed = parse_times(column(texts), template)

    assert {find_template(text) for text in texts} == {template}
    assert parsed.seconds.tolist() == [time.timestamp() for time in whole]
    assert not parsed.in_utc


@pytest.mark.parametrize(
    ("ending", "expected"),
    [
        pytest.param("", UTC, id="nothing"),
        pytest.param(":00.000000000Z", UTC, id="nanoseconds and Z"),
        pytest.param(":00.000 GMT+0100", timezone(timedelta(hours=1)), id="GMT+0100"),
        pytest.param(":00-05:30", timezone(-timedelta(hours=5, minutes=30)), id="-05:30"),
        pytest.param(":00+00", UTC, id="hours only"),
        pytest.param(" UTC", UTC, id="UTC"),
    ],
)
def test_a_zone_after_the_time_is_taken_off(ending, expected):
    text = "2018-01-02 03:04" + ending

    parsed = parse_times(column([text]), "YYYY-MM-DD hh:mm")

    assert parsed.seconds.tolist() == [datetime(2018, 1, 2, 3, 4, tzinfo=expected).timestamp()]
    assert parsed.in_utc == (ending != "")


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("2018-02-29 00:00", id="a day that the month lacks"),
        pytest.param("2018-13-01 00:00", id="month 13"),
        pytest.param("2018-00-01 00:00", id="month 0"),
        pytest.param("2018-01-00 00:00", id="day 0"),
        pytest.param("2018-01-01 24:00", id="hour 24"),
        pytest.param("2018-01-01 00:60", id="minute 60"),
        pytest.param("2018-01-01 00:00:60", id="second 60"),
        pytest.param("2018-01-01 0:00", id="an hour of one digit"),
        pytest.param("2018-01-01", id="no time"),
        pytest.param("2018/01/01 00:00", id="other separators than the first row"),
        pytest.param("2018-01-01 00:00Z", id="a zone where the first row has none"),
        pytest.param("2018-01-01 00:00 or so", id="more behind"),
        pytest.param("2018-01-0é 00:00", id="no digit"),
        pytest.param("", id="nothing"),
    ],
)
def test_what_is_no_time_is_marked_and_its_neighbours_are_read(text):
    good = "2020-02-29 00:00"  # a day that leap years alone have

    parsed = parse_times(column([good, text], [text, good]), "YYYY-MM-DD hh:mm")

    expected = datetime(2020, 2, 29, tzinfo=UTC).timestamp()
    assert parsed.seconds.tolist() == [expected, UNREADABLE, UNREADABLE, expected]


@pytest.mark.parametrize("text", ["200030", "2001:45", "2001Z", "2001+01"])
def test_nothing_may_follow_a_date(text):
    parsed = parse_times(column(["2000", text, "2002"]), "YYYY")

    assert (parsed.seconds == UNREADABLE).tolist() == [False, True, False]


@pytest.mark.parametrize("ending", [":00.5", ":59.999", ":01"])
def test_a_time_off_the_minute_stays_off_it(ending):
    parsed = parse_times(column(["2018-01-01 00:00" + ending]), "YYYY-MM-DD hh:mm")

    assert parsed.seconds[0] % 60 != 0


def test_unix_times_are_read_in_any_unit_even_mixed():
    texts = ["1514851200", "1514851260000", "1514851320000000", "1514851380000000000"]

    parsed = parse_times(column(texts), UNIX)

    assert parsed.seconds.tolist() == [1514851200, 1514851260, 1514851320, 1514851380]
    assert parsed.in_utc


def test_numbers_that_are_no_unix_time_are_marked_and_a_fraction_stays_off_the_minute():
    no_times = [np.nan, -1514851200.0, 20180102.0, 1e22]

    seconds = unix_seconds(np.array([*no_times, 1514851200.0]))
    fractions = unix_seconds(np.array([1514851200.5, 1514851200001.0, 1514851259.5]))

    assert seconds.tolist() == [UNREADABLE] * len(no_times) + [1514851200]
    assert (fractions % 60 != 0).all()


def test_numbers_are_read_and_what_is_none_becomes_nan():
    texts = ["1.5", " 2.5 ", "1e-3", "x", "", "1,5", "nan", ".5", "-4", "0x10"]

    numbers = parse_numbers(column(texts[:1], texts[1:]))

    expected = [1.5, 2.5, 1e-3, np.nan, np.nan, np.nan, np.nan, 0.5, -4.0, np.nan]
    np.testing.assert_array_equal(numbers, expected)


@pytest.mark.parametrize("text", ["01/02/2018 00:00", "20180102", "yesterday", "2018-01-02"])
def test_a_time_that_could_mean_two_things_or_none_has_no_template(text):
    assert find_template(text) is None


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
        "time must follow from the order of rows in America/New_York, where it came twice"
    ]


TEN, TWENTY = "2018-11-04 01:10", "2018-11-04 01:20"


@pytest.mark.parametrize(
    "texts",
    [
        pytest.param([TEN, TEN], id="a repeated row"),
        pytest.param([TEN, TWENTY, TEN, TWENTY, TEN], id="two falls"),
        pytest.param(["2017-11-05 01:20", TEN], id="the hours of two years"),
    ],
)
def test_an_order_that_does_not_tell_decides_nothing(texts):
    utc = local_to_utc(clock(*texts), NEW_YORK)

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


def test_a_zone_that_is_unknown_or_another_than_the_times_own_is_an_error():
    times = Times(clock("2018-01-02 00:00"), in_utc=True)

    with pytest.raises(DataError, match=r"--tz must be an IANA name .*, got 'Mars/Olympus'"):
        local_to_utc(times.seconds, "Mars/Olympus")
    with pytest.raises(
        DataError, match=r"m1\.csv: --tz must be left out for times that name their zone"
    ):
        to_instants(times, Clock("Asia/Tokyo"), Path("m1.csv"))
