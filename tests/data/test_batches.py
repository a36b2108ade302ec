import hashlib

import numpy as np
import pandas as pd
import pytest
import torch
from synthetic_bars import MIDNIGHT, data_config, market

from stage1.base.errors import DataError
from stage1.base.steps import MINUTES
from stage1.config import Config, MaskingConfig, with_values
from stage1.data.batches import MarketWindows, WholeWindows, chained_sha256

GAPPY = [*range(300), *range(303, 700), *range(730, 1500)]
MASKING = MaskingConfig(mask_ratio=0.25, mask_span_min=2, mask_span_max=3)


def config_of(data, **dotted):
    """Three steps of five windows, everything else as given."""
    values = {"training.steps_per_epoch": 3, "training.batch_size": 5} | dotted
    base = Config(data=data, masking=MASKING, transfer_learning={"patch_len": 4})
    return with_values(base, values)


@pytest.fixture(scope="module")
def windows():
    return MarketWindows(market(GAPPY), data_config())


def bars_by_pandas(bars, timeframe, end, count):
    """The last completed bars at an instant."""
    frame = pd.DataFrame(
        bars[timeframe].prices,
        pd.to_datetime(bars[timeframe].open_time, unit="s"),
        columns=["open", "high", "low", "close"],
    )
    length = pd.Timedelta(minutes=MINUTES[timeframe])
    completed = frame[frame.index + length <= pd.Timestamp(end, unit="s")]
    return completed if count is None else completed.tail(count)


def features_by_hand(prices, visible):
    """Rows of open, high, low, close, delta close, body; all 0 where hidden."""
    rows = []
    for place, (open_, high, low, close) in enumerate(prices):
        if not visible[place]:
            rows.append([0.0] * 6)
            continue
        both = place > 0 and visible[place - 1]
        delta = close - prices[place - 1][3] if both else 0.0
        rows.append([open_, high, low, close, delta, (close - open_) / (high - low)])
    return np.array(rows)


@pytest.mark.parametrize("normalization", ["instance", "zscore"])
def test_a_batch_holds_what_slicing_with_pandas_gives(normalization):
    bars, data = market(GAPPY), data_config(normalization=normalization, validation_share=0.2013)
    windows, config = MarketWindows(bars, data), config_of(data)
    assert windows.split.boundary % 60  # bars of both timeframes lie across the split
    plan = windows.plan_epoch(config, 0)

    batch = next(windows.training_batches(config, plan))

    chosen = windows.split.training.take(plan.order[0])
    for row, end in enumerate(chosen.ends.tolist()):
        for column, timeframe in enumerate(data.timeframes):
            frame = bars_by_pandas(bars, timeframe, end, data.seq_len)
            log_prices = np.log(frame.to_numpy())
            visible = ~batch.hidden[row, column].numpy()
            if normalization == "instance":
                measured = log_prices[visible]
            else:
                training = bars_by_pandas(bars, timeframe, windows.split.boundary, None)
                measured = np.log(training.to_numpy())
            center, scale = measured.mean(), measured.std()
            targets = (log_prices - center) / scale
            cell = (row, column)
            stamps = frame.index.astype("datetime64[s]").astype("int64")
            assert batch.open_time[cell].tolist() == stamps.tolist()
            assert batch.center[cell].item() == pytest.approx(center, rel=1e-9)
            assert batch.scale[cell].item() == pytest.approx(scale, rel=1e-9)
            np.testing.assert_allclose(batch.targets[cell], targets, rtol=0, atol=1e-5)
            expected = features_by_hand(batch.targets[cell].double().numpy(), visible)
            np.testing.assert_allclose(batch.features[cell], expected, rtol=0, atol=1e-5)


def test_training_bars_without_movement_stay_finite_under_zscore():
    bars = market(800)
    for series in bars.values():
        series.prices[:] = 1.25
    data = data_config(normalization="zscore")

    batch = MarketWindows(bars, data).validation_batches(MASKING)[0]

    assert batch.targets.abs().max().item() < 1e-3
    assert batch.features.isfinite().all()


