"""Local clocks to UTC, through the changes of clocks in spring and autumn."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from stage1.base.errors import DataError
from stage1.base.text import shown
from stage1.data.bars import UNREADABLE, Fault, faults_where
from stage1.data.text_columns import Times

HALF_A_DAY = 43_200


class Instants(NamedTuple):
    """Instants, and which rows name none."""

    seconds: NDArray[np.int64]
    """(rows,) unix seconds; `UNREADABLE` where the row names no instant."""
    broken: dict[str, NDArray[np.bool_]]
    """The rules for a time, and which rows break them."""

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
            )
        ]


def to_instants(times: Times, timezone: str, path: Path) -> Instants:
    """Settle which instants the times of a file mean.

    Args:
        times: As the file has them.
        timezone: IANA name of the clock they were read from; UTC if they name their own.
        path: The file, for the error.

    Raises:
        DataError: No such zone, or times that name their zone are to be read in another.
    """
    unreadable = times.seconds == UNREADABLE
    rules = {"time must be readable, as the first row's is": unreadable}
    if timezone == "UTC":
        return Instants(times.seconds, rules)
    if times.in_utc:
        raise DataError(
            f"{path}: time zone must be UTC for unix times and times that name their zone, "
            f"got {timezone}; leave the option out"
        )
    instants = local_to_utc(times.seconds, timezone)
    return Instants(instants.seconds, rules | instants.broken)


def local_to_utc(local: NDArray[np.int64], timezone: str) -> Instants:
    """Read the times of a local clock as instants.

    In autumn an hour comes twice. A file that holds it twice falls back once within it: the rows
    before the fall are meant as summer time, those after it as winter time; no other reading keeps
    the rows in order. Where the hour has no fall, or several, the order decides nothing.

    Args:
        local: (rows,) what the clock showed, as if it were unix seconds; `UNREADABLE` stays so.
        timezone: IANA name, such as `America/New_York`.

    Raises:
        DataError: There is no such zone.
    """
    readable = local != UNREADABLE
    shown = pa.array(local[readable].view("M8[s]"))
    try:
        early, late = (
            pc.assume_timezone(shown, timezone, ambiguous=choice, nonexistent=choice)
            for choice in ("earliest", "latest")
        )
    except pa.ArrowInvalid:
        raise DataError(
            f"time zone must be an IANA name such as America/New_York, got {timezone!r}"
        ) from None
    skipped = np.zeros(len(local), dtype=bool)
    skipped[readable] = pc.not_equal(pc.local_timestamp(early), shown).to_numpy(False)
    first, second = np.full(len(local), UNREADABLE), np.full(len(local), UNREADABLE)
    first[readable] = early.cast(pa.int64()).to_numpy()
    second[readable] = late.cast(pa.int64()).to_numpy()
    undecided = _settle_repeated_hours(local, first, second, (first != second) & ~skipped)
    first[skipped | undecided] = UNREADABLE
    rules = {
        f"time must exist in {timezone}, where the clocks jumped over it": skipped,
        f"time must come once in {timezone}, or twice in order": undecided,
    }
    return Instants(first, rules)


def _settle_repeated_hours(
    local: NDArray[np.int64],
    first: NDArray[np.int64],
    second: NDArray[np.int64],
    repeated: NDArray[np.bool_],
) -> NDArray[np.bool_]:
    """Write into `first` the second reading where it is meant; True where that cannot be told."""
    undecided = np.zeros(len(local), dtype=bool)
    rows = np.flatnonzero(repeated)
    apart = (np.diff(rows) > 1) | (np.abs(np.diff(local[rows])) > HALF_A_DAY)
    for hour in np.split(rows, np.flatnonzero(apart) + 1):
        steps = np.diff(local[hour])
        falls = np.flatnonzero(steps < 0)
        if len(falls) == 1 and (steps != 0).all():
            meant_late = hour[falls[0] + 1 :]
            first[meant_late] = second[meant_late]
        else:
            undecided[hour] = True
    return undecided
