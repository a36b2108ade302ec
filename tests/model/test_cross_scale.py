"""Cross-scale attention: who sees whom, and what does not exist is seen by nobody."""

import torch

from stage1.model.encoders import CrossScaleAttention
from stage1.model.patching import present_tokens


def tokens():
    return torch.randn(1, 3, 4, 16, generator=torch.Generator().manual_seed(3))


def cross_scale(pairs=((0, 1), (0, 2), (1, 2))):
    torch.manual_seed(0)
    return CrossScaleAttention(width=16, heads=2, timeframes=3, patches=4, pairs=pairs)


def seen_by(layer, changed_timeframe):
    """Which timeframes' tokens change when one token of another timeframe does."""
    before = tokens()
    changed = before.clone()
    changed[0, changed_timeframe, 2] += torch.linspace(-1, 1, 16)
    difference = (layer(before) - layer(changed)).abs().amax(dim=-1)[0]
    return [bool((row > 0).all()) for row in difference]


def test_only_paired_timeframes_see_each_other_in_both_directions():
    layer = cross_scale([(0, 1)])

    changed = (layer(tokens()) != tokens()).flatten(2).any(dim=2)

    assert changed.tolist() == [[True, True, False]]
    assert seen_by(layer, 0) == [False, True, False]
    assert seen_by(layer, 1) == [True, False, False]
    assert seen_by(layer, 2) == [False, False, False]


def test_tokens_without_a_real_bar_are_seen_by_nobody(generator):
    layer, before = cross_scale(), tokens()
    exists = torch.ones(1, 3, 4, dtype=torch.bool)
    exists[0, 1, 2:] = False
    changed = before.clone()
    changed[0, 1, 2:] = torch.randn(2, 16, generator=generator) * 100

    present = present_tokens(exists, None, 1)

    same = layer(before, present)[exists] == layer(changed, present)[exists]

    assert same.all()


def test_a_window_with_one_timeframe_alone_has_nothing_added_and_no_nan():
    layer, before = cross_scale(), tokens()
    exists = torch.zeros(1, 3, 4, dtype=torch.bool)
    exists[0, 0] = True

    after = layer(before, present_tokens(exists, None, 1))

    assert torch.equal(after[:, 0], before[:, 0])
    assert after.isfinite().all()


def test_heads_that_do_not_divide_the_width_become_fewer():
    layer = CrossScaleAttention(width=96, heads=5, timeframes=2, patches=1, pairs=[(0, 1)])

    assert layer.attention.num_heads == 4


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
