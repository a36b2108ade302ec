import errno
import io
import json
import sys
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
import yaml
from command_line import ROOT, python
from rich.console import Console
from small_checkpoint import write_market
from small_disk import on_a_small_disk
from synthetic_series import series_config
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny_training import tiny_config

from stage1.base.errors import ResultsError
from stage1.base.terminal import run_command
from stage1.config import Config, load_config, with_values
from stage1.language_models.resolver import resolve
from stage1.model.stage1_model import T5_PART as T5
from stage1.model.stage1_model import build_model, parameter_counts
from stage1.train import parameter_table, train
from stage1.training import batch_size
from stage1.training.checkpoint import read_trained
from stage1.training.module import Stage1Module
from stage1.training.session import load_language_model, resumed_config


def write_small(folder, size=4):
    """A configuration that takes a blink to train."""
    path = folder / "small.yaml"
    path.write_text(
        f"extends: {ROOT}/configs/sample.yaml\ndata: {{validation_windows: 16, seq_len: 32}}\n"
        "model: {dropout: 0.1}\ntransfer_learning: {patch_len: 8}\n"
        f"training: {{epochs: 2, steps_per_epoch: 2, batch_size: {size}}}\n"
    )
    return path


@pytest.fixture
def small(tmp_path):
    """Writes it."""
    return lambda size=4: write_small(tmp_path, size)


class Finished(NamedTuple):
    """A training by the command, in the predecessor's spelling; tests share it."""

    out: Path
    printed: str

    @property
    def checkpoint(self):
        return self.out / "last.ckpt"

    @property
    def log(self):
        curves = EventAccumulator(str(self.out / "tensorboard"), size_guidance={"images": 0})
        curves.Reload()
        return curves


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder, printed = tmp_path_factory.mktemp("train"), io.StringIO()
    command = ["--config", write_small(folder), "--devices", 1, "--out", folder / "out"]
    with redirect_stdout(printed), pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", "200")
        patch.setattr(sys, "argv", ["stage1.train", *map(str, command)])
        with pytest.raises(SystemExit) as end:
            run_command(train)
    assert end.value.code == 0
    return Finished(folder / "out", printed.getvalue())


def epochs_in(printed):
    return [line for line in printed.splitlines() if line.startswith("epoch")]


def state_in(checkpoint):
    return torch.load(checkpoint, weights_only=True)


