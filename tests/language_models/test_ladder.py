from typing import get_args

import numpy as np
import pytest
import torch
from scipy.stats import kstest

from stage1.config import Initialization
from stage1.language_models.ladder import (
    KEPT,
    REDRAWN,
    relative_step,
    same_spectrum,
    weights_of_rung,
)
from stage1.run.columns import LADDER

MATRIX = "block.0.layer.0.SelfAttention.q.weight"
BIAS = "block.0.layer.0.SelfAttention.relative_attention_bias.weight"
NORM = "block.0.layer.0.layer_norm.weight"
FEED_FORWARD = "block.0.layer.1.DenseReluDense.wi.weight"


@pytest.fixture
def weights(generator):
    return {
        MATRIX: 3 + torch.randn(48, 32, generator=generator).abs(),
        BIAS: torch.randn(8, 4, generator=generator),
        NORM: torch.rand(32, generator=generator),
        FEED_FORWARD: torch.randn(64, 32, generator=generator),
    }


def test_the_names_of_the_configuration_the_ladder_and_the_roles_are_the_same():
    rungs = {*REDRAWN, *KEPT}

    assert set(get_args(Initialization)) == {"pretrained", "random", *rungs}
    assert set(LADDER) == rungs - {"shuffled"}


@pytest.mark.parametrize("rung", REDRAWN)
def test_the_relative_bias_stays_and_every_other_tensor_is_drawn_anew_by_its_seed(weights, rung):
    first, again, other = (weights_of_rung(weights, rung, seed=seed) for seed in (1, 1, 2))

    assert torch.equal(first[BIAS], weights[BIAS])
    for name in (MATRIX, FEED_FORWARD, NORM):
        assert torch.equal(first[name], again[name])
        assert not torch.equal(first[name], other[name])
        assert not torch.equal(first[name], weights[name])


@pytest.mark.parametrize(
    ("rung", "names"),
    [("shuffled", (MATRIX, FEED_FORWARD, NORM)), ("spectrum", (NORM,))],
)
def test_what_is_shuffled_has_the_same_entries(weights, rung, names):
    drawn = weights_of_rung(weights, rung, seed=0)

    for name in names:
        assert torch.equal(drawn[name].flatten().sort()[0], weights[name].flatten().sort()[0])


@pytest.mark.parametrize("shape", [(48, 32), (1500,)])
def test_mean_and_deviation_are_kept_and_the_shape_of_the_distribution_is_normal(shape, generator):
    tensor = 3 + torch.randn(shape, generator=generator).abs()

    drawn = weights_of_rung({MATRIX: tensor}, "mean_sd", seed=0)[MATRIX].flatten().double().numpy()
    before = tensor.flatten().double().numpy()

    assert kstest(drawn, "norm", args=(before.mean(), before.std())).pvalue > 1e-3
    assert kstest(before, "norm", args=(before.mean(), before.std())).pvalue < 1e-6


@pytest.mark.parametrize("shape", [(48, 32), (32, 48), (16, 16)])
def test_the_spectrum_is_kept_between_bases_that_are_not(shape, generator):
    matrix = torch.randn(shape, generator=generator)

    drawn = same_spectrum(matrix, generator)

    assert np.linalg.svd(drawn.numpy())[1] == pytest.approx(np.linalg.svd(matrix)[1], rel=1e-4)
    before, after = (torch.linalg.svd(one, full_matrices=False).U for one in (matrix, drawn))
    assert (before * after).sum(0).abs().max() < 0.9


@pytest.mark.parametrize(
    ("rung", "names"),
    [("norms_only", {NORM}), ("attention_only", {MATRIX, BIAS}), ("mlp_only", {FEED_FORWARD})],
)
def test_a_rung_of_kept_tensors_has_those_and_no_others(weights, rung, names):
    kept = weights_of_rung(weights, rung, seed=0)

    assert kept.keys() == names
    assert all(torch.equal(kept[name], weights[name]) for name in names)


def test_the_kept_tensors_of_all_rungs_are_the_whole_model(weights):
    kept = [weights_of_rung(weights, rung, seed=0).keys() for rung in KEPT]

    assert set().union(*kept) == weights.keys()
    assert sum(map(len, kept)) == len(weights)


def test_the_ends_of_the_ladder(weights):
    assert weights_of_rung(weights, "random", seed=0) == {}
    pretrained = weights_of_rung(weights, "pretrained", seed=0)
    assert all(torch.equal(pretrained[name], weights[name]) for name in weights)
    pretrained[NORM].zero_()
    assert weights[NORM].any()


def test_a_rung_that_is_none_is_refused(weights):
    with pytest.raises(ValueError, match="'half'"):
        weights_of_rung(weights, "half", seed=0)


def test_the_relative_step_is_the_moved_length_over_the_length():
    before = {"a": torch.tensor([3.0, 0.0]), "b": torch.tensor([[4.0]])}
    now = {"a": torch.tensor([3.0, 1.0]), "b": torch.tensor([[4.0]])}

    assert relative_step(before, now) == pytest.approx(1 / 5)
    assert np.isnan(relative_step({"a": torch.zeros(2)}, {"a": torch.ones(2)}))
