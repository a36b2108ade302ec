"""How often the tests err, and how much they see: counts over many made-up studies."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from stage1.claims.definitions import BESIDE, DEFINITIONS
from stage1.claims.finding import CLAIMED, COST, EARLY_GAIN, Finding
from stage1.claims.intervals import exponential, mean_interval
from stage1.claims.synthetic import ScoreModel, draw_studies
from stage1.claims.verdicts import Verdict, decide_cost
from stage1.preregistration import COST_MARGIN, COST_ROUNDS, ERROR_RATE, FAMILY_ERROR

TIMING_NOISE = 0.05
"""Standard deviation of a round's log ratio: 5 %, what two busy cores give."""
_FOUND = {Verdict.SUPPORTED, Verdict.DIRECTION_ONLY, Verdict.CONTRADICTED}


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
    """What a claim's verdicts were over many studies."""

    found: Share
    """A direction was claimed, right or wrong: the interval does not hold 0."""
    positive: Share
    """The interval lies above 0."""
    supported: Share
    evaluable: Share


def count(findings: Iterable[Finding]) -> Counts:
    """Count verdicts."""
    verdicts = [finding.decision.verdict for finding in findings]
    return Counts(
        found=_share(verdicts, _FOUND),
        positive=_share(verdicts, {Verdict.SUPPORTED, Verdict.DIRECTION_ONLY}),
        supported=_share(verdicts, {Verdict.SUPPORTED}),
        evaluable=_share(verdicts, set(Verdict) - {Verdict.NOT_EVALUABLE}),
    )


def _share(verdicts: list[Verdict], wanted: set[Verdict]) -> Share:
    return Share(sum(verdict in wanted for verdict in verdicts), len(verdicts))


def simulate(
    model: ScoreModel,
    claim: str,
    effect: float,
    *,
    studies: int,
    seed: int,
    beside: bool = False,
) -> Counts:
    """Verdicts on one claim where its effect is known.

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
    planted = effect * _gain_per_error_reduction(model, claim) if beside else effect
    drawn = draw_studies(model, {claim: planted}, studies=studies, generator=generator)
    return count(definition(*arms) for arms in drawn)


def _gain_per_error_reduction(model: ScoreModel, claim: str) -> float:
    """(1 - r) falls by a share e where r rises by e (1 - r) / r of itself."""
    mean = model.early_correlation if claim == EARLY_GAIN else model.final_correlation
    return (1 - mean) / mean


def _cost_finding(effect: float, generator: np.random.Generator) -> Finding:
    logs = math.log(COST_MARGIN) - effect + TIMING_NOISE * generator.standard_normal(COST_ROUNDS)
    interval = mean_interval(logs)
    ratio = exponential(interval)
    return Finding(ratio, decide_cost(ratio, margin=COST_MARGIN), {})


def any_false_finding(model: ScoreModel, *, studies: int, seed: int) -> Share:
    """How often at least one of the six claims errs where no arm is better and cost is at margin.

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
        hits += any(finding.decision.verdict in _FOUND for finding in findings)
    return Share(hits, studies)


class ErrorRates(NamedTuple):
    """How often one claim's verdicts err."""

    claim: str
    beside: bool
    """For the error reduction beside the claim."""
    without_effect: Counts
    """Both arms alike; cost at the margin."""
    at_claimed: Counts
    """The effect is exactly the lower end of what is claimed; cost at the margin."""

    @property
    def defects(self) -> list[str]:
        """Rates more than three Monte-Carlo errors above what they may be, in words."""
        found, supported = self.without_effect.found, self.at_claimed.supported
        told = []
        if found.exceeds(ERROR_RATE):
            told.append(f"{self.claim}: finds an effect where there is none too often")
        if supported.exceeds(ERROR_RATE / 2):
            told.append(f"{self.claim}: says SUPPORTED at the edge of the claim too often")
        return told


def error_rates(model: ScoreModel, *, studies: int, seed: int) -> Iterator[ErrorRates]:
    """The error rates of every claim and line beside it, one after the other.

    Args:
        model: Of the scores and the design.
        studies: Made-up studies behind each rate.
        seed: Of the random numbers.
    """
    lines = [
        (name, beside)
        for name in (*DEFINITIONS, COST)
        for beside in ((False, True) if name in BESIDE else (False,))
    ]
    for claim, beside in lines:
        effects = (0.0, CLAIMED.get(claim, 0.0))
        counts = [
            simulate(model, claim, effect, studies=studies, seed=seed + place, beside=beside)
            for place, effect in enumerate(effects)
        ]
        yield ErrorRates(claim, beside, *counts)


def family_defect(share: Share) -> str:
    """What to say if any of the six errs too often; else empty."""
    return "all claims: at least one errs too often" if share.exceeds(FAMILY_ERROR) else ""
