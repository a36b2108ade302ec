"""Paired slopes and performance profiles against counts made by hand."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
from made_claims import made_scores
from matplotlib.figure import Figure

from stage1.pages.figures.paired import (
    arm_gaps,
    draw_gaps,
    draw_slopes,
    paired_slopes,
    performance_profiles,
)

FINALS = {
    # (configurations, seeds); the third configuration lacks a seed
    "pretrained": [[0.9, 0.8], [0.7, 0.7], [math.nan, 0.6], [0.5, 0.3]],
    "random": [[0.6, 0.8], [0.5, 0.5], [math.nan, 0.4], [0.2, 0.4]],
}
SCORES = made_scores(
    {arm: np.multiply.outer(finals, [0.0, 0.5, 1.0]) for arm, finals in FINALS.items()}
)


def test_a_slope_joins_a_configurations_means_over_the_seeds_it_has():
    slopes = paired_slopes(SCORES)

    assert slopes.arms == ("pretrained", "random")
    np.testing.assert_allclose(slopes.values, [[0.85, 0.7, 0.6, 0.4], [0.7, 0.5, 0.4, 0.3]])
    np.testing.assert_allclose(slopes.medians, [0.65, 0.45])


def test_an_arm_that_was_trained_on_a_part_of_the_design_has_no_slopes():
    part = np.where(np.arange(4)[:, None, None] < 2, SCORES.correlation["random"], math.nan)
    scores = SCORES._replace(correlation=SCORES.correlation | {"shuffled": part})
    scores = scores._replace(
        log_loss=scores.log_loss | {"shuffled": -part},
        diverged=scores.diverged | {"shuffled": scores.diverged["random"]},
    )

    assert paired_slopes(scores).arms == ("pretrained", "random")


def test_there_is_a_line_per_configuration_and_one_of_medians():
    axes = Figure().add_subplot()

    draw_slopes(axes, paired_slopes(SCORES), baseline=math.nan)

    lines = [tuple(line.get_ydata()) for line in axes.get_lines()]
    assert lines[:4] == [
        pytest.approx((0.85, 0.7)),
        pytest.approx((0.7, 0.5)),
        pytest.approx((0.6, 0.4)),
        pytest.approx((0.4, 0.3)),
    ]
    assert lines[4] == pytest.approx((0.65, 0.45))
    assert axes.get_legend_handles_labels()[1] == ["one configuration", "median"]
    names = [label.get_text() for label in axes.get_xticklabels()]
    assert names == ["pretrained\n0.650", "random\n0.450"]


def losses_of(*arms):
    """Scores whose log val_loss at the horizon is given, (configurations) by arm."""
    arrays = dict(zip(("pretrained", "random"), (-a[:, None, None] for a in arms), strict=True))
    return made_scores(arrays, early_epoch=0)


def test_the_gap_is_between_the_best_and_the_middle_of_all_samples_of_three():
    log_losses = np.random.default_rng(3).normal(-2, 0.1, size=(2, 14))
    expected = []
    for one in log_losses:
        triples = np.sort(list(combinations(one, 3)), axis=1)
        expected.append(np.exp(triples[:, :2].mean(axis=0)))

    gaps = arm_gaps(losses_of(*log_losses), ("pretrained", "random"))

    for gap, (best, middle) in zip(gaps, expected, strict=True):
        assert (gap.best, gap.middle) == pytest.approx((best, middle))
        assert gap.gap == pytest.approx(middle / best - 1)
        assert (np.diff(gap.losses) <= 0).all()


def test_what_is_far_below_the_middle_is_an_arrow_at_the_edge():
    arms = np.random.default_rng(3).normal(-2, 0.1, size=(2, 14))
    arms[1, 5] = 0.0
    panels = Figure().subplots(1, 2)

    draw_gaps(
        panels, arm_gaps(losses_of(*arms), ("pretrained", "random")), arms=["pretrained", "random"]
    )

    arrows = [[x for x in axes.get_lines() if x.get_marker() == "v"] for axes in panels]
    assert [len(one) for one in arrows] == [0, 1]
    low, high = sorted(panels[1].get_ylim())
    assert low <= arrows[1][0].get_ydata()[0] <= high < 1


def test_too_few_configurations_have_no_gap():
    assert "needed" in arm_gaps(SCORES, ("pretrained", "random"))


def test_a_profile_is_the_share_of_runs_above_each_threshold_from_all_to_none():
    thresholds, shares = performance_profiles(SCORES)

    assert list(shares) == ["pretrained", "random"]
    for arm, share in shares.items():
        runs = [one for pair in FINALS[arm] for one in pair if math.isfinite(one)]
        counts = [sum(run > limit for run in runs) for limit in thresholds]
        np.testing.assert_allclose(share.estimate, np.array(counts) / 7)
        assert (share.estimate[0], share.estimate[-1]) == (1, 0)


def test_arms_without_a_score_have_no_slopes_and_no_profile():
    nothing = made_scores({"pretrained": np.full((2, 2, 2), np.nan)})

    assert paired_slopes(nothing).values.shape == (1, 0)
    assert performance_profiles(nothing)[1] == {}
