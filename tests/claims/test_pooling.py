"""Studies are pooled only where that means something, and what they say together is as sure."""

import numpy as np
import pytest
from made_runs import LR, arm_scores, changed_study, study_tables

from stage1.claims.catalogue import COST, EARLY_SIGNAL, FINAL_GAIN, SENSITIVITY
from stage1.claims.intervals import Interval, student_interval
from stage1.claims.loaded_run import Run
from stage1.claims.pooling import (
    _off_line,
    agreeing_checkpoints,
    differing_settings,
    on_line,
    pooled_claim,
    pooled_over,
    random_effects,
)
from stage1.run.folder import RunFolder


def made_run(
    path, *, seed, gain=0.0, bars="0" * 64, checkpoint="b" * 64, shuffled=False, **changes
):
    """A run of 16 configurations in which the pretrained arm is better by `gain`."""
    generator = np.random.default_rng(seed)
    quality = 0.5 + 0.03 * generator.normal(size=(16, 1))

    def arm(more):
        return arm_scores(quality + more + 0.003 * generator.normal(size=(16, 2)))

    arms = {"pretrained": arm(gain), "random": arm(0.0)} | (
        {"shuffled": arm(0)} if shuffled else {}
    )
    tables = study_tables(
        arms,
        points=[{LR: 1e-4 * (c + 1)} for c in range(16)],
        language_models={"t5": checkpoint},
    )
    tables.trials["lm_sha256"] = checkpoint[:4] + tables.trials["lm_sha256"]
    space = changed_study(tables.space, seed=seed, data={"fingerprint": bars}, **changes)
    return Run(tables._replace(run=RunFolder(path), space=space))


def test_what_searches_begin_with_is_named_and_keeps_no_runs_apart(tmp_path):
    one, other = (made_run(tmp_path / str(seed), seed=seed) for seed in (1, 2))
    search = other.tables.space.search.model_copy(update={"start": [{LR: 1e-3}]})
    other = Run(other.tables._replace(space=changed_study(other.tables.space, search=search)))

    assert differing_settings([one, other])["search.start"] == [[], [{LR: 1e-3}]]
    assert pooled_over([one, other]) == ("seeds of the study", "")


@pytest.mark.parametrize(
    ("second", "over"),
    [
        pytest.param({"seed": 2}, "seeds of the study", id="another seed"),
        pytest.param({"seed": 1, "checkpoint": "c" * 64}, "checkpoints", id="another checkpoint"),
        pytest.param({"seed": 1, "bars": "1" * 64}, "bars", id="another market"),
    ],
)
def test_runs_that_differ_in_one_thing_are_pooled_over_it(tmp_path, second, over):
    # The seeds of the scores differ in any case: the same trainings would be copies.
    one = made_run(tmp_path / "one", seed=1)
    other = made_run(tmp_path / "two", **{**second, "seed": 2})
    other = Run(other.tables._replace(space=changed_study(other.tables.space, seed=second["seed"])))

    assert pooled_over([one, other]) == (over, "")


@pytest.mark.parametrize(
    ("second", "reason"),
    [
        pytest.param({"seed": 1}, "share 64 trainings", id="a copy"),
        pytest.param({"seed": 2, "horizon_epochs": 3}, "horizon_epochs", id="another horizon"),
        pytest.param(
            {"seed": 2, "bars": "1" * 64, "checkpoint": "c" * 64},
            "checkpoints and in bars",
            id="two things at once",
        ),
        pytest.param(
            {"seed": 2, "objective": {"metric": "val_loss", "mode": "min"}},
            "objective",
            id="another objective",
        ),
    ],
)
def test_runs_that_answer_other_questions_or_count_twice_are_not(tmp_path, second, reason):
    one, other = made_run(tmp_path / "one", seed=1), made_run(tmp_path / "two", **second)

    over, obstacle = pooled_over([one, other])

    assert over == ""
    assert reason in obstacle


def test_a_checkpoint_that_two_of_three_runs_share_does_not_count_twice(tmp_path):
    runs = [
        made_run(tmp_path / name, seed=seed, checkpoint=letter * 64)
        for name, seed, letter in (("one", 1, "b"), ("two", 2, "b"), ("three", 3, "c"))
    ]

    assert "the same checkpoints" in pooled_over(runs)[1]


