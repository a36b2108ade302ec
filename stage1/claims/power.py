"""What a design can see: power by simulation, with the same intervals that decide the claims."""

from __future__ import annotations

from typing import NamedTuple

from stage1.claims.error_rates import Counts, simulate
from stage1.claims.finding import CLAIMED, EARLY_SIGNAL, LEAST_CONFIGURATIONS_FOR_RANKS
from stage1.claims.synthetic import ScoreModel, largest_effect

ENOUGH = 0.80
"""Power from which an effect counts as seen."""
STUDIES = 400
"""Made-up studies behind each number; the Monte-Carlo error of a power of 0.8 is 0.02."""
RANK_STUDIES = 100
"""The same for ranks, whose bootstrap takes the longest; error 0.04."""
MOST_CONFIGURATIONS = 1024
MOST_FOR_RANKS = 128
"""Above it a bootstrap of ranks takes too long to simulate."""
_LADDER, _HALVINGS = 10, 4


class Power(NamedTuple):
    """What a design says of one claim, were its effect of a certain size."""

    claim: str
    beside: bool
    """For the error reduction beside the claim."""
    claimed: float
    """The effect that is claimed."""
    at_claimed: Counts | None
    """Verdicts if just that were true; None if it cannot be."""
    smallest_seen: float | None
    """Effect whose direction is found with power `ENOUGH`; None if no possible effect is."""
    configurations: int | None
    """Of a design that finds the claimed effect with power `ENOUGH`; None if the largest that was
    tried does not."""


def claim_power(model: ScoreModel, claim: str, *, beside: bool = False, seed: int = 0) -> Power:
    """Simulate one claim at a design.

    Args:
        model: Of the scores and the design.
        claim: One of claims 1 to 5.
        beside: Take the error reduction beside it.
        seed: Of the made-up studies.
    """
    claimed = CLAIMED[claim]
    largest = largest_effect(model, claim, beside=beside)
    seen = _smallest_seen(model, claim, largest, beside=beside, seed=seed)
    if largest < claimed:
        return Power(claim, beside, claimed, None, seen, None)
    at_claimed = _counts(model, claim, claimed, beside=beside, seed=seed)
    if at_claimed.positive.value >= ENOUGH:
        needed: int | None = model.configurations
    else:
        needed = _configurations_for(model, claim, claimed, beside=beside, seed=seed)
    return Power(claim, beside, claimed, at_claimed, seen, needed)


def _counts(model: ScoreModel, claim: str, effect: float, *, beside: bool, seed: int) -> Counts:
    studies = RANK_STUDIES if claim == EARLY_SIGNAL else STUDIES
    return simulate(model, claim, effect, studies=studies, seed=seed, beside=beside)


def _sees(model: ScoreModel, claim: str, effect: float, *, beside: bool, seed: int) -> bool:
    counts = _counts(model, claim, effect, beside=beside, seed=seed)
    return counts.positive.value >= ENOUGH


def _smallest_seen(
    model: ScoreModel, claim: str, largest: float, *, beside: bool, seed: int
) -> float | None:
    """The first step of a ladder that is seen, refined by bisection.

    A ladder, since power may fall again: a spread that vanishes has no logarithm. The same random
    numbers at every effect make the comparison less noisy.
    """
    if largest <= 0:
        return None
    for step in range(1, _LADDER + 1):
        high = largest * step / _LADDER
        if _sees(model, claim, high, beside=beside, seed=seed):
            break
    else:
        return None
    low = largest * (step - 1) / _LADDER
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if _sees(model, claim, middle, beside=beside, seed=seed):
            high = middle
        else:
            low = middle
    return high


def _configurations_for(
    model: ScoreModel, claim: str, effect: float, *, beside: bool, seed: int
) -> int | None:
    """The first power of two above the design that sees the effect."""
    ranks = claim == EARLY_SIGNAL
    most = MOST_FOR_RANKS if ranks else MOST_CONFIGURATIONS
    number = 2 * model.configurations
    if ranks:
        number = max(number, LEAST_CONFIGURATIONS_FOR_RANKS)
    while number <= most:
        larger = model._replace(configurations=number)
        if _sees(larger, claim, effect, beside=beside, seed=seed):
            return number
        number *= 2
    return None
