"""Which hyperparameters matter: partial variances, Adkins' sensitivity and effective dimension."""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from stage1.claims.designs import unit_value
from stage1.claims.intervals import Values
from stage1.claims.tuning import select_on_one_seed
from stage1.run.resolved_space import Choice, Domain, searched_values

with warnings.catch_warnings(action="ignore"):  # in notebooks: no widgets for its progress bars
    import optuna
    from optuna.distributions import BaseDistribution, FloatDistribution
    from optuna.importance import FanovaImportanceEvaluator

NEAR_PEAK = 0.95
"""Share of the best performance that counts as having reached it."""


class PartialVariances(NamedTuple):
    """The variance of the scores in parts, all in the squared unit of the score.

    Not shares: only so can two arms be compared, by dividing both by one arm's total.
    """

    main: dict[str, float]
    """What each parameter explains on its own."""
    remainder: float
    """Interactions and noise."""
    total: float
    """Variance of the scores across configurations."""


def partial_variances(
    values: pd.DataFrame,
    scores: Values,
    domains: Mapping[str, Domain],
    *,
    seed: int = 0,
    trees: int = 64,
) -> PartialVariances:
    """Main-effect variance of every parameter, by a functional ANOVA of a random forest.

    Averages run over the distribution that the design draws from: uniform over options and whole
    numbers, in the exponent where the domain says `log`. Where a conditional parameter is not
    active it has no effect, and the forest must see none: such configurations get a value
    drawn at random from the whole range.

    Read it with care. With few configurations a forest sees only a part of rugged effects. And it
    fits noise too, and shares that out: of noise alone, with 64 configurations, each of five
    parameters gets about a tenth of the variance, and each of two about a third.

    Args:
        values: One row per configuration, a column per dotted key; missing = not active.
        scores: One per configuration; configurations where it is not finite are left out.
        domains: By name, as under `space` in the study. The columns of others are ignored.
        seed: Of the forest and of the values of inactive parameters.
        trees: In the forest; the time grows with them.

    Returns:
        0 for parameters that take one value only; all 0 where the scores are constant; all NaN
        below two scores.

    Raises:
        ValueError: A value is outside its domain.

    Source:
        Hutter, Hoos, Leyton-Brown 2014, "An Efficient Approach for Assessing Hyperparameter
        Importance", as `optuna.importance.FanovaImportanceEvaluator`; the filling is ours.
    """
    known = np.isfinite(scores)
    scores = scores[known]
    if len(scores) < 2:
        return PartialVariances(dict.fromkeys(domains, math.nan), math.nan, math.nan)
    generator = np.random.default_rng(seed)
    rows = [searched_values(domains, cells) for cells in values[known].to_dict("records")]
    places = {}
    for name, domain in domains.items():
        column = {row: searched[name] for row, searched in enumerate(rows) if name in searched}
        if len(set(column.values())) > 1:
            places[name] = _places(name, column, scores, domain, generator)
    total = float(scores.var(ddof=1)) if np.ptp(scores) > 0 else 0.0
    shares = _main_shares(places, scores, seed=seed, trees=trees) if places and total else {}
    main = {key: float(shares.get(key, 0.0)) * total for key in domains}
    return PartialVariances(main, max(total - sum(main.values()), 0.0), total)


def _places(
    name: str,
    column: Mapping[int, Any],
    scores: Values,
    domain: Domain,
    generator: np.random.Generator,
) -> Values:
    """Where each value lies in its domain, by cumulative probability; in [0, 1].

    `column` has the values of the rows in which the setting is active.

    Options are put in the order of their mean scores, so that a tree reaches its best grouping of
    them with one split; in any other order a small forest overlooks an option in the middle.

    Source:
        Breiman et al. 1984, "Classification and Regression Trees", section 4.2.2, for the order.
    """
    if isinstance(domain, Choice):
        of_option: dict[Any, list[float]] = {}
        for row, value in column.items():
            of_option.setdefault(value, []).append(scores[row])
        means = {option: np.mean(some) for option, some in of_option.items()}
        by_score = sorted(domain.options, key=lambda option: means.get(option, math.inf))
        domain = domain.model_copy(update={"options": by_score})
    places = generator.random(len(scores))
    for row, value in column.items():
        places[row] = _place(name, value, domain)
    return places


def _place(key: str, value: Any, domain: Domain) -> float:
    """The value's place in its domain.

    The forest's averages then run over the design's distribution. Optuna's own encoding averages
    uniformly over the numbers themselves, and over combinations of options that do not exist.
    """
    place = unit_value(value, domain)
    if math.isfinite(place):
        return place
    if isinstance(domain, Choice):
        raise ValueError(f"{key} must be one of {domain.options}, got {value!r}")
    raise ValueError(f"{key} must be in [{domain.low:g}, {domain.high:g}], got {float(value):g}")


def _main_shares(
    places: dict[str, Values], scores: Values, *, seed: int, trees: int
) -> dict[str, float]:
    """Shares of the forest's variance; at least one parameter, and the scores are not constant."""
    unit: dict[str, BaseDistribution] = {key: FloatDistribution(0, 1) for key in places}
    trials = [
        optuna.create_trial(
            params={key: float(place[row]) for key, place in places.items()},
            distributions=unit,
            value=float(score),
        )
        for row, score in enumerate(scores)
    ]
    with _quiet():
        study = optuna.create_study()
    study.add_trials(trials)
    try:
        return FanovaImportanceEvaluator(n_trees=trees, seed=seed).evaluate(study)
    except RuntimeError:  # no tree of a small forest found anything to split by
        return {}


