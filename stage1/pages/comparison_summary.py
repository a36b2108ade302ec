"""The numbers of a comparison's page: scores as one array per configuration, and what they say."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import pandas as pd

from stage1.base.metric_table import CORRELATION, LOSS, SKILL
from stage1.claims.intervals import Values
from stage1.pages.arms_section import plan_epochs
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

    Args:
        tables: Of the comparison.
        metric: A column of the curves.
        completed: Leave out trainings that diverged or failed.

    Returns:
        NaN where there is no number.
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


class Reference(NamedTuple):
    """The configuration that the others are measured by."""

    name: str
    is_vanilla: bool
    """False where no configuration has the vanilla encoder and the first one stands in."""


def choose_reference(record: ComparisonRecord) -> Reference:
    """The first configuration with the vanilla encoder, or else the first one."""
    for name, config in record.configs.items():
        if not config.transfer_learning.use_pretrained_lm:
            return Reference(name, True)
    return Reference(next(iter(record.configs)), False)


class Convergence(NamedTuple):
    """How fast the mean val_correlation of a configuration rises."""

    to_reference: int | None
    """First epoch at which it reaches the reference's final mean; None = never."""
    to_baseline: int | None
    """First epoch at which it reaches linear interpolation; None = never."""
    mean_height: float
    """Area under the curve from epoch 0 to the end, by trapezoids, per epoch; NaN = no curve."""


class Stability(NamedTuple):
    """How much a configuration's trainings differ, and what went wrong."""

    loss_deviation: float
    """Over seeds, after the last epoch; NaN below two."""
    correlation_deviation: float
    largest_rise: float
    """Of val_loss from one epoch to the next, in any training; 0 = it only fell, NaN = no curve."""
    diverged: int
    failed: int


class Cost(NamedTuple):
    """What a configuration's trainings took."""

    seconds: float
    """Wall time of a training, mean over seeds."""
    seconds_per_step: Values
    """(seeds), mean over all steps of the training."""
    ratio: Values
    """(seeds), seconds_per_step over the reference's with the same seed; NaN if one misses."""
    peak_rss_mb: float
    """Largest of any training."""
    peak_vram_mb: float
    """NaN without a GPU."""
    frozen_epochs: int
    """In which a T5 stands still, and steps are cheaper."""


class Summary(NamedTuple):
    """All numbers of the page, by configuration in the order of the command."""

    reference: Reference
    seeds: tuple[int, ...]
    horizon: int
    scores: dict[str, dict[str, Values]]
    """(seeds, epochs) by metric and configuration, completed trainings only."""
    baseline: dict[str, float]
    """Of linear interpolation, by metric."""
    completed: dict[str, int]
    """How many trainings."""
    convergence: dict[str, Convergence]
    stability: dict[str, Stability]
    costs: dict[str, Cost]
    at_once: int
    """Trainings that ran at the same time."""

    @property
    def names(self) -> list[str]:
        """The configurations."""
        return list(self.completed)

    @property
    def others(self) -> list[str]:
        """All but the reference."""
        return [name for name in self.names if name != self.reference.name]

    @property
    def epochs(self) -> list[int]:
        """The plan's epochs as far as there are so many, and the last one."""
        return plan_epochs(self.horizon)

    def at(self, metric: str, name: str, epoch: int) -> Spread:
        """A configuration's metric after an epoch, over seeds."""
        return spread_of(self.scores[metric][name][:, epoch])

    def final(self, metric: str, name: str) -> Spread:
        """A configuration's metric at the end, over seeds."""
        return self.at(metric, name, self.horizon)

    def differences(self, metric: str, name: str) -> Values:
        """Final score minus the reference's with the same seed, (seeds); NaN where one misses."""
        of_metric = self.scores[metric]
        return of_metric[name][:, -1] - of_metric[self.reference.name][:, -1]


def summarize(tables: ComparisonTables) -> Summary:
    """Compute everything that the page shows."""
    record = tables.record
    reference = choose_reference(record)
    scores = {metric: scores_by_epoch(tables, metric) for metric in (LOSS, CORRELATION, SKILL)}
    baseline = {metric: baseline_value(tables.trials, metric) for metric in scores}
    completed = tables.completed["arm"].value_counts()
    goal = spread_of(scores[CORRELATION][reference.name][:, -1]).mean
    return Summary(
        reference=reference,
        seeds=record.seeds,
        horizon=record.horizon,
        scores=scores,
        baseline=baseline,
        completed={name: int(completed.get(name, 0)) for name in record.configs},
        convergence={
            name: convergence_of(values, goal=goal, baseline=baseline[CORRELATION])
            for name, values in scores[CORRELATION].items()
        },
        stability=_stability(tables, scores),
        costs=_costs(tables, reference),
        at_once=most_at_once(tables.trials),
    )


