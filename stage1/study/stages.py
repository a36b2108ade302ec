"""What a study runs, stage by stage: the design, the search, the best search points once more.

A design that grows is looked at after each of its numbers of configurations, before anything
further starts. Nothing of that is kept anywhere: which looks are behind follows from the trials.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain, product

from stage1.base.text import plural
from stage1.run.columns import COMPLETED, CONFIRM, DESIGN, DIVERGED, FAILED, SEARCH, STOPPED
from stage1.run.looks import DesignSize
from stage1.study.trials import (
    EndedTrial,
    Judge,
    LookResult,
    RunnableStudy,
    RunningTrial,
    TrialSpec,
)


def confirmed_per_arm(size: DesignSize) -> int:
    """How many of the best search points of each arm are trained again, by the study's design."""
    return 1 if size.grows else 2


def expected_by_stage(
    study: RunnableStudy, ends: Mapping[tuple[str, str, str], int]
) -> dict[str, int]:
    """How many trials each stage has at most, by what is known so far.

    Of the design those that run in any case, up to its last look.

    Args:
        study: What is run.
        ends: How many trials have ended, by stage, arm and status.
    """
    space, arms = study.space, study.searched_arms
    confirmed = 0
    for index, arm in enumerate(arms):
        points = len(range(index, study.search_trials, len(arms)))
        lost = sum(ends.get((SEARCH, arm, status), 0) for status in (STOPPED, DIVERGED, FAILED))
        confirmed += min(confirmed_per_arm(space.design.size), points - lost)
    return {
        DESIGN: len(study.design_specs()),
        SEARCH: study.search_trials,
        CONFIRM: confirmed * len(study.confirm_seeds),
    }


class Stages:
    """The trials of a study in order, except those that run or have ended; None = wait for others.

    The values of a search point are still to be proposed.

    Args:
        study: What is run.
        judge: Judges the claims at a look; None where there is none.
        started: Trials of an earlier session that had not ended: they come first.
        running: By trial_id, as the engine changes it.
        ended: Likewise.
        note: Is told in words what a look means.
    """

    def __init__(
        self,
        study: RunnableStudy,
        judge: Judge | None,
        started: Sequence[TrialSpec] = (),
        *,
        running: Mapping[str, RunningTrial],
        ended: Mapping[str, EndedTrial],
        note: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._study, self._judge, self._started = study, judge, started
        self._running, self._ended, self._note = running, ended, note
        self.looks_at: int | None = None
        """The look that is being judged."""
        self.design_is_over = False
        """Whether all trials of the design have ended, and no look lets it grow."""
        begun = list(chain((trial.spec for trial in ended.values()), started))
        self._search_has_begun = any(spec.stage == SEARCH for spec in begun)
        of_design = [spec for spec in begun if spec.stage == DESIGN]
        size = study.space.design.size
        self._reached = study.goes_to
        self.design = study.design_specs()
        """Its trials, as far as is known."""
        if size.grows and of_design:
            reached = size.begun_look(spec.config_id for spec in of_design)
            self._reached = max(self._reached, reached)
            look = self._reached if self._search_has_begun else study.looks[-1]
            ids = {spec.trial_id for spec in study.design_specs(look)}
            asked = any(spec.trial_id not in ids for spec in of_design)
            self._plan(look, controls=study.control_specs(look) if asked else [])

    def _plan(self, look: int, controls: Sequence[TrialSpec]) -> None:
        specs = [*self._study.design_specs(look), *controls]
        self.design = list({spec.trial_id: spec for spec in specs}.values())

    def __iter__(self) -> Iterator[TrialSpec | None]:
        yield from (spec for spec in self._started if spec.trial_id not in self._ended)
        for stage in (self._design(), self._search(), self._confirm()):
            for spec in stage:
                if spec is None or not self._has_begun(spec):
                    yield spec
            while self._running:
                yield None

    def planned(self) -> set[str]:
        """All trials of the study, by what is known so far."""
        specs = chain(self.design, self._search(), self._confirm())
        return {spec.trial_id for spec in specs}

    def _has_begun(self, spec: TrialSpec) -> bool:
        return spec.trial_id in self._ended or spec.trial_id in self._running

    def _design(self) -> Iterator[TrialSpec | None]:
        """Look by look: what a look waits for, the look, and at the last what a gain asks for."""
        if not self._study.space.design.size.grows:
            yield from self._study.design_specs()
            return
        for look in self._study.looks:
            yield from self._study.design_specs(look)
            while self._running:
                yield None
            if look < self._reached:
                continue
            result = self._judged(look)
            further = [later for later in self._study.looks if later > look]
            if not (result.decided or self._search_has_begun) and further:
                self._note(f"claim 1 is open: the design goes on to {further[0]} configurations")
                continue
            controls = self._study.control_specs(look) if result.asks_for_control else []
            self._plan(look, controls)
            answer = "decided" if result.decided else "open"
            self._note(f"claim 1 is {answer}: the design ends with {look} configurations")
            left = [spec for spec in controls if not self._has_begun(spec)]
            if left:
                trials = plural(len(left), "trial")
                self._note(f"a gain asks for its control: {trials} with shuffled weights")
                yield from left
                while self._running:
                    yield None
                self._judged(look)
            break
        self.design_is_over = True

    def _judged(self, look: int) -> LookResult:
        assert self._judge is not None, "a design that grows is judged"
        self.looks_at = look
        self._note(f"look at {look} configurations: the claims are tested before anything goes on")
        try:
            return self._judge(look)
        finally:
            self.looks_at = None

    def _search(self) -> Iterator[TrialSpec]:
        """The arms take turns."""
        arms = self._study.searched_arms
        for index in range(self._study.search_trials):
            number, arm = index // len(arms), arms[index % len(arms)]
            yield TrialSpec(SEARCH, arm, f"{arm}-{number:03d}", self._study.seed, {})

    def _confirm(self) -> Iterator[TrialSpec]:
        space = self._study.space
        sign = 1 if space.objective.mode == "max" else -1
        for arm in self._study.searched_arms:
            points = [
                trial
                for trial in self._ended.values()
                if (trial.spec.stage, trial.spec.arm, trial.status) == (SEARCH, arm, COMPLETED)
            ]
            points.sort(key=lambda trial: (-sign * trial.value, trial.spec.config_id))
            best = points[: confirmed_per_arm(space.design.size)]
            for trial, seed in product(best, self._study.confirm_seeds):
                yield trial.spec._replace(stage=CONFIRM, seed=seed)
