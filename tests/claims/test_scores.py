"""From tables to arrays: which trials count, and with what score."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from made_runs import (
    EARLY,
    HORIZON,
    ZERO_VAL_LOSS,
    arm_scores,
    changed_study,
    drawn_arm,
    scores_of,
    study_tables,
)

from stage1.claims.scores import MOST_NOT_FINITE, both_scored, means_over_seeds, too_few_finite
from stage1.run.columns import CONFIRM, SEARCH


@pytest.fixture
def arms():
    generator = np.random.default_rng(0)
    return {
        name: drawn_arm(generator, configurations=6, seeds=2)
        for name in ("pretrained", "random", "shuffled")
    }


def changed(tables, rows, **columns):
    """The same tables with other values in the trials that `rows` chooses."""
    trials = tables.trials.copy()
    for name, value in columns.items():
        trials.loc[rows(trials), name] = value
    return tables._replace(trials=trials)


def of(trial_id):
    return lambda trials: trials["trial_id"] == trial_id


def without_curve(tables, trial_id, *, after=-1):
    """The same tables without the epochs of one trial after this one."""
    curves = tables.curves
    gone = (curves["trial_id"] == trial_id) & (curves["epoch"] > after)
    return tables._replace(curves=curves[~gone])


def with_curve(tables, trial_id, epoch, **columns):
    curves = tables.curves.copy()
    rows = (curves["trial_id"] == trial_id) & (curves["epoch"] == epoch)
    assert rows.any()
    for name, value in columns.items():
        curves.loc[rows, name] = value
    return tables._replace(curves=curves)


def test_scores_are_arranged_by_configuration_seed_and_epoch_whatever_the_order_of_rows(arms):
    tables = study_tables(arms)

    scores = scores_of(tables)
    shuffled = scores_of(
        tables._replace(
            trials=tables.trials.sample(frac=1, random_state=0),
            curves=tables.curves.sample(frac=1, random_state=1),
        )
    )

    assert scores.configurations == tuple(f"design{c:03d}" for c in range(6))
    assert scores.seeds == (1, 2)
    assert list(scores.epochs) == [0, 1, 2]
    for name, arm in arms.items():
        got = scores.arm(name)
        assert got.early == pytest.approx(arm.early)
        assert got.final == pytest.approx(arm.final)
        assert got.log_loss == pytest.approx(arm.log_loss)
        assert not got.diverged.any()
        assert (shuffled.correlation[name] == scores.correlation[name]).all()
        assert (shuffled.log_loss[name] == scores.log_loss[name]).all()
    assert scores.complete == 6
    assert scores.left_out == {}
    assert list(scores.values.index) == list(scores.configurations)
    rates = [1e-3 * (c + 1) for c in range(6)]
    assert scores.values["training.optimizer.lr"].tolist() == pytest.approx(rates)
    assert scores.timeframe_names == ("m1", "m5")
    assert scores.timeframes["random"].shape == (6, 2, 2)
    assert scores.timeframes["random"][..., 0] == pytest.approx(arms["random"].final)


@pytest.fixture
def one_diverged(arms):
    """The random arm's second configuration diverged with its first seed, before epoch 1."""
    diverged = np.zeros((6, 2), dtype=bool)
    diverged[1, 0] = True
    return study_tables(arms | {"random": arms["random"]._replace(diverged=diverged)})


def test_a_diverged_trial_counts_with_correlation_zero_and_the_loss_of_predicting_zero(
    arms, one_diverged
):
    scores = scores_of(one_diverged)

    arm = scores.arm("random")
    assert (arm.early[1, 0], arm.final[1, 0]) == (0, 0)
    assert (scores.timeframes["random"][1, 0] == 0).all()
    assert arm.log_loss[1, 0] == pytest.approx(math.log(ZERO_VAL_LOSS))
    assert np.argwhere(arm.diverged).tolist() == [[1, 0]]
    assert scores.arm("pretrained").final == pytest.approx(arms["pretrained"].final)
    assert (scores.complete, scores.left_out) == (6, {})


def test_what_a_diverged_trial_reached_before_it_diverged_counts_at_those_epochs(arms):
    tables = study_tables(arms)
    trial = "design-001-random-1"
    tables = without_curve(changed(tables, of(trial), status="diverged"), trial, after=EARLY)

    arm = scores_of(tables).arm("random")

    assert arm.early[1, 0] == pytest.approx(arms["random"].early[1, 0])
    assert arm.final[1, 0] == 0


