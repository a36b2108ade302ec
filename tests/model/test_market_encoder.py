import numpy as np
import pytest
import torch
from synthetic_bars import market
from tiny_training import tiny_batch, tiny_config, tiny_model, tiny_windows

from stage1.model.market_encoder import MarketEncoder

KINDS = [
    pytest.param({}, id="T5"),
    pytest.param({"transfer_learning": {"use_pretrained_lm": False}}, id="vanilla encoder"),
    pytest.param({"model": {"stem.width": 8, "bottleneck_stride": 2}}, id="stem and bottleneck"),
    pytest.param({"calendar": True}, id="calendar windows"),
]


def encoder_of(config, model=None):
    statistics = tiny_windows(config).training_statistics
    return MarketEncoder(model or tiny_model(config), config, statistics).eval()


@pytest.mark.parametrize("sections", KINDS)
def test_the_decoder_makes_of_the_codes_what_the_whole_model_decodes(sections):
    config = tiny_config(**sections)
    model = tiny_model(config).eval()
    batch = tiny_batch(config)

    codes = encoder_of(config, model)(batch.features, batch.hidden, batch.real)

    expected = model(batch.features, batch.hidden, batch.real)
    decoded = model.decoder(model.bottleneck(codes))
    assert codes.shape == (4, 3, config.data.seq_len, 8)
    torch.testing.assert_close(decoded[batch.real], expected[batch.real])


@pytest.mark.parametrize("sections", KINDS)
def test_a_vector_is_the_mean_of_the_codes_of_the_real_bars(sections):
    config = tiny_config(**sections)
    encoder = encoder_of(config)
    batch = encoder.windows(market(600, config.data.timeframes)).batch(np.arange(5))

    vectors = encoder.embed(batch.features, batch.real)

    codes = encoder(batch.features, real=batch.real)
    for window in range(5):
        for index in range(3):
            there = codes[window, index][batch.real[window, index]]
            torch.testing.assert_close(vectors[window, index], there.mean(dim=0))


def test_without_a_mask_all_bars_are_real_and_an_agent_s_gradient_reaches_every_weight():
    config = tiny_config()
    encoder = encoder_of(config)
    batch = encoder.windows(market(600, config.data.timeframes)).batch(np.arange(5))
    everywhere = torch.ones_like(batch.real)

    encoder.embed(batch.features, batch.real).square().sum().backward()

    assert [name for name, p in encoder.named_parameters() if p.grad is None] == []
    torch.testing.assert_close(
        encoder(batch.features), encoder(batch.features, ~everywhere, everywhere)
    )
    torch.testing.assert_close(
        encoder.embed(batch.features), encoder.embed(batch.features, everywhere)
    )


def test_a_timeframe_without_a_bar_in_the_window_has_a_vector_of_zeros():
    config = tiny_config(calendar=True)
    encoder = encoder_of(config)
    batch = encoder.windows(market(600, config.data.timeframes)).batch(np.arange(5))
    real = batch.real.clone()
    real[:, 2] = False

    vectors = encoder.embed(batch.features, real)

    assert not vectors[:, 2].any()
    assert vectors[:, :2].all()
