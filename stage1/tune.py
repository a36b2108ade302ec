"""`python -m stage1.tune SPACE.yaml`: the main job, from a search space to its report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from stage1.command import DataDir, parse_duration, run_command
from stage1.data.batches import MarketWindows
from stage1.data.store import fingerprint, load_bars
from stage1.language_models.resolver import resolve
from stage1.results import RunFolder
from stage1.search.resume import begin_run, check_new, check_same_study, data_description
from stage1.search.study import language_model_names, load_study


def tune(
    space: Annotated[Path, typer.Argument(metavar="SPACE.yaml", help="The search space.")],
    data_dir: DataDir = None,
    out: Annotated[Path, typer.Option(help="Where run folders go: OUT/name.")] = Path("runs"),
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the study in OUT/name.")
    ] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Do everything that comes before the first trial.")
    ] = False,
    trials: Annotated[
        int | None, typer.Option(min=0, help="Trials of the search, in place of search.trials.")
    ] = None,
    time_budget: Annotated[
        str | None,
        typer.Option(help="Such as 30m: then no further trial starts; --resume goes on."),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Trials at once; default: as many as fit.")
    ] = None,
    address: Annotated[str | None, typer.Option(help="An existing Ray cluster.")] = None,
    storage: Annotated[
        str | None, typer.Option(help="Shared folder or s3://bucket/prefix for a cluster.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the whole study.")] = 0,
) -> None:
    """Search hyperparameters in every arm of a study, and report."""
    console = Console()
    budget = parse_duration(time_budget) if time_budget else None
    study = load_study(space, seed=seed, trials=trials)
    bars = load_bars(data_dir, study.config.data.timeframes)
    windows = MarketWindows(bars, study.config.data, calendar=study.config.model.async_sampler)
    models = [resolve(name) for name in language_model_names(study)]
    run = RunFolder(out / study.space.name)
    data = data_description(fingerprint(bars), data_dir)
    if check:
        console.print(
            f"{space}: sound. {len(windows.split.training.ends):,} training and "
            f"{len(windows.split.validation.ends):,} validation windows; language models: "
            f"{', '.join(model.name for model in models) or 'none'}.",
            soft_wrap=True,
        )
        return
    if resume:
        check_same_study(run, study, data=data)
    else:
        check_new(run)
    # Ray takes seconds to import and start: a mistake in the input should not have to wait for it.
    from stage1.search.cluster import ray_cluster
    from stage1.search.launch import run_study

    with ray_cluster(
        study.space.resources, workers=workers, address=address, storage=storage
    ) as cluster:
        if not resume:
            begin_run(run, study, data=data, models=models)
        try:
            finished = run_study(
                study, run, bars, models, cluster=cluster, console=console, time_budget=budget
            )
        except (KeyboardInterrupt, SystemExit):
            console.print(
                f"Stopped; every trial that had ended is in {run.path}. Go on with the same "
                "command and --resume.",
                soft_wrap=True,
            )
            raise
    # What draws and computes takes seconds to load, which the first trial should not wait for.
    from stage1.report import write_report

    write_report(run).show(console)
    if not finished:
        console.print("Not finished: go on with the same command and --resume.")


if __name__ == "__main__":
    run_command(tune)
