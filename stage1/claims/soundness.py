"""Whether a run is what was planned, and its arms differ in nothing but what they should."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from stage1.claims.catalogue import REGISTERED
from stage1.claims.scores import COPIES, RunTables, Scores, looks_taken, registered_design
from stage1.run.columns import COMPLETED, CONFIRM, DESIGN, PARAMETER_PREFIX
from stage1.run.summary import configuration_means, full_horizon

_EQUAL = {
    "head_sha256": "weights outside the T5",
    "order_sha256": "order of the batches",
    "mask_sha256": "hidden bars",
}
_NO = "NO"
_SKILL_LEVEL = 0.95


def unfinished(tables: RunTables) -> str:
    """Why the verdicts have to wait; empty if the first look was taken."""
    registered = tables.registration
    if looks_taken(tables.trials, registered):
        return ""
    look = registered.size.looks[0]
    design = registered_design(tables.trials, registered, look)
    ended = int(design["arm"].isin(registered.paired_arms).sum())
    planned = registered.size.pairs(registered.distinct_of(look)) * len(registered.paired_arms)
    return (
        f"{ended} of {planned} trials of the design have ended, and verdicts are given at {look} "
        "configurations; go on with --resume"
    )


def deviations(tables: RunTables) -> list[str]:
    """Where the run is not what was preregistered, in words."""
    registered, texts = tables.registration, list(tables.deviations)
    design = tables.trials[tables.trials["stage"] == DESIGN]
    configurations = design["config_id"].nunique()
    if registered.claims not in (None, REGISTERED.sizes):
        texts.append(
            f"The registered claims {registered.claims} are not those tested: {REGISTERED.sizes}."
        )
    missing = unfinished(tables)
    if missing:
        texts.append(f"Missing trials: {missing}.")
    if configurations > registered.configurations and not registered.size.grows:
        texts.append(
            f"Extra looks: the design holds {configurations} configurations, "
            f"{registered.configurations} were registered; the verdicts rest on the first "
            f"{registered.configurations} alone."
        )
    seeds = sorted(set(design["seed"]) - set(registered.seeds))
    if seeds:
        texts.append(f"Extra looks: seeds {seeds} of the design were not registered; left out.")
    arms = sorted(set(design["arm"]) - set(registered.arms))
    if arms:
        texts.append(f"Arms that were not registered: {', '.join(arms)}; left out.")
    return texts


def pairing_checks(tables: RunTables) -> list[tuple[str, str]]:
    """What was to be equal or different between arms, and in how many cases it is."""
    design = tables.trials[tables.trials["stage"] == DESIGN]
    pairs = design.groupby(["config_id", "seed"])
    checks = [
        (f"Equal in all arms: {name}", _all_equal(pairs, column)) for column, name in _EQUAL.items()
    ]
    values = [name for name in design.columns.astype(str) if name.startswith(PARAMETER_PREFIX)]
    alike = sum(bool((group[values].nunique(dropna=False) == 1).all()) for _, group in pairs)
    checks.append(("Equal in all arms: hyperparameters", _of(alike, pairs.ngroups)))
    known = [group["lm_sha256"].dropna() for _, group in pairs]
    several = [weights for weights in known if len(weights) > 1]
    different = sum(bool(weights.is_unique) for weights in several)
    checks.append(("Different in every arm: T5 weights at step 0", _of(different, len(several))))
    return checks


def _all_equal(pairs: Any, column: str) -> str:
    """Among pairs that recorded it in every trial; one that ended before the horizon has less."""
    equal = recorded = 0
    for _, group in pairs:
        whole = group[group["status"] == COMPLETED][column]
        if len(whole) > 1 and whole.notna().all():
            recorded += 1
            equal += whole.nunique() == 1
    return _of(equal, recorded)


def _of(count: int, total: int) -> str:
    if total == 0:
        return "not recorded"
    return f"{'yes' if count == total else _NO}, {count} of {total} configurations x seeds"


def without_fingerprint(tables: RunTables, arms: tuple[str, str]) -> str:
    """Why the weights of two arms are not known; empty if every trial recorded their SHA-256."""
    design = tables.trials[(tables.trials["stage"] == DESIGN) & tables.trials["arm"].isin(arms)]
    began = design[design["steps"].notna() | (design["status"] == COMPLETED)]
    unknown = int(began["lm_sha256"].isna().sum())
    return f"{unknown} trials recorded no fingerprint of their weights" if unknown else ""


def same_weights(tables: RunTables, arms: tuple[str, str]) -> str:
    """What to say where two arms began with the same T5; empty if they never did."""
    design = tables.trials[tables.trials["stage"] == DESIGN].dropna(subset=["lm_sha256"])
    first, second = (
        design[design["arm"] == arm].set_index(["config_id", "seed"])["lm_sha256"] for arm in arms
    )
    equal = int((first == second.reindex(first.index)).sum())
    return f"{arms[0]} and {arms[1]} began {equal} times with the same T5 weights" if equal else ""


def baseline_warning(tables: RunTables, arm: str) -> str:
    """What to say if the arm's best configuration may not beat linear interpolation; else empty.

    The interval is Student's over seeds, at 95 %, of the configuration with the best objective. If
    that has one seed, the deviation between seeds is that of the arm's other configurations.
    """
    trials = tables.trials[tables.trials["arm"] == arm]
    means = configuration_means(trials, tables.space, tables.registration)  # best first
    if means.empty:
        return ""
    rows = full_horizon(trials, tables.space, [DESIGN, CONFIRM])
    best = rows[rows["config_id"] == means["config_id"].iloc[0]].drop_duplicates("seed")
    skill = best["val_skill"].dropna().to_numpy(dtype=float)
    low = _lower_end(skill, rows)
    if low > 0:
        return ""
    mean = f"val_skill {skill.mean():+.3f}" if len(skill) else "no val_skill recorded"
    bound = "one seed, so no interval" if math.isnan(low) else f"lower end {low:+.3f}"
    return (
        f"The best {arm} configuration is not shown to beat drawing a straight line across the "
        f"hidden bars ({mean}, {bound}): no verdict says that anything useful was learned."
    )


def _lower_end(values: np.ndarray[Any, np.dtype[np.float64]], rows: pd.DataFrame) -> float:
    """Of the interval of a mean over seeds; `rows` are the arm's trials, for the noise of one."""
    degrees, deviation = len(values) - 1, values.std(ddof=1) if len(values) > 1 else math.nan
    if len(values) == 1:
        groups = rows.groupby(["stage", "config_id"])["val_skill"]
        freedom = (groups.count() - 1).clip(lower=0)
        degrees = int(freedom.sum())
        if degrees:
            deviation = math.sqrt(float((groups.var() * freedom).sum()) / degrees)
    if degrees < 1:
        return math.nan
    reach = stats.t.ppf((1 + _SKILL_LEVEL) / 2, degrees)
    return float(values.mean() - reach * deviation / math.sqrt(len(values)))


def divergence_warnings(scores: Scores) -> list[str]:
    """Arms in which trials diverged, with their number."""
    return [
        f"{scores.diverged[arm].sum()} of {np.isfinite(curves[..., -1]).sum()} trials of the "
        f"design's arm {arm} diverged; they count with correlation 0 and the loss of predicting 0."
        for arm, curves in scores.correlation.items()
        if scores.diverged[arm].any()
    ]


def repeated_configurations(scores: Scores) -> str:
    """What to say where points of the design came out equal; else empty."""
    if COPIES not in scores.left_out:
        return ""
    number = len(scores.configurations)
    return (
        f"Points of the design came out equal: it holds {number} different configurations, and "
        "each counts once."
    )


def pairing_warnings(checks: list[tuple[str, str]]) -> list[str]:
    """What is wrong with the pairing, if anything."""
    return [
        f"The arms are not paired as they should be. {what}: {result}."
        for what, result in checks
        if result.startswith(_NO)
    ]
