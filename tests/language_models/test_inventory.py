"""The list of language models: the package's, the cache's, and those known by name."""

import json
import shutil

import pytest
from huggingface_hub import constants
from tiny_t5 import cache_snapshot, change_config, save_model, tiny_t5

from stage1.language_models import inventory as module
from stage1.language_models.inventory import inventory, licence_of
from stage1.language_models.names import BUNDLED_FOLDER, bundled_names
from stage1.language_models.t5_dimensions import PUBLIC_CONFIGS

INDEX = "model.safetensors.index.json"
MIT = "---\nlicense: mit\n---\n"


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def snapshot(cache):
    """Puts a tiny T5 into the cache, as a download would; gives the snapshot's folder."""

    def put(repository="someone/tiny-t5", **options):
        return save_model(cache_snapshot(cache, repository, **options))

    return put


def cached():
    entries, _ = inventory()
    return [entry for entry in entries if entry.where not in ("bundled", "hub")]


def test_without_a_cache_the_public_sizes_and_the_bundled_models_are_listed_as_their_cards_say(
    cache,
):
    entries, faults = inventory()

    names = {where: [e.name for e in entries if e.where == where] for where in ("bundled", "hub")}
    assert sorted(names["bundled"]) == bundled_names()
    assert names["hub"] == list(PUBLIC_CONFIGS)
    assert faults == []
    assert all((entry.bytes_on_disk is None) == (entry.where == "hub") for entry in entries)
    sizes = [entry.encoder_parameters for entry in entries if entry.where == "bundled"]
    assert sizes == sorted(sizes)
    for name, size in zip(names["bundled"], sizes, strict=True):
        card = json.loads((BUNDLED_FOLDER / name / "card.json").read_text())
        assert size == card["encoder_parameters"]


def test_a_cached_t5_is_listed_with_its_parameters_bytes_and_licence(snapshot):
    folder = snapshot()
    (folder / "README.md").write_text(f"{MIT}A card.")

    (entry,) = cached()

    size = sum(path.stat().st_size for path in folder.iterdir())
    parameters = sum(
        p.numel()
        for name, p in tiny_t5().named_parameters()
        if name.startswith("encoder.") and "embed" not in name
    )
    assert entry == ("someone/tiny-t5", "cached", parameters, size, "mit")


def test_a_cached_public_size_is_not_listed_as_on_the_hub_too(snapshot):
    snapshot("google-t5/t5-small")

    rows = [entry.where for entry in inventory()[0] if entry.name == "google-t5/t5-small"]
    assert rows == ["cached"]


def test_revisions_have_names_that_can_be_resolved(snapshot):
    snapshot("a/b", revision="refs/pr/1", commit="d" * 40)
    snapshot("a/c", revision=None, commit="e" * 40)

    assert [entry.name for entry in cached()] == ["a/b@refs/pr/1", f"a/c@{'e' * 40}"]


def test_a_download_that_was_not_finished_is_listed_as_such(snapshot):
    (snapshot() / "model.safetensors").unlink()

    assert [entry.where for entry in cached()] == ["in part"]


def test_other_architectures_and_datasets_are_left_out(cache, snapshot):
    change_config(snapshot("a/bert"), model_type="bert")
    snapshot("a/nothing").joinpath("config.json").unlink()
    shutil.copytree(cache / "models--a--bert", cache / "datasets--a--texts")

    assert cached() == []


def test_a_broken_entry_of_the_cache_is_named_and_the_others_are_listed(cache, snapshot):
    snapshot()
    (cache / "models--a--broken").mkdir()
    (cache / "notes.txt").write_text("not a repository")
    linked = snapshot("a/linked") / "config.json"
    linked.unlink()
    linked.symlink_to(cache / "nowhere")

    entries, faults = inventory()

    assert "someone/tiny-t5" in [entry.name for entry in entries]
    assert len(faults) == 3
    assert all("\n" not in fault for fault in faults)
    assert any("models--a--broken" in fault for fault in faults)


