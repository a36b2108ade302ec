"""One arm's Optuna study: what is asked of it, and what it is told, of an earlier study too."""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Container, Mapping, Sequence, Set
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import optuna
import pandas as pd
from optuna.distributions import BaseDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState
from pydantic import TypeAdapter, ValidationError

from stage1.base.errors import ConfigError, ResultsError
from stage1.base.files import sha256_of_file, write_text
from stage1.base.seeds import Stream, generator, integer_seed
from stage1.base.text import shown
from stage1.config import Config, with_values
from stage1.config.data import DATA_KEYS
from stage1.run.columns import COMPLETED, PARAMETER_PREFIX, STOPPED
from stage1.run.comparison_record import leaves
from stage1.run.folder import RESTORE_OR_REPEAT, RunFolder, require_file
from stage1.run.registration import WarmStart, read_preregistration
from stage1.run.resolved_space import ResolvedSpace, key_of, read_space, searched_values
from stage1.run.tables import read_trials
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
    lies_in,
    place,
    typed,
)
from stage1.study.study import Study

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


class EarlierTrial(NamedTuple):
    """A configuration of an earlier study, as an arm's sampler is told of it."""

    arm: str
    """Of this study."""
    config_id: str
    """In the earlier one."""
    values: dict[str, Value]
    """By dotted key, as this study searches them."""
    state: str
    """One of Optuna's."""
    value: float | None
    """Of the objective at the horizon, mean over seeds; None where that was not reached."""
    curve: dict[int, float]
    """The last value, by its epoch."""


EARLIER_TRIALS = TypeAdapter(list[EarlierTrial])


class EarlierSearch(NamedTuple):
    """What the search of a study is told of an earlier one."""

    run: RunFolder
    """The earlier study's."""
    told: list[EarlierTrial]
    left_out: Counter[str]
    """Configurations that are not told, by reason."""

    def record(self, trials_sha256: str = "") -> WarmStart:
        """What to register of it; the checksum is of the file that `write` has written."""
        return WarmStart(
            run=str(self.run.path),
            prereg_sha256=sha256_of_file(self.run.prereg),
            trials_sha256=trials_sha256,
            told=Counter(trial.arm for trial in self.told),
            left_out=self.left_out,
        )

    def write(self, file: Path) -> WarmStart:
        """Write what is told, and say what to register of it."""
        write_text(file, EARLIER_TRIALS.dump_json(self.told, indent=1).decode())
        return self.record(sha256_of_file(file))


