"""One whole study on the bundled bars, run once as a user runs it, and everything it must leave."""

import os
import signal
import subprocess
import sys
from io import StringIO

import optuna
import pandas as pd
import pytest
import yaml
from command_line import HANG, ROOT, stage1, start, wait_until
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState
from rich.console import Console

from stage1.config import load_config
from stage1.export import main as export
from stage1.run.columns import BLOCK_SUMS
from stage1.run.folder import RunFolder
from stage1.run.registration import preregistration_deviations, read_preregistration
from stage1.run.tables import load_table, read_blocks, read_cost
from stage1.training.checkpoint import read_trained
from stage1.training.encoder import load_encoder
from stage1.training.session import run_training

PAIRED = ["head_sha256", "order_sha256", "mask_sha256"]


@pytest.fixture(scope="module")
def trials(finished_study):
    return pd.read_parquet(finished_study.folder / "trials.parquet")


@pytest.fixture(scope="module")
def design(trials):
    return trials[trials["stage"] == "design"]


@pytest.fixture(scope="module")
def curves(finished_study):
    return pd.read_parquet(finished_study.folder / "curves.parquet")


@pytest.fixture(scope="module")
def blocks(finished_study):
    return read_blocks(RunFolder(finished_study.folder))


def test_every_configuration_and_seed_of_the_design_is_there_in_every_arm(design):
    arms = design.groupby(["config_id", "seed"])["arm"].agg(set)

    assert len(arms) == 4 * 2
    assert all(found == {"pretrained", "random"} for found in arms)
    assert set(design["status"]) == {"completed"}
    assert set(design["epochs"]) == {3}


def test_arms_share_everything_but_the_weights_of_the_t5(design):
    groups = design.groupby(["config_id", "seed"])

    assert (groups[PAIRED].nunique() == 1).all(axis=None)
    assert (groups["lm_sha256"].nunique() == 2).all()


def test_seeds_differ_in_order_masks_and_first_weights(design):
    groups = design[design["arm"] == "random"].groupby("config_id")

    assert (groups[[*PAIRED, "lm_sha256"]].nunique() == 2).all(axis=None)


def test_search_trials_end_at_a_rung_or_at_the_horizon(trials):
    search = trials[trials["stage"] == "search"]

    assert len(search) == 6
    assert set(search["status"]) <= {"completed", "stopped", "diverged"}
    assert (search.loc[search["status"] == "completed", "epochs"] == 3).all()
    assert (search.loc[search["status"] == "stopped", "epochs"] < 3).all()


def test_confirmed_points_are_search_points_on_seeds_that_nothing_else_used(trials):
    confirm = trials[trials["stage"] == "confirm"]
    completed = trials[(trials["stage"] == "search") & (trials["status"] == "completed")]

    assert set(confirm["config_id"]) <= set(completed["config_id"])
    for _, seeds in confirm.groupby("config_id")["seed"]:
        assert set(seeds) == set(confirm["seed"])
    others = trials[trials["stage"] != "confirm"]
    assert len(set(confirm["seed"])) == 2
    assert not set(confirm["seed"]) & set(others["seed"])


def test_every_trial_has_a_curve_from_before_the_first_step_to_its_last_epoch(trials, curves):
    epochs = curves.groupby("trial_id")["epoch"].agg(list)

    assert set(epochs.index) == set(trials["trial_id"])
    for trial in trials.itertuples():
        assert epochs[trial.trial_id] == list(range(trial.epochs + 1))


def test_all_trials_are_scored_on_the_same_hidden_bars_where_0_is_worse_than_the_baseline(trials):
    losses = ["baseline_val_loss", "baseline_val_correlation", "zero_val_loss"]

    assert (trials[losses].nunique() == 1).all()
    assert (trials["zero_val_loss"] > trials["baseline_val_loss"]).all()


def test_the_journal_opens_in_optuna_with_true_states(finished_study, trials):
    storage = JournalStorage(JournalFileBackend(str(finished_study.folder / "optuna.journal")))

    for arm in ("pretrained", "random"):
        study = optuna.load_study(study_name=f"smoke-{arm}", storage=storage)
        states = [trial.state for trial in study.trials]
        search = trials[(trials["stage"] == "search") & (trials["arm"] == arm)]
        completed = int((search["status"] == "completed").sum())
        assert states.count(TrialState.RUNNING) == 0
        assert states.count(TrialState.COMPLETE) == 4 + completed
        assert states.count(TrialState.PRUNED) == int((search["status"] == "stopped").sum())


def test_the_study_was_registered_with_its_arms_before_its_first_trial(finished_study, trials):
    run = RunFolder(finished_study.folder)
    registered_yaml = yaml.safe_load(run.prereg.read_text())

    registered = read_preregistration(run)

    assert pd.Timestamp(registered_yaml["written_at"]) <= trials["started_at"].min()
    assert registered_yaml["early_epoch"] == 1
    assert preregistration_deviations(run) == []
    assert registered.roles == {"pretrained": "pretrained", "random": "random"}
    assert (registered.cost.size, registered.cost.patch_len) == ("english-t5-nano", 8)


def test_the_design_s_blocks_give_its_correlations_at_the_early_epoch_and_the_horizon(
    blocks, design, curves
):
    sums = blocks.groupby(["trial_id", "epoch", "timeframe", "channel"])[list(BLOCK_SUMS)].sum()
    n, truth, mine, truth_2, mine_2, product = (sums[name].astype(float) for name in BLOCK_SUMS)
    variances = (n * truth_2 - truth**2) * (n * mine_2 - mine**2)
    by_price = (n * product - truth * mine) / variances**0.5
    values = by_price.groupby(["trial_id", "epoch"]).mean()

    recorded = curves.set_index(["trial_id", "epoch"])["val_correlation"]
    expected = {(trial_id, epoch) for trial_id in design["trial_id"] for epoch in (1, 3)}
    assert set(values.index) == expected
    pd.testing.assert_series_equal(values, recorded[values.index], check_names=False, atol=1e-6)


