"""Claim 6: a step with a T5 costs little more than one with the vanilla encoder."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import pandas as pd

from stage1.claims.intervals import NO_INTERVAL, Interval, exponential, mean_interval
from stage1.claims.verdicts import Finding, decide_cost, not_evaluable
from stage1.run.columns import PRETRAINED, VANILLA
from stage1.run.registration import CostPlan

LEAST_ROUNDS = 5
"""Timings below which the cost is not judged."""


class SizeCost(NamedTuple):
    """Cost of one T5 size relative to the vanilla encoder of the same width."""

    size: str
    patch_len: int
    rounds: int
    ratio: Interval
    """Of geometric mean seconds per step, T5 / vanilla; `p` is for the margin."""
    seconds_per_step: tuple[float, float]
    """Geometric mean, T5 and vanilla."""
    memory_mb: tuple[float, float]
    """Largest peak of resident memory, T5 and vanilla."""
    gpu_memory_mb: tuple[float, float]
    """Largest peak on the GPU, T5 and vanilla; NaN without one."""


def size_costs(cost: pd.DataFrame, *, margin: float, error_rate: float) -> list[SizeCost]:
    """The cost of every T5 size that was timed, cheapest first.

    Each round timed both encoders one after the other, so a round gives one log ratio, and slow
    spells of the machine fall on both.

    Args:
        cost: cost.parquet; rounds that lack one of the two do not count.
        margin: Ratio that `p` tests, > 0.
        error_rate: Probability outside the interval, two-sided, in (0, 1).

    Returns:
        Sizes with two rounds or more.
    """
    costs = []
    timed = cost.assign(log=np.log(cost["seconds"] / cost["steps"]))
    for _, rows in timed.groupby(["size", "patch_len"], sort=False):
        logs = rows.pivot_table(index="round", columns="arm", values="log")
        if {PRETRAINED, VANILLA} - set(logs.columns):
            continue
        both = logs.dropna()
        differences = (both[PRETRAINED] - both[VANILLA]).to_numpy()
        interval = mean_interval(differences, error_rate=error_rate, null=math.log(margin))
        if math.isnan(interval.estimate):
            continue
        means, peaks = both.mean(), rows.groupby("arm")[["peak_rss_mb", "peak_vram_mb"]].max()
        costs.append(
            SizeCost(
                size=str(rows["size"].iloc[0]),
                patch_len=int(rows["patch_len"].iloc[0]),
                rounds=len(both),
                ratio=exponential(interval),
                seconds_per_step=_of_both(np.exp(means)),
                memory_mb=_of_both(peaks["peak_rss_mb"]),
                gpu_memory_mb=_of_both(peaks["peak_vram_mb"]),
            )
        )
    return sorted(costs, key=lambda size: size.seconds_per_step[0])


def _of_both(values: pd.Series[float]) -> tuple[float, float]:
    return float(values[PRETRAINED]), float(values[VANILLA])


def judge_cost(costs: list[SizeCost], plan: CostPlan | None, *, unfinished: str) -> Finding:
    """What the timings of the registered size say; its effect is the ratio itself.

    Args:
        costs: Every size that was timed.
        plan: What was registered; None without a T5.
        unfinished: Why timings may still come; empty if the study has ended.
    """
    if plan is None:
        return not_evaluable(NO_INTERVAL, "the study has no T5", {})
    registered = (plan.size, plan.patch_len)
    timed = [cost for cost in costs if (cost.size, cost.patch_len) == registered]
    if not timed:
        reason = unfinished or (
            f"{plan.size} was not timed against the vanilla encoder, which is done at the very end"
        )
        return not_evaluable(NO_INTERVAL, reason, {})
    cost, shown = timed[0], _cost_numbers(timed[0])
    if cost.rounds < LEAST_ROUNDS:
        few = f"needs {LEAST_ROUNDS} rounds of timing, got {cost.rounds}"
        return not_evaluable(cost.ratio, few, shown)
    return Finding(cost.ratio, decide_cost(cost.ratio, margin=plan.margin), shown)


def _cost_numbers(cost: SizeCost) -> dict[str, float]:
    return {
        "ms per step, T5": 1000 * cost.seconds_per_step[0],
        "ms per step, vanilla encoder": 1000 * cost.seconds_per_step[1],
        "peak memory, T5 (MB)": cost.memory_mb[0],
        "peak memory, vanilla encoder (MB)": cost.memory_mb[1],
        "peak GPU memory, T5 (MB)": cost.gpu_memory_mb[0],
        "peak GPU memory, vanilla encoder (MB)": cost.gpu_memory_mb[1],
    }
