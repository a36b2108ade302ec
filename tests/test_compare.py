"""The command that trains configurations side by side, from its options to its page."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pandas as pd
import pytest
import yaml
from command_line import HANG, ROOT, refusal_of, stage1, start, wait_until
from synthetic_bars import write_bars

from stage1.base.checkpoints import load_checkpoint
from stage1.compare import compare
from stage1.config import load_config
from stage1.run.folder import RunFolder
from stage1.run.tables import RunWriter, read_blocks, read_curves, read_trials

SHIPPED = [f"configs/t5_{name}.yaml" for name in ("baseline", "freeze", "nofreeze")]
CONFIG = """\
data: {timeframes: [m1], seq_len: 16, validation_windows: 16}
masking: {mask_ratio: 0.25}
transfer_learning: {lm_name_or_path: english-t5-nano, patch_len: 4}
training: {epochs: 2, steps_per_epoch: 2, batch_size: 4}
"""
PLAIN = CONFIG.replace("{lm_name", "{use_pretrained_lm: false, lm_name")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with two small configurations and bars of their own; the command runs in it."""
    monkeypatch.chdir(tmp_path)
    write_inputs(tmp_path)
    return tmp_path


def write_inputs(folder):
    (folder / "plain.yaml").write_text(PLAIN)
    (folder / "t5.yaml").write_text(CONFIG)
    write_bars(folder / "bars", count=600)


@pytest.fixture
def call(call_command):
    """Call the command with arguments; gives status, stdout and stderr."""
    return partial(call_command, compare)


SMALL = ("plain.yaml", "t5.yaml", "--data-dir", "bars", "--seeds", "2")
EPOCHS = ("--max-epochs", "8")
OUT = RunFolder(Path("runs/experiment_t5_vs_random"))
PAGE = OUT.path / "experiment_t5_vs_random.md"


# --- before the first training ---


def test_arithmetic_that_this_machine_does_not_have_is_told_before_anything_is_written(
    call, folder, monkeypatch
):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    (folder / "t5.yaml").write_text(CONFIG.replace("epochs: 2", "epochs: 2, precision: 16-mixed"))

    status, out, err = call(*SMALL)

    assert (status, out) == (2, "")
    assert err.startswith(
        "error: t5: training.precision: must be 32-true or bf16-mixed where no CUDA"
    )
    assert not Path("runs").exists()


def test_check_is_one_line_and_leaves_nothing(call, folder):
    status, out, err = call(*SMALL, "--check")

    assert (status, err) == (0, "")
    assert re.fullmatch(
        r"plain, t5: sound\. 4 trainings, [\d,]+ training and 16 validation windows, and 16 test "
        r"windows that no trial sees; language models: english-t5-nano; bars: bars\. A full .*\.\n",
        out,
    )
    assert not Path("runs").exists()


def test_the_shipped_configurations_can_be_compared(call, tmp_path):
    files = [ROOT / name for name in (*SHIPPED, "configs/t5_frozen_all.yaml")]

    status, out, _ = call(*files, "--check", "--out", tmp_path / "out")

    assert status == 0
    assert "t5_frozen_all: sound. 12 trainings" in out


def test_the_shipped_vanilla_encoder_is_as_large_as_the_t5_it_is_compared_with():
    vanilla = load_config(ROOT / SHIPPED[0]).model.encoder
    folder = ROOT / "stage1/language_models/bundled/english-t5-nano"
    t5 = yaml.safe_load((folder / "config.json").read_text())

    assert vanilla.model_dump() == {
        **{"d_model": t5["d_model"], "layers": t5["num_layers"]},
        **{"heads": t5["num_heads"], "d_ff": t5["d_ff"]},
    }


@pytest.mark.parametrize("check", [(), ("--check",)], ids=["run", "check"])
@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        pytest.param([], "Missing argument", id="no configuration"),
        pytest.param(["t5.yaml"], "at least two configurations, got 1", id="a single one"),
        pytest.param(["t5.yaml", "no.yaml"], "no.yaml: must be an existing file", id="no file"),
        pytest.param(["t5.yaml", "t5.yaml"], "a file name that no other", id="one twice"),
        pytest.param([*SMALL[:2], "--data-dir", "nope"], "nope", id="no such bars"),
        pytest.param([*SMALL, "--seeds", "0"], "--seeds", id="no seeds"),
        pytest.param([*SMALL, "--workers", "0"], "--workers", id="no workers"),
        pytest.param([*SMALL, "--max-epochs", "0"], "--max-epochs", id="no epochs"),
    ],
)
def test_a_wrong_argument_is_one_line_and_no_folder(call, folder, arguments, fault, check):
    assert fault in refusal_of(call, folder, *arguments, *check)


