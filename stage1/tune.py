"""`python -m stage1.tune SPACE.yaml`: the main job, from a search space to its report.

`stage1.run_study` is the same from Python.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from importlib import import_module
from numbers import Integral
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from stage1.base.errors import ConfigError, Stage1Error
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
from stage1.base.text import shown
from stage1.config import with_values
from stage1.config.yaml_source import space_names
from stage1.run.folder import RunFolder, check_begun, check_new
from stage1.run.registration import read_preregistration
from stage1.run.resolved_space import read_space, require_timeframes
from stage1.study.study import Study, load_study
from stage1.study.trials import LookResult
from stage1.workers.cluster import Cluster, ray_cluster
from stage1.workers.user_callbacks import UserCallbacks

if TYPE_CHECKING:  # they take seconds to load
    from stage1.claims.loaded_run import Run
    from stage1.study.sampler import EarlierSearch
    from stage1.training.user_metrics import MetricFunction


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
    warm_start: Annotated[
        Path | None,
        typer.Option(metavar="RUN", help="A study whose trials the search is told of."),
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
    asked = _Asked(
        data_dir=data_dir,
        resume=resume,
        extend=extend,
        retry_failed=retry_failed,
        budget=budget,
        workers=workers,
        address=address,
        storage=storage,
        warm_start=warm_start,
    )
    if check:
        from stage1.study.inputs import load_inputs

        study = _resumed(study, RunFolder(out / study.space.name), asked)
        inputs = load_inputs(study, data_dir)
        _earlier(console, inputs.study, warm_start)
        print_plain(console, f"{space}: sound. {inputs.summary()}")
        _show_cautions(console, study)
        return
    _run_whole(console, study, out, asked)


def run_study(
    space: str | Path | Mapping[str, Any],
    *,
    data_dir: str | Path | None = None,
    out: str | Path = "runs",
    resume: bool = False,
    trials: int | None = None,
    time_budget: str | timedelta | None = None,
    workers: int | None = None,
    address: str | None = None,
    storage: str | None = None,
    warm_start: str | Path | None = None,
    seed: int | None = None,
    extend: bool = False,
    retry_failed: bool = False,
    callbacks: Sequence[object] = (),
    metrics: Mapping[str, MetricFunction] | None = None,
    quiet: bool = False,
) -> Run:
    """Run a study as `python -m stage1.tune` does, from a script or a notebook.

    Ctrl-C, or the notebook's stop, keeps what has ended: go on with `resume=True`.

    Args:
        space: A name such as "transfer", a file, or what such a file would hold; `extends` may be
            the name of a space of the package.
        data_dir: Folder made by `stage1.prepare`, or "sample".
        out: Where run folders go: the study's is OUT/name.
        resume: Go on with the study in OUT/name.
        trials: Of the search, in place of `search.trials`.
        time_budget: Such as "30m": then no further trial starts.
        workers: Trials at once; None = as many as fit.
        address: Of an existing Ray cluster.
        storage: Shared folder or s3://bucket/prefix for a cluster.
        warm_start: Folder of a study whose trials the search is told; nothing else is.
        seed: Of the whole study; None = the space's own, or 0.
        extend: Go on with a finished study: twice as many configurations.
        retry_failed: Go on, with the trials that have failed run again.
        callbacks: Objects with `on_trial_end(row)`, a dict by the columns of trials.parquet, or
            `on_look(verdicts)`, a frame as `Run.verdicts`, or both. What one raises ends the study,
            which can be resumed.
        metrics: Functions by name; each takes the decoded and the true bars that were hidden and
            scored, (bars, channels), normalised, and gives a number. Recorded beside stage1's own;
            never an objective, never a verdict.
        quiet: Print nothing.

    Returns:
        The run, loaded; also where the time budget has ended it early.

    Raises:
        Stage1Error: One of its kinds, in `stage1.base.errors`: what the user can mend.
        KeyboardInterrupt: Ctrl-C.
    """
    from stage1.claims.loaded_run import load_run

    if threading.current_thread() is not threading.main_thread():
        raise ConfigError(
            "run_study must be called in the main thread, where Ctrl-C arrives, got "
            f"{threading.current_thread().name}; call it there, or start a process"
        )
    if not isinstance(space, str | Path | Mapping):
        raise ConfigError(f"space must be a name, a path or a dictionary, got {shown(space)}")
    for name, number, least in (("workers", workers, 1), ("trials", trials, 0), ("seed", seed, 0)):
        if number is not None and not (isinstance(number, Integral) and number >= least):
            raise ConfigError(f"{name} must be a whole number >= {least}, got {shown(number)}")
    console, called = Console(quiet=True) if quiet else screen(), UserCallbacks(callbacks)
    try:
        budget = parse_duration(time_budget) if isinstance(time_budget, str) else time_budget
        study = load_study(
            Path(space) if isinstance(space, str) else space, seed=seed, trials=trials
        )
        asked = _Asked(
            data_dir=None if data_dir is None else str(data_dir),
            resume=resume,
            extend=extend,
            retry_failed=retry_failed,
            budget=budget,
            workers=workers,
            address=address,
            storage=storage,
            warm_start=Path(warm_start) if warm_start else None,
            metrics=metrics or {},
            callbacks=called,
            in_python=True,
        )
        return load_run(_run_whole(console, study, Path(out), asked).path)
    except Stage1Error as error:
        if error is called.error:
            raise
        raise type(error)(in_python(str(error))) from None


@dataclass(frozen=True)
class _Asked:
    """What was asked for, by the command or from Python."""

    data_dir: str | None
    resume: bool
    extend: bool
    retry_failed: bool
    budget: timedelta | None
    workers: int | None
    address: str | None
    storage: str | None
    warm_start: Path | None
    metrics: Mapping[str, MetricFunction] = field(default_factory=dict)
    callbacks: UserCallbacks = field(default_factory=UserCallbacks)
    in_python: bool = False

    @property
    def goes_on(self) -> bool:
        """Whether with a study that has begun."""
        return self.resume or self.extend or self.retry_failed


_OPTION = re.compile(
    r"--(resume|extend|retry-failed)\b|--(data-dir|out|address|storage|workers|seed|warm-start)\b"
)


def in_python(message: str) -> str:
    """What a message advises, as the arguments of `run_study` say it."""

    def argument(option: re.Match[str]) -> str:
        flag, value = option.groups()
        return f"{flag.replace('-', '_')}=True" if flag else f"{value.replace('-', '_')}="

    return _OPTION.sub(argument, message.replace("the same command", "the same call"))


def _resumed(study: Study, run: RunFolder, asked: _Asked) -> Study:
    """The study, on the bars of the run that it goes on with, unless others are named."""
    if asked.goes_on and run.space.exists():
        return on_bars_of_run(study, run)
    return study


def _run_whole(console: Console, study: Study, out: Path, asked: _Asked) -> RunFolder:
    """Run the study as far as it goes, write and show its report; gives its folder."""
    run = RunFolder(out / study.space.name)
    (check_begun if asked.goes_on else check_new)(run)
    study = _resumed(study, run, asked)
    metrics = _hashes(asked.metrics)
    # To load what computes takes seconds, and so does the start of Ray: both at once. Only what
    # needs neither has been imported so far, so that a mistake in the space shows at once.
    loading = Thread(target=import_module, args=("stage1.workers.launch",))
    if console.is_interactive:
        print_plain(console, f"{study.space.name}: starting; results go to {run.path}")
    hint = in_python if asked.in_python else str
    with exit_on_sigterm(), resume_hint(console, run.path, first_file=run.prereg, say=hint):
        loading.start()
        with ray_cluster(
            study.space.resources,
            workers=asked.workers,
            address=asked.address,
            storage=asked.storage,
        ) as cluster:
            loading.join()
            finished = _run(console, study, run, asked, cluster, metrics=metrics)
    # What draws and tests takes seconds to load, which the first trial should not wait for.
    from stage1.pages.study_page import write_report

    with library_logs_to(run.log):
        report = write_report(run)
        report.show(console)
    if not finished:
        print_plain(console, hint("Not finished: go on with the same command and --resume."))
        return run
    if not study.size.grows:  # at looks they were told then
        _tell_verdicts(asked.callbacks, report)
        asked.callbacks.check()
    from stage1.study.resume import check_any_completed

    check_any_completed(run)
    return run


def on_bars_of_run(study: Study, run: RunFolder) -> Study:
    """The study on the bars that its run was begun on, which nobody need name again."""
    space = read_space(run)
    require_timeframes(run.space, space)
    values: dict[str, Any] = {**space.data.values}
    if study.config.data.test_share is None:
        values["data.test_share"] = space.test_share
    return replace(study, config=with_values(study.config, values))


def _hashes(metrics: Mapping[str, MetricFunction]) -> dict[str, str]:
    """As `source_hashes` has it; a study without metrics of its own loads nothing for them."""
    if not metrics:
        return {}
    from stage1.training.user_metrics import source_hashes

    return source_hashes(metrics)


def _run(
    console: Console,
    study: Study,
    run: RunFolder,
    asked: _Asked,
    cluster: Cluster,
    *,
    metrics: Mapping[str, str],
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
    from stage1.workers import launch

    inputs = load_inputs(study, asked.data_dir)
    data, models = data_description(inputs.study.config.data), inputs.language_models
    if asked.goes_on:
        check_same_study(run, inputs.study, data=data, models=models, metrics=metrics)
        _check_told(run, asked.warm_start)
        inputs = replace(inputs, study=as_begun(run, inputs.study))
        if asked.extend:
            judged = partial(_claims_so_far, run)
            inputs = replace(inputs, study=extended(run, inputs.study, judged))
    else:
        launch.check_metrics(asked.metrics, inputs)
        begin_run(
            run,
            inputs.study,
            data=data,
            models=models,
            claims=REGISTERED,
            training_windows=len(inputs.windows.split.training.ends),
            metrics=metrics,
            earlier=_earlier(console, inputs.study, asked.warm_start),
        )
        _show_cautions(console, study)
    judge = partial(_report_at_look, run, console, asked.callbacks)
    try:
        with library_logs_to(run.log):
            return launch.run_study(
                inputs,
                run,
                cluster=cluster,
                console=console,
                judge=judge,
                time_budget=asked.budget,
                retry_failed=asked.retry_failed,
                metrics=asked.metrics,
                on_trial_end=asked.callbacks.trial_ended,
                check=asked.callbacks.check,
            )
    except Exception:
        if asked.callbacks.error is not None:
            raise asked.callbacks.error from None
        raise


def _earlier(console: Console, study: Study, run: Path | None) -> EarlierSearch | None:
    """What the search is told of an earlier study, and shown."""
    from stage1.study.sampler import read_earlier

    if run is None:
        return None
    earlier = read_earlier(RunFolder(run), study)
    print_plain(console, f"The search is told {earlier.record()}.")
    return earlier


def _check_told(run: RunFolder, warm_start: Path | None) -> None:
    """Refuse to tell a search more than it was told when its study began."""
    told = read_preregistration(run).warm_start
    if warm_start is not None and (told is None or told.run != str(warm_start)):
        raise ConfigError(
            f"--warm-start must be as when the study began ({told.run if told else 'without'}), "
            f"got {warm_start}; leave it out, or begin another study with it"
        )


def _show_cautions(console: Console, study: Study) -> None:
    for caution in study.cautions:
        print_plain(console, f"Warning: {caution}.")


def _report_at_look(
    run: RunFolder, console: Console, callbacks: UserCallbacks, look: int
) -> LookResult:
    """Write the report and show its claims: all of the look's trials are in the tables."""
    from stage1.pages.study_page import show_look, write_report

    report = write_report(run)
    show_look(report, console)
    _tell_verdicts(callbacks, report)
    return LookResult(report.evaluation.decided, report.evaluation.asks_for_control)


def _tell_verdicts(callbacks: UserCallbacks, report: Any) -> None:
    from stage1.claims.loaded_run import verdicts_of

    callbacks.look_taken(verdicts_of(report.evaluation))


def _claims_so_far(run: RunFolder, look: int) -> LookResult:
    """What the claims of a study that has finished were."""
    from stage1.claims.judge import evaluate
    from stage1.claims.scores import read_run

    evaluation = evaluate(read_run(run))
    return LookResult(evaluation.decided, evaluation.asks_for_control)


if __name__ == "__main__":
    run_command(tune)
