import numpy as np
import pytest
import torch
from synthetic_bars import m1_bars, market
from tiny_training import tiny_batch, tiny_config

from stage1.config import Config, LossConfig
from stage1.data.batches import MarketWindows
from stage1.data.resample import resample
from stage1.model import losses
from stage1.model.losses import (
    aggregate_to_clock,
    cross_timeframe_loss,
    masked_mean,
    reconstruction_loss,
    total_loss,
)
from stage1.timeframes import MINUTES

CROSS = {"loss": {"weights.cross": 0.5}}


def minutes_of(config):
    return tuple(MINUTES[name] for name in config.data.timeframes)


def true_log_prices(bars, batch, timeframes):
    """The bars of a batch as they are in the market, float32."""
    parts = []
    for index, name in enumerate(timeframes):
        rows = np.searchsorted(bars[name].open_time, batch.open_time[:, index].numpy())
        parts.append(np.log(bars[name].prices[rows]).astype(np.float32))
    return torch.from_numpy(np.stack(parts, axis=1))


def windows_over(minutes, **data):
    """A batch of all windows over these minutes."""
    config = tiny_config(data={"seq_len": 16, "validation_windows": 500, **data})
    windows = MarketWindows(market(minutes, config.data.timeframes), config.data)
    return config, next(windows.training_batches(config, windows.plan_epoch(config, 0)))


def huber_by_hand(error, delta):
    small = 0.5 * error**2
    large = delta * (np.abs(error) - 0.5 * delta)
    return np.where(np.abs(error) <= delta, small, large)


@pytest.mark.parametrize("delta", [0.3, 1.0, 4.0])
def test_the_reconstruction_loss_is_the_mean_huber_loss_of_scored_bars(delta, generator):
    batch = tiny_batch(tiny_config())
    decoded = torch.randn(batch.targets.shape, generator=generator)

    loss = reconstruction_loss(decoded, batch.targets, batch.scored, delta=delta)

    error = (decoded - batch.targets).double().numpy()[batch.scored.numpy()]
    assert loss.item() == pytest.approx(huber_by_hand(error, delta).mean(), rel=1e-6)


@pytest.mark.parametrize("which", ["visible", "hidden and not scored"])
def test_the_reconstruction_loss_ignores_all_bars_but_the_scored(which, generator):
    batch = tiny_batch(tiny_config())
    decoded = torch.randn(batch.targets.shape, generator=generator)
    chosen = ~batch.hidden if which == "visible" else batch.hidden & ~batch.scored
    assert chosen.any()
    elsewhere = decoded.masked_fill(chosen.unsqueeze(-1), 1e6)

    one, two = (
        reconstruction_loss(values, batch.targets, batch.scored, delta=1.0)
        for values in (decoded, elsewhere)
    )

    assert torch.equal(one, two)


def test_padded_targets_change_nothing(generator):
    batch = tiny_batch(tiny_config())
    decoded = torch.randn(batch.targets.shape, generator=generator)
    padded = batch.targets.masked_fill(~batch.scored.unsqueeze(-1), float("nan"))

    one, two = (
        reconstruction_loss(decoded, targets, batch.scored, delta=1.0)
        for targets in (batch.targets, padded)
    )

    assert torch.equal(one, two)


def test_the_gradient_of_the_reconstruction_loss_reaches_the_scored_bars_alone(generator):
    batch = tiny_batch(tiny_config())
    decoded = torch.randn(batch.targets.shape, generator=generator, requires_grad=True)

    reconstruction_loss(decoded, batch.targets, batch.scored, delta=1.0).backward()

    assert torch.equal((decoded.grad != 0).all(dim=-1), batch.scored)


def test_the_mean_over_nothing_is_0():
    nothing = torch.zeros(2, 3, dtype=torch.bool)

    assert masked_mean(torch.full((2, 3), float("nan")), nothing).item() == 0


def test_bars_are_aggregated_as_when_they_are_prepared():
    bars = m1_bars(range(3, 33))
    coarse = resample(bars, 5)
    times = torch.from_numpy(bars.open_time)[None]

    aggregated, complete = aggregate_to_clock(
        torch.from_numpy(bars.prices)[None], times, torch.from_numpy(coarse.open_time)[None], bars=5
    )

    assert complete[0].tolist() == [False, *[True] * 5, False]  # cut at both ends
    np.testing.assert_array_equal(aggregated[0, 1:-1], coarse.prices[1:-1])


def test_a_coarse_bar_with_a_missing_minute_is_not_complete():
    minutes = [minute for minute in range(20) if minute != 7]
    bars = m1_bars(minutes)

    _, complete = aggregate_to_clock(
        torch.from_numpy(bars.prices)[None],
        torch.from_numpy(bars.open_time)[None],
        torch.from_numpy(resample(bars, 5).open_time)[None],
        bars=5,
    )

    assert complete[0].tolist() == [True, False, True, True]


def cross_by_hand(decoded, batch, minutes):
    """The cross-timeframe loss, bar by bar, in log prices."""
    center, scale = batch.center.numpy(), batch.scale.numpy()
    squares = []
    for window, times in enumerate(batch.open_time.tolist()):
        prices = decoded[window].double().numpy() * scale[window][:, None, None]
        prices = prices + center[window][:, None, None]
        for index in range(1, len(minutes)):
            row_of = {time: row for row, time in enumerate(times[index - 1])}
            for bar, time in enumerate(times[index]):
                inside = range(time, time + 60 * minutes[index], 60 * minutes[index - 1])
                if not all(part in row_of for part in inside):
                    continue
                fine = prices[index - 1, [row_of[part] for part in inside]]
                whole = [fine[0, 0], fine[:, 1].max(), fine[:, 2].min(), fine[-1, 3]]
                squares += ((whole - prices[index, bar]) / scale[window, index]).tolist()
    return np.square(squares).mean() if squares else 0.0


