import numpy as np
import pytest
import torch
from compared_by_hand import compared_by_hand
from synthetic_bars import m1_bars, market
from tiny_training import BOTH_KINDS, tiny_batch, tiny_config

from stage1.base.steps import STANDARD
from stage1.data.bars import resample
from stage1.data.batches import MarketWindows
from stage1.data.features import aggregate_bars
from stage1.data.hiding import NO_TIME
from stage1.model.consistency import compare, consistency_ratio, cross_timeframe_loss, whole_bars

GAPS = [
    pytest.param(range(2000), id="no gaps"),
    pytest.param([m for m in range(2000) if m % 11 != 3], id="a minute missing here and there"),
    pytest.param([m for m in range(4000) if m % 10 < 6], id="every other coarse bar cut"),
]
KINDS = [
    pytest.param({"seq_len": 16}, False, id="windows of equal length"),
    pytest.param({"seq_len": 64}, True, id="calendar windows"),
    pytest.param({"seq_len": 64, "sampling_probs": {"m5": 0.5}}, True, id="m5 sometimes absent"),
]


def windows_over(minutes, data=None, calendar=False, **masking):
    """The first training batch of windows over these minutes."""
    config = tiny_config(
        data={"seq_len": 16, "validation_windows": 500} | (data or {}),
        model={"async_sampler": calendar},
        masking=masking,
        training={"batch_size": 6},
    )
    windows = MarketWindows.of(market(minutes, config.data.timeframes), config)
    return config, tiny_batch(config, windows)


def loss_of(decoded, batch, config):
    return cross_timeframe_loss(decoded, batch, config.data)


def ratio_of(bars, batch, config):
    return consistency_ratio(compare(bars, batch, config.data), batch.hidden)


def noisy(batch, generator, *, size=0.3):
    return batch.targets + size * torch.randn(batch.targets.shape, generator=generator)


def true_log_prices(bars, batch, timeframes):
    """The bars of a batch as they are in the market, float32; any at padding."""
    parts = []
    for index, name in enumerate(timeframes):
        rows = np.searchsorted(bars[name].open_time, batch.open_time[:, index].numpy())
        rows = np.minimum(rows, len(bars[name].open_time) - 1)
        parts.append(np.log(bars[name].prices[rows]).astype(np.float32))
    return torch.from_numpy(np.stack(parts, axis=1))


# Which bars -------------------------------------------------------------------------------------


def test_bars_are_aggregated_as_when_they_are_prepared():
    bars = m1_bars(range(3, 33))
    coarse = resample(bars, 5)
    times = [torch.from_numpy(one.open_time)[None] for one in (bars, coarse)]

    whole = whole_bars(*times, fine_minutes=1, coarse_minutes=5)

    assert whole.places[whole.there].tolist() == [1, 2, 3, 4, 5]  # of 7: cut at both ends
    together = aggregate_bars(torch.from_numpy(bars.prices)[whole.parts[whole.there]])
    np.testing.assert_array_equal(together, coarse.prices[1:-1])


def test_padding_is_no_bar_and_no_part_of_one():
    times = torch.full((2, 15), int(NO_TIME))
    times[0, :11] = 60 * torch.arange(11)
    coarse = torch.full((2, 15), int(NO_TIME))
    coarse[:, :3] = 300 * torch.arange(3)

    whole = whole_bars(times, coarse, fine_minutes=1, coarse_minutes=5)

    assert whole.places[whole.there].tolist() == [0, 1]
    assert whole.parts[whole.there].tolist() == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]


# The loss ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("minutes", GAPS)
@pytest.mark.parametrize(("data", "calendar"), KINDS)
def test_the_loss_compares_coarse_bars_whose_every_part_is_there_and_is_0_where_they_aggregate(
    data, calendar, minutes, generator
):
    config, batch = windows_over(minutes, data, calendar)
    decoded = noisy(batch, generator)
    bars = true_log_prices(market(minutes, config.data.timeframes), batch, config.data.timeframes)
    units = {"center": torch.zeros_like(batch.center), "scale": torch.ones_like(batch.scale)}

    loss = loss_of(decoded, batch, config)
    loss_in_common_units = loss_of(bars, batch._replace(**units), config)

    compared = compared_by_hand(decoded, batch, config.data.minutes)
    expected = np.mean([np.square(one.difference) for one in compared])
    assert expected > 0.01
    assert loss.item() == pytest.approx(expected, rel=1e-4)
    assert loss_in_common_units.item() == 0


