"""Whether a run is what was planned, and its arms differ in nothing but what they should."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from made_runs import changed_study, drawn_arm, study_tables
from scipy import stats

from stage1.claims.scores import design_scores
from stage1.claims.soundness import (
    baseline_warning,
    deviations,
    divergence_warnings,
    pairing_checks,
    unfinished,
    without_fingerprint,
)
from stage1.run.columns import CONFIRM, SEARCH


@pytest.fixture
def arms():
    generator = np.random.default_rng(0)
    return {name: drawn_arm(generator, configurations=4) for name in ("pretrained", "random")}


@pytest.fixture
def tables(arms):
    return study_tables(arms)


def with_trials(tables, change):
    trials = tables.trials.copy()
    change(trials)
    return tables._replace(trials=trials)


# --- as planned ---


def test_a_whole_design_is_finished_and_deviates_in_nothing(tables):
    assert unfinished(tables) == ""
    assert deviations(tables) == []


@pytest.mark.parametrize("left", [0, 1, 15])
def test_a_design_is_unfinished_until_its_last_trial(tables, left):
    cut = tables._replace(trials=tables.trials.iloc[:left])

    assert f"{left} of 16 trials of the design" in unfinished(cut)
    assert "--resume" in unfinished(cut)
    (text,) = deviations(cut)
    assert text.startswith("Missing trials: ")


def test_search_trials_do_not_finish_a_design(tables):
    trials = tables.trials.copy()
    trials.loc[trials.index[0], "stage"] = SEARCH

    assert "15 of 16" in unfinished(tables._replace(trials=trials))


def test_trials_count_as_ended_whatever_became_of_them(tables):
    def spoil(trials):
        trials["status"] = ["failed", "diverged", "stopped", "completed"] * 4

    assert unfinished(with_trials(tables, spoil)) == ""


def test_what_is_beyond_the_registration_is_named(arms):
    tables = study_tables(arms, configurations=3, seeds=[1], arms=["random"])

    more, seeds, unregistered = deviations(tables)

    assert "4 configurations, 3 were registered" in more
    assert "seeds [2]" in seeds
    assert "pretrained" in unregistered


def test_edited_files_stay_among_the_deviations(tables):
    edited = tables._replace(deviations=["prereg.yaml was edited."])

    assert deviations(edited) == ["prereg.yaml was edited."]
    assert edited.deviations == ["prereg.yaml was edited."]


# --- the arms ---


def test_arms_of_a_sound_run_differ_in_their_t5_alone(tables):
    checks = dict(pairing_checks(tables))

    assert len(checks) == 5
    assert all(text == "yes, 8 of 8 configurations x seeds" for text in checks.values())


@pytest.mark.parametrize(
    ("column", "name"),
    [
        ("head_sha256", "Equal in all arms: weights outside the T5"),
        ("order_sha256", "Equal in all arms: order of the batches"),
        ("mask_sha256", "Equal in all arms: hidden bars"),
        ("param.training.optimizer.lr", "Equal in all arms: hyperparameters"),
    ],
)
def test_what_should_be_equal_and_is_not_is_counted(tables, column, name):
    def spoil(trials):
        trials.loc[0, column] = "other" if column.endswith("sha256") else 9.9

    checks = dict(pairing_checks(with_trials(tables, spoil)))

    assert checks[name] == "NO, 7 of 8 configurations x seeds"
    assert sum(text.startswith("NO") for text in checks.values()) == 1


def test_arms_with_the_same_t5_weights_are_counted(tables):
    def spoil(trials):
        same = trials["config_id"] == "design000"
        trials.loc[same, "lm_sha256"] = "the same"

    checks = dict(pairing_checks(with_trials(tables, spoil)))

    assert checks["Different in every arm: T5 weights at step 0"].startswith("NO, 6 of 8")


def test_hyperparameters_that_do_not_apply_are_equal_in_their_absence(tables):
    absent = tables._replace(trials=tables.trials.assign(**{"param.lr_decay": math.nan}))

    assert dict(pairing_checks(absent))["Equal in all arms: hyperparameters"].startswith("yes, 8")


def test_a_trial_that_ended_early_is_not_asked_for_the_order_of_its_batches(tables):
    def spoil(trials):
        trials.loc[0, ["status", "order_sha256"]] = ["diverged", "shorter"]

    checks = dict(pairing_checks(with_trials(tables, spoil)))

    assert checks["Equal in all arms: order of the batches"].startswith("yes, 7 of 7")


def test_what_no_trial_recorded_is_not_called_equal(tables):
    unknown = tables._replace(trials=tables.trials.assign(order_sha256=None))

    checks = dict(pairing_checks(unknown))

    assert checks["Equal in all arms: order of the batches"] == "not recorded"


def test_a_run_without_trials_has_nothing_to_check(tables):
    checks = pairing_checks(tables._replace(trials=tables.trials.iloc[:0]))

    assert {text for _, text in checks} == {"not recorded"}


# --- fingerprints ---


def test_every_trial_of_the_pair_needs_a_fingerprint(tables):
    pair = ("pretrained", "random")
    spoiled = with_trials(tables, lambda trials: trials.loc.__setitem__((3, "lm_sha256"), None))

    assert without_fingerprint(tables, pair) == ""
    assert without_fingerprint(spoiled, pair).startswith("1 trial")


def test_trials_that_never_began_and_other_arms_need_none(arms):
    tables = study_tables(arms | {"vanilla": arms["random"]})

    def spoil(trials):
        trials.loc[trials["arm"] == "vanilla", "lm_sha256"] = None
        trials.loc[0, ["lm_sha256", "status"]] = [None, "failed"]
        trials.loc[0, "steps"] = pd.NA

    assert without_fingerprint(with_trials(tables, spoil), ("pretrained", "random")) == ""


# --- baseline ---


def with_skill(tables, skills):
    """Skills by seed of the pretrained arm's best configuration; the others have 0.9."""
    trials = tables.trials.copy()
    trials["val_skill"] = 0.9
    own = trials[trials["arm"] == "pretrained"]
    best = own.groupby("config_id")["val_correlation"].mean().idxmax()
    trials.loc[own.index[own["config_id"] == best], "val_skill"] = skills
    return tables._replace(trials=trials)


