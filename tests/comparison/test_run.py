"""What is trained, what is written when, and what is left after a stop."""

from __future__ import annotations

import io
import math
import signal

import pytest
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import metadata
from tiny_training import tiny_config, tiny_language_model

from stage1.comparison import in_turn
from stage1.comparison.experiment import Experiment
from stage1.comparison.inputs import Inputs
from stage1.comparison.outcome import Outcome
from stage1.comparison.run import run_experiment
from stage1.run.columns import COMPLETED, DIVERGED, FAILED
from stage1.run.folder import RunFolder
from stage1.run.tables import read_curves, read_trials

EXPERIMENT = Experiment(
    {
        "plain": tiny_config(transfer_learning={"use_pretrained_lm": False}),
        "t5": tiny_config(transfer_learning={"lm_learning_rate_factor": 0.3}),
    },
    seeds=(1, 2),
)
INPUTS = Inputs(EXPERIMENT, {}, None, {"tiny": tiny_language_model()})
WARM_UP = 1
"""Trainings before the first one, which nobody sees."""


def made_outcome(config, *, status=COMPLETED, epochs=3):
    rows = [
        {
            **{"epoch": epoch, "val_loss": 1 / (epoch + 1), "val_correlation": epoch / 4},
            **{"val_skill": 0.1, "train_loss": 0.5 if epoch else math.nan, "lr": 1e-3},
            **{"seconds": float(epoch), "seconds_per_step": 0.02, "node": "here"},
            **{"baseline_val_loss": 0.5, "baseline_val_correlation": 0.5},
        }
        for epoch in range(epochs + 1)
    ]
    return Outcome(rows, status, None if status == COMPLETED else "why")


@pytest.fixture
def run(tmp_path):
    folder = RunFolder(tmp_path / "experiment")
    folder.path.mkdir()
    return folder


@pytest.fixture
def trained(monkeypatch):
    """In place of trainings: notes their configurations; `trained.then` decides what follows."""

    class Trained(list):
        then = staticmethod(lambda number, config: made_outcome(config))

    noted = Trained()

    def train_once(config, windows, language_model, **options):
        noted.append((config, language_model))
        return noted.then(len(noted) - WARM_UP, config)

    monkeypatch.setattr(in_turn, "train_once", train_once)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    return noted


def run_in_turn(run):
    console = Console(file=io.StringIO(), width=200)
    run_experiment(EXPERIMENT, run, INPUTS, workers=1, console=console)
    return console.file.getvalue()


def test_every_configuration_is_trained_with_every_seed_and_its_own_encoder(run, trained):
    run_in_turn(run)

    asked = [(config.training.seed, model and model.name) for config, model in trained[WARM_UP:]]
    assert asked == [(1, None), (1, "tiny"), (2, None), (2, "tiny")]


def test_a_row_and_a_curve_per_training_with_what_tells_the_configurations_apart(run, trained):
    run_in_turn(run)

    trials, curves = read_trials(run), read_curves(run)
    assert trials["arm"].tolist() == ["plain", "t5", "plain", "t5"]
    assert trials["seed"].tolist() == [1, 1, 2, 2]
    assert trials["param.transfer_learning.use_pretrained_lm"].tolist() == [False, True] * 2
    assert trials["param.transfer_learning.lm_learning_rate_factor"].tolist() == [1.0, 0.3] * 2
    assert curves.groupby("trial_id")["epoch"].agg(list).tolist() == [[0, 1, 2, 3]] * 4


def test_a_training_is_written_before_the_next_one_begins(run, trained):
    written = []

    def then(number, config):
        if number > 1:
            written.append(len(read_trials(run)))
        return made_outcome(config)

    trained.then = then

    run_in_turn(run)

    assert written == [1, 2, 3]


def test_a_training_that_diverges_or_fails_is_a_row_and_the_others_go_on(run, trained):
    ends = {1: (DIVERGED, 1), 2: (FAILED, -1)}

    def then(number, config):
        status, epochs = ends.get(number, (COMPLETED, 3))
        return made_outcome(config, status=status, epochs=epochs)

    trained.then = then

    printed = run_in_turn(run)

    trials = read_trials(run)
    assert trials["status"].tolist() == [DIVERGED, FAILED, COMPLETED, COMPLETED]
    assert trials["epochs"].tolist() == [1, 0, 3, 3]
    assert trials["error"].tolist()[:2] == ["why", "why"]
    assert "[2/4] t5, seed 1: failed at epoch 0 (why); remaining ?" in printed


