"""How long the rest of a study takes, learned from its own trials as they end."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from heapq import nlargest
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from stage1.results import COMPLETED, CONFIRM, DESIGN, SEARCH
from stage1.search.space import ChoiceParameter, IntParameter
from stage1.search.stages import CONFIRMED_PER_ARM, design_specs
from stage1.search.study import Study
from stage1.search.trials import EndedTrial, RunningTrial, TrialSpec

Array = NDArray[np.float64]

SEARCH_SHARE = 0.5
"""Of a full trial: what a search trial is expected to take before any has ended."""
PRIOR_TRIALS = 4
"""So many ended search trials weigh as much as what was expected of the search before."""
RIDGE = 1.0
"""Penalty on an effect, in trials: what was seen once or twice is not believed whole."""


class RemainingTime:
    """Predicts the trials to come from those that have ended.

    Trials of a study may differ tenfold in what they take, and the first ones all have the same
    configuration. So the logarithm of an epoch's seconds is fitted by ridge regression on the arm
    and the searched values, and a configuration that was not seen yet is put together from those
    that were. The search is expected halfway between the design and the best trials so far, where
    its sampler goes, and the confirmation at the best ones.

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
        self._searched, self._full_seconds, self._shares = 0, 0.0, 0.0

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
        if spec.stage == SEARCH:
            self._searched += 1
            self._full_seconds += seconds * self._space.horizon_epochs
            self._shares += epochs / self._space.horizon_epochs
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
        best = [trial.seconds for trials in self._best.values() for trial in trials]
        confirm = fmean(best) if best else float(design.mean())
        weight = PRIOR_TRIALS + self._searched
        full = PRIOR_TRIALS * (float(design.mean()) + confirm) / 2 + self._full_seconds
        share = PRIOR_TRIALS * SEARCH_SHARE + self._shares
        search = full / weight * share / weight
        work = {
            DESIGN: float(design[self._left].sum()),
            SEARCH: left[SEARCH] * search,
            CONFIRM: left[CONFIRM] * confirm,
        }
        each = {DESIGN: float(design.mean()), SEARCH: search, CONFIRM: confirm}
        for trial in running:
            stage = trial.spec.stage
            work[stage] -= min(now - trial.begun, each[stage])
        return sum(max(seconds, 0.0) for seconds in work.values()) / self._workers

    def _design_seconds(self) -> Array:
        """Expected of every trial of the design."""
        effects = np.linalg.solve(self._gram, self._moments)
        seconds: Array = self._space.horizon_epochs * np.exp(self._design @ effects)
        return seconds

    def _features(self, spec: TrialSpec) -> list[float]:
        """1, then what may change the time of a step: the arm, choices, whole numbers."""
        features = [1.0, *(float(spec.arm == arm) for arm in self._space.arms)]
        for key, parameter in self._space.space.items():
            value = spec.values.get(key)
            match parameter:
                case ChoiceParameter(options=options):
                    features += [float(value == option) for option in options]
                case IntParameter(low=low, high=high):
                    place = 0.0 if value is None else (float(value) - low) / max(high - low, 1)
                    features.append(place)
        return features