@pytest.mark.parametrize("skills", [(0.10, 0.11), (0.10, 0.30), (0.01, -0.02), (-0.3, -0.31)])
def test_the_best_configuration_is_warned_of_unless_its_skill_is_clearly_positive(tables, skills):
    warning = baseline_warning(with_skill(tables, skills), "pretrained")

    low = stats.ttest_1samp(skills, 0).confidence_interval(0.95).low
    assert bool(warning) is bool(low <= 0)
    if warning:
        assert f"lower end {low:+.3f}" in warning
        assert f"val_skill {np.mean(skills):+.3f}" in warning


def test_one_seed_cannot_show_that_the_baseline_is_beaten(arms):
    one = {name: scores._replace(final=scores.final[:, :1]) for name, scores in arms.items()}

    assert "one seed" in baseline_warning(with_skill(study_tables(one), 0.4), "pretrained")


def test_the_best_configuration_is_the_best_by_the_objective_of_the_study(tables):
    tables = with_skill(tables, (-0.5, -0.4))  # of the one with the highest val_correlation
    trials = tables.trials.assign(val_loss=tables.trials["val_correlation"])

    by_loss, upside_down = (
        tables._replace(
            space=changed_study(tables.space, objective={"metric": "val_loss", "mode": mode}),
            trials=trials,
        )
        for mode in ("min", "max")
    )

    assert baseline_warning(by_loss, "pretrained") == ""
    assert baseline_warning(upside_down, "pretrained") == baseline_warning(tables, "pretrained")
    assert "val_skill -0.450" in baseline_warning(tables, "pretrained")


def test_skill_that_was_not_recorded_is_not_taken_for_skill(tables):
    warning = baseline_warning(with_skill(tables, math.nan), "pretrained")

    assert "no val_skill recorded" in warning


def test_an_arm_without_a_completed_trial_has_no_best_configuration_to_warn_of(tables):
    failed = tables._replace(trials=tables.trials.assign(status="failed"))

    assert baseline_warning(failed, "pretrained") == ""


def test_a_confirmed_search_point_may_be_the_best_and_a_search_trial_may_not(tables):
    lucky = tables.trials[tables.trials["arm"] == "pretrained"].head(2)
    lucky = lucky.assign(
        config_id="found", trial_id=["a", "b"], val_correlation=0.99, val_skill=[-0.2, -0.1]
    )
    healthy = with_skill(tables, (0.5, 0.51))

    warnings = {
        stage: baseline_warning(
            healthy._replace(trials=pd.concat([healthy.trials, lucky.assign(stage=stage)])),
            "pretrained",
        )
        for stage in (SEARCH, CONFIRM)
    }

    assert warnings[SEARCH] == ""
    assert "val_skill -0.150" in warnings[CONFIRM]


# --- divergence ---


def test_arms_with_diverged_trials_are_warned_of_by_name_and_number(arms):
    diverged = np.zeros((4, 2), dtype=bool)
    diverged[1] = diverged[2, 0] = True
    tables = study_tables(arms | {"random": arms["random"]._replace(diverged=diverged)})
    scores = design_scores(tables.trials, tables.curves, tables.space, tables.registration)

    (warning,) = divergence_warnings(scores)

    assert warning.startswith("3 of 8 trials of the design's arm random diverged")


def test_a_finished_trial_needs_a_fingerprint_whatever_else_is_not_recorded(tables):
    spoiled = tables.trials.assign(steps=pd.array([pd.NA] * len(tables.trials), dtype="Int64"))
    spoiled["lm_sha256"] = None

    assert without_fingerprint(tables._replace(trials=spoiled), ("pretrained", "random"))


def test_one_lucky_seed_does_not_make_the_best_configuration(tables):
    lucky = tables.trials.copy()
    lucky.loc[0, ["val_correlation", "val_skill"]] = 0.999, -5.0
    partner = (lucky["config_id"] == lucky.loc[0, "config_id"]) & (lucky["arm"] == "pretrained")
    lucky.loc[partner & (lucky.index != 0), "status"] = "failed"

    assert "one seed" not in baseline_warning(tables._replace(trials=lucky), "pretrained")
