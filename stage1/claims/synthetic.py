"""Made-up studies of a known truth, to see how often the tests err and how much they see.

A configuration has a quality u at the horizon, which two arms share in part, and a quality at the
early epoch that goes with it in part. A seed adds its noise. Scores are linear in both:
val_correlation rises with u, log val_loss falls with it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.stats import kendalltau

from stage1.base.errors import ResultsError
from stage1.claims.intervals import Values
from stage1.claims.scores import ArmScores, design_scores, read_run
from stage1.claims.spread import noise_corrected_variance
from stage1.run.columns import PRETRAINED, RANDOM
from stage1.run.folder import RunFolder

_NOISE_SHARED = 0.3
"""Share of a seed's luck at the horizon that is there at the early epoch already; ours."""
_MOST = 0.9999
_LARGEST = 0.98
"""Share of what is possible at all that can be planted."""
_CALIBRATION = 20_000


class ScoreModel(NamedTuple):
    """How the scores of a study vary."""

    configurations: int
    seeds: int
    early_correlation: float = 0.35
    """Mean val_correlation of the comparison arm at the early epoch."""
    final_correlation: float = 0.50
    """Its mean val_correlation at the horizon."""
    correlation_spread: float = 0.04
    """Standard deviation of val_correlation between configurations, noise apart."""
    loss_spread: float = 0.20
    """The same of log val_loss."""
    reliability: float = 0.7
    """Share of a single score's variance that is the configuration's, in (0, 1)."""
    arm_correlation: float = 0.6
    """Of the two arms' qualities, in [0, 1]."""
    early_agreement: float = 0.8
    """Correlation of early and final quality, in [-1, 1]."""
    heavy_tailed: bool = False
    """Student's t with 4 degrees of freedom in place of the Gaussian."""


TYPICAL = ScoreModel(
    configurations=8,
    seeds=2,
    early_correlation=0.826,
    final_correlation=0.890,
    correlation_spread=0.008,
    loss_spread=0.065,
    reliability=0.95,
    arm_correlation=0.8,
    early_agreement=0.9,
)
"""What the default study was like (`model_of`), the last three rounded down, since eight
configurations say little about them: where no run says how scores vary."""


class ArmShape(NamedTuple):
    """How the scores of an arm differ from those of the comparison arm."""

    spread: float = 1.0
    """Factor of the differences between configurations."""
    noise: float = 1.0
    """Factor of the differences between seeds."""
    early_gain: float = 0.0
    """Share by which the mean val_correlation at the early epoch is higher."""
    final_gain: float = 0.0
    """The same at the horizon."""
    agreement: float | None = None
    """Correlation of early and final quality; None = the model's."""


ALIKE = ArmShape()


def draw_studies(
    model: ScoreModel, first: ArmShape, *, studies: int, generator: np.random.Generator
) -> Iterator[tuple[ArmScores, ArmScores]]:
    """Scores of two arms, study by study: the second as the model says, the first as shaped."""
    for _ in range(studies):
        shared = _draw(model, generator, model.configurations)
        yield (
            _arm("first", model, first, shared, generator),
            _arm("second", model, ALIKE, shared, generator),
        )


def _draw(model: ScoreModel, generator: np.random.Generator, *shape: int) -> Values:
    """Of variance 1."""
    if model.heavy_tailed:
        return np.asarray(generator.standard_t(4, size=shape) / math.sqrt(2))
    return generator.standard_normal(shape)


def _arm(
    name: str, model: ScoreModel, shape: ArmShape, shared: Values, generator: np.random.Generator
) -> ArmScores:
    early, final = _qualities(model, shape, shared, generator)
    early_mean = model.early_correlation * (1 + shape.early_gain)
    final_mean = model.final_correlation * (1 + shape.final_gain)
    spread = model.correlation_spread
    return ArmScores(
        name,
        early=np.clip(early_mean + spread * early, -_MOST, _MOST),
        final=np.clip(final_mean + spread * final, -_MOST, _MOST),
        log_loss=-model.loss_spread * final,
        diverged=np.zeros(final.shape, dtype=bool),
    )


