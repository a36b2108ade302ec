import math

import numpy as np
import pytest
import torch
from compared_by_hand import compared_by_hand
from tiny_training import all_validation, tiny_config

from stage1.base.metric_table import metric_names, metric_row
from stage1.data.features import interpolate
from stage1.model.losses import total_loss
from stage1.model.metrics import (
    ALL,
    correlations,
    evaluate,
    evaluate_baseline,
    evaluate_each,
    zero_loss,
)
from stage1.model.spectral import spectral_delta

CALENDAR = tiny_config(data={"seq_len": 64}, model={"async_sampler": True})
CONFIG = tiny_config(loss={"weights.cross": 0.1})
NAMES = CONFIG.data.timeframes


@pytest.fixture(scope="module")
def batch():
    return all_validation(CONFIG)


@pytest.fixture(scope="module")
def calendar_batch():
    return all_validation(CALENDAR)


@pytest.fixture
def decoded(batch, generator):
    return batch.targets + 0.5 * torch.randn(batch.targets.shape, generator=generator)


def pooled(values, batch, timeframe):
    """(bars, 4) of all scored bars of a timeframe."""
    return values[:, timeframe][batch.scored[:, timeframe]].double().numpy()


def correlation_by_hand(decoded, batch, timeframe):
    mine, truth = (pooled(values, batch, timeframe) for values in (decoded, batch.targets))
    return np.mean([np.corrcoef(mine[:, price], truth[:, price])[0, 1] for price in range(4)])


def test_correlations_are_those_of_numpy(generator):
    one, two = torch.randn(2, 50, 4, generator=generator)
    two = two + one

    result = correlations(one, two)

    expected = [np.corrcoef(one[:, price], two[:, price])[0, 1] for price in range(4)]
    np.testing.assert_allclose(result, expected, rtol=1e-6)


def test_a_constant_has_correlation_0(generator):
    truth = torch.randn(50, 4, generator=generator)
    decoded = truth.clone()
    decoded[:, 2] = 0.1

    assert correlations(decoded, truth).tolist() == pytest.approx([1, 1, 0, 1])
    assert correlations(truth, decoded).tolist() == pytest.approx([1, 1, 0, 1])


def test_every_timeframe_s_correlation_is_pooled_over_scored_bars_and_averaged(decoded, batch):
    metrics = evaluate(decoded, batch, CONFIG)

    expected = [correlation_by_hand(decoded, batch, index) for index in range(3)]
    for name, correlation in zip(NAMES, expected, strict=True):
        assert metrics[f"val_corr_{name}"] == pytest.approx(correlation, abs=1e-6)
    assert metrics["val_correlation"] == pytest.approx(np.mean(expected), abs=1e-6)


def test_skill_compares_squared_errors_with_those_of_linear_interpolation(decoded, batch):
    metrics = evaluate(decoded, batch, CONFIG)

    line = interpolate(batch.targets, batch.hidden)
    own, its = (
        [
            np.square(pooled(values, batch, i) - pooled(batch.targets, batch, i)).sum()
            for i in range(3)
        ]
        for values in (decoded, line)
    )
    for index, name in enumerate(NAMES):
        assert metrics[f"val_skill_{name}"] == pytest.approx(1 - own[index] / its[index], abs=1e-5)
    assert metrics["val_skill"] == pytest.approx(1 - sum(own) / sum(its), abs=1e-5)


def test_visible_bars_change_no_metric_without_the_cross_loss(decoded, batch):
    config = tiny_config()
    elsewhere = decoded.masked_fill(~batch.hidden.unsqueeze(-1), 77.0)

    assert evaluate(decoded, batch, config) == evaluate(elsewhere, batch, config)


def test_hidden_bars_that_are_not_scored_change_what_is_said_of_whole_windows_alone(decoded, batch):
    config = tiny_config()
    elsewhere = decoded.masked_fill((batch.hidden & ~batch.scored).unsqueeze(-1), 77.0)

    one, two = evaluate(decoded, batch, config), evaluate(elsewhere, batch, config)

    assert {name for name in one if one[name] != two[name]} == {
        "consistency_ratio",
        "spectral_delta",
    }


def test_padding_changes_no_metric(calendar_batch, generator):
    batch = calendar_batch
    decoded = batch.targets + 0.1 * torch.randn(batch.targets.shape, generator=generator)
    padding = ~batch.real.unsqueeze(-1)
    assert padding.any()

    one, two = (
        evaluate(decoded.masked_fill(padding, value), batch, CALENDAR) for value in (0.0, 77.0)
    )

    assert one == pytest.approx(two, rel=0, abs=0, nan_ok=True)