@pytest.mark.parametrize("size", [70, 1000], ids=["short epochs", "epochs longer than the data"])
def test_every_window_is_used_equally_often_across_epochs(windows, size):
    config = config_of(windows.config, **{"training.batch_size": size})
    count = len(windows.split.training.ends)
    assert count % (3 * size)  # epochs and permutations do not end together

    used = np.zeros(count, dtype=int)
    for epoch in range(30):
        order = windows.plan_epoch(config, epoch).order
        assert order.shape == (3, size)
        used += np.bincount(order.ravel(), minlength=count)
        assert used.max() - used.min() <= 1

    assert used.min() > 1


def test_an_epoch_s_plan_depends_on_seed_and_epoch_only(windows):
    config = config_of(windows.config)
    plan = windows.plan_epoch(config, 3)
    windows.plan_epoch(config, 7)
    np.random.default_rng(0).random()

    again = MarketWindows(market(GAPPY), windows.config).plan_epoch(config, 3)

    assert np.array_equal(plan.order, again.order)
    assert np.array_equal(plan.uniforms, again.uniforms)
    for seed, epoch in ((0, 4), (1, 3)):
        other = windows.plan_epoch(with_values(config, {"training.seed": seed}), epoch)
        assert not np.array_equal(plan.order, other.order)
        assert not np.array_equal(plan.uniforms, other.uniforms)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"transfer_learning.patch_len": 8}, id="patch length"),
        pytest.param({"transfer_learning.initialization": "shuffled"}, id="arm"),
        pytest.param({"transfer_learning.use_pretrained_lm": False}, id="vanilla"),
        pytest.param({"training.optimizer.lr": 0.1, "model.dropout": 0.5}, id="optimisation"),
    ],
)
def test_batches_do_not_depend_on_the_model_or_the_arm(windows, changes):
    config = config_of(windows.config)
    other = with_values(config, changes)

    both = (windows.training_batches(c, windows.plan_epoch(c, 2)) for c in (config, other))

    for batch, twin in zip(*both, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(batch, twin, strict=True))


def hidden_by_end(data, *, calendar):
    windows = MarketWindows(market(GAPPY), data, calendar=calendar)
    hidden = torch.cat([batch.hidden for batch in windows.validation_batches(MASKING)])
    return dict(zip(windows.split.validation.ends.tolist(), hidden, strict=True))


@pytest.mark.parametrize("calendar", [False, True], ids=["equal lengths", "calendar"])
@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"validation_windows": 7}, id="another subset"),
        pytest.param({"stride": 3}, id="another stride"),
        pytest.param({"validation_share": 0.3}, id="another split"),
        pytest.param({"normalization": "zscore"}, id="another scale"),
    ],
)
def test_the_hidden_bars_of_a_validation_window_depend_on_its_end_only(changes, calendar):
    every = {"validation_windows": 1000, "seq_len": 64 if calendar else 16}

    one = hidden_by_end(data_config(**every), calendar=calendar)
    two = hidden_by_end(data_config(**every | changes), calendar=calendar)

    shared = one.keys() & two.keys()
    assert len(shared) >= 7
    assert all(torch.equal(one[end], two[end]) for end in shared)
    assert len({tuple(hidden.ravel().tolist()) for hidden in one.values()}) > len(one) / 2


def test_large_validation_sets_come_in_several_batches_with_nothing_lost():
    data = data_config(validation_windows=300, stride=1)
    windows = MarketWindows(market(2500), data)

    batches = windows.validation_batches(MASKING)

    newest = torch.cat([batch.open_time[:, 0, -1] for batch in batches]) + 60
    assert len(batches) == 5
    assert newest.tolist() == windows.split.validation.ends.tolist()


def test_a_timeframe_that_never_has_a_scored_bar_is_an_error():
    data = data_config(seq_len=8)
    windows = MarketWindows(market(range(0, 12_000, 30)), data)  # an m1 bar beneath every m5 bar

    with pytest.raises(DataError, match=r"every timeframe, got none in m5 of 40 .*; lower"):
        windows.validation_batches(MaskingConfig(mask_ratio=0.6, mask_span_min=5, mask_span_max=5))


def test_fingerprints_chain():
    first = hashlib.sha256(np.arange(3).tobytes()).hexdigest()
    second = hashlib.sha256(first.encode() + np.arange(5).tobytes()).hexdigest()

    assert chained_sha256(chained_sha256("", np.arange(3)), np.arange(5)) == second


