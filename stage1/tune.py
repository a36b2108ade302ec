"""`python -m stage1.tune SPACE.yaml`: the main job, from a search space to its report."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from threading import Thread
from typing import Annotated

import typer
from rich.console import Console

from stage1.base.interrupt import Interrupt, exit_on_sigterm
from stage1.base.terminal import DataDir, parse_duration, print_plain, run_command, screen
from stage1.config.shipped import space_names
from stage1.run.folder import RunFolder, check_begun, check_new
from stage1.study.study import Study, load_study
from stage1.workers.cluster import Cluster, ray_cluster
from stage1.workers.library_logs import chatter_in


def tune(
    space: Annotated[
        Path,
        typer.Argument(
            metavar="SPACE.yaml",
            help="The search space: a file, or a name such as transfer.",
            autocompletion=space_names,
        ),
    ],
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
    console = screen()
    budget = parse_duration(time_budget) if time_budget else None
    study = load_study(space, seed=seed, trials=trials)
    run = RunFolder(out / study.space.name)
    if check:
        _check(console, space, study, data_dir)
        return
    (check_begun if resume else check_new)(run)
    # To load what computes takes seconds, and so does the start of Ray: both at once. Only what
    # needs neither has been imported so far, so that a mistake in the space shows at once.
    loading = Thread(target=import_module, args=("stage1.workers.launch",))
    if console.is_interactive:
        print_plain(console, f"{study.space.name}: starting; results go to {run.path}")
    with exit_on_sigterm(), _told_how_to_go_on(console, run), ExitStack() as stack:
        with Interrupt():  # Ctrl-C may vanish in what Ray does
            loading.start()
            cluster = stack.enter_context(
                ray_cluster(
                    study.space.resources, workers=workers, address=address, storage=storage
                )
            )
            loading.join()
        finished = _run(
            console, study, run, data_dir, cluster=cluster, resume=resume, budget=budget
        )
    # What draws and tests takes seconds to load, which the first trial should not wait for.
    from stage1.pages.study_page import write_report

    with chatter_in(run.log):
        write_report(run).show(console)
    if not finished:
        console.print("Not finished: go on with the same command and --resume.")


@contextmanager
def _told_how_to_go_on(console: Console, run: RunFolder) -> Iterator[None]:
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        kept = "nothing has begun."
        if run.prereg.exists():
            kept = (
                f"every trial that had ended is in {run.path}. Go on with the same command and "
                "--resume."
            )
        print_plain(console, f"Stopped; {kept}")
        raise


def _check(console: Console, space: Path, study: Study, data_dir: Path | None) -> None:
    from stage1.study.inputs import load_inputs

    inputs = load_inputs(study, data_dir)
    print_plain(
        console,
        f"{space}: sound. {len(inputs.windows.split.training.ends):,} training and "
        f"{len(inputs.windows.split.validation.ends):,} validation windows; language models: "
        f"{', '.join(model.name for model in inputs.language_models) or 'none'}.",
    )


def _run(
    console: Console,
    study: Study,
    run: RunFolder,
    data_dir: Path | None,
    *,
    cluster: Cluster,
    resume: bool,
    budget: timedelta | None,
) -> bool:
    """Begin or resume the study; says whether all of it has ended now."""
    from stage1.claims.catalogue import REGISTERED
    from stage1.study.inputs import load_inputs
    from stage1.study.resume import begin_run, check_same_study, data_description
    from stage1.workers.launch import run_study

    inputs = load_inputs(study, data_dir)
    study, bars, models = inputs.study, inputs.bars, inputs.language_models
    data = data_description(inputs.data_fingerprint, data_dir)
    if resume:
        check_same_study(run, study, data=data)
    else:
        begin_run(run, study, data=data, models=models, claims=REGISTERED)
    with chatter_in(run.log):
        return run_study(
            study, run, bars, models, cluster=cluster, console=console, time_budget=budget
        )


if __name__ == "__main__":
    run_command(tune)