def mean_curve(values: Values) -> Values:
    """Mean over the seeds that have a curve, (epochs); NaN without any.

    Args:
        values: (seeds, epochs); a seed has all of its epochs or none.
    """
    known = values[np.isfinite(values).all(axis=1)]
    return known.mean(axis=0) if len(known) else np.full(values.shape[1], np.nan)


def convergence_of(correlation: Values, *, goal: float, baseline: float) -> Convergence:
    """When the mean curve first reaches two levels, and its mean height.

    Args:
        correlation: (seeds, epochs), epoch 0 first.
        goal: The reference's final mean.
        baseline: That of linear interpolation; NaN = unknown, never reached.
    """
    mean = mean_curve(correlation)
    area = float(np.trapezoid(mean)) / (len(mean) - 1)
    return Convergence(first_epoch(mean, goal), first_epoch(mean, baseline), area)


def first_epoch(curve: Values, level: float) -> int | None:
    """The first epoch at which a curve is at or above a level; None if it never is."""
    reached = np.flatnonzero(curve >= level)
    return int(reached[0]) if reached.size else None


def _stability(
    tables: ComparisonTables, scores: dict[str, dict[str, Values]]
) -> dict[str, Stability]:
    every = scores_by_epoch(tables, LOSS, completed=False)
    status = tables.trials.groupby("arm")["status"].value_counts()
    return {
        name: Stability(
            loss_deviation=spread_of(scores[LOSS][name][:, -1]).deviation,
            correlation_deviation=spread_of(scores[CORRELATION][name][:, -1]).deviation,
            largest_rise=largest_rise(every[name]),
            diverged=int(status.get((name, DIVERGED), 0)),
            failed=int(status.get((name, FAILED), 0)),
        )
        for name in tables.record.configs
    }


def largest_rise(loss: Values) -> float:
    """The largest increase from one epoch to the next in any training.

    Args:
        loss: (seeds, epochs).

    Returns:
        >= 0, where 0 means that it never rose; NaN without two epochs in a row.
    """
    steps = np.diff(loss, axis=1)
    known = steps[np.isfinite(steps)]
    return max(float(known.max()), 0.0) if known.size else math.nan


def _costs(tables: ComparisonTables, reference: Reference) -> dict[str, Cost]:
    columns = ("seconds", "seconds_per_step", "peak_rss_mb", "peak_vram_mb")
    columns_of = {column: measured(tables, column) for column in columns}
    per_step = columns_of["seconds_per_step"]
    costs = {}
    for name, config in tables.record.configs.items():
        transfer, horizon = config.transfer_learning, tables.record.horizon
        frozen = horizon if transfer.freeze_lm_epochs < 0 else transfer.freeze_lm_epochs
        costs[name] = Cost(
            seconds=spread_of(columns_of["seconds"][name]).mean,
            seconds_per_step=per_step[name],
            ratio=per_step[name] / per_step[reference.name],
            peak_rss_mb=spread_of(columns_of["peak_rss_mb"][name]).high,
            peak_vram_mb=spread_of(columns_of["peak_vram_mb"][name]).high,
            frozen_epochs=min(frozen, horizon) if transfer.use_pretrained_lm else 0,
        )
    return costs


def failings(summary: Summary) -> list[str]:
    """What a reader must know before the numbers, in plain words; empty if nothing."""
    texts = []
    for name in summary.names:
        count, skill = summary.completed[name], summary.final(SKILL, name).mean
        stability = summary.stability[name]
        if skill <= 0:
            texts.append(
                f"{name} does not beat drawing a straight line across the hidden bars (mean "
                f"val_skill {number(skill, digits=3)}): it needs longer training, more data or "
                "another learning rate."
            )
        if stability.diverged + stability.failed:
            others = f"the numbers are of the other {count}" if count else "it has no numbers"
            texts.append(
                f"{name}: {stability.diverged} diverged and {stability.failed} failed of "
                f"{len(summary.seeds)}; {others}."
            )
    return texts