@pytest.fixture
def run(call_command, monkeypatch, tmp_path):
    """Runs the command in this process; gives its status, what it printed and its errors."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    return partial(call_command, train)


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


@pytest.mark.parametrize("name", sorted(path.name for path in (ROOT / "configs").glob("*.yaml")))
def test_a_dry_run_counts_parameters_without_data_weights_or_network(run, nothing_opened, name):
    status, out, errors = run(
        "--config", ROOT / "configs" / name, "--data_dir", "/does/not/exist", "--devices", "1",
        "--dry-run",
    )  # fmt: skip

    assert (status, errors) == (0, "")
    config = load_config(ROOT / "configs" / name)
    assert ("one per timeframe" in out) is config.transfer_learning.use_pretrained_lm
    assert "total" in out


def test_every_epoch_has_a_line_and_the_state_is_kept(finished):
    assert [line.split()[1] for line in epochs_in(finished.printed)] == ["0", "1", "2"]
    assert f"Checkpoint: {finished.checkpoint}" in finished.printed
    assert finished.checkpoint.is_file()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--data_dir", "none"], "none"),
        (["--data-dir", "none"], "none"),
        (["--devices", "2"], "devices"),
        (["--out", "file/out"], "error: file/out: must be a folder that can be written"),
    ],
)
def test_bars_places_and_devices_that_cannot_be_had_are_refused_and_named(
    run, small, tmp_path, arguments, said
):
    (tmp_path / "file").touch()

    status, _, errors = run("--config", small(), *arguments)

    assert status == 2
    assert said in errors
    assert said == "devices" or errors.count("\n") == 1


def test_the_size_that_auto_found_is_printed_kept_and_gone_on_with(
    run, small, tmp_path, quick_auto, monkeypatch
):
    config, out = small("auto"), tmp_path / "out"
    status, printed, errors = run(config, "--out", out)

    assert (status, errors) == (0, "")
    assert printed.splitlines()[0] == "batch_size auto: 16 windows (auto takes no more)"
    assert yaml.safe_load((out / "config.yaml").read_text())["training"]["batch_size"] == 16
    stored = state_in(out / "last.ckpt")["stage1"]["config"]["training"]
    assert stored["batch_size"] == 16

    def never(*arguments, **options):
        raise AssertionError

    monkeypatch.setattr("stage1.training.session.find_batch_size", never)
    status, _, errors = run(config, "--out", out, "--resume", out / "last.ckpt")

    assert (status, errors) == (0, "")
    assert yaml.safe_load((out / "config.yaml").read_text())["training"]["batch_size"] == 16


def test_a_step_in_parts_is_told_on_the_console(run, small, tmp_path, monkeypatch):
    decode = Stage1Module.decode

    def limited(self, batch):
        if self.training and len(batch.scored) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return decode(self, batch)

    monkeypatch.setattr(Stage1Module, "decode", limited)

    status, out, errors = run(small(), "--out", tmp_path / "out", "--fast-dev-run")

    assert (status, errors) == (0, "")
    (line,) = [line for line in out.splitlines() if line.startswith("Warning")]
    assert "a training step did not fit into memory with 4 windows at a time" in line


@pytest.mark.parametrize("size", [4, "auto"])
def test_a_fast_run_takes_one_step_and_writes_nothing(run, small, tmp_path, quick_auto, size):
    status, out, errors = run(small(size), "--out", tmp_path / "out", "--fast-dev-run")

    assert (status, errors) == (0, "")
    assert "epoch   1" in out
    assert "epoch   2" not in out
    assert not (tmp_path / "out").exists()


def test_curves_steps_and_reconstructions_are_kept_for_tensorboard(finished):
    log = finished.log
    points, (picture,) = log.Scalars("val_loss"), log.Images("reconstructions")

    assert [point.step for point in points] == [1, 3]  # the last step of each epoch, from 0
    assert all(0 < point.value < 10 for point in points)
    assert picture.step == 4  # after two epochs of two steps
    assert picture.encoded_image_string.startswith(b"\x89PNG")
    assert picture.width == 1080


def test_an_interrupted_training_goes_on_to_the_weights_of_an_undisturbed_one(
    run, small, tmp_path, finished, monkeypatch
):
    step, out = Stage1Module.training_step, tmp_path / "out"

    def interrupted(self, batch, batch_index):
        if self.current_epoch == 1:
            raise KeyboardInterrupt
        return step(self, batch, batch_index)

    with monkeypatch.context() as patch:
        patch.setattr(Stage1Module, "training_step", interrupted)
        status, printed, _ = run(small(), "--out", out)
    advice = next(line for line in printed.splitlines() if line.startswith("Stopped"))
    resumed = run(*advice.partition("stage1.train ")[2].split())

    assert (status, resumed[0]) == (130, 0)
    assert epochs_in(resumed[1]) == epochs_in(finished.printed)[2:]
    one, other = (state_in(path)["state_dict"] for path in (finished.checkpoint, out / "last.ckpt"))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_state_takes_the_place_of_the_one_before_once_it_is_whole(
    run, small, tmp_path, finished, monkeypatch
):
    save, last, seen = torch.save, tmp_path / "out" / "last.ckpt", []

    def out_of_room(content, file):
        if content["epoch"] == 0:
            save(content, file)
            return
        file.write(bytes(1000))
        seen.append(state_in(last)["epoch"])  # what a process that is killed here leaves
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", out_of_room)
        status, printed, errors = run(small(), "--out", last.parent)
    advice = next(line for line in printed.splitlines() if line.startswith("Stopped"))
    resumed = run(*advice.partition("stage1.train ")[2].split())

    assert (status, seen) == (2, [0])
    assert "No space left on device; make room" in errors
    assert resumed[0] == 0
    one, other = (state_in(path)["state_dict"] for path in (finished.checkpoint, last))
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert sorted(path.name for path in last.parent.iterdir()) == [
        *("best.ckpt", "config.yaml", "last.ckpt", "tensorboard")
    ]


STOPPING = "epochs: 5, early_stop: {patience: 2, min_delta: 10.0},"
"""No gain is as large: after the first epoch there is none."""


def test_a_training_that_no_longer_gains_ends_early_and_keeps_its_best_state(run, small, tmp_path):
    config = small()
    text = config.read_text()
    config.write_text(text.replace("epochs: 2,", "epochs: 5,"))
    last, best = (tmp_path / "out" / name for name in ("last.ckpt", "best.ckpt"))

    whole = run(config, "--out", tmp_path / "whole")
    config.write_text(text.replace("epochs: 2,", STOPPING))
    status, printed, _ = run(config, "--out", last.parent)
    again = run(config, "--resume", last, "--out", last.parent)

    assert (status, again[0]) == (0, 0)
    assert epochs_in(printed) == epochs_in(whole[1])[:4]  # 0 to 3
    assert "Ended after epoch 3: no gain of more than 10 in val_loss for 2 epochs" in printed
    assert epochs_in(again[1]) == []
    losses = [float(line.split("val_loss")[1].split()[0]) for line in epochs_in(printed)]
    assert state_in(best)["epoch"] == losses[1:].index(min(losses[1:]))
    assert state_in(last)["epoch"] == 2


def test_a_training_cut_off_before_its_early_stop_ends_where_an_undisturbed_one_does(
    run, small, tmp_path, monkeypatch
):
    config = small()
    config.write_text(config.read_text().replace("epochs: 2,", STOPPING))
    step, seen = Stage1Module.training_step, []

    def interrupted(self, batch, batch_index):
        seen.append(batch_index)
        if len(seen) == 4:  # in epoch 2
            raise KeyboardInterrupt
        return step(self, batch, batch_index)

    run(config, "--out", tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr(Stage1Module, "training_step", interrupted)
        _, printed, _ = run(config, "--out", tmp_path / "out")
    advice = next(line for line in printed.splitlines() if line.startswith("Stopped"))
    run(*advice.partition("stage1.train ")[2].split())

    for name in ("last.ckpt", "best.ckpt"):
        one, other = (state_in(tmp_path / where / name) for where in ("whole", "out"))
        assert one["epoch"] == other["epoch"]
        assert all(torch.equal(one["state_dict"][k], v) for k, v in other["state_dict"].items())


def test_other_epochs_stretch_the_schedule_and_say_so(run, small, tmp_path):
    status, printed, _ = run(small(), "--max-epochs", 4, "--out", tmp_path / "out")

    assert status == 0
    assert "4 epochs in place of 2: the learning rate rises for 0.6 of them (15%)" in printed


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left")])
def test_a_training_that_stops_before_its_first_state_can_be_begun_again(
    run, small, tmp_path, monkeypatch, error
):
    def fail(*arguments):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", fail)
        first = run(small(), "--out", tmp_path / "out", "--max-epochs", 1)
    again = run(small(), "--out", tmp_path / "out", "--max-epochs", 1)

    assert (first[0], again[0]) == (130 if isinstance(error, KeyboardInterrupt) else 2, 0)


FULL_DISK = """
import contextlib, io, os, random, shutil, sys
from pathlib import Path
import torch
from stage1.base.terminal import run_command
from stage1.train import train

