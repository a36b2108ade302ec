"""A trial in its worker: the weights it shares with others, and the state it goes on from."""

from __future__ import annotations

import errno
import json
import os
import pickle
import shutil
import threading
from contextlib import suppress
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
import ray
import torch
from ray import tune
from ray.tune.trainable.function_trainable import FunctionTrainable, wrap_function
from safetensors.torch import save_file
from synthetic_bars import market
from tiny_training import T5, tiny_config, tiny_language_model, tiny_windows

from stage1.base.metric_table import BLOCKS
from stage1.config import with_values
from stage1.language_models.initialization import build_t5
from stage1.language_models.resolver import resolve, weights_sha256
from stage1.study.space import Resources
from stage1.training.fit import fit
from stage1.training.module import Stage1Module
from stage1.workers import trainable
from stage1.workers.cluster import ray_cluster
from stage1.workers.states import TrialStates
from stage1.workers.trainable import (
    REPORT,
    SharedWeights,
    share_inputs,
    train_from_last_state,
    train_trial,
)

OPTIONS = {"gpus": 0, "warm_up": False, "metrics": {}}


class Reference:
    """To what a process has put into its object store, pickled as Ray does it."""

    def __init__(self, value):
        self.buffers = []
        self.pickled = pickle.dumps(value, protocol=5, buffer_callback=self.buffers.append)

    def get(self):
        return pickle.loads(self.pickled, buffers=[bytes(buffer) for buffer in self.buffers])


@pytest.fixture
def object_store(monkeypatch):
    """In place of Ray's: what comes out lies in memory that may not be written to."""
    monkeypatch.setattr(trainable.ray, "put", Reference)
    monkeypatch.setattr(trainable.ray, "get", Reference.get)


@pytest.fixture
def rows(monkeypatch):
    """What a trial reports."""
    reported = []
    monkeypatch.setattr(
        trainable.tune, "report", lambda metrics: reported.append(metrics[REPORT].row)
    )
    return reported


@pytest.fixture(autouse=True)
def a_state_after_every_epoch(monkeypatch):
    monkeypatch.setattr("stage1.workers.states.BYTES_PER_SECOND", float("inf"))


@pytest.fixture
def states(tmp_path):
    return TrialStates(str(tmp_path / "states"))


def settings(config, trial_id="a"):
    """What Ray hands to a trial."""
    return {"trial_id": trial_id, "config": config, "block_epochs": [], "parts": 1}


@pytest.fixture
def folder(tmp_path):
    """A language model as it lies on disk."""
    path = tmp_path / "tiny"
    path.mkdir()
    weights = {f"encoder.{name}": w for name, w in tiny_language_model().weights.items()}
    table = {"shared.weight": torch.ones(9, T5["d_model"])}
    save_file(weights | table, path / "model.safetensors", metadata={"format": "pt"})
    (path / "config.json").write_text(json.dumps({"model_type": "t5", **T5}), encoding="utf-8")
    return path


def shared_model():
    model = tiny_language_model()
    return model._replace(weights=SharedWeights(model.weights))


def bits(tensor):
    return tensor.view(torch.int32)


def test_trials_train_on_when_the_language_model_s_folder_is_gone(
    folder, object_store, rows, states
):
    config = tiny_config(transfer_learning={"lm_name_or_path": str(folder)}, training={"epochs": 1})
    bars = market(2000, config.data.timeframes)
    model = resolve(str(folder))
    shared = share_inputs(bars, [model])
    shutil.rmtree(folder)

    for trial_id in ("a", "b"):
        train_trial(settings(config, trial_id), shared=shared, states=states, **OPTIONS)

    assert [row["epoch"] for row in rows] == [0, 1, 0, 1]
    assert {row["lm_sha256"] for row in rows} == {model.sha256}


def test_trials_on_shared_weights_learn_what_a_training_by_itself_learns(
    object_store, rows, states
):
    config = tiny_config(training={"epochs": 1})
    alone = []
    fit(config, tiny_windows(config), tiny_language_model(), report=alone.append)
    shared = share_inputs(market(2000, config.data.timeframes), [tiny_language_model()])

    train_trial(settings(config), shared=shared, states=states, **OPTIONS)

    same = ("train_loss", "val_loss", "val_correlation", "lm_sha256", "head_sha256")
    assert len(rows) == len(alone) == 2
    assert {key: rows[-1][key] for key in same} == {key: alone[-1][key] for key in same}


