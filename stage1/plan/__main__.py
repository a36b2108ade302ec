"""`python -m stage1.plan SPACE.yaml`: what a study takes and what it could see, before it runs."""

from __future__ import annotations

import math
import os
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, NamedTuple

import torch
import typer
from pydantic import TypeAdapter
from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from stage1.base.errors import ConfigError
from stage1.base.machine import total_mb, usable_cores
from stage1.base.terminal import DataDir, print_plain, run_command
from stage1.base.text import shell_line, shown
from stage1.claims.catalogue import ABOUT_SCORES
from stage1.claims.surfaces import Setting, settings_of
from stage1.claims.synthetic import World, variation, world_of_run
from stage1.config import Config
from stage1.config.yaml_source import space_names
from stage1.data.bars import Bars
from stage1.data.batches import MarketWindows
from stage1.data.load import load_data
from stage1.language_models.resolver import resolve
from stage1.model.metrics import blocks_of_windows
from stage1.plan.gpus import (
    CARDS,
    DEFAULT_CARD,
    Card,
    Reckoned,
    card_named,
    mean_busy,
    reckon_trial,
    shared_timing,
    trials_per_gpu,
)
from stage1.plan.outlook import Outlook, cost_outlook, not_contained, outlook
from stage1.plan.resources import (
    MOST_TIMED,
    STATES_PER_WORKER,
    Kind,
    Timings,
    also_varying,
    by_kind,
    checkpoint_bytes,
    control_seconds,
    design_configs,
    disk_bytes,
    full_trial_seconds,
    look_seconds,
    memory_mb,
    representative,
    setup_seconds,
    shared_bytes,
    spread_evenly,
    state_bytes,
    time_kinds,
    total_seconds,
    trial_timer,
)
from stage1.plan.texts import (
    CLAIMS_NOTE,
    RECKONED,
    TIMED,
    busy_text,
    claim_texts,
    claims_table,
    disk_text,
    gpu_memory_text,
    hours_text,
    looks_text,
    memory_text,
    model_text,
    not_contained_text,
    not_timed_text,
    packing_text,
    reckoned_text,
    smaller_design_text,
    states_text,
    time_text,
    timing_table,
    trials_table,
)
from stage1.run.columns import PRETRAINED, RANDOM, SHUFFLED
from stage1.run.folder import RunFolder
from stage1.run.registration import COST_MARGIN, COST_ROUNDS
from stage1.run.resolved_space import Domain
from stage1.study.inputs import windows_seen_text
from stage1.study.space import Resources
from stage1.study.stages import expected_by_stage
from stage1.study.study import Study, language_model_names, load_study
from stage1.training.timing import is_single_threaded
from stage1.workers.cluster import wanted_workers

DEFAULT_OUT = Path("runs")
SEVERAL_GPUS = (1, 2, 4, 8)
"""For which the time of a study on GPUs is told."""
_BUSY = 1.0
"""Load from which timings are said to be of a busy machine."""


def plan(
    space: Annotated[
        Path,
        typer.Argument(
            metavar="SPACE.yaml",
            help="The search space: a file, or a name such as transfer.",
            autocompletion=space_names,
        ),
    ],
    data_dir: DataDir = None,
    out: Annotated[Path, typer.Option(help="Where run folders go: OUT/name.")] = DEFAULT_OUT,
    trials: Annotated[
        int | None, typer.Option(min=0, help="Trials of the search, in place of search.trials.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Trials at once; default: as many as fit.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Of the whole study; default: the space's own, or 0.")
    ] = None,
    like: Annotated[
        Path | None,
        typer.Option(metavar="RUN", help="Take how scores vary from this run folder."),
    ] = None,
    gpu: Annotated[
        str | None,
        typer.Option(
            metavar="CARD",
            help=f"Reckon for this card: {', '.join(CARDS)}. Without it a study that asks for GPUs "
            f"is timed on this machine's, or reckoned for {DEFAULT_CARD} where it has none.",
        ),
    ] = None,
    no_timing: Annotated[
        bool,
        typer.Option("--no-timing", help="Train no steps; then time and memory stay open."),
    ] = False,
) -> None:
    """Tell what a study takes and which effects it could see. Writes nothing."""
    console = Console()
    if gpu is not None and gpu not in CARDS:
        raise ConfigError(f"--gpu must be one of {', '.join(CARDS)}, got {shown(gpu)}")
    study = load_study(space, seed=seed, trials=trials)
    bars, config = load_data(data_dir, study.config)
    study, windows = replace(study, config=config), MarketWindows.of(bars, config)
    validation = windows.split.validation
    world = world_of_run(like) if like else World(())
    world = world._replace(settings=searched_settings(study))
    run = RunFolder(out / study.space.name)
    by_stage = expected_by_stage(study, {})
    console.print(trials_table(study, by_stage))
    show_line(console, windows_seen_text(config, len(windows.split.training.ends)))
    for caution in study.cautions:
        show_line(console, f"Warning: {caution}.", style="yellow")
    if no_timing:
        show_line(console, "Time and memory: not measured, as --no-timing asks.")
    else:
        show_time_and_memory(study, bars, by_stage, workers=workers, gpu=gpu, console=console)
    blocks = 1 + int(blocks_of_windows(validation.starts, validation.ends).max())
    show_line(console, disk_text(disk_bytes(study, by_stage, blocks=blocks), str(run.path)))
    if not no_timing:
        state = state_bytes(design_configs(study))
        running = STATES_PER_WORKER * wanted_workers(study.space.resources, workers) * state
        show_line(console, states_text(checkpoint_bytes(study, state), running=running))
    show_claims(study, world, like=like, console=console)
    options = {"data_dir": data_dir, "trials": trials, "workers": workers}
    command = start_command(run, space, options | {"seed": seed})
    going_on = f" ({run.path} has begun already)" if run.path.exists() else ""
    print_plain(console, f"Next{going_on}:\n  {command}")