def test_a_timeframe_that_is_only_context_has_no_score_and_no_part_in_that_of_all(
    calendar_batch, generator
):
    batch = calendar_batch
    assert batch.scored.any(dim=2).any(dim=0).tolist() == [True, True, False]
    decoded = batch.targets + 0.1 * torch.randn(batch.targets.shape, generator=generator)

    metrics = evaluate(decoded, batch, CALENDAR)

    expected = [correlation_by_hand(decoded, batch, index) for index in range(2)]
    assert metrics["val_corr_m5"] == pytest.approx(expected[1], abs=1e-6)
    assert metrics["val_correlation"] == pytest.approx(np.mean(expected), abs=1e-6)
    context = {name for name, value in metrics.items() if math.isnan(value)}
    assert context == {"val_corr_m15", "val_skill_m15"}


def test_where_nothing_is_scored_there_is_no_score(batch):
    nothing = batch._replace(scored=torch.zeros_like(batch.scored))

    metrics = evaluate(batch.targets, nothing, CONFIG)

    assert math.isnan(metrics["val_correlation"])
    assert math.isnan(metrics["val_skill"])
    assert math.isnan(metrics["spectral_delta"])


def test_consistency_and_spectra_are_those_of_windows_as_a_user_gets_them(decoded, batch):
    metrics = evaluate(decoded, batch, CONFIG)

    hidden = batch.hidden.numpy()
    whole = torch.where(batch.hidden.unsqueeze(-1), decoded, batch.targets)
    agree = [
        np.abs(one.difference) <= 0.1
        for one in compared_by_hand(whole, batch, (1, 5, 15))
        if hidden[one.coarse] or hidden[one.parts].any()
    ]
    assert metrics["consistency_ratio"] == np.mean(agree)
    assert metrics["spectral_delta"] == spectral_delta(
        whole, batch.targets, hidden=batch.hidden, scored=batch.scored, real=batch.real
    )


def test_the_loss_is_the_training_loss(decoded, batch):
    metrics = evaluate(decoded, batch, CONFIG)

    assert metrics["val_loss"] == total_loss(decoded, batch, CONFIG.loss, (1, 5, 15)).item()


def test_the_truth_scores_best(batch):
    metrics = evaluate(batch.targets, batch, tiny_config())

    assert metrics["val_loss"] == 0
    assert metrics["val_skill"] == 1
    assert metrics["val_correlation"] == pytest.approx(1)
    assert metrics["consistency_ratio"] == 1
    assert metrics["spectral_delta"] == 0


def test_a_constant_prediction_has_correlation_0(batch):
    metrics = evaluate(torch.zeros_like(batch.targets), batch, CONFIG)

    assert metrics["val_correlation"] == 0
    assert metrics["val_skill"] < 1


def test_interpolation_has_skill_0(batch):
    metrics = evaluate(interpolate(batch.targets, batch.hidden), batch, CONFIG)

    assert metrics["val_skill"] == 0
    assert [metrics[f"val_skill_{name}"] for name in NAMES] == [0, 0, 0]


def test_the_baseline_has_interpolation_s_metrics_under_its_own_names(batch):
    baseline = evaluate_baseline(batch, CONFIG)

    line = interpolate(batch.targets, batch.hidden)
    expected = [correlation_by_hand(line, batch, index) for index in range(3)]
    assert baseline["baseline_val_correlation"] == pytest.approx(np.mean(expected), abs=1e-6)
    assert baseline["baseline_val_loss"] == total_loss(line, batch, CONFIG.loss, (1, 5, 15)).item()
    assert {"baseline_consistency_ratio", "baseline_spectral_delta"} <= baseline.keys()
    assert not any("skill" in name for name in baseline)


def test_the_baseline_of_calendar_windows_never_draws_a_line_into_the_padding(calendar_batch):
    batch = calendar_batch
    padded = batch.targets.masked_fill(~batch.real.unsqueeze(-1), 77.0)

    one, two = (
        evaluate_baseline(batch._replace(targets=targets), CALENDAR)
        for targets in (batch.targets, padded)
    )

    assert one == pytest.approx(two, rel=0, abs=0, nan_ok=True)
    assert 0 < one["baseline_consistency_ratio"] < 1
    assert one["baseline_spectral_delta"] > 0