GAPS = [
    pytest.param(range(2000), id="no gaps"),
    pytest.param([m for m in range(2000) if m % 11 != 3], id="a minute missing here and there"),
    pytest.param([m for m in range(4000) if m % 10 < 6], id="every other coarse bar cut"),
]


@pytest.mark.parametrize("minutes", GAPS)
def test_the_cross_loss_compares_exactly_the_coarse_bars_whose_every_minute_is_there(
    minutes, generator
):
    config, batch = windows_over(minutes)
    decoded = torch.randn(batch.targets.shape, generator=generator)

    loss = cross_timeframe_loss(
        decoded, batch.open_time, batch.center, batch.scale, minutes_of(config)
    )

    expected = cross_by_hand(decoded, batch, minutes_of(config))
    assert expected > 0.1
    assert loss.item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("minutes", GAPS)
def test_the_cross_loss_of_bars_that_aggregate_is_exactly_0_in_common_units(minutes):
    config, batch = windows_over(minutes)
    bars = true_log_prices(market(minutes, config.data.timeframes), batch, config.data.timeframes)
    center, scale = torch.zeros_like(batch.center), torch.ones_like(batch.scale)

    loss = cross_timeframe_loss(bars, batch.open_time, center, scale, minutes_of(config))

    assert loss.item() == 0


@pytest.mark.parametrize("normalization", ["instance", "zscore"])
def test_the_cross_loss_of_the_truth_is_rounding_alone_after_normalisation(normalization):
    config, batch = windows_over(range(2000), normalization=normalization)

    loss = cross_timeframe_loss(
        batch.targets, batch.open_time, batch.center, batch.scale, minutes_of(config)
    )

    assert 0 < loss.item() <= 1e-5


def test_the_cross_loss_of_bars_that_do_not_aggregate_pulls_on_every_timeframe(generator):
    config, batch = windows_over(range(11_000), timeframes=list(MINUTES), seq_len=8)
    decoded = batch.targets + 0.3 * torch.randn(batch.targets.shape, generator=generator)
    decoded.requires_grad_()

    loss = cross_timeframe_loss(
        decoded, batch.open_time, batch.center, batch.scale, minutes_of(config)
    )
    loss.backward()

    assert loss.item() > 1e-3
    assert (decoded.grad.abs().amax(dim=(2, 3)) > 0).all()  # in every single window


def test_the_cross_loss_is_measured_in_deviations_of_the_coarse_timeframe():
    config = tiny_config(data={"timeframes": ["m1", "m5"]})
    batch = tiny_batch(config)
    decoded = batch.targets.clone()
    decoded[:, 1] += 0.25  # deviations

    loss = cross_timeframe_loss(
        decoded, batch.open_time, batch.center, batch.scale, minutes_of(config)
    )

    assert loss.item() == pytest.approx(0.25**2, rel=1e-4)


def test_without_a_comparable_bar_the_cross_loss_is_0_and_has_a_gradient_of_0():
    minutes = [minute for minute in range(2000) if minute % 5 != 2]
    config, batch = windows_over(minutes, timeframes=["m1", "m5"])
    decoded = batch.targets.clone().requires_grad_()

    loss = cross_timeframe_loss(
        decoded, batch.open_time, batch.center, batch.scale, minutes_of(config)
    )
    loss.backward()

    assert loss.item() == 0
    assert not decoded.grad.any()


def test_the_cross_loss_computes_in_float32_whatever_comes_in():
    config = tiny_config()
    batch = tiny_batch(config)

    loss = cross_timeframe_loss(
        batch.targets.bfloat16(), batch.open_time, batch.center, batch.scale, minutes_of(config)
    )

    assert loss.dtype == torch.float32


def test_the_total_is_the_weighted_sum(generator):
    config = tiny_config(loss={"weights.recon_tf": 2.0, "weights.cross": 0.5, "huber_delta": 0.7})
    batch = tiny_batch(config)
    decoded = torch.randn(batch.targets.shape, generator=generator)

    total = total_loss(decoded, batch, config.loss, minutes_of(config))

    reconstruction = reconstruction_loss(decoded, batch.targets, batch.scored, delta=0.7)
    cross = cross_by_hand(decoded, batch, minutes_of(config))
    assert total.item() == pytest.approx(2 * reconstruction.item() + 0.5 * cross, rel=1e-4)


def test_a_weight_of_0_computes_nothing(monkeypatch):
    def must_not_be_called(*arguments):
        raise AssertionError("computed")

    monkeypatch.setattr(losses, "cross_timeframe_loss", must_not_be_called)
    config = tiny_config()
    batch = tiny_batch(config)

    total = total_loss(batch.targets, batch, config.loss, minutes_of(config))

    assert total.item() == 0
    with pytest.raises(AssertionError, match="computed"):
        total_loss(batch.targets, batch, tiny_config(**CROSS).loss, minutes_of(config))


def test_the_default_objective_is_reconstruction_alone():
    assert LossConfig() == Config().loss
    assert Config().loss.weights.cross == 0
