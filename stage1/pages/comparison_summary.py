"""The numbers of a comparison's page: scores as one array per configuration, and what they say."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import pandas as pd

from stage1.base.metric_table import CORRELATION, LOSS, SKILL
from stage1.claims.intervals import Values
from stage1.pages.numbers import number
from stage1.run.columns import COMPLETED, DIVERGED, FAILED
from stage1.run.comparison_record import ComparisonRecord, read_record
from stage1.run.folder import RunFolder
from stage1.run.summary import baseline_value
from stage1.run.tables import read_curves, read_trials


class ComparisonTables(NamedTuple):
    """A comparison as it was recorded and as it went."""

    run: RunFolder
    record: ComparisonRecord
    trials: pd.DataFrame
    """A row per ended training."""
    curves: pd.DataFrame
    """A row per training and epoch."""

    @property
    def completed(self) -> pd.DataFrame:
        """The trainings that reached the horizon."""
        return self.trials[self.trials["status"] == COMPLETED]


def read_comparison(run: RunFolder) -> ComparisonTables:
    """Read the folder of a comparison, also while it runs.

    Raises:
        ResultsError: The folder is none, or a file in it cannot be read.
    """
    trials = read_trials(run)  # first: then every training has its curve
    return ComparisonTables(run, read_record(run), trials, read_curves(run))


def scores_by_epoch(
    tables: ComparisonTables, metric: str, *, completed: bool = True
) -> dict[str, Values]:
    """A metric by configuration, (seeds, epochs), from epoch 0 to the horizon.

    NaN where there is no number; with `completed` also of trainings that diverged or failed.
    """
    trials = tables.completed if completed else tables.trials
    curves = tables.curves[tables.curves["trial_id"].isin(trials["trial_id"])]
    if metric not in curves:
        curves = curves.assign(**{metric: np.nan})
    epochs = range(tables.record.horizon + 1)
    scores = {}
    for name in tables.record.configs:
        of_arm = curves[curves["arm"] == name]
        grid = of_arm.pivot(index="seed", columns="epoch", values=metric)
        grid = grid.reindex(index=list(tables.record.seeds), columns=list(epochs))
        scores[name] = grid.to_numpy(dtype=float)
    return scores


def measured(tables: ComparisonTables, column: str) -> dict[str, Values]:
    """A column of the completed trainings by configuration, (seeds); NaN where there is none."""
    by_configuration = {}
    for name in tables.record.configs:
        of_arm = tables.completed[tables.completed["arm"] == name].set_index("seed")
        values = of_arm[column].reindex(list(tables.record.seeds))
        by_configuration[name] = values.to_numpy(dtype=float, na_value=np.nan)
    return by_configuration


def most_at_once(trials: pd.DataFrame) -> int:
    """How many trainings ran beside each other at the busiest moment; 0 without any."""
    started = (trials["started_at"] - trials["started_at"].min()).dt.total_seconds()
    ended = started + trials["seconds"].fillna(0.0)
    return max(
        (int(((started <= moment) & (ended > moment)).sum()) for moment in started), default=0
    )


class Spread(NamedTuple):
    """Some numbers, most often one per seed."""

    mean: float
    """NaN without any."""
    deviation: float
    """Standard deviation (n - 1); NaN below two."""
    low: float
    high: float
    seeds: int
    """How many numbers."""


def spread_of(values: Values) -> Spread:
    """Mean, deviation and range of the values that are finite."""
    known = values[np.isfinite(values)]
    if not known.size:
        return Spread(math.nan, math.nan, math.nan, math.nan, 0)
    deviation = float(known.std(ddof=1)) if known.size > 1 else math.nan
    return Spread(
        float(known.mean()), deviation, float(known.min()), float(known.max()), known.size
    )


class Summary(NamedTuple):
    """All numbers of the page, by configuration in the order of the command."""

    tables: ComparisonTables
    reference: str
    """The configuration that the others are measured by."""
    scores: dict[str, dict[str, Values]]
    """(seeds, epochs) by metric and configuration, completed trainings only."""
    baseline: dict[str, float]
    """Of linear interpolation, by metric."""

    @property
    def has_vanilla(self) -> bool:
        """False where no configuration has the vanilla encoder and the first one stands in."""
        return not self.tables.record.configs[self.reference].transfer_learning.use_pretrained_lm

    @property
    def seeds(self) -> tuple[int, ...]:
        """Of the trainings of every configuration."""
        return self.tables.record.seeds

    @property
    def horizon(self) -> int:
        """The last epoch."""
        return self.tables.record.horizon

    @property
    def names(self) -> list[str]:
        """The configurations."""
        return list(self.tables.record.configs)

    @property
    def others(self) -> list[str]:
        """All but the reference."""
        return [name for name in self.names if name != self.reference]

    def trainings(self, name: str, status: str) -> int:
        """How many trainings of a configuration ended like this."""
        trials = self.tables.trials
        return int(((trials["arm"] == name) & (trials["status"] == status)).sum())

    def at(self, metric: str, name: str, epoch: int) -> Spread:
        """A configuration's metric after an epoch, over seeds."""
        return spread_of(self.scores[metric][name][:, epoch])

    def final(self, metric: str, name: str) -> Spread:
        """A configuration's metric at the end, over seeds."""
        return self.at(metric, name, self.horizon)

    def differences(self, metric: str, name: str) -> Values:
        """Final score minus the reference's with the same seed, (seeds); NaN where one misses."""
        of_metric = self.scores[metric]
        return of_metric[name][:, -1] - of_metric[self.reference][:, -1]

    def step_ratio(self, name: str) -> Values:
        """Seconds per step over the reference's with the same seed, (seeds); NaN if one misses."""
        per_step = measured(self.tables, "seconds_per_step")
        return per_step[name] / per_step[self.reference]

    def frozen_epochs(self, name: str) -> int:
        """In which a configuration's T5 stands still, and steps are cheaper."""
        transfer = self.tables.record.configs[name].transfer_learning
        frozen = self.horizon if transfer.freeze_lm_epochs < 0 else transfer.freeze_lm_epochs
        return min(frozen, self.horizon) if transfer.use_pretrained_lm else 0


