import math

import numpy as np
import pytest
import torch
from compared_by_hand import compared_by_hand, huber_by_hand
from tiny_training import all_validation, tiny_config

from stage1.base.metric_table import ALL_TIMEFRAMES as ALL
from stage1.base.metric_table import metric_names, metric_row
from stage1.data.features import interpolate
from stage1.model.losses import total_loss
from stage1.model.metrics import (
    MOST_BLOCKS,
    block_sums,
    blocks_of_windows,
    evaluate,
    evaluate_baselines,
    evaluate_each,
    interpolated,
    score_of,
)
from stage1.model.spectral import spectral_delta

CALENDAR = tiny_config(calendar=True)
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


def metrics_of(decoded, batch, config=CONFIG):
    return evaluate(decoded, interpolated(batch), batch, config)


def each_of(decoded, batch, config=CONFIG):
    return evaluate_each(decoded, interpolated(batch), batch, config)


def pooled(values, batch, timeframe):
    """(bars, 4) of all scored bars of a timeframe."""
    return values[:, timeframe][batch.scored[:, timeframe]].double().numpy()


def correlation_by_hand(decoded, batch, timeframe):
    mine, truth = (pooled(values, batch, timeframe) for values in (decoded, batch.targets))
    return np.mean([np.corrcoef(mine[:, price], truth[:, price])[0, 1] for price in range(4)])


def test_a_constant_has_correlation_0(generator):
    truth = torch.randn(50, 1, 2, 4, generator=generator)
    decoded = truth.clone()
    decoded[..., 2] = 0.1
    scored = torch.ones(50, 1, 2, dtype=torch.bool)

    for two in ((decoded, truth), (truth, decoded)):
        assert score_of(*two, scored).correlation[0].tolist() == pytest.approx([1, 1, 0, 1])


def test_every_timeframe_s_correlation_is_pooled_over_scored_bars_and_averaged(decoded, batch):
    metrics = metrics_of(decoded, batch)

    expected = [correlation_by_hand(decoded, batch, index) for index in range(3)]
    for name, correlation in zip(NAMES, expected, strict=True):
        assert metrics[f"val_corr_{name}"] == pytest.approx(correlation, abs=1e-6)
    assert metrics["val_correlation"] == pytest.approx(np.mean(expected), abs=1e-6)


def test_skill_compares_squared_errors_with_those_of_linear_interpolation(decoded, batch):
    metrics = metrics_of(decoded, batch)

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


@pytest.mark.parametrize("are_hidden", [False, True], ids=["visible", "hidden and not scored"])
def test_bars_that_are_not_scored_change_at_most_what_is_said_of_whole_windows(
    are_hidden, decoded, batch
):
    config = tiny_config()
    unscored = batch.hidden & ~batch.scored if are_hidden else ~batch.hidden
    elsewhere = decoded.masked_fill(unscored.unsqueeze(-1), 77.0)

    one, two = metrics_of(decoded, batch, config), metrics_of(elsewhere, batch, config)

    of_whole_windows = {"consistency_ratio", "spectral_delta"} if are_hidden else set()
    assert {name for name in one if one[name] != two[name]} == of_whole_windows


def test_padding_changes_no_metric(calendar_batch, generator):
    batch = calendar_batch
    decoded = batch.targets + 0.1 * torch.randn(batch.targets.shape, generator=generator)
    padding = ~batch.real.unsqueeze(-1)
    assert padding.any()

    one, two = (
        metrics_of(decoded.masked_fill(padding, value), batch, CALENDAR) for value in (0.0, 77.0)
    )

    assert one == pytest.approx(two, rel=0, abs=0, nan_ok=True)


def test_a_timeframe_that_is_only_context_has_no_score_and_no_part_in_that_of_all(
    calendar_batch, generator
):
    batch = calendar_batch
    assert batch.scored.any(dim=2).any(dim=0).tolist() == [True, True, False]
    decoded = batch.targets + 0.1 * torch.randn(batch.targets.shape, generator=generator)

    metrics = metrics_of(decoded, batch, CALENDAR)

    expected = [correlation_by_hand(decoded, batch, index) for index in range(2)]
    assert metrics["val_corr_m5"] == pytest.approx(expected[1], abs=1e-6)
    assert metrics["val_correlation"] == pytest.approx(np.mean(expected), abs=1e-6)
    context = {name for name, value in metrics.items() if math.isnan(value)}
    assert context == {"val_corr_m15", "val_skill_m15"}
    each = each_of(decoded, batch, CALENDAR)["m15"]
    for name in ("huber", "correlation", "skill", "spectral_delta"):
        assert math.isnan(each[name])