def test_weights_come_out_of_the_object_store_bit_for_bit(object_store):
    model = tiny_language_model()
    name = "block.1.layer.0.SelfAttention.q.weight"
    model.weights[name][0, :3] = torch.tensor([-0.0, 1e-45, 3.4e38])  # zero, least, near the most

    shared = share_inputs({}, [model]).language_model("tiny")

    assert list(shared.weights) == list(model.weights)
    assert len(shared.weights) == len(model.weights)
    for key, tensor in shared.weights.items():
        assert tensor.dtype == torch.float32
        assert torch.equal(bits(tensor), bits(model.weights[key]))
    assert shared._replace(weights=model.weights) == model
    assert weights_sha256(shared.weights) == weights_sha256(model.weights)


def test_weights_lie_beside_the_pickle_so_that_ray_need_not_copy_them(object_store):
    model = tiny_language_model()

    put = share_inputs({}, [model]).language_models["tiny"]

    values = sum(tensor.numel() for tensor in model.weights.values())
    assert sum(buffer.raw().nbytes for buffer in put.buffers) == 4 * values
    assert len(put.pickled) < values


def test_what_is_written_to_a_tensor_does_not_reach_the_shared_weights(object_store):
    shared = share_inputs({}, [tiny_language_model()])

    for tensor in shared.language_model("tiny").weights.values():
        tensor.fill_(7)

    for model in (shared.language_model("tiny"), shared.language_models["tiny"].get()):
        assert weights_sha256(model.weights) == tiny_language_model().sha256


@pytest.mark.parametrize("blocks", [1, None])
@pytest.mark.parametrize("arm", ["pretrained", "random", "shuffled"])
def test_shared_weights_give_the_same_t5_in_every_arm_and_stay_as_they_are(arm, blocks):
    choice = {"initialization": arm, "seed": 3, "n_pretrained_blocks": blocks}
    expected, expected_sha256 = build_t5(tiny_language_model(), **choice)
    shared = shared_model()

    stack, sha256 = build_t5(shared, **choice)
    with torch.no_grad():
        state = {name: tensor.clone() for name, tensor in stack.state_dict().items()}
        for parameter in stack.parameters():
            parameter.fill_(7)

    assert sha256 == expected_sha256
    for name, tensor in expected.state_dict().items():
        assert torch.equal(bits(state[name]), bits(tensor))
    assert weights_sha256(shared.weights) == shared.sha256


@pytest.mark.slow
def test_two_processes_of_ray_share_the_memory_of_the_weights():
    values = torch.randn(20_000_000, generator=torch.Generator().manual_seed(0))
    weights = {"matrix": values.view(4000, 5000)}
    model = tiny_language_model()._replace(weights=weights, sha256=weights_sha256(weights))

    def look(shared):
        def private_bytes():
            return psutil.Process().memory_full_info().uss

        before = private_bytes()
        found = shared.language_model("tiny")
        sha256 = weights_sha256(found.weights)
        found.weights["matrix"].fill_(7)
        return os.getpid(), sha256, private_bytes() - before

    with ray_cluster(Resources(), workers=2, address=None, storage=None):
        task = ray.remote(num_cpus=1, max_calls=1)(look)  # a process for each call
        shared = share_inputs({}, [model])
        looks = ray.get([task.remote(shared) for _ in range(2)])
        last = weights_sha256(ray.get(shared.language_models["tiny"]).weights)

    pids, sha256s, private = zip(*looks, strict=True)
    assert len({*pids, os.getpid()}) == 3
    assert {*sha256s, last} == {model.sha256}
    assert max(private) < values.nbytes / 4


def test_a_worker_whose_training_does_not_stop_ends_itself(monkeypatch):
    """Ray's own answer, False, would leave the next trial waiting for ever."""
    trainable = wrap_function(
        tune.with_parameters(train_trial, shared=None, states=None, **OPTIONS)
    )
    worker = object.__new__(trainable)
    exits = []
    monkeypatch.setattr("os._exit", exits.append)

    monkeypatch.setattr(FunctionTrainable, "reset_config", lambda self, config: True)
    assert worker.reset_config({})
    assert exits == []
    monkeypatch.setattr(FunctionTrainable, "reset_config", lambda self, config: False)
    worker.reset_config({})

    assert exits == [1]


