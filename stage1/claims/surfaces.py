"""Made-up response surfaces over a search space: how a score depends on the settings.

A surface is drawn at random: main effects of each setting and smooth waves across them. A pocket
is where training goes wrong: a cliff. Points of a real design on such surfaces are not independent
draws, and that is why they are used: what independent draws promise of an interval, a design need
not keep.

Scores are higher where better, in units of the surface's standard deviation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stage1.claims.designs import unit_points
from stage1.claims.intervals import Values
from stage1.claims.tuning_value import best_minus_middle
from stage1.run.resolved_space import Choice, Domain

_WAVES = 6
_BENDING = 0.5
"""Standard deviation of a setting's quadratic effect, where that of the linear one is 1."""
_REFERENCE = 1024
"""Points of the space on which a surface is scaled and its true gap is taken."""


class Setting(NamedTuple):
    """One searched setting, as far as a design's points see it."""

    levels: int
    """Values that it can take; 0 = any number of a range."""
    ordered: bool
    """A number; False for options without an order."""


def settings_of(space: Mapping[str, Domain]) -> tuple[Setting, ...]:
    """The searched settings, in the order of the design's columns."""
    return tuple(map(_setting, space.values()))


def _setting(domain: Domain) -> Setting:
    if isinstance(domain, Choice):
        numbers = all(
            isinstance(o, int | float) and not isinstance(o, bool) for o in domain.options
        )
        return Setting(len(domain.options), ordered=numbers)
    levels = int(domain.high) - int(domain.low) + 1 if domain.type == "int" else 0
    return Setting(levels, ordered=True)


def random_surfaces(
    settings: Sequence[Setting],
    points: Values,
    *,
    surfaces: int,
    roughness: float,
    generator: np.random.Generator,
) -> Values:
    """Heights of surfaces that have nothing in common, each of mean 0 and variance 1 over a space.

    Args:
        settings: Of the space.
        points: (points, settings) in the unit cube, as `rounded`.
        surfaces: How many.
        roughness: Share of the variance that is waves across the settings, in [0, 1]; the rest is
            main effects.
        generator: Of the surfaces.

    Returns:
        (surfaces, 1024 + points): at the `reference_points`, then at `points`.
    """
    everywhere = np.concatenate([reference_points(tuple(settings)), points])
    parts = [
        (_main_effects(settings, everywhere, surfaces, generator), 1 - roughness),
        (_waves(everywhere, surfaces, generator), roughness),
    ]
    both = np.sum([np.sqrt(share) * _standardized(part) for part, share in parts], axis=0)
    return _standardized(both)  # waves may go along with main effects, or against them


def _main_effects(
    settings: Sequence[Setting], points: Values, surfaces: int, generator: np.random.Generator
) -> Values:
    heights = np.zeros((surfaces, len(points)))
    for setting, column in zip(settings, points.T, strict=True):
        if setting.ordered:
            side = 2 * column - 1
            heights += np.outer(generator.normal(size=surfaces), side)
            bends = generator.normal(scale=_BENDING, size=surfaces)
            heights += np.outer(bends, np.square(side) - 1 / 3)
        else:
            by_level = generator.normal(size=(surfaces, setting.levels))
            heights += by_level[:, _level_of(column, setting.levels)]
    return heights


def _waves(points: Values, surfaces: int, generator: np.random.Generator) -> Values:
    directions = generator.normal(scale=2.0, size=(points.shape[1], _WAVES * surfaces))
    phases = generator.uniform(0, 2 * np.pi, size=_WAVES * surfaces)
    heights = generator.normal(size=(surfaces, _WAVES))
    phase = (2 * points @ directions + phases).astype(np.float32)  # five times as fast
    waves = np.cos(phase).reshape(len(points), surfaces, _WAVES)
    return np.asarray(np.einsum("psw,sw->sp", waves, heights))


def _standardized(heights: Values) -> Values:
    """Of mean 0 and variance 1 over the space; a level surface is 0."""
    space = heights[:, :_REFERENCE]
    heights = heights - space.mean(axis=1, keepdims=True)
    scale = space.std(axis=1, keepdims=True)
    varies = scale > 1e-12
    return np.asarray(np.where(varies, heights / np.where(varies, scale, 1.0), 0.0))


def _level_of(column: Values, levels: int) -> NDArray[np.intp]:
    return np.minimum((column * levels).astype(np.intp), levels - 1)


def random_pocket(points: Values, volume: float, generator: np.random.Generator) -> Values:
    """A corner of two settings, (points,): 0 outside, 0.5 to 1 inside.

    It holds a share of the space, more where a setting has too few levels for that.
    """
    settings = points.shape[1]
    size = min(2, settings)
    chosen = generator.choice(settings, size=size, replace=False)
    upward = generator.random(size) < 0.5
    reach = volume ** (1 / size)
    sides = np.where(upward, points[:, chosen], 1 - points[:, chosen])
    edge = np.quantile(sides, 1 - reach, axis=0, method="inverted_cdf")
    inside = (sides >= edge).all(axis=1)
    share = np.clip((sides - edge) / reach, 0.0, 1.0).mean(axis=1)
    return np.where(inside, 0.5 + 0.5 * share, 0.0)


@lru_cache(maxsize=16)
def reference_points(settings: tuple[Setting, ...]) -> Values:
    """Points that stand for the whole space, (1024, settings), as its settings round them."""
    points = unit_points(len(settings), _REFERENCE, np.random.default_rng(0))
    return rounded(points, settings)


def rounded(points: Values, settings: Sequence[Setting]) -> Values:
    """Unit points moved to the middle of the level of each setting that they fall into."""
    columns = [
        (_level_of(points[:, i], setting.levels) + 0.5) / setting.levels
        if setting.levels
        else points[:, i]
        for i, setting in enumerate(settings)
    ]
    return np.stack(columns, axis=1)


def true_gaps(values: Values) -> Values:
    """What tuning is worth on surfaces: the gap over the whole space, without noise.

    Args:
        values: (..., 1024), at the `reference_points`.

    Returns:
        (...), 0 where a surface is level.
    """
    return np.asarray(np.sort(values, axis=-1) @ _reference_weights())


@lru_cache(maxsize=1)
def _reference_weights() -> Values:
    return best_minus_middle(_REFERENCE)
