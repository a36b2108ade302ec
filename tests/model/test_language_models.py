import hashlib
import json
import os
import subprocess
import sys

import huggingface_hub
import numpy as np
import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save_file
from transformers import BertConfig, T5Config, T5EncoderModel, T5ForConditionalGeneration

from stage1.errors import ModelError
from stage1.model import language_models, t5_dimensions
from stage1.model.initialization import build_t5
from stage1.model.language_models import resolve, weights_sha256

COMMIT = "c" * 40
Q = "encoder.block.0.layer.0.SelfAttention.q.weight"


def tiny_config(feed_forward="gated-gelu"):
    """Heads that do not add up to d_model, as in T5 1.1 small."""
    return T5Config(
        vocab_size=11,
        d_model=16,
        d_kv=8,
        d_ff=24,
        num_layers=2,
        num_heads=3,
        feed_forward_proj=feed_forward,
    )


def save_model(folder, model, dtype=torch.float32, **options):
    with torch.random.fork_rng():
        model.to(dtype).save_pretrained(folder, **options)
    return str(folder)


@pytest.fixture
def model():
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return T5ForConditionalGeneration(tiny_config())


@pytest.fixture
def folder(tmp_path, model):
    save_model(tmp_path / "model", model)
    return tmp_path / "model"


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """An empty Hugging Face cache, and no way out."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


def cache_snapshot(hub, source, repository="google-t5/t5-small", revision="main"):
    """What a download leaves behind: a snapshot of the commit, and a reference to it."""
    storage = hub / f"models--{repository.replace('/', '--')}"
    (storage / "snapshots").mkdir(parents=True)
    source.rename(storage / "snapshots" / COMMIT)
    reference = storage / "refs" / revision
    reference.parent.mkdir(parents=True, exist_ok=True)
    reference.write_text(COMMIT)
    return storage / "snapshots" / COMMIT


def rewrite(folder, change):
    """Change the stored tensors; `change` edits the mapping in place."""
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")


def fault(name):
    with pytest.raises(ModelError) as caught:
        resolve(str(name))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def encode(stack, seed=3):
    inputs = torch.randn(2, 5, 16, generator=torch.Generator().manual_seed(seed))
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
    with torch.no_grad():
        return stack(inputs_embeds=inputs, attention_mask=mask).last_hidden_state


@pytest.mark.parametrize("feed_forward", ["relu", "gated-gelu"])
@pytest.mark.parametrize("kind", [T5ForConditionalGeneration, T5EncoderModel])
def test_the_encoder_gives_what_transformers_own_loading_gives(tmp_path, kind, feed_forward):
    name = save_model(tmp_path / "model", kind(tiny_config(feed_forward)))
    reference = kind.from_pretrained(name).get_encoder().eval()

    stack, _ = build_t5(resolve(name), initialization="pretrained", seed=0)

    # gelu_new and its fused kernel round differently; everything else is the same arithmetic
    torch.testing.assert_close(encode(stack.eval()), encode(reference), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_any_float_format_is_read_exactly_as_float32(tmp_path, model, dtype):
    name = save_model(tmp_path / "model", model, dtype)

    weights = resolve(name).weights

    expected = {key: value for key, value in model.encoder.state_dict().items() if "emb" not in key}
    assert weights.keys() == expected.keys()
    assert all(weights[key].dtype == torch.float32 for key in weights)
    assert all(torch.equal(weights[key], expected[key].float()) for key in weights)


def test_shards_and_a_single_file_are_the_same_model(tmp_path, model):
    single = resolve(save_model(tmp_path / "single", model))
    sharded = tmp_path / "sharded"
    save_model(sharded, model, max_shard_size="4KB")
    assert not (sharded / "model.safetensors").exists()

    assert resolve(str(sharded)).sha256 == single.sha256
    assert resolve(str(sharded)).embedding_rms == single.embedding_rms


@pytest.mark.parametrize("table", ["shared.weight", "encoder.embed_tokens.weight"])
def test_the_embedding_rms_is_that_of_the_token_table_which_is_dropped(folder, model, table):
    def rename(tensors):
        tensors[table] = tensors.pop("shared.weight")

    rewrite(folder, rename)

    language_model = resolve(str(folder))

    values = model.shared.weight.detach().numpy().astype(np.float64)
    assert language_model.embedding_rms == pytest.approx(np.sqrt((values**2).mean()), rel=1e-12)
    assert not any("embed" in key or "shared" in key for key in language_model.weights)


def test_a_large_float16_table_does_not_overflow_the_rms(folder):
    def enlarge(tensors):
        tensors["shared.weight"] = torch.full((11, 16), 6e4, dtype=torch.float16)

    rewrite(folder, enlarge)

    assert resolve(str(folder)).embedding_rms == pytest.approx(6e4, rel=1e-3)


def test_a_folder_without_a_token_table_has_no_embedding_rms(folder):
    rewrite(folder, lambda tensors: tensors.pop("shared.weight"))

    assert resolve(str(folder)).embedding_rms is None


def test_the_fingerprint_is_the_sha256_of_names_shapes_and_float32_bytes(folder):
    language_model = resolve(str(folder))

    digest = hashlib.sha256()
    for key, value in sorted(language_model.weights.items()):
        digest.update(f"{key} {tuple(value.shape)}\n".encode() + value.numpy().tobytes())
    assert language_model.sha256 == digest.hexdigest()


def test_the_fingerprint_sees_one_changed_value_a_name_and_a_shape_but_not_the_order():
    weights = {"a": torch.arange(6.0).view(2, 3), "b": torch.ones(2)}
    same = {"b": torch.ones(2), "a": torch.arange(6.0).view(2, 3)}
    others = [
        weights | {"b": torch.tensor([1.0, 1.0000001])},
        weights | {"a": torch.arange(6.0).view(3, 2)},
        {"a": weights["a"], "c": weights["b"]},
    ]

    fingerprints = {weights_sha256(other) for other in others}

    assert weights_sha256(same) == weights_sha256(weights)
    assert len(fingerprints | {weights_sha256(weights)}) == 4


def test_the_weights_do_not_change_with_the_file_they_came_from(folder):
    language_model = resolve(str(folder))

    with (folder / "model.safetensors").open("r+b") as file:
        file.write(bytes((folder / "model.safetensors").stat().st_size))

    assert weights_sha256(language_model.weights) == language_model.sha256


def test_a_bundled_name_is_read_from_the_package(folder, monkeypatch):
    monkeypatch.setattr(t5_dimensions, "BUNDLED_FOLDER", folder.parent)

    assert resolve("model").name == "model"


@pytest.mark.parametrize("name", t5_dimensions.bundled_names())
def test_every_bundled_model_is_whole_and_knows_its_input_scale(name):
    assert resolve(name).embedding_rms > 0


def test_a_cached_hub_model_is_read_offline_under_its_old_and_new_name(hub, folder):
    expected = resolve(str(folder)).sha256
    cache_snapshot(hub, folder)

    assert resolve("t5-small").sha256 == expected
    assert resolve("google-t5/t5-small").sha256 == expected


def test_a_revision_of_a_hub_model_can_be_named(hub, folder):
    cache_snapshot(hub, folder, "google/t5-efficient-tiny", "refs/pr/1")

    assert resolve("google/t5-efficient-tiny@refs/pr/1").embedding_rms is not None
    assert "HF_HUB_OFFLINE is set" in fault("google/t5-efficient-tiny")


def test_the_offline_switch_of_the_environment_works_in_a_fresh_process(hub, folder):
    cache_snapshot(hub, folder)
    code = "from stage1.model.language_models import resolve; print(resolve('t5-small').sha256)"
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(hub)}

    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )

    assert done.stdout.strip() == resolve("t5-small").sha256


def test_without_network_or_cache_the_error_names_three_ways_and_no_model_is_made_up(hub):
    message = fault("google/flan-t5-small")

    assert message.startswith("google/flan-t5-small: must be in the Hugging Face cache")
    assert "HF_HUB_OFFLINE is set" in message
    assert all(way in message for way in ("bundled", "local folder", "hub model"))


def test_a_hub_out_of_reach_is_an_error_with_its_reason(hub, monkeypatch):
    def refuse(*arguments, local_files_only=False, **options):
        raise huggingface_hub.errors.LocalEntryNotFoundError("ConnectError: no route\nmore lines")

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(language_models, "snapshot_download", refuse)

    assert "got LocalEntryNotFoundError: ConnectError: no route; name" in fault("t5-small")


def test_a_download_asks_for_config_and_safetensors_only(hub, folder, monkeypatch):
    asked = []

    def download(repository, *, revision, allow_patterns, local_files_only=False):
        if local_files_only:
            raise huggingface_hub.errors.LocalEntryNotFoundError("not cached")
        asked.extend(allow_patterns)
        return str(folder)

    monkeypatch.setattr(language_models, "snapshot_download", download)

    resolve("google-t5/t5-small")

    assert all(pattern.endswith((".json", ".safetensors")) for pattern in asked)
    assert "model.safetensors" in asked


def test_a_hub_model_with_pickled_weights_only_points_to_its_conversion(hub, folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    cache_snapshot(hub, folder, "google/t5-v1_1-small")

    message = fault("google/t5-v1_1-small")

    assert "must have safetensors weights, none at revision main" in message
    assert "google/t5-v1_1-small@refs/pr/1" in message


def test_a_name_that_the_hub_forbids_is_one_line(hub):
    assert "must be a hub name" in fault("google/t5--small")


def test_an_empty_folder_is_an_error_that_names_three_ways(tmp_path):
    message = fault(tmp_path)

    assert "must hold config.json; name a bundled model" in message


def test_a_folder_without_weights_is_an_error(folder):
    (folder / "model.safetensors").unlink()

    assert "must hold model.safetensors, got none; name a bundled model" in fault(folder)


def test_pickled_weights_are_never_read(folder, tmp_path):
    class Trap:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "trapped"),))

    (folder / "model.safetensors").unlink()
    torch.save(Trap(), folder / "pytorch_model.bin")

    assert "got pickled weights, which are never read; convert" in fault(folder)
    assert not (tmp_path / "trapped").exists()


@pytest.mark.parametrize("kept", [0, 7, 100, 5000])
def test_a_truncated_file_is_an_error(folder, kept):
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[:kept])

    assert "must be a whole safetensors file, got" in fault(folder)


def test_a_file_that_is_no_safetensors_is_an_error(folder):
    (folder / "model.safetensors").write_bytes(b"<html>404</html>" * 100)

    assert "must be a whole safetensors file, got" in fault(folder)


def test_another_architecture_is_an_error(folder):
    BertConfig(hidden_size=16).save_pretrained(folder)

    assert "model_type must be 't5', got 'bert'" in fault(folder)


def test_a_missing_encoder_tensor_is_an_error_that_names_it(folder):
    rewrite(folder, lambda tensors: tensors.pop(Q))

    assert f"1 tensors missing, such as {Q}" in fault(folder)


def test_an_unexpected_encoder_tensor_is_an_error_that_names_it(folder):
    def add(tensors):
        tensors["encoder.block.2.layer.0.layer_norm.weight"] = torch.ones(16)

    rewrite(folder, add)

    message = fault(folder)
    assert "not in config.json's T5, such as encoder.block.2.layer.0.layer_norm.weight" in message


def test_a_tensor_of_another_shape_than_the_config_s_is_an_error(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"d_ff": 25}))

    message = fault(folder)

    assert "must have shape (25, 16), got (24, 16)" in message


@pytest.mark.parametrize(
    ("value", "message"),
    [
        pytest.param(torch.zeros(24, 16), "got zeros only", id="zeros"),
        pytest.param(torch.full((24, 16), torch.nan), "got NaN or infinity", id="NaN"),
        pytest.param(torch.full((24, 16), torch.inf), "got NaN or infinity", id="infinity"),
        pytest.param(torch.ones(24, 16, dtype=torch.int8), "got torch.int8", id="quantised"),
    ],
)
@pytest.mark.parametrize("key", [Q, "shared.weight"])
def test_values_that_no_training_leaves_are_an_error(folder, key, value, message):
    def spoil(tensors):
        tensors[key] = value if key == Q else value[:11]

    rewrite(folder, spoil)

    assert message in fault(folder)
    assert ("the token table" if key != Q else key) in fault(folder)


def test_one_non_finite_value_among_many_is_found(folder):
    def spoil(tensors):
        tensors[Q][3, 4] = torch.nan

    rewrite(folder, spoil)

    assert f"{Q} must be finite" in fault(folder)


def test_a_missing_shard_is_an_error_that_names_it(tmp_path, model):
    save_model(tmp_path, model, max_shard_size="4KB")
    shard = sorted(tmp_path.glob("model-*.safetensors"))[0]
    shard.unlink()

    assert f"must name files in its folder, got '{shard.name}'" in fault(tmp_path)


def test_an_index_cannot_lead_out_of_its_folder(folder):
    (folder / "model.safetensors").rename(folder.parent / "elsewhere.safetensors")
    index = {"weight_map": {Q: "../elsewhere.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))

    assert "must name files in its folder, got '../elsewhere.safetensors'" in fault(folder)


@pytest.mark.parametrize("text", ["{", "[]", '{"weight_map": 3}', '{"weight_map": {"a": []}}'])
def test_an_index_that_is_no_map_is_one_line(folder, text):
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(text)

    assert "model.safetensors.index.json" in fault(folder)
