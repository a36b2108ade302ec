"""What went wrong in the system before this one, each as a test that it cannot happen here."""

import numpy as np
import pytest
import torch
from pytorch_lightning.callbacks import LambdaCallback
from synthetic_bars import data_config, market
from tiny_training import (
    all_validation,
    tiny_batch,
    tiny_config,
    tiny_language_model,
    tiny_windows,
)
from transformers.models.t5.modeling_t5 import T5Stack

from stage1.base.errors import DataError, ModelError
from stage1.config import Config
from stage1.data.batches import MarketWindows
from stage1.data.features import FEATURES
from stage1.data.windows import find_windows, split_windows
from stage1.language_models.initialization import t5_stack
from stage1.language_models.resolver import resolve, weights_sha256
from stage1.language_models.t5_dimensions import PUBLIC_CONFIGS
from stage1.model.consistency import cross_timeframe_loss
from stage1.model.losses import reconstruction_loss
from stage1.model.stage1_model import T5_PREFIX, Stage1Model, build_model
from stage1.training.fit import fit

MINUTES = (1, 5, 15)
IN_BOTH_MODES = pytest.mark.parametrize("calendar", [False, True], ids=["sync", "async"])


def config_in(calendar, **sections):
    """The tiny configuration in either mode; in calendar windows m5 and m15 are often absent."""
    if not calendar:
        return tiny_config(**sections)
    data = {"seq_len": 64, "sampling_probs": {"m5": 0.7, "m15": 0.7}, **sections.pop("data", {})}
    model = {"async_sampler": True, **sections.pop("model", {})}
    return tiny_config(data=data, model=model, **sections)


def decoded_by(model, config, batch):
    """All bars of a batch, as the training decodes them."""
    real = batch.real if config.model.async_sampler else None
    return model(batch.features, batch.hidden, real)


def rows_of(config, **options):
    rows = []
    fit(config, tiny_windows(config), tiny_language_model(), report=rows.append, **options)
    return rows


def cross_loss(decoded, batch, minutes=MINUTES):
    return cross_timeframe_loss(decoded, batch.open_time, batch.center, batch.scale, minutes)


def test_a_failed_download_never_becomes_a_random_t5():
    with pytest.raises(ModelError):
        resolve("nobody/has-this-model")


@IN_BOTH_MODES
@pytest.mark.parametrize("initialization", ["pretrained", "random", "shuffled"])
def test_every_training_says_which_t5_weights_it_started_from(initialization, calendar):
    config = config_in(calendar, transfer_learning={"initialization": initialization})

    rows = rows_of(config)

    t5 = build_model(config, tiny_language_model()).model.encoder.t5
    assert {row["lm_sha256"] for row in rows} == {weights_sha256(t5.state_dict())}
    is_pretrained = rows[0]["lm_sha256"] == tiny_language_model().sha256
    assert is_pretrained == (initialization == "pretrained")


@IN_BOTH_MODES
def test_one_t5_serves_all_timeframes_so_that_t5_large_has_at_most_431_million_parameters(calendar):
    config = Config.model_validate(
        {"data": {"seq_len": 256}, "model": {"async_sampler": calendar, "d_model": 64}}
    )
    with torch.device("meta"):
        t5 = t5_stack(PUBLIC_CONFIGS["google-t5/t5-large"])
        model = Stage1Model(config, t5=t5, input_scale=1.0)

    parameters = sum(p.numel() for p in model.parameters())

    assert len(config.data.timeframes) == 6
    assert sum(isinstance(part, T5Stack) for part in model.modules()) == 1
    assert 300e6 < parameters <= 431e6


@IN_BOTH_MODES
def test_the_cross_loss_is_no_constant_0_and_pulls_on_every_timeframe(generator, calendar):
    batch = tiny_batch(config_in(calendar))
    noise = 0.3 * torch.randn(batch.targets.shape, generator=generator)
    decoded = (batch.targets + noise).requires_grad_()

    loss = cross_loss(decoded, batch)
    loss.backward()

    assert cross_loss(batch.targets, batch).item() <= 1e-5
    assert loss.item() > 1e-3
    assert (decoded.grad.abs().amax(dim=(0, 2, 3)) > 0).all()


