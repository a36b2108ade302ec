import copy
from typing import get_args

import numpy as np
import pytest
import torch
from tiny_t5 import encoder_fields
from transformers import T5Config
from transformers.models.t5.modeling_t5 import T5Stack

from stage1.base.errors import ConfigError
from stage1.config import Initialization
from stage1.language_models.initialization import build_t5
from stage1.language_models.resolver import LanguageModel, weights_sha256
from stage1.language_models.t5_dimensions import encoder_shapes

BIAS = "block.0.layer.0.SelfAttention.relative_attention_bias.weight"
ARMS = get_args(Initialization)
REDRAWN = ("shuffled", "mean_sd", "spectrum")
KEEPING = ("norms_only", "attention_only", "mlp_only")


def language_model(**changes):
    """Weights that no initialisation would give: every value once, in order."""
    config = encoder_fields(**changes)
    weights, start = {}, 0
    for name, shape in sorted(encoder_shapes(config).items()):
        size = torch.Size(shape).numel()
        weights[name] = (torch.arange(start, start + size) * 1e-4).view(shape)
        start += size
    return LanguageModel("tiny", config, weights, 13.5, weights_sha256(weights), dropped=0)


def inputs(requires_grad=False):
    generator = torch.Generator().manual_seed(5)
    return torch.randn(2, 6, 16, generator=generator, requires_grad=requires_grad)


def test_the_pretrained_arm_holds_the_language_model_s_weights():
    model = language_model()

    stack, sha256 = build_t5(model, initialization="pretrained", seed=0)

    state = stack.state_dict()
    assert state.keys() == model.weights.keys()
    assert all(torch.equal(state[name], model.weights[name]) for name in state)
    assert sha256 == model.sha256


@pytest.mark.parametrize("arm", ARMS)
def test_neither_global_randomness_nor_training_a_copy_has_influence_on_the_next(arm):
    model, options = language_model(), {"initialization": arm, "seed": 7, "n_pretrained_blocks": 1}
    torch.manual_seed(1)
    stack, first = build_t5(model, **options)
    with torch.no_grad():
        for parameter in stack.parameters():
            parameter.mul_(2)
    torch.manual_seed(2)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()

    again = build_t5(model, **options)[1]

    assert again == first
    assert weights_sha256(model.weights) == model.sha256
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])


@pytest.mark.parametrize("feed_forward", ["relu", "gated-gelu"])
@pytest.mark.parametrize("factor", [1.0, 0.05])
def test_the_random_arm_is_transformers_own_initialisation(feed_forward, factor):
    model = language_model(feed_forward_proj=feed_forward)
    config = T5Config(
        **model.config, vocab_size=1, initializer_factor=factor, is_encoder_decoder=False
    )
    with torch.random.fork_rng():
        torch.manual_seed(9)
        reference = T5Stack(config).state_dict()
    del reference["embed_tokens.weight"]

    stack, sha256 = build_t5(model, initialization="random", seed=9, initializer_factor=factor)

    assert sha256 == weights_sha256(reference)
    assert torch.all(stack.final_layer_norm.weight == factor)


@pytest.mark.parametrize("feed_forward", ["relu", "gated-gelu"])
@pytest.mark.parametrize("arm", REDRAWN)
def test_every_tensor_but_the_relative_bias_is_drawn_anew_in_its_own_way(arm, feed_forward):
    model = language_model(feed_forward_proj=feed_forward)

    state = build_t5(model, initialization=arm, seed=2)[0].state_dict()

    assert {name for name in state if torch.equal(state[name], model.weights[name])} == {BIAS}
    keys = (state[f"block.{block}.layer.0.SelfAttention.k.weight"] for block in range(3))
    first, second, third = (key.flatten().argsort() for key in keys)
    assert not torch.equal(first, second)
    assert not torch.equal(second, third)


