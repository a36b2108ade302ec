"""Importance and sensitivity, against functions whose variance parts are known."""

from __future__ import annotations

import logging
import math

import numpy as np
import optuna
import pandas as pd
import pytest
from optuna.distributions import FloatDistribution
from optuna.importance import MeanDecreaseImpurityImportanceEvaluator, PedAnovaImportanceEvaluator
from scipy.stats import qmc

from stage1.claims.importance import (
    cross_seed_sensitivity,
    effective_dimension,
    hyperparameter_sensitivity,
    partial_variances,
    tuned_performance,
)
from stage1.run.resolved_space import Choice, Range
from stage1.study.space import Space, sobol_configurations

UNIT = Range(type="float", low=0.0, high=1.0, log=False)
TREES = 16  # a quarter of the usual: the shares move by .01, the time by a factor of 4


def unit_square(count, names="ab", *, seed=0):
    points = qmc.Sobol(len(names), rng=seed).random(count)
    return pd.DataFrame(points, columns=list(names)), dict.fromkeys(names, UNIT)


def drawn(space, configurations=64):
    """The configurations that a study draws from a space, as a table."""
    study = {
        "name": "x",
        "base": "x",
        "arms": {"a": {}},
        "space": {key: domain.model_dump() for key, domain in space.items()},
    }
    rows = sobol_configurations(
        Space.model_validate(study | {"design": {"configurations": configurations}}), seed=0
    )
    return pd.DataFrame(rows)


def ishigami(points):
    """On the unit cube."""
    a, b, c = (2 * points.T - 1) * math.pi
    return np.sin(a) + 7 * np.sin(b) ** 2 + 0.1 * c**4 * np.sin(a)


def importances(values, scores, evaluator):
    """Shares by one of Optuna's evaluators, of parameters in [0, 1]."""
    study = optuna.create_study(direction="maximize")
    domains = dict.fromkeys(values, FloatDistribution(0, 1))
    for params, score in zip(values.to_dict("records"), scores, strict=True):
        study.add_trial(
            optuna.trial.create_trial(params=params, distributions=domains, value=score)
        )
    return optuna.importance.get_param_importances(study, evaluator=evaluator)


def test_a_sum_is_all_main_effects():
    values, domains = unit_square(256)
    scores = (values["a"] + 2 * values["b"]).to_numpy()

    parts = partial_variances(values, scores, domains, trees=2 * TREES)

    # True shares .2 and .8 of 5/12. A forest's steps leave about 1 % to the interactions.
    assert parts.total == pytest.approx(5 / 12, rel=0.01)
    assert parts.main == pytest.approx({"a": 0.2 * 5 / 12, "b": 0.8 * 5 / 12}, abs=0.02 * 5 / 12)
    explained = sum(parts.main.values())
    assert parts.main["a"] / explained == pytest.approx(0.188, abs=0.005)
    assert parts.main["b"] / explained == pytest.approx(0.812, abs=0.005)
    assert parts.remainder == pytest.approx(parts.total - explained)


def test_a_pure_interaction_has_no_main_effects():
    values, domains = unit_square(256)
    scores = ((values["a"] - 0.5) * (values["b"] - 0.5)).to_numpy()

    parts = partial_variances(values, scores, domains, trees=TREES)

    # True main effects 0. Of noise in its steps a forest gives .049 and .066 of the variance to the
    # two; which gets more, and by how much, varies with the scramble.
    assert parts.total == pytest.approx(1 / 144, rel=0.03)
    assert parts.main["a"] / parts.total == pytest.approx(0.049, abs=0.04)
    assert parts.main["b"] / parts.total == pytest.approx(0.066, abs=0.04)
    assert parts.remainder > 0.85 * parts.total


@pytest.mark.parametrize(
    ("evaluator", "shares"),
    [
        pytest.param(PedAnovaImportanceEvaluator(), (0.206, 0.794), id="PED-ANOVA"),
        pytest.param(MeanDecreaseImpurityImportanceEvaluator(seed=0), (0.184, 0.816), id="MDI"),
    ],
)
@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_other_evaluators_of_importance_say_nearly_the_same(evaluator, shares):
    # PED-ANOVA compares the better tenth with all: .18 to .26 for a, by scramble and direction.
    values, domains = unit_square(256, seed=2)
    scores = (values["a"] + 2 * values["b"]).to_numpy()

    other = importances(values, scores, evaluator)
    parts = partial_variances(values, scores, domains, trees=TREES)

    ours = np.array([parts.main["a"], parts.main["b"]]) / sum(parts.main.values())
    assert (other["a"], other["b"]) == pytest.approx(shares, abs=0.05)
    assert ours == pytest.approx(shares, abs=0.05)