def new_study(space: Space, name: str, storage: BaseStorage) -> optuna.Study:
    """An empty Optuna study of the space's objective."""
    study = optuna.create_study(
        study_name=name,
        storage=storage,
        direction="maximize" if space.objective.mode == "max" else "minimize",
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        study.set_metric_names([space.objective.metric])
    return study


def recorded_trial(
    params: dict[str, Value],
    known: Mapping[str, BaseDistribution],
    *,
    state: TrialState,
    value: float | None,
    curve: Mapping[int, float],
    attributes: Mapping[str, Any] | None = None,
    started_at: datetime | None = None,
    seconds: float = 0.0,
) -> FrozenTrial:
    """A trial that was not proposed by Optuna, as it is told of one.

    Args:
        params: Values by name.
        known: Distributions of these names, and perhaps of others.
        state: COMPLETE, PRUNED or FAIL.
        value: At the horizon; None where that was not reached.
        curve: Values by epoch.
        attributes: For whoever looks at it.
        started_at: With its time zone; None = not known.
        seconds: It took.
    """
    reported = {epoch: v for epoch, v in curve.items() if math.isfinite(v)}
    if state == TrialState.PRUNED and reported:
        value = reported[max(reported)]  # as Optuna itself does for a trial it is told about
    trial = optuna.trial.create_trial(
        params=params,
        distributions={name: known[name] for name in params},
        state=state,
        value=value,
        intermediate_values=reported,
        user_attrs=dict(attributes or {}),
    )
    if started_at is not None:
        trial.datetime_start = started_at.astimezone().replace(tzinfo=None)  # as Optuna's are
        trial.datetime_complete = trial.datetime_start + timedelta(seconds=seconds)
    return trial


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
        earlier: Of an earlier study. Proposals depend on them, and the Optuna study does not hold
            them: its best trial is this study's.
    """

    def __init__(
        self,
        space: Space,
        *,
        arm: str,
        arm_index: int,
        seed: int,
        storage: BaseStorage,
        earlier: Sequence[EarlierTrial] = (),
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
        self._earlier = [
            recorded_trial(
                by_name(space, one.values),
                self._distributions,
                state=TrialState[one.state],
                value=one.value,
                curve=one.curve,
            )
            for one in earlier
            if one.arm == arm
        ]
        self._key = (seed, arm_index)
        self._asked: dict[int, optuna.Trial] = {}
        self.study = new_study(space, f"{space.name}-{arm}", storage)
        # For whoever looks at the study with Optuna's own tools.
        for key, value in {"arm": arm, **space.arms[arm]}.items():
            self.study.set_user_attr(key, value)

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
        elif known is None and (self._may_repeat or self._earlier):
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

        It is drawn beside the study, which keeps neither the draws that are thrown away nor the
        trials of an earlier study.
        """
        trials = self.study.get_trials(deepcopy=False)
        proposed = [trial.params for trial in trials if SEARCH_POINT in trial.user_attrs]
        model = optuna.create_study(direction=self.study.direction)
        own = [trial.params for trial in trials]  # told once, as they came out here
        model.add_trials([*(one for one in self._earlier if one.params not in own), *trials])
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

    def add(self, values: Mapping[str, Value], **about: Any) -> None:
        """Record a trial that was not proposed here: of the design, or of an earlier session.

        `about` is what `recorded_trial` asks for.
        """
        params = by_name(self._space, values)
        self.study.add_trial(recorded_trial(params, self._distributions, **about))

    def _sampler(self, number: int, attempt: int = 0) -> BaseSampler:
        seed = (integer_seed(Stream.SAMPLER, *self._key, number) + attempt) % 2**32
        if self._space.search.sampler == "random":
            return RandomSampler(seed=seed)
        return _KnownSpaceTPE(self._unconditional, seed=seed, n_startup_trials=STARTUP_TRIALS)


def arm_samplers(
    space: Space,
    arms: Container[str],
    *,
    seed: int,
    storage: BaseStorage,
    earlier: Sequence[EarlierTrial] = (),
) -> dict[str, ArmSampler]:
    """The samplers of these arms; the other arguments are `ArmSampler`'s."""
    return {
        arm: ArmSampler(
            space, arm=arm, arm_index=index, seed=seed, storage=storage, earlier=earlier
        )
        for index, arm in enumerate(space.arms)
        if arm in arms
    }


# What an earlier study has found ------------------------------------------------------------------


def read_earlier(run: RunFolder, study: Study) -> EarlierSearch:
    """What the search of a study can be told of an earlier one, and why of the rest it cannot.

    Scores are told as they are, so all that they depend on must be the same: bars, objective,
    horizon, and of an arm all settings but those that either study searches. A configuration is
    told where its values lie in what is searched now, and are those of now where nothing is.

    Args:
        run: Of the earlier study, which may still run.
        study: Whose search is told, with its bars.

    Raises:
        ResultsError: It cannot be read, or is too different; names what differs.
        ConfigError: The study has no search that would listen.
    """
    search = study.space.search
    if search.sampler != "tpe" or not study.search_trials:
        raise ConfigError(
            "--warm-start must be given to a study that searches with sampler: tpe, got "
            f"{study.search_trials} search trials of sampler {search.sampler}; leave it out, or "
            "change search in the space"
        )
    space, trials = read_space(run), read_trials(run)
    searched = {*map(key_of, space.space), *study.space.searched_keys}
    then, now = _settings_then(run, space), _settings_now(study)
    arms = _same_arms(run, then, now, but=searched)
    told, left_out = list[EarlierTrial](), Counter[str]()
    for group, rows in trials.groupby(["arm", "config_id"], sort=False):
        arm_then, config_id = map(str, group)
        arm = arms.get(arm_then)
        if arm is None:
            left_out[f"no arm here is as {arm_then} was"] += 1
            continue
        cells = rows.iloc[0].rename(lambda column: column.removeprefix(PARAMETER_PREFIX))
        had = searched_values(space.space, cells.to_dict())
        values, reason = _values_now(
            study,
            then[arm_then] | {key_of(name): value for name, value in had.items()},
            now[arm],
            searched=searched,
        )
        if reason:
            left_out[reason] += 1
        else:
            ended = _how_it_ended(rows, space.objective.metric)
            told.append(EarlierTrial(arm, config_id, values, *ended))
    return EarlierSearch(run, told, left_out)


def _settings_then(run: RunFolder, space: ResolvedSpace) -> dict[str, dict[str, Any]]:
    """All that a score of the earlier study depends on, by dotted key, by arm."""
    judged = {"objective": space.objective.metric, _BARS: space.data.fingerprint}
    try:
        base = Config.model_validate(space.config)
        return {arm: leaves(with_values(base, s)) | judged for arm, s in space.arms.items()}
    except ValidationError:
        raise ResultsError(
            f"{run.space}: must hold a configuration that this version of stage1 reads, got that "
            "of another; name another --warm-start"
        ) from None


def _settings_now(study: Study) -> dict[str, dict[str, Any]]:
    judged = {"objective": study.space.objective.metric, _BARS: study.config.data.sha256}
    return {arm: leaves(study.arm_configs[arm]) | judged for arm in study.searched_arms}


_BARS = "the fingerprint of the bars"
_IN_ANY_CASE = {*DATA_KEYS, "training.seed"}
"""Settings that may differ: where the bars lie, and what each trial has of its own."""


def _same_arms(
    run: RunFolder,
    then: Mapping[str, dict[str, Any]],
    now: Mapping[str, dict[str, Any]],
    *,
    but: Set[str],
) -> dict[str, str]:
    """Arms of now by those of then that differ in nothing `but` what is searched.

    Raises:
        ResultsError: There are none.
    """

    def differing(arm_then: str, arm: str) -> list[str]:
        return [
            f"{key} ({shown(then[arm_then].get(key))} -> {shown(value)})"
            for key, value in now[arm].items()
            if key not in but | _IN_ANY_CASE and then[arm_then].get(key) != value
        ]

    arms = {
        arm_then: arm
        for arm in reversed([*now])
        for arm_then in then
        if not differing(arm_then, arm)
    }
    if not arms:
        fewest = min((differing(one, arm) for one in then for arm in now), key=len)
        raise ResultsError(
            f"--warm-start must be a study of the same bars, objective and settings, got {run.path}"
            f", which differs in {', '.join(fewest)}; its scores cannot be compared with this "
            "study's: have its best points trained anew, with search: {start: [...]} in the space"
        )
    return arms


def _values_now(
    study: Study, then: Mapping[str, Any], now: Mapping[str, Any], *, searched: Set[str]
) -> tuple[dict[str, Value], str]:
    """An earlier configuration as this study would search it, or why it is none of its space."""
    values: dict[str, Value] = {}
    for name, parameter in study.space.space.items():
        if not is_active(study.space, name, values):
            continue
        key = key_of(name)
        try:
            value = typed(parameter, then[key])
        except (TypeError, ValueError):
            value = None
        if value != then[key] or not lies_in(parameter, value):
            return {}, f"{name} lies outside of what is searched here"
        values[key] = value
    for key in sorted(searched - values.keys()):
        if then[key] != now[key]:
            return {}, f"{key} was {shown(then[key])} at times, and is {shown(now[key])} here"
    return values, ""


def _how_it_ended(rows: pd.DataFrame, metric: str) -> tuple[str, float | None, dict[int, float]]:
    """State, value and last report of a configuration, over all its seeds."""
    statuses, scores = set(rows["status"]), rows[metric].astype(float)
    mean = float(scores.mean())
    if statuses == {COMPLETED} and scores.notna().all():
        return TrialState.COMPLETE.name, mean, {int(rows["epochs"].max()): mean}
    if statuses == {STOPPED} and scores.notna().all():
        return TrialState.PRUNED.name, None, {int(rows["epochs"].max()): mean}
    return TrialState.FAIL.name, None, {}


def read_warm_start(run: RunFolder) -> list[EarlierTrial]:
    """What a study's search was told of an earlier one when it began; perhaps nothing.

    Raises:
        ResultsError: The file is missing, or not as it was written.
    """
    registered = read_preregistration(run).warm_start
    if registered is None:
        return []
    require_file(run, run.warm_start)
    if sha256_of_file(run.warm_start) != registered.trials_sha256:
        raise ResultsError(f"{run.warm_start}: must be as it was written; {RESTORE_OR_REPEAT}")
    return EARLIER_TRIALS.validate_json(run.warm_start.read_bytes())
