"""One arm's Optuna study: what is asked of it and what it is told."""

from __future__ import annotations

import math
import warnings
from collections.abc import Container, Mapping
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from stage1.base.seeds import Stream, generator, integer_seed
from stage1.run.resolved_space import key_of
from stage1.study.space import (
    ChoiceParameter,
    FloatParameter,
    IntParameter,
    Parameter,
    Space,
    Value,
    active,
    by_name,
    distributions,
    is_active,
    place,
)

STARTUP_TRIALS = 10
"""TPE proposes at random until it knows so many values (Optuna's default), design included."""
ATTEMPTS = 10
"""So often the sampler is asked for a point that its arm has not trained, before chance is."""
SEARCH_POINT = "search_point"
"""Attribute of an Optuna trial: which proposal it is. Those of the design have none."""


def _suggest(trial: optuna.Trial, name: str, parameter: Parameter) -> Value:
    """Let the trial's sampler choose a value."""
    match parameter:
        case FloatParameter(low=low, high=high, log=log):
            return trial.suggest_float(name, low, high, log=log)
        case IntParameter(low=low, high=high, log=log):
            return trial.suggest_int(name, low, high, log=log)
        case ChoiceParameter(options=options):
            return trial.suggest_categorical(name, options)


class _KnownSpaceTPE(TPESampler):
    """TPE that is told which parameters every trial has, which it would look for in all trials."""

    def __init__(self, parameters: dict[str, BaseDistribution], **options: Any) -> None:
        super().__init__(**options)
        self._parameters = parameters

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """The parameters that are sampled together. Called by Optuna."""
        return self._parameters


class ArmSampler:
    """Proposes an arm's search points and keeps its study true.

    Every proposal comes from a sampler with a seed of its own: it depends on what the study holds
    and on the proposal's number, not on what this process did before.

    Args:
        space: Parameters, direction, sampler.
        arm_index: Its place among the arms.
        seed: The study's.
        storage: Where the arm's Optuna study is created.
    """

    def __init__(
        self, space: Space, *, arm: str, arm_index: int, seed: int, storage: BaseStorage
    ) -> None:
        self._space = space
        self._distributions = distributions(space)
        self._unconditional = {
            key: distribution
            for key, distribution in sorted(self._distributions.items())
            if not space.space[key].when and not distribution.single()
        }
        self._may_repeat = not any(
            isinstance(one, FloatParameter) and not one.when and one.low < one.high
            for one in space.space.values()
        )
        self._key = (seed, arm_index)
        self._asked: dict[int, optuna.Trial] = {}
        self.study = optuna.create_study(
            study_name=f"{space.name}-{arm}",
            storage=storage,
            direction="maximize" if space.objective.mode == "max" else "minimize",
        )
        # For whoever looks at the study with Optuna's own tools.
        for key, value in {"arm": arm, **space.arms[arm]}.items():
            self.study.set_user_attr(key, value)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            self.study.set_metric_names([space.objective.metric])

    def ask(self, number: int, known: Mapping[str, Value] | None = None) -> dict[str, Value]:
        """Propose search point `number`: a value for every parameter whose `when` holds.

        The first ones are those that the space starts from. No other repeats one of before.

        Args:
            number: Of the proposal.
            known: What it was when it was proposed first, in an earlier session; None = new.
        """
        start = self._space.search.start
        if known is None and number < len(start):
            known = start[number]
        elif known is None and self._may_repeat:
            known = self._new_point(number)
        if known is not None:
            self.study.enqueue_trial(by_name(self._space, known))
        self.study.sampler = self._sampler(number)
        trial = self.study.ask()
        trial.set_user_attr(SEARCH_POINT, number)
        self._asked[number] = trial
        return self._suggested(trial)

    def _suggested(self, trial: optuna.Trial) -> dict[str, Value]:
        values: dict[str, Value] = {}
        for name, parameter in self._space.space.items():
            if is_active(self._space, name, values):
                values[key_of(name)] = _suggest(trial, name, parameter)
        return values

    def _new_point(self, number: int) -> dict[str, Value]:
        """A point that this arm has not trained on the search's seed; there is one.

        It is drawn beside the study, where no draw that is thrown away stays.
        """
        trials = self.study.get_trials(deepcopy=False)
        proposed = [trial.params for trial in trials if SEARCH_POINT in trial.user_attrs]
        model = optuna.create_study(direction=self.study.direction)
        model.add_trials(trials)
        for attempt in range(ATTEMPTS):
            model.sampler = self._sampler(number, attempt)
            trial = model.ask()
            values = self._suggested(trial)
            if trial.params not in proposed:
                return values
            model.tell(trial, state=TrialState.FAIL)
        rng = generator(Stream.SAMPLER, *self._key, number)
        while True:
            drawn = {name: place(one, rng.random()) for name, one in self._space.space.items()}
            values = active(self._space, drawn)
            if by_name(self._space, values) not in proposed:
                return values

    def report(self, number: int, *, epoch: int, value: float) -> None:
        """Tell an intermediate value of a proposed point."""
        if math.isfinite(value):
            self._asked[number].report(value, epoch)

    def tell(self, number: int, state: TrialState, value: float | None) -> None:
        """Tell how a proposed point ended.

        Args:
            number: Of the proposal.
            state: COMPLETE, PRUNED or FAIL.
            value: Of the objective at the horizon; None where it was not reached.
        """
        self.study.tell(self._asked.pop(number), value, state)

    def add(
        self,
        values: Mapping[str, Value],
        *,
        state: TrialState,
        value: float | None,
        curve: Mapping[int, float],
        attributes: Mapping[str, Any],
    ) -> None:
        """Record a trial that was not proposed here: of the design, or of an earlier session."""
        reported = {epoch: v for epoch, v in curve.items() if math.isfinite(v)}
        if state == TrialState.PRUNED and reported:
            value = reported[max(reported)]  # as Optuna itself does for a trial it is told about
        self.study.add_trial(
            optuna.trial.create_trial(
                params=(params := by_name(self._space, values)),
                distributions={name: self._distributions[name] for name in params},
                state=state,
                value=value,
                intermediate_values=reported,
                user_attrs=dict(attributes),
            )
        )

    def _sampler(self, number: int, attempt: int = 0) -> BaseSampler:
        seed = (integer_seed(Stream.SAMPLER, *self._key, number) + attempt) % 2**32
        if self._space.search.sampler == "random":
            return RandomSampler(seed=seed)
        return _KnownSpaceTPE(self._unconditional, seed=seed, n_startup_trials=STARTUP_TRIALS)


def arm_samplers(
    space: Space, arms: Container[str], *, seed: int, storage: BaseStorage
) -> dict[str, ArmSampler]:
    """The samplers of these arms; the other arguments are `ArmSampler`'s."""
    return {
        arm: ArmSampler(space, arm=arm, arm_index=index, seed=seed, storage=storage)
        for index, arm in enumerate(space.arms)
        if arm in arms
    }
