"""Names of what comes with the package, and the files that stand in for them."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import ROOT

import stage1.config.yaml_source as module
from stage1.base.errors import ConfigError
from stage1.config import load_config
from stage1.config.yaml_source import config_names, find, load_yaml, space_names
from stage1.study.study import load_study


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """An empty folder that is not in the repository."""
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("kind", "names"), [("configs", config_names), ("search_spaces", space_names)]
)
def test_every_file_of_the_two_folders_has_a_name_that_stands_for_it(kind, names):
    files = sorted((ROOT / kind).iterdir())

    assert names() == [path.stem for path in files]
    assert [find(Path(name), kind) for name in names()] == files


def test_a_name_is_read_as_its_file():
    assert load_study(Path("smoke")) == load_study(ROOT / "search_spaces" / "smoke.yaml")
    assert load_config(Path("t5_freeze")) == load_config(ROOT / "configs" / "t5_freeze.yaml")


def test_a_file_that_is_there_comes_before_a_name():
    Path("transfer").write_text("a: 1\n")

    assert load_yaml(find(Path("transfer"), "search_spaces")).values == {"a": 1}


def test_a_folder_that_is_there_hides_no_name():
    Path("sample").mkdir()
    Path("mine").mkdir()

    assert find(Path("sample"), "configs") == ROOT / "configs" / "sample.yaml"


@pytest.mark.parametrize(
    "given",
    [
        pytest.param("nope", id="nothing of that name"),
        pytest.param("transfer.yaml", id="the name of its file"),
        pytest.param("search_spaces/transfer", id="a path in the repository"),
        pytest.param("../transfer", id="a path out of the folder"),
        pytest.param("a\0b\n\x1b[31m", id="control codes"),
        pytest.param("x" * 5000, id="very long"),
    ],
)
def test_an_unknown_name_is_one_line_that_lists_the_names_there_are(given):
    with pytest.raises(ConfigError) as raised:
        find(Path(given), "search_spaces")

    message = str(raised.value)
    known, _, meant = message.partition("; did you mean ")
    assert known.endswith("comes with stage1: ladder, series, smoke, transfer, transfer_full")
    assert meant == ("transfer?" if "transfer" in given else "")
    assert "\n" not in message
    assert len(message) < 400


def test_a_name_of_the_other_kind_is_unknown():
    with pytest.raises(ConfigError, match=r"^smoke: .* configuration that comes with stage1: base"):
        find(Path("smoke"), "configs")


def test_in_a_wheel_the_folders_lie_inside_the_package(tmp_path, monkeypatch):
    inside = tmp_path / "site" / "stage1" / "configs" / "one.yaml"
    beside = tmp_path / "site" / "configs" / "of_another_package.yaml"
    for file in (inside, beside):
        file.parent.mkdir(parents=True)
        file.touch()
    monkeypatch.setattr(module, "_PACKAGE", tmp_path / "site" / "stage1")

    assert config_names() == ["one"]
    assert find(Path("one"), "configs") == inside


def test_a_run_folder_is_refused_with_the_commands_that_take_one(tmp_path):
    run = tmp_path / "runs" / "mine"
    run.mkdir(parents=True)

    with pytest.raises(ConfigError, match=r"must be a search space, got a folder; name a file$"):
        load_study(run)
    (run / "space.yaml").touch()
    with pytest.raises(ConfigError, match=f"stage1.new NAME --from {run} begins one like it$"):
        load_study(run)
    with pytest.raises(ConfigError, match=f"got a folder; python -m stage1.export {run} writes"):
        load_config(run)


def test_a_search_space_and_a_configuration_are_told_apart_in_one_line():
    with pytest.raises(ConfigError, match=r"must be a configuration, got a search space[^\n]*$"):
        load_config(ROOT / "search_spaces" / "smoke.yaml")
    with pytest.raises(ConfigError, match=r"got a configuration; train it: [^\n]*sample.yaml$"):
        load_study(ROOT / "configs" / "sample.yaml")