def _qualities(
    model: ScoreModel, shape: ArmShape, shared: Values, generator: np.random.Generator
) -> tuple[Values, Values]:
    """Early and final quality with the seeds' noise, (configurations, seeds) each."""
    n, seeds = len(shared), model.seeds
    rho = model.arm_correlation
    agreement = model.early_agreement if shape.agreement is None else shape.agreement
    noise = math.sqrt(1 / model.reliability - 1) * shape.noise
    final = math.sqrt(rho) * shared + math.sqrt(1 - rho) * _draw(model, generator, n)
    early = agreement * final + math.sqrt(1 - agreement**2) * _draw(model, generator, n)
    late_luck = _draw(model, generator, n, seeds)
    early_luck = math.sqrt(_NOISE_SHARED) * late_luck + math.sqrt(1 - _NOISE_SHARED) * _draw(
        model, generator, n, seeds
    )
    return (
        shape.spread * early[:, None] + noise * early_luck,
        shape.spread * final[:, None] + noise * late_luck,
    )


def agreement_for(model: ScoreModel, effect: float) -> float:
    """The early agreement at which tau is higher by `effect` than at the model's own.

    Found by bisection on one large sample of configurations.

    Raises:
        ValueError: The effect is negative, or the seeds' noise leaves no room for it.
    """
    if effect < 0:
        raise ValueError(f"effect must be >= 0, got {effect}")
    wanted = _tau_at(model, model.early_agreement) + effect
    low, high = model.early_agreement, 1.0
    if _tau_at(model, high) < wanted:
        raise ValueError(
            f"tau must be able to rise by {effect}, got at most "
            f"{_tau_at(model, high) - wanted + effect:.3f}: the seeds' noise leaves no more room"
        )
    for _ in range(20):
        middle = (low + high) / 2
        low, high = (middle, high) if _tau_at(model, middle) < wanted else (low, middle)
    return high


def _tau_at(model: ScoreModel, agreement: float) -> float:
    """Kendall's tau of early with final scores of another seed, on a large sample."""
    generator = np.random.default_rng(0)
    large = model._replace(seeds=2)
    shared = _draw(large, generator, _CALIBRATION)
    early, final = _qualities(large, ArmShape(agreement=agreement), shared, generator)
    return float(kendalltau(early[:, 0], final[:, 1]).statistic)


class Planted(NamedTuple):
    """How an effect of a known size comes into made-up scores."""

    shape: Callable[[ScoreModel, float], ArmShape]
    """The first arm with an effect of this size, >= 0, in the unit of the claim."""
    largest: Callable[[ScoreModel], float]
    """The largest size that scores of the model can have, >= 0: correlations end at 1, spreads at
    0; 0 for a gain on a mean correlation that is not above 0."""


def _room_above(mean: float) -> float:
    return max(_LARGEST * (1 / mean - 1), 0.0) if mean > 0 else 0.0


def _gain_per_error(mean: float) -> float:
    """(1 - r) falls by a share e where r rises by e (1 - r) / r of itself."""
    return (1 - mean) / mean


def _room_for_ranks(model: ScoreModel) -> float:
    return max(_LARGEST * (_tau_at(model, 1.0) - _tau_at(model, model.early_agreement)), 0.0)


SMALLER_SPREAD = Planted(
    lambda model, effect: ArmShape(spread=1 - effect), largest=lambda model: _LARGEST
)
QUIETER_SEEDS = Planted(
    lambda model, effect: ArmShape(noise=math.sqrt(1 - effect)), largest=lambda model: _LARGEST
)
HIGHER_EARLY = Planted(
    lambda model, effect: ArmShape(early_gain=effect),
    largest=lambda model: _room_above(model.early_correlation),
)
HIGHER_FINAL = Planted(
    lambda model, effect: ArmShape(final_gain=effect),
    largest=lambda model: _room_above(model.final_correlation),
)
LESS_EARLY_ERROR = Planted(
    lambda model, effect: ArmShape(early_gain=effect * _gain_per_error(model.early_correlation)),
    largest=lambda model: _LARGEST if model.early_correlation > 0 else 0.0,
)
LESS_FINAL_ERROR = Planted(
    lambda model, effect: ArmShape(final_gain=effect * _gain_per_error(model.final_correlation)),
    largest=lambda model: _LARGEST if model.final_correlation > 0 else 0.0,
)
BETTER_EARLY_RANKS = Planted(
    lambda model, effect: ArmShape(agreement=agreement_for(model, effect)),
    largest=_room_for_ranks,
)