def test_the_names_of_all_metrics_are_known_beforehand(decoded, batch):
    names = metric_names(NAMES)

    assert set(names) == evaluate(decoded, batch, CONFIG).keys()
    assert len(names) == len(set(names)) == 5 + 2 * 3
    assert not any("/" in name for name in names)


def test_every_metric_has_a_direction_in_which_the_truth_is_best(decoded, batch):
    of_truth, of_noise = (evaluate(bars, batch, CONFIG) for bars in (batch.targets, decoded))

    for name in metric_names(NAMES):
        best = min if metric_row(name).better == "min" else max
        assert best(of_truth[name], of_noise[name]) == of_truth[name]
        assert of_truth[name] != of_noise[name]


def test_what_is_not_finite_is_not_hidden(decoded, batch):
    decoded[0] = float("nan")

    metrics = evaluate(decoded, batch, CONFIG)

    assert math.isnan(metrics["val_loss"])
    assert math.isnan(metrics["val_correlation"])
    assert math.isnan(metrics["val_skill"])
    assert math.isnan(metrics["spectral_delta"])


def test_the_loss_of_predicting_0_is_the_huber_loss_of_the_truth(batch):
    config = tiny_config(loss={"huber_delta": 0.7})

    result = zero_loss(batch, config)

    per_timeframe = []
    for index in range(3):
        truth = np.abs(pooled(batch.targets, batch, index))
        per_timeframe.append(np.where(truth < 0.7, truth**2 / 2, 0.7 * (truth - 0.35)).mean())
    assert result == pytest.approx(np.mean(per_timeframe), rel=1e-5)


def test_it_is_the_loss_of_a_model_that_says_0(batch):
    zeros = torch.zeros_like(batch.targets)

    assert zero_loss(batch, CONFIG) == evaluate(zeros, batch, CONFIG)["val_loss"]


def only(batch, index):
    """The batch with the scored bars of one timeframe alone."""
    scored = torch.zeros_like(batch.scored)
    scored[:, index] = batch.scored[:, index]
    return batch._replace(scored=scored)


def test_each_timeframe_s_metrics_are_those_of_its_own_scored_bars(decoded, batch):
    config = tiny_config(loss={"huber_delta": 0.3})

    each = evaluate_each(decoded, batch, config)

    for index, name in enumerate(NAMES):
        alone = evaluate(decoded, only(batch, index), config)
        mine, truth = (pooled(values, batch, index) for values in (decoded, batch.targets))
        error = np.abs(mine - truth)
        huber = np.where(error <= 0.3, error**2 / 2, 0.3 * (error - 0.15)).mean()
        assert each[name]["huber"] == pytest.approx(huber, rel=1e-5)
        assert each[name]["correlation"] == pytest.approx(alone["val_correlation"])
        assert each[name]["skill"] == pytest.approx(alone["val_skill"])
        assert each[name]["spectral_delta"] == pytest.approx(alone["spectral_delta"])


def test_all_timeframes_together_have_the_metrics_of_a_training(decoded, batch):
    together = evaluate_each(decoded, batch, CONFIG)[ALL]

    metrics = evaluate(decoded, batch, CONFIG)
    assert together["correlation"] == metrics["val_correlation"]
    for name in ("consistency_ratio", "spectral_delta"):
        assert together[name] == metrics[name]
    plain = evaluate(decoded, batch, tiny_config())
    assert together["huber"] == pytest.approx(plain["val_loss"])


def test_a_timeframe_is_consistent_with_the_finer_ones_and_the_finest_with_none(batch):
    coarsest = len(NAMES) - 1
    decoded = batch.targets.clone()
    decoded[:, coarsest] += 5.0  # far from what the finer bars say

    each = evaluate_each(decoded, batch, CONFIG)

    assert math.isnan(each["m1"]["consistency_ratio"])
    assert each["m5"]["consistency_ratio"] == 1
    assert each["m15"]["consistency_ratio"] < 1


def test_a_timeframe_that_is_context_has_no_metrics_of_its_own(calendar_batch):
    scored = calendar_batch.scored.clone()
    scored[:, 2] = False

    each = evaluate_each(calendar_batch.targets, calendar_batch._replace(scored=scored), CALENDAR)

    for name in ("huber", "correlation", "skill", "spectral_delta"):
        assert math.isnan(each["m15"][name])
