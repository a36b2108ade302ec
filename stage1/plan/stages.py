"""How many trials a study has, and what kinds of them, by what they cost."""

from __future__ import annotations

import math
from functools import reduce
from itertools import pairwise
from typing import NamedTuple

from stage1.config import Config
from stage1.study.space import Space
from stage1.study.stages import expected_by_stage
from stage1.study.study import Study, trial_config

VANILLA_ENCODER = "vanilla encoder"
_COSTLESS = (
    "training.optimizer.",
    "training.schedule",
    "training.warmup_share",
    "training.gradient_clip",
    "transfer_learning.",  # size and patch_len tell kinds apart; freezing is left out on purpose
    "masking.",
    "data.normalization",
    "loss.huber_delta",
)
"""Keys that change what a trial learns and not, or hardly, how long it takes."""


class Kind(NamedTuple):
    """What the time of a trial depends on most."""

    size: str
    """Language model's name, or `VANILLA_ENCODER`."""
    patch_len: int | None
    """Bars per token; None where there are no patches."""


def trials_by_stage(study: Study) -> dict[str, int]:
    """How many trials each stage has at most, by the rules of the engine that would run them."""
    return expected_by_stage(study, {})


def expected_search_epochs(space: Space) -> float:
    """Mean epochs of a search trial where just one in `reduction_factor` goes on at each rung.

    Trials go on more often than that where the sampler proposes better points than the rungs hold.

    Returns:
        In (0, horizon].
    """
    asha, horizon = space.search.scheduler.asha, space.horizon_epochs
    rungs, rung = list[int](), float(asha.grace_epochs)
    while math.ceil(rung) < horizon:
        rungs.append(math.ceil(rung))
        rung *= asha.reduction_factor
    ends = [*rungs, horizon]
    return ends[0] + sum(
        (later - earlier) / asha.reduction_factor**passed
        for passed, (earlier, later) in enumerate(pairwise(ends), start=1)
    )


def design_configs(study: Study) -> list[Config]:
    """The complete configurations of the design, arm by arm; seeds differ in nothing that costs."""
    return [
        trial_config(study, arm=arm, values=point, seed=study.seed)
        for arm in study.space.arms
        for point in study.points
    ]


def kind_of(config: Config) -> Kind:
    """The kind of a trial."""
    if config.language_model_name is None:
        return Kind(VANILLA_ENCODER, None)
    return Kind(config.language_model_name, config.transfer_learning.patch_len)


def by_kind(configs: list[Config]) -> dict[Kind, list[Config]]:
    """Configurations by kind, sorted by size and patch_len."""
    found: dict[Kind, list[Config]] = {}
    for config in configs:
        found.setdefault(kind_of(config), []).append(config)
    return dict(sorted(found.items(), key=lambda item: (item[0].size, item[0].patch_len or 0)))


def spread_evenly(kinds: list[Kind], most: int) -> list[Kind]:
    """At most so many of the kinds, the first and the last among them.

    Args:
        kinds: In order.
        most: At least 2.
    """
    if len(kinds) <= most:
        return kinds
    return [kinds[round(place * (len(kinds) - 1) / (most - 1))] for place in range(most)]


def also_varying(study: Study, configs: list[Config]) -> list[str]:
    """Further keys that differ between configurations and may change what a trial costs."""
    keys = {key for arm in study.space.arms.values() for key in arm} | set(study.space.space)
    return sorted(
        key
        for key in keys
        if not key.startswith(_COSTLESS)
        and len({repr(reduce(getattr, key.split("."), config)) for config in configs}) > 1
    )