@IN_BOTH_MODES
def test_the_cross_loss_compares_no_bars_but_those_of_the_same_clock_interval(generator, calendar):
    data = {"timeframes": ["m1", "m5"], "sampling_probs": {}}
    config = config_in(calendar, data=data)
    minutes = [minute for minute in range(3000) if minute % 5 != 2]
    windows = MarketWindows(market(minutes), config.data, calendar=calendar)
    batch = next(windows.training_batches(config, windows.plan_epoch(config, 0)))

    loss = cross_loss(torch.randn(batch.targets.shape, generator=generator), batch, (1, 5))

    assert loss.item() == 0  # every m5 bar lacks a minute


@IN_BOTH_MODES
def test_visible_padded_and_unscored_bars_do_not_enter_the_reconstruction_loss(generator, calendar):
    batch = tiny_batch(config_in(calendar))
    decoded = torch.randn(batch.targets.shape, generator=generator)
    elsewhere = torch.where(batch.scored.unsqueeze(-1), decoded, torch.nan)

    losses = [
        reconstruction_loss(values, batch.targets, batch.scored, delta=1.0).item()
        for values in (decoded, elsewhere)
    ]

    assert losses[0] == losses[1] > 0


@IN_BOTH_MODES
def test_unfreezing_fires_for_all_of_the_t5(calendar):
    learning = []

    def note(trainer, module, batch, batch_index):
        named = module.model.named_parameters()
        learning.append({p.requires_grad for name, p in named if name.startswith(T5_PREFIX)})

    config = config_in(calendar, transfer_learning={"freeze_lm_epochs": 1})
    rows_of(config, callbacks=[LambdaCallback(on_train_batch_start=note)])

    assert learning == [{False}] * 3 + [{True}] * 6


@IN_BOTH_MODES
def test_every_timeframe_uses_its_own_projection(calendar):
    config = config_in(calendar)
    model, batch = build_model(config, tiny_language_model()).model, tiny_batch(config)
    there = batch.real.any(dim=2)
    before = decoded_by(model, config, batch)

    for index in range(3):
        with torch.no_grad():
            model.encoder.embedding.projection.weight[index] += 0.1
        after = decoded_by(model, config, batch)
        changed = ((after != before).any(dim=-1) & batch.real).any(dim=2)
        before = after

        assert torch.equal(changed, there & (torch.arange(3) == index))


def test_padding_is_no_nan_inside_the_network_and_never_changes_a_real_bar(generator):
    config = config_in(True)
    model, batch = build_model(config, tiny_language_model()).model, tiny_batch(config)
    inside = []
    for part in model.modules():
        part.register_forward_hook(lambda module, args, result: inside.append(result))
    noise = torch.randn(batch.features.shape, generator=generator)
    other = batch._replace(features=torch.where(batch.real.unsqueeze(-1), batch.features, noise))

    before, after = (decoded_by(model, config, some) for some in (batch, other))

    assert not batch.real.all()
    assert torch.equal(before[batch.real], after[batch.real])
    tensors = [result for result in inside if isinstance(result, torch.Tensor)]
    assert len(tensors) > 20
    assert all(tensor.isfinite().all() for tensor in tensors)