def test_every_timeframe_is_compared_with_every_finer_one():
    config, batch = windows_over(range(6000), {"timeframes": list(STANDARD), "seq_len": 500}, True)

    comparisons = compare(batch.targets, batch, config.data)

    found = [(one.coarse, one.finer) for one in comparisons if one.bars.there.any()]

    assert found == [(coarse, finer) for coarse in range(6) for finer in range(coarse)]


@pytest.mark.parametrize("normalization", ["instance", "zscore"])
@pytest.mark.parametrize(("data", "calendar"), KINDS)
def test_the_loss_of_the_truth_is_rounding_alone_after_normalisation(data, calendar, normalization):
    config, batch = windows_over(range(2000), data | {"normalization": normalization}, calendar)

    loss = loss_of(batch.targets, batch, config)

    assert 0 < loss.item() <= 1e-5


@pytest.mark.parametrize(
    ("minutes", "seq_len", "calendar"),
    [(11_000, 8, False), (6000, 500, True)],
    ids=["equal lengths", "calendar"],
)
def test_bars_that_do_not_aggregate_pull_on_every_timeframe_of_every_window_and_on_no_padding(
    minutes, seq_len, calendar, generator
):
    data = {"timeframes": list(STANDARD), "seq_len": seq_len}
    config, batch = windows_over(range(minutes), data, calendar)
    decoded = noisy(batch, generator).requires_grad_()

    loss = loss_of(decoded, batch, config)
    loss.backward()

    assert loss.item() > 1e-3
    assert (decoded.grad.abs().amax(dim=(2, 3)) > 0).all()
    assert not decoded.grad[~batch.real].any()


def test_what_is_decoded_at_padding_changes_nothing(generator):
    config, batch = windows_over(range(2000), {"seq_len": 64}, True)
    decoded = noisy(batch, generator)
    elsewhere = decoded.masked_fill(~batch.real.unsqueeze(-1), float("nan"))

    losses = [loss_of(bars, batch, config) for bars in (decoded, elsewhere)]

    assert torch.equal(*losses)


def test_the_loss_is_measured_in_deviations_of_the_coarse_timeframe():
    config = tiny_config(data={"timeframes": ["m1", "m5"]})
    batch = tiny_batch(config)
    decoded = batch.targets.clone()
    decoded[:, 1] += 0.25  # deviations

    loss = loss_of(decoded, batch, config)

    assert loss.item() == pytest.approx(0.25**2, rel=1e-4)


@BOTH_KINDS
def test_without_a_comparable_bar_the_loss_is_0_and_has_a_gradient_of_0(calendar):
    minutes = [minute for minute in range(3000) if minute % 5 != 2]  # every m5 bar lacks one
    data = {"timeframes": ["m1", "m5"], "seq_len": 64 if calendar else 16}
    config, batch = windows_over(minutes, data, calendar)
    decoded = batch.targets.clone().requires_grad_()

    loss = loss_of(decoded, batch, config)
    loss.backward()

    assert loss.item() == 0
    assert not decoded.grad.any()


# The metric -------------------------------------------------------------------------------------


@pytest.mark.parametrize("minutes", GAPS)
@pytest.mark.parametrize(("data", "calendar"), KINDS)
@pytest.mark.parametrize("upward", [True, False], ids=["hidden upward", "hidden each by itself"])
def test_the_ratio_is_the_share_of_prices_with_a_decoded_part_that_are_within_a_tenth(
    upward, data, calendar, minutes, generator
):
    config, batch = windows_over(minutes, data, calendar, sync_across_tf=upward)
    bars = noisy(batch, generator, size=0.1)

    ratio = ratio_of(bars, batch, config)

    hidden = batch.hidden.numpy()
    compared = list(compared_by_hand(bars, batch, config.data.minutes))
    of_decoded = [hidden[one.coarse] or hidden[one.parts].any() for one in compared]
    agree = np.array([np.abs(one.difference) <= 0.1 for one in compared])
    assert 0.1 < ratio < 0.9
    assert ratio == agree[np.array(of_decoded)].mean()


def test_a_price_that_is_no_number_does_not_agree():
    config, batch = windows_over(range(2000))
    bars = torch.full_like(batch.targets, float("nan"))

    assert ratio_of(bars, batch, config) == 0


@pytest.mark.parametrize("why", ["nothing is hidden", "a minute is missing everywhere"])
def test_where_nothing_can_be_compared_there_is_no_ratio(why):
    missing = 2 if "missing" in why else None
    minutes = [minute for minute in range(2000) if minute % 5 != missing]
    config, batch = windows_over(minutes, {"timeframes": ["m1", "m5"]})
    if "hidden" in why:
        batch = batch._replace(hidden=torch.zeros_like(batch.hidden))

    assert ratio_of(batch.targets, batch, config).isnan()
