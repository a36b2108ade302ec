"""`python -m stage1.models`, as a user runs it."""

import os
import sys

import pytest
from hub_server import hub_within_reach
from huggingface_hub import constants
from tiny_t5 import save_model

from stage1 import models
from stage1.base.terminal import run_command
from stage1.language_models.inventory import Entry
from stage1.language_models.resolver import resolve

WIDTH = 80


@pytest.fixture
def call(monkeypatch, capsys, tmp_path):
    """Run the command line with an empty cache and no network; gives status, stdout and stderr."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["stage1.models", *map(str, arguments)])
        capsys.readouterr()  # what saving a model showed
        with pytest.raises(SystemExit) as ended:
            run_command(models.COMMANDS)
        printed = capsys.readouterr()
        return ended.value.code, printed.out, printed.err

    return run


def test_the_list_is_one_table_that_fits_a_terminal(call):
    status, out, err = call("list")

    lines = out.splitlines()
    assert (status, err) == (0, "")
    assert max(map(len, lines)) <= WIDTH
    (nano,) = [line.split() for line in lines if line.startswith("english-t5-nano ")]
    assert nano[1:3] == ["bundled", f"{parameters_of('english-t5-nano'):,}"]
    (base,) = [line.split() for line in lines if line.startswith("google/flan-t5-base ")]
    assert base[1:4] == ["hub", "84,954,240", "-"]
    assert "python -m stage1.models fetch NAME" in lines[-1]


def parameters_of(name):
    return sum(weight.numel() for weight in resolve(name).weights.values())


def test_long_names_are_whole_where_there_is_no_terminal(call, monkeypatch):
    name = f"someone/{'long-' * 12}t5@{'c' * 40}"
    entry = Entry(name, "in part", 1_234, 5_000, "[bold]not markup[/bold]")
    monkeypatch.setattr(models, "inventory", lambda: ([entry], ["a broken\\nfolder"]))

    status, out, err = call("list")

    assert status == 0
    assert [name, "in", "part", "1,234", "5.0", "kB", "[bold]not", "markup[/bold]"] in [
        line.split() for line in out.splitlines()
    ]
    assert "in part: the download was not finished; fetch it again." in out
    assert "hub:" not in out
    assert err == "left out of the list: a broken\\nfolder\n"


def test_verifying_a_bundled_model_says_everything_and_fits_a_terminal(call):
    status, out, err = call("verify", "english-t5-nano")

    lines = out.splitlines()
    assert (status, err) == (0, "")
    assert max(len(line) for line in lines if not line.startswith("  folder")) <= WIDTH
    assert lines[0] == "english-t5-nano"
    assert lines[-1].split() == ["verdict", "pretrained"]
    said = " ".join(out.split())
    for part in (
        "config T5 v1.1, gated-gelu feed-forward d_model 64, 2 heads x 32, 2 blocks, d_ff ",
        f"encoder {parameters_of('english-t5-nano'):,} parameters, as the config has them",
        "none missing or unexpected, all finite, none all zeros",
        "sha256 of model.safetensors, as in card.json: ",
        f"fingerprint of the encoder, in float32: {resolve('english-t5-nano').sha256} ",
        "block 0 7 of 7 matrices stand out (",
        "; 3 of 3 norms vary",
    ):
        assert part in said


def test_verifying_a_broken_model_is_one_line_and_status_2(call, tmp_path):
    folder = save_model(tmp_path / "model")
    os.truncate(folder / "model.safetensors", 1000)

    status, out, err = call("verify", folder)

    assert (status, out) == (2, "")
    assert err.startswith(f"error: {folder / 'model.safetensors'}: must be a whole safetensors")
    assert err.count("\n") == 1


def test_fetching_what_is_here_says_so_and_loads_it_with_one_line(call, tmp_path):
    folder = save_model(tmp_path / "model")

    for name, where in (
        ("english-t5-nano", "comes with the package, nothing to fetch"),
        (str(folder), "a local folder, nothing to fetch"),
    ):
        status, out, err = call("fetch", name)

        assert status == 0
        assert out.splitlines()[0] == f"{name}: {where}"
        assert "offline      needs no network" in out
        assert err.startswith(f"{name}: sha256 ")
        assert err.count("\n") == 1


def test_a_model_fetched_from_a_hub_works_offline(call, tmp_path):
    model = save_model(tmp_path / "model")
    (model / "README.md").write_text("---\nlicense: mit\n---\nA card.")

    with hub_within_reach(tmp_path / "cache") as hub:
        hub.add("someone/tiny-t5", model)
        status, fetched, error = call("fetch", "someone/tiny-t5")
    _, verified, _ = call("verify", "someone/tiny-t5")

    assert status == 0, error
    assert error.count("\n") == 1
    assert "someone/tiny-t5: downloaded into the Hugging Face cache" in fetched
    assert "licence      mit" in fetched
    assert "set HF_HUB_OFFLINE=1; it needs no network from now on" in fetched
    assert resolve(str(model)).sha256 in verified
