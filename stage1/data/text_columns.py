"""Columns of text to numbers and times, vectorised; what cannot be read is marked.

Columns come in chunks of some ten thousand rows, as Arrow reads them, and are worked on chunk by
chunk: what is made on the way then fits the processor's cache.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from stage1.data.bars import UNREADABLE

TEMPLATES = (
    "YYYY-MM-DD hh:mm",
    "YYYY-MM-DDThh:mm",
    "YYYY.MM.DD hh:mm",
    "YYYY/MM/DD hh:mm",
    "DD.MM.YYYY hh:mm",
    "YYYYMMDD hhmm",
    "YYYYMMDD hh:mm",
    "YYYYMMDDThhmm",
    "YYYYMMDDhhmm",
)
"""How a written time begins; seconds, their fraction and a zone may follow."""
DATES = (
    "YYYY-MM-DD",
    "YYYY/MM/DD",
    "YYYY.MM.DD",
    "DD.MM.YYYY",
    "YYYYMMDD",
    "YYYY-MM",
    "YYYY",
)
"""How a written date looks, which a series may have in place of times."""
UNIX = "unix time"
"""Seconds, milliseconds, microseconds or nanoseconds since 1970; the number's size says which."""
UNIX_UNITS = (1, 10**3, 10**6, 10**9)

_UNIX_TEXT = re.compile(r"(\d{9,10}|\d{13}|\d{16}|\d{19})(\.\d+)?")
_NUMBER_TEXT = r"(?i)^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$"
_SUFFIX = re.compile(
    r"(?::?(?P<second>[0-5]\d)(?:\.(?P<fraction>\d+))?)?"
    r"(?: ?(?P<zone>Z|UTC|GMT|(?:UTC|GMT)?(?P<sign>[+-])(?P<hours>\d\d):?(?P<minutes>\d\d)?))?"
)


class Times(NamedTuple):
    """A column of times."""

    seconds: NDArray[np.int64]
    """(rows,) unix seconds in UTC, or of a local clock if `in_utc` is False; or `UNREADABLE`."""
    in_utc: bool
    """Whether the column itself says what instants it means."""


def find_template(example: str, *, dates: bool = False) -> str | None:
    """Which of `TEMPLATES`, or `UNIX`, a time is written by; None for none of them.

    Args:
        example: A time.
        dates: Whether it may be one of `DATES` as well.
    """
    for template in TEMPLATES:
        if _fits(example, template) and _SUFFIX.fullmatch(example, len(template)):
            return template
    for template in DATES if dates else ():
        if len(example) == len(template) and _fits(example, template):
            return template
    return UNIX if _UNIX_TEXT.fullmatch(example) else None


def parse_numbers(texts: pa.ChunkedArray) -> NDArray[np.float64]:
    """Text to float64; NaN where it is no number. Blanks around a number do not matter."""
    return np.concatenate([_parse_numbers(chunk) for chunk in texts.chunks])


def parse_times(texts: pa.ChunkedArray, template: str, *, floor: bool = False) -> Times:
    """Text to times, all written as the first one is.

    Args:
        texts: At least one time.
        template: What `find_template` said of the first.
        floor: Whether fractions of a second are left out; else one right after a full minute counts
            as a full second: both are off the minute, and no bar opens there.
    """
    if template == UNIX:
        return Times(unix_seconds(parse_numbers(texts), floor=floor), in_utc=True)
    in_utc = _parse_suffix(str(texts[0])[len(template) :]).in_utc
    seconds = [
        _parse_written(chunk, template, in_utc=in_utc, floor=floor) for chunk in texts.chunks
    ]
    return Times(np.concatenate(seconds), in_utc)


def unix_seconds(numbers: NDArray[np.float64], *, floor: bool = False) -> NDArray[np.int64]:
    """Unix times in any of the four units, also mixed, to seconds.

    Instants from 1973 to 2286 differ in size from unit to unit; anything else is `UNREADABLE`.

    Args:
        numbers: The times.
        floor: As `parse_times` takes it.
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
    texts: pa.Array, template: str, *, in_utc: bool, floor: bool
) -> NDArray[np.int64]:
    seconds = _parse_minutes(texts, template)
    endings = pc.dictionary_encode(pc.utf8_slice_codeunits(texts, len(template)))
    after = [_parse_suffix(ending, floor=floor) for ending in endings.dictionary.to_pylist()]
    offsets = [a.seconds if a.in_utc == in_utc else UNREADABLE for a in after]
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
    readable = lengths == len(template) if template in DATES else lengths >= len(template)
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
    first_day, days = _month_days(year, month)
    readable &= (day >= 1) & (day <= days)
    seconds = (first_day + day - 1) * 86_400 + hour * 3600 + minute * 60
    return np.where(readable, seconds, UNREADABLE)


def _month_days(
    year: NDArray[np.int64], month: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The first day of a month, counted from 1970-01-01, and how many days it has."""
    months = ((year - 1970) * 12 + month - 1).astype("M8[M]")
    first = months.astype("M8[D]").astype(np.int64)
    return first, (months + 1).astype("M8[D]").astype(np.int64) - first


class _Suffix(NamedTuple):
    seconds: int
    in_utc: bool


def _parse_suffix(text: str, *, floor: bool = False) -> _Suffix:
    match = _SUFFIX.fullmatch(text)
    if match is None:
        return _Suffix(UNREADABLE, False)
    second = int(match["second"] or 0)
    if int(match["fraction"] or 0) > 0 and not floor:
        second = max(second, 1)
    ahead = int(match["hours"] or 0) * 3600 + int(match["minutes"] or 0) * 60
    return _Suffix(second - ahead if match["sign"] == "+" else second + ahead, bool(match["zone"]))
