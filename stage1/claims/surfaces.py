"""Made-up response surfaces over a search space: how a score depends on the settings.

A surface is drawn at random: main effects of each setting, smooth waves across them, and perhaps a
cliff, a pocket of settings in which training goes wrong. Two arms share a part of theirs. Points
of a real design on such surfaces are not independent draws, and that is why they are used: what
independent draws promise of an interval, a design need not keep.

Scores are higher where better, in units of the surface's standard deviation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stage1.claims.designs import unit_points
from stage1.claims.intervals import Values
from stage1.claims.tuning_value import best_minus_middle, weighted_order

Surface = Callable[[Values], Values]
"""Scores, (points,), of unit points, (points, settings)."""
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


class Cliff(NamedTuple):
    """A pocket of the space where a score falls."""

    volume: float
    """Share of the space, in (0, 1)."""
    depth: float
    """How far it falls at the deepest, in standard deviations of the surface."""


def random_surface(
    settings: Sequence[Setting], *, roughness: float, generator: np.random.Generator
) -> Surface:
    """A surface of mean 0 and variance 1 over the space.

    Args:
        settings: Of the space.
        roughness: Share of the variance that is waves across the settings, in [0, 1]; the rest is
            main effects.
        generator: Of the surface.
    """
    main = [_main_effect(setting, generator) for setting in settings]
    directions = generator.normal(scale=2.0, size=(len(settings), _WAVES))
    phases = generator.uniform(0, 2 * np.pi, size=_WAVES)
    heights = generator.normal(size=_WAVES)

    def effects(points: Values) -> Values:
        columns = [effect(points[:, i]) for i, effect in enumerate(main)]
        return np.asarray(np.sum(columns, axis=0))

    def waves(points: Values) -> Values:
        return np.asarray(np.cos(2 * points @ directions + phases) @ heights)

    parts = [(effects, 1 - roughness), (waves, roughness)]
    scaled = [_standardized(part, settings, share) for part, share in parts if share > 0]
    return lambda points: np.sum([part(points) for part in scaled], axis=0)


def _main_effect(setting: Setting, generator: np.random.Generator) -> Surface:
    if not setting.ordered:
        by_level = generator.normal(size=setting.levels)
        return lambda column: by_level[_level_of(column, setting.levels)]
    slope, bend = generator.normal(), generator.normal(scale=_BENDING)
    return lambda column: slope * (2 * column - 1) + bend * ((2 * column - 1) ** 2 - 1 / 3)


def _level_of(column: Values, levels: int) -> NDArray[np.intp]:
    return np.minimum((column * levels).astype(np.intp), levels - 1)


def _standardized(part: Surface, settings: Sequence[Setting], share: float) -> Surface:
    known = part(reference_points(tuple(settings)))
    scale = known.std()
    if scale == 0:
        return lambda points: np.zeros(len(points))
    return lambda points: (part(points) - known.mean()) / scale * np.sqrt(share)


def with_cliff(surface: Surface, cliff: Cliff, pocket: Surface) -> Surface:
    """The surface with a pocket cut into it.

    Args:
        surface: To be cut.
        cliff: How deep.
        pocket: 0 outside the pocket, up to 1 within.
    """
    return lambda points: surface(points) - cliff.depth * pocket(points)


def random_pocket(
    settings: Sequence[Setting], volume: float, generator: np.random.Generator
) -> Surface:
    """A corner of two settings that holds a share of the space: 0 outside, 0.5 to 1 inside."""
    size = min(2, len(settings))
    chosen = generator.choice(len(settings), size=size, replace=False)
    upward = generator.random(size) < 0.5
    reach = volume ** (1 / size)

    def depth(points: Values) -> Values:
        sides = np.where(upward, points[:, chosen], 1 - points[:, chosen])
        inside = (sides > 1 - reach).all(axis=1)
        share = ((sides - (1 - reach)) / reach).mean(axis=1)
        return np.where(inside, 0.5 + 0.5 * share, 0.0)

    return depth


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


def true_gap(surface: Surface, settings: Sequence[Setting]) -> float:
    """What tuning is worth on a surface: the gap over the whole space, without noise."""
    gap, _ = weighted_order(surface(reference_points(tuple(settings))), _reference_weights)
    return float(gap)


@lru_cache(maxsize=8)
def _reference_weights(configurations: int) -> Values:
    return best_minus_middle(configurations)


def with_gap(surface: Surface, gap: float, settings: Sequence[Setting]) -> Surface:
    """The surface stretched around its mean until tuning is worth `gap` on it."""
    middle = float(surface(reference_points(tuple(settings))).mean())
    factor = gap / true_gap(surface, settings)
    return lambda points: middle + factor * (surface(points) - middle)
