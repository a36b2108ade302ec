"""How often the tests err, and how much they see: counts over many made-up studies.

All count what an interval says of the direction, and whether the verdict is SUPPORTED.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from stage1.claims.catalogue import BESIDE, DEFINITIONS
from stage1.claims.finding import (
    CLAIMED,
    COST,
    EARLY_GAIN,
    EARLY_SIGNAL,
    LEAST_CONFIGURATIONS_FOR_RANKS,
    Finding,
)
from stage1.claims.intervals import Interval, exponential, mean_interval
from stage1.claims.synthetic import ScoreModel, draw_studies, largest_effect
from stage1.claims.verdicts import Verdict, decide_cost
from stage1.run.registration import COST_MARGIN, COST_ROUNDS, ERROR_RATE, FAMILY_ERROR

TIMING_NOISE = 0.05
"""Standard deviation of a round's log ratio: 5 %, what two busy cores give."""
LINES = tuple(
    (name, beside)
    for name in (*DEFINITIONS, COST)
    for beside in ((False, True) if name in BESIDE else (False,))
)
"""Every claim, and whether the line is the error reduction beside it."""


class Share(NamedTuple):
    """A probability, counted."""

    hits: int
    studies: int

    @property
    def value(self) -> float:
        """In [0, 1]; NaN without studies."""
        return self.hits / self.studies if self.studies else math.nan

    @property
    def error(self) -> float:
        """Monte-Carlo standard error; of one hit where there is none."""
        share = max(self.hits, 1) / self.studies if self.studies else math.nan
        return math.sqrt(share * (1 - share) / self.studies) if self.studies else math.nan

    def exceeds(self, nominal: float) -> bool:
        """Whether it is more than three Monte-Carlo errors above a nominal probability."""
        return self.value > nominal + 3 * math.sqrt(nominal * (1 - nominal) / self.studies)


class Counts(NamedTuple):
    """What a claim's intervals and verdicts were over many studies."""

    found: Share
    """The claim is evaluable, and its interval does not hold 0: a direction, right or wrong."""
    positive: Share
    """The claim is evaluable, and its interval lies above 0."""
    supported: Share
    """The verdict is SUPPORTED."""
    evaluable: Share


def count(findings: Iterable[Finding]) -> Counts:
    """Count intervals and verdicts.

    A direction is counted by its interval and not by its verdict, which may name one less often: a
    smaller spread that depends on the scale is INCONCLUSIVE, and was found nonetheless.
    """
    every = list(findings)
    return Counts(
        found=_share(map(_found, every)),
        positive=_share(_evaluable(finding) and finding.effect.low > 0 for finding in every),
        supported=_share(finding.decision.verdict is Verdict.SUPPORTED for finding in every),
        evaluable=_share(map(_evaluable, every)),
    )


def _found(finding: Finding) -> bool:
    return _evaluable(finding) and (finding.effect.low > 0 or finding.effect.high < 0)


def _evaluable(finding: Finding) -> bool:
    return finding.decision.verdict is not Verdict.NOT_EVALUABLE


def _share(hits: Iterable[bool]) -> Share:
    every = list(hits)
    return Share(sum(every), len(every))


def simulate(
    model: ScoreModel,
    claim: str,
    effect: float,
    *,
    studies: int,
    seed: int,
    beside: bool = False,
) -> Counts:
    """Counts for one claim where its effect is known.

    Args:
        model: Of the scores.
        claim: Its name; `cost` too.
        effect: Planted, in the claim's unit; of the cost, the log of margin / true ratio.
        studies: How many.
        seed: Of the random numbers.
        beside: Take the error reduction beside the claim.

    Raises:
        ValueError: No scores of the model have such an effect.
    """
    generator = np.random.default_rng(seed)
    if claim == COST:
        return count(_cost_finding(effect, generator) for _ in range(studies))
    definition = (BESIDE if beside else DEFINITIONS)[claim]
    planted = effect
    if beside and effect:
        planted *= _gain_per_error_reduction(model, claim)
    drawn = draw_studies(model, {claim: planted}, studies=studies, generator=generator)
    return count(definition(*arms) for arms in drawn)


def _gain_per_error_reduction(model: ScoreModel, claim: str) -> float:
    """(1 - r) falls by a share e where r rises by e (1 - r) / r of itself."""
    mean = model.early_correlation if claim == EARLY_GAIN else model.final_correlation
    return (1 - mean) / mean


def _cost_finding(effect: float, generator: np.random.Generator) -> Finding:
    """Its effect is log(margin / ratio), which is positive where the claim holds."""
    margin = math.log(COST_MARGIN)
    logs = margin - effect + TIMING_NOISE * generator.standard_normal(COST_ROUNDS)
    ratio = mean_interval(logs)
    below = Interval(margin - ratio.estimate, margin - ratio.high, margin - ratio.low, ratio.p)
    return Finding(below, decide_cost(exponential(ratio), margin=COST_MARGIN), {})


def any_false_finding(model: ScoreModel, *, studies: int, seed: int) -> Share:
    """How often at least one of the six finds a direction where there is none, cost at the margin.

    Args:
        model: Of the scores.
        studies: How many.
        seed: Of the random numbers.
    """
    generator = np.random.default_rng(seed)
    hits = 0
    for arms in draw_studies(model, {}, studies=studies, generator=generator):
        findings = [definition(*arms) for definition in DEFINITIONS.values()]
        findings.append(_cost_finding(0.0, generator))
        hits += any(map(_found, findings))
    return Share(hits, studies)


class ErrorRates(NamedTuple):
    """How often one claim's interval and verdict err."""

    claim: str
    beside: bool
    """For the error reduction beside the claim."""
    without_effect: Counts
    """Both arms alike; cost at the margin."""
    at_claimed: Counts | None
    """The effect is exactly the lower end of what is claimed; cost at the margin. None if the
    scores of the model cannot have such an effect."""

    @property
    def defects(self) -> list[str]:
        """Rates more than three Monte-Carlo errors above what they may be, in words."""
        name = f"{self.claim}, error reduction" if self.beside else self.claim
        told = []
        if self.without_effect.found.exceeds(ERROR_RATE):
            told.append(f"{name}: finds an effect where there is none too often")
        if self.at_claimed and self.at_claimed.supported.exceeds(ERROR_RATE / 2):
            told.append(f"{name}: says SUPPORTED at the edge of the claim too often")
        return told


def error_rates(
    model: ScoreModel, claim: str, *, studies: int, seed: int, beside: bool = False
) -> ErrorRates:
    """The error rates of one claim.

    Args:
        model: Of the scores and the design.
        claim: Its name; `cost` too.
        studies: Made-up studies behind each rate.
        seed: Of the random numbers.
        beside: Take the error reduction beside the claim.
    """
    claimed = CLAIMED.get(claim, 0.0)
    without = simulate(model, claim, 0.0, studies=studies, seed=seed, beside=beside)
    if claim != COST and largest_effect(model, claim, beside=beside) < claimed:
        return ErrorRates(claim, beside, without, None)
    at_claimed = simulate(model, claim, claimed, studies=studies, seed=seed + 1, beside=beside)
    return ErrorRates(claim, beside, without, at_claimed)


def family_defect(share: Share) -> str:
    """What to say if any of the six errs too often; else empty."""
    return "all claims: at least one errs too often" if share.exceeds(FAMILY_ERROR) else ""


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
