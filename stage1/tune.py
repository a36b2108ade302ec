"""`python -m stage1.tune SPACE.yaml`: the main job, from a search space to its report."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from functools import partial
from importlib import import_module
from pathlib import Path
from threading import Thread
from typing import Annotated, Any

import typer
from rich.console import Console

from stage1.base.interrupt import exit_on_sigterm
from stage1.base.terminal import (
    DataDir,
    library_logs_to,
    parse_duration,
    print_plain,
    resume_hint,
    run_command,
    screen,
)
from stage1.config import with_values
from stage1.config.yaml_source import space_names
from stage1.run.folder import RunFolder, check_begun, check_new
from stage1.run.resolved_space import read_space, require_timeframes
from stage1.study.study import Study, load_study
from stage1.study.trials import LookResult
from stage1.workers.cluster import Cluster, ray_cluster


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
    seed: Annotated[
        int | None, typer.Option(min=0, help="Of the whole study; default: the space's own, or 0.")
    ] = None,
    extend: Annotated[
        bool,
        typer.Option("--extend", help="Go on with a finished study: twice as many configurations."),
    ] = False,
    retry_failed: Annotated[
        bool,
        typer.Option("--retry-failed", help="Go on, with the trials that have failed run again."),
    ] = False,
) -> None:
    """Search hyperparameters in every arm of a study, and report."""
    console = screen()
    budget = parse_duration(time_budget) if time_budget else None
    study = load_study(space, seed=seed, trials=trials)
    run = RunFolder(out / study.space.name)
    resume |= extend or retry_failed
    if not check:
        (check_begun if resume else check_new)(run)
    if resume and run.space.exists():
        study = on_bars_of_run(study, run)
    if check:
        from stage1.study.inputs import load_inputs

        print_plain(console, f"{space}: sound. {load_inputs(study, data_dir).summary()}")
        _show_cautions(console, study)
        return
    # To load what computes takes seconds, and so does the start of Ray: both at once. Only what
    # needs neither has been imported so far, so that a mistake in the space shows at once.
    loading = Thread(target=import_module, args=("stage1.workers.launch",))
    if console.is_interactive:
        print_plain(console, f"{study.space.name}: starting; results go to {run.path}")
    with exit_on_sigterm(), resume_hint(console, run.path, first_file=run.prereg):
        loading.start()
        with ray_cluster(
            study.space.resources, workers=workers, address=address, storage=storage
        ) as cluster:
            loading.join()
            finished = _run(
                console,
                study,
                run,
                data_dir,
                cluster=cluster,
                resume=resume,
                extend=extend,
                retry_failed=retry_failed,
                budget=budget,
            )
    # What draws and tests takes seconds to load, which the first trial should not wait for.
    from stage1.pages.study_page import write_report

    with library_logs_to(run.log):
        write_report(run).show(console)
    if not finished:
        print_plain(console, "Not finished: go on with the same command and --resume.")
        return
    from stage1.study.resume import check_any_completed

    check_any_completed(run)


def on_bars_of_run(study: Study, run: RunFolder) -> Study:
    """The study on the bars that its run was begun on, which nobody need name again."""
    space = read_space(run)
    require_timeframes(run.space, space)
    values: dict[str, Any] = {**space.data.values}
    if study.config.data.test_share is None:
        values["data.test_share"] = space.test_share
    return replace(study, config=with_values(study.config, values))


def _run(
    console: Console,
    study: Study,
    run: RunFolder,
    data_dir: str | None,
    *,
    cluster: Cluster,
    resume: bool,
    extend: bool,
    retry_failed: bool,
    budget: timedelta | None,
) -> bool:
    """Begin or resume the study; says whether all of it has ended now."""
    from stage1.claims.catalogue import REGISTERED
    from stage1.study.inputs import load_inputs
    from stage1.study.resume import (
        as_begun,
        begin_run,
        check_same_study,
        data_description,
        extended,
    )
    from stage1.workers.launch import run_study

    inputs = load_inputs(study, data_dir)
    data, models = data_description(inputs.study.config.data), inputs.language_models
    if resume:
        check_same_study(run, inputs.study, data=data, models=models)
        inputs = replace(inputs, study=as_begun(run, inputs.study))
        if extend:
            judged = partial(_claims_so_far, run)
            inputs = replace(inputs, study=extended(run, inputs.study, judged))
    else:
        begin_run(run, inputs.study, data=data, models=models, claims=REGISTERED)
        _show_cautions(console, study)
    judge = partial(_report_at_look, run, console)
    with library_logs_to(run.log):
        return run_study(
            inputs,
            run,
            cluster=cluster,
            console=console,
            judge=judge,
            time_budget=budget,
            retry_failed=retry_failed,
        )


def _show_cautions(console: Console, study: Study) -> None:
    for caution in study.cautions:
        print_plain(console, f"Warning: {caution}.")


def _report_at_look(run: RunFolder, console: Console, look: int) -> LookResult:
    """Write the report and show its claims: all of the look's trials are in the tables."""
    from stage1.pages.study_page import show_look, write_report

    report = write_report(run)
    show_look(report, console)
    return LookResult(report.evaluation.decided, report.evaluation.asks_for_control)


def _claims_so_far(run: RunFolder, look: int) -> LookResult:
    """What the claims of a study that has finished were."""
    from stage1.claims.judge import evaluate
    from stage1.claims.scores import read_run

    evaluation = evaluate(read_run(run))
    return LookResult(evaluation.decided, evaluation.asks_for_control)


if __name__ == "__main__":
    run_command(tune)