def test_shuffling_keeps_the_entries_of_every_tensor():
    model = language_model()

    state = build_t5(model, initialization="shuffled", seed=2)[0].state_dict()

    for name, shuffled in state.items():
        original = model.weights[name]
        assert sorted(shuffled.flatten().tolist()) == sorted(original.flatten().tolist())


@pytest.mark.parametrize("arm", KEEPING)
def test_what_a_rung_does_not_keep_is_the_random_arm_s(arm):
    model, options = language_model(), {"seed": 3, "initializer_factor": 0.05}
    fresh = build_t5(model, initialization="random", **options)[0].state_dict()

    state = build_t5(model, initialization=arm, **options)[0].state_dict()

    part = {"norms_only": "layer_norm", "attention_only": "Attention", "mlp_only": "Dense"}[arm]
    for name, tensor in state.items():
        assert torch.equal(tensor, (model.weights if part in name else fresh)[name]), name


def test_shuffling_leaves_a_value_in_place_no_more_often_than_chance():
    model = language_model(d_model=64, d_ff=256)

    stack, _ = build_t5(model, initialization="shuffled", seed=2)

    name = "block.1.layer.1.DenseReluDense.wo.weight"
    in_place = int((stack.state_dict()[name] == model.weights[name]).sum())
    assert in_place < 8  # Poisson with mean 1: probability 1e-5


@pytest.mark.parametrize("arm", ["pretrained", *REDRAWN, *KEEPING])
@pytest.mark.parametrize("blocks", [1, 2])
@pytest.mark.parametrize("factor", [1.0, 0.05])
def test_the_first_blocks_are_the_arm_s_and_the_rest_the_random_arm_s(arm, blocks, factor):
    model, options = language_model(), {"seed": 3, "initializer_factor": factor}
    fresh, every = (
        build_t5(model, initialization=one, **options)[0].state_dict() for one in ("random", arm)
    )

    stack, sha256 = build_t5(model, initialization=arm, n_pretrained_blocks=blocks, **options)

    for name, tensor in stack.state_dict().items():
        first = name.startswith(tuple(f"block.{block}." for block in range(blocks)))
        assert torch.equal(tensor, (every if first else fresh)[name]), name
    assert sha256 == weights_sha256(stack.state_dict())


@pytest.mark.parametrize("arm", ["pretrained", *REDRAWN])
def test_a_block_begins_the_same_however_many_blocks_are_taken_with_it(arm):
    model = language_model(num_layers=12)  # by name, blocks 10 and 11 come before block 2
    every = build_t5(model, initialization=arm, seed=3)[0].state_dict()

    first = build_t5(model, initialization=arm, seed=3, n_pretrained_blocks=3)[0].state_dict()

    of_the_first = [name for name in every if name.startswith(("block.0.", "block.1.", "block.2."))]
    assert len(of_the_first) == 3 * 9 + 1
    assert all(torch.equal(first[name], every[name]) for name in of_the_first)


CONTROLS = (
    [
        {"initialization": "random", "initializer_factor": 1.0},
        {"initialization": "random", "initializer_factor": 0.05},
    ]
    + [
        {"initialization": arm, "n_pretrained_blocks": blocks, "initializer_factor": factor}
        for arm in ("pretrained", *REDRAWN)
        for blocks, factor in ((1, 1.0), (1, 0.05), (2, 1.0), (2, 0.05), (None, 1.0))
    ]
    + [
        {"initialization": arm, "n_pretrained_blocks": blocks, "initializer_factor": factor}
        for arm in KEEPING
        for blocks, factor in ((1, 1.0), (1, 0.05), (None, 1.0), (None, 0.05))
    ]
)


def test_every_control_and_seed_has_its_own_fingerprint_and_has_it_again():
    model = language_model()

    first, again = (
        [build_t5(model, seed=seed, **control)[1] for control in CONTROLS for seed in (0, 1)]
        for _ in range(2)
    )

    assert first == again
    assert len(set(first)) == 2 * len(CONTROLS) - 1  # all pretrained weights need no seed