def test_the_t5_gives_real_tokens_what_it_gives_them_without_padding():
    config = config_in(True)
    model, batch = build_model(config, tiny_language_model()).model, tiny_batch(config)
    calls = []
    hook = model.encoder.t5.register_forward_hook(
        lambda module, args, kwargs, result: calls.append((kwargs, result)), with_kwargs=True
    )
    decoded_by(model, config, batch)
    hook.remove()

    ((given, result),) = calls
    lengths = given["attention_mask"].sum(dim=1).tolist()
    assert min(lengths) < max(lengths)
    for row, length in enumerate(lengths):
        alone = model.encoder.t5(inputs_embeds=given["inputs_embeds"][row : row + 1, :length])
        padded = result.last_hidden_state[row : row + 1, :length]
        torch.testing.assert_close(padded, alone.last_hidden_state, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("factor", [1, 1000], ids=["EUR/USD", "an index"])
def test_targets_are_normalised_whatever_the_price(factor):
    bars = market(2000)
    for series in bars.values():
        series.prices[:] *= factor
    config = tiny_config(data={"timeframes": ["m1", "m5"]})

    batches = MarketWindows(bars, config.data).validation_batches(config.masking)

    visible = batches[0].targets[~batches[0].hidden]
    assert visible.mean().item() == pytest.approx(0, abs=1e-4)
    assert visible.square().mean().item() == pytest.approx(1, abs=1e-4)


def test_every_row_of_a_training_shows_the_interpolation_baseline():
    rows = rows_of(tiny_config())

    assert all(0 < row["baseline_val_correlation"] < 1 for row in rows)
    assert all(row["baseline_val_loss"] > 0 for row in rows)
    assert all(row["val_skill"] <= 1 for row in rows)


@IN_BOTH_MODES
def test_arms_are_paired_in_everything_but_the_t5(calendar):
    arms = [
        rows_of(config_in(calendar, transfer_learning={"initialization": arm}))[-1]
        for arm in ("pretrained", "random", "shuffled")
    ]

    for name in ("head_sha256", "order_sha256", "mask_sha256", "baseline_val_loss"):
        assert len({row[name] for row in arms}) == 1
    assert len({row["lm_sha256"] for row in arms}) == 3


@IN_BOTH_MODES
def test_no_visible_coarse_bar_lies_over_a_hidden_and_scored_finer_one(calendar):
    config = config_in(calendar)
    batch = all_validation(config)

    for coarse in (1, 2):
        length = 60 * MINUTES[coarse]
        for finer in range(coarse):
            scored = batch.open_time[:, finer].masked_fill(~batch.scored[:, finer], -1)
            unseen = batch.hidden[:, coarse] | ~batch.real[:, coarse]
            seen = batch.open_time[:, coarse].masked_fill(unseen, -2 * length)
            inside = scored.unsqueeze(1) // length == seen.unsqueeze(2) // length
            assert not inside.any()


@IN_BOTH_MODES
def test_the_change_after_a_hidden_span_does_not_give_its_close_away(calendar):
    batch = all_validation(config_in(calendar))
    change = batch.features[..., FEATURES.index("delta close")]

    first_after = batch.hidden[..., :-1] & ~batch.hidden[..., 1:]

    assert first_after.any()
    assert not change[..., 1:][first_after].any()
    assert change[..., 1:][~first_after].any()


@IN_BOTH_MODES
def test_hidden_bars_change_no_input_and_do_not_look_like_average_ones(calendar):
    config = config_in(calendar)
    model, batch = build_model(config, tiny_language_model()).model, tiny_batch(config)
    average = batch._replace(hidden=torch.zeros_like(batch.hidden))

    as_hidden, as_average = (decoded_by(model, config, some) for some in (batch, average))

    assert not batch.features[batch.hidden].any()
    assert (as_hidden != as_average)[batch.hidden].any(dim=-1).all()


def test_no_bar_of_a_validation_window_is_trained_on_even_through_h4():
    config = data_config(timeframes=("m1", "h4"), seq_len=8, stride=30)
    bars = market(14_000, config.timeframes)

    split = split_windows(find_windows(bars, config), bars, config)

    for column in range(2):
        rows = [
            set((side.last[:, column, None] - np.arange(config.seq_len)).ravel().tolist())
            for side in (split.training, split.validation)
        ]
        assert not rows[0] & rows[1]


def test_no_minute_of_a_validation_window_is_trained_on_in_calendar_windows():
    config = config_in(True)
    split = tiny_windows(config).split

    assert (split.training.ends - split.training.starts == 64 * 60).all()
    assert split.training.ends.max() <= split.validation.starts.min()


def test_too_little_data_for_that_says_how_many_days_are_needed():
    config = data_config(timeframes=("m1", "h4"), seq_len=8)
    bars = market(3000, config.timeframes)

    with pytest.raises(DataError, match=r"at least 7\.6 days"):
        split_windows(find_windows(bars, config), bars, config)
