"""How long a study takes, from timings of its own kinds of trials."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from stage1.config import Config
from stage1.plan.stages import Kind, kind_of
from stage1.preregistration import COST_ROUNDS
from stage1.results import CONFIRM, DESIGN, SEARCH
from stage1.training import cost
from stage1.training.timing import TrialTiming

MOST_TIMED = 12
"""Kinds of trials that are timed; more take too long for a plan."""
OVERHEAD_SECONDS = 25.0
"""Ray's start, the imports of its workers, tables and report; measured on a small study."""

Timings = dict[Kind, TrialTiming]


class Span(NamedTuple):
    """Seconds between which the truth is expected."""

    low: float
    high: float


def representative(configs: list[Config]) -> Config:
    """The configuration that is timed for its kind: one whose T5 learns, if there is one."""
    learning = [config for config in configs if config.transfer_learning.freeze_lm_epochs >= 0]
    return (learning or configs)[0]


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


def nearest_timing(kind: Kind, timings: Timings, order: list[Kind]) -> TrialTiming:
    """The timing of a kind, or of the next one to it in order that was timed.

    Args:
        kind: One of `order`.
        timings: At least one.
        order: All kinds, by size and patch_len.
    """
    place = order.index(kind)
    return timings[min(timings, key=lambda timed: abs(order.index(timed) - place))]


def full_trial_seconds(config: Config, timings: Timings, order: list[Kind]) -> float:
    """Wall time of one trial to the horizon."""
    timing = nearest_timing(kind_of(config), timings, order)
    training = config.training
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

    def stage(count: int, each: float, longest: float) -> float:
        """A stage ends with its last trial, so it is no shorter than one."""
        return max(count * each / workers, longest) if count else 0.0

    design = stage(trials[DESIGN], mean, slowest)
    return Span(
        low=design
        + stage(trials[SEARCH], search_share * mean, search_share * mean)
        + stage(trials[CONFIRM], mean, mean),
        high=design
        + stage(trials[SEARCH], slowest, slowest)
        + stage(trials[CONFIRM], slowest, slowest),
    )


def cost_block_seconds(timing: TrialTiming) -> float:
    """Wall time of timing one language model against its vanilla encoder, taken to be as slow.

    Args:
        timing: Of a trial with that language model.
    """
    steps = cost.EPOCHS * cost.STEPS_PER_EPOCH
    return 2 * COST_ROUNDS * (timing.start_seconds + steps * timing.step_seconds)