def test_there_is_no_score_where_nothing_is_scored_or_what_is_decoded_is_not_finite(decoded, batch):
    nothing = batch._replace(scored=torch.zeros_like(batch.scored))
    decoded[0] = float("nan")

    unscored, broken = metrics_of(batch.targets, nothing), metrics_of(decoded, batch)

    assert math.isnan(broken["val_loss"])
    for name in ("val_correlation", "val_skill", "spectral_delta"):
        assert math.isnan(unscored[name])
        assert math.isnan(broken[name])


def test_consistency_and_spectra_are_those_of_windows_as_a_user_gets_them(decoded, batch):
    metrics = metrics_of(decoded, batch)

    hidden = batch.hidden.numpy()
    whole = torch.where(batch.hidden.unsqueeze(-1), decoded, batch.targets)
    agree = [
        np.abs(one.difference) <= 0.1
        for one in compared_by_hand(whole, batch, (1, 5, 15))
        if hidden[one.coarse] or hidden[one.parts].any()
    ]
    assert metrics["consistency_ratio"] == np.mean(agree)
    assert metrics["spectral_delta"] == spectral_delta(whole, batch)


def test_the_truth_scores_best(batch):
    metrics = metrics_of(batch.targets, batch, tiny_config())

    assert metrics["val_loss"] == 0
    assert metrics["val_skill"] == 1
    assert metrics["val_correlation"] == pytest.approx(1)
    assert metrics["consistency_ratio"] == 1
    assert metrics["spectral_delta"] == 0


def test_the_baseline_has_interpolation_s_metrics_under_its_own_names(batch):
    baseline = evaluate_baselines(interpolated(batch), batch, CONFIG)

    line = interpolate(batch.targets, batch.hidden)
    expected = [correlation_by_hand(line, batch, index) for index in range(3)]
    assert baseline["baseline_val_correlation"] == pytest.approx(np.mean(expected), abs=1e-6)
    assert baseline["baseline_val_loss"] == total_loss(line, batch, CONFIG).item()
    assert {"baseline_consistency_ratio", "baseline_spectral_delta"} <= baseline.keys()
    assert not any("skill" in name for name in baseline)


def test_the_baseline_of_calendar_windows_never_draws_a_line_into_the_padding(calendar_batch):
    batch = calendar_batch
    padded = batch.targets.masked_fill(~batch.real.unsqueeze(-1), 77.0)

    one, two = (
        interpolated(batch._replace(targets=targets))[batch.real]
        for targets in (batch.targets, padded)
    )

    assert torch.equal(one, two)


def test_every_metric_has_a_direction_in_which_the_truth_is_best(decoded, batch):
    of_truth, of_noise = (metrics_of(bars, batch) for bars in (batch.targets, decoded))

    for name in metric_names(NAMES):
        best = min if metric_row(name).better == "min" else max
        assert best(of_truth[name], of_noise[name]) == of_truth[name]
        assert of_truth[name] != of_noise[name]


def test_the_loss_of_predicting_0_is_the_huber_loss_of_the_truth(batch):
    config = tiny_config(loss={"huber_delta": 0.7})

    result = evaluate_baselines(interpolated(batch), batch, config)["zero_val_loss"]

    per_timeframe = [
        huber_by_hand(pooled(batch.targets, batch, index), 0.7).mean() for index in range(3)
    ]
    assert result == pytest.approx(np.mean(per_timeframe), rel=1e-5)
    zeros = torch.zeros_like(batch.targets)
    assert result == metrics_of(zeros, batch, config)["val_loss"]


