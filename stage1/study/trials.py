"""What a trial of a study is: what is to be run, what runs, what has ended, and its rows."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from stage1.base.errors import ResultsError
from stage1.config import Config
from stage1.run.columns import (
    BLOCK_SUMS,
    COMPLETED,
    CURVE_COLUMNS,
    DESIGN,
    FAILED,
    PARAMETER_PREFIX,
    TRIAL_COLUMNS,
    Column,
    column_of,
    present_name,
    trial_name,
)
from stage1.run.folder import RESTORE_OR_REPEAT, RunFolder, require_file
from stage1.run.resolved_space import key_of, searched_values
from stage1.run.tables import read_blocks, read_curves, read_trials
from stage1.study.space import Space, Value, typed


class TrialSpec(NamedTuple):
    """One trial to run."""

    stage: str
    arm: str
    config_id: str
    seed: int
    values: dict[str, Value]
    """Searched values whose condition holds, by dotted key."""

    @property
    def trial_id(self) -> str:
        """Unique within the study, the same in every attempt to run it."""
        return trial_name(self.stage, self.arm, self.config_id, self.seed)

    @property
    def search_point(self) -> int:
        """Which proposal of its arm a search trial is."""
        return int(self.config_id.rpartition("-")[2])


class RunnableStudy(Protocol):
    """What the engine and the workers ask of a study.

    `Study` draws its configurations from a search space, `Comparison` is given them.
    """

    @property
    def space(self) -> Space:
        """Arms, parameters, objective, horizon, search, resources, checkpoints."""

    @property
    def config(self) -> Config:
        """What all trials share of their configurations, such as the data's."""

    @property
    def seed(self) -> int:
        """Of the whole study."""

    @property
    def design_seeds(self) -> list[int]:
        """Seeds of the design."""

    @property
    def confirm_seeds(self) -> list[int]:
        """Seeds of the confirmation."""

    @property
    def searched_arms(self) -> list[str]:
        """Arms that the search proposes points for."""

    @property
    def search_trials(self) -> int:
        """Trials of the search, split over those arms."""

    @property
    def looks(self) -> list[int]:
        """After how many configurations a design that grows is looked at; none: it is not."""

    @property
    def goes_to(self) -> int:
        """Configurations that the design goes to at least; 0 = as the looks say."""

    def seeds_of(self, config_id: str) -> list[int]:
        """Seeds of a configuration of the design."""

    @property
    def block_epochs(self) -> list[int]:
        """Epochs of the design whose validation blocks are kept."""

    def design_specs(self, look: int | None = None) -> list[TrialSpec]:
        """The trials of the design up to a look that run in any case, in their order; None = all.

        A longer design begins with those of a shorter one.
        """

    def control_specs(self, look: int) -> list[TrialSpec]:
        """The trials that a gain at a look asks for."""

    def trial_config(self, spec: TrialSpec) -> Config:
        """The complete configuration of one trial.

        Raises:
            pydantic.ValidationError: The values do not fit together.
        """


class LookResult(NamedTuple):
    """What the claims at a look mean for the study."""

    decided: bool
    """Whether claim 1 is: then the design ends."""
    asks_for_control: bool
    """Whether a gain asks for trials with shuffled weights, if the design ends here."""


Judge = Callable[[int], LookResult]
"""Judges the claims at a look, by its number of configurations, once its trials have ended."""


