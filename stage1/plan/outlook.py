"""What the claims of a study would come to: simulated power, and plain words for it."""

from __future__ import annotations

import math
from collections import Counter
from typing import NamedTuple

import numpy as np
from scipy import stats
from scipy.optimize import brentq

from stage1.claims.catalogue import BESIDE, DEFINITIONS
from stage1.claims.error_rates import (
    ENOUGH,
    MOST_CONFIGURATIONS,
    MOST_FOR_RANKS,
    TIMING_NOISE,
    Power,
    claim_power,
)
from stage1.claims.finding import (
    CLAIMED,
    COST,
    EARLY_SIGNAL,
)
from stage1.claims.synthetic import ScoreModel, draw_studies
from stage1.claims.verdicts import Verdict
from stage1.run.registration import ERROR_RATE

_PROBES = 9
"""Made-up studies that are asked why a claim cannot be evaluated; most of them decide."""
_MOST_SEEDS_FOR_RANKS = 3
"""Above it a bootstrap of ranks takes too long to simulate: each pair of seeds has its own."""

COST_LABEL = f"{len(DEFINITIONS) + 1} {COST}"


class Outlook(NamedTuple):
    """What a design says of one claim."""

    claim: str
    beside: bool
    """For the error reduction beside the claim."""
    configurations: int
    """Of the design that was simulated."""
    seeds: int
    """The same."""
    never: str
    """Why no number of configurations makes it evaluable; empty if one does."""
    not_here: str
    """Why this design does not; empty if it does."""
    power: Power | None
    """None where no number of configurations makes it evaluable."""

    @property
    def claimed(self) -> float:
        """Lower end of the claimed range."""
        return CLAIMED[self.claim]

    @property
    def label(self) -> str:
        """Its number and name."""
        return label(self.claim, beside=self.beside)

    @property
    def enough(self) -> bool:
        """Whether this design sees the claimed effect."""
        return self.power is not None and self.power.configurations == self.configurations

    @property
    def seen_from(self) -> float | None:
        """Smallest effect that is seen; None if there is none.

        Not above what is claimed where just that is seen: the two come from different studies.
        """
        if self.power is None:
            return None
        seen = self.power.smallest_seen
        return min(seen or self.claimed, self.claimed) if self.enough else seen

    def amount(self, effect: float) -> str:
        """An effect in the unit of the claim."""
        return f"{effect:.2f}" if self.claim == EARLY_SIGNAL else percent(effect)


class CostOutlook(NamedTuple):
    """Ratios of cost that the timing decides with power `ENOUGH`."""

    within: float
    """Ratios up to it are found to be within the margin."""
    beyond: float
    """Ratios from it on are found to be beyond."""


def label(claim: str, *, beside: bool) -> str:
    """A claim's number and name; the line beside a claim has its number and a letter."""
    number = 1 + list(DEFINITIONS).index(claim)
    return f"{number}b error reduction" if beside else f"{number} {claim}"


def lines() -> list[tuple[str, bool]]:
    """Claims 1 to 5 in order, each with the line beside it, if it has one, after it."""
    return [
        (claim, beside)
        for claim in DEFINITIONS
        for beside in ((False, True) if claim in BESIDE else (False,))
    ]


def outlook(model: ScoreModel, claim: str, *, beside: bool = False, seed: int = 0) -> Outlook:
    """Simulate what a design says of a claim.

    Args:
        model: Of the scores, with the design's configurations and seeds.
        claim: One of claims 1 to 5.
        beside: Take the error reduction beside it.
        seed: Of the made-up studies.
    """
    if claim == EARLY_SIGNAL:
        model = simulated_for_ranks(model)
    most = MOST_FOR_RANKS if claim == EARLY_SIGNAL else MOST_CONFIGURATIONS
    largest = model._replace(configurations=max(most, model.configurations))
    never = _obstacle(largest, claim, beside=beside, seed=seed)
    power = None if never else claim_power(model, claim, beside=beside, seed=seed)
    return Outlook(
        claim,
        beside,
        model.configurations,
        model.seeds,
        never=never,
        not_here=never or _obstacle(model, claim, beside=beside, seed=seed),
        power=power,
    )


def simulated_for_ranks(model: ScoreModel) -> ScoreModel:
    """The design that stands for a larger one where ranks are simulated; it sees rather less."""
    return model._replace(
        configurations=min(model.configurations, MOST_FOR_RANKS),
        seeds=min(model.seeds, _MOST_SEEDS_FOR_RANKS),
    )


def _obstacle(model: ScoreModel, claim: str, *, beside: bool, seed: int) -> str:
    """Why most studies of a design cannot evaluate a claim; empty if most can."""
    generator = np.random.default_rng(seed)
    definition = (BESIDE if beside else DEFINITIONS)[claim]
    reasons = Counter(
        decision.reason if decision.verdict is Verdict.NOT_EVALUABLE else ""
        for _, decision, _ in (
            definition(*arms)
            for arms in draw_studies(model, {}, studies=_PROBES, generator=generator)
        )
    )
    evaluable = reasons.pop("", 0)
    return reasons.most_common(1)[0][0] if evaluable < _PROBES / 2 else ""


def cost_outlook(*, margin: float, rounds: int) -> CostOutlook:
    """Cost ratios that a number of timings decides, at the timing noise that is typical.

    Args:
        margin: Largest ratio that the claim allows.
        rounds: Timings of each encoder, at least 2.

    Source:
        Power of Student's t-test by the noncentral t distribution.
    """
    degrees = rounds - 1
    critical = stats.t.ppf(1 - ERROR_RATE / 2, degrees)
    shift = brentq(
        lambda noncentrality: float(stats.nct.sf(critical, degrees, noncentrality)) - ENOUGH,
        0.0,
        50.0,
    )
    distance = math.exp(float(shift) * TIMING_NOISE / math.sqrt(rounds))
    return CostOutlook(margin / distance, margin * distance)


def percent(share: float) -> str:
    """A share in per cent, with a digit after the point only where it says something."""
    rounded = round(100 * share, 1)
    return f"{rounded:.0f}%" if rounded == round(rounded) else f"{rounded:.1f}%"
