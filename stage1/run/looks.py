"""The looks at a growing design: after how many configurations verdicts are given, at which level.

A design grows by doubling, and every look spends a share of its claim's error rate that depends on
the number of configurations alone. The shares of all looks that could ever be taken sum to at most
1, so a study may be stopped, resumed or extended whenever its results have been seen.

Source:
    Alpha spending: Lan, DeMets 1983, "Discrete Sequential Boundaries for Clinical Trials"; the
    spending function is ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from stage1.run.registration import ERROR_RATE

FIRST_LOOK = 16
"""Configurations of the smallest design that is looked at."""
SPENDING_RULE = "1/8 of 0.05/6 by 16 configurations, 1 - 16/N of it by N from 32 on"
"""As prereg.yaml states it."""


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


def look_level(looks: Sequence[int], index: int) -> float:
    """The two-sided error rate of the intervals of one look: what it spends anew.

    Args:
        looks: Configurations at each look, ascending.
        index: Which look.
    """
    before = spent_share(looks[index - 1]) if index else 0.0
    return ERROR_RATE * (spent_share(looks[index]) - before)


def look_faults(looks: Sequence[int]) -> list[str]:
    """The rules that the looks of a design break, in words; empty if none."""
    wrong = [n for n in looks if n < FIRST_LOOK or n & (n - 1)]
    if wrong:
        return [f"must be powers of two from {FIRST_LOOK} on, got {wrong[0]}"]
    if any(later != 2 * earlier for earlier, later in pairwise(looks)):
        return [f"must double from look to look, got {', '.join(map(str, looks))}"]
    return []


def next_look(looks: Sequence[int]) -> int:
    """The look after the last one: a doubling."""
    return 2 * looks[-1]
