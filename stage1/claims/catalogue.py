"""The table of the claims: one record for all that is said of a claim anywhere.

A claim about scores is a function of two arms' scores, in the module of its statistic, and a record
here. The verdicts, the report, the registration of new runs, the plan and the self-test read it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from functools import partial
from typing import NamedTuple, Protocol

from stage1.claims.gains import error_reduction, gain
from stage1.claims.ranks import LEAST_CONFIGURATIONS, early_signal
from stage1.claims.scores import ArmScores
from stage1.claims.sensitivity import sensitivity
from stage1.claims.stability import stability
from stage1.claims.synthetic import (
    BETTER_EARLY_RANKS,
    HIGHER_EARLY,
    HIGHER_FINAL,
    LESS_EARLY_ERROR,
    LESS_FINAL_ERROR,
    QUIETER_SEEDS,
    SMALLER_GAP,
    Planted,
)
from stage1.claims.verdicts import Finding
from stage1.run.columns import RANDOM, RANDOM_FIXED, SHUFFLED, SHUFFLED_FIXED
from stage1.run.registration import COST_MARGIN, RegisteredClaims

FAMILY_ERROR = 0.05
"""Probability of any false finding among the plan's claims, at most."""


class Unit(Enum):
    """What an effect is measured in."""

    SHARE = "share"
    """Of the comparison arm's number; 0 = no effect."""
    TAU = "difference of tau"
    """Of rank correlations; 0 = no effect."""
    RATIO = "ratio"
    """To the comparison arm's number; 1 = equal."""


class Statistic(Protocol):
    """What the scores of two arms say of a claim."""

    def __call__(
        self, first: ArmScores, second: ArmScores, *, claimed: float, error_rate: float
    ) -> Finding:
        """What they say.

        The arm that is said to be better comes first. The same function compares the pretrained arm
        with the random one (the claim), with the shuffled one (what the weights learned), and two
        random arms (a check).

        Args:
            first: The arm said to be better; the effect is positive where it is.
            second: The comparison arm, the same configurations and seeds.
            claimed: Lower end of the claimed effect.
            error_rate: Probability outside the interval, two-sided, in (0, 1).
        """


class Effort(NamedTuple):
    """How much is simulated for the plan of a study, and for the advice."""

    studies: int = 400
    """Made-up studies behind each number of a plan; the Monte-Carlo error of a share of 0.8 is then
    0.02."""
    least_configurations: int = 3
    """That the statistic needs."""
    most_configurations: int = 1024
    """More are not tried."""


_USUAL = Effort()
_RANKS = Effort(studies=60, least_configurations=LEAST_CONFIGURATIONS, most_configurations=128)
"""The bootstrap of ranks takes long."""


@dataclass(frozen=True, kw_only=True)
class Definition:
    """One claim: what it says, how it is tested and simulated, and its words."""

    number: str
    """`1` to `6`; `2b` and `3b` stand beside claims 2 and 3."""
    name: str
    """Of the claim, as in claims.json."""
    beside: str = ""
    """What a line shows that is ours and stands beside the claim; empty for the claim itself."""
    unit: Unit
    claimed: float
    """Lower end of what is claimed, or the smallest effect of interest; of a ratio the largest that
    the claim allows."""
    estimand: str
    """What is estimated, as a formula in words."""
    subject: str = ""
    """What is compared, in a sentence that goes on with `is`."""
    more: str = ""
    """What the subject is where the claim holds, after the amount."""
    less: str = ""
    """The opposite."""
    statistic: Statistic | None = None
    """None for the cost, which has no scores."""
    planted: Planted | None = None
    """Scores that have a given effect; None for the cost."""
    effort: Effort = _USUAL
    against: str = RANDOM
    """Role of the arm that the pretrained one is compared with."""
    control: str = SHUFFLED
    """Role of the arm that says whether the effect is what the weights learned; empty = nobody
    asks."""

    @property
    def registered_name(self) -> str:
        """Its name in prereg.yaml, which no other has."""
        return f"{self.name}, {self.beside}" if self.beside else self.name

    @property
    def label(self) -> str:
        """Number and name in tables, where a line beside a claim stands beneath it."""
        return f"{self.number} {self.beside or self.name}"

    def judge(self, first: ArmScores, second: ArmScores, *, error_rate: float) -> Finding:
        """What the scores of two arms say of the claim; see `Statistic`.

        Raises:
            ValueError: The claim is not about scores.
        """
        if self.statistic is None:
            raise ValueError(f"claim must be about scores, got {self.name}")
        return self.statistic(first, second, claimed=self.claimed, error_rate=error_rate)


