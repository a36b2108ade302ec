"""Expected best and the learning rate figure, against tables and brute force."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from made_claims import made_scores
from made_runs import changed_study, drawn_arm, study_tables
from matplotlib.figure import Figure

from stage1.pages.figures.tuning_figures import (
    Objective,
    draw_expected_bests,
    draw_rate_points,
    expected_bests,
    rate_key,
    rate_points,
    study_objective,
)
from stage1.run.resolved_space import Choice, Range

LR = "training.optimizer.lr"
FLOAT = Range(type="float", low=1e-4, high=1e-2, log=True)


def objective(values, *, sign=1.0):
    return Objective("val_correlation", sign, {"random": np.array(values, dtype=float)})


LOSSES = [0.5, 0.9, 0.7, 0.2]
SMALLEST = [np.mean([min(one) for one in combinations(LOSSES, n)]) for n in range(1, 5)]


@pytest.mark.parametrize(
    ("values", "sign", "expected"),
    [
        pytest.param([0.1, 0.2, 0.3, 0.4], 1.0, [0.25, 1 / 3, 0.375, 0.4], id="Tang's example"),
        pytest.param(LOSSES, -1.0, SMALLEST, id="of a loss the smallest"),
        pytest.param([0.1, math.nan, 0.3], 1.0, [0.2, 0.3], id="one without a score is no try"),
    ],
)
def test_the_expected_best_is_that_of_all_draws(values, sign, expected):
    (curve,) = expected_bests(objective(values, sign=sign)).values()

    np.testing.assert_allclose(curve.estimate, expected)


def test_an_arm_without_a_score_has_no_curve():
    assert expected_bests(objective([math.nan, math.nan])) == {}


@pytest.mark.parametrize(("configurations", "readable"), [(1, 1), (4, 1), (8, 2), (64, 16)])
def test_the_axis_says_to_read_a_quarter_of_the_configurations(configurations, readable):
    axes = Figure().add_subplot()
    curves = expected_bests(objective(np.linspace(0, 0.9, configurations)))

    draw_expected_bests(axes, curves, arms=("random",), metric="val_correlation")

    assert [text.get_text() for text in axes.texts] == [f"N/4 = {readable}"]
    assert axes.get_ylabel() == "expected best validation correlation"


@pytest.mark.parametrize(
    ("space", "key"),
    [
        pytest.param({"a": FLOAT, LR: FLOAT}, LR, id="the learning rate"),
        pytest.param({"a": Range(type="int", low=0, high=3), "b": FLOAT}, "b", id="another"),
        pytest.param({LR: Choice(options=[1e-3]), "b": FLOAT}, "b", id="options"),
        pytest.param({"a": Range(type="int", low=0, high=3)}, None, id="none"),
    ],
)
def test_the_parameter_shown_is_the_learning_rate_or_the_first_logarithmic_one(space, key):
    assert rate_key(space) == key


def test_lines_join_medians_of_neighbours():
    rates = np.array([6.0, 1.0, 5.0, 2.0, 4.0, 3.0, math.nan])
    scores = np.array([0.6, 0.1, 0.9, 0.3, 0.4, 0.2, 0.8])

    (points,) = rate_points(rates, objective(scores))

    np.testing.assert_array_equal(points.places, [1, 2, 3, 4, 5, 6])
    np.testing.assert_array_equal(points.scores, [0.1, 0.3, 0.2, 0.4, 0.9, 0.6])
    np.testing.assert_allclose(points.middle_places, [2, 5])
    np.testing.assert_allclose(points.middle_scores, [0.2, 0.6])


def test_few_configurations_are_points_without_a_line():
    (points,) = rate_points(np.arange(1.0, 6.0), objective(np.linspace(0, 0.5, 5)))
    axes = Figure().add_subplot()

    draw_rate_points(axes, [points], arms=("random",), key=LR, metric="val_correlation")

    assert len(points.middle_places) == 0
    assert [line.get_linestyle() for line in axes.get_lines()] == ["None"]
    assert axes.get_legend_handles_labels()[1] == ["random"]


def test_a_parameter_that_reaches_zero_is_not_on_a_logarithmic_axis():
    (points,) = rate_points(np.arange(6.0), objective(np.linspace(0, 0.5, 6)))
    axes = Figure().add_subplot()

    draw_rate_points(axes, [points], arms=("random",), key="a.b", metric="val_correlation")

    assert axes.get_xscale() == "linear"


def test_an_arm_without_a_value_or_a_score_has_no_points():
    assert rate_points(np.full(2, math.nan), objective([0.1, 0.2])) == []


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
    finals[0] = math.nan
    scores = made_scores({"random": np.stack([finals, finals], axis=-1)})

    objective = study_objective(tables("val_skill"), scores)

    assert np.isnan(objective.by_arm["random"][0])
    assert objective.by_arm["random"][1] == pytest.approx(-0.1)
