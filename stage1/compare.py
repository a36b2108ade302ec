"""`python -m stage1.compare CONFIG.yaml CONFIG.yaml ...`: a few configurations, repeated seeds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stage1.base.interrupt import exit_on_sigterm
from stage1.base.machine import usable_cores
from stage1.base.terminal import (
    DataDir,
    library_logs_to,
    print_plain,
    resume_hint,
    run_command,
    screen,
)
from stage1.config.yaml_source import config_names
from stage1.pages.comparison_page import write_page
from stage1.run.comparison_record import RECORD_FILE, read_record
from stage1.run.folder import RunFolder, check_new
from stage1.study.comparison import as_begun, load_comparison


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
    out: Annotated[Path, typer.Option(help="Folder of the comparison.")] = Path(
        "runs/experiment_t5_vs_random"
    ),
    workers: Annotated[
        int | None, typer.Option(min=1, help="Trainings at once; default: as many as fit.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="The trainings have those after it.")] = 0,
    max_epochs: Annotated[
        int | None, typer.Option(min=1, help="In place of every training.epochs.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the comparison in OUT.")
    ] = False,
    retry_failed: Annotated[
        bool,
        typer.Option("--retry-failed", help="Go on, with trainings that have failed run again."),
    ] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Do everything that comes before the first training.")
    ] = False,
) -> None:
    """Train configurations with the same seeds and write what came of it, side by side."""
    console = screen()
    comparison = load_comparison(configs, seed=seed, seeds=seeds, max_epochs=max_epochs)
    run = RunFolder(out)
    resume |= retry_failed
    if not (check or resume):
        check_new(run)
    # torch takes seconds to import: a mistake in a configuration should not have to wait for it.
    from stage1.study.inputs import load_comparison_inputs

    if resume:
        comparison = as_begun(comparison, read_record(run))
    inputs = load_comparison_inputs(comparison, data_dir)
    if check:
        trainings = f"{len(comparison.design_specs())} trainings"
        print_plain(
            console, f"{', '.join(comparison.configs)}: sound. {trainings}, {inputs.summary()}"
        )
        return
    from stage1.study.resume import (
        begin_comparison,
        check_any_completed,
        check_same_comparison,
        comparison_record,
    )
    from stage1.workers.launch import run_comparison

    record = comparison_record(inputs, cores=usable_cores())
    (check_same_comparison if resume else begin_comparison)(run, record)
    with (
        exit_on_sigterm(),
        resume_hint(console, run.path, first_file=run.path / RECORD_FILE),
        library_logs_to(run.log),
    ):
        run_comparison(inputs, run, workers=workers, console=console, retry_failed=retry_failed)
    write_page(run).show(console)
    check_any_completed(run)


if __name__ == "__main__":
    run_command(compare)