def test_ishigamis_function_falls_into_its_known_parts():
    values, domains = unit_square(256, "abc")
    scores = ishigami(values.to_numpy())

    parts = partial_variances(values, scores, domains, trees=TREES)

    shares = {key: part / parts.total for key, part in parts.main.items()}
    # True .314, .442, 0 and a remainder of .244. The forest sees only a part of two full waves of b
    # in 256 points (.33 with 1,024), and hands what it misses to the remainder.
    assert parts.total == pytest.approx(13.84459, rel=0.03)
    assert shares["a"] == pytest.approx(0.31391, abs=0.05)
    assert 0.5 * 0.44241 < shares["b"] < 0.44241
    assert shares["c"] < 0.07
    assert parts.remainder / parts.total == pytest.approx(1 - sum(shares.values()))
    assert parts.remainder / parts.total > 0.24368
    for key, total_effect in {"a": 0.55759, "b": 0.44241, "c": 0.24368}.items():
        assert shares[key] <= total_effect + 0.01  # a main effect is a part of it


def test_noise_is_shared_out_too():
    values, domains = unit_square(64, "abcde")
    noise = np.random.default_rng(0).normal(size=64)

    parts = partial_variances(values, noise, domains, trees=TREES)

    # No parameter has an effect. A forest that grows to single points gives each about .11.
    shares = np.array(list(parts.main.values())) / parts.total
    assert 0.05 < shares.mean() < 0.17
    assert parts.remainder > 0.25 * parts.total


@pytest.mark.parametrize(
    ("domain", "effect"),
    [
        pytest.param(Range(type="float", low=1e-4, high=1.0, log=True), np.log, id="log"),
        pytest.param(Range(type="int", low=1, high=100, log=True), np.log, id="log int"),
        pytest.param(Range(type="int", low=0, high=3), lambda x: x * 1.0, id="int"),
        pytest.param(Choice(options=["a", "b", "c"]), lambda x: x == "b", id="choice"),
    ],
)
def test_averages_run_over_what_the_design_draws(domain, effect):
    values = drawn({"p": domain, "q": UNIT})
    part = effect(values["p"].to_numpy()).astype(float)
    part = part / part.std()
    scores = part + math.sqrt(12) * values["q"].to_numpy()

    parts = partial_variances(values, scores, {"p": domain, "q": UNIT}, trees=TREES)

    # Both have variance 1 over the design's distribution; over another, p would have another.
    assert parts.main["p"] == pytest.approx(1, abs=0.1)
    assert parts.main["q"] == pytest.approx(1, abs=0.1)


def test_a_conditional_parameter_has_no_effect_where_it_is_not_active():
    values, domains = unit_square(128)
    on = values["a"] >= 0.5
    slope = values["b"] - 0.5
    values["b"] = values["b"].where(on)
    scores = np.where(on, slope, 0.0)

    parts = partial_variances(
        values, scores, domains | {"b": UNIT.model_copy(update={"when": {"a": 1}})}, trees=TREES
    )

    # Variance 1/24; b alone explains that of (b - .5) / 2, the other half is when it acts.
    assert parts.total == pytest.approx(1 / 24, rel=0.05)
    assert parts.main["b"] == pytest.approx(1 / 48, rel=0.2)
    assert parts.remainder == pytest.approx(1 / 48, rel=0.25)


def test_parameters_that_take_one_value_explain_nothing():
    values, domains = unit_square(16)
    same = Choice(options=["x", "y"])
    values["same"], values["never"], values["foreign"] = "x", np.nan, values["a"]
    values["sometimes"] = [0.3, np.nan] * 8
    domains |= {"same": same, "never": UNIT, "absent": UNIT, "sometimes": UNIT}

    parts = partial_variances(values, values["a"].to_numpy(), domains, trees=TREES)

    assert {key for key, part in parts.main.items() if part > 0} == {"a", "b"}
    assert set(parts.main) == set(domains)


def test_configurations_without_a_score_are_left_out_and_the_forest_is_the_same_again():
    values, domains = unit_square(32)
    values.loc[3, "b"] = np.nan
    scores = values["a"].to_numpy(copy=True)
    scores[16:] = np.nan

    parts = partial_variances(values, scores, domains, trees=TREES)

    assert parts == partial_variances(values[:16], scores[:16], domains, trees=TREES)


@pytest.mark.parametrize("seed", range(8))
def test_a_forest_that_finds_nothing_leaves_all_to_the_remainder(seed):
    values, domains = unit_square(2)

    parts = partial_variances(values, np.array([0.0, 1.0]), domains, trees=1, seed=seed)

    # A tree draws two of two configurations with replacement: half of the time the same twice.
    assert parts.remainder in (pytest.approx(0.5), pytest.approx(0.0))
    assert parts.remainder + sum(parts.main.values()) == pytest.approx(0.5)


