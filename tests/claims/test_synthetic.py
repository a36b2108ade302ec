"""Made-up studies hold the truth that was planted in them."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made_runs import arm_scores, write_rich_run, write_synthetic_run
from scipy.stats import kendalltau, kurtosis

from stage1.base.errors import ResultsError
from stage1.base.seeds import Stream, generator
from stage1.claims.designs import unit_points
from stage1.claims.surfaces import Setting, rounded
from stage1.claims.synthetic import (
    ALIKE,
    BETTER_EARLY_RANKS,
    HIGHER_EARLY,
    HIGHER_FINAL,
    LESS_EARLY_ERROR,
    LESS_FINAL_ERROR,
    QUIETER_SEEDS,
    SMALLER_GAP,
    World,
    agreement_for,
    arms_of,
    at_look,
    draw_studies,
    fitted_world,
    variation,
    world_of_run,
)
from stage1.claims.tuning_value import tuning_value
from stage1.run.looks import DesignSize

SETTINGS = (Setting(0, True), Setting(0, True), Setting(4, True), Setting(2, False))
WORLD = World(SETTINGS, early_correlation=0.35, final_correlation=0.5)
SIZE = DesignSize((16, 32), seeds=2, replicated=4, grows=True)
LARGE = DesignSize((4096,), seeds=2)


def drawn(world=WORLD, size=LARGE, planted=None, effect=0.0, seed=0):
    first = planted.shape(world, effect) if planted else ALIKE
    (draw,) = draw_studies(world, size, studies=1, seed=seed)
    return arms_of(draw, world, first)


def noise(arm):
    return float(arm.log_loss.var(axis=1, ddof=1).mean())


def test_the_comparison_arm_is_as_the_world_says_and_a_loss_falls_where_the_correlation_rises():
    world = WORLD._replace(noise=0.001)

    first, second = drawn(world)

    assert second.early.mean() == pytest.approx(0.35, abs=0.001)
    assert second.final.mean() == pytest.approx(0.50, abs=0.001)
    assert tuning_value(-first.log_loss, -second.log_loss, error_rate=0.05).gaps[
        1
    ] == pytest.approx(world.gap, rel=0.03)
    assert not second.diverged.any()
    assert np.corrcoef(first.final.ravel(), first.log_loss.ravel())[0, 1] == pytest.approx(-1)


@pytest.mark.parametrize("cliffs", [(0.0, 0.0), (0.0, 5.0), (5.0, 0.0), (5.0, 5.0)])
@pytest.mark.parametrize("effect", [0.0, 0.4, -0.25])
def test_the_ratio_of_gaps_is_the_one_planted_over_the_whole_space_whatever_the_cliffs(
    cliffs, effect
):
    world = WORLD._replace(cliffs=cliffs, noise=0.0)

    first, second = drawn(world, planted=SMALLER_GAP, effect=effect)

    gaps = tuning_value(-first.log_loss, -second.log_loss, error_rate=0.05).gaps
    assert gaps[0] / gaps[1] == pytest.approx(1 - effect, rel=0.03)


def test_an_arm_with_a_cliff_falls_far_in_a_share_of_the_space_and_the_other_does_not():
    first, second = drawn(WORLD._replace(cliffs=(0.0, 8.0), noise=0.0))

    behind = (first.log_loss - second.log_loss).mean(axis=1)
    assert (behind < -0.2).mean() == pytest.approx(WORLD.cliff_volume, abs=0.03)
    assert (behind > 0.2).mean() == 0


def test_arms_agree_as_the_world_says_and_the_first_lies_higher_by_its_level():
    world = WORLD._replace(noise=0.0, arm_correlation=0.8, level=-0.1)

    agreements, levels = [], []
    for draw in draw_studies(world, SIZE._replace(looks=(256,)), studies=30, seed=3):
        first, second = (arm.log_loss[:, 0] for arm in arms_of(draw, world))
        agreements.append(np.corrcoef(first, second)[0, 1])
        levels.append((second - first).mean())

    assert np.mean(agreements) == pytest.approx(0.8, abs=0.05)
    assert np.mean(levels) == pytest.approx(-0.1, abs=0.005)


def test_noise_has_its_mean_square_and_differs_between_configurations_of_the_arm_that_it_should():
    world = WORLD._replace(noise=0.02, noise_spread=(1.0, 0.0))

    first, second = drawn(world, DesignSize((2048,), seeds=8))

    assert math.sqrt(noise(first)) == pytest.approx(0.02, rel=0.1)
    assert math.sqrt(noise(second)) == pytest.approx(0.02, rel=0.03)
    spreads = [np.log(arm.log_loss.std(axis=1, ddof=1)).std() for arm in (first, second)]
    assert spreads[0] == pytest.approx(1.0, abs=0.15)
    assert spreads[1] < 0.35  # the sampling of 8 seeds alone


def test_only_the_replicated_configurations_have_a_second_seed_and_a_look_sees_the_first_points():
    (draw,) = draw_studies(WORLD, SIZE, studies=1, seed=0)
    arms = arms_of(draw, WORLD)

    seen = at_look(arms, draw, 16)

    assert [arm.final.shape for arm in arms] == [(32, 2)] * 2
    for arm in arms:
        assert np.isfinite(arm.final).sum(axis=1).tolist() == [2] * 4 + [1] * 28
    for whole, part in zip(arms, seen, strict=True):
        assert np.array_equal(part.log_loss, whole.log_loss[:16], equal_nan=True)


def test_points_that_come_out_equal_are_one_configuration_and_keep_their_place():
    world = World((Setting(2, True), Setting(3, False)))
    (draw,) = draw_studies(world, SIZE, studies=1, seed=0)
    arms = arms_of(draw, world)

    assert len(draw.numbers) == 6
    assert len(set(draw.numbers)) == 6
    assert len(at_look(arms, draw, 4)[0].final) == (draw.numbers < 4).sum() < 6


def test_diverged_runs_have_the_score_of_predicting_nothing():
    arms = drawn(WORLD._replace(diverged=3), SIZE)

    gone = [arm.diverged for arm in arms]
    assert sum(part.any(axis=1).sum() for part in gone) == 3
    assert not any(part[16:].any() for part in gone)
    for arm in arms:
        assert (arm.final[arm.diverged] == 0).all()
        assert (arm.early[arm.diverged] == 0).all()
        assert (arm.log_loss[arm.diverged] == WORLD.zero_log_loss).all()


@pytest.mark.parametrize(
    ("planted", "effect", "early", "final"),
    [
        pytest.param(HIGHER_EARLY, 0.2, 1.2, 1.0, id="early"),
        pytest.param(HIGHER_FINAL, 0.1, 1.0, 1.1, id="at the horizon"),
        pytest.param(HIGHER_FINAL, -0.1, 1.0, 0.9, id="a loss at the horizon"),
        # 1 - r falls from .65 to .52, and from .5 to .4
        pytest.param(LESS_EARLY_ERROR, 0.2, 0.48 / 0.35, 1.0, id="early, in 1 - r"),
        pytest.param(LESS_FINAL_ERROR, 0.2, 1.0, 0.6 / 0.5, id="at the horizon, in 1 - r"),
    ],
)
def test_planted_gains_are_relative_to_the_comparison_arm(planted, effect, early, final):
    first, second = drawn(planted=planted, effect=effect)

    assert first.early.mean() / second.early.mean() == pytest.approx(early, abs=0.01)
    assert first.final.mean() / second.final.mean() == pytest.approx(final, abs=0.01)


def test_a_planted_variance_over_seeds_is_smaller_by_its_share_and_leaves_the_gap_alone():
    world = WORLD._replace(noise_spread=(0.0, 0.0))

    first, second = drawn(world, planted=QUIETER_SEEDS, effect=0.2)

    assert noise(first) / noise(second) == pytest.approx(0.8, rel=4 * math.sqrt(4 / 4096))
    assert first.log_loss.std() == pytest.approx(second.log_loss.std(), rel=0.1)


@pytest.mark.parametrize("effect", [0.05, -0.1])
def test_a_planted_signal_changes_tau_by_its_amount(effect):
    world = WORLD._replace(arm_correlation=0.99)
    size = SIZE._replace(looks=(512,), replicated=None)

    differences = []
    for draw in draw_studies(world, size, studies=20, seed=9):
        arms = arms_of(draw, world, BETTER_EARLY_RANKS.shape(world, effect))
        ours, theirs = (kendalltau(arm.early[:, 0], arm.final[:, 1]).statistic for arm in arms)
        differences.append(ours - theirs)

    assert np.mean(differences) == pytest.approx(effect, abs=0.02)


def test_tau_rises_no_further_than_the_seeds_noise_leaves():
    noisy = WORLD._replace(noise=0.1)
    largest = BETTER_EARLY_RANKS.largest(noisy)

    with pytest.raises(ValueError, match=r"tau must be able to change by 0\.3, got at most"):
        agreement_for(noisy, 0.3)
    assert noisy.early_agreement < agreement_for(noisy, largest) <= 1


@pytest.mark.parametrize(
    ("planted", "most"),
    [
        pytest.param(SMALLER_GAP, 1.0, id="a gap ends at 0"),
        pytest.param(QUIETER_SEEDS, 1.0, id="a variance ends at 0"),
        pytest.param(HIGHER_EARLY, 1 / 0.35 - 1, id="a correlation ends at 1, early"),
        pytest.param(HIGHER_FINAL, 1 / 0.50 - 1, id="a correlation ends at 1"),
        pytest.param(LESS_FINAL_ERROR, 1.0, id="an error ends at 0"),
    ],
)
def test_the_largest_effect_is_just_below_what_is_possible(planted, most):
    assert 0.97 * most < planted.largest(WORLD) < most


@pytest.mark.parametrize("mean", [0.0, -0.2])
@pytest.mark.parametrize(
    "planted", [HIGHER_EARLY, LESS_EARLY_ERROR, HIGHER_FINAL, LESS_FINAL_ERROR]
)
def test_nothing_is_relative_to_a_correlation_that_is_not_positive(mean, planted):
    world = WORLD._replace(early_correlation=mean, final_correlation=mean)

    assert planted.largest(world) == 0


def test_heavy_tails_are_those_of_students_t_and_leave_the_size_alone():
    def luck(heavy):
        world = WORLD._replace(heavy_tailed=heavy, noise_spread=(0.0, 0.0))
        (draw,) = draw_studies(world, DesignSize((2048,), seeds=8), studies=1, seed=0)
        return draw.luck[1].ravel()

    assert kurtosis(luck(False)) == pytest.approx(0, abs=0.15)
    assert kurtosis(luck(True)) > 1.5
    assert luck(True).std() == pytest.approx(1, rel=0.05)


def test_correlations_never_leave_their_range():
    first, _ = drawn(WORLD._replace(final_correlation=0.97, final_slope=3.0))

    assert np.abs(first.final).max() < 1


def test_studies_are_the_same_for_a_seed_and_have_nothing_in_common():
    once, again = (draw_studies(WORLD, SIZE, studies=2, seed=1) for _ in range(2))

    for a, b in zip(once, again, strict=True):
        assert np.array_equal(a.quality, b.quality)
        assert np.array_equal(a.luck, b.luck, equal_nan=True)
    assert not np.allclose(once[0].quality, once[1].quality)


# --- a world like that of a run ---


def test_a_world_that_was_fitted_to_studies_is_on_average_the_one_they_were_drawn_from():
    truth = WORLD._replace(arm_correlation=0.8, level=-0.03, roughness=0.2, noise=0.012)
    size = DesignSize((128,), seeds=2)

    worlds = []
    for draw in draw_studies(truth, size, studies=30, seed=2):
        # The points of a study are not kept; roughness is asked for in the next test.
        worlds.append(fitted_world(*arms_of(draw, truth), SETTINGS, None))

    for name, near in {
        "gap": 0.004,
        "arm_correlation": 0.06,
        "noise": 0.001,
        "level": 0.005,
        "early_correlation": 0.003,
        "final_correlation": 0.001,
        "final_slope": 0.003,
        "early_slope": 0.03,
        "early_agreement": 0.04,
    }.items():
        mean = np.mean([getattr(world, name) for world in worlds])
        assert mean == pytest.approx(getattr(truth, name), abs=near), name
    assert np.mean([max(world.cliffs) > 0 for world in worlds]) < 0.4


def test_the_world_of_a_real_run_has_a_cliff_for_random_weights_alone_and_main_effects():
    table = pd.read_parquet(Path(__file__).parent / "n32_trials.parquet")
    design = table[table["stage"] == "design"]

    def arm(name):
        scores = {
            column: design[design["arm"] == name]
            .pivot_table(index="config_id", columns="seed", values=column)
            .to_numpy()
            for column in ("val_correlation", "val_loss")
        }
        return arm_scores(scores["val_correlation"], log_loss=np.log(scores["val_loss"]))

    settings = (Setting(0, True), Setting(0, True), Setting(4, True), *2 * (Setting(2, True),))
    points = rounded(unit_points(5, 32, generator(Stream.DESIGN, 0)), settings)

    world = fitted_world(arm("pretrained"), arm("random"), settings, points)

    assert world.gap == pytest.approx(0.0451299, abs=1e-6)  # reference/tuning_value.py
    assert world.cliffs[0] == 0
    assert world.cliffs[1] > 3
    assert 0.02 <= world.roughness < 0.3
    assert 0.9 < world.arm_correlation < 1
    assert world.level == pytest.approx(-0.0354, abs=1e-4)


@pytest.mark.parametrize("shape", [(0, 2), (2, 2)])
def test_a_study_without_three_configurations_has_no_world_of_its_own(shape):
    arm = arm_scores(np.random.default_rng(0).normal(0.5, 0.1, size=shape))

    assert fitted_world(arm, arm, SETTINGS, None) is None


def test_constant_scores_have_no_world_and_one_seed_says_nothing_of_noise():
    constant = arm_scores(np.full((8, 2), 0.5))
    single = arm_scores(np.linspace(0.4, 0.6, 8)[:, None])

    assert fitted_world(constant, constant, SETTINGS, None) is None
    assert fitted_world(single, single, SETTINGS, None).noise == World(SETTINGS).noise


def test_the_world_of_a_run_is_of_its_space_and_its_random_arm(tmp_path):
    run = write_rich_run(tmp_path / "run", configurations=16)

    world = world_of_run(run.path)

    assert [setting.levels for setting in world.settings] == [0, 0, 4, 3]
    assert 0 < world.final_correlation < 1
    assert world.gap > 0
    assert world != World(world.settings)


def test_a_run_without_both_arms_says_what_to_do_and_a_folder_that_is_none_is_named(tmp_path):
    run = write_synthetic_run(tmp_path / "run", arms=("pretrained", "shuffled"))

    with pytest.raises(ResultsError, match=r"must hold a pretrained and a random arm .*; leave it"):
        world_of_run(run.path)
    with pytest.raises(ResultsError, match=str(tmp_path)):
        world_of_run(tmp_path)


def test_the_variation_is_told_with_its_numbers():
    text = variation(WORLD._replace(early_correlation=0.123, cliffs=(0.0, 4.0)))

    assert "val_correlation 0.123 at the early epoch" in text
    assert "a cliff in 6% of the space for random weights" in text
    assert "no cliff" in variation(WORLD)
