"""Time and memory of a study, from steps that are trained here and now."""

from __future__ import annotations

import os

import torch
from rich.console import Console

from stage1.config import Config
from stage1.data.bars import Bars
from stage1.language_models.resolver import LanguageModel, resolve
from stage1.plan.duration import (
    MOST_TIMED,
    OVERHEAD_SECONDS,
    Span,
    Timings,
    cost_block_seconds,
    full_trial_seconds,
    nearest_timing,
    study_seconds,
    time_kinds,
    trial_timer,
)
from stage1.plan.footprint import memory_mb
from stage1.plan.stages import (
    also_varying,
    by_kind,
    design_configs,
    expected_search_epochs,
    kind_of,
    spread_evenly,
)
from stage1.plan.texts import (
    busy_text,
    gpu_memory_text,
    memory_text,
    no_gpu_text,
    not_timed_text,
    show_line,
    time_text,
    timing_table,
)
from stage1.study.space import Resources
from stage1.study.study import (
    Study,
    cost_config,
    language_model_names,
    pretrained_language_models,
)
from stage1.training.timing import is_single_threaded
from stage1.workers.cluster import usable_cores, wanted_workers

_BUSY = 1.0
"""Load from which timings are said to be of a busy machine."""


def show_time_and_memory(
    study: Study,
    bars: dict[str, Bars],
    trials: dict[str, int],
    *,
    workers: int | None,
    console: Console,
) -> None:
    """Train a few steps of every kind of trial, and print what the whole study would take.

    Args:
        study: Checked.
        bars: Per timeframe.
        trials: By stage.
        workers: As asked for; None = not.
        console: Where to.

    Raises:
        ModelError: A language model is not to be had.
        TrialError: A trial does not fit into the GPU's memory.
    """
    resources = study.space.resources
    gpus = torch.cuda.device_count() if resources.gpus else 0
    if gpus < resources.gpus:
        show_line(console, no_gpu_text(resources.gpus, gpus))
        return
    at_once = trials_at_once(resources, workers=workers, gpus=gpus)
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    models = {name: resolve(name) for name in language_model_names(study)}
    configs = design_configs(study)
    kinds = by_kind(configs)
    accelerator = "gpu" if gpus else "cpu"
    with console.status("") as status:
        timings = time_kinds(
            kinds,
            spread_evenly(list(kinds), MOST_TIMED),
            time_one=trial_timer(bars, models, accelerator=accelerator),
            tell=status.update,
        )
    full = {kind: [full_trial_seconds(c, timings) for c in of] for kind, of in kinds.items()}
    console.print(timing_table(timings, full, seeds=study.space.design.seeds))
    show_line(console, not_timed_text(len(kinds), len(timings), also_varying(study, configs)))
    if load > _BUSY:
        corrected = all(is_single_threaded(config, accelerator) for config in configs)
        text = busy_text(load, usable_cores(), corrected=corrected)
        show_line(console, text, style="yellow")
    total = total_seconds(study, trials, configs, timings, workers=at_once)
    show_line(console, time_text(total, space=study.space, workers=at_once))
    _show_memory(console, timings, workers=at_once, shared=shared_bytes(bars, models))
    if gpus:
        largest = max(timing.peak_vram_mb or 0.0 for timing in timings.values())
        per_gpu = max(min(int(1 / resources.gpus), at_once), 1)
        show_line(console, gpu_memory_text(largest, per_gpu=per_gpu))


def trials_at_once(resources: Resources, *, workers: int | None, gpus: int) -> int:
    """Trials at once on this machine, by its cores and GPUs.

    Args:
        resources: Of one trial.
        workers: As asked for; None = not.
        gpus: Of this machine; enough for one trial.
    """
    wanted = wanted_workers(resources, workers)
    return min(wanted, int(gpus / resources.gpus)) if resources.gpus else wanted


def total_seconds(
    study: Study,
    trials: dict[str, int],
    configs: list[Config],
    timings: Timings,
    *,
    workers: int,
) -> Span:
    """Wall time from the command's start to its report.

    Args:
        study: Checked.
        trials: By stage.
        configs: Of the design.
        timings: At least one.
        workers: Trials at once.
    """
    span = study_seconds(
        trials,
        [full_trial_seconds(config, timings) for config in configs],
        search_share=expected_search_epochs(study.space) / study.space.horizon_epochs,
        workers=workers,
    )
    cost_block = sum(
        cost_block_seconds(nearest_timing(kind_of(cost_config(study, name)), timings))
        for name in pretrained_language_models(study)
    )
    return Span(*(seconds + cost_block + OVERHEAD_SECONDS for seconds in span))


def shared_bytes(bars: dict[str, Bars], language_models: dict[str, LanguageModel]) -> int:
    """Size of what all trials share."""
    return sum(one.open_time.nbytes + one.prices.nbytes for one in bars.values()) + sum(
        tensor.nbytes for model in language_models.values() for tensor in model.weights.values()
    )


def _show_memory(console: Console, timings: Timings, *, workers: int, shared: int) -> None:
    worker = max(timing.peak_rss_mb for timing in timings.values())
    needed = memory_mb(worker, workers=workers, shared_bytes=shared)
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**20
    text = memory_text(needed, worker_mb=worker, workers=workers, machine_mb=machine)
    show_line(console, text, style="yellow" if needed > machine else "")
