"""Run a checked study or comparison on Ray Tune, from its begun folder to its end."""

from __future__ import annotations

import math
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from functools import partial
from types import MappingProxyType
from typing import Any

import optuna
import torch
from filelock import FileLock, Timeout
from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend
from ray import tune
from ray.tune.error import TuneError
from rich.console import Console

from stage1.base.errors import ResultsError, Stage1Error
from stage1.base.files import scratch_folder, sha256_of_file, system_fault
from stage1.base.interrupt import Interrupt
from stage1.base.terminal import print_plain
from stage1.run.columns import FAILED
from stage1.run.folder import RunFolder
from stage1.run.registration import trainable_arms
from stage1.run.tables import read_trials
from stage1.study.comparison import Comparison
from stage1.study.engine import Leaderboard, StudyEngine
from stage1.study.inputs import StudyInputs
from stage1.study.resume import read_started
from stage1.study.sampler import arm_samplers, read_warm_start
from stage1.study.study import Study
from stage1.study.trials import (
    EndedTrial,
    Judge,
    LookResult,
    RunnableStudy,
    TrialSpec,
    check_tables,
    ended_trials,
)
from stage1.training.module import validation_of
from stage1.training.user_metrics import MetricFunction, check_on_baseline
from stage1.workers.cluster import Cluster, ray_cluster, wanted_workers
from stage1.workers.cost_block import record_cost, time_on_cluster
from stage1.workers.progress import Progress
from stage1.workers.ray_internals import memory_kills_as_deaths
from stage1.workers.recorder import Recorder, Row
from stage1.workers.states import BestCheckpoints, TrialStates
from stage1.workers.tensorboard import write_columns
from stage1.workers.trainable import SharedInputs, share_inputs, train_trial
from stage1.workers.tune_bridge import ArmHalving, EngineScheduler, EngineSearcher, Watch


def check_metrics(metrics: Mapping[str, MetricFunction], inputs: StudyInputs[Study]) -> None:
    """Call every metric of a user's on interpolated bars, before the first trial.

    Raises:
        ConfigError: One raises, or gives no finite number.
    """
    if metrics:
        validation = validation_of(inputs.windows, inputs.study.config, torch.device("cpu"))
        check_on_baseline(metrics, validation.line, validation.batch)


def run_study(
    inputs: StudyInputs[Study],
    run: RunFolder,
    *,
    cluster: Cluster,
    console: Console,
    judge: Judge | None = None,
    time_budget: timedelta | None = None,
    retry_failed: bool = False,
    metrics: Mapping[str, MetricFunction] | None = None,
    on_trial_end: Callable[[Row], None] | None = None,
    check: Callable[[], None] = lambda: None,
) -> bool:
    """Run what is left of a study; says whether all of it has ended now.

    Once it has, the machine is free for the cost block.

    Args:
        inputs: The study, checked, and what its trials are made from.
        run: Begun: space.yaml and prereg.yaml are there, perhaps trials.
        cluster: A running Ray, from `ray_cluster`.
        console: For the progress.
        judge: Judges the claims at a look from the run folder, and shows them; None where the
            design does not grow.
        time_budget: After it no trial starts; those that run go on to their end.
        retry_failed: Whether trials that have failed are run again.
        metrics: A user's own, by name.
        on_trial_end: Takes the row of every trial that ends, while Ray waits.
        check: Called between Ray's events and at the end; what it raises ends the study.

    Raises:
        ResultsError: Another process runs this study, or a file of it cannot be read or written.
        KeyboardInterrupt: Ctrl-C or SIGTERM; what has ended is written.
    """
    study = inputs.study
    deadline = time.monotonic() + time_budget.total_seconds() if time_budget else None
    earlier = read_warm_start(run)
    shared = share_inputs(inputs.bars, inputs.language_models)

    def make_engine(recorder: Recorder, *trials: Any) -> StudyEngine:
        def judge_what_is_written(look: int) -> LookResult:
            assert judge is not None, "a design that grows is judged"
            recorder.flush()
            return judge(look)

        arms, storage = study.searched_arms, _journal(run)
        trained = trainable_arms(study.space.arms, study.roles)
        return StudyEngine(
            study,
            recorder,
            *trials,
            samplers=arm_samplers(
                study.space, arms, seed=study.seed, storage=storage, earlier=earlier
            ),
            halving={arm: ArmHalving(study.space) for arm in study.space.arms},
            leaderboard=Leaderboard(study.space, trained, storage=storage),
            judge=judge_what_is_written,
        )

    with _write_faults_in_one_line(run):
        with _alone_in(run):
            finished = _run_trials(
                study,
                run,
                shared,
                cluster,
                console,
                make_engine=make_engine,
                deadline=deadline,
                retry_failed=retry_failed,
                metrics=metrics or {},
                on_trial_end=on_trial_end,
                check=check,
            )
        if finished:
            timed = partial(time_on_cluster, shared=shared, resources=study.space.resources)
            record_cost(study, run, console, time_size=timed)
            # What decodes takes seconds to load, which no trial should wait for.
            from stage1.training.evaluation import score_chosen

            score_chosen(run, inputs.bars, warn=partial(print_plain, console))
    return finished


