"""Made-up studies of a known truth, to see how often the tests err and how much they see.

A study is played on the user's own space and design: the points of a Sobol sequence, rounded as the
settings round them, on response surfaces that two arms share in part (`surfaces`). A seed adds its
noise, to some configurations more than to others. -log val_loss is the surface, val_correlation
rises with it, and the early epoch goes with it in part.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import ndtr
from scipy.stats import kendalltau

from stage1.base.errors import ResultsError
from stage1.claims.designs import unit_points, unit_values
from stage1.claims.intervals import Values
from stage1.claims.scores import (
    ArmScores,
    RunTables,
    Scores,
    design_scores,
    means_over_seeds,
    read_run,
)
from stage1.claims.surfaces import (
    Setting,
    random_pocket,
    random_surfaces,
    reference_points,
    rounded,
    settings_of,
    true_gaps,
)
from stage1.claims.tuning_value import best_minus_middle
from stage1.run.columns import PRETRAINED, RANDOM
from stage1.run.folder import RunFolder
from stage1.run.looks import FIRST_LOOK, DesignSize

_NOISE_SHARED = 0.3
"""Share of a seed's luck at the horizon that is there at the early epoch already; ours."""
_MOST = 0.9999
_LARGEST = 0.98
"""Share of what is possible at all that can be planted."""
_CALIBRATION = DesignSize((256,), seeds=2)
_FEWEST = 3
"""Configurations that a world is fitted to."""
_MEAN_DEPTH = 0.75
"""Mean depth of a pocket whose deepest point is 1."""


class World(NamedTuple):
    """How the scores of a study vary over its space.

    Where no run says so, as in two studies of 32 configurations of the default space on the bundled
    bars (one is tests/claims/n32_trials.parquet), whose arms correlate at .94 (a cliff apart) and
    .98; the noise as in eight configurations with two seeds of the same space.
    """

    settings: tuple[Setting, ...]
    gap: float = 0.047
    """What tuning is worth in the comparison arm, in -log val_loss."""
    arm_correlation: float = 0.95
    """Of the two arms' surfaces, in [0, 1], cliffs apart."""
    roughness: float = 0.1
    """Share of a surface that is not main effects, in [0, 1]."""
    cliffs: tuple[float, float] = (0.0, 0.0)
    """How deep each arm falls in the pocket, in standard deviations of its surface; 0 = not."""
    cliff_volume: float = 0.06
    """Share of the space that is the pocket, in (0, 1)."""
    noise: float = 0.009
    """Root mean square over configurations of a seed's standard deviation, in log val_loss."""
    noise_spread: tuple[float, float] = (0.6, 0.6)
    """How much noise differs between the configurations of each arm: the standard deviation of its
    logarithm."""
    level: float = 0.0
    """Mean -log val_loss of the first arm above the comparison arm's."""
    early_correlation: float = 0.824
    """Mean val_correlation of the comparison arm at the early epoch."""
    final_correlation: float = 0.888
    """Its mean val_correlation at the horizon."""
    early_slope: float = 0.3
    """Rise of val_correlation at the early epoch with a quality, per unit of -log val_loss."""
    final_slope: float = 0.127
    """The same at the horizon."""
    early_agreement: float = 0.93
    """Correlation of early and final quality, in [-1, 1]."""
    heavy_tailed: bool = False
    """Surfaces and noise have tails of Student's t with 4 degrees of freedom."""
    diverged: int = 0
    """So many runs of the first 16 configurations diverge, in either arm."""
    zero_log_loss: float = 1.5
    """log of the loss of predicting 0 above the mean log val_loss: the score of what diverges."""


class ArmShape(NamedTuple):
    """How the first arm differs from the comparison arm."""

    gap: float = 1.0
    """Factor of what tuning is worth."""
    noise: float = 1.0
    """Factor of the differences between seeds."""
    early_gain: float = 0.0
    """Share by which the mean val_correlation at the early epoch is higher."""
    final_gain: float = 0.0
    """The same at the horizon."""
    agreement: float | None = None
    """Correlation of early and final quality; None = the world's."""


ALIKE = ArmShape()


