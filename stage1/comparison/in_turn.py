"""Trainings one after the other, in this process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial

from stage1.comparison.experiment import Experiment
from stage1.comparison.inputs import Inputs
from stage1.comparison.outcome import OnEnd, train_once
from stage1.config import with_values
from stage1.study.trials import RunningTrial, TrialSpec
from stage1.training.timing import STEPS


def train_in_turn(
    experiment: Experiment,
    trainings: Sequence[TrialSpec],
    inputs: Inputs,
    *,
    check: Callable[[], None],
    on_epoch: Callable[[], None],
    on_end: OnEnd,
) -> None:
    """Train on the GPU if there is one, else on the CPU.

    Before the first one a few steps are taken whose result nobody sees: the first steps of a
    process take longer, and would count as the first configuration's.

    Args:
        experiment: Whose trainings they are.
        trainings: In order.
        inputs: Of the experiment.
        check: Called between batches and trainings; may raise KeyboardInterrupt.
        on_epoch: Called after every completed epoch.
        on_end: Called after each training.
    """
    train = partial(train_once, accelerator="auto", check=check)
    short = {"training.epochs": 1, "training.steps_per_epoch": STEPS}
    warm_up = with_values(experiment.first, short)
    train(warm_up, inputs.windows, inputs.language_model(warm_up))
    for training in trainings:
        check()
        trial = RunningTrial(training, datetime.now(UTC))
        config = experiment.config_of(training)
        model = inputs.language_model(config)
        on_end(trial, train(config, inputs.windows, model, on_epoch=on_epoch))
