import json

import pytest
import torch
from huggingface_hub import constants
from tiny_t5 import cache_snapshot, fault_of, tiny_config
from transformers import T5EncoderModel, T5ForConditionalGeneration

from stage1.base.errors import ModelError
from stage1.language_models import names
from stage1.language_models.initialization import t5_stack
from stage1.language_models.names import bundled_names
from stage1.language_models.t5_dimensions import (
    PUBLIC_CONFIGS,
    decoder_shapes,
    encoder_config,
    encoder_names,
    encoder_shapes,
    missing_and_unexpected,
    parameters_by_part,
)

TINY = {"d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 2, "num_heads": 3}
TINY |= {"feed_forward_proj": "gated-gelu"}

# Parameters of the whole model, token tables and decoder included, as published: the checkpoints'
# counts on the hub; for T5-Efficient its cards' "million parameters", a quarter of the file's bytes
# and so 10 k too many.
PUBLISHED_PARAMETERS = {
    "google-t5/t5-small": 60_506_624,
    "google-t5/t5-base": 222_903_552,
    "google-t5/t5-large": 737_668_096,
    "google-t5/t5-3b": 2_851_598_336,
    "google/t5-v1_1-small": 76_961_152,
    "google/t5-v1_1-base": 247_577_856,
    "google/t5-v1_1-large": 783_150_080,
    "google/flan-t5-small": 76_961_152,
    "google/flan-t5-base": 247_577_856,
    "google/flan-t5-large": 783_150_080,
    "google/t5-efficient-tiny": 15.58e6,
    "google/t5-efficient-mini": 31.23e6,
}


def write_config(folder, **changes):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"model_type": "t5"} | TINY | changes))
    return folder


@pytest.mark.parametrize("name", PUBLIC_CONFIGS)
def test_a_public_size_adds_up_to_its_published_number_of_parameters(name):
    config = PUBLIC_CONFIGS[name]
    width, inner = config["d_model"], config["d_kv"] * config["num_heads"]
    encoder = sum(torch.Size(shape).numel() for shape in encoder_shapes(config).values())
    cross_attention = config["num_layers"] * (4 * width * inner + width)
    tables = 2 if config["feed_forward_proj"] == "gated-gelu" else 1  # 1.1 does not tie its head

    total = 2 * encoder + cross_attention + tables * 32128 * width

    assert total == pytest.approx(
        PUBLISHED_PARAMETERS[name], rel=1e-3 if "efficient" in name else 0, abs=0
    )


@pytest.mark.parametrize("feed_forward", ["relu", "gated-gelu"])
def test_names_and_shapes_are_those_of_the_encoder_in_transformers(tmp_path, feed_forward):
    config = encoder_config(str(write_config(tmp_path, feed_forward_proj=feed_forward)))

    stack = t5_stack(config)

    expected = {name: tuple(tensor.shape) for name, tensor in stack.state_dict().items()}
    assert encoder_shapes(config) == expected


def test_parameters_of_t5_large_are_counted_without_memory_weights_or_network(monkeypatch):
    monkeypatch.setattr("socket.socket.connect", pytest.fail)

    with torch.device("meta"):
        stack = t5_stack(encoder_config("t5-large"))

    # 24 blocks of 12 * 1024^2 weights and two norms, one relative bias of 32 x 16, the last norm
    assert sum(p.numel() for p in stack.parameters()) == 24 * (12 * 1024**2 + 2048) + 512 + 1024


def test_a_folder_is_described_by_its_config_and_t5s_defaults(tmp_path):
    config = encoder_config(str(write_config(tmp_path)))

    assert config == TINY | {
        "relative_attention_num_buckets": 32,
        "relative_attention_max_distance": 128,
        "layer_norm_epsilon": 1e-6,
    }


def test_a_bundled_name_is_described_by_the_package_s_own_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(names, "BUNDLED_FOLDER", tmp_path)
    write_config(tmp_path / "english-t5-mini", d_ff=40)
    (tmp_path / "not-a-model").mkdir()

    config = encoder_config("english-t5-mini")

    assert bundled_names() == ["english-t5-mini"]
    assert config["d_ff"] == 40


