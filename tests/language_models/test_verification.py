"""Everything in a folder is gone through, and what is wrong is named."""

import json
from hashlib import sha256

import pytest
import torch
from safetensors.torch import save_file
from tiny_t5 import change_config, fault_of, rewrite, save_model, tiny_config, tiny_t5
from transformers import T5EncoderModel

from stage1.language_models.resolver import resolve
from stage1.language_models.verification import described, verify

LEGACY = "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"


@pytest.fixture
def folder(tmp_path):
    return save_model(tmp_path / "model")


def add(folder, name, value):
    rewrite(folder, lambda tensors: tensors.update({name: value}))


def fault(folder):
    return fault_of(verify, str(folder))


def state_card(folder, stated):
    (folder / "card.json").write_text(json.dumps(stated))


def digest(path):
    return sha256(path.read_bytes()).hexdigest()


def test_a_sound_model_is_described(folder):
    found = verify(str(folder))

    model = tiny_t5()
    decoder = sum(p.numel() for name, p in model.named_parameters() if name.startswith("decoder."))
    assert found.language_model.sha256 == resolve(str(folder)).sha256
    assert found.dropped == {"token table": 11 * 16, "decoder": decoder}
    assert found.tensors == len(list(model.named_parameters()))
    assert found.sha256 == {"model.safetensors": digest(folder / "model.safetensors")}
    assert not found.agrees_with_card
    assert found.evidence.verdict == "random"


@pytest.mark.parametrize("name", ["english-t5-nano", "english-t5-micro"])
def test_a_bundled_model_is_sound_pretrained_and_what_its_card_tells_of(name):
    found = verify(name)

    assert found.agrees_with_card
    assert found.evidence.verdict == "pretrained"


def test_every_shard_has_its_sha256(tmp_path):
    folder = save_model(tmp_path, max_shard_size="4KB")

    shards = sorted(folder.glob("model-*.safetensors"))

    assert len(shards) > 1
    assert verify(str(folder)).sha256 == {shard.name: digest(shard) for shard in shards}


@pytest.mark.parametrize("feed_forward", ["relu", "gated-gelu"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_both_families_are_sound_in_every_format(tmp_path, feed_forward, dtype):
    config = tiny_config(feed_forward, num_decoder_layers=1)

    found = verify(str(save_model(tmp_path, tiny_t5(config), dtype)))

    assert found.evidence.verdict == "random"


def test_an_encoder_alone_is_sound(tmp_path):
    found = verify(str(save_model(tmp_path, tiny_t5(kind=T5EncoderModel))))

    assert found.dropped == {"token table": 11 * 16}


def test_an_output_layer_and_the_bias_of_the_first_t5s_are_expected(folder):
    add(folder, LEGACY, torch.ones(32, 3))
    add(folder, "lm_head.weight", torch.ones(11, 16))

    assert verify(str(folder)).dropped["output layer"] == 11 * 16


def test_tensors_of_no_t5_are_named(folder):
    add(folder, "bert.pooler.dense.weight", torch.ones(16, 16))

    assert "got 1 tensor that config.json's T5 has not: 'bert.pooler.dense.weight'; " in fault(
        folder
    )


def test_of_many_wrong_tensors_three_are_named(folder):
    for index in range(5):
        add(folder, f"bert.{index}", torch.ones(2))

    assert (
        "got 5 tensors that config.json's T5 has not: 'bert.0', 'bert.1', 'bert.2' and 2 more; "
    ) in fault(folder)


def test_a_decoder_in_part_is_named(folder):
    rewrite(folder, lambda tensors: tensors.pop("decoder.final_layer_norm.weight"))

    assert "got 1 tensor missing: 'decoder.final_layer_norm.weight'; " in fault(folder)


@pytest.mark.parametrize(
    ("value", "message"), [(0.0, "got zeros only"), (torch.nan, "got NaN or infinity")]
)
@pytest.mark.parametrize("name", ["decoder.final_layer_norm.weight", "shared.weight"])
def test_values_are_checked_outside_the_encoder_too(folder, name, value, message):
    rewrite(folder, lambda tensors: tensors[name].fill_(value))

    found = fault(folder)
    assert name in found
    assert message in found


def test_a_broken_encoder_is_an_error(folder):
    rewrite(folder, lambda tensors: tensors.pop("encoder.final_layer_norm.weight"))

    assert "got 1 tensor missing: 'encoder.final_layer_norm.weight'; " in fault(folder)


@pytest.mark.parametrize("blocks", [0.5, "two", -1, 0, 10**30])
def test_a_number_of_decoder_blocks_that_is_none_is_an_error(folder, blocks):
    change_config(folder, num_decoder_layers=blocks)

    assert "num_decoder_layers must be an integer in [1, 1000], got " in fault(folder)


def test_a_config_without_decoder_blocks_means_as_many_as_the_encoder_s(folder):
    change_config(folder, num_decoder_layers=None)

    assert verify(str(folder)).dropped.keys() == {"token table", "decoder"}


def test_a_card_of_other_weights_is_an_error(folder):
    state_card(folder, {"weights_sha256": digest(folder / "model.safetensors")})
    assert verify(str(folder)).agrees_with_card
    rewrite(folder, lambda tensors: tensors["shared.weight"].add_(1))

    assert "card.json: weights_sha256 must be that of the weights, " in fault(folder)


@pytest.mark.parametrize("stated", [{}, [], "text", {"license": "mit"}])
def test_a_card_that_states_no_weights_is_not_ours_and_states_nothing(folder, stated):
    state_card(folder, stated)

    assert not verify(str(folder)).agrees_with_card


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("[" * 100_000, "card.json: must be a JSON file, got Rec", id="too deep"),
        pytest.param("{", "card.json: must be a JSON file, got JSON", id="cut off"),
        pytest.param(
            json.dumps({"weights_sha256": "\x1b[31m\n" * 2000}),
            r"got '\x1b[31m\n",
            id="control codes",
        ),
    ],
)
def test_a_broken_card_is_one_short_line(folder, text, message):
    (folder / "card.json").write_text(text)

    assert message in fault(folder)


def test_trained_matrices_are_told_from_fresh_ones_in_a_folder(tmp_path, folder):
    generator = torch.Generator().manual_seed(1)

    def train(tensors):
        """A pattern of rank one on top of every matrix of the first block, as training leaves."""
        for name, values in tensors.items():
            if name.startswith("encoder.block.0.") and values.ndim == 2:
                rows, columns = (torch.randn(size, generator=generator) for size in values.shape)
                values += 2 * torch.outer(rows, columns) * values.std()

    rewrite(folder, train)

    assert verify(str(folder)).evidence.verdict == "pretrained in 1 of 2 blocks"


def test_a_card_beside_shards_is_an_error(tmp_path):
    folder = save_model(tmp_path, max_shard_size="4KB")
    state_card(folder, {"weights_sha256": "0" * 64})

    assert "must be that of the weights" in fault(folder)


def test_safetensors_of_another_name_are_none_of_the_model_s(folder):
    save_file({"x": torch.ones(1)}, folder / "other.safetensors")

    assert list(verify(str(folder)).sha256) == ["model.safetensors"]


def test_a_t5_too_narrow_for_any_pattern_is_called_random(tmp_path):
    narrow = tiny_t5(tiny_config(d_model=1, d_kv=1, d_ff=1, num_heads=1))

    lines = described(verify(str(save_model(tmp_path, narrow))))

    assert ("verdict", "random") in lines
    assert any("0 of 7 matrices stand out" in text for _, text in lines)
