import numpy as np
import pytest
import torch
from synthetic_bars import data_config, market

from stage1.base.errors import DataError
from stage1.data.batches import MarketWindows, WholeWindows

MODES = [pytest.param(False, id="synchronous windows"), pytest.param(True, id="calendar windows")]


def whole(bars, data, *, calendar=False, statistics=None):
    if statistics is None:
        statistics = MarketWindows(bars, data, calendar=calendar).training_statistics
    return WholeWindows(bars, data, calendar=calendar, statistics=statistics)


def test_there_is_a_window_at_every_minute_that_has_enough_bars_behind_it():
    windows = whole(market(1500), data_config())

    # The sixteenth bar of m5 ends 80 minutes after midnight; the last bar of m1 after 1500.
    midnight = market(1)["m1"].open_time[0]
    assert ((windows.ends - midnight) // 60).tolist() == list(range(80, 1501))
    assert len(windows) == 1421


@pytest.mark.parametrize("calendar", MODES)
def test_nothing_is_hidden_and_every_real_bar_has_its_features(calendar):
    windows = whole(market(1500), data_config(seq_len=32), calendar=calendar)

    for batch in windows.batches(100):
        assert not batch.hidden.any()
        assert not batch.scored.any()
        assert torch.equal(batch.features[..., :4], batch.targets)
        assert (batch.features[batch.real][:, 1] >= batch.features[batch.real][:, 2]).all()
        assert not batch.features[~batch.real].any()


def test_a_window_is_normalised_by_its_own_bars():
    bars = market(1500)
    windows = whole(bars, data_config())

    batch = windows.batch(np.array([700]))

    last = np.searchsorted(bars["m1"].open_time + 60, windows.ends[700], side="right")
    log_prices = np.log(bars["m1"].prices[last - 16 : last])
    expected = (log_prices - log_prices.mean()) / log_prices.std()
    np.testing.assert_allclose(batch.targets[0, 0], expected, atol=1e-5)


def test_zscore_normalises_by_the_statistics_of_the_training_whatever_the_bars_are():
    data = data_config(normalization="zscore")
    statistics = MarketWindows(market(1500), data).training_statistics
    others = market(1500, seed=9)

    batch = whole(others, data, statistics=statistics).batch(np.array([0]))

    log_prices = np.log(others["m5"].prices[:16])
    expected = (log_prices - statistics.mean[1].item()) / statistics.deviation[1].item()
    np.testing.assert_allclose(batch.targets[0, 1], expected, atol=1e-4)


def test_batches_are_all_windows_in_order():
    windows = whole(market(1500), data_config())

    sizes = [len(batch.features) for batch in windows.batches(600)]
    together = torch.cat([batch.open_time for batch in windows.batches(600)])

    assert sizes == [600, 600, 221]
    assert torch.equal(together[:, 0, -1] + 60, torch.from_numpy(windows.ends))


def test_a_single_window_is_enough_where_a_training_would_want_days():
    bars = market(1500)
    statistics = MarketWindows(bars, data_config()).training_statistics

    windows = whole(market(80), data_config(), statistics=statistics)

    assert len(windows) == 1


@pytest.mark.parametrize("calendar", MODES)
def test_bars_without_a_window_are_refused(calendar):
    data = data_config(seq_len=32)
    statistics = MarketWindows(market(1500), data, calendar=calendar).training_statistics

    with pytest.raises(DataError, match=r"must hold a window of 32 .*, got 20 bars of m1"):
        whole(market(20), data, calendar=calendar, statistics=statistics)


def test_bars_without_a_timeframe_are_refused_by_the_names_of_both():
    statistics = MarketWindows(market(1500), data_config()).training_statistics

    with pytest.raises(DataError, match=r"trained on, m1, m5, got m1; make them with"):
        whole(market(1500, ("m1",)), data_config(), statistics=statistics)
