"""How long a study takes, from timings of its own kinds of trials."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

from stage1.base.errors import TrialError
from stage1.config import Config, DataConfig
from stage1.data.bars import Bars
from stage1.data.batches import MarketWindows
from stage1.language_models.resolver import LanguageModel
from stage1.plan.stages import Kind, kind_of
from stage1.run.columns import CONFIRM, DESIGN, SEARCH
from stage1.run.registration import COST_ROUNDS
from stage1.training.timing import EPOCHS, STEPS, TrialTiming, time_trial

MOST_TIMED = 12
"""Kinds of trials that are timed; more would take too long for a plan."""
OVERHEAD_SECONDS = 30.0
"""Ray's start, the imports of its workers, tables and report: roughly what the bundled study took
beyond its trials."""

Timings = dict[Kind, TrialTiming]


class Span(NamedTuple):
    """Seconds between which the truth is expected."""

    low: float
    high: float


def trial_timer(
    bars: dict[str, Bars], language_models: dict[str, LanguageModel], *, accelerator: str
) -> Callable[[Config], TrialTiming]:
    """What times a configuration.

    Args:
        bars: Per timeframe.
        language_models: By name, all that trials may ask for.
        accelerator: Lightning's name of the device.
    """

    @cache
    def windows(config: DataConfig, calendar: bool) -> MarketWindows:
        return MarketWindows(bars, config, calendar=calendar)

    def time_one(config: Config) -> TrialTiming:
        name = config.language_model_name
        try:
            return time_trial(
                config,
                windows(config.data, config.model.async_sampler),
                language_models[name] if name else None,
                accelerator=accelerator,
            )
        except TrialError as error:
            raise TrialError(f"{name or 'the vanilla encoder'}: {error}") from None

    return time_one


def time_kinds(
    kinds: dict[Kind, list[Config]],
    chosen: list[Kind],
    *,
    time_one: Callable[[Config], TrialTiming],
    tell: Callable[[str], None],
) -> Timings:
    """Time the chosen kinds, one after the other.

    Args:
        kinds: Configurations by kind.
        chosen: Which of them.
        time_one: Times a configuration.
        tell: Takes what is going on.
    """
    timings: Timings = {}
    for place, kind in enumerate(chosen, start=1):
        patches = "" if kind.patch_len is None else f", patch_len {kind.patch_len}"
        tell(f"Timing {kind.size}{patches} ({place} of {len(chosen)}) ...")
        timings[kind] = time_one(representative(kinds[kind]))
    return timings


def representative(configs: list[Config]) -> Config:
    """The configuration that is timed for its kind: one whose T5 learns, if there is one."""
    learning = [config for config in configs if config.transfer_learning.freeze_lm_epochs >= 0]
    return (learning or configs)[0]


def nearest_timing(kind: Kind, timings: Timings) -> TrialTiming:
    """The timing of a kind, or of the one most like it that was timed.

    Args:
        kind: Timed or not.
        timings: At least one.
    """

    def distance(timed: Kind) -> tuple[bool, float]:
        ratio = (timed.patch_len or 1) / (kind.patch_len or 1)
        return timed.size != kind.size, abs(math.log(ratio))

    return timings[min(timings, key=distance)]


def full_trial_seconds(config: Config, timings: Timings) -> float:
    """Wall time of one trial to the horizon.

    Args:
        config: Of the trial.
        timings: At least one.
    """
    timing, training = nearest_timing(kind_of(config), timings), config.training
    return timing.trial_seconds(epochs=training.epochs, steps_per_epoch=training.steps_per_epoch)


def study_seconds(
    trials: dict[str, int], full: list[float], *, search_share: float, workers: int
) -> Span:
    """Wall time of the trials, by how much the search stops and where it settles.

    At the low end ASHA lets only one in so many trials go on, and search and confirmation have the
    design's mix of configurations; at the high end all their trials are of the slowest kind and
    reach the horizon.

    Args:
        trials: By stage.
        full: Seconds of each configuration of the design to the horizon.
        search_share: Share of a full trial that a search trial takes at the low end, in (0, 1].
        workers: Trials at once.
    """
    mean, slowest = sum(full) / len(full), max(full)

    def stage(name: str, each: float, longest: float) -> float:
        """A stage ends with its last trial: it is no shorter than the longest."""
        return max(trials[name] * each / workers, longest) if trials[name] else 0.0

    design = stage(DESIGN, mean, slowest)
    stopped = search_share * mean
    return Span(
        low=design + stage(SEARCH, stopped, stopped) + stage(CONFIRM, mean, mean),
        high=design + stage(SEARCH, slowest, slowest) + stage(CONFIRM, slowest, slowest),
    )


def cost_block_seconds(timing: TrialTiming) -> float:
    """Wall time of timing one language model against its vanilla encoder, taken to be as slow.

    Args:
        timing: Of a trial with that language model.
    """
    steps = EPOCHS * STEPS
    return 2 * COST_ROUNDS * (timing.start_seconds + steps * timing.step_seconds)
