"""The study as it runs: which trial is next, whether it goes on, what is written."""

from __future__ import annotations

import math
import re
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, Protocol

from optuna.distributions import CategoricalDistribution
from optuna.storages import BaseStorage
from optuna.trial import TrialState

from stage1.base.errors import TrialError
from stage1.base.metric_table import BLOCKS
from stage1.run.columns import COMPLETED, CONFIRM, DESIGN, DIVERGED, FAILED, SEARCH, STOPPED
from stage1.study.sampler import SEARCH_POINT, ArmSampler, new_study, recorded_trial
from stage1.study.space import Space, Value, by_name, distributions
from stage1.study.stages import Stages, expected_by_stage
from stage1.study.trials import (
    EndedTrial,
    Judge,
    Loss,
    RunnableStudy,
    RunningTrial,
    Tables,
    TrialSpec,
    block_rows,
    curve_rows,
    not_finite,
    trial_row,
)

FIRST_TRIALS = 3
"""So many trials that all fail alike before epoch 0 end the study."""
EXPLODED = 10.0
"""A search trial whose loss exceeds its step-0 value by this factor has diverged."""

_OPTUNA_STATE = {
    COMPLETED: TrialState.COMPLETE,
    STOPPED: TrialState.PRUNED,
    DIVERGED: TrialState.FAIL,
    FAILED: TrialState.FAIL,
}


class HalvingRule(Protocol):
    """Decides which trials of an arm are stopped early."""

    def stops(self, trial_id: str, *, epoch: int, value: float) -> bool:
        """Whether the trial is stopped, given its objective after an epoch."""


class Leaderboard:
    """An Optuna study whose best trial is the report's best configuration.

    It holds the complete configurations of all arms that one would train, by their mean over seeds.
    The arms' own studies know search points by the one seed that chose them.

    Args:
        space: Names the study, its objective and its parameters.
        arms: Those that one would train.
        storage: Where it is created.
    """

    def __init__(self, space: Space, arms: Sequence[str], *, storage: BaseStorage) -> None:
        self._space, self._arms = space, arms
        self._distributions = {"arm": CategoricalDistribution(arms), **distributions(space)}
        self._study = new_study(space, space.name, storage)

    def add(self, arm: str, values: Mapping[str, Value], **about: Any) -> None:
        """Add a complete configuration; `about` is what `recorded_trial` asks for."""
        if arm in self._arms:
            params = {"arm": arm, **by_name(self._space, values)}
            self._study.add_trial(recorded_trial(params, self._distributions, **about))