@pytest.mark.parametrize(
    ("file", "text", "listed"),
    [
        pytest.param("config.json", "[" * 100_000, False, id="config.json too deep"),
        pytest.param("config.json", '{"model_type": ', False, id="config.json cut off"),
        pytest.param(INDEX, "[" * 100_000, True, id="index too deep"),
        pytest.param(INDEX, json.dumps({"weight_map": {"a": "x" * 5000}}), True, id="long name"),
        pytest.param("card.json", "[" * 100_000, True, id="card.json too deep"),
        pytest.param("README.md", f"---\nlicense: {'[' * 20_000}\n---\n", True, id="card too deep"),
        pytest.param("README.md", "---\nlicense: !!int ''\n---\n", True, id="PyYAML's own fault"),
    ],
)
def test_a_broken_file_of_one_cached_model_does_not_end_the_list(snapshot, file, text, listed):
    snapshot("a/whole", commit="d" * 40)
    folder = snapshot("a/broken")
    if "index" in file:
        (folder / "model.safetensors").unlink()
    (folder / file).write_text(text)

    entries, faults = inventory()

    assert {"a/broken", "a/whole"} & {entry.name for entry in entries} == (
        {"a/broken", "a/whole"} if listed else {"a/whole"}
    )
    assert [fault for fault in faults if "must be a JSON file" in fault] == faults
    assert len(faults) == (not listed)


def test_a_config_of_absurd_size_does_not_hold_up_the_list(snapshot):
    change_config(snapshot("a/blocks"), num_layers=10**9)
    change_config(snapshot("a/wide"), d_model=10**4000, d_ff=10**4000)

    assert cached() == []


def test_a_cache_that_is_a_file_or_unreadable_is_named_and_the_rest_is_listed(cache, monkeypatch):
    def refuse(folder):
        raise PermissionError(13, "Permission denied")

    cache.write_text("not a folder")

    beside_a_file, no_folder = inventory()
    monkeypatch.setattr(module, "scan_cache_dir", refuse)
    beside_a_refusal, refused = inventory()

    assert len(beside_a_file) == len(bundled_names()) + len(PUBLIC_CONFIGS)
    assert beside_a_refusal == beside_a_file
    assert "expects a directory but found a file" in no_folder[0]
    assert refused == ["PermissionError: [Errno 13] Permission denied"]


@pytest.mark.parametrize(
    ("files", "licence"),
    [
        pytest.param({}, "not stated", id="no card"),
        pytest.param({"README.md": "# A card"}, "not stated", id="no front matter"),
        pytest.param({"README.md": "---\nlanguage: en\n---\n"}, "not stated", id="another key"),
        pytest.param({"README.md": "---\nlicense: [mit, cc0]\n---\n"}, "mit, cc0", id="two"),
        pytest.param({"README.md": "---\nlicense: [\n---\n"}, "not stated", id="broken YAML"),
        pytest.param({"README.md": "---\nlicense: [[mit]]\n---\n"}, "not stated", id="nested"),
        pytest.param({"README.md": "---\n- a\n---\n"}, "not stated", id="YAML of another kind"),
        pytest.param({"README.md": '---\nlicense: "a\\eb"\n---\n'}, r"'a\x1bb'", id="control code"),
        pytest.param({"card.json": '{"license": "cc0"}', "README.md": MIT}, "cc0", id="both"),
        pytest.param({"card.json": "{}", "README.md": MIT}, "mit", id="card.json silent"),
        pytest.param({"card.json": "{"}, "not stated", id="broken card.json"),
        pytest.param({"card.json": '{"license": 3}'}, "not stated", id="no text"),
    ],
)
def test_the_licence_is_what_the_card_states(tmp_path, files, licence):
    for name, text in files.items():
        (tmp_path / name).write_text(text)

    assert licence_of(tmp_path) == licence
