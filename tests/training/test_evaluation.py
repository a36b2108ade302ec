import numpy as np
import pytest
import torch
from synthetic_bars import market
from synthetic_series import series_config, series_of, waves
from tiny_training import all_validation, saved_every_epoch, tiny_config, tiny_fit, tiny_module

from stage1.config import with_values
from stage1.data.batches import MarketWindows
from stage1.data.features import interpolate
from stage1.model.metrics import interpolated
from stage1.training import evaluation
from stage1.training.checkpoint import read_trained
from stage1.training.evaluation import (
    evaluate_checkpoint,
    excerpt_of,
    excerpts,
    excerpts_of,
    windows_to_show,
)

CONFIG = tiny_config()
NAMES = CONFIG.data.timeframes


@pytest.mark.parametrize(
    ("windows", "shown"),
    [
        pytest.param([range(10), [1, 4, 7, 8]], [(2, 0), (7, 0), (4, 1), (8, 1)], id="evenly"),
        pytest.param(
            [[0, 1]] * 6, [(0, 0), (1, 0), (0, 2), (1, 2), (0, 5), (1, 5)], id="ends and middle"
        ),
        pytest.param([[0, 1], [], [0, 1]], [(0, 0), (1, 0), (0, 2), (1, 2)], id="one never scored"),
        pytest.param([[0]], [(0, 0)], id="a single window once"),
        pytest.param([[], []], [], id="nothing scored"),
    ],
)
def test_windows_are_shown_evenly_of_at_most_three_timeframes_that_score_some(windows, shown):
    scored = torch.zeros(10, len(windows), 4, dtype=torch.bool)
    for timeframe, of_timeframe in enumerate(windows):
        scored[list(of_timeframe), timeframe, 1] = True

    assert windows_to_show(scored) == shown


@pytest.mark.parametrize("precision", ["tf32", "16-mixed"])
def test_a_cpu_evaluates_in_float32_what_was_trained_in_arithmetic_of_gpus(
    precision, tmp_path, monkeypatch
):
    tiny_fit(tiny_config(training={"epochs": 1}), **saved_every_epoch(tmp_path))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    trained = read_trained(tmp_path / "epoch=0.ckpt")
    config = with_values(trained.record.config, {"training.precision": precision})
    elsewhere = trained._replace(record=trained.record.model_copy(update={"config": config}))
    monkeypatch.setattr(evaluation, "bars_for", lambda *_: market(2000, NAMES))
    scores, lines = [], []

    for one in (trained, elsewhere):
        monkeypatch.setattr(evaluation, "read_trained", lambda path, one=one: one)
        scores.append(evaluate_checkpoint(trained.path, None, warn=lines.append).scores)

    assert scores[0].equals(scores[1])
    assert lines == [f"Warning: decoded in 32-true: {precision} wants a GPU, and none was found"]


@pytest.mark.parametrize(
    ("scored", "first", "length"),
    [
        pytest.param([3, 4], 0, 20, id="a short window whole"),
        pytest.param([100, 101], 69, 64, id="the scored bars in the middle"),
        pytest.param([2, 120, 121, 122], 90, 64, id="most of them"),
        pytest.param([199], 136, 64, id="at the end"),
    ],
)
def test_an_excerpt_has_the_most_scored_bars(scored, first, length):
    bars = np.zeros(20 if length == 20 else 200, dtype=bool)
    bars[scored] = True

    found = excerpt_of(bars)

    counts = [bars[start : start + length].sum() for start in range(len(bars) - length + 1)]
    assert bars[found].sum() == max(counts)
    assert found == slice(first, first + length)


def test_excerpts_are_in_units_of_price():
    batch = all_validation(CONFIG)
    decoded = batch.targets + 0.5

    shown = excerpts(decoded, interpolated(batch), batch, [(3, 1)], CONFIG.data)[0]

    bars = market(2000, NAMES)["m5"]
    places = np.searchsorted(bars.open_time, shown.open_time)
    np.testing.assert_allclose(shown.truth, bars.prices[places], rtol=1e-6)
    half = 0.5 * batch.scale[3, 1].item()
    np.testing.assert_allclose(shown.model, bars.prices[places] * np.exp(half), rtol=1e-6)
    line = interpolate(batch.targets, batch.hidden)[3, 1].double().numpy()
    logs = batch.center[3, 1].item() + batch.scale[3, 1].item() * line
    np.testing.assert_allclose(shown.line, np.exp(logs), rtol=1e-6)
    assert shown.timeframe == "m5"
    assert (shown.scored <= shown.hidden).all()
    assert shown.scored.any()


def test_padding_is_not_shown():
    config = tiny_config(data={"seq_len": 64}, model={"async_sampler": True})
    batch = all_validation(config)
    pairs = windows_to_show(batch.scored)

    found = excerpts(batch.targets, interpolated(batch), batch, pairs, config.data)
    for (window, index), shown in zip(pairs, found, strict=True):
        assert len(shown.truth) == batch.real[window, index].sum()
        assert (np.diff(shown.open_time) > 0).all()


def test_of_a_module_no_other_windows_are_decoded_than_those_that_are_shown(monkeypatch):
    module, batch, decoded = tiny_module(CONFIG), all_validation(CONFIG), []
    monkeypatch.setattr(
        module, "predict_step", lambda part, _: decoded.append(part) or part.targets
    )

    alone = excerpts_of(module)

    pairs = windows_to_show(batch.scored)
    whole = excerpts(batch.targets, interpolated(batch), batch, pairs, CONFIG.data)
    assert len(decoded[0].scored) <= 6 < len(batch.scored)
    for one, other in zip(whole, alone, strict=True):
        assert one.timeframe == other.timeframe
        assert np.array_equal(one.truth, other.truth)
        assert np.array_equal(one.line, other.line)


def test_excerpts_of_a_series_are_in_units_of_their_channels_which_come_in_turn():
    config = series_config(data={"step": "1mo"})
    series = series_of(waves())
    (batch,) = MarketWindows(series, config.data).validation_batches(config.masking)
    pairs = windows_to_show(batch.scored)

    decoded = batch.targets + 0.5
    shown = excerpts(decoded, interpolated(batch), batch, pairs, config.data)

    assert [one.timeframe for one in shown] == ["x1", "x1", "x4", "x4"]
    assert [one.channel for one in shown] == ["wave0", "wave1", "wave2", "wave0"]
    months = np.arange("1970-01", "2010-01", dtype="datetime64[M]").astype("datetime64[s]")
    for turn, (one, (window, index)) in enumerate(zip(shown, pairs, strict=True)):
        channel, bars = turn % 3, series[one.timeframe]
        places = np.searchsorted(months[bars.open_time // 60].astype(np.int64), one.open_time)
        truth = bars.prices[places, channel : channel + 1]
        size = bars.prices[:, channel].std()
        np.testing.assert_allclose(one.truth / size, truth / size, atol=1e-5)
        half = 0.5 * batch.scale[window, index, channel].item()
        np.testing.assert_allclose((one.model - one.truth) / half, 1, atol=1e-5)