def test_a_hub_model_outside_the_table_is_described_from_the_cache_or_not_at_all(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    write_config(cache_snapshot(tmp_path, "somebody/my-t5"), d_model=64)

    assert encoder_config("somebody/my-t5")["d_model"] == 64
    with pytest.raises(ModelError, match=r"^some/other: must .*google-t5/t5-small.*fetch it"):
        encoder_config("some/other")


def test_a_folder_wins_over_a_hub_model_of_the_same_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_config(tmp_path / "google" / "flan-t5-small")

    assert encoder_config("google/flan-t5-small")["d_model"] == 16


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param({"model_type": "bert"}, "model_type must be 't5', got 'bert'", id="BERT"),
        pytest.param({"model_type": None}, "model_type must be 't5', got None", id="no type"),
        pytest.param({"d_ff": None}, "d_ff must be an integer in [1, 1048576], got No", id="none"),
        pytest.param({"num_heads": 0}, "num_heads must be an integer in [1, 1048576], g", id="0"),
        pytest.param({"d_kv": True}, "d_kv must be an integer in [1, 1048576], got Tr", id="True"),
        pytest.param({"d_ff": "x" * 3000}, "d_ff must be an integer in [1, 104", id="long text"),
        pytest.param(
            {"num_layers": 10**30}, "num_layers must be an integer in [1, 1000], got 1", id="blocks"
        ),
        pytest.param({"d_model": 10**4200}, "d_model must be an integer in [1, 10", id="huge"),
        pytest.param(
            {"feed_forward_proj": "gelu"},
            "feed_forward_proj must be one of relu, gated-gelu, got 'gelu'",
            id="activation",
        ),
        *(
            pytest.param(
                {"layer_norm_epsilon": value},
                "layer_norm_epsilon must be a finite number > 0, got ",
                id=f"epsilon {str(value)[:9]}",
            )
            for value in ("abc", None, -1, [1], True, 0, float("nan"), float("inf"), 10**400)
        ),
        pytest.param(
            {"relative_attention_num_buckets": 3},
            "relative_attention_num_buckets must be an integer in [4, 1048576], got 3",
            id="buckets",
        ),
        pytest.param(
            {"relative_attention_max_distance": 8},
            "relative_attention_max_distance must be an integer in [9, 1048576], got 8",
            id="distance",
        ),
    ],
)
def test_a_config_that_is_no_t5s_is_one_line_with_the_value(tmp_path, changes, message):
    write_config(tmp_path, **changes)

    found = fault_of(encoder_config, str(tmp_path))

    assert f"config.json: {message}" in found
    assert found.endswith("choose a T5")


@pytest.mark.parametrize(("buckets", "distance"), [(4, 2), (5, 2), (32, 9), (33, 9)])
def test_the_smallest_buckets_and_distances_that_pass_can_be_computed_with(
    tmp_path, buckets, distance
):
    write_config(
        tmp_path,
        relative_attention_num_buckets=buckets,
        relative_attention_max_distance=distance,
    )

    encoded = t5_stack(encoder_config(str(tmp_path)))(inputs_embeds=torch.ones(1, 64, 16))

    assert encoded.last_hidden_state.isfinite().all()


def test_an_epsilon_that_is_an_integer_is_the_float_that_transformers_takes(tmp_path):
    config = encoder_config(str(write_config(tmp_path, layer_norm_epsilon=1)))

    assert t5_stack(config).final_layer_norm.eps == 1.0


@pytest.mark.parametrize("text", ["{", "[]", "null", b"\xff\xfe", "[" * 100_000])
def test_a_config_that_is_no_json_object_is_one_line(tmp_path, text):
    (tmp_path / "config.json").write_bytes(text if isinstance(text, bytes) else text.encode())

    assert "must be" in fault_of(encoder_config, str(tmp_path))


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
    missing, unexpected = missing_and_unexpected(found, config, decoder_blocks=2)
    return sorted(missing), sorted(unexpected)


def test_neither_a_whole_t5_nor_an_encoder_alone_lacks_anything_and_half_a_decoder_does():
    whole, of_a_decoder = beside_the_encoder(), "decoder.block.1.layer.2.DenseReluDense.wo.weight"

    for found in (whole, whole | {LEGACY: (32, 3)}, {"shared.weight": (11, 16)}, {}):
        assert compare(found) == ([], [])
    del whole[of_a_decoder]
    assert compare(whole) == ([of_a_decoder], [])


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
