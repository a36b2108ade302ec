import hashlib
import json
import logging
import os
import struct

import numpy as np
import pytest
import torch
from command_line import python
from huggingface_hub import constants
from safetensors.torch import load_file, save_file
from tiny_t5 import (
    cache_snapshot,
    change_config,
    fault_of,
    rewrite,
    save_model,
    tiny_config,
    tiny_t5,
)
from transformers import BertConfig, BertModel, T5EncoderModel, T5ForConditionalGeneration
from transformers.models.t5.modeling_t5 import T5Stack

from stage1.language_models.initialization import build_t5
from stage1.language_models.resolver import resolve, weights_sha256

Q = "encoder.block.0.layer.0.SelfAttention.q.weight"
NORM = "encoder.block.1.layer.0.layer_norm.weight"
NOT_OURS = "encoder.block.2.layer.0.layer_norm.weight"


@pytest.fixture
def model():
    return tiny_t5()


@pytest.fixture
def folder(tmp_path, model):
    return save_model(tmp_path / "model", model)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """An empty Hugging Face cache, and no way out."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


def fault(name):
    return fault_of(resolve, str(name))


def encode(stack, seed=3):
    inputs = torch.randn(2, 5, 16, generator=torch.Generator().manual_seed(seed))
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
    with torch.no_grad():
        return stack(inputs_embeds=inputs, attention_mask=mask).last_hidden_state


# --- what is read ---


@pytest.mark.parametrize("feed_forward", ["relu", "gated-gelu"])
@pytest.mark.parametrize("kind", [T5ForConditionalGeneration, T5EncoderModel])
def test_the_encoder_gives_what_transformers_own_loading_gives(tmp_path, kind, feed_forward):
    name = save_model(tmp_path / "model", tiny_t5(tiny_config(feed_forward), kind=kind))
    reference = kind.from_pretrained(name).get_encoder().eval()

    stack, _ = build_t5(resolve(str(name)), initialization="pretrained", seed=0)

    # gelu_new and its fused kernel round differently; everything else is the same arithmetic
    torch.testing.assert_close(encode(stack.eval()), encode(reference), rtol=1e-5, atol=1e-6)


def bare_stack(config):
    """An encoder alone, as whoever saves `model.encoder` has it."""
    config.is_encoder_decoder = False
    return T5Stack(config)


@pytest.mark.parametrize("with_table", [True, False], ids=["with table", "without table"])
@pytest.mark.parametrize("sharded", [False, True], ids=["one file", "shards"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("feed_forward", ["relu", "gated-gelu"])
@pytest.mark.parametrize("kind", [T5ForConditionalGeneration, T5EncoderModel, bare_stack])
def test_every_way_to_store_a_t5_gives_the_same_encoder(
    tmp_path, kind, feed_forward, dtype, sharded, with_table
):
    model = tiny_t5(tiny_config(feed_forward), kind=kind).to(dtype)
    encoder = model if isinstance(model, T5Stack) else model.encoder
    expected = {k: v.float() for k, v in encoder.state_dict().items() if "embed" not in k}
    store(tmp_path, model, sharded=sharded, with_table=with_table)

    language_model = resolve(str(tmp_path))

    assert language_model.weights.keys() == expected.keys()
    assert all(torch.equal(language_model.weights[key], expected[key]) for key in expected)
    assert all(weight.dtype == torch.float32 for weight in language_model.weights.values())
    assert (language_model.embedding_rms is not None) == with_table


def store(folder, model, *, sharded, with_table):
    """Save by hand what `save_pretrained` would save, in one file or in two with their index."""
    model.config.save_pretrained(folder)
    names = {"shared.weight", "encoder.embed_tokens.weight", "embed_tokens.weight"}
    tied = {"encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "lm_head.weight"}
    stored = {
        key: values.contiguous()
        for key, values in model.state_dict().items()
        if (key not in tied or "shared.weight" not in model.state_dict())
        and (with_table or key not in names)
    }
    if not sharded:
        save_file(stored, folder / "model.safetensors")
        return
    keys, weight_map = sorted(stored), {}
    for part, shard in ((keys[::2], "model-1-of-2"), (keys[1::2], "model-2-of-2")):
        save_file({key: stored[key] for key in part}, folder / f"{shard}.safetensors")
        weight_map |= dict.fromkeys(part, f"{shard}.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))


@pytest.mark.parametrize("table", ["shared.weight", "encoder.embed_tokens.weight"])
def test_the_embedding_rms_is_that_of_the_token_table_which_is_dropped(folder, model, table):
    rewrite(folder, lambda some: some.update({table: some.pop("shared.weight")}))

    language_model = resolve(str(folder))

    values = model.shared.weight.detach().numpy().astype(np.float64)
    assert language_model.embedding_rms == pytest.approx(np.sqrt((values**2).mean()), rel=1e-12)
    assert not any("embed" in key or "shared" in key for key in language_model.weights)


@pytest.mark.parametrize(("tokens", "known"), [(2, False), (7, False), (8, True)])
def test_a_table_of_special_tokens_alone_tells_no_scale(tmp_path, tokens, known):
    folder = save_model(tmp_path, tiny_t5(tiny_config(vocab_size=tokens)))

    assert (resolve(str(folder)).embedding_rms is not None) == known


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod."])
@pytest.mark.parametrize("kind", [T5ForConditionalGeneration, bare_stack])
def test_the_names_that_wrappers_give_are_taken_without_them_and_that_is_said(
    tmp_path, kind, prefix, log
):
    model = tiny_t5(kind=kind)
    folders = [save_model(tmp_path / name, model) for name in ("plain", "wrapped")]
    rewrite(folders[1], lambda some: [some.update({prefix + k: some.pop(k)}) for k in list(some)])

    plain, wrapped = (resolve(str(folder)) for folder in folders)

    assert wrapped.sha256 == plain.sha256
    assert wrapped.embedding_rms == plain.embedding_rms
    (said,) = (line for line in log.messages if "taken without" in line)
    assert said.startswith(f"{folders[1]}: the names of ")


def test_tensors_that_differ_by_a_wrapper_s_name_alone_are_an_error(folder):
    rewrite(folder, lambda some: some.update({f"module.{Q}": some[Q].clone()}))

    assert "must hold tensors of its own" in fault(folder)


def test_a_large_float16_table_does_not_overflow_the_rms(folder):
    table = torch.full((11, 16), 6e4, dtype=torch.float16)
    rewrite(folder, lambda some: some.update({"shared.weight": table}))

    assert resolve(str(folder)).embedding_rms == pytest.approx(6e4, rel=1e-3)


def test_the_fingerprint_is_of_names_shapes_and_float32_bytes_which_no_longer_follow_the_file(
    folder,
):
    language_model = resolve(str(folder))
    digest = hashlib.sha256()
    for key, value in sorted(language_model.weights.items()):
        digest.update(f"{key} {tuple(value.shape)}\n".encode() + value.numpy().tobytes())

    with (folder / "model.safetensors").open("r+b") as file:
        file.write(bytes((folder / "model.safetensors").stat().st_size))

    assert language_model.sha256 == digest.hexdigest()
    assert language_model.sha256 == weights_sha256(language_model.weights)


def test_a_cached_hub_model_is_read_offline_under_both_its_names_and_in_a_fresh_process(
    hub, folder
):
    expected = resolve(str(folder)).sha256
    save_model(cache_snapshot(hub, "google-t5/t5-small"))
    code = "from stage1.language_models.resolver import resolve; print(resolve('t5-small').sha256)"

    done = python("-c", code, env={"HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(hub)})

    assert done.stdout.strip() == expected
    assert resolve("t5-small").sha256 == expected
    assert resolve("google-t5/t5-small").sha256 == expected


# --- what is said ---


@pytest.fixture
def log(caplog):
    caplog.set_level(logging.INFO, logger="stage1")
    return caplog


def count(model, chosen):
    """Parameters of a whole T5 as transformers counts them, each tied table once."""
    return sum(p.numel() for name, p in model.named_parameters() if chosen(name))


def test_loading_says_one_line_what_was_kept_and_what_was_dropped(folder, model, log):
    language_model = resolve(str(folder))

    kept = count(model, lambda name: name.startswith("encoder."))
    dropped = count(model, lambda name: not name.startswith("encoder."))
    assert log.messages == [
        f"{folder}: sha256 {language_model.sha256[:12]}, {kept:,} parameters kept, {dropped:,} "
        "dropped (token table, decoder), 2 of 2 blocks pretrained"
    ]
    assert language_model.dropped == dropped


def test_blocks_that_are_not_used_are_counted_as_dropped_whatever_is_made_of_the_others(
    folder, model, log
):
    language_model = resolve(str(folder), n_pretrained_blocks=1)
    resolve(str(folder), initialization="random")
    resolve(str(folder), initialization="shuffled", n_pretrained_blocks=1)
    resolve(str(folder), initialization="norms_only")

    part, fresh, shuffled, norms = log.messages
    kept = count(model, lambda name: name.startswith("encoder.block.0."))
    everything = count(model, lambda name: True)
    assert f", {kept:,} parameters kept, {everything - kept:,} dropped (" in part
    assert part.endswith("(token table, decoder, other blocks), 1 of 2 blocks pretrained")
    assert language_model.dropped == count(model, lambda name: not name.startswith("encoder."))
    assert f", 0 parameters kept, {everything:,} dropped (" in fresh
    assert fresh.endswith("0 of 2 blocks pretrained")
    assert shuffled.endswith("1 of 2 blocks shuffled")
    kept = count(model, lambda name: name.startswith("encoder.") and "norm" in name)
    assert f", {kept:,} parameters kept, {everything - kept:,} dropped (" in norms
    assert norms.endswith("(token table, decoder, other tensors), 2 of 2 blocks norms_only")


def test_an_untied_output_layer_is_dropped_and_an_encoder_alone_drops_nothing(
    folder, tmp_path, log
):
    rewrite(folder, lambda tensors: tensors.update({"lm_head.weight": torch.ones(11, 16)}))
    store(tmp_path, tiny_t5(kind=T5EncoderModel), sharded=False, with_table=False)
    (tmp_path / "empty").mkdir()

    fault(tmp_path / "empty")  # what does not load logs nothing
    resolve(str(folder))
    resolve(str(tmp_path))

    whole, alone = log.messages
    assert "dropped (token table, decoder, output layer), 2 of 2 blocks" in whole
    assert "parameters kept, 0 dropped, 2 of 2 blocks pretrained" in alone


# --- what is refused ---


def test_pickled_weights_are_never_read(folder, tmp_path):
    class Trap:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "trapped"),))

    (folder / "model.safetensors").unlink()
    torch.save(Trap(), folder / "pytorch_model.bin")

    (folder / "training_args.bin").write_bytes(b"not weights")

    assert "got pytorch_model.bin, which is never read; convert" in fault(folder)
    assert not (tmp_path / "trapped").exists()


def test_a_folder_without_config_or_weights_is_an_error_that_names_three_ways(folder):
    (folder / "model.safetensors").unlink()
    assert "must hold model.safetensors, got none; name a bundled model" in fault(folder)

    (folder / "config.json").unlink()
    assert "must hold config.json; name a bundled model" in fault(folder)


@pytest.mark.parametrize("part", [slice(0), slice(7), slice(100), slice(5000), None])
def test_a_file_cut_short_or_of_another_kind_is_an_error(folder, part):
    file = folder / "model.safetensors"
    file.write_bytes(b"<html>404</html>" if part is None else file.read_bytes()[part])

    assert "must be a whole safetensors file, got" in fault(folder)


def header(entry):
    """A file whose header describes one float32 tensor in 16 bytes; `entry` changes that."""
    described = {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]} | entry
    text = json.dumps({Q: described}).encode()
    return struct.pack("<Q", len(text)) + text + bytes(16)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(header({"data_offsets": [0, 1600]}), id="an end beyond the file's"),
        pytest.param(header({"data_offsets": [4, 20]}), id="a hole at the beginning"),
        pytest.param(header({"data_offsets": [16, 0]}), id="an end before the beginning"),
        pytest.param(header({"shape": [8]}), id="a shape of another size"),
        pytest.param(header({"shape": [2**40, 2**40]}), id="a shape beyond all memory"),
        pytest.param(header({"dtype": "F99"}), id="an unknown format"),
        pytest.param(header({}) + b"more", id="bytes that nobody described"),
        pytest.param(struct.pack("<Q", 2**60) + b"{}", id="a header longer than the file"),
        pytest.param(struct.pack("<Q", 3) + b"\xff\xfe{", id="a header that is no text"),
    ],
)
def test_a_header_that_lies_is_an_error(folder, content):
    (folder / "model.safetensors").write_bytes(content)

    wording = "must be a whole safetensors file, got SafetensorError: Error while deserializing"
    assert wording in fault(folder)


def test_another_architecture_s_weights_under_a_t5_s_config_are_an_error(tmp_path, folder):
    sizes = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 8}
    with torch.random.fork_rng():
        bert = BertModel(BertConfig(vocab_size=11, num_hidden_layers=1, **sizes))
    as_saved = bert.state_dict()
    save_file({f"bert.{key}": value for key, value in as_saved.items()}, tmp_path / "x")
    (tmp_path / "x").rename(folder / "model.safetensors")

    assert "must hold a T5's encoder, got no tensor that begins with encoder.;" in fault(folder)

    save_file(as_saved, folder / "model.safetensors")

    assert "must hold exactly the encoder of its config.json, got" in fault(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(lambda some: some.pop(Q), f"got 1 tensor missing: '{Q}'; ", id="missing"),
        pytest.param(
            lambda some: some.update({NOT_OURS: torch.ones(16)}),
            f"1 tensor that config.json's T5 has not: '{NOT_OURS}'",
            id="unexpected",
        ),
        pytest.param(
            lambda some: some.update({"encoder.\x1b[31m\n" + "x" * 3000: torch.ones(24, 16)}),
            r"has not: 'encoder.\x1b[31m\nxxx",
            id="a name that is not printable",
        ),
        pytest.param(
            lambda some: some.update({"shared.weight": torch.ones(11, 15)}),
            "'shared.weight' must have shape (11, 16), got (11, 15)",
            id="a token table of another width",
        ),
        pytest.param(lambda some: some[Q][3].fill_(torch.nan), f"'{Q}' must be finite", id="NaN"),
    ],
)
def test_a_tensor_that_is_wrong_is_named(folder, change, message):
    rewrite(folder, change)

    assert message in fault(folder)


def test_of_a_bare_stack_tensors_are_named_as_its_file_names_them(tmp_path):
    save_model(tmp_path, tiny_t5(kind=bare_stack))
    rewrite(tmp_path, lambda tensors: tensors.pop("final_layer_norm.weight"))

    assert "got 1 tensor missing: 'final_layer_norm.weight'; " in fault(tmp_path)


def test_a_tensor_of_another_shape_than_the_config_s_is_an_error(folder):
    change_config(folder, d_ff=25)

    assert "must have shape (25, 16), got (24, 16)" in fault(folder)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        pytest.param(torch.zeros(24, 16), "got zeros only", id="zeros"),
        pytest.param(torch.full((24, 16), torch.nan), "got NaN or infinity", id="NaN"),
        pytest.param(torch.full((24, 16), torch.inf), "got NaN or infinity", id="infinity"),
        pytest.param(torch.ones(24, 16, dtype=torch.int8), "got I8", id="quantised"),
        pytest.param(torch.ones(24, 16, dtype=torch.float64), "got F64", id="double precision"),
    ],
)
@pytest.mark.parametrize("key", [Q, NORM, "shared.weight"])
def test_values_that_no_training_leaves_are_an_error(folder, key, value, message):
    def spoil(tensors):
        tensors[key] = value.flatten()[: tensors[key].numel()].view(tensors[key].shape).clone()

    rewrite(folder, spoil)

    assert message in fault(folder)
    assert key in fault(folder)


def test_a_tensor_in_two_shards_is_an_error(tmp_path, model):
    save_model(tmp_path, model, max_shard_size="4KB")
    first, second = sorted(tmp_path.glob("model-*.safetensors"))[:2]
    save_file(load_file(second) | load_file(first), second)

    assert f"{second}: must hold tensors of its own, got " in fault(tmp_path)


NO_FILE = "must name files in its folder, got "


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("{", "must be a JSON file", id="cut off"),
        pytest.param("[]", "weight_map must map", id="list"),
        pytest.param('{"weight_map": 3}', "weight_map must map", id="no map"),
        pytest.param('{"weight_map": {}}', "weight_map must map", id="empty"),
        pytest.param('{"weight_map": {"a": []}}', NO_FILE, id="no name"),
        pytest.param('{"weight_map": {"a": "gone"}}', f"{NO_FILE}'gone'", id="missing shard"),
        pytest.param('{"weight_map": {"a": "../elsewhere"}}', f"{NO_FILE}'../elsewhere'", id="out"),
        pytest.param('{"weight_map": {"a": "' + 5000 * "x" + '"}}', NO_FILE, id="long name"),
        pytest.param("[" * 100_000, "must be a JSON file", id="too deep"),
    ],
)
def test_an_index_that_is_no_map_to_files_beside_it_is_one_line(folder, text, message):
    (folder / "model.safetensors").rename(folder.parent / "elsewhere")
    (folder / "model.safetensors.index.json").write_text(text)

    assert f"model.safetensors.index.json: {message}" in fault(folder)
    assert "fetch it again" in fault(folder)


def test_weights_that_may_not_be_read_are_an_error_that_says_so(folder, monkeypatch):
    monkeypatch.setattr("os.access", lambda path, mode: False)  # root may read everything

    assert "model.safetensors: must be readable, got no permission; " in fault(folder)
