"""Trainings beside each other, as Ray tasks that share bars and weights in the object store."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from stage1.base.text import reason_of
from stage1.comparison.experiment import Experiment
from stage1.comparison.inputs import Inputs
from stage1.comparison.outcome import OnEnd, Outcome, train_once
from stage1.config import Config
from stage1.run.columns import FAILED
from stage1.study.space import Resources
from stage1.study.trials import RunningTrial, TrialSpec
from stage1.workers.cluster import ray_cluster
from stage1.workers.trainable import SharedInputs, share_inputs

_PATIENCE = 0.5
"""Seconds between two looks at whether to go on."""


def train_side_by_side(
    experiment: Experiment,
    trainings: Sequence[TrialSpec],
    inputs: Inputs,
    *,
    workers: int,
    resources: Resources,
    check: Callable[[], None],
    on_end: OnEnd,
) -> None:
    """Train beside each other, begun in order; a process that dies is a failed training.

    Args:
        experiment: Whose trainings they are.
        trainings: At least one.
        inputs: Of the experiment.
        workers: Trainings at once.
        resources: Of one training.
        check: Called now and then; may raise KeyboardInterrupt.
        on_end: Called in this process after each one.

    Raises:
        TrialError: Ray does not start.
    """
    with ray_cluster(resources, workers=workers, address=None, storage=None) as cluster:
        shared = share_inputs(inputs.bars, inputs.language_models.values())
        task = ray.remote(num_cpus=resources.cpus, num_gpus=resources.gpus, max_retries=0)(_train)
        waiting, running = iter(trainings), dict[Any, RunningTrial]()
        while True:
            check()
            for training in islice(waiting, cluster.workers - len(running)):
                config = experiment.config_of(training).model_dump(mode="json")
                reference = task.remote(config, shared, resources.gpus > 0)
                running[reference] = RunningTrial(training, datetime.now(UTC))
            if not running:
                return
            ended, _ = ray.wait(list(running), timeout=_PATIENCE)
            for reference in ended:
                on_end(running.pop(reference), _outcome(reference))


def _train(config: dict[str, Any], shared: SharedInputs, gpu: bool) -> Outcome:
    checked = Config.model_validate(config)
    name = checked.language_model_name
    return train_once(
        checked,
        shared.windows(checked),
        None if name is None else shared.language_model(name),
        accelerator="gpu" if gpu else "cpu",
    )


def _outcome(reference: Any) -> Outcome:
    try:
        outcome: Outcome = ray.get(reference)
    except RayError as error:
        cause = error.cause if isinstance(error, RayTaskError) else error
        return Outcome([], FAILED, reason_of(cause))
    return outcome