@pytest.mark.parametrize("loss", [math.nan, 0.5], ids=["no finite loss", "looks fine"])
def test_a_diverged_trial_counts_zero_at_its_last_epoch_whatever_its_correlation(arms, loss):
    """The predecessor's correlation rose while its loss exploded."""
    trial = "design-001-random-1"
    tables = changed(study_tables(arms), of(trial), status="diverged")
    tables = with_curve(tables, trial, HORIZON, val_loss=loss)

    assert scores_of(tables).arm("random").final[1, 0] == 0


def test_no_finite_loss_counts_for_more_than_that_of_predicting_zero_and_zero_is_a_loss(arms):
    worse = arms["random"].log_loss.copy()
    worse[2] = [0.5, 8.0]  # ZERO_VAL_LOSS is 1
    tables = study_tables(arms | {"random": arms["random"]._replace(log_loss=worse)})
    zero = with_curve(tables, "design-001-random-1", HORIZON, val_loss=0.0)

    log_loss = scores_of(tables).arm("random").log_loss

    assert np.isfinite(scores_of(zero).arm("random").log_loss).all()
    assert log_loss[2] == pytest.approx([0, 0])
    assert np.delete(log_loss, 2, axis=0) == pytest.approx(np.delete(worse, 2, axis=0))


def test_the_loss_of_predicting_zero_is_one_for_the_whole_study(arms):
    tables = study_tables(arms)
    trials = tables.trials.assign(zero_val_loss=0.1)
    trials.loc[trials.index[:3], "zero_val_loss"] = [0.05, 9.0, math.nan]

    scores = scores_of(tables._replace(trials=trials))

    assert scores.zero_log_loss == pytest.approx(math.log(0.1))
    largest = max(np.nanmax(scores.log_loss[name]) for name in arms)
    assert largest == pytest.approx(math.log(0.1))


def test_without_a_loss_of_predicting_zero_losses_are_kept_and_the_diverged_have_none(arms):
    tables = changed(study_tables(arms), of("design-001-random-1"), status="diverged")
    tables = without_curve(tables, "design-001-random-1", after=0)
    tables = tables._replace(trials=tables.trials.assign(zero_val_loss=math.nan))

    arm = scores_of(tables).arm("random")

    assert math.isnan(arm.log_loss[1, 0])
    assert arm.final[1, 0] == 0
    assert arm.log_loss[2] == pytest.approx(arms["random"].log_loss[2])


def test_a_failed_trial_leaves_its_configuration_and_seed_out_of_all_arms(arms):
    failed = arms["random"].final.copy()
    failed[1, 0] = math.nan
    scores = scores_of(study_tables(arms | {"random": arms["random"]._replace(final=failed)}))

    for name in arms:
        arm = scores.arm(name)
        for values in (arm.early, arm.final, arm.log_loss):
            assert np.argwhere(np.isnan(values)).tolist() == [[1, 0]]
        assert np.isnan(scores.timeframes[name][1, 0]).all()
    assert scores.left_out == {"failed in an arm": 1}
    assert scores.complete == 5


def test_a_divergence_beside_a_failure_of_another_arm_does_not_count(arms, one_diverged):
    tables = changed(one_diverged, of("design-001-pretrained-1"), status="failed")

    scores = scores_of(tables)

    assert not scores.diverged["random"].any()
    assert math.isnan(scores.arm("random").final[1, 0])


def not_yet_ended(tables, trial):
    return tables._replace(trials=tables.trials[tables.trials["trial_id"] != trial])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        pytest.param(not_yet_ended, "not run to its end in every arm", id="not yet ended"),
        pytest.param(
            lambda tables, trial: changed(tables, of(trial), status="stopped"),
            "stopped in an arm",
            id="stopped",
        ),
        pytest.param(
            lambda tables, trial: without_curve(tables, trial, after=EARLY),
            "no score at the horizon",
            id="its curve ends before the horizon",
        ),
    ],
)
def test_a_trial_without_a_final_score_leaves_its_pair_out_of_all_arms(arms, change, reason):
    scores = scores_of(change(study_tables(arms), "design-001-random-1"))

    assert math.isnan(scores.arm("pretrained").final[1, 0])
    assert scores.left_out == {reason: 1}


@pytest.mark.parametrize("stage", [SEARCH, CONFIRM])
def test_trials_of_other_stages_never_enter(arms, stage):
    tables = study_tables(arms)
    others = study_tables({name: arm_scores(arm.final + 0.4) for name, arm in arms.items()})
    renamed = {
        name: frame.assign(stage=stage, trial_id=stage + frame["trial_id"])
        for name, frame in (("trials", others.trials), ("curves", others.curves))
    }

    both = tables._replace(
        **{name: pd.concat([frame, getattr(tables, name)]) for name, frame in renamed.items()}
    )

    for name in arms:
        assert scores_of(both).arm(name).final == pytest.approx(arms[name].final)
    assert scores_of(both).configurations == scores_of(tables).configurations