def summarize(tables: ComparisonTables) -> Summary:
    """Compute everything that the page shows."""
    scores = {metric: scores_by_epoch(tables, metric) for metric in (LOSS, CORRELATION, SKILL)}
    baseline = {metric: baseline_value(tables.trials, metric) for metric in scores}
    return Summary(tables, choose_reference(tables.record), scores, baseline)


def choose_reference(record: ComparisonRecord) -> str:
    """The first configuration with the vanilla encoder, or else the first one."""
    configs = record.configs.items()
    vanilla = [name for name, one in configs if not one.transfer_learning.use_pretrained_lm]
    return [*vanilla, *record.configs][0]


def mean_curve(values: Values) -> Values:
    """Mean of (seeds, epochs) over the seeds that have a curve, all of its epochs; NaN without."""
    known = values[np.isfinite(values).all(axis=1)]
    return known.mean(axis=0) if len(known) else np.full(values.shape[1], np.nan)


def first_epoch(curve: Values, level: float) -> int | None:
    """The first epoch at which a curve is at or above a level; None if it never is, or is NaN."""
    reached = np.flatnonzero(curve >= level)
    return int(reached[0]) if reached.size else None


def mean_height(curve: Values) -> float:
    """Area under a curve from epoch 0 to the end, by trapezoids, per epoch."""
    return float(np.trapezoid(curve)) / (len(curve) - 1)


def largest_rise(loss: Values) -> float:
    """The largest increase of (seeds, epochs) from one epoch to the next in any training.

    0 where it never rose; NaN without two epochs in a row.
    """
    steps = np.diff(loss, axis=1)
    known = steps[np.isfinite(steps)]
    return max(float(known.max()), 0.0) if known.size else math.nan


def failings(summary: Summary) -> list[str]:
    """What a reader must know before the numbers, in plain words; empty if nothing."""
    texts = []
    for name in summary.names:
        skill = summary.final(SKILL, name).mean
        count, diverged, failed = (
            summary.trainings(name, s) for s in (COMPLETED, DIVERGED, FAILED)
        )
        if skill <= 0:
            texts.append(
                f"{name} does not beat drawing a straight line across the hidden bars (mean "
                f"val_skill {number(skill, digits=3)}): it needs longer training, more data or "
                "another learning rate."
            )
        if diverged + failed:
            others = f"the numbers are of the other {count}" if count else "it has no numbers"
            texts.append(
                f"{name}: {diverged} diverged and {failed} failed of {len(summary.seeds)}; "
                f"{others}."
            )
    return texts