def run_comparison(
    inputs: StudyInputs[Comparison],
    run: RunFolder,
    *,
    workers: int | None,
    console: Console,
    retry_failed: bool = False,
) -> None:
    """Run what is left of a comparison, on a Ray of its own if anything is.

    Args:
        inputs: The comparison, checked, and what its trainings are made from.
        run: Begun, perhaps with trainings.
        workers: Trainings at once; None = as many as the machine has GPUs, or else room for.
        console: For the progress.
        retry_failed: Whether trainings that have failed are run again.

    Raises:
        ResultsError: Another process runs it, or a file of it cannot be read or written.
        TrialError: Ray does not start.
        KeyboardInterrupt: Ctrl-C or SIGTERM; what has ended is written.
    """
    comparison = inputs.study
    statuses = list(read_trials(run)["status"]) if run.trials.exists() else []
    ended = [status for status in statuses if not (retry_failed and status == FAILED)]
    left = len(comparison.design_specs()) - len(ended)
    if not left:
        return
    resources, devices = comparison.resources, torch.cuda.device_count()
    workers = min(workers or devices or wanted_workers(resources, None), left)
    if devices:  # shared evenly
        resources = resources.model_copy(update={"gpus": 1 / math.ceil(workers / devices)})
        comparison = replace(comparison, resources=resources)
    with ray_cluster(resources, workers=workers, address=None, storage=None) as cluster:
        shared = share_inputs(inputs.bars, inputs.language_models)
        with _write_faults_in_one_line(run), _alone_in(run):
            _run_trials(
                comparison,
                run,
                shared,
                cluster,
                console,
                make_engine=partial(StudyEngine, comparison, samplers={}, halving={}),
                retry_failed=retry_failed,
                warm_up=True,  # its page compares the seconds of steps, which no cost block times
            )


MakeEngine = Callable[[Recorder, list[EndedTrial], list[TrialSpec]], StudyEngine]
"""Makes a study's engine from its tables, and the trials that have ended and begun."""


@contextmanager
def _write_faults_in_one_line(run: RunFolder) -> Iterator[None]:
    """Turn what a full disk, a folder without rights or a lost bucket raises into one line."""
    try:
        yield
    except (OSError, TuneError) as error:
        # Tune wraps what comes out of its callbacks.
        cause = (error.__context__ or error) if isinstance(error, TuneError) else error
        if isinstance(cause, Stage1Error):
            raise cause from None
        fault = system_fault(cause)
        if fault is None or isinstance(fault, ConnectionError):
            raise
        reason = os.strerror(fault.errno) if fault.errno else str(fault)
        places = f"{run.path} and {tempfile.gettempdir()}"  # one of them, where none is named
        raise ResultsError(
            f"{fault.filename or places}: must be writable, got {reason}; make room or mend it, "
            "and go on with --resume: nothing that was written is lost"
        ) from None


