"""The size of a design, and its looks: after how many configurations verdicts are given.

A design grows by doubling, and every look spends a share of its claim's error rate that depends on
the number of configurations alone. The shares of all looks that could ever be taken sum to at most
1, so a study may be stopped, resumed or extended whenever its results have been seen.

Source:
    Alpha spending: Lan, DeMets 1983, "Discrete Sequential Boundaries for Clinical Trials"; the
    spending function is ours.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

FIRST_LOOK = 16
"""Configurations of the smallest design that is looked at."""
SPENDING_RULE = "1/8 of the level by 16 configurations, 1 - 16/N of it by N from 32 on"
"""As prereg.yaml states it."""
DEFAULT_LOOKS = (16, 32)
MOST_CONFIGURATIONS = 4096
"""Of a design."""
_CONFIGURATION = "design"


class DesignSize(NamedTuple):
    """How many configurations and seeds a design has, and when it is looked at."""

    looks: tuple[int, ...]
    """Configurations at each announced look, ascending, points that came out equal included."""
    seeds: int
    """Of a configuration that has them all."""
    replicated: int | None = None
    """So many of the first configurations have all seeds, the others only the first one; None = all
    have them all."""
    control: int | None = None
    """So many of the first configurations are trained with shuffled weights in any case; None =
    all."""
    grows: bool = False
    """Whether verdicts are given at every look, each at its level; else once, at the end, at the
    whole level."""

    @property
    def configurations(self) -> int:
        """At the last announced look."""
        return self.looks[-1]

    def seeds_of(self, position: int) -> int:
        """Seeds of the configuration at a place among the distinct ones, from 0."""
        return self.seeds if self.replicated is None or position < self.replicated else 1

    def every_look(self) -> Iterator[int]:
        """The announced looks and, where the design grows, the doublings that may follow."""
        yield from self.looks
        look = 2 * self.configurations
        while self.grows and look <= MOST_CONFIGURATIONS:
            yield look
            look *= 2

    def begun_look(self, config_ids: Iterable[str]) -> int:
        """The look that a design goes to at least once these configurations have begun; else 0."""
        last = max(map(configuration_number, config_ids), default=-1)
        return 0 if last < 0 else next((look for look in self.every_look() if look > last), 0)

    def pairs(self, configurations: int) -> int:
        """Trainings of an arm on so many of the first distinct configurations."""
        return sum(map(self.seeds_of, range(configurations)))


def design_size(
    *,
    looks: Sequence[int] | None,
    replicated: int | None,
    control: int | None,
    configurations: int | None,
    seeds: int | None,
) -> DesignSize:
    """The size of a design as a search space says it; None = not said.

    With looks, the first of them is at 16 or 32 configurations and one seed is enough. Without,
    the design is looked at once: 8 configurations with 2 seeds.
    """
    if looks is None and (configurations is not None or seeds is not None):
        return DesignSize((configurations or 8,), seeds or 2)
    return DesignSize(
        looks=tuple(looks or DEFAULT_LOOKS),
        seeds=seeds or (2 if replicated else 1),
        replicated=None if seeds else replicated or 0,
        control=control or 0,
        grows=True,
    )


def configuration_id(number: int) -> str:
    """The config_id of the design's point with this number, from 0."""
    return f"{_CONFIGURATION}{number:03d}"


def configuration_number(config_id: str) -> int:
    """The number of a design's point; that of any other name is one that no design reaches."""
    digits = config_id.removeprefix(_CONFIGURATION)
    return int(digits) if digits.isdecimal() else 10**9


def spent_share(configurations: int) -> float:
    """The share of a claim's error rate that is spent once a look was taken at so many.

    Args:
        configurations: 16 or another power of two above it.

    Returns:
        In (0, 1).
    """
    if configurations == FIRST_LOOK:
        return 1 / 8
    return 1 - FIRST_LOOK / configurations


def look_level(looks: Sequence[int], index: int, *, error_rate: float) -> float:
    """The two-sided error rate of the intervals of one look: what it spends anew.

    Args:
        looks: Configurations at each look, ascending.
        index: Which look.
        error_rate: Of the claim, over all looks.
    """
    before = spent_share(looks[index - 1]) if index else 0.0
    return error_rate * (spent_share(looks[index]) - before)


def look_fault(looks: Sequence[int]) -> str:
    """The rule that the looks of a design break, in words; empty if none."""
    wrong = [n for n in looks if n < FIRST_LOOK or n & (n - 1)]
    if wrong or not looks:
        got = wrong[0] if wrong else "none"
        return f"must be powers of two from {FIRST_LOOK} on, got {got}"
    if any(later != 2 * earlier for earlier, later in pairwise(looks)):
        return f"must double from look to look, got {', '.join(map(str, looks))}"
    return ""