@contextmanager
def _quiet() -> Iterator[None]:
    """Optuna does not announce a study that lives for one calculation."""
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(verbosity)


class Sensitivity(NamedTuple):
    """How much of the performance needs tuning per environment."""

    per_environment: float
    """Mean performance with the best configuration of each environment."""
    cross_environment: float
    """Mean performance with the one configuration that is best on average."""
    phi: float
    """Their difference: what is lost by tuning once."""


def hyperparameter_sensitivity(performance: Values) -> Sensitivity:
    """Adkins' Phi: mean over environments of the best, minus the best mean over environments.

    Each maximum picks up some noise; `cross_seed_sensitivity` does not.

    Args:
        performance: (configurations, environments), on one scale (Adkins normalises by percentiles
            of each environment); here an environment is a timeframe. Configurations with a value
            that is not finite are left out.

    Returns:
        Phi is >= 0, in the unit of the performance. All NaN without a configuration.

    Source:
        Adkins, Bowling, White 2024, "A Method for Evaluating Hyperparameter Sensitivity in
        Reinforcement Learning".
    """
    known = performance[np.isfinite(performance).all(axis=1)]
    if known.size == 0:
        return Sensitivity(math.nan, math.nan, math.nan)
    each, once = float(known.max(axis=0).mean()), float(known.mean(axis=1).max())
    return Sensitivity(each, once, each - once)


def cross_seed_sensitivity(performance: Values) -> Sensitivity:
    """Adkins' Phi with every configuration chosen on one seed and scored on another.

    Args:
        performance: (configurations, environments, seeds), as `hyperparameter_sensitivity`.

    Returns:
        Mean over the ordered pairs of seeds. Phi may be negative: then what looks best in an
        environment is luck. All NaN with one seed or without a configuration.

    Source:
        Adkins, Bowling, White 2024; the choice on another seed is ours.
    """
    known = performance[np.isfinite(performance).all(axis=(1, 2))]
    if known.size == 0:
        return Sensitivity(math.nan, math.nan, math.nan)
    environments = range(known.shape[1])
    each = float(np.mean([select_on_one_seed(known[:, place]) for place in environments]))
    once = select_on_one_seed(known.mean(axis=1))
    return Sensitivity(each, once, each - once)


def tuned_performance(table: pd.DataFrame) -> Values:
    """Performance when k parameters are tuned per environment, k = 0 .. all of them.

    The others stay at the configuration that is best on average over environments (the first of
    equals); of all sets of k parameters the best counts.

    Args:
        table: Performance on a full grid, indexed by the parameters, one column per environment.

    Returns:
        (parameters + 1), never falling; first and last are the cross-environment and the
        per-environment performance of `hyperparameter_sensitivity`.

    Raises:
        ValueError: The table is no full grid, each point once and finite.

    Source:
        Adkins, Bowling, White 2024.
    """
    grid = _full_grid(table)  # (levels of each parameter ..., environments)
    parameters = range(grid.ndim - 1)
    means = grid.mean(axis=-1)
    best = np.unravel_index(means.argmax(), means.shape)
    result = []
    for number in range(grid.ndim):
        reached = []
        for tuned in combinations(parameters, number):
            fixed = tuple(slice(None) if p in tuned else best[p] for p in parameters)
            free = grid[fixed].reshape(-1, grid.shape[-1])
            reached.append(free.max(axis=0).mean())
        result.append(max(reached))
    return np.array(result)


def _full_grid(table: pd.DataFrame) -> Values:
    index = table.index
    levels = [index.get_level_values(place).unique() for place in range(index.nlevels)]
    shape = tuple(map(len, levels))
    performance = table.to_numpy(dtype=float)
    if index.has_duplicates or len(table) != math.prod(shape) or len(table) == 0:
        raise ValueError(
            f"table must hold each of the {math.prod(shape)} points of its grid once, got "
            f"{len(table)} rows"
        )
    if not np.isfinite(performance).all():
        raise ValueError("table must be finite, got missing or infinite values")
    places = [levels[i].get_indexer(index.get_level_values(i)) for i in range(index.nlevels)]
    grid = np.empty((*shape, performance.shape[1]))
    grid[tuple(places)] = performance
    return grid


def effective_dimension(table: pd.DataFrame, *, share: float = NEAR_PEAK) -> int | None:
    """Parameters to tune per environment to come near the best performance.

    Args:
        table: As `tuned_performance` takes it; 0 = useless performance.
        share: Of the best performance, in (0, 1].

    Returns:
        From 0 (none) to the number of parameters; None where the best performance is not
        positive, so that a share of it means nothing.

    Raises:
        ValueError: The table is no full grid.

    Source:
        Adkins, Bowling, White 2024.
    """
    reached = tuned_performance(table)
    if not reached[-1] > 0:
        return None
    return int(np.argmax(reached >= share * reached[-1]))
