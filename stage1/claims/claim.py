"""A claim as it is reported and kept in claims.json."""

from __future__ import annotations

import json
import math
from typing import Any, NamedTuple

from stage1.claims.intervals import Interval
from stage1.claims.verdicts import Verdict
from stage1.run.registration import CLAIMS

ATTRIBUTABLE = "attributable to what the weights learned"
NOT_ATTRIBUTABLE = "not attributable to what the weights learned"
NOT_TESTED = "attribution not tested"
NO_GAIN = "no gain to attribute"


class Claim(NamedTuple):
    """One claim, tested."""

    id: str
    """`1` to `6`; `2b` and `3b` are the error reductions beside claims 2 and 3."""
    name: str
    arm_pair: tuple[str, str]
    """Names of the arms compared, the one said to be better first."""
    estimand: str
    """What is estimated, as a formula in words."""
    claimed: float
    """Lower end of the claimed effect; claim 6: largest ratio allowed."""
    interval: Interval
    """Of the effect, positive where the claim holds; claim 6: of the ratio. Decides."""
    verdict: Verdict
    reason: str
    """Why, or what would help; may be empty."""
    attribution: str
    """Whether shuffled weights do as well; empty for claim 6."""
    sentence: str
    """The verdict in plain words."""
    shown: dict[str, float]
    """Further numbers, by what they are."""
    robustness: dict[str, str]
    """Lines that never decide, by what they are."""
    warning: str = ""
    """Why no verdict says that anything useful was learned; empty if there is no reason."""

    @property
    def p(self) -> float:
        """Of the deciding interval, times the number of claims, at most 1."""
        return min(self.interval.p * CLAIMS, 1.0)


def claims_json(claims: list[Claim], beside: list[Claim], facts: dict[str, Any]) -> str:
    """claims.json: no number in it is NaN or infinite, null stands for both.

    Args:
        claims: The six, in order.
        beside: Lines beside them.
        facts: What else the verdicts rest on, by name.
    """
    content = {
        "claims": [_fields(claim) for claim in claims],
        "beside": [_fields(claim) for claim in beside],
        **facts,
    }
    return json.dumps(content, indent=2, allow_nan=False) + "\n"


def _fields(claim: Claim) -> dict[str, Any]:
    return {
        "id": claim.id,
        "name": claim.name,
        "arm_pair": list(claim.arm_pair),
        "estimand": claim.estimand,
        "claimed": _finite(claim.claimed),
        "estimate": _finite(claim.interval.estimate),
        "low": _finite(claim.interval.low),
        "high": _finite(claim.interval.high),
        "p": _finite(claim.p),
        "verdict": claim.verdict.value,
        "attribution": claim.attribution,
        "reason": claim.reason,
        "sentence": claim.sentence,
        "warning": claim.warning,
        "shown": {name: _finite(value) for name, value in claim.shown.items()},
        "robustness": claim.robustness,
    }


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