disk, config = Path(sys.argv[1]), sys.argv[2]
out, ballast = disk / "out", disk / "ballast"
last = out / "last.ckpt"

def call(*words):
    sys.argv = ["stage1.train", *map(str, words)]
    printed, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(errors):
        try:
            run_command(train)
        except SystemExit as end:
            return end.code, printed.getvalue(), errors.getvalue()

def free():
    there = os.statvfs(disk)
    return there.f_bavail * there.f_frsize

def weights():
    return torch.load(last, weights_only=True)["state_dict"]

room = free()
assert call(config, "--out", out)[0] == 0
whole, taken = weights(), room - free() + last.stat().st_size
draw = random.Random(0)
for moment in range(10):
    shutil.rmtree(out)
    ballast.write_bytes(bytes(max(free() - draw.randrange(taken), 0)))
    status, printed, errors = call(config, "--out", out)
    assert status == 2 and "No space left on device; make room" in errors, (status, errors)
    assert "Traceback" not in errors, errors
    ballast.unlink()
    advice = printed.partition("stage1.train ")[2].splitlines()
    status, _, errors = call(*(advice[0].split() if advice else (config, "--out", out)))
    assert status == 0, errors
    assert all(torch.equal(whole[name], tensor) for name, tensor in weights().items())
    print("gone on" if advice else "begun again")
