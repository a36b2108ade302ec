"""What a design could decide of the claims, by simulation."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from itertools import takewhile
from typing import NamedTuple

from scipy import stats
from scipy.optimize import brentq

from stage1.claims.advice import ENOUGH, configurations_needed
from stage1.claims.catalogue import EARLY_SIGNAL, ERROR_RATE, SENSITIVITY, STABILITY, Definition
from stage1.claims.designs import fewest_configurations
from stage1.claims.error_rates import (
    TIMING_NOISE,
    Played,
    count,
    decided_by,
    looks_until_decided,
    play,
)
from stage1.claims.synthetic import World, draw_studies
from stage1.claims.verdicts import Verdict
from stage1.run.looks import DesignSize

TIMES_CLAIMED = (0, 1, 2)
"""Effects that are planted, as multiples of the claimed one."""


class Prospect(NamedTuple):
    """What a design says of a claim whose true effect is known."""

    effect: float
    decided: list[float]
    """Share of studies with a verdict that decides, by each look, in [0, 1]."""
    direction: float
    """Share of studies that show at some look in which direction the effect goes."""
    trainings: float
    """Of an arm until a look decides, or to the last one; mean."""


class Outlook(NamedTuple):
    """What a design says of one claim."""

    definition: Definition
    looks: tuple[int, ...]
    """Configurations at each look that was simulated."""
    prospects: tuple[Prospect, ...] = ()
    """Of no effect, of the claimed one and of twice that; less where scores cannot have it."""
    obstacle: str = ""
    """Why most studies cannot evaluate the claim; empty if most can."""
    needed: tuple[int | None, ...] = ()
    """Configurations that would decide it in `ENOUGH` of studies, by prospect, at a look or a
    doubling after the last; None = more than were tried. Of the claim that ends a study alone."""


def not_contained(
    definition: Definition, size: DesignSize, *, settings: int, roles: set[str]
) -> str:
    """What a claim needs that the design does not have; empty if nothing."""
    least = definition.effort.least_configurations
    if definition is SENSITIVITY and size.configurations < fewest_configurations(settings):
        return f"needs {fewest_configurations(settings)} configurations"
    if definition.against not in roles:
        return f"needs an arm of the role {definition.against}"
    few = size.configurations < least or size.seeds_of(least - 1) < 2
    if few and definition in (STABILITY, EARLY_SIGNAL):
        return f"needs {least} configurations with two seeds each"
    return ""


def simulated_size(size: DesignSize, definition: Definition) -> DesignSize:
    """The design as far as it can be simulated: looks that take too long are left out."""
    most = max(definition.effort.most_configurations, size.looks[0])
    return size._replace(looks=tuple(takewhile(lambda look: look <= most, size.looks)))


def outlook(world: World, size: DesignSize, definition: Definition, *, seed: int = 0) -> Outlook:
    """Simulate what a design says of a claim.

    Args:
        world: How the scores vary over the study's own space.
        size: Of its design.
        definition: Of a claim about scores, or of a line beside one.
        seed: Of the made-up studies.
    """
    size = simulated_size(size, definition)
    draws = draw_studies(world, size, studies=definition.effort.studies, seed=seed)
    largest = definition.planted.largest(world) if definition.planted else 0.0
    prospects, obstacle, needed = [], "", []
    for times in TIMES_CLAIMED:
        effect = times * definition.claimed
        if effect > largest:
            break
        played = play(draws, world, size, definition, effect)
        obstacle = obstacle or _obstacle(played)
        prospects.append(_prospect(played, size, effect))
        if definition is SENSITIVITY and size.grows:
            needed.append(_needed(prospects[-1], world, size, definition))
    return Outlook(definition, size.looks, tuple(prospects), obstacle, tuple(needed))


def _prospect(played: Sequence[Played], size: DesignSize, effect: float) -> Prospect:
    ends = [size.looks[looks_until_decided(study) - 1] for study in played]
    return Prospect(
        effect,
        decided=[share.value for share in decided_by(played)],
        direction=count(played).found.value,
        trainings=sum(map(size.pairs, ends)) / len(ends),
    )


def _obstacle(played: Sequence[Played]) -> str:
    """Why most studies cannot evaluate a claim at the last look; empty if most can."""
    decisions = [study[-1].decision for study in played]
    reasons = Counter(reason for verdict, reason in decisions if verdict is Verdict.NOT_EVALUABLE)
    return reasons.most_common(1)[0][0] if reasons.total() > len(played) / 2 else ""


def _needed(
    prospect: Prospect, world: World, size: DesignSize, definition: Definition
) -> int | None:
    """The first look or doubling that decides in `ENOUGH` of studies."""
    for look, share in zip(size.looks, prospect.decided, strict=True):
        if share >= ENOUGH:
            return look
    return configurations_needed(
        definition, prospect.effect, world=world, size=size, look=size.looks[-1]
    )


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