class Draw(NamedTuple):
    """A made-up study before anything is planted in it; arrays have the two arms first."""

    numbers: NDArray[np.intp]
    """Place of each configuration in the design's sequence; those that came out equal are gone."""
    quality: Values
    """(2, configurations), at the horizon: 0 on average over the space, 1 of standard deviation
    before tails and cliffs."""
    early_only: Values
    """(2, configurations), what the early epoch has of its own."""
    gaps: Values
    """(2,), what tuning is worth over the whole space, in the unit of `quality`."""
    deviations: Values
    """(2,), the standard deviation of `quality` over the whole space."""
    luck: Values
    """(early and late, 2, configurations, seeds), of mean square 1; NaN = a seed not run."""
    diverged: NDArray[np.bool_]
    """(2, configurations)."""


def draw_study(world: World, size: DesignSize, generator: np.random.Generator) -> Draw:
    """The design of a study on new surfaces, with new luck."""
    settings = world.settings
    points = rounded(unit_points(len(settings), size.configurations, generator), settings)
    numbers = np.arange(len(points))
    if all(setting.levels for setting in settings):
        numbers = np.sort(np.unique(points, axis=0, return_index=True)[1])
    points = points[numbers]
    quality, early_only = _two_arms_twice(world, points, generator)
    everywhere = np.concatenate([reference_points(settings), points])
    quality -= np.outer(world.cliffs, random_pocket(everywhere, world.cliff_volume, generator))
    space, design = np.split(quality, [-len(points)], axis=1)
    diverged = np.zeros((2, len(numbers)), dtype=bool)
    early_on = 2 * min(FIRST_LOOK, len(numbers))
    chosen = generator.choice(early_on, min(world.diverged, early_on), replace=False)
    diverged[chosen % 2, chosen // 2] = True
    return Draw(
        numbers=numbers,
        quality=design - space.mean(axis=1, keepdims=True),
        early_only=early_only[:, -len(points) :],
        gaps=true_gaps(space),
        deviations=space.std(axis=1),
        luck=_luck(world, size, len(numbers), generator),
        diverged=diverged,
    )


def _two_arms_twice(world: World, points: Values, generator: np.random.Generator) -> Values:
    """(2 surfaces, 2 arms, 1024 + points); the arms share a part of each surface."""
    heights = random_surfaces(
        world.settings, points, surfaces=6, roughness=world.roughness, generator=generator
    ).reshape(2, 3, -1)
    rho = world.arm_correlation
    both = math.sqrt(rho) * heights[:, :1] + math.sqrt(1 - rho) * heights[:, 1:]
    return _heavy(both) if world.heavy_tailed else both


def _heavy(normal: Values) -> Values:
    """Normal numbers moved to the quantiles of Student's t with 4 degrees, of variance 1.

    Source: Shaw 2006, "Sampling Student's T distribution", the closed form of that quantile.
    """
    below = np.clip(ndtr(normal), 1e-12, 1 - 1e-12)
    alpha = 4 * below * (1 - below)
    size = np.cos(np.arccos(np.sqrt(alpha)) / 3) / np.sqrt(alpha)
    return np.asarray(np.sign(normal) * 2 * np.sqrt(np.maximum(size - 1, 0)) / math.sqrt(2))


def _luck(
    world: World, size: DesignSize, configurations: int, generator: np.random.Generator
) -> Values:
    shape = (2, 2, configurations, size.seeds)
    drawn = generator.standard_normal(shape)
    drawn = _heavy(drawn) if world.heavy_tailed else drawn
    drawn[0] = math.sqrt(_NOISE_SHARED) * drawn[1] + math.sqrt(1 - _NOISE_SHARED) * drawn[0]
    spread = np.array(world.noise_spread)[:, None]
    factor = np.exp(spread * generator.standard_normal(configurations) - spread**2)
    seeds = np.array([size.seeds_of(place) for place in range(configurations)])
    run = np.arange(size.seeds) < seeds[:, None]
    return np.where(run, factor[:, :, None] * drawn, np.nan)


def draw_studies(world: World, size: DesignSize, *, studies: int, seed: int) -> list[Draw]:
    """Studies that have nothing in common but world and design."""
    generator = np.random.default_rng(seed)
    return [draw_study(world, size, generator) for _ in range(studies)]


def arms_of(draw: Draw, world: World, first: ArmShape = ALIKE) -> tuple[ArmScores, ArmScores]:
    """The scores of the two arms: the second as the world says, the first as shaped."""
    return _arm(draw, world, 0, first), _arm(draw, world, 1, ALIKE)


def _arm(draw: Draw, world: World, place: int, shape: ArmShape) -> ArmScores:
    gap = draw.gaps[place]
    unit = world.gap * shape.gap / gap if gap > 0 else 0.0
    early_luck, late_luck = world.noise * shape.noise * draw.luck[:, place]
    agreement = world.early_agreement if shape.agreement is None else shape.agreement
    final = unit * draw.quality[place]
    early = agreement * final + math.sqrt(1 - agreement**2) * unit * draw.early_only[place]
    late = final[:, None] + late_luck
    gone = draw.diverged[place][:, None] & np.isfinite(late)
    means = (
        world.early_correlation * (1 + shape.early_gain),
        world.final_correlation * (1 + shape.final_gain),
    )
    early_scores = means[0] + world.early_slope * (early[:, None] + early_luck)
    final_scores = means[1] + world.final_slope * late
    loss = np.minimum(-late - (world.level if place == 0 else 0.0), world.zero_log_loss)
    return ArmScores(
        ("first", "second")[place],
        early=np.where(gone, 0.0, np.clip(early_scores, -_MOST, _MOST)),
        final=np.where(gone, 0.0, np.clip(final_scores, -_MOST, _MOST)),
        log_loss=np.where(gone, world.zero_log_loss, loss),
        diverged=gone,
    )


def at_look(
    arms: tuple[ArmScores, ArmScores], draw: Draw, look: int
) -> tuple[ArmScores, ArmScores]:
    """What a look sees of a study: the configurations among so many first points."""
    seen = draw.numbers < look
    first, second = (
        ArmScores(arm.name, *(scores[seen] for scores in arm[1:]))  # type: ignore[arg-type]
        for arm in arms
    )
    return first, second


# Effects that are planted ---------------------------------------------------------------------


def agreement_for(world: World, effect: float) -> float:
    """The early agreement at which tau is higher by `effect` than at the world's own.

    Found on some large studies.

    Raises:
        ValueError: The seeds' noise leaves no room for it.
    """
    wanted = _tau_at(world, world.early_agreement) + effect
    low, high = (world.early_agreement, 1.0) if effect > 0 else (-1.0, world.early_agreement)
    if not _tau_at(world, low) <= wanted <= _tau_at(world, high):
        most = _tau_at(world, high) - wanted + effect
        raise ValueError(
            f"tau must be able to change by {effect}, got at most {most:.3f}: the seeds' noise "
            "leaves no more room"
        )
    return float(brentq(lambda agreement: _tau_at(world, agreement) - wanted, low, high, xtol=1e-4))


@lru_cache(maxsize=64)
def _tau_at(world: World, agreement: float) -> float:
    """Kendall's tau of early with final scores of another seed."""
    shape = ArmShape(agreement=agreement)
    arms = [arms_of(draw, world, shape)[0] for draw in _calibration(world)]
    return float(np.mean([kendalltau(arm.early[:, 0], arm.final[:, 1]).statistic for arm in arms]))


@lru_cache(maxsize=4)
def _calibration(world: World) -> list[Draw]:
    return draw_studies(world, _CALIBRATION, studies=16, seed=0)


class Planted(NamedTuple):
    """How an effect of a known size comes into made-up scores."""

    shape: Callable[[World, float], ArmShape]
    """The first arm with an effect of this size, in the unit of the claim, positive where it
    holds."""
    largest: Callable[[World], float]
    """The largest size that scores of the world can have, >= 0: correlations end at 1, gaps at 0;
    0 for a gain on a mean correlation that is not above 0."""


def _room_above(mean: float) -> float:
    return max(_LARGEST * (1 / mean - 1), 0.0) if mean > 0 else 0.0


def _gain_per_error(mean: float) -> float:
    """(1 - r) falls by a share e where r rises by e (1 - r) / r of itself."""
    return (1 - mean) / mean


SMALLER_GAP = Planted(
    lambda world, effect: ArmShape(gap=1 - effect), largest=lambda world: _LARGEST
)
QUIETER_SEEDS = Planted(
    lambda world, effect: ArmShape(noise=math.sqrt(1 - effect)), largest=lambda world: _LARGEST
)
HIGHER_EARLY = Planted(
    lambda world, effect: ArmShape(early_gain=effect),
    largest=lambda world: _room_above(world.early_correlation),
)
HIGHER_FINAL = Planted(
    lambda world, effect: ArmShape(final_gain=effect),
    largest=lambda world: _room_above(world.final_correlation),
)
LESS_EARLY_ERROR = Planted(
    lambda world, effect: ArmShape(early_gain=effect * _gain_per_error(world.early_correlation)),
    largest=lambda world: _LARGEST if world.early_correlation > 0 else 0.0,
)
LESS_FINAL_ERROR = Planted(
    lambda world, effect: ArmShape(final_gain=effect * _gain_per_error(world.final_correlation)),
    largest=lambda world: _LARGEST if world.final_correlation > 0 else 0.0,
)
BETTER_EARLY_RANKS = Planted(
    lambda world, effect: ArmShape(agreement=agreement_for(world, effect)),
    largest=lambda world: _LARGEST * (_tau_at(world, 1.0) - _tau_at(world, world.early_agreement)),
)


# A world like that of a run -------------------------------------------------------------------


def world_of(tables: RunTables, scores: Scores, pair: tuple[str, str]) -> World | None:
    """The world of a run: its space, and how the scores of two of its arms vary over it.

    Args:
        tables: Of the run.
        scores: Of its design.
        pair: Names of the arms, the comparison arm second.

    Returns:
        None where the run says too little.
    """
    if not all(arm in scores.correlation for arm in pair):
        return None
    points = np.nan_to_num(unit_values(tables.space, scores.values), nan=0.5)  # where not active
    settings = settings_of(tables.space.space)
    return fitted_world(scores.arm(pair[0]), scores.arm(pair[1]), settings, points)


def world_of_run(path: Path) -> World:
    """The world of a run folder.

    Raises:
        ResultsError: The folder is not a run, or too small to tell how its scores vary.
    """
    tables = read_run(RunFolder(path))
    scores = design_scores(tables.trials, tables.curves, tables.space, tables.registration)
    roles = tables.registration.roles
    world = world_of(tables, scores, (roles.get(PRETRAINED, ""), roles.get(RANDOM, "")))
    if world is None:
        raise ResultsError(
            f"{path}: must hold a pretrained and a random arm with {_FEWEST} whole configurations, "
            "got fewer; leave it out for a typical study"
        )
    return world


def fitted_world(
    first: ArmScores, second: ArmScores, settings: tuple[Setting, ...], points: Values | None
) -> World | None:
    """A world in which two arms vary as these did; None below three configurations.

    Args:
        first: The pretrained arm.
        second: The comparison arm.
        settings: Of their space.
        points: (configurations, settings) in the unit cube; None = not known.
    """
    whole = _whole(first, second)
    early, final, quality = (
        np.stack([means_over_seeds(scores[whole]) for scores in pair])
        for pair in (
            (first.early, second.early),
            (first.final, second.final),
            (-first.log_loss, -second.log_loss),
        )
    )
    if whole.sum() < _FEWEST or not quality.std(axis=1).min() > 0:
        return None
    fallen = _fallen(quality)
    calm = ~fallen.any(axis=0)
    typical = World(settings)
    noise = _noise(np.concatenate([first.log_loss[whole], second.log_loss[whole]]))
    spread = quality.std(axis=1).mean()
    return typical._replace(
        gap=float(np.sort(quality[1]) @ best_minus_middle(quality.shape[1])),
        arm_correlation=_correlation(quality[0, calm], quality[1, calm]),
        roughness=_roughness(quality[:, calm], points[whole][calm])
        if points is not None
        else typical.roughness,
        cliffs=_depths(quality, fallen),
        cliff_volume=float(np.clip(fallen.any(axis=0).mean(), 0.02, 0.5)),
        noise=typical.noise if noise is None else noise,
        level=float((quality[0] - quality[1]).mean()),
        early_correlation=float(early[1].mean()),
        final_correlation=float(final[1].mean()),
        early_slope=float(early.std(axis=1).mean() / spread),
        final_slope=float(final.std(axis=1).mean() / spread),
        early_agreement=_correlation(early[1], quality[1]),
    )


def _whole(first: ArmScores, second: ArmScores) -> NDArray[np.bool_]:
    """Configurations that have every score in both arms and diverged in neither."""
    scored = [
        np.isfinite(scores).any(axis=1)
        for arm in (first, second)
        for scores in (arm.early, arm.final, arm.log_loss)
    ]
    calm = ~(first.diverged | second.diverged).any(axis=1)
    return np.asarray(np.logical_and.reduce([*scored, calm]))


def _noise(losses: Values) -> float | None:
    """Root mean square of the seeds' deviations; None without repeated configurations."""
    twice = losses[np.isfinite(losses).sum(axis=1) >= 2]
    return math.sqrt(np.nanvar(twice, axis=1, ddof=1).mean()) if len(twice) else None


def _correlation(one: Values, other: Values) -> float:
    """In [0, 0.99]; 0 where a column does not vary."""
    if len(one) < 2 or not min(one.std(), other.std()) > 0:
        return 0.0
    return float(np.clip(np.corrcoef(one, other)[0, 1], 0.0, 0.99))


def _fallen(quality: Values) -> NDArray[np.bool_]:
    """Configurations that fell off a cliff in each arm, (2, configurations).

    They lie three robust standard deviations below the median of their arm, or one below it and
    five below what the other arm makes of them.
    """
    depth, behind = _robust(quality), _robust(quality - quality[::-1])
    return np.asarray((depth < -3) | ((depth < -1) & (behind < -5)))


def _robust(values: Values) -> Values:
    """Distances from the median of each row, in units of its median distance x 1.4826."""
    values = values - np.median(values, axis=1, keepdims=True)
    scale = 1.4826 * np.median(np.abs(values), axis=1, keepdims=True)
    return np.where(scale > 0, values / np.where(scale > 0, scale, 1.0), 0.0)


def _depths(quality: Values, fallen: NDArray[np.bool_]) -> tuple[float, float]:
    """How far each arm falls off its cliff, in standard deviations of the rest; 0 = no cliff."""
    depths = [
        float((arm[~low].mean() - arm[low].mean()) / arm[~low].std()) / _MEAN_DEPTH
        if low.any()
        else 0.0
        for arm, low in zip(quality, fallen, strict=True)
    ]
    return depths[0], depths[1]


def _roughness(quality: Values, points: Values) -> float:
    """Share of the variance that main effects leave over, mean of the arms, in [0.02, 0.8].

    That of a typical world where there are fewer than twice as many configurations as effects.
    """
    columns = [np.ones(len(points))]
    for column in points.T:
        levels = len(np.unique(column))
        columns += [column**power for power in range(1, min(levels, 3))]
    effects = np.stack(columns, axis=1)
    free = len(points) - effects.shape[1]
    if free < effects.shape[1]:
        return World(()).roughness
    left, *_ = np.linalg.lstsq(effects, quality.T)
    rest = np.square(quality.T - effects @ left).sum(axis=0) / free
    return float(np.clip((rest / quality.var(axis=1, ddof=1)).mean(), 0.02, 0.8))


def variation(world: World) -> str:
    """How the scores vary, in one sentence without its full stop."""
    cliffs = [name for name, depth in zip((PRETRAINED, RANDOM), world.cliffs, strict=True) if depth]
    pocket = f"a cliff in {world.cliff_volume:.0%} of the space for {' and '.join(cliffs)} weights"
    return (
        f"tuning is worth {world.gap:.3f} of log val_loss (best of three less the middle one), "
        f"the arms' surfaces correlate at {world.arm_correlation:.2f}, main effects are "
        f"{1 - world.roughness:.0%} of them, {pocket if cliffs else 'no cliff'}, seeds differ by "
        f"{world.noise:.4f}; val_correlation {world.early_correlation:.3f} at the early epoch, "
        f"{world.final_correlation:.3f} at the horizon"
    )
