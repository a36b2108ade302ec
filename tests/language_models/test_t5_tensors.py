"""Which tensor belongs to which part, against T5s that `transformers` builds."""

import pytest
import torch
from tiny_t5 import tiny_config
from transformers import T5EncoderModel, T5ForConditionalGeneration

from stage1.language_models.t5_tensors import (
    block_of,
    decoder_shapes,
    encoder_names,
    expected_beside_the_encoder,
    parameters_by_part,
)

LEGACY = "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"


def shapes_of(kind, config):
    with torch.device("meta"):
        return {key: tuple(value.shape) for key, value in kind(config).state_dict().items()}


@pytest.mark.parametrize("feed_forward", ["relu", "gated-gelu"])
def test_the_decoder_s_shapes_are_those_of_transformers(feed_forward):
    config = tiny_config(feed_forward, num_decoder_layers=3)

    shapes = decoder_shapes(config.to_dict(), blocks=3)

    built = shapes_of(T5ForConditionalGeneration, config)
    assert shapes == {
        key: shape
        for key, shape in built.items()
        if key.startswith("decoder.") and "embed_tokens" not in key
    }


@pytest.mark.parametrize("kind", [T5ForConditionalGeneration, T5EncoderModel])
def test_the_encoder_s_names_are_told_apart_with_and_without_their_prefix(kind):
    whole = shapes_of(kind, tiny_config())
    stack = {key.removeprefix("encoder.") for key in whole if key.startswith("encoder.")}
    without_table = stack - {"embed_tokens.weight"}

    assert encoder_names(whole) == {key: f"encoder.{key}" for key in without_table}
    assert encoder_names(stack) == {key: key for key in without_table}
    assert encoder_names(["bert.encoder.layer.0.output.dense.weight"]) == {}


def beside_the_encoder():
    built = shapes_of(T5ForConditionalGeneration, tiny_config())
    return {key: shape for key, shape in built.items() if key not in encoder_names(built).values()}


def compare(found):
    config = tiny_config().to_dict()
    missing, unexpected = expected_beside_the_encoder(found, config, decoder_blocks=2)
    return sorted(missing), sorted(unexpected)


def test_a_whole_t5_has_nothing_missing_and_nothing_unexpected():
    assert compare(beside_the_encoder()) == ([], [])
    assert compare(beside_the_encoder() | {LEGACY: (32, 3)}) == ([], [])


def test_an_encoder_alone_lacks_nothing():
    assert compare({"shared.weight": (11, 16)}) == ([], [])
    assert compare({"embed_tokens.weight": (11, 16)}) == ([], [])
    assert compare({}) == ([], [])


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        pytest.param("bert.pooler.dense.weight", (16, 16), id="another architecture's"),
        pytest.param("decoder.block.2.layer.0.layer_norm.weight", (16,), id="a block too many"),
        pytest.param("lm_head.weight", (11, 15), id="another width"),
        pytest.param("shared.weight", (16,), id="a table of one axis"),
        pytest.param("decoder.final_layer_norm.weight", (15,), id="another shape"),
    ],
)
def test_what_is_none_of_the_config_s_is_named(name, shape):
    assert compare(beside_the_encoder() | {name: shape}) == ([], [name])


def test_what_is_missing_of_a_decoder_is_named():
    found = beside_the_encoder()
    del found["decoder.block.1.layer.2.DenseReluDense.wo.weight"]

    assert compare(found) == (["decoder.block.1.layer.2.DenseReluDense.wo.weight"], [])


def test_parameters_are_summed_by_part_in_a_fixed_order():
    shapes = {
        "lm_head.weight": (1, 1),
        "classifier.weight": (2, 1),
        "decoder.final_layer_norm.weight": (4,),
        "decoder.embed_tokens.weight": (2, 4),
        "encoder.embed_tokens.weight": (4, 4),
        LEGACY: (8, 4),
    }

    assert list(parameters_by_part(shapes).items()) == [
        ("token table", 24),
        ("decoder", 36),
        ("output layer", 1),
        ("other tensors", 2),
    ]
    assert parameters_by_part({}) == {}


def test_the_final_norm_belongs_to_the_last_block():
    assert block_of("final_layer_norm.weight", 12) == 11
    assert block_of("block.10.layer.0.layer_norm.weight", 12) == 10