def test_each_timeframe_s_metrics_are_those_of_its_own_scored_bars(decoded, batch):
    config = tiny_config(loss={"huber_delta": 0.3})

    each = each_of(decoded, batch, config)

    for index, name in enumerate(NAMES):
        its_own = torch.zeros_like(batch.scored)
        its_own[:, index] = batch.scored[:, index]
        alone = metrics_of(decoded, batch._replace(scored=its_own), config)
        mine, truth = (pooled(values, batch, index) for values in (decoded, batch.targets))
        huber = huber_by_hand(mine - truth, 0.3).mean()
        assert each[name]["huber"] == pytest.approx(huber, rel=1e-5)
        assert each[name]["correlation"] == pytest.approx(alone["val_correlation"])
        assert each[name]["skill"] == pytest.approx(alone["val_skill"])
        assert each[name]["spectral_delta"] == pytest.approx(alone["spectral_delta"])
    whole = metrics_of(decoded, batch, config)["val_loss"]
    assert each[ALL]["huber"] == pytest.approx(each[ALL]["val_loss"]) == pytest.approx(whole)


def test_a_timeframe_is_consistent_with_the_finer_ones_and_the_finest_with_none(batch):
    coarsest = len(NAMES) - 1
    decoded = batch.targets.clone()
    decoded[:, coarsest] += 5.0  # far from what the finer bars say

    each = each_of(decoded, batch)

    assert math.isnan(each["m1"]["consistency_ratio"])
    assert each["m5"]["consistency_ratio"] == 1
    assert each["m15"]["consistency_ratio"] < 1


# Blocks of validation time ----------------------------------------------------------------------


def windows_every(minutes, *, count, length):
    """Starts and ends of windows of so many minutes each."""
    ends = 1_700_000_040 + 60 * minutes * np.arange(count, dtype=np.int64)
    return ends - 60 * length, ends


def test_many_short_windows_fill_all_blocks_evenly():
    starts, ends = windows_every(5, count=3200, length=60)

    blocks = blocks_of_windows(starts, ends)

    counts = np.bincount(blocks)
    assert len(counts) == MOST_BLOCKS == 32
    assert counts[:-1].min() >= counts[:-1].max() - 1
    assert counts[-1] <= counts[0]


@pytest.mark.parametrize("count", [1, 2, 31, 32, 33, 1000])
def test_there_are_never_more_than_32_blocks(count):
    starts, ends = windows_every(1, count=count, length=1)

    blocks = blocks_of_windows(starts, ends)

    assert np.unique(blocks).tolist() == list(range(min(count, 32)))


def test_a_block_is_as_long_as_the_longest_window_and_follows_the_clock_where_some_are_missing():
    starts, ends = windows_every(60, count=24 * 10, length=24 * 60)
    days = (ends - ends[0]) // 86_400
    weekend = (days == 4) | (days == 5)

    blocks, without_weekend = (
        blocks_of_windows(starts[some], ends[some]) for some in (days >= 0, ~weekend)
    )

    assert np.bincount(blocks).tolist() == [24] * 10  # one day each
    assert np.unique(without_weekend).tolist() == [0, 1, 2, 3, 6, 7, 8, 9]


def test_windows_with_a_block_between_them_share_no_bar():
    rng = np.random.default_rng(0)
    ends = np.sort(60 * rng.integers(0, 5000, size=400))
    starts = ends - 60 * rng.integers(10, 200, size=400)

    blocks = blocks_of_windows(starts, ends)

    for block in range(blocks.max() - 1):
        assert ends[blocks == block].max() <= starts[blocks == block + 2].min()


def test_every_block_has_the_sums_over_its_own_scored_bars_and_of_0_without_windows(decoded, batch):
    blocks = torch.arange(len(batch.targets)) % 3

    sums = block_sums(decoded, batch, blocks, count=3)
    with_empty_blocks = block_sums(decoded, batch, 2 * blocks, count=5)

    assert sums.shape == (3, 4, 3, 6)
    assert sums.dtype == torch.float64
    for timeframe in range(3):
        for block in range(3):
            windows = blocks == block
            scored = batch.scored[windows, timeframe]
            truth, mine = (
                values[windows, timeframe][scored].double().numpy()
                for values in (batch.targets, decoded)
            )
            expected = [
                np.full(4, len(truth)),
                truth.sum(axis=0),
                mine.sum(axis=0),
                np.square(truth).sum(axis=0),
                np.square(mine).sum(axis=0),
                (truth * mine).sum(axis=0),
            ]
            np.testing.assert_allclose(
                sums[timeframe, :, block].T, np.stack(expected), rtol=1e-12, atol=1e-9
            )
    assert with_empty_blocks.shape[2] == 5
    assert not with_empty_blocks[:, :, [1, 3]].any()
