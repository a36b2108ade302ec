"""What a study takes: trials by stage, and their time, memory and disk.

Time is reckoned from steps that are trained here, once for every kind of trial; disk and memory by
formulas whose constants were measured on finished run folders.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache, reduce
from itertools import pairwise
from typing import NamedTuple

from stage1.base.errors import TrialError
from stage1.config import Config, DataConfig
from stage1.data.bars import Bars
from stage1.data.batches import MarketWindows
from stage1.language_models.resolver import LanguageModel
from stage1.model.stage1_model import parameter_counts
from stage1.run.columns import BLOCK_SUMS, CONFIRM, DESIGN, SEARCH
from stage1.run.registration import COST_ROUNDS
from stage1.study.space import Space
from stage1.study.study import Study, cost_config, pretrained_language_models
from stage1.study.trials import TrialSpec
from stage1.training.timing import EPOCHS, STEPS, TrialTiming, time_trial
from stage1.workers.cluster import RAY_MB

VANILLA_ENCODER = "vanilla encoder"
_COSTLESS = (
    "training.optimizer.",
    "training.schedule",
    "training.warmup_share",
    "training.gradient_clip",
    "transfer_learning.",  # size and patch_len tell kinds apart; freezing is left out on purpose
    "masking.",
    "data.normalization",
    "loss.huber_delta",
)
"""Keys that change what a trial learns and not, or hardly, how long it takes."""
MOST_TIMED = 12
"""Kinds of trials that are timed; more would take too long for a plan."""
OVERHEAD_SECONDS = 30.0
"""Ray's start, the imports of its workers, tables and report: roughly what the bundled study took
beyond its trials."""


class Kind(NamedTuple):
    """What the time of a trial depends on most."""

    size: str
    """Language model's name, or `VANILLA_ENCODER`."""
    patch_len: int | None
    """Bars per token; None where there are no patches."""


Timings = dict[Kind, TrialTiming]


class Span(NamedTuple):
    """Seconds between which the truth is expected."""

    low: float
    high: float


# Trials ---------------------------------------------------------------------------------------


def expected_search_epochs(space: Space) -> float:
    """Mean epochs of a search trial where just one in `reduction_factor` goes on at each rung.

    Trials go on more often than that where the sampler proposes better points than the rungs hold.

    Returns:
        In (0, horizon].
    """
    asha, horizon = space.search.scheduler.asha, space.horizon_epochs
    rungs, rung = list[int](), float(asha.grace_epochs)
    while math.ceil(rung) < horizon:
        rungs.append(math.ceil(rung))
        rung *= asha.reduction_factor
    ends = [*rungs, horizon]
    return ends[0] + sum(
        (later - earlier) / asha.reduction_factor**passed
        for passed, (earlier, later) in enumerate(pairwise(ends), start=1)
    )


def design_configs(study: Study) -> list[Config]:
    """The complete configurations of the design's trials that run in any case, in order."""
    return [study.trial_config(spec) for spec in study.design_specs()]


def kind_of(config: Config) -> Kind:
    """The kind of a trial."""
    if config.language_model_name is None:
        return Kind(VANILLA_ENCODER, None)
    return Kind(config.language_model_name, config.transfer_learning.patch_len)


def by_kind(configs: list[Config]) -> dict[Kind, list[Config]]:
    """Configurations by kind, sorted by size and patch_len."""
    kinds: dict[Kind, list[Config]] = {}
    for config in configs:
        kinds.setdefault(kind_of(config), []).append(config)
    return dict(sorted(kinds.items(), key=lambda item: (item[0].size, item[0].patch_len or 0)))


def spread_evenly(kinds: list[Kind], most: int) -> list[Kind]:
    """At most so many of the kinds, the first and the last among them.

    Args:
        kinds: In order.
        most: At least 2.
    """
    if len(kinds) <= most:
        return kinds
    return [kinds[round(place * (len(kinds) - 1) / (most - 1))] for place in range(most)]


def also_varying(study: Study, configs: list[Config]) -> list[str]:
    """Further keys that differ between configurations and may change what a trial costs."""
    keys = {key for arm in study.space.arms.values() for key in arm} | study.space.searched_keys
    return sorted(
        key
        for key in keys
        if not key.startswith(_COSTLESS)
        and len({repr(reduce(getattr, key.split("."), config)) for config in configs}) > 1
    )


# Time -----------------------------------------------------------------------------------------


def trial_timer(
    bars: dict[str, Bars], language_models: dict[str, LanguageModel], *, accelerator: str
) -> Callable[[Config], TrialTiming]:
    """What times a configuration; `language_models` are all that trials may ask for, by name."""

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
    on_progress: Callable[[str], None],
) -> Timings:
    """Time one configuration of each chosen kind; `on_progress` is told before each."""
    timings: Timings = {}
    for place, kind in enumerate(chosen, start=1):
        patches = "" if kind.patch_len is None else f", patch_len {kind.patch_len}"
        on_progress(f"Timing {kind.size}{patches} ({place} of {len(chosen)}) ...")
        timings[kind] = time_one(representative(kinds[kind]))
    return timings


def representative(configs: list[Config]) -> Config:
    """The configuration that is timed for its kind: one whose T5 learns, if there is one."""
    learning = [config for config in configs if config.transfer_learning.freeze_lm_epochs >= 0]
    return (learning or configs)[0]


def nearest_timing(kind: Kind, timings: Timings) -> TrialTiming:
    """The timing of a kind, or of the one most like it; `timings` holds at least one."""

    def distance(timed: Kind) -> tuple[bool, float]:
        ratio = (timed.patch_len or 1) / (kind.patch_len or 1)
        return timed.size != kind.size, abs(math.log(ratio))

    return timings[min(timings, key=distance)]


