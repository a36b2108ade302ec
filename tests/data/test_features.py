import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stage1.data.features import (
    FEATURES,
    SMALLEST_SCALE,
    interpolate,
    normalise,
    visible_features,
    window_statistics,
)


def random_prices(shape=(3, 2, 20), *, seed=0):
    """(batch, timeframe, time, 4) log prices with low <= open, close <= high."""
    generator = np.random.default_rng(seed)
    open_, close = generator.normal(0.1, 0.01, (2, *shape))
    high = np.maximum(open_, close) + generator.uniform(0, 0.01, shape)
    low = np.minimum(open_, close) - generator.uniform(0, 0.01, shape)
    return torch.from_numpy(np.stack([open_, high, low, close], axis=-1))


def random_hidden(shape=(3, 2, 20), *, seed=0):
    hidden = np.random.default_rng(seed).random(shape) < 0.3
    hidden[..., 0] = False
    return torch.from_numpy(hidden)


def feature(features, name):
    return features[..., FEATURES.index(name)].numpy()


@pytest.mark.parametrize("other", [float("nan"), 1e9], ids=["NaN", "huge"])
def test_hidden_values_change_no_feature_and_no_statistics(other):
    prices, hidden = random_prices(), random_hidden()
    changed = prices.masked_fill(hidden.unsqueeze(-1), other)

    outcomes = []
    for log_prices in (prices, changed):
        center, scale = window_statistics(log_prices, ~hidden)
        targets = normalise(log_prices, center, scale)
        line = interpolate(targets, hidden)
        outcomes.append([center, scale, visible_features(targets, hidden), line])

    for before, after in zip(*outcomes, strict=True):
        assert torch.equal(before, after)


def test_the_statistics_are_those_of_the_visible_bars_and_of_all_four_prices():
    prices, hidden = random_prices(), random_hidden()

    center, scale = window_statistics(prices, ~hidden)

    for window in range(3):
        for timeframe in range(2):
            seen = prices[window, timeframe].numpy()[~hidden[window, timeframe].numpy()]
            assert center[window, timeframe].item() == pytest.approx(seen.mean(), rel=1e-12)
            assert scale[window, timeframe].item() == pytest.approx(seen.std(), rel=1e-10)


def test_visible_targets_have_mean_0_and_deviation_1_and_keep_the_order_of_prices():
    prices, hidden = random_prices(), random_hidden()

    targets = normalise(prices, *window_statistics(prices, ~hidden))

    for window in range(3):
        for timeframe in range(2):
            seen = targets[window, timeframe][~hidden[window, timeframe]].double()
            assert seen.mean().item() == pytest.approx(0, abs=1e-6)
            assert seen.std(correction=0).item() == pytest.approx(1, abs=1e-6)
    open_, high, low, close = targets.unbind(-1)
    assert (low <= torch.minimum(open_, close)).all()
    assert (high >= torch.maximum(open_, close)).all()


def test_a_window_without_movement_stays_finite():
    prices = torch.full((1, 1, 8, 4), 0.3, dtype=torch.float64)
    hidden = torch.zeros(1, 1, 8, dtype=torch.bool)

    center, scale = window_statistics(prices, ~hidden)
    features = visible_features(normalise(prices, center, scale), hidden)

    assert scale.item() == SMALLEST_SCALE
    assert features.abs().max().item() < 1e-6


def test_delta_close_is_the_change_from_the_bar_before_if_both_are_visible():
    targets, hidden = random_prices().float(), random_hidden()

    delta = feature(visible_features(targets, hidden), "delta close")

    close, visible = targets[..., 3].numpy(), ~hidden.numpy()
    for place in np.ndindex(*close.shape):
        before = (*place[:2], place[2] - 1)
        both = place[2] > 0 and visible[place] and visible[before]
        assert delta[place] == (close[place] - close[before] if both else 0)


def test_the_body_is_the_share_of_the_range_between_open_and_close():
    bars = [
        ([1.0, 3.0, 0.0, 2.5], 0.5),
        ([2.5, 3.0, 0.0, 1.0], -0.5),
        ([0.0, 3.0, 0.0, 3.0], 1.0),
        ([2.0, 2.0, 2.0, 2.0], 0.0),
    ]
    targets = torch.tensor([[[prices for prices, _ in bars]]])

    body = feature(visible_features(targets, torch.zeros(1, 1, 4, dtype=torch.bool)), "body")

    assert body.ravel().tolist() == [share for _, share in bars]


def test_a_hidden_bar_has_no_features_and_a_visible_one_its_prices():
    targets, hidden = random_prices().float(), random_hidden()

    features = visible_features(targets, hidden)

    assert not features[hidden].any()
    assert torch.equal(features[~hidden][:, :4], targets[~hidden])


@given(
    visible=st.lists(st.booleans(), min_size=2, max_size=24).filter(any), seed=st.integers(0, 99)
)
@settings(max_examples=80, deadline=None)
def test_the_baseline_is_numpy_s_interpolation_of_every_price(visible, seed):
    hidden = ~np.array(visible)
    targets = np.random.default_rng(seed).normal(0, 1, (len(visible), 4)).astype(np.float32)
    unread = np.where(hidden[:, None], np.float32("nan"), targets)

    line = interpolate(torch.from_numpy(unread)[None, None], torch.from_numpy(hidden)[None, None])

    places = np.arange(len(visible))
    for price in range(4):
        expected = np.interp(places, places[~hidden], targets[~hidden, price])
        np.testing.assert_allclose(line[0, 0, :, price], expected, rtol=0, atol=2e-6)
    assert torch.equal(line[0, 0][~torch.from_numpy(hidden)], torch.from_numpy(targets[~hidden]))


def test_every_window_and_timeframe_is_interpolated_by_itself():
    targets, hidden = random_prices().float(), random_hidden()

    together = interpolate(targets, hidden)

    for window in range(3):
        for timeframe in range(2):
            cell = (slice(window, window + 1), slice(timeframe, timeframe + 1))
            assert torch.equal(together[cell], interpolate(targets[cell], hidden[cell]))


def test_a_timeframe_without_a_visible_bar_is_interpolated_as_0(generator):
    targets = torch.randn(2, 2, 5, 4, generator=generator)
    hidden = torch.zeros(2, 2, 5, dtype=torch.bool)
    hidden[1, 0] = True

    line = interpolate(targets, hidden)

    assert not line[1, 0].any()
    assert torch.equal(line[~hidden], targets[~hidden])
