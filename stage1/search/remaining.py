"""How long the rest of a study takes, learned from its own trials as they end."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from heapq import nlargest
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from stage1.results import COMPLETED, CONFIRM, DESIGN, SEARCH
from stage1.search.space import ChoiceParameter
from stage1.search.stages import CONFIRMED_PER_ARM, design_specs
from stage1.search.study import Study
from stage1.search.trials import EndedTrial, RunningTrial, TrialSpec

Array = NDArray[np.float64]

PRIOR_TRIALS = 30
"""So many ended search trials weigh as much as what is expected of the search beforehand: the first
to end are those that were stopped, and later ones go further as the sampler learns."""
RIDGE = 1.0
"""Penalty on an effect, in trials: what was seen once or twice is not believed whole."""


class RemainingTime:
    """Predicts the trials to come from those that have ended.

    Trials of a study may differ tenfold in what they take, and the first ones all have the same
    configuration. So the logarithm of an epoch's seconds is fitted by ridge regression on the arm
    and the searched choices, and a configuration that was not seen yet is put together from those
    that were.

    The confirmation is expected to take what lies between the best trials so far and the slowest
    kind. Of the search, one half is taken to be like the design, as far as halving would let it go,
    and one half like the confirmation, since its sampler goes there.

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
        self._best: dict[str, list[EndedTrial]] = {arm: [] for arm in study.space.arms}
        self._halved: list[float] = []
        self._searched, self._search_seconds = 0, 0.0

    def add(self, trial: EndedTrial) -> None:
        """Learn from a trial that has ended; one without a completed epoch tells nothing."""
        spec, epochs = trial.spec, max(trial.curve, default=0)
        if spec.trial_id in self._place:
            self._left[self._place[spec.trial_id]] = False
        if epochs == 0 or trial.seconds <= 0:
            return
        features, seconds = np.array(self._features(spec)), trial.seconds / epochs
        self._gram += np.outer(features, features)
        self._moments += features * math.log(seconds)
        if spec.stage == DESIGN:
            self._halved.append((trial.would_stop_epoch or epochs) / epochs)
        if spec.stage == SEARCH:
            self._searched += 1
            self._search_seconds += trial.seconds
        if spec.stage != CONFIRM and trial.status == COMPLETED:
            sign = 1 if self._space.objective.mode == "max" else -1
            known = [*self._best[spec.arm], trial]
            self._best[spec.arm] = nlargest(
                CONFIRMED_PER_ARM, known, key=lambda one: sign * one.value
            )

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
        design = self._design_seconds()
        each = self._expected(design)
        work = {stage: left[stage] * each[stage] for stage in each}
        work[DESIGN] = float(design[self._left].sum())
        for trial in running:
            stage = trial.spec.stage
            work[stage] -= min(now - trial.begun, each[stage])
        return sum(max(seconds, 0.0) for seconds in work.values()) / self._workers

    def _design_seconds(self) -> Array:
        """Expected of every trial of the design."""
        effects = np.linalg.solve(self._gram, self._moments)
        seconds: Array = self._space.horizon_epochs * np.exp(self._design @ effects)
        return seconds

    def _expected(self, design: Array) -> dict[str, float]:
        """Seconds of a trial, by stage."""
        mean, slowest = float(design.mean()), float(design.max())
        best = [trial.seconds for trials in self._best.values() for trial in trials]
        confirm = (fmean(best or [mean]) + slowest) / 2
        halved = fmean(self._halved) if self._halved else 1.0
        expected = PRIOR_TRIALS * (halved * mean + confirm) / 2
        search = (expected + self._search_seconds) / (PRIOR_TRIALS + self._searched)
        return {DESIGN: mean, SEARCH: search, CONFIRM: confirm}

    def _features(self, spec: TrialSpec) -> list[float]:
        """1, then what may change the time of a step: the arm and the choices."""
        features = [1.0, *(float(spec.arm == arm) for arm in self._space.arms)]
        for key, parameter in self._space.space.items():
            if isinstance(parameter, ChoiceParameter):
                features += [float(spec.values.get(key) == option) for option in parameter.options]
        return features