SENSITIVITY = Definition(
    number="1",
    name="sensitivity",
    unit=Unit.SHARE,
    claimed=0.20,
    estimand="1 - what tuning is worth in first / second: E[best of 3 - middle of 3] of "
    "-log val_loss at the horizon",
    subject="what tuning is worth (best of three minus the middle one)",
    more="smaller",
    less="larger",
    statistic=sensitivity,
    planted=SMALLER_GAP,
)
EARLY_GAIN = Definition(
    number="2",
    name="early gain",
    unit=Unit.SHARE,
    claimed=0.20,
    estimand="mean val_correlation of first / second - 1 at the early epoch",
    subject="val_correlation at the early epoch",
    more="higher",
    less="lower",
    statistic=partial(gain, epoch="early"),
    planted=HIGHER_EARLY,
)
FINAL_GAIN = Definition(
    number="3",
    name="gain at the horizon",
    unit=Unit.SHARE,
    claimed=0.10,
    estimand="mean val_correlation of first / second - 1 at the horizon",
    subject="val_correlation at the horizon",
    more="higher",
    less="lower",
    statistic=partial(gain, epoch="final"),
    planted=HIGHER_FINAL,
)
EARLY_ERROR = replace(
    EARLY_GAIN,
    number="2b",
    beside="error reduction",
    estimand="1 - (1 - mean val_correlation of first) / (1 - that of second)",
    subject="what is missing to a perfect correlation",
    more="less",
    less="more",
    statistic=partial(error_reduction, epoch="early"),
    planted=LESS_EARLY_ERROR,
)
FINAL_ERROR = replace(
    EARLY_ERROR,
    number="3b",
    name=FINAL_GAIN.name,
    claimed=FINAL_GAIN.claimed,
    statistic=partial(error_reduction, epoch="final"),
    planted=LESS_FINAL_ERROR,
)
STABILITY = Definition(
    number="4",
    name="stability",
    unit=Unit.SHARE,
    claimed=0.20,
    estimand="1 - variance over seeds of first / second, log val_loss at the horizon",
    subject="the variance between seeds",
    more="smaller",
    less="larger",
    statistic=stability,
    against=RANDOM_FIXED,  # pretrained weights do not vary with the seed either
    control=SHUFFLED_FIXED,
    planted=QUIETER_SEEDS,
)
EARLY_SIGNAL = Definition(
    number="5",
    name="early signal",
    unit=Unit.TAU,
    claimed=0.10,
    estimand="tau of first - tau of second: early against final ranks across seeds",
    subject="the early epoch's agreement with the final ranking",
    more="higher",
    less="lower",
    statistic=early_signal,
    planted=BETTER_EARLY_RANKS,
    effort=_RANKS,
)
COST = Definition(
    number="6",
    name="cost",
    unit=Unit.RATIO,
    claimed=COST_MARGIN,
    estimand="geometric mean seconds per step, T5 / vanilla encoder of the same width",
    control="",
)

DEFINITIONS = (
    SENSITIVITY,
    *(EARLY_GAIN, EARLY_ERROR),
    *(FINAL_GAIN, FINAL_ERROR),
    STABILITY,
    EARLY_SIGNAL,
    COST,
)
"""All lines in the order of the report, each claim before the line beside it."""
ABOUT_SCORES = tuple(definition for definition in DEFINITIONS if definition.statistic)
PLANNED = tuple(definition for definition in DEFINITIONS if not definition.beside)
"""The plan's claims, which share the error rate."""
ERROR_RATE = FAMILY_ERROR / len(PLANNED)
"""Of each deciding interval, two-sided (Bonferroni)."""
REGISTERED = RegisteredClaims(
    sizes={
        definition.registered_name: definition.claimed
        for definition in sorted(ABOUT_SCORES, key=lambda definition: bool(definition.beside))
    },
    error_rate=ERROR_RATE,
)
"""What a study fixes before its first trial."""
