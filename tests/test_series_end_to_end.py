"""A series through a training and a study, from its file to what the tables say of it."""

import re
import textwrap
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest
from command_line import ROOT, stage1
from synthetic_series import frame_of, series_config, series_of, waves, write_frame
from tiny_training import tiny_language_model

from stage1.base.metric_table import BLOCKS
from stage1.data.batches import MarketWindows
from stage1.prepare import prepare
from stage1.run.columns import COMPLETED, DESIGN
from stage1.run.folder import RunFolder
from stage1.run.tables import RunWriter, read_blocks
from stage1.study.trials import RunningTrial, TrialSpec, block_rows, curve_rows, trial_row
from stage1.training.fit import fit
from stage1.tune import tune

DOCS = (ROOT / "docs" / "series.md").read_text()


def trained(config, language_model=None):
    """The rows of a training on a few hundred steps."""
    bars = series_of(waves(), config.data.timeframes)
    windows = MarketWindows(bars, config.data, calendar=config.model.async_sampler)
    rows = []
    epochs = config.training.epochs
    fit(config, windows, language_model, report=rows.append, block_epochs=[epochs])
    return rows


ALL_LOSSES = {"weights.spec_tf": 0.1, "weights.cross": 0.1, "weights.amp_phase": 0.1}


@pytest.mark.parametrize("calendar", [False, True], ids=["equal lengths", "calendar"])
def test_a_training_reports_every_metric_of_a_series(calendar):
    config = series_config(loss=ALL_LOSSES, model={"async_sampler": calendar})

    rows = trained(config, tiny_language_model())

    assert [row["epoch"] for row in rows] == [0, 1, 2, 3]
    names = ("val_loss", "val_correlation", "val_skill", "consistency_ratio", "spectral_delta")
    timed = ("val_corr_x1", "val_skill_x1", "baseline_val_corr_x1", "baseline_val_loss")
    assert np.isfinite([[row[name] for name in (*names, *timed)] for row in rows]).all()


def test_a_model_learns_waves():
    training = {"epochs": 5, "steps_per_epoch": 40, "batch_size": 16, "optimizer.lr": 5e-3}
    config = series_config(
        training=training, transfer_learning={"use_pretrained_lm": False}, model={"stem.width": 16}
    )

    rows = trained(config)

    assert rows[-1]["val_correlation"] > 0.5
    assert rows[-1]["val_loss"] < rows[0]["val_loss"] / 2


def test_the_sums_of_its_channels_are_written_and_read(tmp_path):
    config = series_config()
    spec = TrialSpec(DESIGN, "random", "design000", 1, {})
    trial = RunningTrial(spec, datetime(2026, 11, 1, tzinfo=UTC), trained(config))
    trial.blocks = {3: trial.curve[-1].pop(BLOCKS)}
    run = RunFolder(tmp_path / "run")
    blocks = block_rows(trial, config.data.timeframes, config.data.channel_names)

    RunWriter(run).add_trial(trial_row(trial, COMPLETED, None), curve_rows(trial), blocks)

    read = read_blocks(run)
    assert set(read["channel"]) == {"wave0", "wave1", "wave2"}
    assert set(read["timeframe"]) == {"x1", "x4"}
    scored = read.groupby(["timeframe", "channel"])["n"].sum()
    assert scored.groupby("timeframe").nunique().eq(1).all()


def test_the_example_of_the_docs_is_sound_up_to_its_first_trial(call_command, tmp_path):
    places = {"eeg.csv": str(tmp_path / "eeg.csv"), "data/eeg": str(tmp_path / "eeg")}
    indented = re.search(r"python - <<'END'\n(.*?)\n    END", DOCS, flags=re.DOTALL)[1]
    program = textwrap.dedent(indented).replace("eeg.csv", places["eeg.csv"])
    commands = re.findall(r"^    python -m stage1\.((?:prepare|tune) [^#\n]+)", DOCS, re.MULTILINE)
    prepared, tuned = ([places.get(word, word) for word in one.split()] for one in commands[:2])

    exec(program, {})
    assert call_command(prepare, *prepared[1:])[0] == 0
    status, printed, error = call_command(tune, *tuned[1:], "--check")

    assert status == 0, error
    assert "series.yaml: sound. 353 training and 193 validation windows" in printed


@pytest.mark.slow
def test_a_study_of_a_series_ends_with_its_report(tmp_path):
    source = write_frame(frame_of(waves(600)), tmp_path / "waves.csv")
    stage1("stage1.prepare", source, "--step", "1h", "--out", tmp_path / "waves")

    stage1(
        "stage1.tune", "search_spaces/series.yaml", "--data-dir", tmp_path / "waves",
        "--out", tmp_path, "--trials", 0, "--workers", 2,
    )  # fmt: skip

    run = RunFolder(tmp_path / "series")
    assert set(read_blocks(run)["channel"]) == {"wave0", "wave1", "wave2"}
    assert "val_corr_x4" in pd.read_parquet(run.trials)
    assert (run.path / "report.html").stat().st_size > 0
