"""The model on calendar windows: dict in, dict out, and padding that nothing sees."""

import pytest
import torch
from synthetic_bars import market
from tiny_training import all_validation, tiny_batch, tiny_config, tiny_language_model

from stage1.config import with_values
from stage1.data.batches import MarketWindows
from stage1.model.by_timeframe import model_inputs, stacked
from stage1.model.stage1_model import build_model

LAYOUTS = [
    pytest.param({}, id="t5"),
    pytest.param({"model.cross_pairs": [["m1", "m5"], ["m5", "m15"]]}, id="t5 with cross pairs"),
    pytest.param({"transfer_learning.use_pretrained_lm": False}, id="vanilla"),
    pytest.param({"model.stem.width": 4, "model.stem.kernel": 5}, id="with a stem"),
    pytest.param({"model.bottleneck_stride": 4}, id="with a bottleneck"),
]


def calendar_config(changes=(), **sections):
    data = {"seq_len": 64, "sampling_probs": {"m5": 0.6, "m15": 0.6}}
    config = tiny_config(model={"async_sampler": True}, data=data, **sections)
    return with_values(config, dict(changes))


def built(config):
    uses_t5 = config.transfer_learning.use_pretrained_lm
    return build_model(config, tiny_language_model() if uses_t5 else None).model


def parts_of(config, batch):
    return model_inputs(batch, config.data.timeframes)


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("changes", LAYOUTS)
def test_padding_never_changes_an_output_at_a_real_bar(changes, training, generator):
    config = calendar_config(changes)
    model, batch = built(config).train(training), tiny_batch(config)
    features, hidden, real = parts_of(config, batch)
    noise = {name: 1e3 * torch.randn(f.shape, generator=generator) for name, f in features.items()}
    others = {
        name: torch.where(real[name].unsqueeze(-1), features[name], noise[name])
        for name in features
    }
    flipped = {name: hidden[name] ^ ~real[name] for name in hidden}

    before, after = model(features, hidden, real), model(others, flipped, real)

    assert any((~mask).any() for mask in real.values())
    for name, mask in real.items():
        bars = mask.shape[1]
        assert torch.equal(before[name][:, :bars][mask], after[name][:, :bars][mask])
        assert before[name].isfinite().all()


@pytest.mark.parametrize("changes", LAYOUTS)
def test_more_padding_and_padding_of_nan_change_nothing_either(changes):
    config = calendar_config(changes)
    model, batch = built(config), tiny_batch(config)
    features, hidden, real = parts_of(config, batch)
    wider = torch.nn.functional.pad
    longer = {n: wider(f, (0, 0, 0, 64 - f.shape[1]), value=torch.nan) for n, f in features.items()}
    masks = [
        {n: wider(mask, (0, 64 - mask.shape[1])) for n, mask in parts.items()}
        for parts in (hidden, real)
    ]

    before, after = model(features, hidden, real), model(longer, *masks)

    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("changes", LAYOUTS)
def test_both_ways_in_agree_where_all_timeframes_have_the_same_number_of_bars(changes):
    config = tiny_config()
    model, batch = built(with_values(config, dict(changes))), tiny_batch(config)
    names = config.data.timeframes

    whole = model(batch.features, batch.hidden)
    features, hidden, real = parts_of(config, batch)
    apart = model(features, hidden, real)
    without_masks = model(features, hidden)

    for index, name in enumerate(names):
        torch.testing.assert_close(apart[name], whole[:, index], rtol=1e-4, atol=1e-5)
        assert torch.equal(apart[name], without_masks[name])


@pytest.mark.parametrize("changes", LAYOUTS)
def test_every_timeframe_comes_back_with_room_for_all_bars(changes):
    config = calendar_config(changes)
    batch = tiny_batch(config)

    decoded = built(config)(*parts_of(config, batch))

    assert {name: tuple(part.shape) for name, part in decoded.items()} == {
        name: (len(batch.features), 64, 4) for name in decoded
    }


@pytest.mark.parametrize("changes", LAYOUTS)
def test_a_timeframe_that_no_window_has_is_neither_asked_for_nor_returned(changes):
    config = calendar_config(changes)
    model, batch = built(config), tiny_batch(config)
    features, hidden, real = (
        {name: part for name, part in parts.items() if name != "m5"}
        for parts in parts_of(config, batch)
    )

    decoded = model(features, hidden, real)
    sum(part.square().mean() for part in decoded.values()).backward()

    assert set(decoded) == {"m1", "m15"}
    assert all(part.isfinite().all() for part in decoded.values())
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


