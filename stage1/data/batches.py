"""Batches of windows: a training's and its validation's, and all windows for a trained encoder.

Which windows a training step has, and what is hidden in them, depends only on `training.seed` and
the epoch; what is hidden in a validation window, only on its end.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from copy import copy
from typing import NamedTuple, TypeVar, cast

import numpy as np
import torch
from numpy.typing import NDArray

from stage1.base.errors import DataError
from stage1.base.seeds import Stream, generator
from stage1.config import Config, DataConfig, MaskingConfig
from stage1.data.bars import Bars, fingerprint
from stage1.data.features import TrainingStatistics
from stage1.data.gathering import CPU, Batch, ResidentBars
from stage1.data.hiding import (
    EXTRA_NUMBERS,
    Hiding,
    draw_calendar_hiding,
    draw_hiding,
    numbers_needed,
)
from stage1.data.windows import FEWEST_BARS, Split, WindowIndex, find_windows, split_windows

__all__ = [
    "Batch",
    "EpochPlan",
    "EpochPlans",
    "MarketWindows",
    "chained_sha256",
    "slices",
    "windows_at_once",
]

T = TypeVar("T")

VALIDATION_BATCH = 64
"""Windows per validation batch: larger ones have each result of a layer come in fresh memory, which
takes longer to get than the arithmetic saves."""
VALIDATION_BARS = VALIDATION_BATCH * 6 * 64
"""Bars per validation batch at most: long windows come in smaller ones."""
HIDDEN_WINDOWS = 256
"""Hidden at once, for several steps: of a small batch the calls take longer than the work."""
GATHERED_BARS = 128 * 6 * 64
"""Gathered at once, likewise, and no more: what comes of them is to fit into a CPU's cache."""
KEPT = 8
"""Results that windows keep, the newest ones."""


class HiddenWindows(NamedTuple):
    """Windows, and what is hidden of them."""

    windows: WindowIndex
    hiding: Hiding

    def take(self, chosen: NDArray[np.int64]) -> HiddenWindows:
        """The chosen windows."""
        return HiddenWindows(
            self.windows.take(chosen), Hiding(*(field[chosen] for field in self.hiding))
        )


class EpochPlan(NamedTuple):
    """What an epoch trains on, before any bar is touched."""

    order: NDArray[np.int64]
    """(steps, batch) windows."""
    uniforms: NDArray[np.float64]
    """(steps, batch, timeframes, numbers) what their masks are drawn from."""
    hidden: list[HiddenWindows] | None = None
    """In order, some steps each. None = what the numbers say is worked out with the batches."""


