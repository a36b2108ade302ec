"""Verdicts in plain words."""

from __future__ import annotations

import math

from stage1.claims.finding import (
    EARLY_GAIN,
    EARLY_SIGNAL,
    FINAL_GAIN,
    SENSITIVITY,
    STABILITY,
)
from stage1.claims.intervals import Interval
from stage1.claims.verdicts import Verdict

ESTIMANDS = {
    SENSITIVITY: "1 - sigma of first / second, log val_loss at the horizon, seed noise removed",
    EARLY_GAIN: "mean val_correlation of first / second - 1 at the early epoch",
    FINAL_GAIN: "mean val_correlation of first / second - 1 at the horizon",
    STABILITY: "1 - variance over seeds of first / second, log val_loss at the horizon",
    EARLY_SIGNAL: "tau of first - tau of second: early against final ranks across seeds",
}
ERROR_REDUCTION = "1 - (1 - mean val_correlation of first) / (1 - that of second)"
COST_ESTIMAND = "geometric mean seconds per step, T5 / vanilla encoder of the same width"
_SUBJECTS = {
    SENSITIVITY: ("the spread between hyperparameter configurations is", "smaller", "larger"),
    EARLY_GAIN: ("val_correlation at the early epoch is", "higher", "lower"),
    FINAL_GAIN: ("val_correlation at the horizon is", "higher", "lower"),
    STABILITY: ("the variance between seeds is", "smaller", "larger"),
    EARLY_SIGNAL: ("the early epoch's agreement with the final ranking is", "higher", "lower"),
}
_ERRORS = ("what is missing to a perfect correlation is", "less", "more")
MOST_TOLD = 9.99
"""Effects beyond this, 999 %, are only said to be beyond it."""
_ENDINGS = {
    Verdict.SUPPORTED: "The claim holds in this study.",
    Verdict.DIRECTION_ONLY: "The direction is shown, the claimed size ({claimed}) is not.",
    Verdict.INCONCLUSIVE: "That leaves open whether there is any effect.",
    Verdict.NOT_SUPPORTED: "So an effect of the claimed size is excluded ({claimed}).",
    Verdict.CONTRADICTED: "The claim is contradicted: the effect is the other way.",
}


def claim_sentence(
    name: str,
    *,
    arms: tuple[str, str],
    effect: Interval,
    claimed: float,
    verdict: Verdict,
    reason: str,
    on_errors: bool = False,
) -> str:
    """What the study says of a claim about scores.

    Args:
        name: The claim's.
        arms: The pair, the one said to be better first.
        effect: Positive where the claim holds.
        claimed: Lower end of the claimed effect.
        verdict: Of the claim.
        reason: Why it is not evaluable, where it is not.
        on_errors: For the error reduction beside a claim.
    """
    if verdict is Verdict.NOT_EVALUABLE:
        return f"This study cannot tell: {reason}."
    subject, more, less = _SUBJECTS[name]
    if on_errors:
        subject, more, less = _ERRORS
    as_share = name != EARLY_SIGNAL
    size = _sized(effect.estimate, more, less, as_share=as_share)
    ends = " to ".join(
        _sized(end, more, less, as_share=as_share) for end in (effect.low, effect.high)
    )
    amount = f"{claimed:.0%}" if as_share else f"{claimed:.2f}"
    vetoed = (verdict is Verdict.INCONCLUSIVE and effect.low > 0) or (
        verdict is Verdict.DIRECTION_ONLY and effect.low >= claimed
    )
    ending = f"But {reason}." if vetoed else _ENDINGS[verdict].format(claimed=amount)
    return f"With {arms[0]} weights {subject} {size} than with {arms[1]} ones ({ends}). {ending}"


def signed_share(value: float) -> str:
    """An effect in per cent with its sign, at most `MOST_TOLD`."""
    if math.isfinite(value) and abs(value) > MOST_TOLD:
        return f"{'<-' if value < 0 else '>+'}{MOST_TOLD:.0%}"
    return f"{value:+.1%}"


def _sized(value: float, more: str, less: str, *, as_share: bool) -> str:
    if math.isinf(value):
        return f"any amount {more if value > 0 else less}"
    if abs(value) > MOST_TOLD:
        return f"over {MOST_TOLD:.0%} {more if value > 0 else less}"
    amount = f"{abs(value):.1%}" if as_share else f"{abs(value):.3f}"
    return f"{amount} {less if value < 0 else more}"


def cost_sentence(size: str, ratio: Interval, *, margin: float, verdict: Verdict) -> str:
    """What the study says of the cost.

    Args:
        size: The T5's name.
        ratio: Of seconds per step, T5 / vanilla.
        margin: Largest ratio that the claim allows.
        verdict: Of the claim.
    """
    endings = {
        Verdict.SUPPORTED: "That is within what the plan allows",
        Verdict.CONTRADICTED: "That is more than the plan allows",
        Verdict.INCONCLUSIVE: "That is not clear enough to compare it with what the plan allows",
    }
    return (
        f"A step with {size} takes {ratio.estimate:.3f} times as long as one with a vanilla "
        f"encoder of the same width ({ratio.low:.3f} to {ratio.high:.3f}). {endings[verdict]} "
        f"({margin:.2f})."
    )
