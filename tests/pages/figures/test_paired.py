"""Paired slopes and performance profiles against counts made by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from made_claims import made_scores
from matplotlib.figure import Figure

from stage1.pages.figures.paired import draw_slopes, paired_slopes, performance_profiles

FINALS = {
    # (configurations, seeds); the third configuration lacks a seed
    "pretrained": [[0.9, 0.8], [0.7, 0.7], [math.nan, 0.6], [0.5, 0.3]],
    "random": [[0.6, 0.8], [0.5, 0.5], [math.nan, 0.4], [0.2, 0.4]],
}
SCORES = made_scores(
    {arm: np.multiply.outer(finals, [0.0, 0.5, 1.0]) for arm, finals in FINALS.items()}
)


def test_a_slope_joins_a_configurations_means_and_gaps_are_left_out():
    slopes = paired_slopes(SCORES)

    assert slopes.arms == ("pretrained", "random")
    np.testing.assert_allclose(slopes.values, [[0.85, 0.7, 0.4], [0.7, 0.5, 0.3]])
    np.testing.assert_allclose(slopes.medians, [0.7, 0.5])


def test_there_is_a_line_per_configuration_and_one_of_medians():
    axes = Figure().add_subplot()

    draw_slopes(axes, paired_slopes(SCORES), baseline=math.nan)

    lines = [tuple(line.get_ydata()) for line in axes.get_lines()]
    assert lines[:3] == [
        pytest.approx((0.85, 0.7)),
        pytest.approx((0.7, 0.5)),
        pytest.approx((0.4, 0.3)),
    ]
    assert lines[3] == pytest.approx((0.7, 0.5))
    assert axes.get_legend_handles_labels()[1] == ["one configuration", "median"]
    names = [label.get_text() for label in axes.get_xticklabels()]
    assert names == ["pretrained\n0.700", "random\n0.500"]


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
