"""What a study runs, stage by stage: the design, the search, the best search points once more."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import product

from stage1.run.columns import COMPLETED, CONFIRM, DESIGN, DIVERGED, FAILED, SEARCH, STOPPED
from stage1.study.sampler import ArmSampler
from stage1.study.trials import EndedTrial, RunnableStudy, RunningTrial, TrialSpec

CONFIRMED_PER_ARM = 2
"""Best search points of each arm that are trained again on the design's seeds."""


def expected_by_stage(
    study: RunnableStudy, ends: Mapping[tuple[str, str, str], int]
) -> dict[str, int]:
    """How many trials each stage has at most, by what is known so far.

    `ends` says how many trials have ended, by stage, arm and status.
    """
    space, arms = study.space, list(study.space.arms)
    confirmed = 0
    for index, arm in enumerate(arms):
        points = len(range(index, space.search.trials, len(arms)))
        lost = sum(ends.get((SEARCH, arm, status), 0) for status in (STOPPED, DIVERGED, FAILED))
        confirmed += min(CONFIRMED_PER_ARM, points - lost)
    return {
        DESIGN: space.design.configurations * space.design.seeds * len(arms),
        SEARCH: space.search.trials,
        CONFIRM: confirmed * space.design.seeds,
    }


class Stages:
    """Hands out the trials of a study in order, except those that run or have ended.

    Args:
        study: What is run.
        samplers: By arm; they propose the search points. None where nothing is searched.
        running: By trial_id, as the engine changes it.
        ended: Likewise.
    """

    def __init__(
        self,
        study: RunnableStudy,
        samplers: Mapping[str, ArmSampler],
        *,
        running: Mapping[str, RunningTrial],
        ended: Mapping[str, EndedTrial],
    ) -> None:
        self._study, self._samplers = study, samplers
        self._running, self._ended = running, ended

    def specs(self, started: Sequence[TrialSpec]) -> Iterator[TrialSpec | None]:
        """Trial by trial; None while others must end first.

        Args:
            started: Trials of an earlier session that had not ended: they come first.
        """
        for spec in started:
            if spec.stage == SEARCH:
                self._samplers[spec.arm].ask(spec.search_point, spec.values)
            yield spec
        for stage in (iter(self._study.design_specs()), self._search(), self._confirm()):
            for spec in stage:
                if self._is_new(spec):
                    yield spec
            while self._running:
                yield None

    def _is_new(self, spec: TrialSpec) -> bool:
        return spec.trial_id not in self._ended and spec.trial_id not in self._running

    def _search(self) -> Iterator[TrialSpec]:
        arms = list(self._study.space.arms)
        for index in range(self._study.space.search.trials):
            number, arm = index // len(arms), arms[index % len(arms)]
            spec = TrialSpec(SEARCH, arm, f"{arm}-{number:03d}", self._study.seed, {})
            if self._is_new(spec):
                yield spec._replace(values=self._samplers[arm].ask(number))

    def _confirm(self) -> Iterator[TrialSpec]:
        sign = 1 if self._study.space.objective.mode == "max" else -1
        for arm in self._study.space.arms:
            points = [trial for trial in self._ended.values() if _can_be_confirmed(trial, arm)]
            points.sort(key=lambda trial: (-sign * trial.value, trial.spec.config_id))
            for trial, seed in product(points[:CONFIRMED_PER_ARM], self._study.design_seeds):
                yield trial.spec._replace(stage=CONFIRM, seed=seed)


def _can_be_confirmed(trial: EndedTrial, arm: str) -> bool:
    spec = trial.spec
    return spec.stage == SEARCH and spec.arm == arm and trial.status == COMPLETED
