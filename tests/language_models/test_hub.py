"""Hub models: from the cache, or downloaded from a hub that runs in the test."""

import os
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hub_server import hub_within_reach
from huggingface_hub import close_session, constants, file_download
from tiny_t5 import cache_snapshot, change_config, fault_of, rewrite, save_model

from stage1.base.errors import ModelError
from stage1.language_models import hub as hub_module
from stage1.language_models.hub import cached_folder, download, wanted_files
from stage1.language_models.inventory import fetch
from stage1.language_models.resolver import model_folder, resolve

NAME = "someone/tiny-t5"


@pytest.fixture
def hub(tmp_path):
    with hub_within_reach(tmp_path / "cache") as server:
        yield server


@pytest.fixture
def model(tmp_path):
    return save_model(tmp_path / "model")


@pytest.fixture
def offline(monkeypatch):
    return lambda: monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


def fault(name=NAME):
    return fault_of(model_folder, name)


def files_in(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_download_is_the_model_that_the_hub_has_and_is_not_asked_for_twice(hub, model, offline):
    hub.add(NAME, model)

    downloaded = resolve(NAME)
    asked = len(hub.asked)
    again = resolve(NAME)
    offline()

    assert downloaded.sha256 == again.sha256 == resolve(str(model)).sha256
    assert len(hub.asked) == asked
    assert resolve(NAME).sha256 == downloaded.sha256


def test_a_download_takes_config_card_and_safetensors_and_shows_nothing_without_a_terminal(
    hub, model, capfd
):
    for name in ("flax_model.msgpack", "tf_model.h5", "pytorch_model.bin", "rust_model.ot"):
        (model / name).write_bytes(b"not wanted")
    (model / "README.md").write_text("A card.")
    (model / "onnx").mkdir()
    (model / "onnx" / "model.safetensors").write_bytes(b"not wanted")
    hub.add(NAME, model)
    capfd.readouterr()  # what saving the model showed

    folder = download(NAME)

    assert files_in(folder) == ["README.md", "config.json", "model.safetensors"]
    assert sorted(hub.downloads()) == ["README.md", "config.json", "model.safetensors"]
    assert capfd.readouterr() == ("", "")


INDEX, SHARD = "model.safetensors.index.json", "model-00001-of-00001.safetensors"


@pytest.mark.parametrize(
    ("there", "weights"),
    [
        pytest.param(["model.safetensors"], ["model.safetensors"], id="one file"),
        pytest.param([SHARD], [], id="shards without their index"),
        pytest.param([INDEX, SHARD], [INDEX, SHARD], id="shards"),
        pytest.param([INDEX, SHARD, "model.safetensors"], ["model.safetensors"], id="both"),
        pytest.param(["model.fp16.safetensors", "onnx/model.safetensors"], [], id="others only"),
    ],
)
def test_one_set_of_weights_is_chosen(there, weights):
    wanted = wanted_files(["config.json", "tokenizer.json", "pytorch_model.bin", *there])

    assert wanted == (["config.json", *weights] if weights else [])


def test_a_revision_is_a_model_of_its_own(hub, model, tmp_path):
    other = save_model(tmp_path / "other", max_shard_size="4KB")
    hub.add(NAME, model)
    commit = hub.add(NAME, other, revision="refs/pr/1")

    by_reference = model_folder(f"{NAME}@refs/pr/1")
    by_commit = model_folder(f"{NAME}@{commit}")

    assert by_reference == by_commit
    assert by_reference.name == commit
    assert "model.safetensors.index.json" in files_in(by_reference)
    assert cached_folder(NAME) is None


def test_a_connection_that_breaks_is_taken_up_where_it_broke(hub, model, monkeypatch):
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1024)
    waits = SimpleNamespace(sleep=lambda seconds: None, time=time.time)
    monkeypatch.setattr(file_download, "time", waits)
    hub.add(NAME, model)
    hub.cut["model.safetensors"] = (model / "model.safetensors").stat().st_size // 2

    folder = model_folder(NAME)

    first, second = hub.ranges("model.safetensors")
    assert first is None
    assert int(second.removeprefix("bytes=").rstrip("-")) > 0
    assert (folder / "model.safetensors").read_bytes() == (model / "model.safetensors").read_bytes()


def test_a_second_attempt_asks_only_for_the_files_that_are_missing(hub, model, tmp_path):
    shards = save_model(tmp_path / "shards", max_shard_size="4KB")
    hub.add(NAME, shards)
    last = sorted(shards.glob("model-*"))[-1].name
    hub.out_of_order.add(last)
    message = fault()
    assert cached_folder(NAME) is None
    hub.out_of_order.clear()
    hub.asked.clear()

    folder = model_folder(NAME)

    assert "within reach, got HfHubHTTPError" in message
    assert hub.downloads() == [last]
    assert resolve(str(folder)).sha256 == resolve(str(model)).sha256


def test_another_architecture_s_weights_are_not_downloaded(hub, model):
    change_config(model, model_type="bert")
    hub.add(NAME, model)

    assert "model_type must be 't5', got 'bert'" in fault()
    assert hub.downloads() == ["config.json"]