def test_configurations_that_cannot_be_compared_are_refused_key_by_key(call, folder):
    Path("t5.yaml").write_text(CONFIG.replace("0.25", "0.5").replace("epochs: 2", "epochs: 3"))

    faults = refusal_of(call, folder, *SMALL, lines=2).splitlines()

    assert [fault.split(":")[0] for fault in faults] == ["masking.mask_ratio", "training.epochs"]


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        pytest.param("english-t5-nano", "google-t5/t5-nowhere", "t5-nowhere", id="no such model"),
        pytest.param("patch_len: 4", "patch_len: 4, n_pretrained_blocks: 9", "9", id="too shallow"),
    ],
)
def test_a_language_model_that_does_not_fit_is_told_before_anything_is_trained(
    call, folder, old, new, fault
):
    Path("t5.yaml").write_text(CONFIG.replace(old, new))

    assert fault in refusal_of(call, folder, *SMALL)


def test_only_a_folder_of_a_comparison_can_be_resumed_and_only_by_that_option(call, folder):
    fault = refusal_of(call, folder, *SMALL, "--resume")
    OUT.path.mkdir(parents=True)

    assert "must be the folder of a comparison" in fault
    assert "must not exist yet; go on with it by --resume" in refusal_of(call, folder, *SMALL)


