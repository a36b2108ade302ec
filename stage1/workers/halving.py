"""Asynchronous successive halving per arm: Ray's scheduler decides, this keeps what it forgets."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

from ray.tune.schedulers import AsyncHyperBandScheduler, TrialScheduler

from stage1.study.space import Space


class ArmHalving:
    """The rungs of one arm.

    Trials of the design pass through the rungs as well, but what is decided about them is only
    noted; so the first trial of the search already meets full rungs.
    """

    def __init__(self, space: Space) -> None:
        asha = space.search.scheduler.asha
        self._scheduler = AsyncHyperBandScheduler(
            time_attr="epoch",
            metric=space.objective.metric,
            mode=space.objective.mode,
            max_t=space.horizon_epochs,
            grace_period=asha.grace_epochs,
            reduction_factor=asha.reduction_factor,
            stop_last_trials=False,  # who reaches the last rung goes on to the horizon
        )
        self._metric = space.objective.metric
        self._horizon = space.horizon_epochs
        self._known: set[str] = set()

    def stops(self, trial_id: str, *, epoch: int, value: float) -> bool:
        """Whether a trial with this value at this epoch is to be stopped.

        A value that is not finite always stops; Ray's own rule lets NaN pass. The first trial at a
        rung always passes, and at the horizon there is nothing left to stop.

        Source:
            Li et al. 2020, "A System for Massively Parallel Hyperparameter Tuning", the stopping
            variant as Ray Tune implements it.
        """
        if not math.isfinite(value):
            return True
        if epoch >= self._horizon:
            return False
        trial: Any = SimpleNamespace(trial_id=trial_id)
        controller: Any = None  # Ray's rule reads the trial's id and the result, nothing else
        if trial_id not in self._known:
            self._known.add(trial_id)
            self._scheduler.on_trial_add(controller, trial)
        result = {"epoch": epoch, self._metric: value}
        return bool(
            self._scheduler.on_trial_result(controller, trial, result) == TrialScheduler.STOP
        )