def test_a_model_with_pickled_weights_only_points_to_its_conversion(hub, model):
    (model / "model.safetensors").rename(model / "pytorch_model.bin")
    hub.add(NAME, model)

    message = fault()

    assert f"{NAME}: must have config.json and safetensors weights, got not both" in message
    assert f"try {NAME}@refs/pr/1" in message
    assert hub.downloads() == []  # or the list would show a download that was not finished


def test_what_the_hub_refuses_is_said_in_words(hub, model):
    hub.add(NAME, model)
    hub.add("someone/gated", model)
    hub.gated.add("someone/gated")
    (model.parent / "empty").mkdir()
    hub.add("someone/empty", model.parent / "empty")

    assert "got no such model there, or a private one; name a bundled" in fault("someone/nothing")
    assert "got no revision v2 there; name a bundled" in fault(f"{NAME}@v2")
    assert "got a gated model: accept its terms on its page" in fault("someone/gated")
    assert "must be a hub model's name, got HFValidationError" in fault("google/t5--small")
    assert "must have config.json and safetensors weights, got not" in fault("someone/empty")


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        pytest.param(b"<html>Accept our terms</html>", "JSONDecodeError", id="captive portal"),
        pytest.param(b"[]", "TypeError", id="list"),
        pytest.param(b"{}", "KeyError", id="nothing"),
        pytest.param(b'{"id": "a/b", "siblings": 3}', "TypeError", id="files that are a number"),
        pytest.param(b'{"id": "a/b", "siblings": [{}]}', "KeyError", id="files without names"),
    ],
)
def test_an_answer_that_no_hub_gives_is_one_line(hub, model, answer, reason):
    hub.add(NAME, model)
    hub.answer = answer

    assert f"on a hub within reach, got {reason}" in fault()


@pytest.mark.parametrize(
    ("proxy", "reason"),
    [
        pytest.param("http://127.0.0.1:9", "ConnectError: ", id="out of reach"),
        pytest.param("socks5://127.0.0.1:1", "ImportError", id="SOCKS"),
        pytest.param("ftp://x", "ValueError", id="FTP"),
    ],
)
def test_a_hub_or_proxy_that_cannot_be_reached_is_one_line(hub, monkeypatch, proxy, reason):
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("HTTP_PROXY", proxy)
    close_session()

    assert f"on a hub within reach, got {reason}" in fault()


def test_whatever_the_download_library_raises_is_one_line(hub, model, monkeypatch):
    def fail(*arguments, **options):
        raise RuntimeError("Task error: File reconstruction error: CAS Client Error\nmore")

    hub.add(NAME, model)
    monkeypatch.setattr(hub_module, "snapshot_download", fail)

    assert "on a hub within reach, got RuntimeError: Task error: File rec" in fault()


def test_offline_nothing_is_asked_and_no_model_is_made_up(hub, model, offline):
    hub.add(NAME, model)
    offline()

    message = fault()

    assert f"{NAME}: must be in the Hugging Face cache or on a hub" in message
    assert "got HF_HUB_OFFLINE is set; name a bundled model" in message
    assert hub.asked == []


def test_a_reference_that_cannot_be_read_is_the_cache_s_fault(hub):
    snapshot = cache_snapshot(Path(constants.HF_HUB_CACHE), NAME)
    (snapshot.parents[1] / "refs" / "main").write_bytes(b"\xff\xfe")

    message = fault()

    cache = constants.HF_HUB_CACHE
    assert f"{NAME}: must be readable in the Hugging Face cache, {cache}" in message
    assert "got UnicodeDecodeError" in message
    assert "fetch it again" in message


def test_fetching_says_what_it_did(hub, model):
    hub.add(NAME, model)
    size = sum((model / name).stat().st_size for name in ("config.json", "model.safetensors"))

    first, second = fetch(NAME), fetch(NAME)

    assert (first.where, second.where) == ("downloaded", "cached")
    assert first.folder == second.folder == cached_folder(NAME)
    assert first.bytes_on_disk == size


@pytest.mark.parametrize(
    "file", ["config.json", "model.safetensors.index.json", "model-00001-of-00002.safetensors"]
)
def test_fetching_replaces_a_cached_model_whose_files_are_not_whole(hub, tmp_path, file):
    shards = save_model(tmp_path / "shards", max_shard_size="40KB")
    hub.add(NAME, shards)
    os.truncate((model_folder(NAME) / file).resolve(), 100)

    fetched = fetch(NAME)

    assert fetched.where == "downloaded"
    assert fetched.language_model.sha256 == resolve(str(shards)).sha256


def test_fetching_does_not_download_again_what_is_whole_but_no_t5_of_ours(hub, model):
    norm = "encoder.final_layer_norm.weight"
    rewrite(model, lambda tensors: tensors.update({norm: torch.ones(16, dtype=torch.int8)}))
    hub.add(NAME, model)
    model_folder(NAME)
    hub.asked.clear()

    assert "got I8" in fault_of(fetch, NAME)
    assert hub.asked == []


def test_offline_a_cached_model_that_does_not_load_is_an_error(hub, model, offline):
    hub.add(NAME, model)
    os.truncate((model_folder(NAME) / "model.safetensors").resolve(), 100)
    offline()

    with pytest.raises(ModelError, match="must be a whole safetensors file"):
        fetch(NAME)