def test_ctrl_c_keeps_what_had_ended_and_the_next_run_trains_only_the_rest(run, trained):
    def then(number, config):
        if number == 3:
            raise KeyboardInterrupt
        return made_outcome(config)

    trained.then = then
    with pytest.raises(KeyboardInterrupt):
        run_in_turn(run)
    kept = read_trials(run)["trial_id"].tolist()
    trained.clear()
    trained.then = lambda number, config: made_outcome(config)

    printed = run_in_turn(run)

    assert len(kept) == 2
    assert [config.training.seed for config, _ in trained[WARM_UP:]] == [2, 2]
    assert read_trials(run)["trial_id"].tolist()[:2] == kept
    assert "[3/4] plain, seed 2" in printed


def test_ctrl_c_at_any_moment_stops_before_the_next_training(run, trained):
    def then(number, config):
        if number == 2:
            signal.raise_signal(signal.SIGINT)  # between batches: nothing has to be torn
        return made_outcome(config)

    trained.then = then

    with pytest.raises(KeyboardInterrupt):
        run_in_turn(run)

    assert len(trained[WARM_UP:]) == 2
    assert len(read_trials(run)) == 2


def test_an_experiment_that_has_ended_trains_nothing(run, trained):
    run_in_turn(run)
    trained.clear()

    assert run_in_turn(run) == ""
    assert trained == []


def test_the_first_steps_of_the_process_are_taken_before_the_clock_matters(run, trained):
    run_in_turn(run)

    warm_up = trained[0][0].training
    assert (warm_up.epochs, warm_up.steps_per_epoch) == (1, 5)
    assert len(read_trials(run)) == 4


def test_tensorboard_has_every_training_with_its_hparams(run, trained):
    run_in_turn(run)

    folder = run.tensorboard / "design" / "t5" / "design-compare000-t5-2"
    events = EventAccumulator(str(folder))
    events.Reload()
    content = events.PluginTagToContent(metadata.PLUGIN_NAME)
    hparams = metadata.parse_session_start_info_plugin_data(
        content[metadata.SESSION_START_INFO_TAG]
    ).hparams
    assert hparams["arm"].string_value == "t5"
    assert hparams["trial.seed"].number_value == 2
    assert hparams["transfer_learning.lm_learning_rate_factor"].number_value == 0.3
    assert [point.step for point in events.Scalars("val_loss")] == [0, 1, 2, 3]


@pytest.fixture
def asked(monkeypatch, trained):
    """In place of Ray: notes what it would be asked for, on two cores and no GPU."""
    noted = {}

    def train_side_by_side(experiment, trainings, inputs, **options):
        noted.update(options, trainings=[training.trial_id for training in trainings])

    monkeypatch.setattr("stage1.workers.cluster.usable_cores", lambda: 2)
    monkeypatch.setattr("stage1.comparison.side_by_side.train_side_by_side", train_side_by_side)
    return noted


def run_wide(run, workers):
    run_experiment(EXPERIMENT, run, INPUTS, workers=workers, console=Console(file=io.StringIO()))


def test_without_a_number_as_many_run_at_once_as_have_a_core(run, asked):
    run_wide(run, None)

    assert asked["workers"] == 2
    assert (asked["resources"].cpus, asked["resources"].gpus) == (1, 0)
    assert asked["trainings"][0] == "design-compare000-plain-1"


def test_more_workers_than_trainings_are_not_started(run, asked):
    run_wide(run, 64)

    assert asked["workers"] == 4


@pytest.mark.parametrize(
    ("devices", "workers", "at_once", "share"),
    [
        pytest.param(2, None, 2, 1.0, id="a GPU for each"),
        pytest.param(1, 2, 2, 0.5, id="two share one"),
        pytest.param(2, 3, 3, 0.5, id="three on two"),
    ],
)
def test_gpus_are_shared_evenly(run, asked, monkeypatch, devices, workers, at_once, share):
    monkeypatch.setattr("torch.cuda.device_count", lambda: devices)

    run_wide(run, workers)

    assert asked["workers"] == at_once
    assert asked["resources"].gpus == share


def test_a_single_gpu_trains_in_turn(run, asked, trained, monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)

    run_wide(run, None)

    assert asked == {}
    assert len(read_trials(run)) == 4