class Measured(NamedTuple):
    """What a trial of every kind takes, and on what."""

    timings: Timings
    workers: int
    """Trials at once."""
    card_mb: float | None
    """Memory of a GPU, MiB; None where trials take none."""
    busy: float | None
    """Share of its time in which a trial alone keeps the GPU busy; None where nobody knows."""
    how: str = TIMED


def show_time_and_memory(
    study: Study,
    bars: dict[str, Bars],
    trials: dict[str, int],
    *,
    workers: int | None,
    gpu: str | None,
    console: Console,
) -> None:
    """Time or reckon every kind of trial, and print what the whole study would take.

    Raises:
        ModelError: A language model is not to be had.
        TrialError: A trial does not fit into the GPU's memory.
    """
    resources, configs = study.space.resources, design_configs(study)
    kinds = by_kind(configs)
    gpus = torch.cuda.device_count() if resources.gpus else 0
    if resources.gpus and (gpu or gpus < resources.gpus):
        card = CARDS[gpu or DEFAULT_CARD]
        show_line(console, reckoned_text(card))
        measured = reckoned(kinds, resources, card, workers=workers, console=console)
    else:
        measured = timed(study, bars, kinds, gpus=gpus, workers=workers, console=console)
    timings, at_once = measured.timings, measured.workers
    full = {kind: [full_trial_seconds(c, timings) for c in of] for kind, of in kinds.items()}
    console.print(timing_table(timings, full, how=measured.how))
    show_line(console, not_timed_text(len(kinds), len(timings), also_varying(study, configs)))
    total = partial(total_seconds, study, trials, configs, timings)
    show_line(console, time_text(total(workers=at_once), space=study.space, workers=at_once))
    if study.size.grows:
        text = looks_text(
            look_seconds(study, timings, workers=at_once),
            setup=setup_seconds(study, timings),
            control=control_seconds(study, timings, workers=at_once),
        )
        show_line(console, text)
    if measured.card_mb is not None:
        per_gpu = min(resources.per_gpu, at_once)
        hours = {count: total(workers=count * per_gpu) for count in SEVERAL_GPUS}
        show_line(console, hours_text(hours))
        largest = max(timing.peak_vram_mb or 0.0 for timing in timings.values())
        card_mb = measured.card_mb
        show_line(console, gpu_memory_text(largest, per_gpu=per_gpu, card_mb=card_mb))
        if measured.busy is not None:
            best = trials_per_gpu(measured.busy, trial_mb=largest, card_mb=card_mb)
            show_line(console, packing_text(measured.busy, best, now=resources.gpus))
    if not math.isnan(next(iter(timings.values())).peak_rss_mb):
        models = {name: resolve(name) for name in language_model_names(study)}
        _show_memory(console, timings, workers=at_once, shared=shared_bytes(bars, models))


