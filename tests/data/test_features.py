import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic_series import series_config, series_of, waves

from stage1.base.errors import DataError
from stage1.data.batches import MarketWindows
from stage1.data.features import (
    FEATURES,
    SMALLEST_SCALE,
    SMALLEST_SHARE,
    features_of_channels,
    interpolate,
    kind_of,
    normalise,
    per_bar,
    visible_features,
    window_statistics,
)
from stage1.model.consistency import compare, cross_timeframe_loss


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


def test_a_window_without_movement_stays_finite():
    prices = torch.full((1, 1, 8, 4), 0.3, dtype=torch.float64)
    hidden = torch.zeros(1, 1, 8, dtype=torch.bool)

    center, scale = window_statistics(prices, ~hidden)
    features = visible_features(normalise(prices, center, scale), hidden)

    assert scale.item() == SMALLEST_SCALE
    assert features.abs().max().item() < 1e-6


def test_the_body_is_the_share_of_the_range_between_open_and_close():
    bars = [
        ([1.0, 3.0, 0.0, 2.5], 0.5),
        ([2.5, 3.0, 0.0, 1.0], -0.5),
        ([0.0, 3.0, 0.0, 3.0], 1.0),
        ([2.0, 2.0, 2.0, 2.0], 0.0),
    ]
    targets = torch.tensor([[[prices for prices, _ in bars]]])

    features = visible_features(targets, torch.zeros(1, 1, 4, dtype=torch.bool))

    body = features[..., FEATURES.index("body")]
    assert body.ravel().tolist() == [share for _, share in bars]


@given(
    visible=st.lists(st.booleans(), min_size=2, max_size=24).filter(any), seed=st.integers(0, 99)
)
@settings(max_examples=80, deadline=None)
def test_the_baseline_is_numpy_s_interpolation_of_every_price(visible, seed):
    """Of each window and timeframe by itself; 0 in a timeframe without a visible bar."""
    hidden = np.stack([~np.array(visible), ~np.array(visible)[::-1]])
    targets = np.random.default_rng(seed).normal(0, 1, (2, len(visible), 4)).astype(np.float32)
    unread = np.where(hidden[..., None], np.float32("nan"), targets)
    nowhere = np.ones_like(hidden)

    line = interpolate(
        torch.from_numpy(np.stack([unread, unread])), torch.from_numpy(np.stack([hidden, nowhere]))
    ).numpy()

    places = np.arange(len(visible))
    for timeframe, price in np.ndindex(2, 4):
        seen = ~hidden[timeframe]
        expected = np.interp(places, places[seen], targets[timeframe, seen, price])
        np.testing.assert_allclose(line[0, timeframe, :, price], expected, rtol=0, atol=2e-6)
    np.testing.assert_array_equal(line[0][~hidden], targets[~hidden])
    assert not line[1].any()


CONFIG = series_config()
VALUES = waves()


def windows_over(values, config=CONFIG, **options):
    return MarketWindows(series_of(values, config.data.timeframes, **options), config.data)


def first_batch(windows, config=CONFIG):
    return next(windows.training_batches(config, windows.plan_epoch(config, 0)))


@pytest.mark.parametrize("normalization", ["instance", "zscore"])
def test_normalising_can_be_undone_and_takes_the_unit_of_a_channel_away(normalization):
    config = series_config(data={"normalization": normalization})
    other_units = VALUES * [-3.0, 1e-6, 1e3] + [0.0, 5.0, -1e6]

    batch, other = (
        first_batch(windows_over(values, config), config) for values in (VALUES, other_units)
    )

    signs = torch.tensor([-1.0, 1.0, 1.0])
    torch.testing.assert_close(other.targets, batch.targets * signs, rtol=1e-4, atol=1e-4)
    back = (batch.targets.double() * per_bar(batch.scale) + per_bar(batch.center)).numpy()
    for index, bars in enumerate(series_of(VALUES).values()):
        places = np.searchsorted(bars.open_time, batch.open_time[:, index].numpy())
        size = bars.prices.std(axis=0)
        np.testing.assert_allclose(back[:, index] / size, bars.prices[places] / size, atol=1e-5)


def test_every_channel_has_the_mean_and_deviation_of_its_visible_steps():
    batch = first_batch(windows_over(VALUES))

    seen = torch.where(batch.hidden.unsqueeze(-1), torch.nan, batch.targets.double()).numpy()

    np.testing.assert_allclose(np.nanmean(seen, axis=2), 0, atol=1e-5)
    np.testing.assert_allclose(np.nanstd(seen, axis=2), 1, atol=1e-5)


