"""Partial variances on one scale, and Phi, against known parts."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from made_claims import made_scores
from matplotlib.figure import Figure
from scipy.stats import qmc

from stage1.pages.figures.importance_figures import (
    REMAINDER,
    arm_sensitivities,
    draw_sensitivities,
    draw_variance_shares,
    variance_shares,
)
from stage1.run.resolved_space import Range

UNIT = Range(type="float", low=0.0, high=1.0, log=False)


def scores_of(losses, values):
    """Scores whose log val_loss at the horizon is given, (configurations) by arm."""
    arrays = {arm: np.repeat(-loss[:, None, None], 2, axis=1) for arm, loss in losses.items()}
    scores = made_scores(arrays, early_epoch=0)
    return scores._replace(values=values.set_axis(list(scores.configurations)))


def linear_study(configurations=32, names=("model.a", "model.b")):
    points = qmc.Sobol(len(names), seed=0).random(configurations)
    values = pd.DataFrame(points, columns=list(names))
    loss = points[:, 0] + 2 * points[:, 1]
    return scores_of({"pretrained": loss / 2, "random": loss}, values)


@pytest.fixture(scope="module")
def shares():
    return variance_shares(linear_study(), {"model.a": UNIT, "model.b": UNIT}, common="random")


def test_parts_are_shares_of_the_common_arms_variance_and_the_largest_comes_first(shares):
    assert shares.common == "random"
    assert shares.parts == ("model.b", "model.a", REMAINDER)
    assert shares.shares["random"][0] > 3 * shares.shares["random"][1]
    assert sum(shares.shares["random"]) == pytest.approx(100)
    assert sum(shares.shares["pretrained"]) == pytest.approx(25)  # half the effects


def test_settings_are_named_by_their_last_part_and_every_bar_has_its_number(shares):
    axes = Figure().add_subplot()

    draw_variance_shares(axes, shares)

    texts = [text.get_text() for text in axes.texts]
    assert texts[-3:] == ["b", "a", REMAINDER]
    assert len(axes.patches) == len(texts) - 3 == 6
    assert {patch.get_hatch() for patch in axes.patches} == {"", "///"}


def test_settings_that_end_alike_keep_their_whole_names():
    names = ("encoder.layers", "stem.layers")
    study = linear_study(16, names)
    axes = Figure().add_subplot()

    shares = variance_shares(study, dict.fromkeys(names, UNIT), common="random")
    draw_variance_shares(axes, shares)

    assert {text.get_text() for text in axes.texts} >= set(names)


def test_of_many_settings_the_smallest_are_added_up():
    names = [f"model.p{number}" for number in range(14)]
    study = linear_study(16, names)

    shares = variance_shares(study, dict.fromkeys(names, UNIT), common="random")

    assert len(shares.parts) == 10
    assert shares.parts[-2:] == ("6 other settings", REMAINDER)
    assert sum(shares.shares["random"]) == pytest.approx(100)


@pytest.mark.parametrize(
    ("configurations", "factor"),
    [
        pytest.param(4, 1.0, id="too few configurations"),
        pytest.param(16, 0.0, id="a constant loss"),
    ],
)
def test_there_is_nothing_to_divide_up(configurations, factor):
    study = linear_study(configurations)
    flat = {arm: factor * loss for arm, loss in study.log_loss.items()}

    shares = variance_shares(
        study._replace(log_loss=flat), {"model.a": UNIT, "model.b": UNIT}, common="random"
    )

    assert shares is None


ADKINS = [[1.0, 0.2], [0.7, 0.7], [0.3, 0.9], [0.1, 0.5]]
"""Performance of four configurations in two environments: Phi is .95 - .70."""


def timeframe_scores(seeds):
    table = np.repeat(np.array(ADKINS)[:, None, :], seeds, axis=1)
    scores = made_scores({"random": np.zeros((4, seeds, 2))})
    return scores._replace(timeframes={"random": table}, timeframe_names=("m1", "m5"))


@pytest.mark.parametrize("seeds", [1, 2, 3])
def test_phi_is_what_one_configuration_per_timeframe_adds(seeds):
    (arm,) = arm_sensitivities(timeframe_scores(seeds))

    assert arm.best.cross_environment == pytest.approx(0.7)
    assert arm.best.phi == pytest.approx(0.25)
    if seeds == 1:  # which cannot choose for another
        assert np.isnan(arm.honest.phi)
    else:  # seeds that agree choose as well as their mean
        assert arm.honest == pytest.approx(arm.best)


def test_an_arm_has_a_filled_and_an_open_point():
    axes = Figure().add_subplot()

    draw_sensitivities(axes, arm_sensitivities(timeframe_scores(2)), all_arms=["random"])

    markers = [line for line in axes.get_lines() if line.get_marker() == "o"]
    assert [line.get_markerfacecolor() for line in markers] == ["white", "#0072B2"]
    for line in markers:
        assert (line.get_xdata()[0], line.get_ydata()[0]) == pytest.approx((0.25, 0.7))


def test_differences_of_rounding_do_not_fill_the_axis():
    scores = timeframe_scores(2)
    equal = {"random": np.full((4, 2, 2), 0.7) + 1e-15 * np.arange(16).reshape(4, 2, 2)}
    axes = Figure().add_subplot()

    arms = arm_sensitivities(scores._replace(timeframes=equal))
    draw_sensitivities(axes, arms, all_arms=["random"])

    assert np.ptp(axes.get_xlim()) >= 0.004 - 1e-9
