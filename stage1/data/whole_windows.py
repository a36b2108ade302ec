"""All windows that bars have, with nothing hidden: what a trained encoder reads."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from stage1.base.errors import DataError
from stage1.config import DataConfig
from stage1.data.bars import Bars
from stage1.data.batches import slices, windows_at_once
from stage1.data.gathering import Batch, ResidentBars
from stage1.data.hiding import Hiding
from stage1.data.scales import TrainingStatistics
from stage1.data.windows import find_windows


class WholeWindows:
    """Windows as a training has them, all of them and whole: no split, no hiding.

    As in a training there is no window over a gap longer than `max_gap`.

    Args:
        bars: Per timeframe; more than the configuration's do no harm.
        config: The training's, but for a stride of one's own.
        calendar: As the training has it.
        statistics: The training's: whatever the bars are, `zscore` normalises as it was trained.

    Raises:
        DataError: A timeframe is missing, the bars have another number of channels (their order is
            the caller's to keep), or there is no window.
    """

    def __init__(
        self,
        bars: dict[str, Bars],
        config: DataConfig,
        *,
        calendar: bool,
        statistics: TrainingStatistics,
    ) -> None:
        check_timeframes(tuple(bars), config, "the bars")
        _check_channels(bars, config)
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
        return self._resident.kind.instants(self._index.ends)

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


def check_timeframes(given: tuple[str, ...], config: DataConfig, where: str) -> None:
    """Refuse bars that lack a timeframe of a model.

    Args:
        given: Timeframes of the bars; further ones do no harm.
        config: Of the model.
        where: The bars, for the error.

    Raises:
        DataError: A timeframe is missing.
    """
    wanted = config.timeframes
    if not set(wanted) <= set(given):
        advice = f"make them with `python -m stage1.prepare M1.csv --timeframes {','.join(wanted)}`"
        if config.kind == "series":
            advice = "load them with stage1.training.encoder.bars_for"
        raise DataError(
            f"{where} must have the timeframes that the model was trained on, "
            f"{', '.join(wanted)}, got {', '.join(given) or 'none'}; {advice}"
        )


def _check_channels(bars: dict[str, Bars], config: DataConfig) -> None:
    wanted = config.channel_names
    for name in config.timeframes:
        given = bars[name].prices.shape[1]
        if given != len(wanted):
            raise DataError(
                f"the bars must have the channels that the model was trained on, "
                f"{', '.join(wanted)}, got {given} in {name}"
            )


def _no_window(bars: dict[str, Bars], config: DataConfig, *, calendar: bool) -> str:
    finest, coarsest = config.timeframes[0], config.timeframes[-1]
    length = config.unit if calendar else f"bars of {coarsest}"
    return (
        f"the bars must hold a window of {config.seq_len} {length} without a gap over "
        f"{config.max_gap} {config.unit}, got {len(bars[finest].open_time):,} bars of {finest} "
        "without one; add data"
    )
