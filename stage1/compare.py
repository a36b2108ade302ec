"""`python -m stage1.compare CONFIG.yaml CONFIG.yaml ...`: a few configurations, repeated seeds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from stage1.base.terminal import DataDir, print_plain, run_command
from stage1.comparison.experiment import load_experiment
from stage1.comparison.record import begin_folder, check_same
from stage1.config.shipped import config_names
from stage1.pages.comparison_page import write_page
from stage1.run.folder import RunFolder


def compare(
    configs: Annotated[
        list[Path],
        typer.Argument(
            metavar="CONFIG.yaml...",
            help="Two configurations or more: files, or names such as t5_freeze.",
            autocompletion=config_names,
        ),
    ],
    seeds: Annotated[int, typer.Option(min=1, help="Trainings of each configuration.")] = 3,
    data_dir: DataDir = None,
    out: Annotated[Path, typer.Option(help="Folder of the experiment.")] = Path(
        "runs/experiment_t5_vs_random"
    ),
    workers: Annotated[
        int | None, typer.Option(min=1, help="Trainings at once; 1 = in turn. Default: what fits.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="The trainings have those after it.")] = 0,
    max_epochs: Annotated[
        int | None, typer.Option(min=1, help="In place of every training.epochs.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the experiment in OUT.")
    ] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Do everything that comes before the first training.")
    ] = False,
) -> None:
    """Train configurations with the same seeds and write what came of it, side by side."""
    console = Console()
    experiment = load_experiment(configs, seed=seed, seeds=seeds, max_epochs=max_epochs)
    # torch takes seconds to import: a mistake in a configuration should not have to wait for it.
    from stage1.comparison.inputs import experiment_record, load_inputs
    from stage1.comparison.run import run_experiment
    from stage1.run.folder import check_new

    run = RunFolder(out)
    if not (check or resume):
        check_new(run)
    inputs = load_inputs(experiment, data_dir)
    experiment = inputs.experiment
    if check:
        print_plain(console, inputs.told())
        return
    record = experiment_record(inputs, data_dir)
    if resume:
        check_same(run, record)
    else:
        begin_folder(run, record)
    try:
        run_experiment(experiment, run, inputs, workers=workers, console=console)
    except KeyboardInterrupt:
        print_plain(
            console,
            f"Stopped; every training that had ended is in {run.path}. Go on with the same "
            "command and --resume.",
        )
        raise
    write_page(run).show(console)


if __name__ == "__main__":
    run_command(compare)