# --- broken off anywhere, a training goes on as if it had not been ---

MEASURED = {"seconds", "seconds_per_step", "peak_rss_mb", "peak_vram_mb"}
CONFIG = tiny_config(transfer_learning={"freeze_lm_epochs": 1}, model={"dropout": 0.1})


class BrokenOffError(Exception):
    """In place of a process that dies."""


def train(states, *, break_after=None, parts=1, config=CONFIG, trial_id="design-a-1", report=None):
    """The rows that were reported, also to `report`, and the warnings."""
    rows, warnings = [], []
    told = report or (lambda row, warning: None)

    def report(row, warning):
        rows.append(row)
        warnings.extend([warning] if warning else [])
        told(row, warning)
        if break_after is not None and len(rows) > break_after:
            raise BrokenOffError

    arguments = {
        "trial_id": trial_id,
        "states": states,
        "report": report,
        "block_epochs": [1, 3],
        "parts": parts,
        "accelerator": "cpu",
        "metrics": {},
    }
    with suppress(BrokenOffError):
        train_from_last_state(config, tiny_windows(config), tiny_language_model(), **arguments)
    return rows, warnings


def learned(rows):
    return [
        {
            key: value.tolist() if isinstance(value, np.ndarray) else value
            for key, value in row.items()
            if key not in MEASURED
        }
        for row in rows
    ]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    rows, warnings = train(TrialStates(str(tmp_path_factory.mktemp("whole"))))
    assert warnings == []
    return rows


@pytest.mark.parametrize("epochs", [[0], [1], [2], [3], [1, 2, 2, 3]], ids=str)
def test_broken_off_at_any_epoch_or_again_and_again_it_goes_on_to_the_same_rows(
    states, whole, epochs
):
    for epoch in epochs:
        train(states, break_after=epoch)

    rows, warnings = train(states)

    assert str(learned(rows)) == str(learned(whole))
    assert warnings == []


def test_the_epochs_behind_it_are_reported_as_they_were_measured(states):
    first, _ = train(states, break_after=3)

    rows, _ = train(states)

    for before, again in zip(first, rows, strict=True):  # reported is what was kept
        assert before[BLOCKS].tolist() == again[BLOCKS].tolist() if BLOCKS in before else True
        assert {key: before[key] for key in MEASURED} == {key: again[key] for key in MEASURED}
    seconds = [row["seconds"] for row in rows]
    assert seconds == sorted(seconds)


def test_once_it_has_ended_nothing_is_trained_again(states, whole, monkeypatch):
    train(states)
    monkeypatch.setattr("stage1.workers.trainable.fit", None)

    rows, _ = train(states)

    assert str(learned(rows)) == str(learned(whole))


def test_a_state_that_cannot_be_read_is_told_and_the_trial_begins_again(states, whole, tmp_path):
    train(states, break_after=2)
    (tmp_path / "states" / "design-a-1.ckpt").write_bytes(b"half a fi")

    rows, (warning,) = train(states)

    assert str(learned(rows)) == str(learned(whole))
    assert warning.startswith("its last state could not be used, so it begins again: ")


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        pytest.param("training", "seed", 5, id="another seed"),
        pytest.param("training", "optimizer.lr", 0.02, id="another configuration"),
        pytest.param("data", "validation_windows", 20, id="other windows"),
    ],
)
def test_the_state_of_another_trial_is_told_and_not_gone_on_with(
    states, whole, section, key, value
):
    train(states, break_after=2, config=with_values(CONFIG, {f"{section}.{key}": value}))

    rows, (warning,) = train(states)

    assert str(learned(rows)) == str(learned(whole))
    assert f"must be of this training, differs in {section}." in warning


def test_a_state_for_which_the_disk_has_no_room_is_kept(states, whole, monkeypatch):
    train(states, break_after=2)

    def full(self, trial_id, path):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(TrialStates, "fetch", full)
        with pytest.raises(OSError, match="No space left"):
            train(states)
    rows, warnings = train(states, break_after=None)

    assert str(learned(rows)) == str(learned(whole))
    assert warnings == []