class MarketWindows:
    """The bars of one study, resident, and the windows over them.

    Args:
        bars: Per timeframe.
        config: Windows, normalisation, split.
        calendar: Whether all timeframes of a window span the same minutes
            (`model.async_sampler`), or have the same number of bars.
        statistics: Of the bars that a model was trained on; None = of the training side of these.

    Raises:
        DataError: Too few bars for both sides of the split, or a channel of a series stands still.
    """

    def __init__(
        self,
        bars: dict[str, Bars],
        config: DataConfig,
        *,
        calendar: bool = False,
        statistics: TrainingStatistics | None = None,
    ) -> None:
        self.config, self.calendar = config, calendar
        self.resident = ResidentBars(bars, config, calendar=calendar)
        self.minutes = self.resident.minutes
        self.fingerprint = fingerprint({name: bars[name] for name in config.timeframes})
        windows = find_windows(bars, config, calendar=calendar)
        self.split: Split = split_windows(windows, bars, config, calendar=calendar)
        if statistics is None:
            statistics = self.resident.statistics(until=self.split.boundary)
        self.training_statistics = statistics
        self._made: dict[Hashable, object] = {}

    @classmethod
    def of(
        cls, bars: dict[str, Bars], config: Config, *, statistics: TrainingStatistics | None = None
    ) -> MarketWindows:
        """The windows over the bars that a complete configuration asks for; arguments as above."""
        calendar = config.model.async_sampler
        return cls(bars, config.data, calendar=calendar, statistics=statistics)

    def in_test_period(self) -> MarketWindows:
        """The same with the test windows as validation windows, for what is scored there."""
        other = copy(self)
        other.split, other._made = self.split._replace(validation=self.split.test), {}
        return other

    def _uniforms(
        self, masking: MaskingConfig, windows: int, random: np.random.Generator
    ) -> NDArray[np.float64]:
        """(windows, timeframes, numbers) random numbers that hiding uses."""
        numbers = numbers_needed(self.config.seq_len, masking, (masking.mask_ratio,))
        extra = EXTRA_NUMBERS if self.calendar else 0
        return random.random((windows, len(self.minutes), numbers + extra))

    def once(self, key: Hashable, make: Callable[[], T]) -> T:
        """What depends on the windows and a key alone, made once, however often it is asked for."""
        if key not in self._made:
            self._made[key] = make()
            for oldest in list(self._made)[:-KEPT]:
                del self._made[oldest]
        return cast(T, self._made[key])

    def hide(
        self,
        windows: WindowIndex,
        masking: MaskingConfig,
        uniforms: NDArray[np.float64],
        ratios: tuple[float, ...],
        *,
        chances: tuple[float, ...] | None = None,
    ) -> HiddenWindows:
        """Hide what the random numbers say.

        Args:
            windows: Which.
            masking: Span lengths, switch.
            uniforms: (windows, timeframes, numbers) in [0, 1).
            ratios: Share that is drawn, of each timeframe.
            chances: Of each timeframe to be in a calendar window; None = all are.
        """
        if self.calendar and chances is not None:
            present = uniforms[..., -2] < np.asarray(chances)
            windows = windows._replace(lengths=np.where(present, windows.lengths, 0))
        open_times = self.resident.open_times(windows)
        if self.calendar:
            numbers = np.delete(uniforms, -2, axis=2)
            hiding = draw_calendar_hiding(
                open_times, windows.lengths, self.minutes, masking, numbers, ratios
            )
        else:
            hiding = draw_hiding(open_times, self.minutes, masking, uniforms, ratios)
        return HiddenWindows(windows, hiding)

    def validation_set(
        self,
        masking: MaskingConfig,
        ratios: Mapping[str, float] | None = None,
        device: torch.device = CPU,
    ) -> Batch:
        """All validation windows; what is hidden in one depends on its end and on nothing else.

        Args:
            masking: What is hidden.
            ratios: `evaluation.tf_specific_mask_ratios`, in place of the masking's own.
            device: Where it is to be.

        Raises:
            DataError: A timeframe has no scored bar, so that nothing can be said about it.
        """
        ratios = ratios or {}
        shares = tuple(ratios.get(name, masking.mask_ratio) for name in self.config.timeframes)
        return self.once(
            (masking, shares, device), lambda: self._draw_validation(masking, shares, device)
        )

    def validation_batches(
        self,
        masking: MaskingConfig,
        ratios: Mapping[str, float] | None = None,
        device: torch.device = CPU,
    ) -> list[Batch]:
        """The validation set, cut into batches; arguments as above."""
        return batches_of(
            self.validation_set(masking, ratios, device), windows_at_once(self.config)
        )

    def _draw_validation(
        self, masking: MaskingConfig, ratios: tuple[float, ...], device: torch.device
    ) -> Batch:
        windows = self.split.validation
        uniforms = np.stack(
            [self._validation_uniforms(masking, ratios, int(end)) for end in windows.ends]
        )
        hidden = [
            self.hide(windows.take(part), masking, uniforms[part], ratios)
            for part in slices(len(windows.ends), windows_at_once(self.config))
        ]
        scored = np.any([one.hiding.scored.any(axis=(0, 2)) for one in hidden], axis=0).tolist()
        # In calendar windows some timeframes are context only.
        could = np.any(windows.lengths >= FEWEST_BARS, axis=0).tolist()
        never = [
            name
            for name, is_scored, may_be in zip(self.config.timeframes, scored, could, strict=True)
            if may_be and not is_scored
        ]
        if never:
            advice = "lower masking.mask_span_min or raise data.seq_len"
            if self.calendar:
                advice = "raise data.validation_windows, since one timeframe is drawn per window"
            raise DataError(
                f"masking must leave bars to score in every timeframe, got none in "
                f"{', '.join(never)} of {len(windows.ends)} validation windows; {advice}"
            )
        gathered = [self.resident.gather(*one, self.training_statistics, device) for one in hidden]
        return Batch(*(torch.cat(tensors) for tensors in zip(*gathered, strict=True)))

    def _validation_uniforms(
        self, masking: MaskingConfig, ratios: tuple[float, ...], end: int
    ) -> NDArray[np.float64]:
        """(timeframes, numbers) of one window.

        What a timeframe's own ratio needs beyond the masking's is drawn after all the rest, and so
        changes nothing in the others.
        """
        random = generator(Stream.VALIDATION_MASKS, end % 2**64)  # no key is below 0, as 1969 is
        numbers: NDArray[np.float64] = self._uniforms(masking, 1, random)[0]
        spans = numbers_needed(self.config.seq_len, masking, (masking.mask_ratio,))
        more = numbers_needed(self.config.seq_len, masking, ratios) - spans
        if more <= 0:
            return numbers
        lengths, places, extra = np.split(numbers, [spans // 2, spans], axis=1)
        more_lengths, more_places = np.split(random.random((len(self.minutes), more)), 2, axis=1)
        parts = [lengths, more_lengths, places, more_places, extra]
        together: NDArray[np.float64] = np.concatenate(parts, axis=1)
        return together

    def plan_epoch(self, config: Config, epoch: int, *, whole: bool = False) -> EpochPlan:
        """Order and random numbers of one epoch: a function of `training.seed` and the epoch.

        The windows come as one endless row of permutations, so that all are used equally often.
        A whole plan says too what is hidden, which takes most of the time.
        """
        training, count = config.training, len(self.split.training.ends)
        size = training.steps_per_epoch * training.windows_per_step
        first_turn, offset = divmod(epoch * size, count)
        turns = range(first_turn, (epoch * size + size - 1) // count + 1)
        permutations = [
            generator(Stream.ORDER, training.seed, turn).permutation(count) for turn in turns
        ]
        order = np.concatenate(permutations)[offset : offset + size]
        random = generator(Stream.MASKS, training.seed, epoch)
        uniforms = self._uniforms(config.masking, size, random)
        shape = (training.steps_per_epoch, training.windows_per_step)
        plan = EpochPlan(order.reshape(shape), uniforms.reshape(*shape, *uniforms.shape[1:]))
        return plan._replace(hidden=list(self._hidden(config, plan))) if whole else plan

    def _hidden(self, config: Config, plan: EpochPlan) -> Iterator[HiddenWindows]:
        """The windows of some steps at a time."""
        ratios = (config.masking.mask_ratio,) * len(self.minutes)
        probs = config.data.sampling_probs
        chances = tuple(probs.get(name, 1.0) for name in config.data.timeframes)
        steps, size = plan.order.shape
        for part in slices(steps, max(HIDDEN_WINDOWS // size, 1)):
            windows = self.split.training.take(plan.order[part].reshape(-1))
            uniforms = plan.uniforms[part].reshape(-1, *plan.uniforms.shape[2:])
            yield self.hide(windows, config.masking, uniforms, ratios, chances=chances)

    def training_batches(
        self, config: Config, plan: EpochPlan, device: torch.device = CPU
    ) -> Iterator[Batch]:
        """The batches of a planned epoch, one per step, gathered on a device."""
        hidden: Iterable[HiddenWindows] = plan.hidden or self._hidden(config, plan)
        size = plan.order.shape[1]
        bars_per_step = size * len(self.minutes) * self.config.seq_len
        at_once = size * max(GATHERED_BARS // bars_per_step, 1)
        for windows in hidden:
            for part in slices(len(windows.windows.ends), at_once):
                taken = windows.take(part)
                gathered = self.resident.gather(*taken, self.training_statistics, device)
                yield from batches_of(gathered, size)


_PLANNER = ThreadPoolExecutor(1, "planner")


class EpochPlans:
    """The plans of a training's epochs; for a GPU a thread makes the next one meanwhile.

    A CPU has no time left over: there what is hidden is worked out where it is needed.
    """

    def __init__(self, windows: MarketWindows, config: Config) -> None:
        self._windows, self._config = windows, config
        self._coming: dict[int, Future[EpochPlan]] = {}

    def take(self, epoch: int, device: torch.device) -> EpochPlan:
        """The plan of an epoch for a training on a device; waits for it, if need be."""
        if device.type == "cpu":
            return self._windows.plan_epoch(self._config, epoch)
        last = max(epoch, self._config.training.epochs - 1)
        self._coming = {
            number: self._coming.get(number) or self._begin(number)
            for number in range(epoch, min(epoch + 1, last) + 1)
        }
        return self._coming[epoch].result()

    def _begin(self, epoch: int) -> Future[EpochPlan]:
        return _PLANNER.submit(self._windows.plan_epoch, self._config, epoch, whole=True)


class WholeWindows:
    """Windows as a training has them, all of them and whole: no split, no hiding.

    As in a training there is no window over a gap longer than `max_gap`.

    Args:
        bars: Per timeframe; more than the configuration's do no harm.
        config: The training's, but for a stride of one's own.
        calendar: As the training has it.
        statistics: The training's, by which `zscore` normalises whatever the bars are.

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
        wanted = config.channel_names
        for name in config.timeframes:
            channels = bars[name].prices.shape[1]
            if channels != len(wanted):
                raise DataError(
                    f"the bars must have the channels that the model was trained on, "
                    f"{', '.join(wanted)}, got {channels} in {name}"
                )
        self.config = config
        self._index = find_windows(bars, config, calendar=calendar)
        if not len(self._index.ends):
            finest, coarsest = config.timeframes[0], config.timeframes[-1]
            length = f"bars of {finest if calendar else coarsest}"
            raise DataError(
                f"the bars must hold a window of {config.seq_len} {length} without a gap over "
                f"{config.max_gap} {config.unit}, got {len(bars[finest].open_time):,} bars of "
                f"{finest} without one; add data"
            )
        self._resident = ResidentBars(bars, config, calendar=calendar)
        self._statistics = statistics

    def __len__(self) -> int:
        return len(self._index.ends)

    @property
    def ends(self) -> NDArray[np.int64]:
        """(windows,) unix seconds, increasing: when all bars of each window are completed."""
        return self._resident.instants(self._index.ends)

    @property
    def starts(self) -> NDArray[np.int64]:
        """(windows,) unix seconds: when the earliest bar of each window opens."""
        return self._resident.instants(self._index.starts)

    def batch(self, chosen: NDArray[np.int64]) -> Batch:
        """Gather the windows at these places of `ends`."""
        windows = self._index.take(chosen)
        shape = (*windows.lengths.shape, self.config.seq_len)
        nothing = Hiding(np.zeros(shape, dtype=bool), np.zeros(shape, dtype=bool))
        return self._resident.gather(windows, nothing, self._statistics)

    def batches(self, size: int | None = None) -> Iterator[Batch]:
        """Gather all windows in order, `size` at a time; None = as many as a validation has."""
        for chosen in slices(len(self), size or windows_at_once(self.config)):
            yield self.batch(chosen)


def check_timeframes(there: tuple[str, ...], config: DataConfig, where: str) -> None:
    """Refuse bars that lack a timeframe of a model's configuration; further ones do no harm.

    Raises:
        DataError: A timeframe is missing; begins with `where` the bars are.
    """
    wanted = config.timeframes
    if not set(wanted) <= set(there):
        advice = f"make them with `python -m stage1.prepare M1.csv --timeframes {','.join(wanted)}`"
        if config.kind == "series":
            advice = "load them with stage1.training.encoder.bars_for"
        raise DataError(
            f"{where} must have the timeframes that the model was trained on, "
            f"{', '.join(wanted)}, got {', '.join(there) or 'none'}; {advice}"
        )


def chained_sha256(previous: str, array: NDArray[np.generic]) -> str:
    """Fingerprint of everything so far, from the one before and the newest part."""
    return hashlib.sha256(previous.encode() + array.tobytes()).hexdigest()


def batches_of(windows: Batch, size: int) -> list[Batch]:
    """Cut windows into batches of `size`, the last one perhaps smaller; nothing is copied."""
    return [Batch(*part) for part in zip(*(field.split(size) for field in windows), strict=True)]


def windows_at_once(config: DataConfig) -> int:
    """Windows per batch where no gradient is kept."""
    bars = config.seq_len * len(config.timeframes)
    return min(VALIDATION_BATCH, max(VALIDATION_BARS // bars, 1))


def slices(count: int, size: int) -> list[NDArray[np.int64]]:
    """The numbers below `count` in order, `size` at a time."""
    return [np.arange(start, min(start + size, count)) for start in range(0, count, size)]
