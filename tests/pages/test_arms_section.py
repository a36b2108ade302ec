"""Arms beside each other: the plan's table by epoch, time and memory."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from made_claims import made_claim, made_cost, made_evaluation, made_scores
from made_runs import (
    BASELINE,
    arm_scores,
    scores_of,
    study_tables,
    synthetic_study,
    synthetic_trial,
)

from stage1.claims.intervals import Interval
from stage1.claims.verdicts import Verdict
from stage1.pages.arms_section import (
    cost_blocks,
    plan_blocks,
    plan_epochs,
    smaller_sizes,
    user_metric_blocks,
)
from stage1.pages.blocks import Paragraph, Table
from stage1.pages.figures.learning import user_metric_figures
from stage1.run.registration import CostPlan

SPACE = synthetic_study(arms=("pretrained", "random"), configurations=2)


@pytest.mark.parametrize(
    ("horizon", "early", "epochs"),
    [
        pytest.param(15, 3, [1, 3, 5, 15], id="the plan's horizon"),
        pytest.param(40, 8, [1, 3, 5, 8, 40], id="another early epoch"),
        pytest.param(4, 1, [1, 3, 4], id="shorter than the plan's epochs"),
        pytest.param(1, 1, [1], id="one epoch"),
    ],
)
def test_the_plans_epochs_are_those_that_the_study_has(horizon, early, epochs):
    assert plan_epochs(horizon, early) == epochs


def tables_of(scores, trials):
    tables = [b for b in plan_blocks(trials, SPACE, scores) if isinstance(b, Table)]
    return {table.caption: table for table in tables}


def test_each_metric_is_a_mean_over_what_counts_at_every_epoch():
    correlation = [[[0.0, 0.2, 0.4], [0.0, 0.4, 0.6]], [[0.0, 0.3, math.nan], [math.nan] * 3]]
    scores = made_scores({"pretrained": correlation, "random": np.full((2, 2, 3), math.nan)})
    trials = pd.DataFrame([synthetic_trial("t", peak_vram_mb=None)])

    tables = tables_of(scores, trials)

    by_epoch = tables["val_correlation after epoch"]
    assert by_epoch.header == ["arm", "1 (early)", "2 (end)"]
    assert by_epoch.rows == [
        ["pretrained", "0.3000", "0.5000"],
        ["random", "–", "–"],
        ["interpolation", f"{BASELINE:.4f}", f"{BASELINE:.4f}"],
    ]
    loss = np.mean(np.exp([-0.2, -0.4, -0.3]))  # made scores: log val_loss = -r
    assert tables["val_loss after epoch"].rows[0][1] == f"{loss:.4f}"


def test_time_is_a_mean_and_memory_the_largest_peak_of_completed_design_trials():
    trials = pd.DataFrame(
        [
            synthetic_trial("a", seconds=10.0, seconds_per_step=0.03, peak_rss_mb=700.0),
            synthetic_trial("b", seconds=14.0, seconds_per_step=0.05, peak_rss_mb=900.0),
            synthetic_trial("c", seconds=99.0, status="failed", peak_rss_mb=5000.0),
            synthetic_trial("d", seconds=99.0, stage="search", epochs=4, peak_rss_mb=5000.0),
        ]
    ).assign(peak_vram_mb=math.nan)

    curves = np.zeros((2, 2, 5))
    scores = made_scores({"pretrained": curves, "random": curves})
    table = tables_of(scores, trials)["Time and memory"]

    assert table.rows == [
        ["pretrained", "–", "–", "–", "–"],
        ["random", "12.0", "40.0", "900", "–"],
    ]


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


# --- metrics of a user's own ---


def with_user_metric(tables):
    """`metric.hits` is ten times the epoch and the seed, in the random arm 100 more."""
    by_arm = tables.curves["arm"].map({"pretrained": 0, "random": 100})
    hits = 10 * tables.curves["epoch"] + tables.curves["seed"] + by_arm
    registration = tables.registration.model_copy(update={"metrics": {"hits": "0" * 64}})
    return tables._replace(
        registration=registration,
        curves=tables.curves.assign(**{"metric.hits": hits}),
        trials=tables.trials.assign(**{"baseline_metric.hits": 7.0}),
    )


@pytest.fixture
def made():
    """Two arms, two configurations, two seeds, four epochs; one pair has no final score."""
    final = np.array([[0.5, 0.6], [0.7, math.nan]])
    return study_tables({arm: arm_scores(final) for arm in ("pretrained", "random")}, horizon=4)


def test_a_metric_of_a_user_s_own_is_a_mean_over_what_counts_beside_interpolation(made):
    tables = with_user_metric(made)

    heading, table, _ = user_metric_blocks(tables, scores_of(tables))

    assert heading.text == "Metrics of your own"
    assert table.caption == "metric.hits after epoch"
    seeds = (1 + 2 + 1) / 3  # of the three pairs that count
    for row, more in zip(table.rows[:2], (0, 100), strict=True):
        expected = [10 * epoch + seeds + more for epoch in (1, 3, 4)]
        assert [float(cell) for cell in row[1:]] == pytest.approx(expected, abs=1e-3)
    assert [float(cell) for cell in table.rows[2][1:]] == [7.0, 7.0, 7.0]


def test_a_run_without_metrics_of_a_user_s_own_has_no_section_of_them(made):
    assert user_metric_blocks(made, scores_of(made)) == []


def test_each_metric_of_a_user_s_own_has_its_curves_or_says_why_not(made):
    tables = with_user_metric(made)
    registration = tables.registration.model_copy(update={"metrics": {"hits": "0", "none": "0"}})
    evaluation = made_evaluation(scores=scores_of(tables))

    drawn, missing = user_metric_figures(tables._replace(registration=registration), evaluation)

    (axes,) = drawn.figure.axes
    assert axes.get_ylabel() == "hits"
    assert drawn.name == "user_metric_0"
    assert "no trial of the design has a value of none" in missing.missing