def test_a_state_that_cannot_be_kept_is_told_and_the_training_goes_on(whole, tmp_path):
    (tmp_path / "states").write_text("a file in the place of the folder")

    rows, warnings = train(TrialStates(str(tmp_path / "states")))

    assert str(learned(rows)) == str(learned(whole))
    assert len(warnings) == 2  # with the epoch after, or with the last
    assert all(warning.startswith("its state could not be kept: ") for warning in warnings)


def test_what_memory_has_cost_a_process_goes_on_with_its_batches_in_parts(states, whole):
    train(states, break_after=2)

    rows, _ = train(states, parts=2)

    assert [row["accumulation"] for row in rows] == [1, 1, 2, 2]
    assert rows[-1]["val_loss"] == pytest.approx(whole[-1]["val_loss"], rel=1e-3)


# --- states are kept by time, and written while the training goes on ---


class Watched:
    """Places of states that note which epochs are kept, and whether one is being written."""

    def __init__(self, states, before_writing=lambda: None):
        self.states, self.before_writing = states, before_writing
        self.epochs, self.is_writing = [], False

    def fetch(self, trial_id, path):
        return self.states.fetch(trial_id, path)

    def save(self, trial_id, write):
        self.is_writing = True
        self.before_writing()
        self.states.save(trial_id, write)
        self.is_writing = False
        kept = torch.load(f"{self.states.place}/{trial_id}.ckpt", weights_only=True)
        self.epochs.append(kept["epoch"] + 1)


@pytest.fixture
def ten_seconds_an_epoch(monkeypatch):
    """By the clock that tells how old a state is; states become 25 seconds old."""
    epochs, plan_epoch = [], Stage1Module.on_train_epoch_start

    def counted(self):
        epochs.append(self.current_epoch)
        plan_epoch(self)

    monkeypatch.setattr(Stage1Module, "on_train_epoch_start", counted)
    clock = SimpleNamespace(monotonic=lambda: 10.0 * len(epochs))
    monkeypatch.setattr(trainable, "time", clock)
    monkeypatch.setattr(trainable, "seconds_between_states", lambda parameters: 25.0)
    return epochs


SEVEN = tiny_config(model={"dropout": 0.1}, training={"epochs": 7})


def test_a_state_is_kept_when_the_last_one_is_old_and_at_the_horizon(states, ten_seconds_an_epoch):
    watched = Watched(states)

    train(watched, config=SEVEN)

    assert watched.epochs == [3, 6, 7]


@pytest.mark.parametrize("epoch", [2, 5, 7])
def test_a_process_that_is_lost_costs_the_epochs_since_its_last_state_and_nothing_else(
    states, tmp_path, ten_seconds_an_epoch, epoch
):
    undisturbed, _ = train(TrialStates(str(tmp_path / "other")), config=SEVEN)
    del ten_seconds_an_epoch[:]
    train(states, config=SEVEN, break_after=epoch)

    rows, _ = train(states, config=SEVEN)

    assert str(learned(rows)) == str(learned(undisturbed))
    repeated = len(ten_seconds_an_epoch) - 7
    assert repeated == {2: 2, 5: 2, 7: 0}[epoch]


def test_the_training_goes_on_while_a_state_is_written_which_is_that_of_its_epoch(
    states, whole, monkeypatch
):
    steps, step = threading.Semaphore(0), Stage1Module.training_step

    def counted(self, batch, batch_index):
        result = step(self, batch, batch_index)
        steps.release()
        return result

    def two_further_steps():
        for _ in range(2 if len(watched.epochs) < 2 else 0):  # none after the last epoch
            assert steps.acquire(timeout=60)

    def report(row, warning):
        assert warning is None
        assert not watched.is_writing
        while steps.acquire(blocking=False):
            pass

    monkeypatch.setattr(Stage1Module, "training_step", counted)
    watched = Watched(states, two_further_steps)
    train(watched, report=report)
    assert watched.epochs == [1, 2, 3]
    watched.epochs.clear()
    train(watched, report=report, trial_id="b", break_after=2)  # its state is that of epoch 1

    rows, _ = train(states, trial_id="b")

    assert str(learned(rows)) == str(learned(whole))