def test_the_variance_between_runs_makes_the_scatter_what_chance_expects():
    generator = np.random.default_rng(0)
    estimates, errors = generator.normal(0, 1, 9), generator.uniform(0.1, 0.6, 9)

    pooled = random_effects(estimates, errors, error_rate=0.05)

    def scatter(variance):
        weights = 1 / (errors**2 + variance)
        return (weights * (estimates - np.average(estimates, weights=weights)) ** 2).sum()

    grid = np.linspace(0, 5, 200_001)
    brute = grid[np.argmin([abs(scatter(v) - 8) for v in grid[::100]]) * 100]
    assert pooled.spread**2 == pytest.approx(brute, abs=0.003)
    weights = 1 / (errors**2 + pooled.spread**2)
    assert pooled.interval.estimate == pytest.approx(np.average(estimates, weights=weights))


def test_without_scatter_the_interval_is_no_narrower_than_by_the_errors():
    equal = random_effects(np.array([0.3, 0.3, 0.3]), np.array([0.1, 0.1, 0.1]), error_rate=0.05)

    expected = student_interval(0.3, 0.1 / 3**0.5, degrees=2, error_rate=0.05)
    assert equal.spread == 0
    assert equal.interval == pytest.approx(expected)


@pytest.mark.parametrize("spread", [0.0, 0.1, 0.5])
@pytest.mark.parametrize("runs", [2, 3, 6])
def test_the_interval_misses_the_mean_effect_as_often_as_it_says(runs, spread):
    generator, misses, studies = np.random.default_rng(runs), 0, 1000
    for _ in range(studies):
        errors = generator.uniform(0.05, 0.3, runs)
        effects = generator.normal(0, spread, runs) + generator.normal(0, errors)
        interval = random_effects(effects, errors, error_rate=0.05).interval
        misses += not interval.low <= 0 <= interval.high

    assert misses / studies <= 0.05 + 3 * (0.05 * 0.95 / studies) ** 0.5


@pytest.mark.parametrize(
    ("definition", "value"),
    [
        pytest.param(SENSITIVITY, Interval(-0.02, -0.41, 0.28, 0.9), id="a smaller ratio"),
        pytest.param(FINAL_GAIN, Interval(0.2, 0.1, 0.3, 0.01), id="a larger ratio"),
        pytest.param(EARLY_SIGNAL, Interval(0.1, -0.1, 0.3, 0.5), id="a difference"),
        pytest.param(COST, Interval(1.1, 1.0, 1.2, 0.5), id="a ratio"),
    ],
)
def test_an_effect_comes_back_from_the_scale_that_it_is_pooled_on(definition, value):
    estimate, error = on_line(definition, value, degrees=15, error_rate=0.05)

    back = _off_line(definition, student_interval(estimate, error, degrees=15, error_rate=0.05))

    assert back.estimate == pytest.approx(value.estimate)
    assert back.high - back.low == pytest.approx(value.high - value.low, rel=0.05)


def test_an_interval_without_an_end_is_pooled_with_nothing():
    endless = Interval(0.2, 0.1, np.inf, 0.01)

    assert on_line(FINAL_GAIN, endless, degrees=15, error_rate=0.05) is None


def test_a_claim_of_several_runs_lies_between_them(tmp_path):
    runs = [made_run(tmp_path / str(seed), seed=seed, gain=0.03) for seed in (1, 2, 3)]
    claims = [next(c for c in run.evaluation.claims if c.id == "3") for run in runs]

    pooled = pooled_claim(claims, [16, 16, 16])

    estimates = [claim.interval.estimate for claim in claims]
    assert min(estimates) < pooled.interval.estimate < max(estimates)
    assert pooled.interval.low < 0.06 < pooled.interval.high  # .03 above .5


def test_language_pretraining_takes_two_checkpoints_that_agree(tmp_path):
    runs = [
        made_run(tmp_path / letter, seed=seed, gain=0.1, checkpoint=letter * 64, shuffled=True)
        for seed, letter in enumerate("bcc")
    ]

    assert len(agreeing_checkpoints(runs[:2], "3")) == 2
    assert len(agreeing_checkpoints(runs[1:2], "3")) == 1
    assert agreeing_checkpoints([made_run(tmp_path / "none", seed=9)], "3") == []
