"""A study of one's own: files to edit, from a space that comes with the package."""

from __future__ import annotations

import os
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest
import yaml
from command_line import ROOT

from stage1.base.errors import ConfigError
from stage1.config import Config, load_config, with_values
from stage1.config.yaml_source import space_names
from stage1.new import commented_yaml, new
from stage1.run.folder import RunFolder
from stage1.study.study import language_model_names, load_study, space_yaml
from stage1.train import train


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """The command runs in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def call(call_command):
    """Call the command with arguments; gives status, stdout and stderr."""
    return partial(call_command, new)


@pytest.mark.parametrize("source", space_names())
def test_the_copy_is_the_same_study_under_its_own_name(call, source):
    status, _, err = call("mine", "--from", source)

    mine, copied = load_study(Path("mine/space.yaml")), load_study(Path(source))
    assert (status, err) == (0, "")
    assert mine.space.name == "mine"
    own = {"name": "mine", "base": "config.yaml"}
    assert mine.space == copied.space.model_copy(update=own)
    assert mine.config == copied.config


@pytest.mark.parametrize("name", ["2024", "1e5", "0x1F", "no", "null", "2024-01-31", "x" * 100])
def test_a_name_that_yaml_would_read_as_something_else_stays_a_name(call, name):
    call(name)

    assert load_study(Path(name, "space.yaml")).space.name == name


def test_the_default_study_is_copied_with_its_comments_unless_another_is_named(call):
    call("mine")

    text = Path("mine/space.yaml").read_text()
    assert text.startswith("# Begun as a copy of transfer, ")
    assert "# same weights, structure destroyed" in text


def test_the_folder_holds_the_two_files_and_needs_no_other(call, folder):
    call("mine")
    Path("mine").rename("moved")

    assert sorted(os.listdir(folder)) == ["moved"]
    assert sorted(os.listdir("moved")) == ["config.yaml", "space.yaml"]
    assert load_study(Path("moved/space.yaml")).space.name == "mine"


def test_the_next_commands_are_printed(call):
    _, out, _ = call("mine")

    assert "    stage1 plan mine/space.yaml" in out
    assert "    stage1 tune mine/space.yaml" in out


@pytest.mark.parametrize("kind", ["file", "folder", "link to nowhere"])
def test_what_is_there_is_never_overwritten(call, kind):
    {
        "file": lambda: Path("mine").write_text("kept"),
        "folder": lambda: Path("mine").mkdir(),
        "link to nowhere": lambda: Path("mine").symlink_to("nowhere"),
    }[kind]()
    before = Path("mine").lstat()

    status, out, err = call("mine")

    assert (status, out) == (2, "")
    assert err == ("error: mine: must not exist yet; give another name, or edit what is there\n")
    assert Path("mine").lstat() == before
    assert not Path("nowhere").exists()


@pytest.mark.parametrize(
    "name",
    ["../mine", "/tmp/mine", "a/b", ".", "..", ".hidden", "", "a b", "a\n", "-", "ä", "x" * 101],
)
def test_a_name_that_could_lead_elsewhere_is_refused(call, folder, name):
    status, out, err = call("--", name)

    assert (status, out) == (2, "")
    assert err.startswith("error: NAME must be letters, digits, _ and -")
    assert err.count("\n") == 1
    assert os.listdir(folder) == []
    assert not (folder.parent / "mine").exists()


@pytest.mark.parametrize("name", space_names())
def test_a_name_that_tune_would_take_for_the_packages_own_is_refused(call, folder, name):
    status, _, err = call(name)

    assert status == 2
    assert f"got '{name}'; give another, such as my_{name}" in err
    assert os.listdir(folder) == []


@pytest.mark.parametrize("source", ["nope", "../transfer", "sample"])
def test_an_unknown_source_is_one_line_that_lists_those_there_are(call, folder, source):
    status, _, err = call("mine", "--from", source)

    assert status == 2
    assert err == (
        "error: --from must be one of ladder, series, smoke, transfer, transfer_full, a run folder "
        f"or a configuration in YAML, got '{source}'\n"
    )
    assert os.listdir(folder) == []


def test_a_study_that_has_run_is_begun_again_under_a_new_name(call):
    study = load_study(Path("smoke"), seed=3, trials=2)
    run = RunFolder(Path("runs/theirs"))
    run.path.mkdir(parents=True)
    data = {"data": {"data_dir": None, "fingerprint": "0" * 64}}
    run.space.write_text(space_yaml(study, data))

    status, _, err = call("mine", "--from", run.path)

    mine = load_study(Path("mine/space.yaml"))
    own = {"name": "mine", "base": "config.yaml", "seed": 3}
    assert (status, err) == (0, "")
    assert mine.space == study.space.model_copy(update=own)
    bars = {"data.data_dir": "sample", "data.sha256": "0" * 64}
    assert mine.config == with_values(study.config, bars)
    begun = "# Begun as a copy of runs/theirs, stage1 "
    assert Path("mine/space.yaml").read_text().startswith(begun)


OLD = """\
data: {seq_len: 48, timeframes: [m1, m5], data_dir: "../bars", stats_file: "stats.json"}
training: {epochs: 1, optimizer: {lr: 6.0e-3}, t5_lr_top: 6.0e-4}
transfer_learning: {use_pretrained_lm: true, lm_name_or_path: "t5-small", patch_len: 12}
"""


def test_a_configuration_of_the_predecessor_begins_a_study_around_its_values(call, call_command):
    Path("old.yaml").write_text(OLD)

    status, out, err = call("mine", "--from", "old.yaml")

    assert (status, err) == (0, "")
    assert "old.yaml:1: data.stats_file: statistics are those of the training split" in out
    assert "old.yaml:2: training.t5_lr_top -> transfer_learning.lm_learning_rate_factor: 0.1" in out
    assert "They use the bars in ../bars; for others set data.data_dir in mine/config.yaml" in out
    study = load_study(Path("mine/space.yaml"))
    assert (study.config.data.seq_len, study.config.data.data_dir) == (48, "../bars")
    assert study.space.horizon_epochs == 1
    rate = study.space.space["training.optimizer.lr"]
    assert (rate.low, rate.high) == (2e-3, 1.8e-2)
    assert study.space.space["transfer_learning.patch_len"].options == (8, 12, 16)
    assert language_model_names(study) == ["t5-small"]
    status, table, err = call_command(train, "mine/config.yaml", "--dry-run")
    assert (status, err) == (0, "")
    assert "Parameters: t5-small, 2 timeframes" in table


def test_a_configuration_without_a_language_model_gets_no_study(call):
    Path("old.yaml").write_text("transfer_learning: {use_pretrained_lm: false}\n")

    _, out, _ = call("mine", "--from", "old.yaml")

    assert os.listdir("mine") == ["config.yaml"]
    assert "    stage1 train mine/config.yaml" in out
    assert "space.yaml" not in out


def test_a_configuration_that_cannot_be_one_of_ours_leaves_nothing(call):
    Path("old.yaml").write_text("model: {tf_stem: {kernel_size: 4}}\n")

    status, out, err = call("mine", "--from", "old.yaml")

    assert (status, out) == (2, "")
    assert err == "error: old.yaml:1: model.stem.kernel: must be odd, got 4\n"
    assert os.listdir() == ["old.yaml"]


def test_the_next_commands_use_the_bars_of_the_study_that_was_copied(call):
    run = RunFolder(Path("theirs"))
    run.path.mkdir()
    data = {"data": {"data_dir": "data/mine", "fingerprint": "0" * 64}}
    run.space.write_text(space_yaml(load_study(Path("smoke")), data))

    _, out, _ = call("mine", "--from", "theirs")

    config = load_study(Path("mine/space.yaml")).config
    assert (config.data.data_dir, config.data.sha256) == ("data/mine", "0" * 64)
    assert "They use the bars in data/mine; " in out
    assert "They use the bundled bars; " in call("other")[1]


def test_the_space_of_a_study_that_has_run_says_how_to_begin_one_like_it():
    run = RunFolder(Path("runs/theirs"))
    run.path.mkdir(parents=True)
    run.space.write_text(space_yaml(load_study(Path("smoke")), {}))

    with pytest.raises(ConfigError, match=r"python -m stage1\.new NAME --from runs/theirs$"):
        load_study(run.space)


def test_a_folder_without_a_study_is_one_line(call):
    Path("empty").mkdir()

    status, _, err = call("mine", "--from", "empty")

    assert status == 2
    assert err.startswith("error: empty must hold space.yaml, got no such file; ")
    assert err.count("\n") == 1
    assert os.listdir() == ["empty"]


def test_a_folder_that_cannot_be_written_is_one_line(call, monkeypatch):
    def full(*_arguments, **_options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)

    status, _, err = call("mine")

    assert status == 2
    assert err == (
        "error: mine: must be a folder that can be written, got [Errno 28] No space left on "
        "device; make room or go elsewhere\n"
    )
    assert os.listdir() == []


# --- every key explained ---

CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_what_is_written_reads_as_the_same_configuration(path, write):
    config = load_config(path)

    assert load_config(write(commented_yaml(config))) == config


def test_no_key_is_left_out():
    base = yaml.safe_load((ROOT / "configs" / "base.yaml").read_text())  # "Every key"

    assert yaml.safe_load(commented_yaml(Config())) == base


def test_every_key_stands_below_a_comment():
    lines = commented_yaml(Config()).splitlines()

    above = {
        line.strip(): before.strip()
        for before, line in pairwise(lines)
        if line.strip() and not line.strip().startswith("#")
    }

    assert above["stride: 1"].startswith("# Minutes between the ends of consecutive windows")
    assert [key for key, comment in above.items() if not comment.startswith("# ")] == []
    assert max(map(len, lines)) <= 100


def test_lists_are_one_line_and_lists_of_lists_a_line_each(write):
    text = commented_yaml(load_config(Path("t5_large_nofreeze")))

    assert "\n  timeframes: [m1, m5, m15, m30, h1, h4]\n" in text
    assert "\n  cross_pairs:\n  - [m1, m5]\n  - [m5, m15]\n" in text
