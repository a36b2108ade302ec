"""The points of a design in the unit cube, and which of its settings they can tell apart."""

from __future__ import annotations

from itertools import combinations
from typing import NamedTuple

import numpy as np
from scipy.stats import qmc

from stage1.claims.intervals import Values

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
        points: (configurations, settings) in [0, 1].
    """
    halves = np.where(points >= 0.5, 1.0, -1.0)
    found = []
    for first, second in combinations(range(points.shape[1]), 2):
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
