import pytest
import torch
from tiny_training import T5, tiny_language_model

from stage1.language_models.initialization import build_t5
from stage1.model.adapter import T5TimeSeriesAdapter, scale_tokens


def adapter(*, timeframes=3, input_scale=2.5, patch_len=4, seq_len=16, **changes):
    torch.manual_seed(1)
    t5, _ = build_t5(tiny_language_model(), initialization="pretrained", seed=0, **changes)
    return T5TimeSeriesAdapter(
        t5,
        input_scale=input_scale,
        timeframes=timeframes,
        channels=7,
        patch_len=patch_len,
        seq_len=seq_len,
        width=8,
    )


def bars(*, timeframes=3, seq_len=16):
    generator = torch.Generator().manual_seed(2)
    return torch.randn(2, timeframes, seq_len, 7, generator=generator)


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
def test_the_t5_is_called_once_with_all_timeframes_folded_at_the_input_scale(scale):
    encoder, calls = adapter(input_scale=scale), []
    encoder.t5.register_forward_pre_hook(
        lambda module, args, kwargs: calls.append(kwargs["inputs_embeds"]), with_kwargs=True
    )

    encoder(bars())

    assert [call.shape for call in calls] == [(2 * 3, 4, T5["d_model"])]
    rms = calls[0].square().mean(dim=-1).sqrt()
    torch.testing.assert_close(rms, torch.full((6, 4), scale), rtol=1e-4, atol=0)


def test_the_folded_call_gives_what_a_call_per_timeframe_gives():
    encoder = adapter()
    tokens = scale_tokens(encoder.embedding(bars()), 2.5)

    folded = encoder(bars())

    apart = [encoder.t5(inputs_embeds=tokens[:, i]).last_hidden_state for i in range(3)]
    torch.testing.assert_close(folded, encoder.unpatch(torch.stack(apart, dim=1)))


@pytest.mark.parametrize("layer", ["embedding", "unpatch"])
def test_a_timeframe_s_projection_changes_the_output_of_that_timeframe_only(layer):
    encoder = adapter()
    before = encoder(bars())
    with torch.no_grad():
        getattr(encoder, layer).projection.weight[1] *= 1.5

    after = encoder(bars())

    changed = (before != after).flatten(2).any(dim=2)
    assert changed.tolist() == [[False, True, False]] * 2


def test_the_same_bars_in_two_timeframes_come_out_differently():
    encoder = adapter()
    same = bars()[:, :1].expand(-1, 3, -1, -1)

    encoded = encoder(same)

    assert (encoded[:, 0] - encoded[:, 1]).abs().min() > 0
    assert (encoded[:, 1] - encoded[:, 2]).abs().min() > 0


@pytest.mark.parametrize(("timeframes", "seq_len", "patch_len"), [(1, 16, 16), (6, 32, 2)])
def test_every_bar_comes_back_with_the_model_s_width(timeframes, seq_len, patch_len):
    encoder = adapter(timeframes=timeframes, seq_len=seq_len, patch_len=patch_len)

    encoded = encoder(bars(timeframes=timeframes, seq_len=seq_len))

    assert encoded.shape == (2, timeframes, seq_len, 8)


def test_gradients_reach_every_parameter_of_adapter_and_t5():
    encoder = adapter()

    encoder(bars()).square().sum().backward()

    without = [name for name, p in encoder.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == []
