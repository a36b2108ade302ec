"""The points of a design in the unit cube, and which of its settings they can tell apart."""

from __future__ import annotations

from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import qmc

from stage1.claims.intervals import Values
from stage1.run.resolved_space import Choice, Domain, ResolvedSpace, searched_values

LARGEST_AGREEMENT = 0.9
"""Two settings whose halves correlate above this vary together: their effects are one."""
FEWEST_CONFIGURATIONS = 16
"""Of a design that is to answer anything about settings."""
MANY_SETTINGS = 6
"""From so many on a design needs twice as many configurations."""


def unit_points(settings: int, configurations: int, generator: np.random.Generator) -> Values:
    """Points of one scrambled Sobol sequence, in order; a longer design begins with the same ones.

    Args:
        settings: Dimensions, at least 1.
        configurations: How many points.
        generator: Of the scramble.

    Returns:
        (configurations, settings) in [0, 1).

    Source:
        Owen 1998, "Scrambling Sobol' and Niederreiter-Xing Points", as `scipy.stats.qmc.Sobol`.
    """
    points: Values = qmc.Sobol(settings, scramble=True, rng=generator).random(configurations)
    return points


class Alias(NamedTuple):
    """Two settings that a design cannot tell apart."""

    first: int
    second: int
    """Columns of the points."""
    correlation: float
    """Of their halves, in [-1, 1]."""


def aliases(points: Values) -> list[Alias]:
    """The pairs of settings whose upper and lower halves (nearly) always go together.

    Eight Sobol points have such pairs from five settings on, for every scramble: the first bits of
    two dimensions coincide. A setting that never leaves one half tells nothing of either.

    Args:
        points: (configurations, settings) in [0, 1]; a setting with a NaN, which is not active
            everywhere, has no halves.
    """
    halves = np.where(points >= 0.5, 1.0, -1.0)
    found = []
    settings = np.flatnonzero(np.isfinite(points).all(axis=0)).tolist()
    for first, second in combinations(settings, 2):
        correlation = _correlation(halves[:, first], halves[:, second])
        if abs(correlation) > LARGEST_AGREEMENT:
            found.append(Alias(first, second, correlation))
    return found


def _correlation(one: Values, other: Values) -> float:
    one, other = one - one.mean(), other - other.mean()
    scale = float(np.sqrt(np.square(one).sum() * np.square(other).sum()))
    return float(one @ other) / scale if scale > 0 else 0.0


def fewest_configurations(settings: int) -> int:
    """How many configurations a design of so many settings needs to tell them apart."""
    return FEWEST_CONFIGURATIONS * (2 if settings >= MANY_SETTINGS else 1)


def told_apart(space: ResolvedSpace, values: pd.DataFrame) -> str:
    """Why a design's settings cannot be told apart, in words; empty where they can.

    A setting with a condition is left out: it has no value in some configurations.

    Args:
        space: The resolved study.
        values: A row per configuration, a column per dotted key.
    """
    keys = list(space.space)
    points = unit_values(space, values)
    points[:, [bool(domain.when) for domain in space.space.values()]] = np.nan
    pairs = [f"{keys[alias.first]} from {keys[alias.second]}" for alias in aliases(points)]
    if not pairs:
        return ""
    return f"its {len(values)} configurations cannot tell {', '.join(pairs)}: they vary together"


def unit_values(space: ResolvedSpace, values: pd.DataFrame) -> Values:
    """Where each value lies in what was searched: the points that a design was made from.

    Options and whole numbers lie mid-way between the points that give them.

    Args:
        space: The resolved study.
        values: A row per configuration, a column per dotted key; missing = not active.

    Returns:
        (configurations, settings) in [0, 1], in the order of the space; NaN where a setting is not
        active, or has a value that was not searched.
    """
    domains = list(space.space.items())
    rows = [searched_values(space.space, cells) for cells in values.to_dict("records")]
    points = [
        [unit_value(row[name], domain) if name in row else np.nan for name, domain in domains]
        for row in rows
    ]
    return np.array(points, dtype=float).reshape(len(rows), len(domains))


def unit_value(value: Any, domain: Domain) -> float:
    """The share of a domain below a value, in [0, 1]; NaN for a value outside it.

    Options and whole numbers lie mid-way in their cell; a domain of one number is at 0.5.
    """
    if isinstance(domain, Choice):
        options = domain.options
        return (options.index(value) + 0.5) / len(options) if value in options else np.nan
    low, high, value = float(domain.low), float(domain.high), float(value)
    if not low <= value <= high:
        return np.nan
    whole = 1.0 if domain.type == "int" else 0.0  # a whole number's cell reaches to the next
    ends = np.array([low, value, value + whole, high + whole])
    first, begin, end, last = np.log(ends) if domain.log else ends
    return float(((begin + end) / 2 - first) / (last - first)) if last > first else 0.5
