import json
import sys

import pytest
import torch
import yaml
from command_line import ROOT, python, without_loading_lines
from small_checkpoint import write_market
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from stage1.base.terminal import run_command
from stage1.config import load_config
from stage1.train import train
from stage1.training import batch_size
from stage1.training.evaluation import ReconstructionPicture
from stage1.training.module import Stage1Module
from stage1.training.session import load_language_model

SMALL = """
extends: {root}/configs/sample.yaml
data: {{validation_windows: 16, seq_len: 32}}
transfer_learning: {{patch_len: 8}}
training: {{epochs: 2, steps_per_epoch: 2, batch_size: {size}}}
"""


@pytest.fixture
def small(tmp_path):
    """Writes a configuration that takes a blink to train."""

    def write(size=4, more=""):
        path = tmp_path / "small.yaml"
        path.write_text(SMALL.format(root=ROOT, size=size) + more)
        return path

    return write


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """Runs the command in this process; gives its status, what it printed and its errors."""

    def command(*arguments):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("COLUMNS", "200")
        monkeypatch.setattr(sys, "argv", ["stage1.train", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            run_command(train)
        out, err = capsys.readouterr()
        return end.value.code, out, without_loading_lines(err)

    return command


@pytest.fixture
def quick_auto(monkeypatch):
    """A search of few steps, without looks for forgotten tensors in a process full of tests."""
    monkeypatch.setattr(batch_size, "AUTO_CAP", 16)
    monkeypatch.setattr(batch_size, "garbage_collection_cuda", lambda: None)


@pytest.fixture
def nothing_opened(monkeypatch):
    """Bars, weights and the network cannot be had."""

    def never(*arguments, **options):
        raise AssertionError

    for name in ("load_data", "resolve", "MarketWindows"):
        monkeypatch.setattr(f"stage1.training.session.{name}", never)
    monkeypatch.setattr("safetensors.torch.load_file", never)
    monkeypatch.setattr("socket.socket.connect", never)


CONFIGS = sorted(path.name for path in (ROOT / "configs").glob("*.yaml"))


@pytest.mark.parametrize("name", CONFIGS)
def test_a_dry_run_counts_parameters_without_data_weights_or_network(run, nothing_opened, name):
    status, out, errors = run(
        "--config", ROOT / "configs" / name, "--data_dir", "/does/not/exist", "--devices", "1",
        "--dry-run",
    )  # fmt: skip

    assert (status, errors) == (0, "")
    config = load_config(ROOT / "configs" / name)
    assert ("one per timeframe" in out) is config.transfer_learning.use_pretrained_lm
    assert "total" in out


def test_a_dry_run_takes_a_batch_size_that_is_still_to_be_found(run, small, nothing_opened):
    status, out, errors = run(small("auto"), "--dry-run")

    assert (status, errors) == (0, "")
    assert "total" in out


def test_a_place_that_cannot_be_written_is_named_in_one_line(run, small, tmp_path):
    (tmp_path / "file").touch()

    status, _, errors = run(small(), "--out", tmp_path / "file" / "out")

    assert status == 2
    assert errors.startswith(f"error: {tmp_path}/file/out: must be a folder that can be written")
    assert errors.count("\n") == 1


def test_the_predecessor_s_spelling_trains(run, small, tmp_path):
    status, out, errors = run("--config", small(), "--devices", 1, "--out", tmp_path / "out")

    assert (status, errors) == (0, "")
    assert [line.split()[1] for line in out.splitlines() if line.startswith("epoch")] == [
        "0",
        "1",
        "2",
    ]
    assert (tmp_path / "out" / "last.ckpt").is_file()


@pytest.mark.parametrize("spelling", ["--data_dir", "--data-dir"])
def test_a_folder_without_bars_is_an_error_in_one_line(run, small, tmp_path, spelling):
    status, _, errors = run("--config", small(), spelling, tmp_path / "none", "--devices", 1)

    assert status == 2
    assert errors.count("\n") == 1
    assert "none" in errors


def test_two_devices_are_refused(run, small):
    status, _, errors = run(small(), "--devices", 2)

    assert status == 2
    assert "devices" in errors


def test_auto_is_printed_and_what_was_found_is_trained_and_kept(run, small, tmp_path, quick_auto):
    status, out, errors = run(small("auto"), "--out", tmp_path / "out")

    assert (status, errors) == (0, "")
    assert out.splitlines()[0] == "batch_size auto: 16 windows (auto takes no more)"
    kept = yaml.safe_load((tmp_path / "out" / "config.yaml").read_text())
    assert kept["training"]["batch_size"] == 16
    state = torch.load(tmp_path / "out" / "last.ckpt", weights_only=True)
    assert state["stage1"]["config"]["training"]["batch_size"] == 16


def test_going_on_with_auto_keeps_the_number_found_then(
    run, small, tmp_path, quick_auto, monkeypatch
):
    config, out = small("auto"), tmp_path / "out"
    run(config, "--out", out)

    def never(*arguments, **options):
        raise AssertionError

    monkeypatch.setattr("stage1.training.session.find_batch_size", never)
    status, _, errors = run(config, "--out", out, "--resume", out / "last.ckpt")

    assert (status, errors) == (0, "")
    assert yaml.safe_load((out / "config.yaml").read_text())["training"]["batch_size"] == 16


def test_a_checkpoint_of_another_batch_size_is_refused(run, small, tmp_path):
    out = tmp_path / "out"
    run(small(), "--out", out)

    status, _, errors = run(small(5), "--out", out, "--resume", out / "last.ckpt")

    assert status == 2
    assert "differs in training.batch_size" in errors


def test_a_step_in_parts_is_told_on_the_console(run, small, tmp_path, monkeypatch):
    decode = Stage1Module.decode

    def limited(self, batch):
        if self.training and len(batch.scored) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return decode(self, batch)

    monkeypatch.setattr(Stage1Module, "decode", limited)

    status, out, errors = run(small(), "--out", tmp_path / "out")

    assert (status, errors) == (0, "")
    (line,) = [line for line in out.splitlines() if line.startswith("Warning")]
    assert line == (
        "Warning: a training step did not fit into memory with 4 windows at a time; from here on "
        "it takes 2 at a time, and stays one of all 4"
    )


@pytest.mark.parametrize("size", [4, "auto"])
def test_a_fast_run_takes_one_step_and_writes_nothing(run, small, tmp_path, quick_auto, size):
    status, out, errors = run(small(size), "--out", tmp_path / "out", "--fast-dev-run")

    assert (status, errors) == (0, "")
    assert "epoch   1" in out
    assert "epoch   2" not in out
    assert not (tmp_path / "out").exists()


def test_curves_and_steps_are_kept_for_tensorboard(run, small, tmp_path):
    run(small(), "--out", tmp_path / "out")

    curves = EventAccumulator(str(tmp_path / "out" / "tensorboard"))
    curves.Reload()
    points = curves.Scalars("val_loss")
    assert [point.step for point in points] == [1, 3]  # the last step of each epoch, from 0
    assert all(0 < point.value < 10 for point in points)


def test_a_finished_training_shows_reconstructions_in_tensorboard(run, small, tmp_path):
    run(small(), "--out", tmp_path / "out")

    log = EventAccumulator(str(tmp_path / "out" / "tensorboard"), size_guidance={"images": 0})
    log.Reload()
    (picture,) = log.Images("reconstructions")
    assert picture.step == 4  # after two epochs of two steps
    assert picture.encoded_image_string.startswith(b"\x89PNG")
    assert picture.width == 1080


def test_the_picture_changes_nothing_of_the_training(run, small, tmp_path, monkeypatch):
    run(small(), "--out", tmp_path / "with")
    monkeypatch.setattr(ReconstructionPicture, "on_train_end", lambda *arguments: None)
    run(small(), "--out", tmp_path / "without")

    one, other = (weights_in(tmp_path / name) for name in ("with", "without"))
    assert all(torch.equal(one[name], other[name]) for name in other)


def weights_in(folder):
    return torch.load(folder / "last.ckpt", weights_only=True)["state_dict"]


def test_an_interrupted_training_goes_on_to_the_weights_of_an_undisturbed_one(
    run, small, tmp_path, monkeypatch
):
    config = small(more="model: {dropout: 0.1}\n")
    _, undisturbed, _ = run(config, "--out", tmp_path / "whole")
    step = Stage1Module.training_step

    def interrupted(self, batch, batch_index):
        if self.current_epoch == 1:
            raise KeyboardInterrupt
        return step(self, batch, batch_index)

    with monkeypatch.context() as patch:
        patch.setattr(Stage1Module, "training_step", interrupted)
        status, out, _ = run(config, "--out", tmp_path / "out")
    advice = next(line for line in out.splitlines() if line.startswith("Stopped"))
    resumed = run(*advice.partition("stage1.train ")[2].split())

    assert (status, resumed[0]) == (130, 0)
    lines = [line for line in undisturbed.splitlines() if line.startswith("epoch")]
    assert [line for line in resumed[1].splitlines() if line.startswith("epoch")] == lines[2:]
    one, other = (weights_in(tmp_path / name) for name in ("whole", "out"))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_training_does_not_go_on_with_other_bars(run, small, tmp_path):
    first = write_market(tmp_path / "first", 6000)
    other = write_market(tmp_path / "other", 6000, seed=1)
    config, out = small(), tmp_path / "out"
    run(config, "--data-dir", first, "--out", out)

    status, _, errors = run(
        config, "--data-dir", other, "--out", out, "--resume", out / "last.ckpt"
    )

    assert status == 2
    assert "must go on with the bars it began with" in errors
    assert errors.count("\n") == 1


MEMORY_LIMIT = """
import json, re, resource, sys
from pathlib import Path
from rich.console import Console
from stage1.config import load_config
from stage1.training import session

load = session.load_language_model

def loaded_and_limited(config):
    model = load(config)
    status = Path("/proc/self/status").read_text()
    used = int(re.search(r"VmSize:\\s+(\\d+)", status)[1]) * 1024
    resource.setrlimit(resource.RLIMIT_AS, (used + int(sys.argv[2]) * 2**20, -1))
    return model
session.load_language_model = loaded_and_limited
config = load_config(Path(sys.argv[1]))
rows = session.run_training(config, Path("out"), data_dir=None, checkpoint=None, fast_dev_run=True,
                            console=Console())
names = ("accumulation", "steps", "train_loss", "val_loss")
print(json.dumps({name: rows[-1][name] for name in names}))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="limits and /proc are Linux's")
def test_under_a_real_limit_a_step_in_parts_is_the_step_it_would_have_been(small, tmp_path):
    config = small(512, "model: {encoder: {layers: 12, d_model: 128, heads: 4}}\n")
    config.write_text(config.read_text().replace("{patch_len: 8}", "{use_pretrained_lm: false}"))
    script = tmp_path / "limited.py"
    script.write_text(MEMORY_LIMIT)

    ends = []
    for megabytes in ("100000", "500"):
        result = python(script, config, megabytes)
        ends.append(json.loads(result.stdout.splitlines()[-1]))

    free, limited = ends
    assert free["accumulation"] == 1 < limited["accumulation"]
    assert free["steps"] == limited["steps"] == 1
    assert limited["train_loss"] == pytest.approx(free["train_loss"], rel=1e-5)
    assert limited["val_loss"] == pytest.approx(free["val_loss"], rel=1e-4)


@pytest.mark.parametrize(
    ("transfer", "said"),
    [
        pytest.param("", "2 of 2 blocks pretrained", id="pretrained"),
        pytest.param("n_pretrained_blocks: 1", "1 of 2 blocks pretrained", id="in part"),
        pytest.param("initialization: random", "0 of 2 blocks pretrained", id="random"),
        pytest.param("initialization: shuffled", "2 of 2 blocks shuffled", id="shuffled"),
    ],
)
def test_one_line_says_what_a_training_takes_of_its_language_model(
    tmp_path, caplog, transfer, said
):
    path = tmp_path / "small.yaml"
    path.write_text(f"extends: {ROOT}/configs/sample.yaml\ntransfer_learning: {{{transfer}}}\n")
    caplog.set_level("INFO", logger="stage1")

    load_language_model(load_config(path))

    assert len(caplog.messages) == 1
    assert caplog.messages[0].endswith(said)
