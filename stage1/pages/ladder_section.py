"""How far each rung of the control ladder comes from random to pretrained weights."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from stage1.base.metric_table import LOSS
from stage1.claims.intervals import (
    Interval,
    Values,
    exponential,
    mean_interval,
    ratio_interval,
)
from stage1.claims.judge import Evaluation
from stage1.claims.scores import RunTables
from stage1.pages import numbers
from stage1.pages.blocks import Block, Heading, Inline, Table, paragraph
from stage1.run.columns import LADDER, PRETRAINED, RANDOM, SHUFFLED

_WHAT_IS_LEFT = {
    RANDOM: "nothing, all is fresh",
    "mean_sd": "mean and deviation of each tensor",
    SHUFFLED: "the entries of each tensor, in another order",
    "spectrum": "the singular values of each matrix",
    "norms_only": "the norms, the rest is fresh",
    "attention_only": "the attention, the rest is fresh",
    "mlp_only": "the feed-forward layers, the rest is fresh",
    PRETRAINED: "everything",
}
"""By role, in the order of the table."""
_ERROR_RATE = 0.05


class Rung(NamedTuple):
    """Where an arm stands between the random and the pretrained one, by log val_loss."""

    arm: str
    left: str
    """Of pretraining, in words."""
    configurations: int
    """That all three arms have."""
    ratio: Interval
    """Of its val_loss to the random arm's."""
    way: Interval
    """0 = as random, 1 = as pretrained; without end where these two are not clearly apart."""


def rungs(log_loss: dict[str, Values], roles: dict[str, str]) -> list[Rung]:
    """Every arm of the ladder, its two ends too; none without a rung or an end.

    Args:
        log_loss: At the horizon by arm, (configurations, seeds), NaN = left out.
        roles: Arm by role.
    """
    if not {PRETRAINED, RANDOM} <= roles.keys() or not roles.keys() & set(LADDER):
        return []
    random, pretrained = (log_loss[roles[role]] for role in (RANDOM, PRETRAINED))
    return [
        _rung(roles[role], left, log_loss[roles[role]], random, pretrained)
        for role, left in _WHAT_IS_LEFT.items()
        if role in roles
    ]


def _rung(arm: str, left: str, own: Values, random: Values, pretrained: Values) -> Rung:
    """Of trainings that all three arms have; the unit is the configuration."""
    arms = np.stack([own, random, pretrained])
    everywhere = np.isfinite(own + random + pretrained)  # (configurations, seeds)
    counted = everywhere.any(axis=1)
    means = np.nanmean(np.where(everywhere, arms, np.nan)[:, counted], axis=2)
    own, random, pretrained = means
    return Rung(
        arm,
        left,
        means.shape[1],
        ratio=exponential(mean_interval(own - random, error_rate=_ERROR_RATE)),
        way=ratio_interval(own - random, pretrained - random, error_rate=_ERROR_RATE),
    )


def ladder_blocks(tables: RunTables, evaluation: Evaluation) -> list[Block]:
    """The section of the ladder; nothing where the study has no rung."""
    scores, roles = evaluation.scores, tables.registration.roles
    ladder = rungs({arm: loss[:, :, -1] for arm, loss in scores.log_loss.items()}, roles)
    if not ladder:
        return []
    header = ["arm", "what is left of pretraining", "configs", f"{LOSS} / random", "95 %"]
    return [
        Heading("From random to pretrained"),
        Table([*header, "way", "95 %"], list(map(_row, ladder)), numbers_from=2, stacked=True),
        paragraph(_reading(ladder)),
        paragraph(
            f"Way: 0 is the random arm, 1 the pretrained one, by log {LOSS} at the horizon, paired "
            "over configurations (the interval is Fieller's). The intervals are not corrected for "
            "their number, and decide no claim.",
            note=True,
        ),
    ]


def _row(rung: Rung) -> list[Inline]:
    """A comparison of an arm with itself has no interval to tell."""
    ratio, way = rung.ratio, rung.way
    loss = "" if ratio.low == ratio.high else numbers.ratio_interval(ratio.low, ratio.high)
    ends = f"[{_place(way.low)}, {_place(way.high)}]" if way.bounded else "open"
    place = _place(way.estimate) if way.bounded else numbers.UNDEFINED
    return [
        *(rung.arm, rung.left, str(rung.configurations)),
        *(numbers.ratio(ratio.estimate), loss),
        *(place, "" if np.isclose(way.low, way.high) else ends),
    ]


def _place(way: float) -> str:
    return numbers.number(round(way, 2) + 0.0, digits=2)  # what rounds to -0 is 0


def _reading(ladder: list[Rung]) -> str:
    """What the intervals say of the rungs, in words."""
    between, top = ladder[1:-1], ladder[-1]
    if not top.way.bounded:
        return (
            f"{top.arm} is not clearly apart from {ladder[0].arm} here, so there is no way from "
            f"one to the other to measure: every interval of it is open. The {LOSS} of each arm "
            f"divided by that of {ladder[0].arm} can be read all the same."
        )
    direction = "less" if top.ratio.high < 1 else "more"
    away = [rung.arm for rung in between if rung.way.low > 0]
    short = [rung.arm for rung in between if rung.way.high < 1]
    return (
        f"{top.arm} has clearly {direction} {LOSS} than {ladder[0].arm}. Clearly on the way from "
        f"there: {', '.join(away) or 'no rung'}. Clearly short of its end: "
        f"{', '.join(short) or 'no rung'}."
    )
