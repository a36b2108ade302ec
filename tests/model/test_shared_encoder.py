import pytest
import torch

from stage1.config import EncoderConfig
from stage1.model.shared_encoder import CrossScaleAttention, SharedEncoder


def encoder(*, timeframes=3, dropout=0.0, layers=2):
    torch.manual_seed(0)
    config = EncoderConfig(d_model=16, layers=layers, heads=2, d_ff=24)
    shape = {"channels": 7, "patch_len": 4, "seq_len": 16, "width": 8}
    return SharedEncoder(config, timeframes=timeframes, dropout=dropout, **shape)


def bars(*, timeframes=3):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2, timeframes, 16, 7, generator=generator)


def tokens():
    return torch.randn(1, 3, 4, 16, generator=torch.Generator().manual_seed(3))


def cross_scale():
    torch.manual_seed(0)
    return CrossScaleAttention(width=16, heads=2, timeframes=3, patches=4)


def test_cross_scale_attention_sees_every_other_timeframe_and_not_its_own():
    layer, before = cross_scale(), tokens()
    changed = before.clone()
    changed[0, 1, 2] += torch.linspace(-1, 1, 16)

    difference = (layer(before) - layer(changed)).abs().amax(dim=-1)[0]

    assert (difference[[0, 2]] > 0).all()  # all tokens of the other timeframes
    assert difference[1].nonzero().flatten().tolist() == [2]  # itself, by the residual alone


def test_what_a_token_gets_from_other_timeframes_is_added_to_it():
    layer, before = cross_scale(), tokens()
    with torch.no_grad():
        layer.attention.out_proj.weight.zero_()
        layer.attention.out_proj.bias.zero_()

    after = layer(before)

    assert torch.equal(after, before)


def test_without_cross_scale_attention_timeframes_do_not_see_each_other():
    model = encoder()
    other = bars()
    other[:, 1] += torch.linspace(-1, 1, 7)

    with_it = (model(bars()) != model(other)).flatten(2).any(dim=2)
    model.cross_scale = torch.nn.Identity()
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
