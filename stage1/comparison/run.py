"""Run what is left of an experiment, and write every end at once."""

from __future__ import annotations

import math

import torch
from rich.console import Console

from stage1.base.interrupt import Interrupt
from stage1.comparison.experiment import Experiment
from stage1.comparison.in_turn import train_in_turn
from stage1.comparison.inputs import Inputs
from stage1.comparison.outcome import Outcome
from stage1.comparison.progress import ExperimentProgress
from stage1.run.folder import RunFolder
from stage1.run.tables import RunWriter
from stage1.study.space import Resources
from stage1.study.trials import RunningTrial, curve_rows, trial_row
from stage1.workers.cluster import wanted_workers
from stage1.workers.tensorboard import write_trial


def run_experiment(
    experiment: Experiment,
    run: RunFolder,
    inputs: Inputs,
    *,
    workers: int | None,
    console: Console,
) -> None:
    """Train what has not ended yet, and write every training's rows as soon as it ends.

    Args:
        experiment: Checked.
        run: Begun, perhaps with trainings.
        inputs: Of the experiment.
        workers: Trainings at once; None = as many as the machine has GPUs, or else room for.
        console: For the progress.

    Raises:
        TrialError: Ray does not start.
    """
    tables = RunWriter(run)
    planned, config = experiment.trainings(), experiment.first.training
    left = [training for training in planned if training.trial_id not in tables.trial_ids]
    if not left:
        return
    cpus = Resources(cpus=config.threads)
    at_once = min(workers or torch.cuda.device_count() or wanted_workers(cpus, None), len(left))
    progress = ExperimentProgress(
        console, left, total=len(planned), epochs=config.epochs, workers=at_once
    )

    def on_end(trial: RunningTrial, outcome: Outcome) -> None:
        trial.curve.extend(outcome.curve)
        row, curve = trial_row(trial, outcome.status, outcome.error), curve_rows(trial)
        tables.add_trial(row, curve)
        write_trial(run.tensorboard, row, curve)
        progress.on_end(row)

    with Interrupt() as interrupt, progress:
        check = interrupt.check
        if at_once == 1:
            on_epoch = progress.on_epoch
            train_in_turn(experiment, left, inputs, check=check, on_epoch=on_epoch, on_end=on_end)
            return
        # Ray takes seconds to import and start, which trainings in turn need not wait for.
        from stage1.comparison.side_by_side import train_side_by_side

        train_side_by_side(
            experiment,
            left,
            inputs,
            workers=at_once,
            resources=cpus.model_copy(update={"gpus": gpu_share(at_once)}),
            check=check,
            on_end=on_end,
        )


def gpu_share(at_once: int) -> float:
    """What a training has of a GPU, in [0, 1]: as many share each one; 0 where there is none."""
    devices = torch.cuda.device_count()
    return 1 / math.ceil(at_once / devices) if devices else 0.0
