"""`python -m stage1.plan SPACE.yaml`: what a study takes and what it could see, before it runs."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from stage1.base.terminal import print_plain, run_command
from stage1.claims.synthetic import TYPICAL, ScoreModel, model_of_run, variation
from stage1.config.shipped import space_names
from stage1.data.batches import MarketWindows
from stage1.data.load import load_data
from stage1.model.metrics import blocks_of_windows
from stage1.plan.claims import (
    CLAIMS_NOTE,
    claim_texts,
    claims_table,
    model_text,
    smaller_design_text,
)
from stage1.plan.footprint import disk_bytes
from stage1.plan.outlook import Outlook, cost_outlook, label, lines, outlook
from stage1.plan.stages import trials_by_stage
from stage1.plan.texts import disk_text, show_line, trials_table
from stage1.plan.timed import show_time_and_memory
from stage1.run.columns import PRETRAINED, RANDOM
from stage1.run.folder import RunFolder
from stage1.run.registration import COST_MARGIN, COST_ROUNDS
from stage1.study.study import Study, load_study

DEFAULT_OUT = Path("runs")


def plan(
    space: Annotated[
        Path,
        typer.Argument(
            metavar="SPACE.yaml",
            help="The search space: a file, or a name such as transfer.",
            autocompletion=space_names,
        ),
    ],
    data_dir: Annotated[
        Path | None, typer.Option(help="Folder made by stage1.prepare; the bundled sample without.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Where run folders go: OUT/name.")] = DEFAULT_OUT,
    trials: Annotated[
        int | None, typer.Option(min=0, help="Trials of the search, in place of search.trials.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Trials at once; default: as many as fit.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the whole study.")] = 0,
    like: Annotated[
        Path | None,
        typer.Option(metavar="RUN", help="Take how scores vary from this run folder."),
    ] = None,
    no_timing: Annotated[
        bool,
        typer.Option("--no-timing", help="Train no steps; then time and memory stay open."),
    ] = False,
) -> None:
    """Tell what a study takes and which effects it could see. Writes nothing."""
    console = Console()
    study = load_study(space, seed=seed, trials=trials)
    bars, config = load_data(data_dir, study.config)
    study, windows = replace(study, config=config), MarketWindows.of(bars, config)
    validation = windows.split.validation
    model = model_of_run(like) if like else TYPICAL
    run = RunFolder(out / study.space.name)
    by_stage = trials_by_stage(study)
    console.print(trials_table(study.space, by_stage))
    if no_timing:
        show_line(console, "Time and memory: not measured, as --no-timing asks.")
    else:
        show_time_and_memory(study, bars, by_stage, workers=workers, console=console)
    blocks = 1 + int(blocks_of_windows(validation.starts, validation.ends).max())
    show_line(console, disk_text(disk_bytes(study, by_stage, blocks=blocks), str(run.path)))
    show_claims(study, model, like=like, console=console)
    options = {"--data-dir": data_dir, "--trials": trials, "--workers": workers}
    command = start_command(run, space, options | {"--seed": seed or None})
    begun = f" ({run.path} has begun already)" if run.path.exists() else ""
    print_plain(console, f"Next{begun}:\n  {command}")


def show_claims(study: Study, model: ScoreModel, *, like: Path | None, console: Console) -> None:
    """Simulate and print what the study could see.

    Args:
        study: Checked.
        model: How its scores vary; the design is the study's own.
        like: Run folder that the model is of; None for a typical one.
        console: Where to.
    """
    design, roles = study.space.design, set(study.roles)
    model = model._replace(configurations=design.configurations, seeds=design.seeds)
    found: list[Outlook] = []
    if {PRETRAINED, RANDOM} <= roles:
        with console.status("") as status:
            for claim, beside in lines():
                status.update(f"Simulating studies for {label(claim, beside=beside)} ...")
                found.append(outlook(model, claim, beside=beside))
    cost = None
    if PRETRAINED in roles:
        cost = cost_outlook(margin=COST_MARGIN, rounds=COST_ROUNDS)
    console.print()
    if found or cost:
        console.print(claims_table(found, cost))
    if found:
        show_line(console, CLAIMS_NOTE)
        show_line(console, model_text(variation(model), like=like))
        show_line(console, smaller_design_text(found, design))
        console.print()
    for text in claim_texts(found, cost, roles=roles):
        show_line(console, text)


def start_command(run: RunFolder, space: Path, options: dict[str, Path | int | None]) -> str:
    """The command that runs the study that was planned, or goes on with it.

    Args:
        run: Where it would lie.
        space: The search space.
        options: As given to this command; None = not.
    """
    out = run.path.parent
    given = options | {"--out": None if out == DEFAULT_OUT else out}
    parts = [str(part) for item in given.items() if item[1] is not None for part in item]
    resume = ["--resume"] if run.path.exists() else []
    return shlex.join(["python", "-m", "stage1.tune", str(space), *parts, *resume])


if __name__ == "__main__":
    run_command(plan)