"""


@pytest.mark.slow
def test_a_disk_that_is_full_at_any_moment_costs_a_training_no_more_than_an_epoch(small, tmp_path):
    ends = on_a_small_disk(FULL_DISK, tmp_path / "disk", small(), megabytes=20).splitlines()

    assert len(ends) == 10
    assert set(ends) == {"gone on", "begun again"}


def test_what_a_training_writes_names_its_bars_and_they_are_used_without_being_said_again(
    run, small, tmp_path
):
    bars = write_market(tmp_path / "bars", 6000)
    run(small(), "--data-dir", bars, "--max-epochs", 1, "--out", "one")

    trained = read_trained(Path("one/last.ckpt")).record
    again = run("one/config.yaml", "--out", "two")

    data = trained.config.data
    assert (data.data_dir, data.sha256) == (str(bars), trained.bars.sha256)
    assert load_config(Path("one/config.yaml")) == trained.config
    assert again[0] == 0
    assert "nobody chose by: python -m stage1.evaluate two/best.ckpt" in again[1]
    assert read_trained(Path("two/last.ckpt")).record.bars.sha256 == data.sha256
    (bars / "m1.parquet").unlink()
    assert run("one/config.yaml", "--out", "three")[0] == 2


def test_a_training_does_not_go_on_with_another_batch_size_or_other_bars(
    run, small, tmp_path, finished
):
    other = write_market(tmp_path / "other", 6000)
    resume = ("--out", tmp_path / "out", "--resume", finished.checkpoint)

    of_size = run(small(5), *resume)
    of_bars = run(small(), "--data-dir", other, *resume)

    assert of_size[0] == of_bars[0] == 2
    assert "differs in training.batch_size" in of_size[2]
    assert "must go on with the bars it began with" in of_bars[2]
    assert of_bars[2].count("\n") == 1


def test_resuming_is_advised_where_it_would_go_on_and_another_training_keeps_its_folder(
    run, small, finished, tmp_path
):
    of_same = run(small(), "--out", finished.out)
    of_other = run(small(), "--out", finished.out, "--seed", 77)
    (tmp_path / "empty").mkdir()
    of_none = run(small(), "--out", "empty")

    assert of_same[0] == of_other[0] == of_none[0] == 2
    assert f"go on with --resume {finished.checkpoint}, or give another --out" in of_same[2]
    other = "it holds another training, which differs in training.seed; give another --out"
    assert of_other[2].rstrip().endswith(other)
    assert "empty: must not exist yet; remove it: it has no state, or give another" in of_none[2]


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
    config, encoder = small(512), "{layers: 12, d_model: 128, heads: 4}"
    text = config.read_text().replace("{patch_len: 8}", "{use_pretrained_lm: false}")
    config.write_text(text.replace("{dropout: 0.1}", f"{{encoder: {encoder}}}"))
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


# What a training goes on with --------------------------------------------------------------------


def test_null_channels_and_step_are_those_found_then_and_other_channels_are_refused(
    series_checkpoint,
):
    trained = read_trained(series_checkpoint)
    null = with_values(series_config(), {"data.channels": None, "data.step": None})
    others = series_config(data={"channels": ["wave1", "wave0", "wave2"]})

    assert resumed_config(trained, null) == series_config()
    with pytest.raises(ResultsError, match=r"differs in data\.channels; resume with"):
        resumed_config(trained, others)


def test_a_checkpoint_of_a_series_is_none_of_bars_and_the_other_way_round(
    series_checkpoint, checkpoint
):
    for path, config in ((series_checkpoint, tiny_config()), (checkpoint, series_config())):
        with pytest.raises(ResultsError, match=r"in data\.kind, data\.channels, data\.step"):
            resumed_config(read_trained(path), config)


# The parameter table -----------------------------------------------------------------------------


SIX = ("m1", "m5", "m15", "m30", "h1", "h4")
T5_LARGE_BLOCK = 4 * 1024 * 1024 + 2 * 1024 * 4096 + 2 * 1024
"""Queries, keys, values, outputs; the feed-forward layer's two matrices; two norms."""
T5_LARGE = 24 * T5_LARGE_BLOCK + 32 * 16 + 1024
"""Blocks, relative attention bias, final norm: without the token table."""