@pytest.mark.parametrize("arm", ["pretrained", *REDRAWN])
def test_where_nothing_is_fresh_the_factor_of_fresh_weights_has_no_effect(arm):
    options = ({}, {"initializer_factor": 0.05}, {"n_pretrained_blocks": 3})

    built = {build_t5(language_model(), initialization=arm, seed=0, **some)[1] for some in options}

    assert len(built) == 1


@pytest.mark.parametrize("arm", ARMS)
@pytest.mark.parametrize("blocks", [0, 4, -1])
def test_a_number_of_blocks_the_model_does_not_have_is_an_error_that_names_the_key(arm, blocks):
    with pytest.raises(ConfigError) as caught:
        build_t5(language_model(), initialization=arm, seed=0, n_pretrained_blocks=blocks)

    message = str(caught.value)
    assert message.startswith("transfer_learning.n_pretrained_blocks must be from 1 to 3")
    assert f"got {blocks}" in message


@pytest.mark.parametrize("arm", ARMS)
def test_dropout_acts_in_every_arm_and_not_at_all_by_default(arm):
    model = language_model()

    dropping = build_t5(model, initialization=arm, seed=0, dropout=0.5)[0]
    plain = build_t5(model, initialization=arm, seed=0)[0]

    assert dropping.training
    assert all(module.training for module in dropping.modules())
    assert not torch.equal(
        dropping(inputs_embeds=inputs()).last_hidden_state,
        dropping(inputs_embeds=inputs()).last_hidden_state,
    )
    assert torch.equal(
        plain(inputs_embeds=inputs()).last_hidden_state,
        dropping.eval()(inputs_embeds=inputs()).last_hidden_state,
    )


def test_attention_is_sdpa_and_agrees_with_the_plain_computation():
    stack, _ = build_t5(language_model(), initialization="random", seed=1)
    plain = copy.deepcopy(stack)
    plain.set_attn_implementation("eager")
    mask = torch.tensor([[1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 0, 0]])

    ours = stack(inputs_embeds=inputs(), attention_mask=mask).last_hidden_state
    theirs = plain(inputs_embeds=inputs(), attention_mask=mask).last_hidden_state

    assert stack.config._attn_implementation == "sdpa"
    torch.testing.assert_close(ours[0], theirs[0], rtol=2e-6, atol=2e-6)
    torch.testing.assert_close(ours[1, :4], theirs[1, :4], rtol=2e-6, atol=2e-6)


def test_gradients_reach_inputs_and_weights_with_and_without_checkpointing(caplog):
    stack, _ = build_t5(language_model(), initialization="random", seed=1)
    bars = inputs(requires_grad=True)
    stack(inputs_embeds=bars).last_hidden_state.square().sum().backward()
    plain = bars.grad.clone()
    bars.grad = None

    stack.activation_checkpointing_enable()
    stack(inputs_embeds=bars).last_hidden_state.square().sum().backward()

    assert all(parameter.grad is not None for parameter in stack.parameters())
    torch.testing.assert_close(bars.grad, plain)
    assert not caplog.records


def test_building_says_nothing(capfd):
    for arm in ARMS:
        build_t5(language_model(), initialization=arm, seed=1)

    assert capfd.readouterr() == ("", "")


def test_weights_that_may_not_be_written_are_copied():
    model = language_model()
    arrays = {name: tensor.numpy().copy() for name, tensor in model.weights.items()}
    for array in arrays.values():
        array.flags.writeable = False
    with pytest.warns(UserWarning, match="not writable"):
        shared = {name: torch.from_numpy(array) for name, array in arrays.items()}

    stack, _ = build_t5(model._replace(weights=shared), initialization="pretrained", seed=0)

    assert not any(
        parameter.data_ptr() == shared[name].data_ptr()
        for name, parameter in stack.named_parameters()
    )
