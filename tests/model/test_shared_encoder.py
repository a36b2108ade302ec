import pytest
import torch

from stage1.config import EncoderConfig
from stage1.model.cross_scale import all_pairs
from stage1.model.shared_encoder import SharedEncoder


def encoder(*, timeframes=3, dropout=0.0, layers=2):
    torch.manual_seed(0)
    config = EncoderConfig(d_model=16, layers=layers, heads=2, d_ff=24)
    shape = {"channels": 7, "patch_len": 4, "seq_len": 16, "width": 8}
    pairs = all_pairs(timeframes)
    return SharedEncoder(config, timeframes=timeframes, dropout=dropout, pairs=pairs, **shape)


def bars(*, timeframes=3):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2, timeframes, 16, 7, generator=generator)


def test_without_cross_scale_attention_timeframes_do_not_see_each_other():
    model = encoder()
    other = bars()
    other[:, 1] += torch.linspace(-1, 1, 7)

    with_it = (model(bars()) != model(other)).flatten(2).any(dim=2)
    model.cross_scale = None
    without = (model(bars()) != model(other)).flatten(2).any(dim=2)

    assert with_it.all()
    assert without.tolist() == [[False, True, False]] * 2


@pytest.mark.parametrize("timeframes", [1, 2, 6])
def test_every_bar_comes_back_with_the_model_s_width(timeframes):
    encoded = encoder(timeframes=timeframes)(bars(timeframes=timeframes))

    assert encoded.shape == (2, timeframes, 16, 8)
    assert encoded.isfinite().all()


def test_every_block_starts_with_weights_of_its_own():
    model = encoder(layers=3)

    first, second, third = (block.linear1.weight for block in model.blocks)

    assert not torch.equal(first, second)
    assert not torch.equal(second, third)


def test_all_timeframes_share_the_blocks():
    sizes = [sum(p.numel() for p in encoder(timeframes=n).blocks.parameters()) for n in (2, 6)]

    assert sizes[0] == sizes[1]


def test_dropout_acts_in_training_and_not_in_evaluation():
    model = encoder(dropout=0.5)

    assert not torch.equal(model(bars()), model(bars()))
    model.eval()
    assert torch.equal(model(bars()), model(bars()))


def test_evaluation_gives_what_training_gives_without_dropout():
    model = encoder()

    trained = model(bars())
    with torch.no_grad():
        evaluated = model.eval()(bars())  # torch takes another, fused path here

    torch.testing.assert_close(trained.detach(), evaluated, rtol=1e-4, atol=1e-5)


def test_real_tokens_come_out_as_they_do_without_padding():
    model = encoder(timeframes=1)
    real = torch.ones(2, 1, 16, dtype=torch.bool)
    real[1, 0, 6:] = False  # one and a half patches of four
    values = bars(timeframes=1).masked_fill(~real.unsqueeze(-1), 0.0)

    padded = model(values, real)

    tokens = model.embedding(values)[1, :, :2]
    for block in model.blocks:
        tokens = block(tokens)
    alone = model.unpatch(model.norm(tokens.unsqueeze(0)))
    torch.testing.assert_close(padded[1:, :, :8], alone, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(padded[0], model(values)[0], rtol=1e-4, atol=1e-5)
