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

ENCODER = sum(
    p.numel()
    for name, p in tiny_t5().named_parameters()
    if name.startswith("encoder.") and "embed" not in name
)


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


def test_without_a_cache_the_bundled_models_and_the_public_sizes_are_listed(cache):
    entries, faults = inventory()

    names = {where: [e.name for e in entries if e.where == where] for where in ("bundled", "hub")}
    assert sorted(names["bundled"]) == bundled_names()
    assert names["hub"] == list(PUBLIC_CONFIGS)
    assert faults == []
    assert all((entry.bytes_on_disk is None) == (entry.where == "hub") for entry in entries)


def test_bundled_models_are_in_order_of_size_with_the_numbers_of_their_cards(cache):
    entries = [entry for entry in inventory()[0] if entry.where == "bundled"]

    sizes = [entry.encoder_parameters for entry in entries]
    assert sizes == sorted(sizes)
    for entry in entries:
        card = json.loads((BUNDLED_FOLDER / entry.name / "card.json").read_text())
        assert entry.encoder_parameters == card["encoder_parameters"]


def test_a_cached_t5_is_listed_with_its_parameters_bytes_and_licence(snapshot):
    folder = snapshot()
    (folder / "README.md").write_text("---\nlicense: mit\n---\nA card.")

    (entry,) = cached()

    size = sum(path.stat().st_size for path in folder.iterdir())
    assert entry == ("someone/tiny-t5", "cached", ENCODER, size, "mit")


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
        pytest.param("model.safetensors.index.json", "[" * 100_000, True, id="index too deep"),
        pytest.param(
            "model.safetensors.index.json",
            json.dumps({"weight_map": {"a": "x" * 5000}}),
            True,
            id="shard of a long name",
        ),
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


def test_a_cache_that_is_a_file_is_named_and_the_rest_is_listed(cache):
    cache.write_text("not a folder")

    entries, faults = inventory()

    assert len(entries) == len(bundled_names()) + len(PUBLIC_CONFIGS)
    assert "expects a directory but found a file" in faults[0]


def test_an_unreadable_cache_is_named_and_the_rest_is_listed(cache, monkeypatch):
    def refuse(folder):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(module, "scan_cache_dir", refuse)

    entries, faults = inventory()

    assert len(entries) == len(bundled_names()) + len(PUBLIC_CONFIGS)
    assert faults == ["PermissionError: [Errno 13] Permission denied"]


@pytest.mark.parametrize(
    ("files", "licence"),
    [
        pytest.param({}, "not stated", id="no card"),
        pytest.param({"README.md": "# A card"}, "not stated", id="no front matter"),
        pytest.param({"README.md": "---\nlanguage: en\n---\n"}, "not stated", id="another key"),
        pytest.param(
            {"README.md": "---\nlicense: [mit, cc0-1.0]\n---\n"}, "mit, cc0-1.0", id="two"
        ),
        pytest.param({"README.md": "---\nlicense: [\n---\n"}, "not stated", id="broken YAML"),
        pytest.param({"README.md": "---\nlicense: [[mit]]\n---\n"}, "not stated", id="nested"),
        pytest.param({"README.md": "---\n- a\n---\n"}, "not stated", id="YAML of another kind"),
        pytest.param({"README.md": '---\nlicense: "a\\eb"\n---\n'}, r"'a\x1bb'", id="control code"),
        pytest.param(
            {"card.json": '{"license": "cc0-1.0"}', "README.md": "---\nlicense: mit\n---\n"},
            "cc0-1.0",
            id="card.json first",
        ),
        pytest.param(
            {"card.json": "{}", "README.md": "---\nlicense: mit\n---\n"},
            "mit",
            id="card.json silent",
        ),
        pytest.param({"card.json": "{"}, "not stated", id="broken card.json"),
        pytest.param({"card.json": '{"license": 3}'}, "not stated", id="no text"),
    ],
)
def test_the_licence_is_what_the_card_states(tmp_path, files, licence):
    for name, text in files.items():
        (tmp_path / name).write_text(text)

    assert licence_of(tmp_path) == licence
