"""What a design could see of the claims, by simulation."""

from __future__ import annotations

import math
from collections import Counter
from typing import NamedTuple

import numpy as np
from scipy import stats
from scipy.optimize import brentq

from stage1.claims.catalogue import ERROR_RATE, Definition
from stage1.claims.error_rates import TIMING_NOISE, Counts, simulate
from stage1.claims.synthetic import ALIKE, ScoreModel, draw_studies
from stage1.claims.verdicts import Verdict

ENOUGH = 0.80
"""Power from which an effect counts as seen."""
_PROBES = 9
"""Made-up studies that are asked why a claim cannot be evaluated; most of them decide."""
_LADDER, _HALVINGS = 10, 4


class Outlook(NamedTuple):
    """What a design says of one claim."""

    definition: Definition
    configurations: int
    """Of the design that was simulated."""
    seeds: int
    """The same."""
    never: str = ""
    """Why no number of configurations makes the claim evaluable; empty if one does. Then nothing
    that follows is known."""
    not_here: str = ""
    """Why this design does not; empty if it does."""
    at_claimed: Counts | None = None
    """Verdicts if just the claimed effect were true; None if it cannot be."""
    smallest_seen: float | None = None
    """Effect whose direction is found with power `ENOUGH`; None if no possible effect is."""
    needed: int | None = None
    """Configurations that find the claimed effect with power `ENOUGH`; None if the most that were
    tried do not."""

    @property
    def enough(self) -> bool:
        """Whether this design sees the claimed effect."""
        return self.needed == self.configurations

    @property
    def seen_from(self) -> float | None:
        """Smallest effect that is seen; None if there is none.

        Not above what is claimed where just that is seen: the two come from different studies.
        """
        claimed = self.definition.claimed
        return min(self.smallest_seen or claimed, claimed) if self.enough else self.smallest_seen


def outlook(model: ScoreModel, definition: Definition, *, seed: int = 0) -> Outlook:
    """Simulate what a design says of a claim.

    Args:
        model: Of the scores, with the design's configurations and seeds.
        definition: Of a claim about scores, or of a line beside one.
        seed: Of the made-up studies.
    """
    model = simulated_design(model, definition)
    design = (definition, model.configurations, model.seeds)
    most = max(definition.effort.most_configurations, model.configurations)
    never = _obstacle(model._replace(configurations=most), definition, seed=seed)
    if never:
        return Outlook(*design, never=never, not_here=never)
    at_claimed, smallest_seen, needed = power(model, definition, seed=seed)
    return Outlook(
        *design,
        not_here=_obstacle(model, definition, seed=seed),
        at_claimed=at_claimed,
        smallest_seen=smallest_seen,
        needed=needed,
    )


def simulated_design(model: ScoreModel, definition: Definition) -> ScoreModel:
    """The design that stands for a larger one that takes too long; it sees rather less."""
    effort = definition.effort
    if effort.most_seeds is None:
        return model
    return model._replace(
        configurations=min(model.configurations, effort.most_configurations),
        seeds=min(model.seeds, effort.most_seeds),
    )


def _obstacle(model: ScoreModel, definition: Definition, *, seed: int) -> str:
    """Why most studies of a design cannot evaluate a claim; empty if most can."""
    generator = np.random.default_rng(seed)
    decisions = [
        definition.judge(*arms, error_rate=ERROR_RATE).decision
        for arms in draw_studies(model, ALIKE, studies=_PROBES, generator=generator)
    ]
    reasons = Counter(reason for verdict, reason in decisions if verdict is Verdict.NOT_EVALUABLE)
    evaluable = _PROBES - reasons.total()
    return reasons.most_common(1)[0][0] if evaluable < _PROBES / 2 else ""


def power(
    model: ScoreModel, definition: Definition, *, seed: int = 0
) -> tuple[Counts | None, float | None, int | None]:
    """What a design finds of effects of a known size.

    Returns:
        `at_claimed`, `smallest_seen` and `needed` of an `Outlook`.
    """
    claimed = definition.claimed
    largest = definition.planted.largest(model) if definition.planted else 0.0
    smallest_seen = _smallest_seen(model, definition, largest, seed=seed)
    if largest < claimed:
        return None, smallest_seen, None
    at_claimed = _counts(model, definition, claimed, seed=seed)
    if at_claimed.positive.value >= ENOUGH:
        return at_claimed, smallest_seen, model.configurations
    return at_claimed, smallest_seen, _configurations_for(model, definition, claimed, seed=seed)


def _counts(model: ScoreModel, definition: Definition, effect: float, *, seed: int) -> Counts:
    return simulate(model, definition, effect, studies=definition.effort.studies, seed=seed)


def _sees(model: ScoreModel, definition: Definition, effect: float, *, seed: int) -> bool:
    return _counts(model, definition, effect, seed=seed).positive.value >= ENOUGH


def _smallest_seen(
    model: ScoreModel, definition: Definition, largest: float, *, seed: int
) -> float | None:
    """The first step of a ladder that is seen, refined by bisection.

    A ladder, since power may fall again: a spread that vanishes has no logarithm. The same random
    numbers at every effect make the comparison less noisy.
    """
    if largest <= 0:
        return None
    for step in range(1, _LADDER + 1):
        high = largest * step / _LADDER
        if _sees(model, definition, high, seed=seed):
            break
    else:
        return None
    low = largest * (step - 1) / _LADDER
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if _sees(model, definition, middle, seed=seed):
            high = middle
        else:
            low = middle
    return high


def _configurations_for(
    model: ScoreModel, definition: Definition, effect: float, *, seed: int
) -> int | None:
    """The first power of two above the design that sees the effect."""
    effort = definition.effort
    number = max(2 * model.configurations, effort.least_configurations)
    while number <= effort.most_configurations:
        if _sees(model._replace(configurations=number), definition, effect, seed=seed):
            return number
        number *= 2
    return None


class CostOutlook(NamedTuple):
    """Ratios of cost that the timing decides with power `ENOUGH`."""

    within: float
    """Ratios up to it are found to be within the margin."""
    beyond: float
    """Ratios from it on are found to be beyond."""


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
