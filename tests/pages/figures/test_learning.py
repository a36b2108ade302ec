"""Learning curves and the early signal: what is drawn, against scipy and brute force."""

from __future__ import annotations

import math

import numpy as np
import pytest
from made_claims import made_evaluation, made_scores
from made_runs import arm_scores, scores_of, study_tables
from matplotlib.figure import Figure
from scipy.stats import kendalltau, trim_mean

from stage1.pages.figures.learning import (
    draw_learning_curves,
    draw_regret,
    draw_tau,
    early_signals,
    learning_curves,
    learning_differences,
    middle_halves,
    relative_steps,
    steps_figures,
)

EPOCHS = np.arange(5)
ARMS = ["pretrained", "random"]


@pytest.fixture
def correlation():
    """Two arms of 33 configurations, 2 seeds and epochs 0 to 4."""
    generator = np.random.default_rng(0)
    rise = 1 - np.exp(-EPOCHS)
    noise = generator.normal(0, 0.05, size=(2, 33, 2, 5))
    return dict(zip(ARMS, 0.8 * rise + noise, strict=True))


def test_a_curve_is_the_mean_of_the_middle_half_of_all_runs(correlation):
    curves = learning_curves(correlation)

    for arm, band in curves.items():
        runs = correlation[arm].reshape(66, 5)
        np.testing.assert_allclose(band.estimate, trim_mean(runs, 0.25, axis=0))
        assert (band.low <= band.estimate).all()
        assert (band.high >= band.estimate).all()


def test_a_difference_is_that_of_runs_with_the_same_settings_and_seed(correlation):
    (arm,) = (differences := learning_differences(correlation, "random"))

    runs = (correlation["pretrained"] - correlation["random"]).reshape(66, 5)
    assert arm == "pretrained"
    np.testing.assert_allclose(differences[arm].estimate, trim_mean(runs, 0.25, axis=0))


def drawn(correlation, *, baseline=math.nan, early_epoch=None):
    axes = Figure().add_subplot()
    look = {"arms": ARMS, "metric": "val_correlation", "early_epoch": early_epoch}
    draw_learning_curves(axes, EPOCHS, learning_curves(correlation), baseline=baseline, **look)
    return axes


def test_an_arm_keeps_its_look_where_another_has_no_score(correlation):
    both = drawn(correlation).get_lines()[-1].get_color()
    correlation["pretrained"][:] = math.nan

    assert drawn(correlation).get_lines()[-1].get_color() == both


def test_the_early_epoch_is_marked(correlation):
    axes = drawn(correlation, early_epoch=1)

    assert [text.get_text() for text in axes.texts] == ["early epoch 1"]


def test_tau_is_the_agreement_with_the_other_seeds_final_ranking(correlation):
    signals = early_signals(made_scores(correlation))

    for signal in signals:
        values = correlation[signal.arm]
        pairs = ((0, 1), (1, 0))
        expected = [
            np.mean([kendalltau(values[:, a, e], values[:, b, -1]).statistic for a, b in pairs])
            for e in range(1, 5)
        ]
        np.testing.assert_allclose(signal.tau, expected)
        np.testing.assert_array_equal(signal.epochs, [1, 2, 3, 4])


def test_at_the_horizon_tau_has_reached_its_ceiling(correlation):
    for signal in early_signals(made_scores(correlation)):
        assert signal.tau[-1] == pytest.approx(signal.ceiling)


def test_regret_is_what_the_choice_at_an_epoch_loses_to_the_best(correlation):
    for signal in early_signals(made_scores(correlation)):
        values = correlation[signal.arm]
        means = values[:, :, -1].mean(axis=1)
        lost = [
            np.mean([max(means) - means[np.argmax(values[:, seed, e])] for seed in (0, 1)])
            for e in range(1, 5)
        ]
        np.testing.assert_allclose(signal.regret, lost)


def test_configurations_with_a_gap_are_not_ranked(correlation):
    correlation["random"][0, 0] = math.nan

    _, random = early_signals(made_scores(correlation))

    assert random.configurations == 32