def config_of(**values):
    start = {"data.timeframes": ["m1", "m5", "m15"]}
    return with_values(Config(), start | {k.replace("__", "."): v for k, v in values.items()})


def large(timeframes=SIX, **values):
    name = "google-t5/t5-large"
    return config_of(data__timeframes=timeframes, transfer_learning__lm_name_or_path=name, **values)


def table_of(config):
    console = Console(file=io.StringIO(), width=100)
    console.print(parameter_table(config))
    return console.file.getvalue()


VARIANTS = {
    "synchronous": {},
    "calendar windows": {"model__async_sampler": True},
    "gradient checkpointing": {"training__gradient_checkpointing": True},
    "cross pairs": {"model__cross_pairs": [["m1", "m5"], ["m5", "m15"]]},
    "a batch size still to be found": {"training__batch_size": "auto"},
    "no stem": {"model__stem__width": 0},
    "a bottleneck": {"model__bottleneck_stride": 2},
}


@pytest.mark.parametrize("values", VARIANTS.values(), ids=VARIANTS)
@pytest.mark.parametrize("t5", [True, False], ids=["T5", "vanilla"])
def test_the_counts_are_those_of_the_model_that_is_trained(values, t5):
    name = "english-t5-nano"
    lm = {"transfer_learning__use_pretrained_lm": t5, "transfer_learning__lm_name_or_path": name}
    config = config_of(**lm, **values)
    model = build_model(config, resolve(name) if t5 else None).model

    counts = parameter_counts(config)

    assert sum(counts.values()) == sum(p.numel() for p in model.parameters())
    assert counts.get(T5, 0) == sum(
        p.numel() for n, p in model.named_parameters() if n.startswith("encoder.t5.")
    )
    assert (T5 in counts) is t5


def test_a_t5_large_is_there_once_whatever_the_timeframes():
    one = parameter_counts(large(["m1"]))
    six = parameter_counts(large(model__async_sampler=True, data__seq_len=2160))

    assert one[T5] == six[T5] == T5_LARGE == 302_040_576
    assert sum(six.values()) < 431_000_000


def test_numbers_are_printed_in_full_with_what_one_t5_per_timeframe_would_take():
    config = large(training__gradient_checkpointing=True)
    total = sum(parameter_counts(config).values())

    lines = table_of(config).splitlines()

    assert lines[0].strip() == "Parameters: google-t5/t5-large, 6 timeframes"
    rows = {line.split("│")[1].strip(): line.split("│")[2].strip() for line in lines if "│" in line}
    assert rows["T5 (one, shared)"] == "302,040,576"
    assert rows["total"] == f"{total:,}"
    assert rows["with 6 T5s, one per timeframe"] == f"{total + 5 * T5_LARGE:,}"


def test_without_a_t5_nothing_is_said_about_several():
    text = table_of(config_of(transfer_learning__use_pretrained_lm=False))

    assert text.splitlines()[0].strip() == "Parameters: vanilla encoder, 3 timeframes"
    assert "T5" not in text


def test_cross_pairs_have_a_row_of_their_own():
    without, with_pairs = (
        parameter_counts(config_of(model__cross_pairs=pairs, transfer_learning__patch_len=8))
        for pairs in ([], [["m1", "m15"]])
    )

    more = with_pairs.pop("encoder, cross scale")
    assert with_pairs == without
    # A norm, a vector per timeframe, queries, keys, values and outputs with their biases.
    assert more == 2 * 512 + 3 * 512 + 4 * (512 * 512 + 512)


def test_a_series_whose_channels_are_not_known_counts_as_one_channel_and_says_so():
    values = {"data__kind": "series", "data__timeframes": ["x1"], "model__stem__width": 0}
    values |= {"transfer_learning__lm_name_or_path": "english-t5-nano"}
    unknown = config_of(**values)
    one, three = (config_of(**values, data__channels=names) for names in (["a"], ["a", "b", "c"]))

    per_channel = (parameter_counts(three)["decoder"] - parameter_counts(one)["decoder"]) // 2

    assert parameter_counts(unknown) == parameter_counts(one)
    assert per_channel == unknown.model.d_model + 1
    assert "1 channel (data.channels is null)" in table_of(unknown)
    assert "channel" not in table_of(three).splitlines()[0]
