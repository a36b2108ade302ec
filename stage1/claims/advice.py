"""What would decide an open claim: a power statement, by simulation on a world like the run's."""

from __future__ import annotations

import math
from functools import lru_cache
from itertools import takewhile

from stage1.claims.catalogue import Definition
from stage1.claims.error_rates import findings, is_decided, levels
from stage1.claims.synthetic import Draw, World, arms_of, draw_studies
from stage1.run.looks import FIRST_LOOK, DesignSize

ENOUGH = 0.80
"""Share of made-up studies in which a design must decide to be advised."""
STUDIES = 200
"""Made-up studies behind an advice; the Monte-Carlo error of a share of 0.8 is then 0.03."""
_SEED = 16


def advice(
    definition: Definition, estimate: float, *, world: World, size: DesignSize, look: int
) -> str:
    """How many configurations would decide a claim that is open, in words.

    Args:
        definition: Of a claim about scores, or of a line beside one.
        estimate: Of its effect, taken for the truth.
        world: Like the run's.
        size: Of the run's design.
        look: Configurations that left the claim open.

    Returns:
        Empty where there is no estimate.
    """
    if definition.planted is None or not math.isfinite(estimate):
        return ""
    more = further_looks(definition, world, size, look)
    if not more:
        return "no larger design of this space would decide it"
    like_this = f"in {ENOUGH:.0%} of studies like this, if the estimate is right"
    needed = configurations_needed(definition, estimate, world=world, size=size, look=look)
    if needed is None:
        return f"even {more[-1]:,} configurations would not decide it {like_this}"
    how = "--extend" if size.grows else "in a new study with looks"
    return f"{needed:,} configurations would decide it {like_this} ({how})"


def configurations_needed(
    definition: Definition, estimate: float, *, world: World, size: DesignSize, look: int
) -> int | None:
    """The smallest doubling that decides a claim in `ENOUGH` of made-up studies, as `advice`.

    None if none does that is tried.
    """
    more = further_looks(definition, world, size, look)
    shares = decided_shares(definition, estimate, world=world, size=size, look=look)
    return next((n for n, share in zip(more, shares, strict=True) if share >= ENOUGH), None)


def further_looks(
    definition: Definition, world: World, size: DesignSize, look: int
) -> tuple[int, ...]:
    """The doublings after a look that add distinct configurations and can be simulated."""
    levels_of = [setting.levels for setting in world.settings]
    distinct = math.prod(levels_of) if all(levels_of) else math.inf
    first = max(size.looks[0] if size.grows else FIRST_LOOK, 2 * look)
    doublings = (first * 2**power for power in range(12))
    return tuple(
        takewhile(
            lambda n: n <= definition.effort.most_configurations and n // 2 < distinct, doublings
        )
    )


def decided_shares(
    definition: Definition, estimate: float, *, world: World, size: DesignSize, look: int
) -> list[float]:
    """In how many made-up studies a look after `look` decides, by each of them, in [0, 1].

    Each look has its own level. Arguments as `advice`.
    """
    more = further_looks(definition, world, size, look)
    planted = definition.planted
    if planted is None or not more:
        return []
    looks = [size.looks[0] if size.grows else FIRST_LOOK]
    while looks[-1] < more[-1]:
        looks.append(2 * looks[-1])
    later = size._replace(looks=tuple(looks), grows=True)
    plan = [pair for pair in zip(looks, levels(later), strict=True) if pair[0] in more]
    shape = planted.shape(world, min(estimate, planted.largest(world)))
    decided = dict.fromkeys(more, 0)
    draws = _draws(world, later, min(STUDIES, definition.effort.studies))
    for draw in draws:
        found = findings(draw, arms_of(draw, world, shape), definition, plan)
        first = next((n for n, one in zip(more, found, strict=False) if is_decided(one)), None)
        for n in more:
            decided[n] += first is not None and first <= n
    return [count / len(draws) for count in decided.values()]


@lru_cache(maxsize=2)
def _draws(world: World, size: DesignSize, studies: int) -> list[Draw]:
    """One set of studies for all open claims of a run."""
    return draw_studies(world, size, studies=studies, seed=_SEED)
