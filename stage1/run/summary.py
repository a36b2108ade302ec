"""What the tables of a run say: per arm, against the baseline, which is best, and what to run next.

Everything compared here is a *configuration* at the full horizon with every seed of the design, by
its mean over those seeds; trials that a scheduler stopped never enter. The numbers describe the
run. They are no test of a difference between arms.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from stage1.base.errors import ResultsError
from stage1.base.metric_table import BASELINE_PREFIX, metric_row
from stage1.base.text import shell_line
from stage1.run.columns import (
    COMPLETED,
    CONFIRM,
    DESIGN,
    DIVERGED,
    FAILED,
    PARAMETER_PREFIX,
    SEARCH,
    STATUSES,
)
from stage1.run.folder import RunFolder
from stage1.run.resolved_space import Choice, ResolvedSpace

EXPORT_TARGET = Path("configs/best.yaml")
"""Where export writes unless told otherwise."""
Value = str | int | float | bool | None


class BestConfiguration(NamedTuple):
    """The configuration to train in earnest, and what speaks for it."""

    arm: str
    config_id: str
    values: dict[str, Value]
    """The searched values by dotted key; keys that do not apply to it are absent."""
    mean: float
    """Objective, mean over seeds."""
    by_seed: dict[int, float]
    """Objective of each seed, in order."""
    skill: float
    """val_skill, mean over seeds; > 0 beats linear interpolation."""
    candidates: int
    """Configurations it was chosen from, arms counted separately."""


class Progress(NamedTuple):
    """Trials of a stage that have ended, of those planned."""

    ended: int
    planned: int


def count_statuses(trials: pd.DataFrame) -> pd.DataFrame:
    """Trials by stage (rows) and status (columns, every status)."""
    counts = pd.crosstab(trials["stage"], trials["status"])
    return counts.reindex(columns=list(STATUSES), fill_value=0)


def progress(trials: pd.DataFrame, space: ResolvedSpace) -> dict[str, Progress]:
    """How far the design and the search have come."""
    planned = {
        DESIGN: space.design.size.configurations * space.design.size.seeds * len(space.arms),
        SEARCH: space.search.trials,
    }
    ended = trials["stage"].value_counts()
    return {stage: Progress(int(ended.get(stage, 0)), count) for stage, count in planned.items()}


def full_horizon(trials: pd.DataFrame, space: ResolvedSpace, stages: list[str]) -> pd.DataFrame:
    """Completed trials of some stages that reached the horizon and have an objective.

    Adds the column `objective`.
    """
    rows = trials.assign(objective=trials.get(space.objective.metric, math.nan))
    reached = (rows["status"] == COMPLETED) & (rows["epochs"] >= space.horizon_epochs)
    return rows.loc[reached & rows["stage"].isin(stages) & rows["objective"].notna()]


def configuration_means(trials: pd.DataFrame, space: ResolvedSpace) -> pd.DataFrame:
    """Mean over seeds of the configurations that completed with all the design's seeds.

    Args:
        trials: Of the design and the confirmation; others are left out.
        space: The resolved study.

    Returns:
        Columns arm, config_id, objective, val_skill; best first, ties in the order of their
        trials. No rows if no configuration is complete.
    """
    rows = full_horizon(trials, space, [DESIGN, CONFIRM])
    rows = rows.drop_duplicates(["arm", "config_id", "seed"])
    groups = rows.groupby(["arm", "config_id"], sort=False)
    means = groups[["objective", "val_skill"]].mean()
    seeds = groups["seed"].count()
    complete = means[seeds >= space.design.size.seeds]
    ascending = space.objective.mode == "min"
    return complete.sort_values("objective", ascending=ascending, kind="stable").reset_index()


def summarize_arms(trials: pd.DataFrame, space: ResolvedSpace) -> pd.DataFrame:
    """One row per arm, in the study's order.

    Returns:
        Index `arm`. Trials of every stage by status; then of the design: `configurations` (complete
        ones), `best`, `median` and `spread` of their means over seeds (NaN without any; `spread` is
        the standard deviation across them, NaN below two), `seconds` (mean of the full-horizon
        trials).
    """
    arms = pd.Index(list(space.arms), name="arm")
    table = pd.crosstab(trials["arm"], trials["status"])
    table = table.reindex(index=arms, columns=list(STATUSES), fill_value=0)
    means = configuration_means(trials[trials["stage"] == DESIGN], space)
    by_arm = means.groupby("arm")["objective"]
    table["configurations"] = by_arm.count().reindex(arms, fill_value=0)
    table["best"] = by_arm.agg(space.objective.mode)
    table["median"] = by_arm.median()
    table["spread"] = by_arm.std()
    table["seconds"] = full_horizon(trials, space, [DESIGN]).groupby("arm")["seconds"].mean()
    return table


def baseline_value(trials: pd.DataFrame, metric: str) -> float:
    """What linear interpolation reaches on the hidden bars, median over trials.

    Returns:
        NaN if no trial recorded it; 0 for a skill, by its definition.
    """
    row = metric_row(metric)
    if row is not None and row.baseline is not None:
        return row.baseline
    column = BASELINE_PREFIX + metric
    return float(trials[column].median()) if column in trials else math.nan


def cautions(trials: pd.DataFrame, space: ResolvedSpace) -> list[str]:
    """What a reader must know before the numbers, in plain words; empty if nothing."""
    if trials.empty:
        return ["No trial has ended yet, so there is nothing to compare."]
    means = configuration_means(trials, space)
    if means.empty:
        return ["No configuration has completed with every seed, so there is none to recommend."]
    if (means["val_skill"] > 0).any():
        return []
    return [
        "No configuration beats drawing a straight line across the hidden bars (val_skill <= 0): "
        "the models have learned nothing useful yet. Do not read anything into differences between "
        "arms; train longer, on more data or with another range of learning rates first."
    ]


def best_configuration(trials: pd.DataFrame, space: ResolvedSpace) -> BestConfiguration:
    """The best by mean over seeds, among configurations that completed with all the design's seeds.

    Raises:
        ResultsError: There is no such configuration.
    """
    means = configuration_means(trials, space)
    if means.empty:
        raise ResultsError(
            f"a run must hold a configuration completed to epoch {space.horizon_epochs} with "
            f"{space.design.size.seeds} seeds, got none; let the study go on (--resume), or see "
            "the column error of its trials"
        )
    best = means.iloc[0]
    rows = full_horizon(trials, space, [DESIGN, CONFIRM])
    rows = rows[(rows["arm"] == best["arm"]) & (rows["config_id"] == best["config_id"])]
    rows = rows.drop_duplicates("seed").sort_values("seed")
    return BestConfiguration(
        arm=str(best["arm"]),
        config_id=str(best["config_id"]),
        values=_values(rows.iloc[0], space),
        mean=float(best["objective"]),
        by_seed={int(s): float(v) for s, v in zip(rows["seed"], rows["objective"], strict=True)},
        skill=float(best["val_skill"]),
        candidates=len(means),
    )


def _values(row: pd.Series[Any], space: ResolvedSpace) -> dict[str, Value]:
    """The searched values of a trial; null counts where null is one of the options."""
    values: dict[str, Value] = {}
    for key, domain in space.space.items():
        value = row.get(PARAMETER_PREFIX + key)
        if not pd.isna(value):
            values[key] = value.item() if hasattr(value, "item") else value
        elif isinstance(domain, Choice) and None in domain.options:
            values[key] = None
    return values


def count_exclusions(trials: pd.DataFrame) -> pd.DataFrame:
    """Diverged and failed trials by arm and reason.

    Returns:
        Columns arm, status, reason (first line of the error; "loss left its range" for a diverged
        trial without one), trials; most frequent first.
    """
    left_out = trials[trials["status"].isin([DIVERGED, FAILED])]
    unnamed = left_out["status"].map({DIVERGED: "loss left its range", FAILED: "not recorded"})
    first_line = left_out["error"].str.strip().str.extract(r"^([^\n]*)", expand=False)
    reason = first_line.fillna(unnamed)
    keys = [left_out["arm"], left_out["status"], reason.rename("reason")]
    counts = left_out.groupby(keys, sort=False).size().rename("trials")
    return counts.sort_values(ascending=False, kind="stable").reset_index()


def export_command(run: RunFolder) -> str:
    """The command that exports the best configuration of a run."""
    return shell_line("export", run.path, out=EXPORT_TARGET)


def train_command(config: Path, space: ResolvedSpace) -> str:
    """The command that trains a configuration on the data of a study."""
    return shell_line("train", config, data_dir=space.data.data_dir or None)
