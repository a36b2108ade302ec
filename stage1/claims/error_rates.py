"""How often the tests err, and how much they see: counts over many made-up studies.

All count what an interval says of the direction, and whether the verdict is SUPPORTED.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from stage1.claims.catalogue import ERROR_RATE, FAMILY_ERROR, PLANNED, Definition
from stage1.claims.intervals import exponential, mean_interval
from stage1.claims.synthetic import ALIKE, ScoreModel, draw_studies
from stage1.claims.verdicts import Finding, Verdict, decide_cost
from stage1.run.registration import COST_MARGIN, COST_ROUNDS

TIMING_NOISE = 0.05
"""Standard deviation of a round's log ratio: 5 %, what two busy cores give."""


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
    model: ScoreModel, definition: Definition, effect: float, *, studies: int, seed: int
) -> Counts:
    """Counts for one claim where its effect is known.

    `effect` is planted, in the claim's unit; of the cost it is the log of margin / true ratio.

    Raises:
        ValueError: No scores of the model have such an effect.
    """
    generator = np.random.default_rng(seed)
    planted = definition.planted
    if planted is None:
        return count(_cost_finding(effect, generator) for _ in range(studies))
    first = planted.shape(model, effect) if effect else ALIKE
    drawn = draw_studies(model, first, studies=studies, generator=generator)
    return count(definition.judge(*arms, error_rate=ERROR_RATE) for arms in drawn)


def _cost_finding(effect: float, generator: np.random.Generator) -> Finding:
    """Its effect is log(margin / ratio), which is positive where the claim holds."""
    margin = math.log(COST_MARGIN)
    logs = margin - effect + TIMING_NOISE * generator.standard_normal(COST_ROUNDS)
    ratio = mean_interval(logs, error_rate=ERROR_RATE)
    decision = decide_cost(exponential(ratio), margin=COST_MARGIN)
    return Finding(ratio.below(margin), decision, {})


def any_false_finding(model: ScoreModel, *, studies: int, seed: int) -> Share:
    """How often at least one of the plan's claims finds a direction where there is none.

    The cost is at the margin.
    """
    generator = np.random.default_rng(seed)
    about_scores = [definition for definition in PLANNED if definition.statistic]
    hits = 0
    for arms in draw_studies(model, ALIKE, studies=studies, generator=generator):
        findings = [one.judge(*arms, error_rate=ERROR_RATE) for one in about_scores]
        findings.append(_cost_finding(0.0, generator))
        hits += any(map(_found, findings))
    return Share(hits, studies)


class ErrorRates(NamedTuple):
    """How often one claim's interval and verdict err."""

    definition: Definition
    without_effect: Counts
    """Both arms alike; cost at the margin."""
    at_claimed: Counts | None
    """The effect is exactly the lower end of what is claimed; cost at the margin. None if the
    scores of the model cannot have such an effect."""

    @property
    def defects(self) -> list[str]:
        """Rates more than three Monte-Carlo errors above what they may be, in words."""
        name, texts = self.definition.registered_name, []
        if self.without_effect.found.exceeds(ERROR_RATE):
            texts.append(f"{name}: finds an effect where there is none too often")
        if self.at_claimed and self.at_claimed.supported.exceeds(ERROR_RATE / 2):
            texts.append(f"{name}: says SUPPORTED at the edge of the claim too often")
        return texts


def error_rates(
    model: ScoreModel, definition: Definition, *, studies: int, seed: int
) -> ErrorRates:
    """The error rates of one claim, each from so many made-up studies."""
    without = simulate(model, definition, 0.0, studies=studies, seed=seed)
    edge = definition.claimed if definition.planted else 0.0
    if definition.planted and definition.planted.largest(model) < edge:
        return ErrorRates(definition, without, None)
    at_claimed = simulate(model, definition, edge, studies=studies, seed=seed + 1)
    return ErrorRates(definition, without, at_claimed)


def family_defect(share: Share) -> str:
    """What to say if any of the plan's claims errs too often; else empty."""
    return "all claims: at least one errs too often" if share.exceeds(FAMILY_ERROR) else ""
