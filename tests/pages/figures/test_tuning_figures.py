"""Expected best and the learning rate figure, against tables and brute force."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
from matplotlib.figure import Figure

from stage1.pages.figures.tuning_figures import (
    Objective,
    draw_expected_bests,
    draw_rate_points,
    expected_bests,
    rate_key,
    rate_points,
)
from stage1.run.resolved_space import Choice, Range

LR = "training.optimizer.lr"
FLOAT = Range(type="float", low=1e-4, high=1e-2, log=True)


def objective(values, *, metric="val_correlation", sign=1.0):
    return Objective(metric, sign, {"random": np.array(values, dtype=float)})


def test_the_expected_best_is_tangs():
    (curve,) = expected_bests(objective([0.1, 0.2, 0.3, 0.4]))

    np.testing.assert_allclose(curve.band.estimate, [0.25, 1 / 3, 0.375, 0.4])


def test_of_a_loss_the_best_is_the_smallest():
    losses = [0.5, 0.9, 0.7, 0.2]

    (curve,) = expected_bests(objective(losses, metric="val_loss", sign=-1.0))

    smallest = [np.mean([min(one) for one in combinations(losses, n)]) for n in range(1, 5)]
    np.testing.assert_allclose(curve.band.estimate, smallest)


def test_configurations_without_a_score_are_not_tries():
    (curve,) = expected_bests(objective([0.1, math.nan, 0.3]))

    np.testing.assert_allclose(curve.band.estimate, [0.2, 0.3])


@pytest.mark.parametrize(("configurations", "trusted"), [(1, 1), (4, 1), (8, 2), (64, 16)])
def test_a_quarter_of_the_configurations_is_to_be_read(configurations, trusted):
    (curve,) = expected_bests(objective(np.linspace(0, 0.9, configurations)))

    assert curve.trusted == trusted


def test_an_arm_without_a_score_has_no_curve():
    assert expected_bests(objective([math.nan, math.nan])) == []


@pytest.mark.parametrize("configurations", [1, 4, 8])
def test_the_axis_says_up_to_where_to_read(configurations):
    axes = Figure().add_subplot()
    curves = expected_bests(objective(np.linspace(0, 0.9, configurations)))

    draw_expected_bests(axes, curves, arms=("random",), metric="val_correlation")

    assert [text.get_text() for text in axes.texts] == [f"N/4 = {max(configurations // 4, 1)}"]
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