def model_of(first: ArmScores, second: ArmScores) -> ScoreModel | None:
    """How the scores of a study vary; None if it is too small to tell.

    From its pretrained arm, the first, and its comparison arm. Divergence is not part of the model:
    the diverged count with the score they were given.
    """
    whole = np.logical_and.reduce(
        [
            np.isfinite(scores).all(axis=1)
            for arm in (first, second)
            for scores in (arm.early, arm.final, arm.log_loss)
        ]
    )
    if whole.sum() < 3 or second.final.shape[1] < 2:
        return None
    early, final, log_loss = second.early[whole], second.final[whole], second.log_loss[whole]
    correlation, loss = (
        max(float(noise_corrected_variance(scores)), 1e-12) for scores in (final, log_loss)
    )
    noise = float(log_loss.var(axis=1, ddof=1).mean())
    return ScoreModel(
        configurations=int(whole.sum()),
        seeds=second.final.shape[1],
        early_correlation=float(early.mean()),
        final_correlation=float(final.mean()),
        correlation_spread=math.sqrt(correlation),
        loss_spread=math.sqrt(loss),
        reliability=float(np.clip(loss / (loss + noise), 0.05, 0.99)),
        arm_correlation=_agreement(first.log_loss[whole], log_loss),
        early_agreement=_agreement(early, final, same_seeds=True),
    )


def _agreement(first: Values, second: Values, *, same_seeds: bool = False) -> float:
    """Correlation of two qualities, the seeds' noise taken out, in [0, 0.95].

    Args:
        first: (configurations, seeds).
        second: The same configurations.
        same_seeds: Whether a seed's luck is in both; then only different seeds are compared.

    Returns:
        0 where a quality does not vary.
    """
    seeds = first.shape[1]
    pairs = np.cov(first.T, second.T)[:seeds, seeds:]  # (seed of the first, of the second)
    covariance = pairs[~np.eye(seeds, dtype=bool)].mean() if same_seeds else pairs.mean()
    variances = noise_corrected_variance(np.stack([first, second]))
    if not (variances > 0).all():
        return 0.0
    return float(np.clip(covariance / np.sqrt(variances.prod()), 0.0, 0.95))


def model_of_run(path: Path) -> ScoreModel:
    """The score model of a run folder, with the run's own design.

    Raises:
        ResultsError: The folder is not a run, or too small to tell how its scores vary.
    """
    tables = read_run(RunFolder(path))
    scores = design_scores(tables.trials, tables.curves, tables.space, tables.registration)
    roles = tables.registration.roles
    known = [roles[role] for role in (PRETRAINED, RANDOM) if role in roles]
    model = model_of(*map(scores.arm, known)) if len(known) == 2 else None
    if model is None:
        raise ResultsError(
            f"{path}: must hold a pretrained and a random arm with three configurations and two "
            "seeds, got fewer; leave it out for a typical study"
        )
    return model


def variation(model: ScoreModel) -> str:
    """How the scores vary, in one sentence without its full stop."""
    return (
        f"val_correlation {model.early_correlation:.3f} at the early epoch and "
        f"{model.final_correlation:.3f} at the horizon, spread between configurations "
        f"{model.correlation_spread:.4f} (of log val_loss {model.loss_spread:.4f}), "
        f"{model.reliability:.0%} of a score's variance the configuration's and not the seed's, "
        f"correlation of the two arms {model.arm_correlation:.2f}"
    )
