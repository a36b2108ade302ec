"""How often the tests err, and how much they see: counts over many made-up studies.

All count what an interval says of the direction, and whether the verdict is SUPPORTED.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np

from stage1.claims.catalogue import ERROR_RATE, FAMILY_ERROR, Definition
from stage1.claims.intervals import exponential, mean_interval
from stage1.claims.scores import ArmScores
from stage1.claims.synthetic import ALIKE, Draw, World, arms_of, at_look
from stage1.claims.verdicts import DECISIVE, Finding, Verdict, decide_cost
from stage1.run.looks import DesignSize, look_level
from stage1.run.registration import COST_MARGIN, COST_ROUNDS

UNEQUAL_NOISE = 0.03
"""What stability errs in at most where noise differs between the configurations of one arm only."""
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
    """At some look the claim is evaluable, and its interval does not hold 0: a direction, right or
    wrong."""
    positive: Share
    """At some look the claim is evaluable, and its interval lies above 0."""
    supported: Share
    """At some look the verdict is SUPPORTED."""
    evaluable: Share
    """At some look."""


def count(studies: Iterable[Played]) -> Counts:
    """Count intervals and verdicts.

    A direction is counted by its interval and not by its verdict, which may name one less often: a
    smaller gap that depends on the scale is INCONCLUSIVE, and was found nonetheless.
    """
    every = list(studies)

    def share(condition: Callable[[Finding], bool]) -> Share:
        return _share(any(map(condition, looks)) for looks in every)

    return Counts(
        found=share(_found),
        positive=share(lambda finding: _evaluable(finding) and finding.effect.low > 0),
        supported=share(lambda finding: finding.decision.verdict is Verdict.SUPPORTED),
        evaluable=share(_evaluable),
    )


def _found(finding: Finding) -> bool:
    return _evaluable(finding) and (finding.effect.low > 0 or finding.effect.high < 0)


def _evaluable(finding: Finding) -> bool:
    return finding.decision.verdict is not Verdict.NOT_EVALUABLE


def _share(hits: Iterable[bool]) -> Share:
    every = list(hits)
    return Share(sum(every), len(every))


Played = tuple[Finding, ...]
"""What a study says of a claim at each of its looks."""


def play(
    draws: Iterable[Draw], world: World, size: DesignSize, definition: Definition, effect: float
) -> list[Played]:
    """Judge a claim in made-up studies whose effect is known, at every look at its level.

    Args:
        draws: The studies.
        world: That they were drawn from.
        size: Of their design; it is played to its last look whatever an earlier one says.
        definition: Of a claim about scores, or of a line beside one.
        effect: Planted, in the unit of the claim; positive where it holds.

    Raises:
        ValueError: No scores of the world have such an effect.
    """
    if definition.planted is None:
        raise ValueError(f"claim must be about scores, got {definition.name}")
    first = definition.planted.shape(world, effect) if effect else ALIKE
    looks = list(zip(size.looks, levels(size), strict=True))
    return [tuple(findings(draw, arms_of(draw, world, first), definition, looks)) for draw in draws]


def findings(
    draw: Draw,
    arms: tuple[ArmScores, ArmScores],
    definition: Definition,
    looks: Iterable[tuple[int, float]],
) -> Iterator[Finding]:
    """What a made-up study says of a claim, look by look; `looks` are configurations and level."""
    for look, level in looks:
        yield definition.judge(*at_look(arms, draw, look), error_rate=level)


def levels(size: DesignSize) -> list[float]:
    """The two-sided error rate of the intervals at each look."""
    if not size.grows:
        return [ERROR_RATE]
    places = range(len(size.looks))
    return [look_level(size.looks, place, error_rate=ERROR_RATE) for place in places]


def looks_until_decided(played: Played) -> int:
    """How many looks a study takes: to the first that decides, else all of them."""
    return next((n for n, one in enumerate(played, 1) if is_decided(one)), len(played))


def is_decided(finding: Finding) -> bool:
    """Whether a design need not grow for this claim."""
    return finding.decision.verdict in DECISIVE


def decided_by(played: Iterable[Played]) -> list[Share]:
    """The share of studies in which a verdict decides, by each look."""
    every = list(played)
    looks = range(1, len(every[0]) + 1) if every else ()
    return [_share(any(map(is_decided, study[:look])) for study in every) for look in looks]


def cost_findings(effect: float, *, studies: int, seed: int) -> list[Played]:
    """The same of the cost; `effect` is the log of margin / true ratio."""
    generator = np.random.default_rng(seed)
    return [(_cost_finding(effect, generator),) for _ in range(studies)]


def _cost_finding(effect: float, generator: np.random.Generator) -> Finding:
    """Its effect is log(margin / ratio), which is positive where the claim holds."""
    margin = math.log(COST_MARGIN)
    logs = margin - effect + TIMING_NOISE * generator.standard_normal(COST_ROUNDS)
    ratio = mean_interval(logs, error_rate=ERROR_RATE)
    decision = decide_cost(exponential(ratio), margin=COST_MARGIN)
    return Finding(ratio.below(margin), decision, {})


class ErrorRates(NamedTuple):
    """How often one claim's interval and verdict err."""

    definition: Definition
    without_effect: Counts
    """Both arms alike; cost at the margin."""
    at_claimed: Counts | None
    """The effect is exactly the lower end of what is claimed; cost at the margin. None if the
    scores of the world cannot have such an effect."""
    false_findings: tuple[bool, ...] = ()
    """Of each study without an effect, whether a direction was found at some look."""

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
    draws: list[Draw], world: World, size: DesignSize, definition: Definition, *, seed: int
) -> ErrorRates:
    """The error rates of one claim on made-up studies, over all their looks."""
    planted, claimed = definition.planted, definition.claimed
    at_claimed = None
    if planted is None:
        without = cost_findings(0.0, studies=len(draws), seed=seed)
        at_claimed = count(without)
    else:
        without = play(draws, world, size, definition, 0.0)
        if planted.largest(world) >= claimed:
            at_claimed = count(play(draws, world, size, definition, claimed))
    false_findings = tuple(any(map(_found, looks)) for looks in without)
    return ErrorRates(definition, count(without), at_claimed, false_findings)


def any_false_finding(rates: Iterable[ErrorRates]) -> Share:
    """How often at least one of the plan's claims finds a direction where there is none."""
    planned = [one.false_findings for one in rates if not one.definition.beside]
    return _share(map(any, zip(*planned, strict=True)))


def family_defect(share: Share) -> str:
    """What to say if any of the plan's claims errs too often; else empty."""
    return "all claims: at least one errs too often" if share.exceeds(FAMILY_ERROR) else ""
