"""Whether a run is what was planned, and its arms differ in nothing but what they should."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from made_runs import arm_scores, changed_study, drawn_arm, scores_of, study_tables
from scipy import stats

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


def test_a_whole_design_is_finished_however_it_ended_and_deviates_only_by_edited_files(tables):
    ended = changed(tables, None, status=["failed", "diverged", "stopped", "completed"] * 4)
    edited = tables._replace(deviations=["prereg.yaml was edited."])

    assert unfinished(tables) == unfinished(ended) == ""
    assert deviations(tables) == []
    assert deviations(edited) == edited.deviations == ["prereg.yaml was edited."]


def changed(tables, rows, **columns):
    """The same tables with other values in the trials that `rows` names; None = all."""
    trials = tables.trials.copy()
    for name, value in columns.items():
        trials.loc[slice(None) if rows is None else rows, name] = value
    return tables._replace(trials=trials)


@pytest.mark.parametrize("left", [0, 1, 15])
def test_a_design_is_unfinished_until_its_last_trial(tables, left):
    cut = tables._replace(trials=tables.trials.iloc[:left])

    assert f"{left} of 16 trials of the design" in unfinished(cut)
    assert "--resume" in unfinished(cut)
    (text,) = deviations(cut)
    assert text.startswith("Missing trials: ")
    assert "15 of 16" in unfinished(changed(tables, 0, stage=SEARCH))


def test_what_is_beyond_the_registration_is_named(arms):
    tables = study_tables(arms, configurations=3, seeds=[1], arms=["random"])

    more, seeds, unregistered = deviations(tables)

    assert "4 configurations, 3 were registered" in more
    assert "seeds [2]" in seeds
    assert "pretrained" in unregistered


def test_arms_of_a_sound_run_differ_in_their_t5_alone_and_without_trials_nothing_is_known(tables):
    checks = dict(pairing_checks(tables))
    of_nothing = dict(pairing_checks(tables._replace(trials=tables.trials.iloc[:0])))

    assert len(checks) == 5
    assert set(checks.values()) == {"yes, 8 of 8 configurations x seeds"}
    assert set(of_nothing.values()) == {"not recorded"}


@pytest.mark.parametrize(
    ("rows", "columns", "check", "result"),
    [
        pytest.param(0, {"head_sha256": "x"}, "weights outside the T5", "NO, 7 of 8", id="head"),
        pytest.param(0, {"order_sha256": "x"}, "order of the batches", "NO, 7 of 8", id="order"),
        pytest.param(0, {"mask_sha256": "x"}, "hidden bars", "NO, 7 of 8", id="hidden bars"),
        pytest.param(
            0, {"param.training.optimizer.lr": 9.9}, "hyperparameters", "NO, 7 of 8", id="values"
        ),
        pytest.param(
            None, {"param.lr_decay": math.nan}, "hyperparameters", "yes, 8 of 8", id="not active"
        ),
        pytest.param(
            0,
            {"status": "diverged", "order_sha256": "shorter"},
            "order of the batches",
            "yes, 7 of 7",
            id="ended early",
        ),
        pytest.param(
            None, {"order_sha256": None}, "order of the batches", "not recorded", id="unknown"
        ),
        pytest.param(None, {"lm_sha256": "x"}, "T5 weights at step 0", "NO, 0 of 8", id="T5"),
    ],
)
def test_what_should_be_equal_or_different_is_counted(tables, rows, columns, check, result):
    checks = dict(pairing_checks(changed(tables, rows, **columns)))

    (text,) = [text for name, text in checks.items() if name.endswith(check)]
    assert text.startswith(result)
    others = [text for name, text in checks.items() if not name.endswith(check)]
    assert all(text.startswith("yes") for text in others)


def test_every_trial_of_the_pair_needs_a_fingerprint(tables):
    pair = ("pretrained", "random")
    spoiled = changed(tables, 3, lm_sha256=None)
    without_steps = spoiled.trials.assign(steps=pd.array([pd.NA] * 16, dtype="Int64"))

    assert without_fingerprint(tables, pair) == ""
    assert without_fingerprint(spoiled, pair).startswith("1 trial")
    assert without_fingerprint(spoiled._replace(trials=without_steps), pair).startswith("1 trial")


def test_trials_that_never_began_and_other_arms_need_none(arms):
    tables = study_tables(arms | {"vanilla": arms["random"]})

    failed = changed(tables, 0, lm_sha256=None, status="failed", steps=pd.NA)
    spoiled = changed(failed, tables.trials["arm"] == "vanilla", lm_sha256=None)

    assert without_fingerprint(spoiled, ("pretrained", "random")) == ""


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


def test_without_two_recorded_skills_the_baseline_is_not_shown_to_be_beaten(arms, tables):
    one = {name: scores._replace(final=scores.final[:, :1]) for name, scores in arms.items()}

    one_seed = baseline_warning(with_skill(study_tables(one), 0.4), "pretrained")
    unknown = baseline_warning(with_skill(tables, math.nan), "pretrained")
    no_best = baseline_warning(changed(tables, None, status="failed"), "pretrained")

    assert "one seed" in one_seed
    assert "no val_skill recorded" in unknown
    assert no_best == ""


@pytest.mark.parametrize("apart", [0.01, 0.5])
def test_a_best_configuration_of_one_seed_has_the_noise_of_those_with_two(apart):
    scores = arm_scores(0.5 + 0.01 * np.arange(16)[:, None] + np.zeros(2))  # the last is the best
    design = {"looks": [16], "replicated": 4}
    tables = study_tables({"pretrained": scores, "random": scores}, design=design)
    skills = 0.4 + apart * (tables.trials["seed"] - 1)

    warning = baseline_warning(
        tables._replace(trials=tables.trials.assign(val_skill=skills)), "pretrained"
    )

    low = 0.4 - stats.t.ppf(0.975, 4) * apart / math.sqrt(2)  # four pairs
    assert bool(warning) is bool(low <= 0)
    if warning:
        assert f"lower end {low:+.3f}" in warning


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


def test_arms_with_diverged_trials_are_warned_of_by_name_and_number(arms):
    diverged = np.zeros((4, 2), dtype=bool)
    diverged[1] = diverged[2, 0] = True
    tables = study_tables(arms | {"random": arms["random"]._replace(diverged=diverged)})

    (warning,) = divergence_warnings(scores_of(tables))

    assert warning.startswith("3 of 8 trials of the design's arm random diverged")


def test_one_lucky_seed_does_not_make_the_best_configuration(tables):
    lucky = tables.trials.copy()
    lucky.loc[0, ["val_correlation", "val_skill"]] = 0.999, -5.0
    partner = (lucky["config_id"] == lucky.loc[0, "config_id"]) & (lucky["arm"] == "pretrained")
    lucky.loc[partner & (lucky.index != 0), "status"] = "failed"

    assert "one seed" not in baseline_warning(tables._replace(trials=lucky), "pretrained")