def test_what_is_beyond_the_registration_does_not_count_whatever_the_study_says_now(arms):
    tables = study_tables(arms, configurations=4, seeds=[2], early_epoch=2)
    tables = tables._replace(space=changed_study(tables.space, arms={"another": {}}))

    scores = scores_of(changed(tables, of("design-001-random-1"), status="failed"))

    assert scores.configurations == tuple(f"design{c:03d}" for c in range(4))
    assert scores.seeds == (2,)
    assert list(scores.correlation) == list(arms)
    assert scores.arm("random").final == pytest.approx(arms["random"].final[:4, 1:])
    assert scores.arm("random").early == pytest.approx(arms["random"].final[:4, 1:])
    assert scores.left_out == {}


@pytest.mark.parametrize(
    ("ours", "theirs", "too_few"),
    [
        pytest.param(21, 21, True, id="both above"),
        pytest.param(20, 90, False, id="first just at it"),
        pytest.param(90, 20, False, id="second just at it"),
        pytest.param(0, 0, False, id="none"),
    ],
)
def test_a_comparison_ends_with_more_than_a_fifth_diverged_in_both_arms(ours, theirs, too_few):
    arms = [
        arm_scores(np.full((50, 2), 0.5), diverged=(np.arange(100) < count).reshape(50, 2))
        for count in (ours, theirs)
    ]

    assert bool(too_few_finite(*arms)) is too_few
    assert MOST_NOT_FINITE == 0.2


def test_trials_that_are_left_out_are_no_part_of_the_diverged_share():
    final = np.full((50, 2), 0.5)
    final[25:] = math.nan
    diverged = np.zeros((50, 2), dtype=bool)
    diverged[:6] = True  # 12 of the 50 trials that count

    arm = arm_scores(final, diverged=diverged)

    assert too_few_finite(arm, arm).startswith("24%")


def test_a_training_counts_where_both_arms_have_a_score():
    first = np.array([[0.1, math.nan], [0.3, 0.5], [0.2, 0.3]])
    second = np.array([[0.4, 0.2], [0.1, 0.2], [math.nan, math.nan]])

    pairs = both_scored(first, second)

    assert means_over_seeds(pairs[0]) == pytest.approx([0.1, 0.4, math.nan], nan_ok=True)
    assert means_over_seeds(pairs[1]) == pytest.approx([0.4, 0.15, math.nan], nan_ok=True)


# --- designs that grow ---


def grown(*, shuffled=6, failed=()):
    """16 configurations, the first 3 with a second seed; shuffled weights on the first ones."""
    generator = np.random.default_rng(1)
    arms = {name: drawn_arm(generator) for name in ("pretrained", "random", "shuffled")}
    for arm, *cell in failed:
        arms[arm].final[tuple(cell)] = math.nan
    few = arms["shuffled"]
    arms["shuffled"] = arm_scores(few.final[:shuffled], log_loss=few.log_loss[:shuffled])
    return study_tables(arms, design={"looks": [16, 32], "replicated": 3})


def missing(scores, arm):
    return np.argwhere(np.isnan(scores.arm(arm).final)).tolist()


ONE_SEED = [[c, 1] for c in range(3, 16)]


def test_an_arm_counts_where_it_was_planned():
    scores = scores_of(grown())

    for arm in ("pretrained", "random"):
        assert missing(scores, arm) == ONE_SEED
    not_run = [[c, s] for c in range(6, 16) for s in (0, 1)]
    assert missing(scores, "shuffled") == sorted([*ONE_SEED[:3], *not_run])
    assert (scores.complete, scores.left_out) == (16, {})


def test_a_failure_counts_in_no_paired_arm_and_one_of_shuffled_weights_only_there():
    scores = scores_of(grown(failed=[("random", 1, 0), ("shuffled", 2, 1)]))

    assert missing(scores, "pretrained") == [[1, 0], *ONE_SEED]
    assert missing(scores, "shuffled")[:3] == [[1, 0], [2, 1], [3, 1]]
    assert (scores.complete, scores.left_out) == (15, {"failed in an arm": 1})


def test_points_that_came_out_equal_count_once(arms):
    points = [{"training.optimizer.lr": rate} for rate in (1e-3, 2e-3, 1e-3, 3e-3, 2e-3, 1e-3)]

    scores = scores_of(study_tables(arms, points=points))

    assert scores.configurations == ("design000", "design001", "design003")
    assert scores.arm("random").final == pytest.approx(arms["random"].final[[0, 1, 3]])
    assert scores.left_out == {"equal to an earlier configuration": 6}
