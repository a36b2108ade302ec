"""Run a checked study on Ray Tune, from an empty or a begun run folder to its end."""

from __future__ import annotations

import math
import os
import tempfile
import time
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import optuna
import ray
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from ray import tune
from rich.console import Console

from stage1.data.store import Bars
from stage1.errors import TrialError
from stage1.model.language_models import LanguageModel
from stage1.results import RunFolder
from stage1.run_writer import RunWriter
from stage1.search.engine import StudyEngine
from stage1.search.progress import Progress
from stage1.search.resume import ended_trials
from stage1.search.study import Study
from stage1.search.tensorboard import write_trial
from stage1.search.trainable import SharedInputs, train_trial
from stage1.search.tune_bridge import EngineScheduler, EngineSearcher

_RAY_SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C is ours: it ends the study at once, saved
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # the run folder has its own tables
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",  # the run folder is the state, Tune's snapshot is not read
    "RAY_worker_niceness": "0",  # trials are what the machine is for; Ray's own default is 15
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


@dataclass(frozen=True)
class Machines:
    """Where trials run."""

    workers: int | None = None
    """Trials at once; None = as many as the resources allow."""
    address: str | None = None
    """An existing Ray cluster; None = this machine alone."""
    storage: str | None = None
    """Folder or URI that all nodes reach; None = a temporary one."""


class _Recorder:
    """Ended trials go to the tables and to TensorBoard."""

    def __init__(self, run: RunFolder) -> None:
        self._run, self._tables = run, RunWriter(run)

    def add_trial(self, row: dict[str, Any], curve: list[dict[str, Any]]) -> None:
        self._tables.add_trial(row, curve)
        write_trial(self._run.tensorboard, row, curve)


def run_study(
    study: Study,
    run: RunFolder,
    bars: dict[str, Bars],
    language_models: list[LanguageModel],
    *,
    machines: Machines,
    console: Console,
    time_budget: timedelta | None = None,
) -> None:
    """Run what is left of a study.

    Args:
        study: Checked.
        run: Begun: space.yaml and prereg.yaml are there, perhaps trials.
        bars: Per timeframe.
        language_models: All that trials may ask for.
        machines: Where.
        console: For the progress.
        time_budget: After it no trial starts; those that run go on to their end.

    Raises:
        TrialError: The resources do not suffice for one trial.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    deadline = time.monotonic() + time_budget.total_seconds() if time_budget else None
    run.journal.unlink(missing_ok=True)  # rebuilt from the tables: no trial is left running in it
    storage = JournalStorage(JournalFileBackend(str(run.journal)))
    tables = _Recorder(run)
    engine = StudyEngine(study, storage, tables, ended_trials(run, study))
    try:
        workers = start_ray(study, machines)
        with Progress(engine, console, workers=workers), tempfile.TemporaryDirectory() as scratch:
            trainable = _trainable(study, bars, language_models)
            tuner = tune.Tuner(
                trainable,
                tune_config=_tune_config(engine, deadline, workers),
                run_config=tune.RunConfig(
                    name=study.space.name,
                    storage_path=machines.storage or scratch,
                    verbose=0,
                ),
            )
            tuner.fit()
    finally:
        ray.shutdown()


def _tune_config(engine: StudyEngine, deadline: float | None, workers: int) -> tune.TuneConfig:
    return tune.TuneConfig(
        search_alg=EngineSearcher(engine, deadline),
        scheduler=EngineScheduler(engine),
        num_samples=max(engine.expected_trials(), 1),
        max_concurrent_trials=workers,
        reuse_actors=True,  # a worker keeps its imports, bars and weights between trials
    )


def start_ray(study: Study, machines: Machines) -> int:
    """Start Ray on this machine, or connect to a cluster; returns how many trials run at once.

    Raises:
        TrialError: Not even one trial fits.
    """
    os.environ.update(_RAY_SETTINGS)
    cpus, gpus = study.space.resources.cpus, study.space.resources.gpus
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if machines.address:
        ray.init(address=machines.address, **options)
    else:
        wanted = machines.workers or max(int((os.cpu_count() or 1) / cpus), 1)
        ray.init(
            address="local", num_cpus=math.ceil(wanted * cpus), include_dashboard=False, **options
        )
    have = ray.cluster_resources()
    fitting = have.get("CPU", 0) / cpus
    if gpus:
        fitting = min(fitting, have.get("GPU", 0) / gpus)
    if fitting < 1:
        raise TrialError(
            f"resources must fit on the machine: a trial needs {cpus:g} CPUs and {gpus:g} GPUs, "
            f"got {have.get('CPU', 0):g} and {have.get('GPU', 0):g}; lower resources in the space"
        )
    return min(machines.workers or int(fitting), int(fitting))


def _trainable(
    study: Study, bars: dict[str, Bars], language_models: list[LanguageModel]
) -> Any:
    shared = SharedInputs(
        bars=ray.put(bars),
        language_models={model.name: ray.put(model) for model in language_models},
    )
    resources = study.space.resources
    return tune.with_resources(
        tune.with_parameters(train_trial, shared=shared, gpu=resources.gpus > 0),
        {"cpu": resources.cpus, "gpu": resources.gpus},
    )
