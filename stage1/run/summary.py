"""What the tables of a run say: per arm, against the baseline, which is best, and what to run next.

Everything compared here is a *configuration* at the full horizon with every seed that was planned
for it, by its mean over those seeds; trials that a scheduler stopped never enter. The numbers
describe the run. They are no test of a difference between arms.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from stage1.base.errors import ResultsError
from stage1.base.metric_table import (
    ALL_TIMEFRAMES,
    BASELINE_PREFIX,
    LOSS,
    evaluation_key,
    metric_row,
)
from stage1.base.text import shell_line, shown
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
from stage1.run.looks import configuration_number
from stage1.run.registration import Preregistration
from stage1.run.resolved_space import ResolvedSpace, count_configurations, key_of, searched_values

Value = str | int | float | bool | None


class Rival(NamedTuple):
    """The best configuration of another arm that one would train."""

    arm: str
    config_id: str
    mean: float
    """Objective, mean over seeds."""


class BestConfiguration(NamedTuple):
    """The configuration to train in earnest, and what speaks for it."""

    arm: str
    stage: str
    """design, or confirm: a search point, scored on seeds that did not choose it."""
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
    noise: float
    """Standard deviation of the objective between seeds of a configuration; NaN = not known."""
    ties: tuple[Rival, ...]
    """The best of other arms where they lie within that noise."""
    trial_ids: tuple[str, ...]
    """Its trials, in the order of `by_seed`."""


class Progress(NamedTuple):
    """Trials of a stage that have ended, of those planned."""

    ended: int
    planned: int


def count_statuses(trials: pd.DataFrame) -> pd.DataFrame:
    """Trials by stage (rows) and status (columns, every status)."""
    counts = pd.crosstab(trials["stage"], trials["status"])
    return counts.reindex(columns=list(STATUSES), fill_value=0)


def progress(
    trials: pd.DataFrame,
    space: ResolvedSpace,
    registration: Preregistration,
    *,
    decided: bool = False,
    control_too: bool = False,
) -> dict[str, Progress]:
    """How far the design and the search have come.

    A design with looks is planned up to its last registered one, to a doubling beyond it that has
    begun, or to the look that decided.

    Args:
        trials: Of the run.
        space: The resolved study.
        registration: What was fixed.
        decided: Whether the last look taken decided.
        control_too: Whether a gain asks for shuffled weights on all configurations.
    """
    by_arm = planned_by_arm(trials, registration, decided=decided, control_too=control_too)
    ended = trials["stage"].value_counts()
    arms, most = len(registration.trainable_arms), space.search.trials
    distinct = arms * count_configurations(space.space, most)
    searched = max(min(most, distinct), int(ended.get(SEARCH, 0)))  # earlier versions repeated some
    planned = {DESIGN: sum(by_arm.values()), SEARCH: searched}
    return {stage: Progress(int(ended.get(stage, 0)), count) for stage, count in planned.items()}


def planned_by_arm(
    trials: pd.DataFrame, registration: Preregistration, *, decided: bool, control_too: bool
) -> dict[str, int]:
    """Trials of the design in each arm, as far as they are planned; see `progress`."""
    over = decided or bool((trials["stage"] != DESIGN).any())
    ended = _ended(trials[trials["stage"] == DESIGN])
    return registration.planned_trials(ended, over=over, control_too=control_too)


def _ended(design: pd.DataFrame) -> Iterator[tuple[str, str, int]]:
    return zip(design["arm"], design["config_id"], design["seed"], strict=True)


def full_horizon(trials: pd.DataFrame, space: ResolvedSpace, stages: list[str]) -> pd.DataFrame:
    """Completed trials of some stages that reached the horizon and have an objective.

    Adds the column `objective`.
    """
    rows = trials.assign(objective=trials.get(space.objective.metric, math.nan))
    reached = (rows["status"] == COMPLETED) & (rows["epochs"] >= space.horizon_epochs)
    return rows.loc[reached & rows["stage"].isin(stages) & rows["objective"].notna()]


def configuration_means(
    trials: pd.DataFrame, space: ResolvedSpace, registration: Preregistration
) -> pd.DataFrame:
    """Mean over seeds of the configurations that completed with all seeds planned for them.

    A configuration of the design has the seeds of its place there. A search point is chosen by its
    luck too, so it is compared by the seeds that it was confirmed on.

    Args:
        trials: Of the design and the confirmation; others are left out.
        space: The resolved study.
        registration: What was fixed.

    Returns:
        Columns arm, stage, config_id, objective, val_skill, seconds, seeds (their number); best
        first, ties in the order of their trials. No rows if no configuration is complete.
    """
    rows = _planned_rows(trials, space, registration)
    groups = rows.groupby(["arm", "stage", "config_id"], sort=False)
    means = groups[["objective", "val_skill", "seconds"]].mean()
    means["seeds"] = groups["seed"].count()
    complete = means[means["seeds"] == groups["planned"].first()]
    ascending = space.objective.mode == "min"
    return complete.sort_values("objective", ascending=ascending, kind="stable").reset_index()


def _planned_rows(
    trials: pd.DataFrame, space: ResolvedSpace, registration: Preregistration
) -> pd.DataFrame:
    """Full-horizon trials on seeds planned for their configuration; adds `planned`, how many."""
    design = trials.loc[trials["stage"] == DESIGN, "config_id"].unique()
    order = sorted(design, key=lambda name: (configuration_number(name), name))
    seeds, size = registration.seeds, registration.size
    planned = {name: seeds[: size.seeds_of(place)] for place, name in enumerate(order)}
    confirm = registration.confirm_seeds or seeds
    rows = full_horizon(trials, space, [DESIGN, CONFIRM])
    rows = rows.drop_duplicates(["arm", "stage", "config_id", "seed"])
    wanted = [
        planned[config_id] if stage == DESIGN else confirm
        for stage, config_id in zip(rows["stage"], rows["config_id"], strict=True)
    ]
    known = [seed in some for seed, some in zip(rows["seed"], wanted, strict=True)]
    rows = rows.assign(planned=[len(some) for some in wanted])
    return rows.loc[pd.Series(known, index=rows.index, dtype=bool)]


def leaderboard(
    trials: pd.DataFrame, space: ResolvedSpace, registration: Preregistration
) -> pd.DataFrame:
    """`configuration_means` of the arms that somebody would train for their own sake."""
    means = configuration_means(trials, space, registration)
    return means[means["arm"].isin(registration.trainable_arms)].reset_index(drop=True)


def seed_noise(trials: pd.DataFrame, space: ResolvedSpace, registration: Preregistration) -> float:
    """Standard deviation of the objective between seeds of a configuration, pooled.

    From the design's configurations with several seeds, in the arms that one would train; without
    any, from the confirmed ones.

    Returns:
        NaN where no configuration has two seeds.
    """
    rows = _planned_rows(trials, space, registration)
    rows = rows[rows["arm"].isin(registration.trainable_arms)]
    for stage in (DESIGN, CONFIRM):
        groups = rows[rows["stage"] == stage].groupby(["arm", "config_id"])["objective"]
        degrees = groups.count() - 1
        if degrees.sum() > 0:
            squares = (groups.var() * degrees).sum()
            return math.sqrt(float(squares) / float(degrees.sum()))
    return math.nan


def summarize_arms(
    trials: pd.DataFrame, space: ResolvedSpace, registration: Preregistration
) -> pd.DataFrame:
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
    means = configuration_means(trials[trials["stage"] == DESIGN], space, registration)
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


def cautions(
    trials: pd.DataFrame, space: ResolvedSpace, registration: Preregistration
) -> list[str]:
    """What a reader must know before the numbers, in plain words; empty if nothing."""
    if trials.empty:
        return ["No trial has ended yet, so there is nothing to compare."]
    means = configuration_means(trials, space, registration)
    if means.empty:
        return [
            "No configuration has completed with every seed planned for it, so there is none to "
            "recommend."
        ]
    if (means["val_skill"] > 0).any():
        return []
    return [
        "No configuration beats drawing a straight line across the hidden bars (val_skill <= 0): "
        "the models have learned nothing useful yet. Do not read anything into differences between "
        "arms; train longer, on more data or with another range of learning rates first."
    ]


def best_configuration(
    trials: pd.DataFrame,
    space: ResolvedSpace,
    registration: Preregistration,
    *,
    arm: str | None = None,
    config_id: str | None = None,
) -> BestConfiguration:
    """The best by mean over seeds, among complete configurations of arms that one would train.

    Args:
        trials: Of the run.
        space: The resolved study.
        registration: What was fixed.
        arm: Only of this arm, a control too.
        config_id: Only this configuration.

    Raises:
        ResultsError: There is no such configuration.
    """
    if arm is not None and arm not in registration.arms:
        raise ResultsError(f"arm must be one of {', '.join(registration.arms)}, got {shown(arm)}")
    board = leaderboard(trials, space, registration)
    means = board
    if arm is not None:
        means = configuration_means(trials, space, registration)
        means = means[means["arm"] == arm]
    if config_id is not None:
        means = means[means["config_id"] == config_id]
    if means.empty:
        which = f" named {config_id}" if config_id else ""
        where = f"arm {arm}" if arm else f"arm {' or '.join(registration.trainable_arms)}"
        raise ResultsError(
            f"a run must hold a configuration{which} of {where} completed to epoch "
            f"{space.horizon_epochs} with every seed planned for it, got none; let the study go on "
            "(--resume), or see the column error of its trials"
        )
    best = means.iloc[0]
    rows = _planned_rows(trials, space, registration)
    for name in ("arm", "stage", "config_id"):
        rows = rows[rows[name] == best[name]]
    rows = rows.sort_values("seed")
    noise = seed_noise(trials, space, registration)
    others = board[board["arm"] != best["arm"]].drop_duplicates("arm")
    close = others[(others["objective"] - best["objective"]).abs() <= noise]
    return BestConfiguration(
        arm=str(best["arm"]),
        stage=str(best["stage"]),
        config_id=str(best["config_id"]),
        values=row_values(rows.iloc[0], space),
        mean=float(best["objective"]),
        by_seed={int(s): float(v) for s, v in zip(rows["seed"], rows["objective"], strict=True)},
        skill=float(best["val_skill"]),
        candidates=len(means),
        noise=noise,
        ties=tuple(
            Rival(str(row.arm), str(row.config_id), float(row.objective))
            for row in close.itertuples()
        ),
        trial_ids=tuple(rows["trial_id"]),
    )


NO_CHECKPOINT = (
    "of the best configuration no trial is among those whose weights are kept, which are the best "
    "trials of the whole study; export and train it, and stage1.evaluate scores it there"
)
"""Why nothing was scored on the test period."""


def kept_checkpoints(run: RunFolder, trials: pd.DataFrame, best: BestConfiguration) -> list[str]:
    """The trials of a configuration whose weights are kept, of the search too."""
    return [name for name in _trials_of(trials, best) if run.checkpoint(name).exists()]


def _trials_of(trials: pd.DataFrame, best: BestConfiguration) -> pd.Series[str]:
    same = (trials["arm"] == best.arm) & (trials["config_id"] == best.config_id)
    return trials.loc[same, "trial_id"]


def tested_scores(
    looks: pd.DataFrame, trials: pd.DataFrame, best: BestConfiguration
) -> pd.DataFrame:
    """What the trials of a configuration came to on the test period, all timeframes together.

    Rows of `looks`, a table as `TEST_COLUMNS` has it: of the model and of interpolation each.
    """
    mine = looks["trial_id"].isin(_trials_of(trials, best))
    return looks[mine & (looks["timeframe"] == ALL_TIMEFRAMES)]


def tested_column(metric: str) -> str:
    """The column of a pooled metric in a table of the test period."""
    return metric if metric == LOSS else evaluation_key(metric)


def tie_text(rival: Rival) -> str:
    """That a rival is as good, in words."""
    return (
        f"{rival.config_id} of arm {rival.arm} is as good within the noise of a seed "
        f"({rival.mean:.4f})"
    )


def noise_text(best: BestConfiguration) -> str:
    """The standard deviation between seeds, or that nobody knows it."""
    return "not known, one seed each" if math.isnan(best.noise) else f"{best.noise:.4f}"


def row_values(row: pd.Series[Any], space: ResolvedSpace) -> dict[str, Value]:
    """The searched values of a trial, by dotted key."""
    cells = {key: row.get(PARAMETER_PREFIX + key) for key in map(key_of, space.space)}
    values = searched_values(space.space, cells)
    return {
        key_of(name): value.item() if hasattr(value, "item") else value
        for name, value in values.items()
    }


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


def export_command(run: RunFolder, *, final: bool = False) -> str:
    """The command that exports the best configuration of a run."""
    return shell_line("export", run.path, *(["--final"] if final else []))


def export_target(
    study: str, *, arm: str | None = None, config_id: str | None = None, final: bool = False
) -> Path:
    """Where export writes unless told otherwise: a file of the study, and of what was asked for."""
    parts = (study, arm, config_id, "final" if final else None)
    return Path("configs", f"{'-'.join(filter(None, parts))}.yaml")


def train_command(config: Path) -> str:
    """The command that trains an exported configuration, on the data that it names."""
    return shell_line("train", config)
