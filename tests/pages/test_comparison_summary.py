"""The numbers of the page, against a table small enough for a pencil."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from made_comparison import made_record

from stage1.config import with_values
from stage1.pages.comparison_summary import (
    first_epoch,
    largest_rise,
    mean_curve,
    mean_height,
    measured,
    most_at_once,
    read_comparison,
    scores_by_epoch,
    spread_of,
    summarize,
)


@pytest.fixture(scope="module")
def tables(comparison):
    return read_comparison(comparison)


@pytest.fixture(scope="module")
def summary(tables):
    return summarize(tables)


def test_scores_are_by_seed_and_epoch_in_the_order_of_the_record(tables):
    scores = scores_by_epoch(tables, "val_correlation")

    assert list(scores) == ["late", "plain", "free"]
    np.testing.assert_array_equal(scores["plain"][1], [0.0, 0.4, 0.6, 0.8, 0.8, 0.84])


def test_a_training_that_diverged_has_no_score_but_for_the_asking(tables):
    left_out = scores_by_epoch(tables, "val_loss")["late"]
    kept = scores_by_epoch(tables, "val_loss", completed=False)["late"]

    assert np.isnan(left_out[1]).all()
    np.testing.assert_array_equal(kept[1, :3], [1.0, 0.9, 9.0])
    assert np.isnan(kept[1, 3:]).all()


def test_a_metric_that_no_table_has_is_nan(tables):
    assert np.isnan(scores_by_epoch(tables, "val_corr_h4")["plain"]).all()


def test_what_was_measured_is_by_seed_and_only_of_completed_trainings(tables):
    seconds = measured(tables, "seconds")

    np.testing.assert_array_equal(seconds["plain"], [11, 12, 13])
    np.testing.assert_array_equal(seconds["late"], [11, math.nan, 13])
    assert np.isnan(measured(tables, "peak_vram_mb")["plain"]).all()


@pytest.mark.parametrize(
    ("starts", "seconds", "most"),
    [
        pytest.param([0, 10, 20], [10, 10, 10], 1, id="in turn"),
        pytest.param([0, 5, 12], [10, 10, 10], 2, id="two overlap at a time"),
        pytest.param([0, 1, 2], [10, 10, 10], 3, id="all at once"),
        pytest.param([0, 5], [math.nan, 10], 1, id="one that failed at once"),
    ],
)
def test_how_many_ran_side_by_side_is_read_off_their_times(starts, seconds, most):
    begun = [datetime(2026, 11, 1, tzinfo=UTC) + timedelta(seconds=start) for start in starts]
    trials = pd.DataFrame({"started_at": begun, "seconds": np.array(seconds, dtype=float)})

    assert most_at_once(trials) == most


def test_a_spread_has_the_deviation_of_a_sample():
    spread = spread_of(np.array([0.80, math.nan, 0.84, 0.82]))

    assert spread == pytest.approx((0.82, 0.02, 0.80, 0.84, 3))


def test_one_number_has_no_deviation_and_none_has_nothing():
    assert math.isnan(spread_of(np.array([0.5])).deviation)
    assert spread_of(np.array([math.nan])).seeds == 0
    assert math.isnan(spread_of(np.array([])).mean)


def test_the_first_epoch_at_a_level_counts_though_the_curve_falls_again():
    curve = np.array([0.0, 0.5, 0.9, 0.4, 0.95])

    assert first_epoch(curve, 0.5) == 1
    assert first_epoch(curve, 0.9) == 2
    assert first_epoch(curve, 1.0) is None
    assert first_epoch(curve, math.nan) is None


def test_the_largest_rise_is_between_neighbouring_epochs_and_never_negative():
    falling = np.array([[3.0, 2.0, 1.0]])
    rising = np.array([[3.0, 3.5, 1.0, 2.25], [1.0, 0.9, math.nan, 0.9]])

    assert largest_rise(falling) == 0.0
    assert largest_rise(rising) == 1.25
    assert math.isnan(largest_rise(np.full((2, 3), math.nan)))


def test_a_configuration_without_a_curve_never_converges():
    curve = mean_curve(np.full((3, 6), math.nan))

    assert first_epoch(curve, 0.5) is None
    assert math.isnan(mean_height(curve))


def test_what_went_wrong_is_counted_and_the_largest_rise_is_of_any_training(tables, summary):
    every_loss = scores_by_epoch(tables, "val_loss", completed=False)

    assert [summary.trainings("late", s) for s in ("diverged", "failed")] == [1, 0]
    assert summary.trainings("free", "diverged") == 0
    assert largest_rise(every_loss["late"]) == pytest.approx(8.1)  # that diverged, 0.9 -> 9.0
    assert largest_rise(every_loss["free"]) == pytest.approx(0.07)  # seed 2, 0.30 -> 0.37
    deviation = summary.final("val_loss", "free").deviation
    assert deviation == pytest.approx(np.std([0.10, 0.16, 0.25], ddof=1))


@pytest.mark.parametrize(("freeze", "frozen"), [(0, 0), (3, 3), (9, 5), (-1, 5)])
def test_frozen_epochs_are_at_most_those_that_are_trained(write_comparison, freeze, frozen):
    configs = dict(made_record().configs)
    change = {"transfer_learning.freeze_lm_epochs": freeze}
    configs = {name: with_values(config, change) for name, config in configs.items()}

    summary = summarize(read_comparison(write_comparison(of={"configs": configs})))

    assert summary.frozen_epochs("free") == frozen
    assert summary.frozen_epochs("plain") == 0  # no T5