def test_each_arm_has_its_ceiling_and_no_regret_is_below_the_axis(correlation):
    above, below = Figure().subplots(2, 1)
    signals = early_signals(made_scores(correlation))

    draw_tau(above, signals, arms=ARMS)
    draw_regret(below, signals, arms=ARMS)

    levels = [set(line.get_ydata()) for line in above.get_lines()[::2]]
    assert levels == [{signal.ceiling} for signal in signals]
    assert below.get_ylim()[0] < 0


@pytest.mark.parametrize(
    ("regret", "top"),
    [
        pytest.param([0.0, 0.0], 0.01, id="nothing is lost"),
        pytest.param([0.002, 0.0], 0.01, id="next to nothing is lost"),
        pytest.param([0.2, 0.1], 0.21, id="much is lost"),
    ],
)
def test_the_axis_of_the_regret_is_as_long_as_it_needs_to_be(correlation, regret, top):
    axes = Figure().add_subplot()
    signal = early_signals(made_scores(correlation))[0]
    signal = signal._replace(epochs=np.array([1, 2]), regret=np.array(regret))

    draw_regret(axes, [signal], arms=ARMS)

    assert axes.get_ylim() == pytest.approx((-0.04 * top, top))


# The steps of the weights ----------------------------------------------------------------------


def with_steps(tables, steps):
    """The tables with a relative step per row of curves, a function of arm, config_id and epoch."""
    names = ["arm", "config_id", "epoch"]
    values = [steps(*row) for row in tables.curves[names].itertuples(index=False, name=None)]
    return tables._replace(curves=tables.curves.assign(lm_relative_step=values))


def made_tables(*arms):
    arms = arms or ("pretrained", "random", "vanilla")
    return study_tables({arm: arm_scores(np.full((5, 2), 0.5)) for arm in arms})


def steps_of(arm, config_id, epoch):
    """Frozen in the first epoch of every other configuration; double in the random arm."""
    place = int(config_id.removeprefix("design"))
    if epoch == 0 or arm == "vanilla":
        return math.nan
    size = 0.0 if epoch == 1 and place % 2 else 0.01 * (place + 1)
    return 2 * size if arm == "random" else size


def test_relative_steps_are_median_and_middle_half_of_the_configurations_whose_t5_learns():
    tables = with_steps(made_tables(), steps_of)

    scores = scores_of(tables)

    steps = middle_halves(relative_steps(tables, scores), scores.epochs)

    assert list(steps) == ["pretrained", "random"]
    of_learning, of_all = [0.01, 0.03, 0.05], [0.01, 0.02, 0.03, 0.04, 0.05]
    for arm, factor in (("pretrained", 1), ("random", 2)):
        for part, quartile in zip(steps[arm], (50, 25, 75), strict=True):
            expected = [factor * np.percentile(one, quartile) for one in (of_learning, of_all)]
            assert math.isnan(part[0])
            assert part[1:].tolist() == pytest.approx(expected)


def test_the_figure_of_relative_steps_says_why_they_differ_and_is_there_only_with_them():
    tables = made_tables()
    evaluation = made_evaluation(scores=scores_of(tables))

    (figure,) = steps_figures(with_steps(tables, steps_of), evaluation)

    assert figure.name == "relative_steps"
    assert "not the same step for weights of another size" in figure.caption
    levels, ratios = figure.figure.axes
    assert levels.get_yscale() == "log"
    labels = ratios.get_legend_handles_labels()
    (pretrained,) = labels[0]
    assert labels[1] == ["pretrained"]
    assert pretrained.get_ydata()[1:] == pytest.approx([0.5, 0.5])
    (alone,) = steps_figures(with_steps(made_tables("pretrained"), steps_of), evaluation)
    assert len(alone.figure.axes) == 1
    assert steps_figures(tables, evaluation) == []
    assert steps_figures(with_steps(tables, lambda *_: math.nan), evaluation) == []