def test_a_channel_that_rests_in_a_window_is_measured_by_its_movement_elsewhere():
    values = VALUES.copy()
    values[:100, 1] = 7.0
    windows = windows_over(values)
    early = windows.split.training.take(windows.split.training.ends <= 100 * 60)
    uniforms = np.random.default_rng(0).random((len(early.ends), 2, 8))

    hidden = windows.hide(early, CONFIG.masking, uniforms, (0.25, 0.25))

    batch = windows.resident.gather(*hidden, windows.training_statistics)

    finest = series_of(values)["x1"]
    training = finest.prices[finest.open_time + 60 <= windows.split.boundary, 1]
    assert len(batch.targets) == 37
    assert (batch.targets[..., 1] == 0).all()
    expected = SMALLEST_SHARE * training.std()
    np.testing.assert_allclose(batch.scale[..., 1], expected, rtol=1e-9)


def test_a_channel_that_never_moves_is_refused():
    values = VALUES.copy()
    values[:350, 1] = 7.0

    with pytest.raises(DataError, match=r"channel wave1 must move in the training split, got 7"):
        windows_over(values)


def test_a_step_is_seen_by_its_channels_and_their_changes():
    targets = torch.tensor([[1.0, 10.0], [3.0, 5.0], [4.0, 0.0], [8.0, 2.0]])[None, None]
    hidden = torch.tensor([False, False, True, False])[None, None]

    seen = features_of_channels(targets, hidden)[0, 0]

    expected = [[1, 10, 0, 0], [3, 5, 2, -5], [0, 0, 0, 0], [8, 2, 0, 0]]
    assert seen.tolist() == expected
    assert kind_of(CONFIG.data).features == 2 * 3


@pytest.mark.parametrize("normalization", ["instance", "zscore"])
def test_hidden_values_change_nothing_that_the_model_sees(normalization):
    config = series_config(data={"normalization": normalization})
    windows = windows_over(VALUES, config)
    plan = windows.plan_epoch(config, 0)
    plan = plan._replace(order=plan.order[:, :1], uniforms=plan.uniforms[:, :1])
    before = next(windows.training_batches(config, plan))
    scored = before.open_time[0, 0][before.scored[0, 0]].numpy() // 60
    values = VALUES.copy()
    values[scored] += 1e4  # the coarser bars that hold them change too

    changed = windows_over(values, config)
    changed.training_statistics = windows.training_statistics
    after = next(changed.training_batches(config, plan))

    assert len(scored) > 0
    assert not torch.equal(after.targets, before.targets)
    for name in ("features", "center", "scale", "hidden"):
        assert torch.equal(getattr(after, name), getattr(before, name)), name


def test_validation_windows_before_1970_hide_each_its_own_steps():
    windows = windows_over(VALUES, numbers=np.arange(-2000, -1600))

    batches = windows.validation_batches(CONFIG.masking)

    hidden = torch.cat([batch.hidden for batch in batches])
    assert windows.split.validation.ends.max() < 0
    assert len(torch.unique(hidden, dim=0)) > len(hidden) / 2


def test_a_true_series_with_gaps_is_consistent():
    config = series_config(data={"timeframes": ["x1", "x4", "x16"], "seq_len": 32, "max_gap": 9})
    numbers = np.flatnonzero(np.arange(3000) % 37 > 3)  # some x4 are of fewer rows than others
    windows = windows_over(waves(len(numbers)), config, numbers=numbers)
    batch = first_batch(windows, config)

    comparisons = list(compare(batch.targets, batch, config.data))

    assert cross_timeframe_loss(batch.targets, batch, config.data) < 1e-8
    assert cross_timeframe_loss(batch.targets + 1, batch, config.data) > 0.01
    assert [(one.coarse, one.finer) for one in comparisons] == [(1, 0), (2, 0)]
    assert all(len(one.bars.places) > 0 for one in comparisons)


def test_too_few_rows_say_how_many_are_needed():
    with pytest.raises(
        DataError,
        match=r"must span at least 230 steps without a gap over 0 steps .* got 200 steps, the "
        r"longest stretch without one 140 before the split and 60 after it, where 69 are needed; "
        "add data",
    ):
        windows_over(VALUES[:200])