def test_all_trials_have_the_same_blocks_of_validation_time(blocks):
    places = blocks.groupby(["timeframe", "channel", "block"])

    assert (places[["n", "sum_truth", "sum_truth_squared"]].nunique() == 1).all(axis=None)
    assert (places["trial_id"].nunique() == 16).all()


def test_after_the_study_the_t5_was_timed_against_the_vanilla_encoder_in_turns(finished_study):
    cost = read_cost(RunFolder(finished_study.folder))

    firsts = ["pretrained", "vanilla"] * 3
    assert cost["arm"][::2].tolist() == firsts
    assert cost["arm"][1::2].tolist() == firsts[1:] + firsts[:1]
    assert cost["round"].tolist() == [number for number in range(6) for _ in range(2)]
    assert set(cost["size"]) == {"english-t5-nano"}
    assert set(cost["patch_len"]) == {8}
    assert (cost["seconds"] > 0).all()
    assert (cost["peak_rss_mb"] > 100).all()
    assert "Timing english-t5-nano against a vanilla encoder" in finished_study.printed


def test_a_worker_does_not_grow_from_trial_to_trial(trials):
    first, last = trials["peak_rss_mb"].head(6), trials["peak_rss_mb"].tail(6)

    assert last.max() < 1.15 * first.max()


def test_tensorboard_has_a_run_for_every_trial(finished_study, trials):
    files = (finished_study.folder / "tensorboard").rglob("events.out.*")

    assert {path.parent.name for path in files} == {"study", *trials["trial_id"]}


def test_the_kept_states_of_the_best_trials_hold_their_encoders(finished_study, trials):
    by_id = trials.set_index("trial_id")

    kept = list((finished_study.folder / "checkpoints").iterdir())

    assert len(kept) == 3
    for path in kept:
        row, fingerprints = by_id.loc[path.stem], read_trained(path).record.fingerprints
        assert dict(fingerprints) == {name: row[name] for name in ["lm_sha256", *PAIRED]}
        assert load_encoder(path).timeframes == ("m1", "m5", "m15")


def test_the_end_table_names_arms_baseline_and_what_to_run_next(finished_study):
    printed = finished_study.printed
    report = (finished_study.folder / "report.md").read_text()

    for word in ("pretrained", "random", "interpolation"):
        assert word in printed
        assert word in report
    assert "stage1.export" in report


def test_a_finished_study_is_resumed_to_the_same_tables(finished_study, trials):
    result = stage1(
        "stage1.tune", "search_spaces/smoke.yaml", "--out", finished_study.folder.parent, "--resume"
    )

    again = pd.read_parquet(finished_study.folder / "trials.parquet")
    pd.testing.assert_frame_equal(again, trials)
    assert "Timing" not in result.stdout
    assert "interpolation" in result.stdout


def test_the_exported_configuration_repeats_its_trial_bit_for_bit(
    finished_study, trials, curves, tmp_path, call_command
):
    best = tmp_path / "best.yaml"
    call_command(export, finished_study.folder, "--out", best)
    text = best.read_text()
    config = yaml.safe_load(text)
    point = {
        "arm": config["transfer_learning"]["initialization"],
        "seed": config["training"]["seed"],
        "config_id": next(line.split()[-1] for line in text.splitlines() if "config_id" in line),
    }

    rows = run_training(
        load_config(best),
        tmp_path / "final",
        data_dir=None,
        checkpoint=None,
        fast_dev_run=False,
        console=Console(file=StringIO()),
    )

    chosen = trials[(trials[list(point)] == pd.Series(point)).all(axis="columns")]
    stored = curves[curves["trial_id"] == chosen["trial_id"].iloc[0]]["val_loss"].tolist()
    assert [row["val_loss"] for row in rows] == stored


TINY = """
name: tiny
base: {base}
horizon_epochs: 1
arms:
  pretrained: {{transfer_learning.initialization: pretrained}}
space:
  training.optimizer.lr: {{type: float, low: 1.0e-3, high: 1.0e-2, log: true}}
design: {{configurations: 4, seeds: 1}}
search: {{trials: 2}}
"""


@pytest.mark.slow  # three studies; tests/workers/test_kills.py does it with made-up trainings
def test_ctrl_c_and_a_time_budget_keep_what_has_ended_and_resume_runs_the_rest_once(tmp_path):
    space = tmp_path / "tiny.yaml"
    space.write_text(TINY.format(base=ROOT / "configs" / "sample.yaml"))
    command = ["stage1.tune", space, "--out", tmp_path / "runs"]
    table = tmp_path / "runs" / "tiny" / "trials.parquet"

    pipe = {"stdout": subprocess.PIPE, "start_new_session": True}
    running = start(sys.executable, "-m", *command, **pipe)
    wait_until(lambda: table.exists() and load_table(table).num_rows >= 2, during=running)
    os.kill(running.pid, signal.SIGINT)
    printed, _ = running.communicate(timeout=HANG)
    before = pd.read_parquet(table)
    cut_short = stage1(*command, "--resume", "--time-budget", "1s")
    resumed = stage1(*command, "--resume")

    after = pd.read_parquet(table)
    assert running.returncode == 130
    assert "--resume" in printed
    assert 2 <= len(before) < len(after)
    pd.testing.assert_frame_equal(after.head(len(before)), before)
    assert after["trial_id"].is_unique
    assert (after["stage"].value_counts()[["design", "search"]] == [4, 2]).all()
    assert "Not finished" in cut_short.stdout
    assert "Not finished" not in resumed.stdout
