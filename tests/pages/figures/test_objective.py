"""The objective of the study, by arm and configuration."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hand_made import made_scores
from score_tables import drawn_arm, study_tables
from synthetic_run import changed_study

from stage1.pages.figures.tuning_figures import study_objective

FINALS = np.array([[0.9, 0.7], [0.5, 0.4], [0.0, 0.8]])  # the third diverged with its first seed
DIVERGED = np.array([[False, False], [False, False], [True, False]])
SKILLS = [[0.3, 0.1], [0.2, -0.4], [math.nan, 0.6]]


def tables(metric, mode="max"):
    arm = drawn_arm(np.random.default_rng(0), configurations=3)
    made = study_tables({"random": arm})
    rows = [
        {"stage": "design", "arm": "random", "config_id": f"c{c}", "seed": s + 1, "val_skill": one}
        for c, seeds in enumerate(SKILLS)
        for s, one in enumerate(seeds)
    ]
    space = changed_study(made.space, objective={"metric": metric, "mode": mode})
    return made._replace(space=space, trials=pd.DataFrame(rows))


SCORES = made_scores(
    {"random": np.stack([FINALS / 2, FINALS], axis=-1)}, diverged={"random": DIVERGED}
)


@pytest.mark.parametrize(
    ("metric", "mode", "expected"),
    [
        pytest.param("val_correlation", "max", [0.8, 0.45, 0.4], id="correlation"),
        pytest.param("val_loss", "min", np.exp(-FINALS).mean(axis=1), id="loss"),
        pytest.param("val_corr_m1", "max", [0.0, 0.0, 0.0], id="a timeframe"),
        pytest.param("val_skill", "max", [0.2, -0.1, (0.6 - 0.4) / 2], id="the worst of others"),
        pytest.param("val_skill", "min", [0.2, -0.1, 0.6], id="the worst is the largest"),
        pytest.param("val_corr_h4", "max", [math.nan] * 3, id="not recorded"),
    ],
)
def test_configurations_count_by_the_mean_over_seeds_diverged_ones_too(metric, mode, expected):
    objective = study_objective(tables(metric, mode), SCORES)

    np.testing.assert_allclose(objective.by_arm["random"], expected)
    assert objective.sign == (1 if mode == "max" else -1)


def test_a_pair_that_no_arm_counts_has_no_objective():
    finals = FINALS.copy()
    finals[0, 1] = math.nan
    scores = made_scores({"random": np.stack([finals, finals], axis=-1)})

    objective = study_objective(tables("val_skill"), scores)

    assert np.isnan(objective.by_arm["random"][0])
    assert objective.by_arm["random"][1] == pytest.approx(-0.1)
