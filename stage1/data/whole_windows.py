"""All windows that bars have, with nothing hidden: what a trained encoder reads."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from stage1.config import DataConfig
from stage1.data.bars import Bars
from stage1.data.batches import slices, windows_at_once
from stage1.data.gathering import Batch, PriceStatistics, ResidentBars
from stage1.data.hiding import Hiding
from stage1.data.windows import find_windows
from stage1.errors import DataError


class WholeWindows:
    """Windows as a training has them, all of them and whole: no split, no hiding.

    As in a training there is no window over a gap longer than `max_gap`.

    Args:
        bars: Per timeframe; more than the configuration's do no harm.
        config: The training's, but for a stride of one's own.
        calendar: As the training has it.
        statistics: The training's: whatever the bars are, `zscore` normalises as it was trained.

    Raises:
        DataError: A timeframe is missing, or there is no window.
    """

    def __init__(
        self,
        bars: dict[str, Bars],
        config: DataConfig,
        *,
        calendar: bool,
        statistics: PriceStatistics,
    ) -> None:
        check_timeframes(tuple(bars), config.timeframes, "the bars")
        self.config = config
        self._index = find_windows(bars, config, calendar=calendar)
        if not len(self._index.ends):
            raise DataError(_no_window(bars, config, calendar=calendar))
        self._resident = ResidentBars(bars, config, calendar=calendar)
        self._statistics = statistics

    def __len__(self) -> int:
        return len(self._index.ends)

    @property
    def ends(self) -> NDArray[np.int64]:
        """(windows,) unix seconds, increasing: when all bars of each window are completed."""
        return self._index.ends

    def batch(self, chosen: NDArray[np.int64]) -> Batch:
        """Gather some windows.

        Args:
            chosen: Places in `ends`.
        """
        windows = self._index.take(chosen)
        shape = (*windows.lengths.shape, self.config.seq_len)
        nothing = Hiding(np.zeros(shape, dtype=bool), np.zeros(shape, dtype=bool))
        open_times = self._resident.open_times(windows)
        return self._resident.gather(windows, nothing, open_times, self._statistics)

    def batches(self, size: int | None = None) -> Iterator[Batch]:
        """Gather all windows in order, a batch at a time.

        Args:
            size: Windows per batch; None = as many as a validation has.
        """
        for chosen in slices(len(self), size or windows_at_once(self.config)):
            yield self.batch(chosen)


def check_timeframes(given: tuple[str, ...], wanted: tuple[str, ...], where: str) -> None:
    """Refuse bars that lack a timeframe of a model.

    Args:
        given: Timeframes of the bars; further ones do no harm.
        wanted: Timeframes of the model.
        where: The bars, for the error.

    Raises:
        DataError: A timeframe is missing.
    """
    if not set(wanted) <= set(given):
        raise DataError(
            f"{where} must have the timeframes that the model was trained on, "
            f"{', '.join(wanted)}, got {', '.join(given) or 'none'}; make them with "
            f"`python -m stage1.prepare M1.csv --timeframes {','.join(wanted)}`"
        )


def _no_window(bars: dict[str, Bars], config: DataConfig, *, calendar: bool) -> str:
    kind = "minutes" if calendar else f"bars of {config.timeframes[-1]}"
    return (
        f"the bars must hold a window of {config.seq_len} {kind} without a gap over "
        f"{config.max_gap} minutes, got {len(bars['m1'].open_time):,} bars of m1 without one; "
        "add data"
    )