# --- a comparison ---


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A whole comparison of two configurations and two seeds by one worker, and its output."""
    folder = tmp_path_factory.mktemp("finished")
    write_inputs(folder)
    result = stage1("stage1.compare", *SMALL, *EPOCHS, "--workers", "1", cwd=folder)
    return RunFolder(folder / OUT.path), result.stdout


def test_a_comparison_ends_with_its_tables_and_its_page_and_without_states_or_a_journal(finished):
    run, printed = finished

    trials = read_trials(run)
    assert trials["trial_id"].tolist() == [
        f"compare000-{name}-seed{seed}" for seed in (1, 2) for name in ("plain", "t5")
    ]
    assert set(trials["status"]) == {"completed"}
    assert len(read_curves(run)) == 4 * 9
    assert printed.count("completed at epoch 8") == 4
    assert f"Report: {PAGE.with_suffix('.html')} (as text: {PAGE.name})" in printed
    configs = sorted(path.name for path in (run.path / "configs").iterdir())
    assert configs == ["plain.yaml", "t5.yaml"]
    assert len(list(run.tensorboard.rglob("compare000-*"))) == 4
    assert {path.name for path in run.path.iterdir()} == {
        *(".lock", "blocks.parquet", "configs", "curves.parquet", "experiment.yaml", PAGE.name),
        *("figures", "tensorboard", "trials.parquet", PAGE.with_suffix(".html").name),
    }
    assert len(read_blocks(run)) == 0


def test_the_page_tells_what_was_run(finished):
    run, _ = finished

    text = (run.path / PAGE.name).read_text(encoding="utf-8")

    assert "# Comparison of plain and t5" in text
    assert "4 of 4 trainings ended, 4 completed" in text
    assert "trainings ran in turn" in text
    assert text.count("](figures/") == 4


def test_all_configurations_of_a_seed_see_the_same_windows_and_hidden_bars(finished):
    trials = read_trials(finished[0])

    for column in ("order_sha256", "mask_sha256"):
        assert trials.groupby("seed")[column].nunique().tolist() == [1, 1]
        assert trials[column].nunique() == 2


def test_resuming_a_finished_comparison_writes_its_page_again_without_ray(
    call, finished, monkeypatch
):
    run, _ = finished
    monkeypatch.chdir(run.path.parents[1])
    before = read_trials(run)
    (run.path / PAGE.name).unlink()

    status, out, _ = call(*SMALL, *EPOCHS, "--resume")

    assert status == 0
    assert "completed at epoch" not in out
    assert (run.path / PAGE.name).exists()
    pd.testing.assert_frame_equal(read_trials(run), before)


@pytest.fixture
def without_training(monkeypatch):
    """In place of trainings: notes the options that reach them."""
    noted = []

    def run_comparison(inputs, run, **options):
        RunWriter(run)
        noted.append({"comparison": inputs.study, **options})

    monkeypatch.setattr("stage1.workers.launch.run_comparison", run_comparison)
    return noted


def test_options_reach_the_comparison(call, folder, without_training):
    call(*SMALL, "--seed", "6", "--max-epochs", "9", "--workers", "3", "--out", "elsewhere")

    (asked,) = without_training
    assert asked["comparison"].design_seeds == [7, 8]
    assert asked["comparison"].config.training.epochs == 9
    assert asked["workers"] == 3
    assert Path("elsewhere/experiment_t5_vs_random.md").exists()


def test_the_record_says_what_is_run_before_it_runs(call, folder, without_training):
    call("plain.yaml", "t5.yaml", "--data_dir", "bars")

    record = yaml.safe_load((OUT.path / "experiment.yaml").read_text())
    assert list(record["configs"]) == ["plain", "t5"]
    assert record["seeds"] == [1, 2, 3]
    assert record["data"]["data_dir"] == "bars"
    assert record["language_models"].keys() == {"english-t5-nano"}
    assert {"torch", "stage1"} <= record["versions"].keys()


def test_ctrl_c_says_how_to_go_on_and_resume_goes_on(call, folder, without_training, monkeypatch):
    def interrupted(inputs, run, **options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("stage1.workers.launch.run_comparison", interrupted)
        status, out, err = call(*SMALL)
    resumed, _, _ = call(*SMALL, "--resume")

    assert status == 130
    assert "Traceback" not in err
    assert f"every trial that had ended is in {OUT.path}" in out
    assert "--resume" in out
    assert resumed == 0
    assert PAGE.exists()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        pytest.param(["--seeds", "3"], "seeds ([1, 2] -> [1, 2, 3])", id="more seeds"),
        pytest.param(
            ["--max-epochs", "9"], "configs.t5.training.epochs (2 -> 9)", id="another horizon"
        ),
        pytest.param(["--data-dir", "more"], "data.fingerprint", id="other bars"),
    ],
)
def test_another_comparison_does_not_resume_a_folder(
    call, folder, without_training, arguments, named
):
    call(*SMALL)
    write_bars(Path("more"), count=700)

    assert named in refusal_of(call, folder, *SMALL, "--resume", *arguments)


# --- as a user does it ---


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL], ids=["Ctrl-C", "kill -9"])
def test_a_comparison_that_was_stopped_goes_on_to_the_scores_of_an_undisturbed_one(
    folder, finished, how
):
    command = [*SMALL, *EPOCHS, "--workers", "2"]
    words = [sys.executable, "-m", "stage1.compare", *command]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with start(*words, cwd=folder, start_new_session=True, **pipes) as process:
        wait_until(lambda: OUT.begun.exists() and any(OUT.running.glob("*.ckpt")), during=process)
        os.killpg(process.pid, how)  # to all of them, as a terminal does
        printed = process.stdout.read()
        status = process.wait(timeout=HANG)
    states = {
        file.stem: load_checkpoint(file, made_by="stage1") for file in OUT.running.glob("*.ckpt")
    }
    resumed = stage1("stage1.compare", *command, "--resume", cwd=folder)

    assert "Traceback" not in printed
    assert status == (130 if how == signal.SIGINT else -how)
    assert ("Go on with the same command and --resume" in printed) == (how == signal.SIGINT)
    assert "4 of 4 trainings ended, 4 completed" in PAGE.read_text(encoding="utf-8")
    assert "Warning" not in resumed.stderr
    curves = read_curves(OUT).set_index(["trial_id", "epoch"]).sort_index()
    undisturbed = read_curves(finished[0]).set_index(["trial_id", "epoch"]).sort_index()
    columns = ["val_loss", "val_correlation", "val_skill", "train_loss"]
    pd.testing.assert_frame_equal(curves[columns], undisturbed[columns], check_exact=True)
    for trial_id, state in states.items():  # these epochs were not trained again
        rows = state["callbacks"]["EpochReports"]["rows"]
        seconds = curves.loc[trial_id]["seconds"]
        assert seconds[[row["epoch"] for row in rows]].tolist() == [row["seconds"] for row in rows]
