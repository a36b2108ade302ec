"""What a step costs with each T5, and which T5 would keep the plan's margin."""

from __future__ import annotations

from stage1.claims.catalogue import COST
from stage1.claims.evaluate import Evaluation
from stage1.claims.step_cost import SizeCost
from stage1.claims.verdicts import Verdict
from stage1.pages.blocks import Block, Heading, Inline, Table, paragraph
from stage1.pages.numbers import number, ratio, ratio_interval
from stage1.run.registration import CostPlan, Preregistration


def cost_blocks(evaluation: Evaluation, registration: Preregistration) -> list[Block]:
    """The section of the cost; says so where nothing was timed."""
    blocks: list[Block] = [Heading("Cost")]
    if not evaluation.costs:
        return [
            *blocks,
            paragraph(
                "No T5 was timed against the vanilla encoder often enough: that happens when all "
                "trials have ended, and takes two rounds or more."
            ),
        ]
    blocks += [
        _table(evaluation.costs, registration.cost),
        paragraph(
            "Geometric means over rounds in which both encoders were timed one after the other; "
            "the vanilla encoder has the width of its T5. Memory is the largest peak of a process "
            "that timed both, so differences of a few dozen MB mean nothing.",
            note=True,
        ),
    ]
    if registration.cost is not None and not _is_supported(evaluation):
        text = smaller_sizes(evaluation.costs, registration.cost)
        blocks.append(paragraph(text))
    return blocks


def _is_supported(evaluation: Evaluation) -> bool:
    return any(c.definition is COST and c.verdict is Verdict.SUPPORTED for c in evaluation.claims)


def _table(costs: list[SizeCost], plan: CostPlan | None) -> Table:
    header = [
        *("T5", "patch_len", "rounds", "ms / step, T5", "ms / step, vanilla", "ratio", "interval"),
        *("memory, T5, MB", "memory, vanilla, MB"),
    ]
    on_gpu = any(cost.gpu_memory_mb[0] > 0 for cost in costs)
    if on_gpu:
        header += ["GPU memory, T5, MB", "GPU memory, vanilla, MB"]
    rows: list[list[Inline]] = []
    for cost in costs:
        memory = cost.memory_mb + (cost.gpu_memory_mb if on_gpu else ())
        rows.append(
            [
                f"{cost.size} (decides)" if _decides(cost, plan) else cost.size,
                str(cost.patch_len),
                str(cost.rounds),
                *(number(1000 * seconds, digits=1) for seconds in cost.seconds_per_step),
                ratio(cost.ratio.estimate),
                ratio_interval(cost.ratio.low, cost.ratio.high),
                *(number(value, digits=0) for value in memory),
            ]
        )
    return Table(header, rows, numbers_from=1, stacked=True)


def _decides(cost: SizeCost, plan: CostPlan | None) -> bool:
    return plan is not None and (cost.size, cost.patch_len) == (plan.size, plan.patch_len)


def smaller_sizes(costs: list[SizeCost], plan: CostPlan) -> str:
    """Which cheaper T5 of the run keeps the margin with its whole interval, in words.

    Args:
        costs: Cheapest first.
        plan: Of the T5 that decides the claim; if it was not timed, every T5 is a candidate.
    """
    allowed = f"+{plan.margin - 1:.0%}"
    decisive = [place for place, cost in enumerate(costs) if _decides(cost, plan)]
    candidates = costs[: decisive[0]] if decisive else costs
    if not candidates:
        return f"The run has no cheaper T5 than {plan.size} that could keep the plan's {allowed}."
    within = [cost for cost in candidates if cost.ratio.high <= plan.margin]
    if not within:
        return f"No cheaper T5 of the run stays within the plan's {allowed} with its interval."
    named = ", ".join(
        f"{cost.size} at patch_len {cost.patch_len} ({ratio(cost.ratio.estimate)}, at most "
        f"{ratio(cost.ratio.high)})"
        for cost in within
    )
    return f"Cheaper, and within the plan's {allowed} with the whole interval: {named}."
