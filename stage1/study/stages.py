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
        DESIGN: space.design.size.configurations * space.design.size.seeds * len(arms),
        SEARCH: space.search.trials,
        CONFIRM: confirmed * space.design.size.seeds,
    }


def trial_specs(
    study: RunnableStudy,
    samplers: Mapping[str, ArmSampler],
    started: Sequence[TrialSpec],
    *,
    running: Mapping[str, RunningTrial],
    ended: Mapping[str, EndedTrial],
) -> Iterator[TrialSpec | None]:
    """The trials of a study in order, except those that run or have ended; None = wait for others.

    Args:
        study: What is run.
        samplers: By arm; they propose the search points. None where nothing is searched.
        started: Trials of an earlier session that had not ended: they come first.
        running: By trial_id, as the engine changes it.
        ended: Likewise.
    """
    for spec in started:
        if spec.stage == SEARCH:
            samplers[spec.arm].ask(spec.search_point, spec.values)
        yield spec
    for stage in (iter(study.design_specs()), _search(study), _confirm(study, ended)):
        for spec in stage:
            if spec.trial_id in ended or spec.trial_id in running:
                continue
            if spec.stage == SEARCH:
                spec = spec._replace(values=samplers[spec.arm].ask(spec.search_point))
            yield spec
        while running:
            yield None


def _search(study: RunnableStudy) -> Iterator[TrialSpec]:
    """The arms take turns; the values are still to be proposed."""
    arms = list(study.space.arms)
    for index in range(study.space.search.trials):
        number, arm = index // len(arms), arms[index % len(arms)]
        yield TrialSpec(SEARCH, arm, f"{arm}-{number:03d}", study.seed, {})


def _confirm(study: RunnableStudy, ended: Mapping[str, EndedTrial]) -> Iterator[TrialSpec]:
    sign = 1 if study.space.objective.mode == "max" else -1
    for arm in study.space.arms:
        points = [
            trial
            for trial in ended.values()
            if (trial.spec.stage, trial.spec.arm, trial.status) == (SEARCH, arm, COMPLETED)
        ]
        points.sort(key=lambda trial: (-sign * trial.value, trial.spec.config_id))
        for trial, seed in product(points[:CONFIRMED_PER_ARM], study.design_seeds):
            yield trial.spec._replace(stage=CONFIRM, seed=seed)
