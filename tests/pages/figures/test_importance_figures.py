"""Partial variances on one scale, and Phi, against known parts."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from made_claims import made_scores
from made_runs import changed_study, synthetic_study
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


def space_of(*names):
    """A study that searches these settings in [0, 1]."""
    return changed_study(synthetic_study(), space=dict.fromkeys(names, UNIT.model_dump()))


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
    return variance_shares(
        linear_study(), space_of("model.a", "model.b"), common="random", with_chance=True
    )


def test_parts_are_shares_of_the_common_arms_variance_and_the_largest_comes_first(shares):
    assert shares.common == "random"
    assert shares.parts == ("model.b", "model.a", REMAINDER)
    assert shares.shares["random"][0] > 3 * shares.shares["random"][1]
    assert sum(shares.shares["random"]) == pytest.approx(100)
    assert sum(shares.shares["pretrained"]) == pytest.approx(25)  # half the effects


def test_settings_have_their_names_and_every_bar_its_number_and_the_level_of_chance(shares):
    axes = Figure().add_subplot()

    draw_variance_shares(axes, shares)

    texts = [text.get_text() for text in axes.texts]
    assert texts[-3:] == ["model.b", "model.a", REMAINDER]
    assert len(axes.patches) == len(texts) - 3 == 6
    assert {patch.get_hatch() for patch in axes.patches} == {"", "///"}
    strokes = [line.get_xdata()[0] for line in axes.get_lines()]
    assert len(strokes) == 6
    assert strokes[3:5] == shares.chance["random"][:2]


def test_chance_is_what_losses_in_random_order_give(shares):
    # Nothing sets two settings of losses in random order apart.
    first, second = shares.chance["random"][:2]

    assert first == pytest.approx(second, abs=15)
    assert 10 < first < 45
    assert shares.chance["pretrained"][0] == pytest.approx(first / 4, rel=0.3)  # half the effects
    assert np.isnan(shares.chance["random"][-1])  # of nothing but noise all is noise


def test_of_many_settings_the_smallest_are_added_up():
    names = [f"model.p{number}" for number in range(14)]
    study = linear_study(64, names)

    shares = variance_shares(study, space_of(*names), common="random")

    assert len(shares.parts) == 10
    assert shares.parts[-2:] == ("6 other settings", REMAINDER)
    assert sum(shares.shares["random"]) == pytest.approx(100)


@pytest.mark.parametrize(
    ("configurations", "factor", "reason"),
    [
        pytest.param(16, 1.0, "needs 32 configurations, 16 have a score", id="too few"),
        pytest.param(32, 0.0, "all configurations of arm random have the same loss", id="constant"),
    ],
)
def test_there_is_nothing_to_divide_up(configurations, factor, reason):
    study = linear_study(configurations)
    flat = {arm: factor * loss for arm, loss in study.log_loss.items()}

    shares = variance_shares(
        study._replace(log_loss=flat), space_of("model.a", "model.b"), common="random"
    )

    assert shares == reason


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

    markers = [line for line in axes.get_lines() if line.get_marker() == "s"]
    assert [line.get_markerfacecolor() for line in markers] == ["white", "#D55E00"]
    for line in markers:
        assert (line.get_xdata()[0], line.get_ydata()[0]) == pytest.approx((0.25, 0.7))


def test_differences_of_rounding_do_not_fill_the_axis():
    scores = timeframe_scores(2)
    equal = {"random": np.full((4, 2, 2), 0.7) + 1e-15 * np.arange(16).reshape(4, 2, 2)}
    axes = Figure().add_subplot()

    arms = arm_sensitivities(scores._replace(timeframes=equal))
    draw_sensitivities(axes, arms, all_arms=["random"])

    assert np.ptp(axes.get_xlim()) >= 0.004 - 1e-9