def _run_trials(
    study: RunnableStudy,
    run: RunFolder,
    shared: SharedInputs,
    cluster: Cluster,
    console: Console,
    *,
    make_engine: MakeEngine,
    deadline: float | None = None,
    warm_up: bool = False,
    retry_failed: bool = False,
    metrics: Mapping[str, MetricFunction] = MappingProxyType({}),
    on_trial_end: Callable[[Row], None] | None = None,
    check: Callable[[], None] = lambda: None,
) -> bool:
    """Run what is left of a study; says whether all of it has ended now.

    No trial starts once `time.monotonic()` is past the deadline. `train_trial` says what the
    warm-up is. Trials that have failed are left to be run where they are to be tried again.
    """
    states = trial_states(run, cluster.storage)
    check_tables(run, study, {spec.trial_id for spec in read_started(run.begun)})
    with Interrupt() as interrupt, Recorder(run, on_trial_end) as recorder:
        ended = ended_trials(run, study)
        if retry_failed and (failed := [one for one in ended if one.status == FAILED]):
            recorder.begin_again([trial.spec for trial in failed])
            ended = [trial for trial in ended if trial.status != FAILED]
        started = read_started(run.begun, study)
        best = BestCheckpoints(run, study.space, states, ended)
        with_state = set(states.trial_ids())
        for trial in ended:  # as far as the study was interrupted before it kept or removed them
            if trial.spec.trial_id in with_state:
                best.offer(trial)
        write_columns(run.tensorboard, study, metrics)
        engine = make_engine(recorder, ended, started)
        try:
            with Progress(engine, console, workers=cluster.workers):
                _fit(
                    engine,
                    _trainable(study, shared, states, warm_up=warm_up, metrics=metrics),
                    workers=cluster.workers,
                    deadline=deadline,
                    on_return=lambda trial: recorder.submit(partial(best.offer, trial)),
                    watch=Watch(interrupt.check, recorder.check, check),
                )
                check()
        finally:
            with suppress(OSError):  # the journal is rebuilt from the tables
                engine.close()
    if engine.has_finished:
        states.clear()
    return engine.has_finished


@contextmanager
def _alone_in(run: RunFolder) -> Iterator[None]:
    """Keep every other process from running the same study; ends with the process, however."""
    try:
        with FileLock(run.lock, timeout=0):
            yield
    except Timeout:
        raise ResultsError(
            f"{run.path}: must be run by one process at a time, and one is running it; wait for "
            "its end, or stop it"
        ) from None


def trial_states(run: RunFolder, storage: str | None) -> TrialStates:
    """Where the states of a study's trials lie: in its folder, or in a place of its own elsewhere.

    The study has begun; the storage, if any, is a folder or URI that all nodes reach.
    """
    if storage is None:
        return TrialStates(str(run.running.absolute()))
    folder = f"{run.path.name}-{sha256_of_file(run.prereg)[:12]}"
    return TrialStates(f"{storage.rstrip('/')}/{folder}")


def _journal(run: RunFolder) -> BaseStorage:
    """An empty journal: it is rebuilt from the tables, so that no trial is left running in it."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    locks = run.path.glob(f"{run.journal.name}.lock*")  # of a process that was killed
    for file in (run.journal, *locks):
        file.unlink(missing_ok=True)
    return JournalStorage(JournalFileBackend(str(run.journal)))


def _fit(
    engine: StudyEngine,
    trainable: Any,
    *,
    workers: int,
    deadline: float | None,
    on_return: Any,
    watch: Watch,
) -> None:
    """Let Ray Tune run the engine's trials until there is none left.

    Tune's own files go to a scratch folder: the run folder holds all that a study needs.
    """
    with scratch_folder() as scratch, memory_kills_as_deaths():
        tune.Tuner(
            trainable,
            tune_config=tune.TuneConfig(
                search_alg=EngineSearcher(engine, deadline),
                scheduler=EngineScheduler(engine, on_return),
                num_samples=-1,  # the engine says when there is no further trial
                max_concurrent_trials=workers,
                reuse_actors=True,  # a worker keeps its imports, bars and weights between trials
            ),
            run_config=tune.RunConfig(
                name=engine.study.space.name,
                storage_path=str(scratch),
                verbose=0,
                progress_reporter=tune.CLIReporter(),  # a notebook's would clear what is shown
                callbacks=[watch],
            ),
        ).fit()


def _trainable(
    study: RunnableStudy, shared: SharedInputs, states: TrialStates, *, warm_up: bool, metrics: Any
) -> Any:
    cpus, gpus = study.space.resources.cpus, study.space.resources.gpus
    function = tune.with_parameters(
        train_trial,
        shared=shared,
        states=states,
        gpus=gpus,
        warm_up=warm_up,
        metrics=dict(metrics),
    )
    return tune.with_resources(function, {"cpu": cpus, "gpu": gpus})
