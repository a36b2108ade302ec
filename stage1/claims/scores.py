"""The scores of a run, as arrays: what all claims are tested on."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from stage1.base.metric_table import CORRELATION, LOSS
from stage1.claims.intervals import Values
from stage1.run.columns import COMPLETED, DESIGN, DIVERGED, PARAMETER_PREFIX
from stage1.run.folder import RunFolder
from stage1.run.registration import (
    Preregistration,
    preregistration_deviations,
    read_preregistration,
)
from stage1.run.resolved_space import ResolvedSpace, read_space, require_timeframes
from stage1.run.tables import read_blocks, read_cost, read_curves, read_test_period, read_trials


class RunTables(NamedTuple):
    """The tables of a run and what they are to be read by."""

    run: RunFolder
    space: ResolvedSpace
    """The resolved study."""
    registration: Preregistration
    trials: pd.DataFrame
    curves: pd.DataFrame
    cost: pd.DataFrame
    """No rows if nothing was timed."""
    blocks: pd.DataFrame
    """No rows if none were recorded."""
    test_period: pd.DataFrame
    """No rows if nobody has looked at it."""
    deviations: list[str]
    """What was edited since the first trial."""


def read_run(run: RunFolder) -> RunTables:
    """Read a run folder, beside a running study too.

    Raises:
        ResultsError: The folder is not a run, or a file in it cannot be read.
    """
    trials = read_trials(run)  # first: then every trial has its curve and its blocks
    space = read_space(run)
    require_timeframes(run.space, space)
    return RunTables(
        run=run,
        space=space,
        registration=read_preregistration(run),
        trials=trials,
        curves=read_curves(run),
        cost=read_cost(run),
        blocks=read_blocks(run),
        test_period=read_test_period(run),
        deviations=preregistration_deviations(run),
    )


def at_look(tables: RunTables, look: int) -> RunTables:
    """The tables with the design as far as a look goes, and all else that was run."""
    design = tables.trials[tables.trials["stage"] == DESIGN]
    planned = tables.registration.configurations_of(design["config_id"], look)

    def so_far(rows: pd.DataFrame) -> pd.DataFrame:
        return rows[(rows["stage"] != DESIGN) | rows["config_id"].isin(planned)]

    return tables._replace(
        trials=so_far(tables.trials),
        curves=so_far(tables.curves),
        blocks=so_far(tables.blocks) if len(tables.blocks) else tables.blocks,
    )


COPIES = "equal to an earlier configuration"
"""Why pairs of some configurations count in no arm."""
MOST_NOT_FINITE = 0.20
"""More diverged trials than this in both arms leave nothing to compare."""


class ArmScores(NamedTuple):
    """One arm's scores where the claims look; (configurations, seeds), NaN = none counts."""

    name: str
    """The arm's."""
    early: Values
    """val_correlation at the early epoch."""
    final: Values
    """val_correlation at the horizon."""
    log_loss: Values
    """log val_loss at the horizon."""
    diverged: NDArray[np.bool_]
    """Trials whose loss left the range of numbers."""


def both_scored(first: Values, second: Values) -> tuple[Values, Values]:
    """Two arms' scores with NaN wherever either arm has none: a training counts with its partner.

    Args:
        first: (configurations, seeds) of one arm.
        second: The same of the other arm.
    """
    pairs = np.isfinite(first) & np.isfinite(second)
    return np.where(pairs, first, np.nan), np.where(pairs, second, np.nan)


def means_over_seeds(scores: Values) -> Values:
    """Mean over the seeds that have a score; NaN where none has.

    Args:
        scores: (configurations, seeds).

    Returns:
        (configurations,).
    """
    counts = np.isfinite(scores).sum(axis=1)
    return np.where(counts > 0, np.nansum(scores, axis=1) / np.maximum(counts, 1), np.nan)


def share_diverged(arm: ArmScores) -> float:
    """Share of the trials that count which diverged, in [0, 1]; 0 where none counts."""
    counted = np.isfinite(arm.final)
    return float(arm.diverged[counted].mean()) if counted.any() else 0.0


def too_few_finite(first: ArmScores, second: ArmScores) -> str:
    """Why too much has diverged to compare two arms; empty if it has not."""
    shares = [share_diverged(arm) for arm in (first, second)]
    if min(shares) <= MOST_NOT_FINITE:
        return ""
    return (
        f"{shares[0]:.0%} and {shares[1]:.0%} of the trials diverged, more than "
        f"{MOST_NOT_FINITE:.0%} in both arms"
    )