def test_optuna_is_quiet_and_left_as_it_was(capfd):
    values, domains = unit_square(4)
    before = optuna.logging.get_verbosity()

    partial_variances(values, values["a"].to_numpy(), domains, trees=4)

    assert optuna.logging.get_verbosity() == before
    assert before <= logging.INFO
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("domain", "message"),
    [
        (UNIT.model_copy(update={"high": 0.6}), r"a must be in \[0, 0\.6\], got 0\.7"),
        (Choice(options=[1, 2]), r"a must be one of \[1, 2\], got 0\.5"),
    ],
)
def test_values_outside_their_domain_are_refused(domain, message):
    values = pd.DataFrame({"a": [0.5, 0.7]})

    with pytest.raises(ValueError, match=message):
        partial_variances(values, np.array([1.0, 2.0]), {"a": domain})


@pytest.mark.parametrize(
    ("values", "scores", "parts"),
    [
        pytest.param([0.5, 0.5, 0.5], [1.0, 2.0, 3.0], (0.0, 1.0, 1.0), id="nothing varies"),
        pytest.param([0.1, 0.6, 0.9], [0.1, 0.1, 0.1], (0.0, 0.0, 0.0), id="constant scores"),
        pytest.param([0.1, 0.6], [0.3, math.nan], (math.nan,) * 3, id="a single score"),
    ],
)
def test_where_nothing_can_be_explained_no_parameter_explains_it(values, scores, parts):
    main, remainder, total = partial_variances(
        pd.DataFrame({"a": values}), np.array(scores), {"a": UNIT}
    )

    assert (main["a"], remainder, total) == pytest.approx(parts, nan_ok=True)


TOY = pd.DataFrame(
    [(1, 1, 1.0, 0.2), (1, 2, 0.7, 0.7), (2, 1, 0.3, 0.9), (2, 2, 0.1, 0.5)],
    columns=["a", "b", "E1", "E2"],
).set_index(["a", "b"])


@pytest.mark.parametrize(
    ("performance", "expected"),
    [
        pytest.param(TOY, (0.95, 0.70, 0.25), id="Adkins' toy"),
        pytest.param(TOY[["E1"]], (1.0, 1.0, 0.0), id="one environment"),
        pytest.param(TOY[:1], (0.6, 0.6, 0.0), id="one configuration"),
    ],
)
def test_phi_is_what_tuning_once_loses_against_tuning_per_environment(performance, expected):
    table = performance.to_numpy()
    agreeing, single = np.repeat(table[:, :, None], 3, axis=2), table[:, :, None]

    assert hyperparameter_sensitivity(table) == pytest.approx(expected)
    assert cross_seed_sensitivity(agreeing) == pytest.approx(expected)
    assert np.isnan(cross_seed_sensitivity(single)).all()


def test_configurations_with_a_gap_are_not_candidates():
    performance = TOY.to_numpy(copy=True)
    performance[0, 1] = np.nan  # the first was the best in E1

    assert hyperparameter_sensitivity(performance) == pytest.approx((0.8, 0.7, 0.1))
    assert np.isnan(hyperparameter_sensitivity(performance[:1])).all()
    assert np.isnan(cross_seed_sensitivity(performance[:1, :, None])).all()


def test_phi_across_seeds_does_not_take_noise_for_sensitivity():
    noise = np.random.default_rng(0).normal(size=(500, 16, 3, 2))

    within = np.mean([hyperparameter_sensitivity(study[..., 0]).phi for study in noise])
    across = [cross_seed_sensitivity(study).phi for study in noise]

    assert within > 0.5
    assert np.mean(across) == pytest.approx(0, abs=4 * np.std(across) / math.sqrt(500))


@pytest.mark.parametrize(
    ("table", "performance"),
    [
        pytest.param(TOY, [0.70, 0.85, 0.95], id="Adkins' toy"),
        pytest.param(TOY.sample(frac=1, random_state=1), [0.70, 0.85, 0.95], id="in another order"),
        pytest.param(TOY.droplevel("a").iloc[[0, 1]], [0.7, 0.85], id="one parameter"),
        pytest.param(
            pd.concat({level: TOY for level in "xyz"}, names=["c"]),
            [0.70, 0.85, 0.95, 0.95],
            id="a parameter without effect",
        ),
    ],
)
def test_each_parameter_tuned_adds_performance(table, performance):
    assert tuned_performance(table) == pytest.approx(performance)


def test_the_effective_dimension_comes_near_the_best_where_there_is_any_performance():
    dimensions = [effective_dimension(TOY, share=share) for share in (0.7, 0.85, 0.95, 1.0)]

    assert dimensions == [0, 1, 2, 2]
    assert effective_dimension(TOY - 2) is None


@pytest.mark.parametrize(
    "table",
    [
        pytest.param(TOY[:3], id="a point is missing"),
        pytest.param(pd.concat([TOY[:3], TOY[:1]]), id="a point is there twice"),
        pytest.param(TOY[:0], id="empty"),
        pytest.param(TOY.where(TOY > 0.1), id="a value is missing"),
    ],
)
def test_a_table_that_is_no_full_grid_is_refused(table):
    with pytest.raises(ValueError, match="table must"):
        effective_dimension(table)
