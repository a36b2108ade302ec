"""Arms beside each other: the plan's table by epoch, time and memory."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hand_made import made_scores
from synthetic_run import BASELINE, HORIZON, synthetic_study, synthetic_trial

from stage1.pages.arms_section import plan_blocks, plan_epochs
from stage1.pages.blocks import Table

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
            synthetic_trial("d", seconds=99.0, stage="search", epochs=HORIZON, peak_rss_mb=5000.0),
        ]
    ).assign(peak_vram_mb=math.nan)

    curves = np.zeros((2, 2, 5))
    scores = made_scores({"pretrained": curves, "random": curves})
    table = tables_of(scores, trials)["Time and memory"]

    assert table.rows == [
        ["pretrained", "–", "–", "–", "–"],
        ["random", "12.0", "40.0", "900", "–"],
    ]
