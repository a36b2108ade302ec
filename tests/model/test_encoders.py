"""The T5 adapter and the vanilla encoder."""

import pytest
import torch
from tiny_training import T5, tiny_language_model

from stage1.config import EncoderConfig
from stage1.language_models.initialization import build_t5
from stage1.model.encoders import EncoderShape, SharedEncoder, T5TimeSeriesAdapter, scale_tokens


def shape_of(timeframes=3, *, seq_len=16, patch_len=4, pairs=()):
    return EncoderShape(
        timeframes, channels=7, width=8, seq_len=seq_len, patch_len=patch_len, pairs=pairs
    )


def adapter(shape=None, *, input_scale=2.5):
    torch.manual_seed(1)
    t5, _ = build_t5(tiny_language_model(), initialization="pretrained", seed=0)
    return T5TimeSeriesAdapter(t5, shape or shape_of(), input_scale=input_scale)


def vanilla(shape=None, *, layers=2):
    torch.manual_seed(0)
    config = EncoderConfig(d_model=16, layers=layers, heads=2, d_ff=24)
    return SharedEncoder(config, shape or shape_of(), dropout=0.0)


ALL_PAIRS = [(0, 1), (0, 2), (1, 2)]
BOTH = pytest.mark.parametrize("encoder_of", [adapter, vanilla], ids=["T5", "vanilla"])


def bars(timeframes=3, *, seq_len=16):
    generator = torch.Generator().manual_seed(2)
    return torch.randn(2, timeframes, seq_len, 7, generator=generator)


# Both -------------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize(("timeframes", "seq_len", "patch_len"), [(1, 16, 16), (6, 32, 2)])
def test_every_bar_comes_back_with_the_model_s_width(encoder_of, timeframes, seq_len, patch_len):
    encoder = encoder_of(shape_of(timeframes, seq_len=seq_len, patch_len=patch_len))

    encoded = encoder(bars(timeframes, seq_len=seq_len))

    assert encoded.shape == (2, timeframes, seq_len, 8)
    assert encoded.isfinite().all()


@BOTH
def test_only_pairs_of_timeframes_see_each_other(encoder_of):
    other = bars()
    other[:, 1] += torch.linspace(-1, 1, 7)
    changed = {}
    for name, pairs in (("none", []), ("one", [(1, 2)]), ("all", ALL_PAIRS)):
        encoder = encoder_of(shape_of(pairs=pairs))
        changed[name] = (encoder(bars()) != encoder(other)).flatten(2).any(dim=2).tolist()

    assert changed == {
        "none": [[False, True, False]] * 2,
        "one": [[False, True, True]] * 2,
        "all": [[True, True, True]] * 2,
    }


@BOTH
def test_gradients_reach_every_parameter(encoder_of):
    encoder = encoder_of(shape_of(pairs=ALL_PAIRS))

    encoder(bars()).square().sum().backward()

    without = [name for name, p in encoder.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == []


# T5 ---------------------------------------------------------------------------------------------


def test_tokens_get_the_root_mean_square_of_the_input_scale(generator):
    tokens = (
        torch.randn(2, 3, 5, 16, generator=generator)
        * torch.tensor([1e-2, 1.0, 1e3])[:, None, None]
    )

    scaled = scale_tokens(tokens, 13.5)

    rms = scaled.square().mean(dim=-1).sqrt()
    torch.testing.assert_close(rms, torch.full_like(rms, 13.5), rtol=1e-4, atol=0)
    torch.testing.assert_close(
        torch.nn.functional.cosine_similarity(scaled, tokens, dim=-1), torch.ones(2, 3, 5)
    )


def test_a_token_of_zeros_stays_zero_with_a_finite_gradient():
    tokens = torch.zeros(1, 2, 16, requires_grad=True)

    scaled = scale_tokens(tokens, 13.5)
    scaled.sum().backward()

    assert not scaled.any()
    assert tokens.grad.isfinite().all()


@pytest.mark.parametrize("scale", [0.1, 2.5, 13.5])
def test_one_call_of_the_t5_has_all_timeframes_at_the_input_scale_as_a_call_for_each_would(scale):
    encoder, calls = adapter(input_scale=scale), []
    encoder.t5.register_forward_pre_hook(
        lambda module, args, kwargs: calls.append(kwargs["inputs_embeds"]), with_kwargs=True
    )

    folded = encoder(bars())

    assert [call.shape for call in calls] == [(2 * 3, 4, T5["d_model"])]
    rms = calls[0].square().mean(dim=-1).sqrt()
    torch.testing.assert_close(rms, torch.full((6, 4), scale), rtol=1e-4, atol=0)
    tokens = scale_tokens(encoder.embedding(bars()), scale)
    apart = [encoder.t5(inputs_embeds=tokens[:, i]).last_hidden_state for i in range(3)]
    torch.testing.assert_close(folded, encoder.unpatch(torch.stack(apart, dim=1)))


# Vanilla ----------------------------------------------------------------------------------------


def test_every_block_starts_with_weights_of_its_own():
    model = vanilla(layers=3)

    first, second, third = (block.linear1.weight for block in model.blocks)

    assert not torch.equal(first, second)
    assert not torch.equal(second, third)


def test_all_timeframes_share_the_blocks():
    sizes = [sum(p.numel() for p in vanilla(shape_of(n)).blocks.parameters()) for n in (2, 6)]

    assert sizes[0] == sizes[1]


def test_evaluation_gives_what_training_gives_without_dropout():
    model = vanilla()

    trained = model(bars())
    with torch.no_grad():
        evaluated = model.eval()(bars())  # torch takes another, fused path here

    torch.testing.assert_close(trained.detach(), evaluated, rtol=1e-4, atol=1e-5)


def test_real_tokens_come_out_as_they_do_without_padding():
    model = vanilla(shape_of(1))
    real = torch.ones(2, 1, 16, dtype=torch.bool)
    real[1, 0, 6:] = False  # one and a half patches of four
    values = bars(1).masked_fill(~real.unsqueeze(-1), 0.0)

    padded = model(values, real)

    tokens = model.embedding(values)[1, :, :2]
    for block in model.blocks:
        tokens = block(tokens)
    alone = model.unpatch(model.norm(tokens.unsqueeze(0)))
    torch.testing.assert_close(padded[1:, :, :8], alone, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(padded[0], model(values)[0], rtol=1e-4, atol=1e-5)