class StudyEngine:
    """Hands out trials stage by stage, judges every epoch, records every end.

    Args:
        study: What to run.
        tables: Where trials are written.
        ended: Trials of an earlier session, in the order of their ends.
        started: Trials of that session that had not ended, in the order of their starts: they
            come first.
        samplers: Of the arms that are searched.
        leaderboard: Is told of complete configurations; None where nobody looks for the best.
        halving: Rules of the arms; none where no trial is stopped early.
        judge: Judges the claims at a look; None where the design does not grow.
    """

    def __init__(
        self,
        study: RunnableStudy,
        tables: Tables,
        ended: Sequence[EndedTrial] = (),
        started: Sequence[TrialSpec] = (),
        *,
        samplers: Mapping[str, ArmSampler],
        halving: Mapping[str, HalvingRule],
        leaderboard: Leaderboard | None = None,
        judge: Judge | None = None,
    ) -> None:
        self.study, self._tables = study, tables
        self._samplers, self._halving, self._leaderboard = samplers, halving, leaderboard
        self.running: dict[str, RunningTrial] = {}
        self.ended: dict[str, EndedTrial] = {}
        self.observers: list[Callable[[], None]] = []
        self.notes: list[str] = []
        self._resumed = {spec.trial_id for spec in started}
        self._lost: deque[str] = deque()
        self._ends: Counter[tuple[str, str, str]] = Counter()
        self._reported_points: set[tuple[str, str, str]] = set()
        for trial in ended:
            self._replay(trial)
        self.stages = Stages(
            study, judge, started, running=self.running, ended=self.ended, note=self.note
        )
        self._waiting = iter(self.stages)

    @property
    def has_lost(self) -> bool:
        """Whether a trial that lost its process waits for another one."""
        return bool(self._lost)

    # What is next -------------------------------------------------------------------------------

    def next_trial(self) -> TrialSpec | None:
        """The next trial to start, or to start again, or None while others must end first.

        Raises:
            StopIteration: There is no further trial.
        """
        if self._lost:
            return self.running[self._lost.popleft()].spec
        spec = next(self._waiting)
        if spec is not None:
            if spec.stage == SEARCH:
                sampler, known = self._samplers[spec.arm], spec.values or None
                spec = spec._replace(values=sampler.ask(spec.search_point, known))
            self.running[spec.trial_id] = RunningTrial(spec, datetime.now(UTC))
            self._tables.begin(spec)
            self._notify()
        return spec

    def expected_trials(self) -> int:
        """How many trials the whole study has at most."""
        return sum(self.expected_by_stage().values())

    def expected_by_stage(self) -> dict[str, int]:
        """How many trials each stage has at most, by what is known so far."""
        expected = expected_by_stage(self.study, self._ends)
        return expected | {DESIGN: len(self.stages.design)}

    @property
    def has_finished(self) -> bool:
        """Whether all trials of the study have ended, and no look asks for more."""
        over = self.stages.design_is_over or not self.study.space.design.size.grows
        return over and self.ended.keys() >= self.stages.planned()

    def ended_by(self, part: Literal["stage", "status"]) -> Counter[str]:
        """How many trials of each stage have ended, or how many in each way."""
        count: Counter[str] = Counter()
        for (stage, _, status), number in list(self._ends.items()):
            count[stage if part == "stage" else status] += number
        return count

    # What happens -------------------------------------------------------------------------------

    def on_epoch(self, trial_id: str, row: dict[str, Any]) -> bool:
        """Take the row of a completed epoch; says whether the trial is to be stopped.

        A trial that goes on from its last state reports once more what came before: what is known
        already changes nothing.
        """
        trial = self.running.get(trial_id)
        if trial is None or int(row["epoch"]) <= trial.completed():
            return False
        trial.deaths = 0
        value, epoch = self._objective(row), int(row["epoch"])
        trial.curve.append({key: row[key] for key in row if key != BLOCKS})
        if BLOCKS in row:
            trial.blocks[epoch] = row[BLOCKS]
        if trial.spec.stage == SEARCH:
            self._samplers[trial.spec.arm].report(trial.spec.search_point, epoch=epoch, value=value)
        reason = self._divergence(trial)
        if reason:
            self._end(trial, DIVERGED, error=reason)
            return True
        if epoch >= self.study.space.horizon_epochs:
            self._end(trial, COMPLETED)
            return False
        stops = trial.spec.stage != CONFIRM and self._halving_stops(trial.spec, epoch, value)
        if stops and trial.spec.stage == SEARCH:
            self._end(trial, STOPPED)
            return True
        if stops and trial.would_stop_epoch is None:
            trial.would_stop_epoch = epoch
        self._notify()
        return False

    def _halving_stops(self, spec: TrialSpec, epoch: int, value: float) -> bool:
        rule = self._halving.get(spec.arm)
        return rule is not None and rule.stops(spec.trial_id, epoch=epoch, value=value)

    def on_error(self, trial_id: str, reason: str, loss: Loss = Loss.ERROR) -> None:
        """Record a trial that has failed, or have it begun again if it only lost its process.

        Raises:
            TrialError: What it failed for is no matter of this trial alone: the study is to end.
        """
        trial = self.running.get(trial_id)
        if trial is None:
            return
        if loss == Loss.SYSTEM:
            raise TrialError(
                f"{trial_id}: {loss.value}, got {reason}; make room or mend it, and go on with "
                "--resume: nothing that was written is lost"
            )
        if trial.goes_on(loss):
            self._lost.append(trial_id)
            self.note(f"{trial_id}: {loss.value}; it goes on from its last state ({reason})")
        else:
            self._end(trial, FAILED, error=reason)
            self._check_that_any_begins()

    def _check_that_any_begins(self) -> None:
        """Stop before all trials fail for what their study or their machine lacks.

        What one configuration lacks, such as memory for its T5, another may not need.
        """
        ended = self.ended.values()
        if len(ended) < FIRST_TRIALS or any(one.curve or one.status != FAILED for one in ended):
            return
        reasons = {re.sub(r"\d+", "0", one.error or "") for one in ended}
        configurations = {str(one.spec.values) for one in ended}
        if len(reasons) == 1 and len(configurations) > 1:
            raise TrialError(
                f"the first {len(ended)} trials must not all fail alike before their first epoch, "
                f"got: {next(iter(ended)).error}; mend it, and go on with --resume --retry-failed"
            )

    def note(self, text: str) -> None:
        """Tell the observers something that a person should see."""
        self.notes.append(text)
        self._notify()

    def close(self) -> None:
        """Leave no trial running in Optuna's studies; who goes on asks for it again."""
        for trial in self.running.values():
            if trial.spec.stage == SEARCH:
                self._samplers[trial.spec.arm].tell(trial.spec.search_point, TrialState.FAIL, None)

    def _objective(self, row: dict[str, Any]) -> float:
        return float(row.get(self.study.space.objective.metric, math.nan))

    def _divergence(self, trial: RunningTrial) -> str | None:
        """Why the trial's last epoch is out of the range of useful numbers, or None."""
        first, last = trial.curve[0], trial.curve[-1]
        reason = not_finite(last, self.study.space.objective.metric)
        if reason is not None:
            return reason
        if trial.spec.stage == SEARCH and last["val_loss"] > EXPLODED * first["val_loss"]:
            return (
                f"val_loss must stay below {EXPLODED:g} x its first value {first['val_loss']:.4g}, "
                f"got {last['val_loss']:.4g} at epoch {last['epoch']}"
            )
        return None

    def _end(self, trial: RunningTrial, status: str, *, error: str | None = None) -> None:
        spec, seconds = trial.spec, float(trial.curve[-1]["seconds"]) if trial.curve else 0.0
        if spec.trial_id in self._resumed:  # its seconds include those of the session before
            begun = datetime.now(UTC) - timedelta(seconds=seconds)
            trial.started_at = min(trial.started_at, begun)
        data = self.study.config.data
        blocks = block_rows(trial, data.timeframes, data.channel_names)
        self._tables.add_trial(trial_row(trial, status, error), curve_rows(trial), blocks)
        curve = {int(row["epoch"]): self._objective(row) for row in trial.curve}
        value = self._objective(trial.curve[-1]) if trial.curve else math.nan
        would_stop, started_at = trial.would_stop_epoch, trial.started_at
        ended = EndedTrial(spec, status, value, curve, seconds, would_stop, error, started_at)
        del self.running[spec.trial_id]
        self._note_end(ended)
        if spec.stage == SEARCH:
            final_value = value if status == COMPLETED else None
            self._samplers[spec.arm].tell(spec.search_point, _OPTUNA_STATE[status], final_value)
        self._tell_configuration(spec)
        self._notify()

    def _note_end(self, trial: EndedTrial) -> None:
        self.ended[trial.spec.trial_id] = trial
        self._ends[trial.spec.stage, trial.spec.arm, trial.status] += 1

    def _replay(self, trial: EndedTrial) -> None:
        """Take a trial of an earlier session into rungs and Optuna study, as it was then."""
        self._note_end(trial)
        spec = trial.spec
        judged = {} if spec.stage == CONFIRM else dict(trial.curve)
        if trial.status == DIVERGED:
            judged.pop(max(judged, default=0), None)  # its last epoch never came to a rung
        for epoch, value in judged.items():
            self._halving_stops(spec, epoch, value)
        if spec.stage == SEARCH:
            self._samplers[spec.arm].add(
                spec.values,
                state=_OPTUNA_STATE[trial.status],
                value=trial.value if trial.status == COMPLETED else None,
                curve=trial.curve,
                attributes={SEARCH_POINT: spec.search_point},
                started_at=trial.started_at,
                seconds=trial.seconds,
            )
        self._tell_configuration(spec)

    def _tell_configuration(self, spec: TrialSpec) -> None:
        """Tell Optuna of a configuration of design or confirmation once all its seeds have ended.

        One of the design is told to its arm's study, from which the search goes on; each that is
        complete to the leaderboard.
        """
        point, searched = (spec.stage, spec.arm, spec.config_id), spec.arm in self._samplers
        if spec.stage == SEARCH or not searched or point in self._reported_points:
            return
        confirms = spec.stage == CONFIRM
        seeds = self.study.confirm_seeds if confirms else self.study.seeds_of(spec.config_id)
        ids = [spec._replace(seed=seed).trial_id for seed in seeds]
        trials = [self.ended[trial_id] for trial_id in ids if trial_id in self.ended]
        if len(trials) < len(ids):
            return
        self._reported_points.add(point)
        good = all(trial.status == COMPLETED for trial in trials)
        epochs = set.intersection(*(set(trial.curve) for trial in trials))
        curve = {
            epoch: sum(trial.curve[epoch] for trial in trials) / len(trials)
            for epoch in sorted(epochs)
        }
        starts = [trial.started_at for trial in trials if trial.started_at is not None]
        about: dict[str, Any] = {
            "state": TrialState.COMPLETE if good else TrialState.FAIL,
            "value": curve[self.study.space.horizon_epochs] if good else None,
            "curve": curve,
            "attributes": {spec.stage: spec.config_id, "seeds": len(trials)},
            "started_at": min(starts, default=None),
            "seconds": sum(trial.seconds for trial in trials) / len(trials),  # of one training
        }
        if not confirms:
            self._samplers[spec.arm].add(spec.values, **about)
        if good and self._leaderboard is not None:
            self._leaderboard.add(spec.arm, spec.values, **about)

    def _notify(self) -> None:
        for observer in self.observers:
            observer()
