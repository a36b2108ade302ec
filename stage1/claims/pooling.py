"""Several studies of the same question: which may be put together, and what they say together."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import brentq
from scipy.special import stdtrit
from scipy.stats import chi2

from stage1.claims.catalogue import Definition, Unit
from stage1.claims.claim import Claim
from stage1.claims.intervals import Interval, Values, student_interval
from stage1.claims.loaded_run import Run
from stage1.claims.verdicts import ATTRIBUTABLE, GAINS
from stage1.run.columns import PRETRAINED

LANGUAGE_MODEL = "transfer_learning.lm_name_or_path"
CHECKPOINTS, BARS, SEEDS = "checkpoints", "bars", "seeds of the study"
"""What runs that may be pooled differ in; each run has its own."""
ERROR_RATE = 0.05
"""Of the interval of a pooled effect, two-sided: it describes, and no verdict hangs on it."""
_FINGERPRINTS = ["lm_sha256", "head_sha256", "order_sha256", "mask_sha256", "steps", "val_loss"]
"""Two trainings that agree in all of them are one training."""


class Pooled(NamedTuple):
    """An effect over several runs."""

    interval: Interval
    """Of the mean effect of runs like these."""
    spread: float
    """Standard deviation of the true effect between runs, on the scale of `on_line`; 0 = none
    seen."""
    p_equal: float
    """That all runs have the same effect (Cochran's Q)."""


# Which may be put together ----------------------------------------------------------------------


def settings(run: Run) -> dict[str, Any]:
    """What a run is a study of, by dotted key: what must agree, and what runs are pooled over."""
    space, registration = run.tables.space, run.tables.registration
    flat = {f"config.{key}": value for key, value in _leaves(space.config).items()}
    flat |= {f"space.{key}": domain.model_dump() for key, domain in space.space.items()}
    flat |= {f"arms.{arm}": dict(values) for arm, values in space.arms.items()}
    return flat | {
        "objective": space.objective.model_dump(),
        "horizon_epochs": space.horizon_epochs,
        "early_epoch": registration.early_epoch,
        "claims": registration.claims,
        "design": space.design.model_dump(exclude_none=True),
        "search.trials": space.search.trials,
        "search.start": [dict(point) for point in space.search.start],
        "warm_start": registration.warm_start and registration.warm_start.prereg_sha256,
        "seed": space.seed,
        "bars": space.data.fingerprint,
        "checkpoints": dict(sorted(registration.language_models.items())),
    }


def _leaves(values: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        key = f"{above}{name}"
        flat |= _leaves(value, f"{key}.") if isinstance(value, dict) and value else {key: value}
    return flat


_LARGEST_LOG = 700.0
"""Of a number that can be written."""
_FREE = {
    *("design", "search.trials", "search.start", "warm_start", "seed", "bars", "checkpoints"),
    *(f"config.data.{key}" for key in ("data_dir", "sha256")),
    *(f"{part}.{LANGUAGE_MODEL}" for part in ("config", "space")),
}
"""Settings that runs which are pooled may differ in: how much was run, what their
searches, which no claim rests on, began with, and what is pooled over."""


def differing_settings(runs: Sequence[Run]) -> dict[str, list[Any]]:
    """The settings that are not the same in all runs, each with its value in every run."""
    every = [settings(run) for run in runs]
    keys = sorted(set().union(*every))
    rows = {key: [one.get(key) for one in every] for key in keys}
    return {key: values for key, values in rows.items() if any(v != values[0] for v in values[1:])}


def pooled_over(runs: Sequence[Run]) -> tuple[str, str]:
    """What runs may be pooled over, or why they may not: one of the two is empty.

    They may differ in one thing alone, and each must bring its own: else what is seen twice would
    count twice, or nobody could tell what a difference comes from.
    """
    differing = differing_settings(runs)
    others = sorted(set(differing) - _FREE)
    if others:
        more = f" and {len(others) - 3} more" if len(others) > 3 else ""
        return "", f"they differ in {', '.join(others[:3])}{more}"
    for first, second in combinations(runs, 2):
        if shared := shared_trainings(first, second):
            return "", f"{first.path} and {second.path} share {shared} trainings"
    varied = [name for name in (CHECKPOINTS, BARS) if name in differing]
    if len(varied) > 1:
        return "", f"they differ in {' and in '.join(varied)}: one of the two must be the same"
    over = varied[0] if varied else SEEDS
    values = differing.get(over, []) if varied else differing.get("seed", [])
    for (first, one), (second, other) in combinations(zip(runs, values, strict=False), 2):
        if one == other:
            return "", f"{first.path} and {second.path} have the same {over}, the others differ"
    return (over, "") if values else ("", "nothing tells them apart")


def shared_trainings(first: Run, second: Run) -> int:
    """How many trainings of two runs are the same ones, as copies of a run's rows are."""
    rows = [
        set(run.trials.dropna(subset=_FINGERPRINTS)[_FINGERPRINTS].itertuples(index=False))
        for run in (first, second)
    ]
    return len(rows[0] & rows[1])


# What they say together -------------------------------------------------------------------------


def pooled_claim(claims: Sequence[Claim], configurations: Sequence[int]) -> Pooled | None:
    """A claim over runs, by random effects; None where a run has no bounded interval of it.

    Args:
        claims: The same claim in every run.
        configurations: Behind each of them.
    """
    definition = claims[0].definition
    effects = [
        on_line(definition, claim.interval, degrees=max(number - 1, 1), error_rate=claim.level)
        for claim, number in zip(claims, configurations, strict=True)
    ]
    if any(effect is None for effect in effects):
        return None
    estimates, errors = np.array(effects, dtype=np.float64).T
    pooled = random_effects(estimates, errors, error_rate=ERROR_RATE)
    return pooled._replace(interval=_off_line(definition, pooled.interval))


def on_line(
    definition: Definition, interval: Interval, *, degrees: float, error_rate: float
) -> tuple[float, float] | None:
    """An effect and its standard error where its interval is about as long on either side.

    Shares that come from a ratio are taken as its logarithm. The error is what makes Student's
    interval as long as this one; where the interval had fewer degrees of freedom it is too large,
    which errs on the safe side.

    Args:
        definition: Of the claim.
        interval: That decided it.
        degrees: Of freedom, > 0.
        error_rate: Of the interval, two-sided.

    Returns:
        None where an end is missing, or the interval is a point.
    """
    ends = [_onto(definition, value) for value in interval[:3]]
    half = abs(ends[2] - ends[1]) / 2
    if not (math.isfinite(ends[0]) and math.isfinite(half) and half > 0):
        return None
    return ends[0], half / float(stdtrit(degrees, 1 - error_rate / 2))


def _onto(definition: Definition, value: float) -> float:
    if definition.unit is Unit.TAU:
        return value
    ratio = value if definition.unit is Unit.RATIO else 1 + _sign(definition) * value
    return math.log(ratio) if ratio > 0 else math.nan


def _off_line(definition: Definition, interval: Interval) -> Interval:
    if definition.unit is Unit.TAU:
        return interval
    ratios = [math.exp(min(value, _LARGEST_LOG)) for value in interval[:3]]
    if definition.unit is Unit.SHARE:
        ratios = [_sign(definition) * (ratio - 1) for ratio in ratios]
    return Interval(ratios[0], min(ratios[1:]), max(ratios[1:]), interval.p)


def _sign(definition: Definition) -> int:
    """1 where a share is what the ratio is above 1, -1 where it is what is missing to 1."""
    return 1 if definition.more == "higher" else -1


def random_effects(estimates: Values, errors: Values, *, error_rate: float) -> Pooled:
    """The mean effect over runs whose true effects differ too.

    With few runs the interval is wide, as it must be: two runs are two draws.

    Args:
        estimates: (runs,), at least two.
        errors: (runs,), their standard errors, > 0.
        error_rate: Probability outside the interval, two-sided, in (0, 1).

    Raises:
        ValueError: Fewer than two runs, or an error that is not above 0.

    Source:
        Paule and Mandel 1982 (variance between runs); Hartung and Knapp 2001 (interval), with
        Röver, Knapp and Friede 2015's rule that it is never narrower than by the errors alone.
    """
    runs = len(estimates)
    if runs < 2 or not (errors > 0).all():
        raise ValueError(f"needs two runs and errors > 0, got {runs} and {errors.min(initial=1)}")

    def weighted(variance: float) -> tuple[Values, float, float]:
        weights = 1 / (np.square(errors) + variance)
        mean = float((weights * estimates).sum() / weights.sum())
        return weights, mean, float((weights * np.square(estimates - mean)).sum())

    heterogeneity = weighted(0.0)[2]
    variance = 0.0
    if heterogeneity > runs - 1:
        most = float(np.ptp(estimates)) ** 2 * runs
        variance = float(brentq(lambda v: weighted(v)[2] - (runs - 1), 0.0, most))
    weights, mean, scatter = weighted(variance)
    error = math.sqrt(max(scatter / (runs - 1), 1.0) / float(weights.sum()))
    interval = student_interval(mean, error, degrees=runs - 1, error_rate=error_rate)
    return Pooled(interval, math.sqrt(variance), float(chi2.sf(heterogeneity, runs - 1)))


def agreeing_checkpoints(runs: Sequence[Run], number: str) -> list[str]:
    """The checkpoints in whose runs a claim is a gain that the weights' content explains.

    Two of them are what it takes to speak of language pretraining instead of a checkpoint.

    Args:
        runs: Any.
        number: Of the claim.

    Returns:
        The first digits of the weights' checksums in each such run, every checkpoint once.
    """
    named = []
    for run in runs:
        (claim,) = (line for line in run.evaluation.lines if line.id == number)
        if claim.verdict not in GAINS or claim.attribution != ATTRIBUTABLE:
            continue
        arm = run.tables.registration.roles.get(PRETRAINED)
        weights = run.trials.loc[run.trials["arm"] == arm, "lm_sha256"].dropna()
        named.append(", ".join(sorted({sha256[:12] for sha256 in weights})))
    return list(dict.fromkeys(named))
