"""The cost of each T5 and which would keep the plan's margin."""

from __future__ import annotations

import math

import pytest
from hand_made import made_claim, made_cost, made_evaluation

from stage1.claims.intervals import Interval
from stage1.claims.verdicts import Verdict
from stage1.pages.blocks import Paragraph, Table
from stage1.pages.cost_section import cost_blocks, smaller_sizes
from stage1.run.registration import CostPlan

PLAN = CostPlan(size="large", patch_len=8)
CHEAP = made_cost("small", Interval(1.04, 1.01, 1.08, 0.001), seconds=0.02)
DEAR = made_cost("medium", Interval(1.10, 1.02, 1.19, 0.2), seconds=0.05)
DECISIVE = made_cost("large", Interval(1.4, 1.3, 1.5, 0.001), seconds=0.2)
DEARER = made_cost("huge", Interval(1.01, 1.0, 1.02, 0.001), seconds=0.9)


def registered(plan):
    """As much of a registration as the section reads."""
    return type("Registration", (), {"cost": plan})()


def text_of(blocks):
    return " ".join(
        part
        for b in blocks
        if isinstance(b, Paragraph)
        for part in b.parts
        if isinstance(part, str)
    )


def cost_claim(verdict):
    return made_claim("6", verdict=verdict, attribution="")


@pytest.mark.parametrize(
    ("costs", "sentence"),
    [
        pytest.param(
            [CHEAP, DEAR, DECISIVE, DEARER],
            "Cheaper, and within the plan's +15% with the whole interval: small at patch_len 8 "
            "(×1.04, at most ×1.08).",
            id="one that is cheaper keeps it",
        ),
        pytest.param(
            [DEAR, DECISIVE],
            "No cheaper T5 of the run stays within the plan's +15% with its interval.",
            id="a ratio below is not enough if its interval is not",
        ),
        pytest.param(
            [DECISIVE, DEARER],
            "The run has no cheaper T5 than large that could keep the plan's +15%.",
            id="the cheapest one decides",
        ),
    ],
)
def test_a_failed_claim_names_the_t5_that_would_keep_the_margin(costs, sentence):
    evaluation = made_evaluation(costs=costs, claims=[cost_claim(Verdict.CONTRADICTED)])

    blocks = cost_blocks(evaluation, registered(PLAN))

    assert sentence in text_of(blocks)


def test_a_supported_claim_needs_no_smaller_t5():
    evaluation = made_evaluation(costs=[CHEAP], claims=[cost_claim(Verdict.SUPPORTED)])

    assert "cheaper" not in text_of(cost_blocks(evaluation, registered(PLAN)))


def test_without_the_decisive_t5_every_other_is_a_candidate():
    assert "small at patch_len 8" in smaller_sizes([CHEAP, DEAR], PLAN)


def test_a_row_has_times_in_milliseconds_ratio_interval_and_memory():
    blocks = cost_blocks(made_evaluation(costs=[DECISIVE]), registered(PLAN))

    (table,) = [block for block in blocks if isinstance(block, Table)]
    assert table.rows == [
        ["large (decides)", "8", "6", "200.0", "142.9", "×1.40", "[×1.30, ×1.50]", "700", "650"]
    ]


def test_memory_of_a_gpu_is_shown_where_there_is_one():
    on_gpu = CHEAP._replace(gpu_memory_mb=(3000.0, math.nan))

    blocks = cost_blocks(made_evaluation(costs=[on_gpu]), registered(None))

    (table,) = [block for block in blocks if isinstance(block, Table)]
    assert table.header[-2:] == ["GPU memory, T5, MB", "GPU memory, vanilla, MB"]
    assert table.rows[0][-2:] == ["3000", "–"]


def test_a_run_without_timings_says_so():
    blocks = cost_blocks(made_evaluation(claims=[]), registered(PLAN))

    assert "No T5 was timed" in text_of(blocks)