def full_trial_seconds(config: Config, timings: Timings) -> float:
    """Wall time of one trial to the horizon."""
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
        full: Seconds of each trial of the design.
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


def look_seconds(study: Study, timings: Timings, *, workers: int) -> dict[int, float]:
    """Wall time of the design's trials up to each of its looks."""
    seconds = [full_trial_seconds(config, timings) for config in design_configs(study)]
    return {look: sum(seconds[: len(study.design_specs(look))]) / workers for look in study.looks}


def control_seconds(study: Study, timings: Timings, *, workers: int) -> float:
    """Wall time of the trials that a gain at the last look asks for."""
    specs = left_for_control(study)
    seconds = [full_trial_seconds(study.trial_config(spec), timings) for spec in specs]
    return sum(seconds) / workers


def left_for_control(study: Study) -> list[TrialSpec]:
    """The trials that a gain at the last look asks for, without those that run in any case."""
    planned = {spec.trial_id for spec in study.design_specs()}
    return [spec for spec in study.control_specs(study.looks[-1]) if spec.trial_id not in planned]


def cost_block_seconds(timing: TrialTiming) -> float:
    """Wall time of timing one language model against its vanilla encoder, taken to be as slow."""
    steps = EPOCHS * STEPS
    return 2 * COST_ROUNDS * (timing.start_seconds + steps * timing.step_seconds)


def total_seconds(
    study: Study,
    trials: dict[str, int],
    configs: list[Config],
    timings: Timings,
    *,
    workers: int,
) -> Span:
    """Wall time from the command's start to its report."""
    span = study_seconds(
        trials,
        [full_trial_seconds(config, timings) for config in configs],
        search_share=expected_search_epochs(study.space) / study.space.horizon_epochs,
        workers=workers,
    )
    return Span(*(seconds + setup_seconds(study, timings) for seconds in span))


def setup_seconds(study: Study, timings: Timings) -> float:
    """Wall time beyond the trials: the cost block, the start and the report."""
    return OVERHEAD_SECONDS + sum(
        cost_block_seconds(nearest_timing(kind_of(cost_config(study, name)), timings))
        for name in pretrained_language_models(study)
    )


# Memory and disk ------------------------------------------------------------------------------

_TABLE_BYTES = 10_000
"""Of a Parquet file's description, whatever its rows."""
_NUMBER_BYTES = 10
"""Of a number in a Parquet file of curves, names and ids shared out."""
_TRIAL_BYTES = 400
"""Of a row of trials.parquet; most of it fingerprints."""
_BLOCK_NUMBER_BYTES = 5
"""Of a number in blocks.parquet."""
_EVENT_BYTES = 53
"""Of a number in TensorBoard's files."""
_RUN_BYTES = 1_100
"""Of TensorBoard's two files per trial, whatever they hold."""
_JOURNAL_BYTES = 300
"""Of a line of Optuna's journal."""
_REPORT_BYTES = 3_000_000
"""Of report.md, report.html and the figures."""


def shared_bytes(bars: dict[str, Bars], language_models: dict[str, LanguageModel]) -> int:
    """Size of what all trials share."""
    return sum(one.open_time.nbytes + one.prices.nbytes for one in bars.values()) + sum(
        tensor.nbytes for model in language_models.values() for tensor in model.weights.values()
    )


def memory_mb(worker_mb: float, *, workers: int, shared_bytes: int) -> float:
    """Resident memory of the whole study on one machine, in MB.

    Args:
        worker_mb: Peak of one trial.
        workers: Trials at once.
        shared_bytes: Of bars and language models, which lie in the object store and in the command.
    """
    return workers * worker_mb + RAY_MB + 2 * shared_bytes / 2**20


_STATE_BYTES = 12
"""Of a training's state per parameter: the weight and two moments."""
STATES_PER_WORKER = 2
"""On disk at a time: one is whole while the next is written."""


def state_bytes(configs: list[Config]) -> int:
    """Size of the largest state that a trial leaves on disk while it runs."""
    representatives = [representative(of) for of in by_kind(configs).values()]
    return _STATE_BYTES * max(sum(parameter_counts(one).values()) for one in representatives)


def checkpoint_bytes(study: Study, state: int) -> int:
    """Size of the checkpoints that a finished run keeps, of states so large.

    The best one is kept, however large it is.
    """
    policy = study.space.checkpoints
    return min(policy.keep * state, max(int(policy.gigabytes * 1e9), min(policy.keep, 1) * state))


def disk_bytes(study: Study, trials: dict[str, int], *, blocks: int) -> int:
    """Size of the finished run folder without checkpoints, in bytes.

    What search trials would save is not taken off. `blocks` of validation time are as
    `stage1.model.metrics` cuts them.
    """
    timeframes, every = len(study.config.data.timeframes), sum(trials.values())
    points = every * (study.space.horizon_epochs + 1)
    numbers = 5 + 2 * timeframes  # three losses and metrics, two per timeframe, lr and time
    series = timeframes * len(study.config.data.channel_names)
    in_blocks = trials[DESIGN] * len(study.block_epochs) * series * blocks
    journal_lines = trials[SEARCH] * (study.space.horizon_epochs + len(study.space.space) + 3)
    journal_lines += len(study.configurations) * len(study.searched_arms)
    return sum(
        (
            4 * _TABLE_BYTES,
            every * _TRIAL_BYTES,
            points * numbers * _NUMBER_BYTES,
            in_blocks * len(BLOCK_SUMS) * _BLOCK_NUMBER_BYTES,
            every * _RUN_BYTES + points * numbers * _EVENT_BYTES,
            journal_lines * _JOURNAL_BYTES,
            _REPORT_BYTES,
        )
    )