def test_a_window_s_output_does_not_depend_on_the_other_windows_of_its_batch():
    config = calendar_config()
    model, batch = built(config), all_validation(config)
    alone = type(batch)(*(tensor[:1] for tensor in batch))

    together, single = (model(*parts_of(config, some)) for some in (batch, alone))

    for name, part in single.items():
        real = alone.real[0, config.data.timeframes.index(name)]
        torch.testing.assert_close(part[0, real], together[name][0, real], rtol=1e-4, atol=1e-5)


def test_the_t5_is_called_once_for_all_windows_and_timeframes_that_are_there():
    config = calendar_config()
    model, batch, calls = built(config), tiny_batch(config), []
    model.encoder.t5.register_forward_pre_hook(
        lambda module, args, kwargs: calls.append(kwargs), with_kwargs=True
    )

    model(*parts_of(config, batch))

    (call,) = calls
    there = batch.real.any(dim=2)
    assert not there.all()
    assert call["inputs_embeds"].shape == (int(there.sum()), 64 // 4, 16)
    tokens = batch.real.unflatten(2, (-1, 4)).any(dim=-1)[there]
    assert torch.equal(call["attention_mask"], tokens)


def test_each_timeframe_uses_its_own_projection_in_calendar_windows_too():
    config = with_values(calendar_config(), {"data.sampling_probs": {}})
    model, batch = built(config), tiny_batch(config)
    before = model(*parts_of(config, batch))

    for index, changed in enumerate(config.data.timeframes):
        with torch.no_grad():
            model.encoder.embedding.projection.weight[index] += 0.1
        after = model(*parts_of(config, batch))

        for name in config.data.timeframes:
            assert torch.equal(before[name], after[name]) == (name != changed)
        before = after


def test_gradients_reach_every_parameter_of_every_timeframe():
    config = with_values(calendar_config(), {"data.sampling_probs": {}})
    model, batch = built(config), tiny_batch(config)

    decoded = stacked(model(*parts_of(config, batch)), config.data.timeframes, 64)
    decoded[batch.real].square().sum().backward()

    without = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == []


def test_a_hidden_bar_changes_no_output_whatever_its_price():
    config = with_values(calendar_config(), {"data.normalization": "zscore"})
    bars = market(2000, config.data.timeframes)
    windows = MarketWindows(bars, config.data, calendar=True)
    batch = windows.validation_batches(config.masking)[0]
    m1 = config.data.timeframes.index("m1")
    window = int(batch.scored[:, m1].any(dim=1).nonzero()[0])
    moment = int(batch.open_time[window, m1][batch.scored[window, m1]][0])

    for series in bars.values():
        at = series.open_time <= moment
        series.prices[at.nonzero()[0][-1]] *= 1.01  # the bar over that minute, in every timeframe
    changed = MarketWindows(bars, config.data, calendar=True)
    changed.training_statistics = windows.training_statistics
    other = changed.validation_batches(config.masking)[0]

    model = built(config)
    before, after = (model(*parts_of(config, some)) for some in (batch, other))
    assert not torch.equal(batch.targets[window], other.targets[window])
    assert all(torch.equal(before[name][window], after[name][window]) for name in before)


def test_an_unknown_timeframe_and_too_many_bars_are_refused():
    config = calendar_config()
    model = built(config)
    bars, masks = torch.zeros(1, 64, 6), torch.zeros(1, 64, dtype=torch.bool)

    with pytest.raises(ValueError, match="must be among m1, m5, m15, got 'm2'"):
        model({"m2": bars}, {"m2": masks})
    with pytest.raises(ValueError, match="m1 must have at most 64 bars, got 65"):
        model({"m1": torch.zeros(1, 65, 6)}, {"m1": torch.zeros(1, 65, dtype=torch.bool)})


def test_parts_that_do_not_belong_together_are_refused():
    model = built(calendar_config())
    bars, masks = torch.zeros(1, 8, 6), torch.zeros(1, 8, dtype=torch.bool)

    with pytest.raises(ValueError, match="must all be tensors, or all dicts"):
        model({"m1": bars}, masks)
    with pytest.raises(ValueError, match="must be those of the features"):
        model({"m1": bars, "m5": bars}, {"m1": masks})
    with pytest.raises(ValueError, match="must be those of the features"):
        model({"m1": bars}, {"m1": masks}, {"m1": masks[:, :5]})