class Tables(Protocol):
    """Where trials are written."""

    def begin(self, spec: TrialSpec) -> None:
        """Note a trial that begins."""

    def add_trial(
        self,
        row: dict[str, Any],
        curve: list[dict[str, Any]],
        blocks: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        """Write one ended trial, its curve and its blocks."""


class Loss(Enum):
    """How a trial lost its process."""

    ERROR = "its training raised an error"
    DEATH = "its process or machine died"
    MEMORY = "its process was killed for memory"
    SHARE = "the memory of the GPU that it shares did not suffice"
    SYSTEM = "its machine refused what it needs"


MOST_DEATHS = 3
"""A trial whose process dies so often without completing an epoch in between has failed."""


@dataclass
class RunningTrial:
    """A trial that has begun."""

    spec: TrialSpec
    started_at: datetime
    curve: list[dict[str, Any]] = field(default_factory=list)
    blocks: dict[int, NDArray[np.float64]] = field(default_factory=dict)
    """(timeframe, channel, block, sum) by epoch, where they were asked for."""
    would_stop_epoch: int | None = None
    begun: float = field(default_factory=time.monotonic)
    """When it began, by a clock that never jumps."""
    deaths: int = 0
    """Of its processes, since it last completed an epoch."""
    parts: int = 1
    """In which its batches are worked on; more than 1 once memory has cost it a process."""

    def completed(self) -> int:
        """The last epoch that was completed; -1 before any."""
        return int(self.curve[-1]["epoch"]) if self.curve else -1

    def goes_on(self, loss: Loss) -> bool:
        """Whether the trial is begun again after its process was lost, from its last state.

        An error would come again. What died may have been unlucky, and so may what shares a GPU,
        whose memory others take too. What was killed for memory is given one more chance, with its
        batches in twice as many parts.
        """
        if loss == Loss.MEMORY:
            if self.parts > 1:
                return False
            self.parts = 2 * int(self.curve[-1].get("accumulation", 1) if self.curve else 1)
            return True
        self.deaths += 1
        return loss in (Loss.DEATH, Loss.SHARE) and self.deaths < MOST_DEATHS


class EndedTrial(NamedTuple):
    """What later decisions need of a trial that has ended."""

    spec: TrialSpec
    status: str
    value: float
    """Of the objective after the last epoch; NaN if there is none."""
    curve: dict[int, float]
    """Of the objective, by epoch."""
    seconds: float
    """Wall time of the trial."""
    would_stop_epoch: int | None = None
    """Where halving would have stopped a trial of the design."""
    error: str | None = None
    """Why it has failed or diverged, if it has."""
    started_at: datetime | None = None
    """None of a trial that failed before it began."""


def check_tables(run: RunFolder, study: RunnableStudy, started: Collection[str]) -> None:
    """Refuse to go on with tables of which one is lost, or older than the others.

    Args:
        run: Of the study, perhaps without any table yet.
        study: As it was begun.
        started: Trials that have no row yet; a crash may have left one's curve and blocks.

    Raises:
        ResultsError: Names the file, and the first trial that it lacks.
    """
    have: dict[Path, dict[str, set[int]]] = {}
    for file, read in ((run.curves, read_curves), (run.blocks, read_blocks)):
        if run.trials.exists():
            require_file(run, file)
        rows: Any = read(run).groupby("trial_id")["epoch"] if file.exists() else []
        have[file] = {str(trial_id): set(epochs) for trial_id, epochs in rows}
    have[run.checkpoints] = {present_name(f.stem): set() for f in run.checkpoints.glob("*.ckpt")}
    trials: list[Any] = list(read_trials(run).itertuples()) if run.trials.exists() else []
    known = {*started, *(trial.trial_id for trial in trials)}
    for file, of_trials in have.items():
        for trial_id in sorted(of_trials.keys() - known):
            raise _lost(run.trials, f"every trial of {file.name}", f"no {trial_id}")
    for trial in trials:
        blocks = study.block_epochs if trial.stage == DESIGN and trial.status == COMPLETED else []
        has_begun = trial.epochs > 0 or trial.status != FAILED
        for file, wanted in (
            (run.curves, range(trial.epochs + 1) if has_begun else []),
            (run.blocks, blocks if have[run.blocks] else []),
        ):
            if missing := {*wanted} - have[file].get(trial.trial_id, set()):
                raise _lost(file, f"epoch {min(missing)} of {trial.trial_id}", "no such row")


def _lost(file: Path, content: str, got: str) -> ResultsError:
    return ResultsError(f"{file}: must hold {content}, got {got}; {RESTORE_OR_REPEAT}")


def not_finite(row: Mapping[str, Any], objective: str) -> str | None:
    """Why an epoch's loss or objective is no number to go on with, or None.

    Before the first step there is no training loss.
    """
    names = ["val_loss", objective, *(["train_loss"] if row["epoch"] > 0 else [])]
    for name in names:
        value = row.get(name, math.nan)
        if not math.isfinite(value):
            return f"{name} must stay finite, got {value} at epoch {row['epoch']}"
    return None


def trial_row(trial: RunningTrial, status: str, error: str | None) -> dict[str, Any]:
    """The trial's row of trials.parquet."""
    last = trial.curve[-1] if trial.curve else {}
    spec = trial.spec
    return {
        "trial_id": spec.trial_id,
        "stage": spec.stage,
        "arm": spec.arm,
        "config_id": spec.config_id,
        "seed": spec.seed,
        "status": status,
        "epochs": last.get("epoch", 0),
        **{PARAMETER_PREFIX + key: value for key, value in spec.values.items()},
        **{key: last[key] for key in last if not _is_only_of(CURVE_COLUMNS, key, TRIAL_COLUMNS)},
        "started_at": trial.started_at,
        "would_stop_epoch": trial.would_stop_epoch,
        "error": error,
    }


def curve_rows(trial: RunningTrial) -> list[dict[str, Any]]:
    """The trial's rows of curves.parquet."""
    return [
        {key: row[key] for key in row if not _is_only_of(TRIAL_COLUMNS, key, CURVE_COLUMNS)}
        for row in trial.curve
    ]


def _is_only_of(columns: Sequence[Column], name: str, others: Sequence[Column]) -> bool:
    return column_of(name, columns) is not None and column_of(name, others) is None


def block_rows(
    trial: RunningTrial, timeframes: Sequence[str], channels: Sequence[str]
) -> list[dict[str, Any]]:
    """The trial's rows of blocks.parquet; blocks without a scored bar have none.

    The first axis of the sums stands for the timeframes, the second one for the channels.
    """
    rows = []
    for epoch, sums in trial.blocks.items():
        for timeframe, channel, block in np.ndindex(sums.shape[:3]):
            n, *others = sums[timeframe, channel, block].tolist()
            if n:
                identity = (epoch, timeframes[timeframe], channels[channel], block, int(n))
                names = ("epoch", "timeframe", "channel", "block", *BLOCK_SUMS)
                rows.append(dict(zip(names, (*identity, *others), strict=True)))
    return rows


def ended_trials(run: RunFolder, study: RunnableStudy) -> list[EndedTrial]:
    """The trials of the run folder, in the order of their ends.

    Raises:
        ResultsError: A table cannot be read, or is another study's.
    """
    metric = study.space.objective.metric
    trials, curves = read_trials(run), read_curves(run)
    by_trial = {trial_id: rows for trial_id, rows in curves.groupby("trial_id")}
    planned = {spec.trial_id: spec for spec in study.design_specs()}
    ended = []
    for _, row in trials.iterrows():
        try:
            trial = _ended(row, by_trial.get(row["trial_id"]), study.space, metric)
        except ValueError:  # none of the options
            trial = None
        if trial is None or not _is_of(study, trial.spec, planned):
            raise ResultsError(
                f"{run.trials}: must hold trials of this study, got {row['trial_id']!r} with other "
                f"values; {RESTORE_OR_REPEAT}"
            )
        ended.append(trial)
    return ended


def _is_of(study: RunnableStudy, spec: TrialSpec, planned: Mapping[str, TrialSpec]) -> bool:
    """Whether a study has such a trial; one of its design has the values that were drawn for it."""
    own = planned.get(spec.trial_id, spec)
    return spec.arm in study.space.arms and spec.values == own.values


def _ended(row: pd.Series, curve: pd.DataFrame | None, space: Space, metric: str) -> EndedTrial:
    cells = {key: row.get(PARAMETER_PREFIX + key) for key in space.searched_keys}
    values = {
        key_of(name): typed(space.space[name], value)
        for name, value in searched_values(space.space, cells).items()
    }
    spec = TrialSpec(row["stage"], row["arm"], row["config_id"], int(row["seed"]), values)
    points: dict[int, float] = {}
    if curve is not None and metric in curve:
        points = dict(zip(curve["epoch"].astype(int), curve[metric].astype(float), strict=True))
    seconds = float(row["seconds"]) if not pd.isna(row["seconds"]) else 0.0
    would_stop = row.get("would_stop_epoch")
    return EndedTrial(
        spec,
        row["status"],
        float(row.get(metric, math.nan)),
        points,
        seconds,
        would_stop_epoch=None if pd.isna(would_stop) else int(would_stop),
        error=None if pd.isna(row["error"]) else row["error"],
        started_at=None if pd.isna(row["started_at"]) else row["started_at"].to_pydatetime(),
    )