def timed(
    study: Study,
    bars: dict[str, Bars],
    kinds: dict[Kind, list[Config]],
    *,
    gpus: int,
    workers: int | None,
    console: Console,
) -> Measured:
    """Train a few steps of every kind of trial on this machine; warns where it is busy."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    models = {name: resolve(name) for name in language_model_names(study)}
    accelerator = "cuda" if gpus else "cpu"
    with console.status("") as status:
        timings = time_kinds(
            kinds,
            spread_evenly(list(kinds), MOST_TIMED),
            time_one=trial_timer(bars, models, accelerator=accelerator),
            on_progress=status.update,
        )
    if load > _BUSY:
        configs = [config for of in kinds.values() for config in of]
        corrected = all(is_single_threaded(config, accelerator) for config in configs)
        text = busy_text(load, usable_cores(), corrected=corrected)
        show_line(console, text, style="yellow")
    at_once = trials_at_once(study.space.resources, workers=workers, gpus=gpus)
    if not gpus:
        return Measured(timings, at_once, None, None)
    device = torch.cuda.get_device_properties(0)
    busy = None
    if (card := card_named(device.name)) is not None:
        steps = {kind: reckon_trial(representative(kinds[kind]), card) for kind in timings}
        seen = [
            (one._replace(timing=timings[kind]), len(kinds[kind])) for kind, one in steps.items()
        ]
        busy = min(mean_busy(seen), 1.0)
    return Measured(timings, at_once, device.total_memory / 2**20, busy)


def reckoned(
    kinds: dict[Kind, list[Config]],
    resources: Resources,
    card: Card,
    *,
    workers: int | None,
    console: Console,
) -> Measured:
    """Reckon every kind of trial for one card that this machine need not have."""
    per_gpu = resources.per_gpu
    trials: dict[Kind, Reckoned] = {}
    with console.status("") as status:
        for kind in spread_evenly(list(kinds), MOST_TIMED):
            status.update(f"Reckoning {kind.size} ...")
            trials[kind] = reckon_trial(representative(kinds[kind]), card)
    timings = {kind: shared_timing(one, per_gpu) for kind, one in trials.items()}
    busy = mean_busy([(one, len(kinds[kind])) for kind, one in trials.items()])
    at_once = min(workers or per_gpu, per_gpu)
    return Measured(timings, at_once, 1024 * card.memory_gb, busy, RECKONED)


def trials_at_once(resources: Resources, *, workers: int | None, gpus: int) -> int:
    """Trials at once on this machine, by its cores and GPUs.

    Args:
        resources: Of one trial.
        workers: As asked for; None = not.
        gpus: Of this machine; enough for one trial.
    """
    wanted = wanted_workers(resources, workers)
    return min(wanted, gpus * resources.per_gpu) if resources.gpus else wanted


def _show_memory(console: Console, timings: Timings, *, workers: int, shared: int) -> None:
    worker = max(timing.peak_rss_mb for timing in timings.values())
    needed = memory_mb(worker, workers=workers, shared_bytes=shared)
    machine = total_mb()
    text = memory_text(needed, worker_mb=worker, workers=workers, machine_mb=machine)
    show_line(console, text, style="yellow" if needed > machine else "")


def show_claims(study: Study, world: World, *, like: Path | None, console: Console) -> None:
    """Simulate and print what the study could decide.

    Args:
        study: Checked.
        world: How its scores vary; space and design are the study's own.
        like: Run folder that the world is of; None for a typical one.
        console: Where to.
    """
    size, roles = study.space.design.size, set(study.roles)
    lines: list[Outlook] = []
    missing: dict[str, str] = {}
    if {PRETRAINED, RANDOM} <= roles:
        with console.status("") as status:
            for definition in ABOUT_SCORES:
                needs = not_contained(definition, size, settings=len(world.settings), roles=roles)
                if needs:
                    missing[definition.label] = needs
                    continue
                status.update(f"Simulating studies for {definition.label} ...")
                lines.append(outlook(world, size, definition))
    cost = cost_outlook(margin=COST_MARGIN, rounds=COST_ROUNDS) if PRETRAINED in roles else None
    console.print()
    if lines:
        console.print(claims_table(lines))
        show_line(console, CLAIMS_NOTE)
        show_line(console, model_text(variation(world), like=like))
        show_line(console, smaller_design_text(lines, size))
        console.print()
    arms = len(study.roles) - (SHUFFLED in roles and size.control is not None)
    for text in claim_texts(lines, cost, roles=roles, arms=arms):
        show_line(console, text)
    show_line(console, not_contained_text(missing))


def searched_settings(study: Study) -> tuple[Setting, ...]:
    """The searched settings of a study, as its run folder will hold them."""
    domains = {
        key: parameter.model_dump(mode="json") for key, parameter in study.space.space.items()
    }
    return settings_of(TypeAdapter(dict[str, Domain]).validate_python(domains))


def show_line(console: Console, text: str, style: str = "") -> None:
    """A sentence that goes on indented where it is long; nothing if it is empty."""
    if text:
        console.print(Padding(Text(text, style=style), (0, 0, 0, 2)))


def start_command(run: RunFolder, space: Path, options: dict[str, str | int | None]) -> str:
    """The command that runs the study that was planned, or goes on with it.

    `options` are those of this command; None = not given.
    """
    out = run.path.parent
    command = shell_line("tune", space, **options, out=None if out == DEFAULT_OUT else out)
    return f"{command} --resume" if run.path.exists() else command


if __name__ == "__main__":
    run_command(plan)
