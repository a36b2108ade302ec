import pytest
import torch
from scipy.stats import kstest
from torch import nn

from stage1.model.patching import PatchEmbedding, TimeframeLinear, Unpatch


def test_every_timeframe_is_mapped_by_a_linear_layer_of_its_own(generator):
    layer = TimeframeLinear(3, 5, 4)
    values = torch.randn(2, 3, 7, 5, generator=generator)

    mapped = layer(values)

    for timeframe in range(3):
        linear = nn.functional.linear(
            values[:, timeframe], layer.weight[timeframe].T, layer.bias[timeframe, 0]
        )
        torch.testing.assert_close(mapped[:, timeframe], linear)


def test_weights_start_as_those_of_nn_linear_do():
    torch.manual_seed(0)
    layer = TimeframeLinear(2, 100, 200)

    bound = 1 / 100**0.5
    for values in (layer.weight.detach().flatten(), nn.Linear(100, 40_000).weight.detach()[:1000]):
        scaled = (values.flatten() / bound + 1) / 2
        assert kstest(scaled.numpy()[:40_000], "uniform").pvalue > 1e-3


def embedding(**changes):
    shape = {"timeframes": 2, "channels": 3, "patch_len": 4, "patches": 5, "width": 6}
    return PatchEmbedding(**shape | changes)


def test_a_token_is_the_projection_of_its_bars_plus_its_position(generator):
    embed = embedding()
    bars = torch.randn(2, 2, 20, 3, generator=generator)

    tokens = embed(bars)

    for window in range(2):
        for timeframe in range(2):
            for patch in range(5):
                flat = bars[window, timeframe, 4 * patch : 4 * patch + 4].flatten()
                weight = embed.projection.weight[timeframe]
                bias = embed.projection.bias[timeframe, 0]
                torch.testing.assert_close(
                    tokens[window, timeframe, patch], flat @ weight + bias + embed.position[patch]
                )


@pytest.mark.parametrize("patch_len", [1, 2, 10, 20])
def test_a_changed_bar_changes_only_the_token_of_its_patch(patch_len, generator):
    embed = embedding(patch_len=patch_len, patches=20 // patch_len)
    bars = torch.randn(1, 2, 20, 3, generator=generator)
    other = bars.clone()
    other[0, 1, 13, 2] += 1

    changed = (embed(bars) != embed(other)).any(dim=-1)

    assert changed.nonzero().tolist() == [[0, 1, 13 // patch_len]]


def test_unpatching_undoes_patching(generator):
    embed = embedding(width=12)
    unpatch = Unpatch(timeframes=2, width=12, patch_len=4, channels=3)
    with torch.no_grad():
        for layer in (embed.projection, unpatch.projection):
            layer.weight.copy_(torch.eye(12).expand(2, 12, 12))
            layer.bias.zero_()
        embed.position.zero_()
    bars = torch.randn(2, 2, 20, 3, generator=generator)

    restored = unpatch(embed(bars))

    assert torch.equal(restored, bars)
