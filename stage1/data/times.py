"""Columns of text to numbers and instants, vectorised; what cannot be read is marked.

Columns come in chunks of some ten thousand rows, as Arrow reads them, and are worked on chunk by
chunk: what is made on the way then fits the processor's cache. Times of a local clock are read
through the changes of clocks in spring and autumn.

An exchange's day begins at its own midnight, which is another instant in winter than in summer. So
bars stand inside by what its clock shows (`on_clock`), as if that were unix seconds: there every
day is 24 hours and begins at a multiple of them, and windows, hiding and consistency need no zone.
On disk, and wherever bars are told to people, are instants (`instants_of`).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from stage1.base.errors import DataError
from stage1.base.steps import DAY, MINUTES
from stage1.base.text import shown
from stage1.data.bars import (
    UNREADABLE,
    WEEKS_BEGIN,
    Bars,
    DayClock,
    Fault,
    Rows,
    faults_where,
)
from stage1.data.csv_dialects import DATE_TEMPLATES, TIME_TEMPLATES, UNIX_UNITS

_AHEAD = re.compile(r"(?P<name>.+?)(?P<count>[+-]\d{1,3})(?P<unit>h|min)")
UNIX = "unix time"
"""Seconds since 1970, or a finer unit of `UNIX_UNITS`."""

_UNIX_TEXT = re.compile(r"(\d{9,10}|\d{13}|\d{16}|\d{19})(\.\d+)?")
_NUMBER_TEXT = r"(?i)^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$"
_SUFFIX = re.compile(
    r"(?::?(?P<second>[0-5]\d)(?:\.(?P<fraction>\d+))?)?"
    r"(?: ?(?P<zone>Z|UTC|GMT|(?:UTC|GMT)?(?P<sign>[+-])(?P<hours>\d\d):?(?P<minutes>\d\d)?))?"
)


class Clock(NamedTuple):
    """How the times of a file are to be read where they do not say it themselves."""

    zone: str = "UTC"
    """IANA name, perhaps with a time ahead of it, such as `America/New_York+7h`."""
    after_open: int = 0
    """Seconds from the begin of a bar to the time it is stamped with."""
    by_date: bool = False
    """Whether dates count, as they are written: those of steps of a day or more."""


UTC = Clock()
OTHER_CLOCK = (
    "if the clock is another than that of --tz, one without summer time perhaps, name it; if times "
    "are those of the end, use --stamped end"
)


class Times(NamedTuple):
    """A column of times."""

    seconds: NDArray[np.int64]
    """(rows,) unix seconds in UTC, or of a local clock if `in_utc` is False; or `UNREADABLE`."""
    in_utc: bool
    """Whether the column itself says what instants it means."""
    unix: bool = False
    """Whether it does so by unix times, which some programs write from their local clock."""


def find_template(example: str, *, dates: bool = False) -> str | None:
    """Which of `TIME_TEMPLATES`, `DATE_TEMPLATES` (if `dates`) or `UNIX` a time is written by."""
    for template in TIME_TEMPLATES:
        if _fits(example, template) and _SUFFIX.fullmatch(example, len(template)):
            return template
    for template in DATE_TEMPLATES if dates else ():
        if len(example) == len(template) and _fits(example, template):
            return template
    return UNIX if _UNIX_TEXT.fullmatch(example) else None


def is_time(text: str) -> bool:
    """Whether a text is a time or a date as files have it."""
    return find_template(text, dates=True) is not None


def parse_numbers(texts: pa.ChunkedArray) -> NDArray[np.float64]:
    """Text to float64; NaN where it is no number. Blanks around a number do not matter."""
    return np.concatenate([_parse_numbers(chunk) for chunk in texts.chunks])


def parse_times(
    texts: pa.ChunkedArray, template: str, *, floor: bool = False, as_written: bool = False
) -> Times:
    """Text to times, all written as the first one is.

    Args:
        texts: At least one time.
        template: What `find_template` said of the first.
        floor: Whether fractions of a second are left out; else one right after a full minute counts
            as a full second: both are off the minute, and no bar opens there.
        as_written: Whether the zone that a time names is left out.
    """
    if template == UNIX:
        return Times(unix_seconds(parse_numbers(texts), floor=floor), in_utc=True, unix=True)
    _, in_utc = _parse_suffix(str(texts[0])[len(template) :])
    seconds = [
        _parse_written(chunk, template, in_utc=in_utc, floor=floor, as_written=as_written)
        for chunk in texts.chunks
    ]
    return Times(np.concatenate(seconds), in_utc and not as_written)


def unix_seconds(numbers: NDArray[np.float64], *, floor: bool = False) -> NDArray[np.int64]:
    """Unix times in any of the four units, also mixed, to seconds; `floor` as of `parse_times`.

    Instants from 1973 to 2286 differ in size from unit to unit; anything else is `UNREADABLE`.
    """
    seconds = np.full(len(numbers), np.nan)
    for unit in UNIX_UNITS:
        fits = (numbers >= 1e8 * unit) & (numbers < 1e10 * unit)
        seconds[fits] = numbers[fits] / unit
    whole = np.floor(seconds)
    if not floor:
        whole += (seconds > whole) & (whole % 60 == 0)
    return np.where(np.isnan(whole), UNREADABLE, np.nan_to_num(whole).astype(np.int64))


def to_numpy(array: pa.Array) -> NDArray[Any]:
    """An Arrow array without nulls as NumPy's; Arrow's own way imports pandas, which takes long."""
    return np.from_dlpack(array)


def _parse_numbers(texts: pa.Array) -> NDArray[np.float64]:
    try:
        return to_numpy(pc.cast(texts, pa.float64()))
    except pa.ArrowInvalid:
        trimmed = pc.utf8_trim_whitespace(texts)
        good = pc.match_substring_regex(trimmed, _NUMBER_TEXT)
        numbers = pc.cast(pc.if_else(good, trimmed, None), pa.float64())
        return to_numpy(pc.fill_null(numbers, float("nan")))


def _parse_written(
    texts: pa.Array, template: str, *, in_utc: bool, floor: bool, as_written: bool
) -> NDArray[np.int64]:
    seconds = _parse_minutes(texts, template)
    endings = pc.dictionary_encode(pc.utf8_slice_codeunits(texts, len(template)))
    after = [
        _parse_suffix(ending, floor=floor, as_written=as_written)
        for ending in endings.dictionary.to_pylist()
    ]
    offsets = [seconds if has_zone == in_utc else UNREADABLE for seconds, has_zone in after]
    offset = np.array(offsets, dtype=np.int64)[to_numpy(endings.indices)]
    readable = (seconds != UNREADABLE) & (offset != UNREADABLE)
    return np.where(readable, seconds + offset, UNREADABLE)


def _fits(text: str, template: str) -> bool:
    return len(text) >= len(template) and all(
        "0" <= character <= "9" if place in "YMDhm" else character == place
        for character, place in zip(text, template, strict=False)
    )


def _parse_minutes(texts: pa.Array, template: str) -> NDArray[np.int64]:
    """Seconds from 1970 to the whole minute that the text begins with."""
    _, offset_buffer, data_buffer = texts.buffers()
    offsets = np.frombuffer(offset_buffer, np.int32)[texts.offset : texts.offset + len(texts) + 1]
    characters = np.frombuffer(data_buffer or b"\0", np.uint8)
    starts = offsets[:-1]
    lengths = np.diff(offsets)
    readable = lengths == len(template) if template in DATE_TEMPLATES else lengths >= len(template)
    # What a date leaves out: its first month or day, its first minute.
    left_out = {letter: letter in "MD" and letter not in template for letter in "YMDhm"}
    fields = {letter: np.full(len(texts), int(one)) for letter, one in left_out.items()}
    for position, place in enumerate(template):
        character = characters[np.minimum(starts + position, len(characters) - 1)]
        if place in fields:
            digit = character - np.uint8(ord("0"))  # wraps around below "0"
            readable &= digit <= 9
            fields[place] = fields[place] * 10 + digit
        else:
            readable &= character == ord(place)
    year, month, day, hour, minute = fields.values()
    readable &= (month >= 1) & (month <= 12) & (hour < 24) & (minute < 60)
    months = ((year - 1970) * 12 + month - 1).astype("M8[M]")
    first_day = months.astype("M8[D]").astype(np.int64)  # from 1970 on
    days = (months + 1).astype("M8[D]").astype(np.int64) - first_day
    readable &= (day >= 1) & (day <= days)
    seconds = (first_day + day - 1) * 86_400 + hour * 3600 + minute * 60
    return np.where(readable, seconds, UNREADABLE)


def _parse_suffix(text: str, *, floor: bool = False, as_written: bool = False) -> tuple[int, bool]:
    """Seconds to add to the minute before it, or `UNREADABLE`; and whether it names a zone."""
    match = _SUFFIX.fullmatch(text)
    if match is None:
        return UNREADABLE, False
    second = int(match["second"] or 0)
    if int(match["fraction"] or 0) > 0 and not floor:
        second = max(second, 1)
    ahead = int(match["hours"] or 0) * 3600 + int(match["minutes"] or 0) * 60
    ahead *= not as_written
    return second - ahead if match["sign"] == "+" else second + ahead, bool(match["zone"])


class Instants(NamedTuple):
    """Instants, and which rows name none."""

    seconds: NDArray[np.int64]
    """(rows,) unix seconds; `UNREADABLE` where the row names no instant."""
    broken: dict[str, NDArray[np.bool_]]
    """The rules for a time, and which rows break them."""
    instead: str = "write every time as in the first row"
    """What to do where many rows do."""
    streak: str = ""
    """The rule that some rows in a row do not break by chance."""

    def faults(self, lines: NDArray[np.int64], cell: Callable[[int, str], str]) -> list[Fault]:
        """The broken rules as faults of the file that has these lines and cells."""
        return [
            fault
            for rule, broken in self.broken.items()
            for fault in faults_where(
                lines,
                broken,
                rule=rule,
                value=lambda row: shown(cell(int(lines[row]), "time")),
                instead=self.instead,
                always=self.instead is OTHER_CLOCK,
                streak=rule == self.streak,
            )
        ]


def to_instants(times: Times, clock: Clock, path: Path) -> Instants:
    """Settle at which instants the rows of a file begin; where dates count, at which dates.

    A time that is stamped at the end of its bar is set back as the clock shows it: an hour that
    ends at 02:00 began at 01:00, also on the day on which 02:00 is jumped over.

    Args:
        times: As the file has them.
        clock: What they were read from; UTC if they name their own zone.
        path: The file, for the error.

    Raises:
        DataError: No such zone, times that name their zone are to be read in another, or dates that
            name none.
    """
    readable = times.seconds != UNREADABLE
    rules = {"time must be readable, as the first row's is": ~readable}
    seconds = times.seconds
    if clock.after_open:
        seconds = np.where(readable, seconds - clock.after_open, UNREADABLE)
    if clock.zone == "UTC":
        return Instants(seconds, rules)
    if clock.by_date:
        if not times.in_utc:
            raise DataError(
                f"{path}: --tz must be left out: steps of a day or more are counted by their dates "
                f"as written, got {clock.zone}"
            )
        return Instants(utc_to_local(seconds, clock.zone), rules)
    if times.in_utc and not times.unix:
        raise DataError(
            f"{path}: --tz must be left out for times that name their zone, got {clock.zone}"
        )
    instants = local_to_utc(seconds, clock.zone)
    return instants._replace(broken=rules | instants.broken, instead=OTHER_CLOCK)


def split_zone(text: str) -> tuple[str, int]:
    """The IANA name of a zone, and how many seconds its clock is put forward.

    Raises:
        DataError: There is no such zone.
    """
    match = _AHEAD.fullmatch(text)
    name, ahead = text, 0
    if match:
        name, ahead = match["name"], int(match["count"]) * {"h": 3600, "min": 60}[match["unit"]]
    try:
        pc.assume_timezone(pa.array([0], pa.timestamp("s")), name)
    except pa.ArrowInvalid:
        raise DataError(
            "--tz must be an IANA name such as America/New_York, perhaps with hours ahead of it as "
            f"in America/New_York+7h, got {shown(text)}"
        ) from None
    return name, ahead


def utc_to_local(instants: NDArray[np.int64], timezone: str) -> NDArray[np.int64]:
    """What the clock of a zone shows, as if it were unix seconds; `UNREADABLE` stays so."""
    name, ahead = split_zone(timezone)
    readable = instants != UNREADABLE
    local = np.full(len(instants), UNREADABLE)
    utc = pa.array(instants[readable]).cast(pa.timestamp("s", tz=name))
    local[readable] = pc.local_timestamp(utc).cast(pa.int64()).to_numpy() + ahead
    return local


def local_to_utc(local: NDArray[np.int64], timezone: str) -> Instants:
    """Read the times of a local clock as instants.

    In autumn an hour comes twice. A file that holds it twice falls back once within it: the rows
    before the fall are meant as summer time, those after it as winter time; no other reading keeps
    the rows in order. Two rows of one time amid rows of every hour are both, too. Where the hour
    has no fall, or several, the order decides nothing.

    Args:
        local: (rows,) what the clock showed, as if it were unix seconds; `UNREADABLE` stays so.
        timezone: As of `Clock`.

    Raises:
        DataError: There is no such zone.
    """
    name, ahead = split_zone(timezone)
    readable = local != UNREADABLE
    written = pa.array((local[readable] - ahead).view("M8[s]"))
    early, late = (
        pc.assume_timezone(written, name, ambiguous=choice, nonexistent=choice)
        for choice in ("earliest", "latest")
    )
    skipped = np.zeros(len(local), dtype=bool)
    skipped[readable] = pc.not_equal(pc.local_timestamp(early), written).to_numpy(False)
    first, second = np.full(len(local), UNREADABLE), np.full(len(local), UNREADABLE)
    first[readable] = early.cast(pa.int64()).to_numpy()
    second[readable] = late.cast(pa.int64()).to_numpy()
    undecided = _settle_repeated_hours(local, first, second, (first != second) & ~skipped)
    first[skipped | undecided] = UNREADABLE
    jumped = f"time must exist in {timezone}, where the clocks jumped over it"
    twice = f"time must follow from the order of rows in {timezone}, where it came twice"
    return Instants(first, {jumped: skipped, twice: undecided}, streak=jumped)


def _settle_repeated_hours(
    local: NDArray[np.int64],
    first: NDArray[np.int64],
    second: NDArray[np.int64],
    repeated: NDArray[np.bool_],
) -> NDArray[np.bool_]:
    """Write into `first` the second reading where it is meant; True where that cannot be told."""
    undecided = np.zeros(len(local), dtype=bool)
    rows = np.flatnonzero(repeated)
    half_a_day = 43_200
    apart = (np.diff(rows) > 1) | (np.abs(np.diff(local[rows])) > half_a_day)
    for hour in np.split(rows, np.flatnonzero(apart) + 1):
        steps = np.diff(local[hour])
        falls = np.flatnonzero(steps < 0)
        both_hours = len(hour) == 2 and steps[0] == 0 and _among_hours(local, hour)
        if both_hours or (len(falls) == 1 and (steps != 0).all()):
            meant_late = hour[1 if both_hours else falls[0] + 1 :]
            first[meant_late] = second[meant_late]
        else:
            undecided[hour] = True
    return undecided


def _among_hours(local: NDArray[np.int64], pair: NDArray[np.int64]) -> bool:
    """Whether two rows of one time are the two hours of an hourly file, not one row twice."""
    around = local[[max(pair[0] - 1, 0), *pair, min(pair[1] + 1, len(local) - 1)]]
    return bool((np.diff(around) == [3600, 0, 3600]).all())


def shown_on(clock: DayClock, instants: NDArray[np.int64]) -> NDArray[np.int64]:
    """What the clock shows at instants in unix seconds; `UNREADABLE` stays so."""
    plain = clock.zone == "UTC" and not clock.weeks
    if plain:
        return instants
    local = instants if clock.zone == "UTC" else utc_to_local(instants, clock.zone)
    return np.where(local == UNREADABLE, local, local + WEEKS_BEGIN * clock.weeks)


def instants_of(clock: DayClock, times: NDArray[np.int64]) -> NDArray[np.int64]:
    """The first instants, in unix seconds, at which the clock shows these times or later ones."""
    local = times - WEEKS_BEGIN * clock.weeks
    if clock.zone == "UTC":
        return local
    name, ahead = split_zone(clock.zone)
    written = pa.array((local - ahead).view("M8[s]"))
    # Of a time that is jumped over, the latest reading is the instant of the jump.
    instants = pc.assume_timezone(written, name, ambiguous="earliest", nonexistent="latest")
    result: NDArray[np.int64] = instants.cast(pa.int64()).to_numpy()
    return result


def on_clock(bars: Bars, clock: DayClock) -> Bars:
    """Bars that are counted in UTC, counted on another clock.

    Raises:
        DataError: There are bars in an hour that the clock shows twice, or no such zone.
    """
    times = shown_on(clock, bars.open_time)
    twice = np.flatnonzero(instants_of(clock, times) != bars.open_time)
    if len(twice):
        at = str(np.datetime64(int(bars.open_time[twice[0]]), "s"))[:16].replace("T", " ")
        raise DataError(
            f"days on a clock that is set back must have no bars in the hour that comes twice, got "
            f"some at {at} UTC in {clock.zone}; a market that never closes has its days in UTC: "
            "say --days UTC"
        )
    return Bars(times, bars.prices, clock)


def rows_on_clock(rows: Rows, clock: DayClock) -> Rows:
    """The rows of a file, read as instants, with what the clock shows in place of them."""
    return rows._replace(open_time=shown_on(clock, rows.open_time))


def off_the_clock(rows: Rows, step: str, minutes: int, days: str, *, local: bool) -> list[Fault]:
    """Rows that do not begin where bars of this length do.

    Raises:
        DataError: Most begin so much later; says what to do.
    """
    times = rows.open_time if local else shown_on(DayClock(days), rows.open_time)
    length = 60 * minutes
    place = (times + WEEKS_BEGIN * (minutes == MINUTES["w1"])) % length
    places, counts = np.unique(place, return_counts=True)
    usual = int(places[counts.argmax()])
    if usual:
        later = (
            f"{usual // 60} minutes" if usual < 3600 or usual % 3600 else f"{usual // 3600} hours"
        )
        example = rows.as_written("time")(int((place == usual).argmax()))
        if minutes < DAY:
            name, ahead = split_zone(days)
            advice = (
                "name the clock on which they do with --days ZONE (with --days "
                f"{name}{(ahead - usual) // 60:+d}min they are counted as they are)"
            )
        else:
            advice = (
                "name the clock of the exchange on which they do with --tz, such as --tz "
                "America/New_York+7h for days from 17:00 in New York, or write dates"
                if minutes == DAY
                else "write the Monday of each week"
            )
        raise DataError(
            f"{rows.path}: bars of {step} must begin at a multiple of {step} on the clock {days}, "
            f"got {counts.max():,} of {len(place):,} that begin {later} later, such as {example}; "
            f"{advice}"
        )
    return faults_where(
        rows.lines,
        place != 0,
        rule=f"time must be a multiple of {step} on the clock {days}",
        value=rows.as_written("time"),
        instead=f"if the bars are not of {step}, mend --step",
    )
