"""Run a checked study on Ray Tune, from an empty or a begun run folder to its end."""

from __future__ import annotations

import math
import os
import socket
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import Any, NamedTuple

import optuna
import ray
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from ray import tune
from rich.console import Console

from stage1.data.store import Bars
from stage1.errors import TrialError
from stage1.language_models.resolver import LanguageModel
from stage1.results import RunFolder
from stage1.run_writer import RunWriter
from stage1.search.cost import record_cost, time_on_cluster
from stage1.search.engine import StudyEngine
from stage1.search.progress import Progress
from stage1.search.resume import ended_trials
from stage1.search.space import Resources
from stage1.search.study import Study
from stage1.search.tensorboard import write_trial
from stage1.search.trainable import SharedInputs, share_inputs, train_trial
from stage1.search.tune_bridge import EngineScheduler, EngineSearcher
from stage1.search.workers import wanted_workers

_RAY_SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C is ours: it ends the study at once, saved
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # the run folder has its own tables
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",  # the run folder is the state, Tune's snapshot is not read
    "RAY_worker_niceness": "0",  # trials are what the machine is for; Ray's own default is 15
    # Each trial runs in a thread of its own; glibc gives every new thread an arena and keeps it.
    "MALLOC_ARENA_MAX": "1",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


class Cluster(NamedTuple):
    """A running Ray."""

    workers: int
    """Trials at once."""
    storage: str | None
    """Folder or URI that all nodes reach; None = a temporary folder of this machine."""


class _Recorder:
    """Ended trials go to the tables and to TensorBoard."""

    def __init__(self, run: RunFolder) -> None:
        self._run, self._tables = run, RunWriter(run)

    def add_trial(
        self,
        row: dict[str, Any],
        curve: list[dict[str, Any]],
        blocks: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        self._tables.add_trial(row, curve, blocks)
        write_trial(self._run.tensorboard, row, curve)


def run_study(
    study: Study,
    run: RunFolder,
    bars: dict[str, Bars],
    language_models: list[LanguageModel],
    *,
    cluster: Cluster,
    console: Console,
    time_budget: timedelta | None = None,
) -> bool:
    """Run what is left of a study; says whether all of it has ended now.

    Once it has, the machine is free for the cost block.

    Args:
        study: Checked.
        run: Begun: space.yaml and prereg.yaml are there, perhaps trials.
        bars: Per timeframe.
        language_models: All that trials may ask for.
        cluster: A running Ray, from `ray_cluster`.
        console: For the progress.
        time_budget: After it no trial starts; those that run go on to their end.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    deadline = time.monotonic() + time_budget.total_seconds() if time_budget else None
    run.journal.unlink(missing_ok=True)  # rebuilt from the tables: no trial is left running in it
    storage = JournalStorage(JournalFileBackend(str(run.journal)))
    engine = StudyEngine(study, storage, _Recorder(run), ended_trials(run, study))
    shared = share_inputs(bars, language_models)
    with (
        Progress(engine, console, workers=cluster.workers),
        tempfile.TemporaryDirectory() as scratch,
    ):
        tune.Tuner(
            _trainable(study, shared),
            tune_config=_tune_config(engine, deadline, cluster.workers),
            run_config=tune.RunConfig(
                name=study.space.name, storage_path=cluster.storage or scratch, verbose=0
            ),
        ).fit()
    finished = len(engine.ended) >= engine.expected_trials()
    if finished:
        timed = partial(time_on_cluster, shared=shared, resources=study.space.resources)
        record_cost(study, run, console, time_size=timed)
    return finished


def _tune_config(engine: StudyEngine, deadline: float | None, workers: int) -> tune.TuneConfig:
    return tune.TuneConfig(
        search_alg=EngineSearcher(engine, deadline),
        scheduler=EngineScheduler(engine),
        num_samples=max(engine.expected_trials(), 1),
        max_concurrent_trials=workers,
        reuse_actors=True,  # a worker keeps its imports, bars and weights between trials
    )


@contextmanager
def ray_cluster(
    resources: Resources, *, workers: int | None, address: str | None, storage: str | None
) -> Iterator[Cluster]:
    """Start Ray on this machine, or connect to a cluster, for as long as the block lasts.

    Args:
        resources: Of one trial.
        workers: Trials at once; None = as many as fit.
        address: Of an existing cluster; None = this machine alone, on its loopback.
        storage: Folder or URI that all nodes reach; None = a temporary one.

    Raises:
        TrialError: No cluster at the address, or not even one trial fits.
    """
    os.environ.update(_RAY_SETTINGS)
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if address is None:
        wanted = wanted_workers(resources, workers)
        options |= {
            "address": "local",
            "num_cpus": math.ceil(wanted * resources.cpus),
            "include_dashboard": False,
        }
    else:
        _check_reachable(address)
        options |= {"address": address}
    try:
        ray.init(**options)
    except (ConnectionError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        place = (
            f"--address must be a running Ray cluster, got {address}"
            if address
            else ("Ray must start on this machine")
        )
        raise TrialError(f"{place}; {reason}") from None
    try:
        yield Cluster(min(workers or sys.maxsize, _fitting(resources)), storage)
    finally:
        ray.shutdown()


def _check_reachable(address: str) -> None:
    """Ray itself goes on trying for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not (host and port.isdigit()):
        return
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except (OSError, OverflowError) as error:
        raise TrialError(
            f"--address must be a running Ray cluster, got {address}; {error}"
        ) from None


def _fitting(resources: Resources) -> int:
    have = ray.cluster_resources()
    cpus, gpus = have.get("CPU", 0.0), have.get("GPU", 0.0)
    fitting = cpus / resources.cpus
    if resources.gpus:
        fitting = min(fitting, gpus / resources.gpus)
    if fitting < 1:
        raise TrialError(
            f"resources must fit: a trial needs {resources.cpus:g} CPUs and {resources.gpus:g} "
            f"GPUs, got {cpus:g} and {gpus:g} here; lower resources in the search space"
        )
    return int(fitting)


def _trainable(study: Study, shared: SharedInputs) -> Any:
    resources = study.space.resources
    return tune.with_resources(
        tune.with_parameters(train_trial, shared=shared, gpu=resources.gpus > 0),
        {"cpu": resources.cpus, "gpu": resources.gpus},
    )