class Scores(NamedTuple):
    """The design as it came out."""

    configurations: tuple[str, ...]
    """config_id in order, each distinct; every arm has them all, perhaps with gaps."""
    seeds: tuple[int, ...]
    epochs: NDArray[np.int64]
    """0 (before the first step) to the horizon."""
    early_epoch: int
    values: pd.DataFrame
    """Searched values by config_id, a column per dotted key."""
    correlation: dict[str, Values]
    """val_correlation by arm, (configurations, seeds, epochs)."""
    log_loss: dict[str, Values]
    """log val_loss by arm, (configurations, seeds, epochs), clipped."""
    diverged: dict[str, NDArray[np.bool_]]
    """By arm, (configurations, seeds)."""
    timeframes: dict[str, Values]
    """val_corr_<tf> at the horizon by arm, (configurations, seeds, timeframes)."""
    timeframe_names: tuple[str, ...]
    planned: NDArray[np.bool_]
    """Whether a configuration was to be trained with a seed, (configurations, seeds)."""
    left_out: dict[str, int]
    """Pairs of configuration and seed that no paired arm counts, by reason."""
    zero_log_loss: float
    """log of the loss of predicting 0, the score of a diverged trial; NaN if not recorded."""

    @property
    def loss(self) -> dict[str, Values]:
        """val_loss by arm, (configurations, seeds, epochs), clipped."""
        return {arm: np.exp(values) for arm, values in self.log_loss.items()}

    def arm(self, name: str) -> ArmScores:
        """What the claims need of an arm."""
        return ArmScores(
            name,
            early=self.correlation[name][:, :, self.early_epoch],
            final=self.correlation[name][:, :, -1],
            log_loss=self.log_loss[name][:, :, -1],
            diverged=self.diverged[name],
        )

    @property
    def complete(self) -> int:
        """Configurations that have a score with every planned seed."""
        first = next(iter(self.correlation.values()))
        return int((np.isfinite(first[:, :, -1]) >= self.planned).all(axis=1).sum())


def design_scores(
    trials: pd.DataFrame,
    curves: pd.DataFrame,
    space: ResolvedSpace,
    registration: Preregistration,
    look: int | None = None,
) -> Scores:
    """Arrange the design's trials.

    A diverged trial's correlation is 0 and its loss that of predicting 0, from the epoch it
    diverged at; no loss counts for more than that. What is beyond the look, or was not planned,
    does not count at all. A training that failed is left out of all paired arms; one that failed
    in an arm that runs on a part of the design, of that arm alone.

    Args:
        trials: Of the run.
        curves: Of the run.
        space: The resolved study.
        registration: What was planned.
        look: Configurations of the look; None = the last one that was taken, or else the first.
    """
    if look is None:
        look = [registration.size.looks[0], *looks_taken(trials, registration)][-1]
    design = registered_design(trials, registration, look)
    arms, size = list(registration.arms), registration.size
    distinct, repeated = _distinct(design, registration, look)
    configurations = tuple(distinct)
    index = pd.MultiIndex.from_product([arms, configurations, registration.seeds])
    cells = design.set_index(["arm", "config_id", "seed"]).reindex(index)
    shape = (len(arms), len(configurations), len(registration.seeds))
    epochs = np.arange(registration.horizon_epoch + 1)
    status = cells["status"].to_numpy(dtype=object).reshape(shape)
    diverged = status == DIVERGED
    last_epoch = _column(cells, "epochs").reshape(*shape, 1)
    log_zero = _log_zero_loss(design)

    correlation = _by_epoch(curves, cells, CORRELATION, epochs).reshape(*shape, len(epochs))
    log_loss = floored_log(_by_epoch(curves, cells, LOSS, epochs)).reshape(*shape, len(epochs))
    missing = ~(np.isfinite(correlation) & np.isfinite(log_loss))
    gone = diverged[..., None] & (missing | (epochs >= last_epoch))
    correlation = np.where(gone, 0.0, correlation)
    log_loss = np.where(gone | (log_loss > log_zero), log_zero, log_loss)
    usable = diverged | ((status == COMPLETED) & np.isfinite(correlation[..., -1]))
    paired = [arms.index(arm) for arm in registration.paired_arms]
    seeds = np.array([size.seeds_of(position) for position in range(len(configurations))])
    planned = np.arange(len(registration.seeds)) < seeds[:, None]  # (configurations, seeds)
    counted = np.broadcast_to(usable[paired].all(axis=0) & planned, shape).copy()
    later = [place for place in range(len(arms)) if place not in paired]
    counted[later] &= usable[later]
    per_timeframe = np.stack(
        [_column(cells, f"val_corr_{name}").reshape(shape) for name in space.timeframes], axis=-1
    )
    per_timeframe = np.where(diverged[..., None], 0.0, per_timeframe)
    for array in (correlation, log_loss, per_timeframe):
        array[~counted] = np.nan
    return Scores(
        configurations=configurations,
        seeds=tuple(registration.seeds),
        epochs=epochs,
        early_epoch=registration.early_epoch,
        values=_values(design, configurations),
        correlation=dict(zip(arms, correlation, strict=True)),
        log_loss=dict(zip(arms, log_loss, strict=True)),
        diverged=dict(zip(arms, diverged & counted, strict=True)),
        timeframes=dict(zip(arms, per_timeframe, strict=True)),
        timeframe_names=space.timeframes,
        planned=planned,
        left_out=_left_out(status[paired], usable[paired], planned)
        | ({COPIES: repeated * size.seeds_of(0)} if repeated else {}),
        zero_log_loss=log_zero,
    )


