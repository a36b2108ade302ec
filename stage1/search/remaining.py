"""How long the rest of a study takes, learned from its own trials as they end."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from statistics import fmean

import numpy as np

from stage1.results import CONFIRM, DESIGN, SEARCH
from stage1.search.space import ChoiceParameter
from stage1.search.stages import design_specs
from stage1.search.study import Study
from stage1.search.trials import EndedTrial, RunningTrial, TrialSpec

RIDGE = 1.0
"""Penalty on an effect, in trials: what was seen once or twice is not believed whole."""


class RemainingTime:
    """Predicts the trials to come from those that have ended.

    Trials of a study may differ tenfold in what they take, and the first ones all have the same
    configuration. So the logarithm of an epoch's seconds is fitted by ridge regression on the arm
    and the searched choices, and a configuration that was not seen yet is put together from those
    that were.

    The best tend to be the slow ones: the confirmation is expected to take what the slowest kind of
    the design does. The search begins like the design and goes there: each of its trials lies
    halfway, and halfway too between what halving would have let the design do and the horizon.

    Args:
        study: What is run.
        workers: Trials that run at once.
    """

    def __init__(self, study: Study, *, workers: int) -> None:
        self._space, self._workers = study.space, workers
        specs = design_specs(study)
        self._design = np.array([self._features(spec) for spec in specs])
        self._place = {spec.trial_id: place for place, spec in enumerate(specs)}
        self._left = np.ones(len(specs), dtype=bool)
        size = self._design.shape[1]
        self._gram, self._moments = np.diag([0.0] + [RIDGE] * (size - 1)), np.zeros(size)
        self._halved: list[float] = []

    def add(self, trial: EndedTrial) -> None:
        """Learn from a trial that has ended; one without a completed epoch tells nothing."""
        spec, epochs = trial.spec, max(trial.curve, default=0)
        if spec.trial_id in self._place:
            self._left[self._place[spec.trial_id]] = False
        if epochs == 0 or trial.seconds <= 0:
            return
        features = np.array(self._features(spec))
        self._gram += np.outer(features, features)
        self._moments += features * math.log(trial.seconds / epochs)
        if spec.stage == DESIGN:
            self._halved.append((trial.would_stop_epoch or epochs) / epochs)

    def seconds(
        self, left: Mapping[str, int], running: Iterable[RunningTrial], *, now: float
    ) -> float | None:
        """Expected time to the end of the last trial; None before there is anything to learn from.

        Args:
            left: Trials that have not ended, those that run among them, by stage.
            running: Those.
            now: By the clock of `RunningTrial.begun`.
        """
        if self._gram[0, 0] == 0:
            return None
        effects = np.linalg.solve(self._gram, self._moments)
        design = self._space.horizon_epochs * np.exp(self._design @ effects)
        mean, slowest = float(design.mean()), float(design.max())
        search = (mean + slowest) / 2 * (1 + fmean(self._halved or [1.0])) / 2
        work = float(design[self._left].sum()) + left[SEARCH] * search + left[CONFIRM] * slowest
        begun = sum(now - trial.begun for trial in running)
        return max(work - begun, 0.0) / self._workers

    def _features(self, spec: TrialSpec) -> list[float]:
        """1, then what may change the time of a step: the arm and the choices."""
        features = [1.0, *(float(spec.arm == arm) for arm in self._space.arms)]
        for key, parameter in self._space.space.items():
            if isinstance(parameter, ChoiceParameter):
                features += [float(spec.values.get(key) == option) for option in parameter.options]
        return features
