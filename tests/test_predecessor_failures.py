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

from stage1.config import Config
from stage1.data.batches import MarketWindows
from stage1.data.features import FEATURES
from stage1.data.windows import find_windows, split_windows
from stage1.errors import DataError, ModelError
from stage1.model.initialization import t5_stack
from stage1.model.language_models import resolve, weights_sha256
from stage1.model.losses import cross_timeframe_loss, reconstruction_loss
from stage1.model.stage1_model import T5_PREFIX, Stage1Model, build_model
from stage1.model.t5_dimensions import PUBLIC_CONFIGS
from stage1.training.fit import fit

MINUTES = (1, 5, 15)


def rows_of(config, **options):
    rows = []
    fit(config, tiny_windows(config), tiny_language_model(), report=rows.append, **options)
    return rows


def cross_loss(decoded, batch, minutes=MINUTES):
    return cross_timeframe_loss(decoded, batch.open_time, batch.center, batch.scale, minutes)


def test_a_failed_download_never_becomes_a_random_t5():
    with pytest.raises(ModelError):
        resolve("nobody/has-this-model")


@pytest.mark.parametrize("initialization", ["pretrained", "random", "shuffled"])
def test_every_training_says_which_t5_weights_it_started_from(initialization):
    config = tiny_config(transfer_learning={"initialization": initialization})

    rows = rows_of(config)

    t5 = build_model(config, tiny_language_model()).model.encoder.t5
    assert {row["lm_sha256"] for row in rows} == {weights_sha256(t5.state_dict())}
    is_pretrained = rows[0]["lm_sha256"] == tiny_language_model().sha256
    assert is_pretrained == (initialization == "pretrained")


def test_one_t5_serves_all_timeframes_so_that_t5_large_has_at_most_431_million_parameters():
    with torch.device("meta"):
        t5 = t5_stack(PUBLIC_CONFIGS["google-t5/t5-large"])
        model = Stage1Model(Config(), t5=t5, input_scale=1.0)

    parameters = sum(p.numel() for p in model.parameters())

    assert len(Config().data.timeframes) == 6
    assert 300e6 < parameters <= 431e6


def test_the_cross_loss_is_no_constant_0_and_pulls_on_every_timeframe(generator):
    batch = tiny_batch(tiny_config())
    noise = 0.3 * torch.randn(batch.targets.shape, generator=generator)
    decoded = (batch.targets + noise).requires_grad_()

    loss = cross_loss(decoded, batch)
    loss.backward()

    assert cross_loss(batch.targets, batch).item() <= 1e-5
    assert loss.item() > 1e-3
    assert (decoded.grad.abs().amax(dim=(0, 2, 3)) > 0).all()


def test_the_cross_loss_compares_no_bars_but_those_of_the_same_clock_interval(generator):
    config = tiny_config(data={"timeframes": ["m1", "m5"]})
    minutes = [minute for minute in range(3000) if minute % 5 != 2]
    windows = MarketWindows(market(minutes), config.data)
    batch = next(windows.training_batches(config, windows.plan_epoch(config, 0)))

    loss = cross_loss(torch.randn(batch.targets.shape, generator=generator), batch, (1, 5))

    assert loss.item() == 0  # every m5 bar lacks a minute


def test_visible_and_unscored_bars_do_not_enter_the_reconstruction_loss(generator):
    batch = tiny_batch(tiny_config())
    decoded = torch.randn(batch.targets.shape, generator=generator)
    elsewhere = torch.where(batch.scored.unsqueeze(-1), decoded, 1e3)

    losses = [
        reconstruction_loss(values, batch.targets, batch.scored, delta=1.0).item()
        for values in (decoded, elsewhere)
    ]

    assert losses[0] == losses[1] > 0


def test_unfreezing_fires_for_all_of_the_t5():
    learning = []

    def note(trainer, module, batch, batch_index):
        named = module.model.named_parameters()
        learning.append({p.requires_grad for name, p in named if name.startswith(T5_PREFIX)})

    config = tiny_config(transfer_learning={"freeze_lm_epochs": 1})
    rows_of(config, callbacks=[LambdaCallback(on_train_batch_start=note)])

    assert learning == [{False}] * 3 + [{True}] * 6


def test_every_timeframe_uses_its_own_projection():
    config = tiny_config()
    model, batch = build_model(config, tiny_language_model()).model, tiny_batch(config)
    before = model(batch.features, batch.hidden)

    for index in range(3):
        with torch.no_grad():
            model.encoder.embedding.projection.weight[index] += 0.1
        after = model(batch.features, batch.hidden)
        changed = (after != before).flatten(2).any(dim=2)
        before = after

        assert changed.tolist() == [[other == index for other in range(3)]] * len(batch.hidden)


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


def test_arms_are_paired_in_everything_but_the_t5():
    arms = [
        rows_of(tiny_config(transfer_learning={"initialization": arm}))[-1]
        for arm in ("pretrained", "random", "shuffled")
    ]

    for name in ("head_sha256", "order_sha256", "mask_sha256", "baseline_val_loss"):
        assert len({row[name] for row in arms}) == 1
    assert len({row["lm_sha256"] for row in arms}) == 3


def test_no_visible_coarse_bar_lies_over_a_hidden_and_scored_finer_one():
    config = tiny_config()
    batch = all_validation(config)

    for coarse in (1, 2):
        length = 60 * MINUTES[coarse]
        for finer in range(coarse):
            scored = batch.open_time[:, finer].masked_fill(~batch.scored[:, finer], -1)
            seen = batch.open_time[:, coarse].masked_fill(batch.hidden[:, coarse], -2 * length)
            inside = scored.unsqueeze(1) // length == seen.unsqueeze(2) // length
            assert not inside.any()


def test_the_change_after_a_hidden_span_does_not_give_its_close_away():
    batch = all_validation(tiny_config())
    change = batch.features[..., FEATURES.index("delta close")]

    first_after = batch.hidden[..., :-1] & ~batch.hidden[..., 1:]

    assert first_after.any()
    assert not change[..., 1:][first_after].any()
    assert change[..., 1:][~first_after].any()


def test_hidden_bars_change_no_input_and_do_not_look_like_average_ones():
    config = tiny_config()
    model, batch = build_model(config, tiny_language_model()).model, tiny_batch(config)

    as_hidden = model(batch.features, batch.hidden)
    as_average = model(batch.features, torch.zeros_like(batch.hidden))

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


def test_too_little_data_for_that_says_how_many_days_are_needed():
    config = data_config(timeframes=("m1", "h4"), seq_len=8)
    bars = market(3000, config.timeframes)

    with pytest.raises(DataError, match=r"at least 7\.6 days"):
        split_windows(find_windows(bars, config), bars, config)