@pytest.mark.parametrize("calendar", [False, True])
@pytest.mark.parametrize("sync", [False, True])
@pytest.mark.parametrize("ratio", [0.3, 0.5])
def test_the_named_timeframe_has_its_own_share_and_the_others_keep_theirs(calendar, sync, ratio):
    timeframes, masking = ("m1", "m5", "m15"), MaskingConfig(sync_across_tf=sync)
    data = data_config(timeframes=timeframes, seq_len=256, validation_windows=60)
    windows = MarketWindows(market(24_000, timeframes), data, calendar=calendar)

    plain, changed = (windows.validation_batches(masking, some) for some in (None, {"m5": ratio}))

    before, after = (torch.cat([batch.scored for batch in one]) for one in (plain, changed))
    lengths = torch.cat([batch.real for batch in plain]).sum(dim=2)
    drawn = after[:, 1].any(dim=1)
    shares = (after[:, 1].sum(dim=1) / lengths[:, 1])[drawn]
    assert shares.mean().item() == pytest.approx(ratio, abs=0.02)
    assert torch.equal(drawn, before[:, 1].any(dim=1))
    assert torch.equal(after[:, [0, 2]], before[:, [0, 2]])


MODES = [pytest.param(False, id="synchronous windows"), pytest.param(True, id="calendar windows")]


def whole(bars, data, *, calendar=False, statistics=None):
    if statistics is None:
        statistics = MarketWindows(bars, data, calendar=calendar).training_statistics
    return WholeWindows(bars, data, calendar=calendar, statistics=statistics)


def test_there_is_a_window_at_every_minute_with_enough_bars_behind_it_and_batches_are_in_order():
    windows = whole(market(1500), data_config())

    sizes = [len(batch.features) for batch in windows.batches(600)]
    together = torch.cat([batch.open_time for batch in windows.batches(600)])

    # The sixteenth bar of m5 ends 80 minutes after midnight; the last bar of m1 after 1500.
    assert ((windows.ends - MIDNIGHT) // 60).tolist() == list(range(80, 1501))
    assert len(windows) == 1421
    assert sizes == [600, 600, 221]
    assert torch.equal(together[:, 0, -1] + 60, torch.from_numpy(windows.ends))


@pytest.mark.parametrize("calendar", MODES)
def test_nothing_is_hidden_and_every_real_bar_has_its_features(calendar):
    windows = whole(market(1500), data_config(seq_len=32), calendar=calendar)

    for batch in windows.batches(100):
        assert not batch.hidden.any()
        assert not batch.scored.any()
        assert torch.equal(batch.features[..., :4], batch.targets)
        assert (batch.features[batch.real][:, 1] >= batch.features[batch.real][:, 2]).all()
        assert not batch.features[~batch.real].any()


def test_zscore_normalises_by_the_statistics_of_the_training_whatever_the_bars_are():
    data = data_config(normalization="zscore")
    statistics = MarketWindows(market(1500), data).training_statistics
    others = market(1500, seed=9)

    batch = whole(others, data, statistics=statistics).batch(np.array([0]))

    log_prices = np.log(others["m5"].prices[:16])
    expected = (log_prices - statistics.mean[1].item()) / statistics.deviation[1].item()
    np.testing.assert_allclose(batch.targets[0, 1], expected, atol=1e-4)


def test_a_single_window_is_enough_where_a_training_would_want_days():
    statistics = MarketWindows(market(1500), data_config()).training_statistics

    assert len(whole(market(80), data_config(), statistics=statistics)) == 1


@pytest.mark.parametrize("calendar", MODES)
def test_bars_without_a_window_or_a_timeframe_are_refused(calendar):
    data = data_config(seq_len=32)
    statistics = MarketWindows(market(1500), data, calendar=calendar).training_statistics

    with pytest.raises(DataError, match=r"must hold a window of 32 .*, got 20 bars of m1"):
        whole(market(20), data, calendar=calendar, statistics=statistics)
    with pytest.raises(DataError, match=r"trained on, m1, m5, got m1; make them with"):
        whole(market(1500, ("m1",)), data, calendar=calendar, statistics=statistics)
