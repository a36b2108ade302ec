"""Where the best configurations lie at an end of what was searched: better ones may lie beyond.

A description of the run, no test: it says where to look next, and nothing about the arms.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import pandas as pd
import yaml
from pydantic import ValidationError
from scipy.stats import binom

from stage1.config import Config, with_values
from stage1.run.columns import PARAMETER_PREFIX, STAGES
from stage1.run.registration import Preregistration
from stage1.run.resolved_space import Choice, Domain, Range, ResolvedSpace, key_of, searched_values
from stage1.run.summary import full_horizon

BEST = 5
"""Configurations of an arm that are looked at, the best ones."""
OUTER = 0.2
"""Share of what is searched, on its own scale, that is its end; at least its outermost value."""
CHANCE = 0.01
"""An end is named where chance would put as many of the best there more rarely than this."""
FURTHER = 0.25
"""How much further to search, as a share of the range on its own scale."""

Number = int | float


class Edge(NamedTuple):
    """An end of what was searched of a hyperparameter, and the best configurations that lie at it.

    Only numbers have ends; those of a choice are taken in their order.
    """

    name: str
    """As in the search space."""
    arm: str
    end: Number
    """The outermost value that was searched there."""
    values: list[Number]
    """Of the best configurations that searched it, best first."""
    near: int
    """How many of them lie at this end."""
    wider: dict[str, Any]
    """What to search in a new study."""

    @property
    def line(self) -> str:
        """What to write into the file of a new study."""
        wider = {self.name: self.wider}
        text: str = yaml.safe_dump(wider, default_flow_style=True, sort_keys=False, width=math.inf)
        return text.strip()[1:-1]


def edges(trials: pd.DataFrame, space: ResolvedSpace, registration: Preregistration) -> list[Edge]:
    """The ends near which most of an arm's best configurations lie, hyperparameter by parameter.

    An arm's best are those of all trials at the full horizon, by mean over whatever seeds they
    have, in arms that one would train. An end that the configuration cannot pass is none.

    Args:
        trials: Of the run.
        space: The resolved study.
        registration: What was fixed.
    """
    best = {arm: _best(trials, space, arm) for arm in registration.trainable_arms}
    found: list[Edge] = []
    for name, domain in space.space.items():
        for arm, points in best.items():
            values = [point[name] for point in points if name in point]
            for is_high, near in _ends(domain, values):
                wider = _wider(domain, is_high=is_high)
                if wider is not None and _can_be(space, name, wider, is_high=is_high):
                    end = _outermost(domain, is_high=is_high)
                    found.append(Edge(name, arm, end, values, near, wider))
    return found


def _best(trials: pd.DataFrame, space: ResolvedSpace, arm: str) -> list[dict[str, Any]]:
    """What was searched of the best configurations of an arm, best first."""
    rows = full_horizon(trials[trials["arm"] == arm], space, list(STAGES))
    means = rows.groupby("config_id", sort=False)["objective"].mean()
    ids = means.sort_values(ascending=space.objective.mode == "min", kind="stable").index[:BEST]
    by_id = rows.drop_duplicates("config_id").set_index("config_id")
    cells = by_id.rename(columns=lambda column: column.removeprefix(PARAMETER_PREFIX))
    return [searched_values(space.space, row) for row in cells.loc[ids].to_dict("records")]


def _ends(domain: Domain, values: Sequence[Any]) -> Iterator[tuple[bool, int]]:
    """The upper end or not, and how many of the values lie there, where that is no chance."""
    if not _is_ordered(domain) or len(values) < BEST:
        return
    for is_high in (False, True):
        outermost = _share_beyond(domain, _outermost(domain, is_high=is_high), is_high=is_high)
        share = max(OUTER, outermost)
        near = sum(_share_beyond(domain, one, is_high=is_high) <= share + 1e-9 for one in values)
        if binom.sf(near - 1, len(values), share) <= CHANCE:
            yield is_high, near


def _is_ordered(domain: Domain) -> bool:
    """Whether it has ends: numbers, and more than one."""
    if isinstance(domain, Range):
        return domain.low < domain.high
    numbers = [type(option) in (int, float) for option in domain.options]
    return all(numbers) and len(numbers) > 1


def _outermost(domain: Domain, *, is_high: bool) -> Any:
    if isinstance(domain, Range):
        return domain.high if is_high else domain.low
    options: list[Any] = list(domain.options)
    return max(options) if is_high else min(options)


def _share_beyond(domain: Domain, value: Any, *, is_high: bool) -> float:
    """How much of what is searched is as far out as a value, itself included, on its own scale."""
    if isinstance(domain, Choice):
        options: list[Any] = list(domain.options)
        as_far_out = [one >= value if is_high else one <= value for one in options]
        return as_far_out.count(True) / len(options)
    value = min(max(value, domain.low), domain.high)  # a table of unknown origin can say anything
    width = 1 if domain.type == "int" else 0  # a whole number stands for all up to the next
    scale = math.log if domain.log else float
    low, high = scale(domain.low), scale(domain.high + width)
    share = (scale(value + (0 if is_high else width)) - low) / (high - low)
    return 1 - share if is_high else share


def _wider(domain: Domain, *, is_high: bool) -> dict[str, Any] | None:
    """The domain with room beyond one end, or None if nothing lies there.

    Numbers that are never negative end at 0.
    """
    written = domain.model_dump(exclude_defaults=True) | {"type": domain.type}
    if isinstance(domain, Choice):
        options: list[Any] = list(domain.options)
        further = _next_option(sorted(options, reverse=not is_high))
        if further < 0 <= min(options):
            return None
        return written | {"options": [*options, further] if is_high else [further, *options]}
    bound = _further_bound(domain, is_high=is_high)
    if domain.low >= 0:
        bound = max(bound, 0)
    if bound in (domain.low, domain.high):
        return None
    return written | {"high" if is_high else "low": bound}


def _next_option(options: list[Any]) -> Number:
    """What follows the last of these numbers, by their ratio where they have one."""
    before: Number = options[-2]
    last: Number = options[-1]
    further = last * last / before if before * last > 0 else 2 * last - before
    if not all(isinstance(option, int) for option in options):
        return _rounded(further, last)
    return int(further) if further == int(further) else int(2 * last - before)


def _further_bound(domain: Range, *, is_high: bool) -> Number:
    bound, sign = (domain.high, 1) if is_high else (domain.low, -1)
    further: float
    if domain.log:
        further = bound * (domain.high / domain.low) ** (sign * FURTHER)
    else:
        further = bound + sign * FURTHER * (domain.high - domain.low)
    if domain.type == "int":
        return bound + sign * max(abs(round(further) - int(bound)), 1)
    return _rounded(further, bound)


def _rounded(value: float, end: float) -> float:
    """A number to write down, still beyond the end."""
    for digits in (1, 2, 3):
        short = float(f"{value:.{digits}g}")
        if (short - end) * (value - end) > 0 and abs(short - value) < abs(value - end) / 2:
            return short
    return value


def _can_be(space: ResolvedSpace, name: str, wider: dict[str, Any], *, is_high: bool) -> bool:
    """Whether the configuration takes the new end; also where nobody can tell."""
    try:
        config = Config.model_validate(space.config)
    except ValidationError:  # of another version
        return True
    domain = space.space[name]
    further = _outermost(type(domain).model_validate(wider), is_high=is_high)
    try:
        with_values(config, {**domain.when, key_of(name): further})
    except ValidationError:
        return False
    return True
