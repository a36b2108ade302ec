"""The tables of an experiment, and its scores as one array per configuration."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from stage1.claims.intervals import Values
from stage1.comparison.record import ExperimentRecord, read_record
from stage1.results import COMPLETED, RunFolder, read_curves, read_trials


class ExperimentTables(NamedTuple):
    """An experiment as it was recorded and as it went."""

    run: RunFolder
    record: ExperimentRecord
    trials: pd.DataFrame
    """A row per ended training."""
    curves: pd.DataFrame
    """A row per training and epoch."""

    @property
    def completed(self) -> pd.DataFrame:
        """The trainings that reached the horizon."""
        return self.trials[self.trials["status"] == COMPLETED]


def read_experiment(run: RunFolder) -> ExperimentTables:
    """Read the folder of an experiment, beside a running one too.

    Raises:
        ResultsError: The folder is none, or a file in it cannot be read.
    """
    trials = read_trials(run)  # first: then every training has its curve
    return ExperimentTables(run, read_record(run), trials, read_curves(run))


def scores_by_epoch(
    tables: ExperimentTables, metric: str, *, completed: bool = True
) -> dict[str, Values]:
    """A metric by configuration, (seeds, epochs), from epoch 0 to the horizon.

    Args:
        tables: Of the experiment.
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
        own = curves[curves["arm"] == name]
        grid = own.pivot(index="seed", columns="epoch", values=metric)
        grid = grid.reindex(index=list(tables.record.seeds), columns=list(epochs))
        scores[name] = grid.to_numpy(dtype=float)
    return scores


def measured(tables: ExperimentTables, column: str) -> dict[str, Values]:
    """A column of the completed trainings by configuration, (seeds); NaN where there is none."""
    found = {}
    for name in tables.record.configs:
        own = tables.completed[tables.completed["arm"] == name].set_index("seed")
        values = own[column].reindex(list(tables.record.seeds))
        found[name] = values.to_numpy(dtype=float, na_value=np.nan)
    return found


def most_at_once(trials: pd.DataFrame) -> int:
    """How many trainings ran beside each other at the busiest moment; 0 without any."""
    begun = (trials["started_at"] - trials["started_at"].min()).dt.total_seconds()
    ended = begun + trials["seconds"].fillna(0.0)
    return max((int(((begun <= moment) & (ended > moment)).sum()) for moment in begun), default=0)
