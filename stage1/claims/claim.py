"""A claim as it came out: in numbers, in a sentence, and in claims.json."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from stage1.claims.catalogue import FAMILY_ERROR, Definition, Unit
from stage1.claims.intervals import Interval
from stage1.claims.verdicts import COST_ENDINGS, ENDINGS, GAINS, Verdict, cannot_tell

MOST_TOLD = 9.99
"""Effects beyond this, 999 %, are only said to be beyond it."""


class Look(NamedTuple):
    """Verdicts that were given after a number of configurations."""

    configurations: int
    """Points of the design, those that came out equal included."""
    level: float
    """Two-sided error rate of the intervals at this look."""
    verdicts: dict[str, Verdict]
    """Of the plan's claims about scores, by number."""


class EarlierVerdict(NamedTuple):
    """What a claim came out as at an earlier look, on fewer configurations."""

    look: int
    """Configurations."""
    verdict: Verdict
    estimate: float
    low: float
    high: float


class Claim(NamedTuple):
    """One claim, tested."""

    definition: Definition
    arm_pair: tuple[str, str]
    """Names of the arms compared, the one said to be better first."""
    claimed: float
    """Lower end of the claimed effect; of the cost, the largest ratio that the run allows."""
    interval: Interval
    """Of the effect, positive where the claim holds; of the cost, of the ratio. Decides."""
    verdict: Verdict
    reason: str
    """Why, or what would help; may be empty."""
    attribution: str
    """Whether shuffled weights do as well; empty where that is not asked."""
    sentence: str
    """The verdict in plain words."""
    shown: dict[str, float]
    """Further numbers, by what they are."""
    robustness: dict[str, str]
    """Lines that never decide, by what they are."""
    look: int
    """Configurations after which the verdict was given; 0 before the first look, and of the cost,
    which has none."""
    level: float
    """Two-sided error rate of the interval."""
    earlier: tuple[EarlierVerdict, ...] = ()
    """Verdicts at the looks before, first to last."""
    warning: str = ""
    """Why no verdict says that anything useful was learned; empty if there is no reason."""

    @property
    def id(self) -> str:
        """Its number; with a letter, that of a line beside a claim."""
        return self.definition.number

    @property
    def name(self) -> str:
        """Of the claim, or of that beside which the line stands."""
        return self.definition.name

    @property
    def p(self) -> float:
        """Of the deciding interval, as if it were the only test of the study, at most 1.

        It is divided by its share of the error rate of all claims and looks: below `FAMILY_ERROR`
        exactly where the interval excludes no effect.
        """
        return min(self.interval.p * FAMILY_ERROR / self.level, 1.0)


def score_sentence(
    definition: Definition,
    *,
    arms: tuple[str, str],
    effect: Interval,
    verdict: Verdict,
    reason: str,
) -> str:
    """What the study says of a claim about scores.

    Args:
        definition: Of the claim.
        arms: The pair, the one said to be better first.
        effect: Positive where the claim holds.
        verdict: Of the claim.
        reason: Why it is not evaluable, where it is not.
    """
    if verdict is Verdict.NOT_EVALUABLE or math.isnan(effect.estimate):
        return cannot_tell(reason)
    size, low, high = (
        _sized(definition, value) for value in (effect.estimate, effect.low, effect.high)
    )
    claimed = definition.claimed
    amount = f"{claimed:.0%}" if definition.unit is Unit.SHARE else f"{claimed:.2f}"
    vetoed = (verdict not in GAINS and effect.low > 0) or (
        verdict is Verdict.DIRECTION_ONLY and effect.low >= claimed
    )
    ending = f"But {reason}." if vetoed else ENDINGS[verdict].format(claimed=amount)
    return (
        f"With {arms[0]} weights of this checkpoint {definition.subject} is {size} than with "
        f"{arms[1]} ones ({low} to {high}). {ending}"
    )


def _sized(definition: Definition, value: float) -> str:
    word = definition.less if value < 0 else definition.more
    if math.isinf(value):
        return f"any amount {word}"
    if abs(value) > MOST_TOLD:
        return f"over {MOST_TOLD:.0%} {word}"
    amount = f"{abs(value):.1%}" if definition.unit is Unit.SHARE else f"{abs(value):.3f}"
    return f"{amount} {word}"


def cost_sentence(size: str, ratio: Interval, *, margin: float, verdict: Verdict) -> str:
    """What the study says of the cost; `ratio` is of seconds per step, T5 / vanilla."""
    return (
        f"A step with {size} takes {ratio.estimate:.3f} times as long as one with a vanilla "
        f"encoder of the same width ({ratio.low:.3f} to {ratio.high:.3f}). {COST_ENDINGS[verdict]} "
        f"({margin:.2f})."
    )


def signed_share(value: float) -> str:
    """An effect in per cent with its sign, at most `MOST_TOLD`."""
    if math.isfinite(value) and abs(value) > MOST_TOLD:
        return f"{'<-' if value < 0 else '>+'}{MOST_TOLD:.0%}"
    return f"{value:+.1%}"


def claims_json(
    claims: list[Claim], beside: list[Claim], looks: Sequence[Look], facts: dict[str, Any]
) -> str:
    """claims.json: no number in it is NaN or infinite, null stands for both.

    `facts` are what else the verdicts rest on, by name.
    """
    content = {
        "claims": [_fields(claim) for claim in claims],
        "beside": [_fields(claim) for claim in beside],
        "looks": [look._asdict() for look in looks],
        **facts,
    }
    return json.dumps(content, indent=2, allow_nan=False) + "\n"


def _fields(claim: Claim) -> dict[str, Any]:
    return {
        "id": claim.id,
        "name": claim.name,
        "arm_pair": list(claim.arm_pair),
        "estimand": claim.definition.estimand,
        "claimed": _finite(claim.claimed),
        "estimate": _finite(claim.interval.estimate),
        "low": _finite(claim.interval.low),
        "high": _finite(claim.interval.high),
        "p": _finite(claim.p),
        "verdict": claim.verdict.value,
        "attribution": claim.attribution,
        "reason": claim.reason,
        "look": claim.look,
        "level": _finite(claim.level),
        "earlier": [_finite_fields(one) for one in claim.earlier],
        "sentence": claim.sentence,
        "warning": claim.warning,
        "shown": {name: _finite(value) for name, value in claim.shown.items()},
        "robustness": claim.robustness,
    }


def _finite_fields(earlier: EarlierVerdict) -> dict[str, Any]:
    numbers = {name: _finite(getattr(earlier, name)) for name in ("estimate", "low", "high")}
    return {"look": earlier.look, "verdict": earlier.verdict.value, **numbers}


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