def looks_taken(trials: pd.DataFrame, registration: Preregistration) -> list[int]:
    """The looks at which verdicts are given, by their number of configurations."""
    design = trials[trials["stage"] == DESIGN]
    ended = design[["arm", "config_id", "seed"]].itertuples(index=False, name=None)
    return registration.looks_taken(ended)


def registered_design(
    trials: pd.DataFrame, registration: Preregistration, look: int
) -> pd.DataFrame:
    """The trials that were planned of the design's first configurations, each once."""
    design = trials[(trials["stage"] == DESIGN) & trials["arm"].isin(registration.arms)]
    planned = registration.configurations_of(design["config_id"], look)
    rows = design[design["config_id"].isin(planned) & design["seed"].isin(registration.seeds)]
    return rows.drop_duplicates(["arm", "config_id", "seed"])


def _log_zero_loss(design: pd.DataFrame) -> float:
    zero = design["zero_val_loss"].median()
    return math.log(zero) if zero > 0 else math.nan


def floored_log(values: Values) -> Values:
    """log, with a floor in place of 0: zeros are finite and compare as equal."""
    return np.asarray(np.log(np.maximum(values, np.finfo(float).tiny)))


def curve_values(tables: RunTables, scores: Scores, column: str) -> dict[str, Values]:
    """A column of the curves by arm, (configurations, seeds, epochs), of the trials that count."""
    key = ["arm", "config_id", "seed", "epoch"]
    rows = tables.curves[tables.curves["stage"] == DESIGN].set_index(key).reindex(columns=[column])
    values = {}
    for arm, correlation in scores.correlation.items():
        cells = [[arm], scores.configurations, scores.seeds, scores.epochs]
        of_arm = _column(rows.reindex(pd.MultiIndex.from_product(cells)), column)
        counts = np.isfinite(correlation)
        values[arm] = np.where(counts, of_arm.reshape(correlation.shape), np.nan)
    return values


def _by_epoch(
    curves: pd.DataFrame, cells: pd.DataFrame, column: str, epochs: NDArray[np.int64]
) -> Values:
    """One column of the curves as (cells, epochs), NaN where there is no row."""
    table = np.full((len(cells), len(epochs)), np.nan)
    place = pd.Series(range(len(cells)), index=cells["trial_id"]).drop(math.nan, errors="ignore")
    rows = curves[curves["trial_id"].isin(place.index) & curves["epoch"].isin(epochs)]
    places = place.loc[rows["trial_id"]].to_numpy(dtype=int)
    table[places, rows["epoch"].to_numpy(dtype=int)] = _column(rows, column)
    return table


def _column(rows: pd.DataFrame, name: str) -> Values:
    if name not in rows:
        return np.full(len(rows), np.nan)
    return rows[name].to_numpy(dtype=float, na_value=np.nan)


def _values(design: pd.DataFrame, configurations: tuple[str, ...]) -> pd.DataFrame:
    keys = [column for column in design.columns.astype(str) if column.startswith(PARAMETER_PREFIX)]
    values = design.drop_duplicates("config_id").set_index("config_id")[keys]
    return values.rename(columns=lambda key: key.removeprefix(PARAMETER_PREFIX)).reindex(
        list(configurations)
    )


def _distinct(
    design: pd.DataFrame, registration: Preregistration, look: int
) -> tuple[list[str], int]:
    """The configurations that no earlier one equals, in order, and how many others there are.

    Points of an all-discrete space may coincide. Trained again with the same seed a configuration
    gives the same numbers again, which are no further evidence.
    """
    names = registration.configurations_of(design["config_id"], look)
    values = _values(design, tuple(names))
    if values.columns.empty:
        return names, 0
    repeated = values.astype(str).duplicated().to_numpy()
    distinct = [name for name, copy in zip(names, repeated, strict=True) if not copy]
    return distinct, int(repeated.sum())


def _left_out(
    status: NDArray[np.object_], usable: NDArray[np.bool_], planned: NDArray[np.bool_]
) -> dict[str, int]:
    """Why planned pairs are in no paired arm: the first reason of any of them."""
    reasons: dict[str, int] = {}
    missing = pd.isna(status)
    for cell in np.argwhere(~usable.all(axis=0) & planned):
        place = (slice(None), *cell)
        if missing[place].any():
            reason = "not run to its end in every arm"
        else:
            wrong = status[place][~usable[place]][0]
            reason = "no score at the horizon" if wrong == COMPLETED else f"{wrong} in an arm"
        reasons[reason] = reasons.get(reason, 0) + 1
    return reasons
