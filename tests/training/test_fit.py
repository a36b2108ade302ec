import hashlib
import math
import os
from contextlib import nullcontext
from itertools import pairwise
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import pytest
import torch
from numpy.linalg import norm
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.utilities import rank_zero_only
from tiny_training import (
    BOTH_KINDS,
    all_validation,
    saved_every_epoch,
    tiny_batch,
    tiny_config,
    tiny_fit,
    tiny_model,
    tiny_module,
    tiny_windows,
    without_times,
)

from stage1.base.errors import ConfigError
from stage1.base.metric_table import BLOCKS, metric_names
from stage1.data.features import interpolate
from stage1.model.metrics import evaluate, evaluate_baselines
from stage1.model.stage1_model import T5_PREFIX
from stage1.training.checkpoint import CHECKPOINT_KEY
from stage1.training.fit import StepClock, arithmetic, check_precision
from stage1.training.module import Stage1Module

HASHES = ("head_sha256", "order_sha256", "mask_sha256")
UNVALIDATED = {"limit_val_batches": 0, "num_sanity_val_steps": 0}


def t5_weights(module):
    return {n: p.detach().clone() for n, p in module.model.named_parameters() if T5_PREFIX in n}


class Watch(Callback):
    """Notes what every step trains with, and the T5's weights after every epoch."""

    def __init__(self):
        self.inputs, self.modes, self.learning, self.rates, self.weights = [], [], [], [], []
        self.states, self.losses = [], []

    def on_train_start(self, trainer, module):
        self.weights.append(t5_weights(module))

    def on_train_batch_start(self, trainer, module, batch, batch_index):
        self.inputs.append(batch)
        self.modes.append({part.training for part in module.model.modules()})
        self.learning.append(
            {(T5_PREFIX in n, p.requires_grad) for n, p in module.model.named_parameters()}
        )
        groups = trainer.optimizers[0].param_groups
        self.rates.append({group["name"]: group["lr"] for group in groups})

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_index):
        self.losses.append(outputs["loss"].item())
        states = trainer.optimizers[0].state
        self.states.append(
            {p in states for n, p in module.model.named_parameters() if T5_PREFIX in n}
        )

    def on_train_epoch_end(self, trainer, module):
        self.weights.append(t5_weights(module))


def watched(config, **options):
    watch = Watch()
    rows, _ = tiny_fit(config, callbacks=[watch], **options)
    return watch, rows


def equal(one, two):
    return all(torch.equal(one[name], two[name]) for name in one)


class Trained(NamedTuple):
    """The training of `tiny_config()`; tests share it."""

    rows: list
    watch: Watch
    clock: StepClock


@pytest.fixture(scope="module")
def trained():
    watch, clock = Watch(), StepClock()
    rows, _ = tiny_fit(tiny_config(), callbacks=[watch, clock], block_epochs=[0, 1, 3])
    return Trained(rows, watch, clock)


# What is reported -------------------------------------------------------------------------------


def test_there_is_a_row_before_the_first_step_and_one_after_every_epoch(trained):
    rows = trained.rows

    assert [row["epoch"] for row in rows] == [0, 1, 2, 3]
    assert [row["steps"] for row in rows] == [0, 3, 6, 9]
    assert math.isnan(rows[0]["train_loss"])
    losses = torch.tensor(trained.watch.losses).reshape(3, 3)
    assert len(losses.unique()) == 9
    assert [row["train_loss"] for row in rows[1:]] == pytest.approx(losses.mean(dim=1).tolist())


def test_every_epoch_says_how_far_the_t5_has_moved_for_its_size():
    config = tiny_config(transfer_learning={"freeze_lm_epochs": 1}, training={"epochs": 3})

    watch, rows = watched(config)

    at_ends = [
        np.concatenate([weight.double().numpy().ravel() for weight in weights.values()])
        for weights in watch.weights
    ]
    expected = [norm(now - then) / norm(then) for then, now in pairwise(at_ends)]
    before, frozen, *steps = (row["lm_relative_step"] for row in rows)
    assert math.isnan(before)
    assert frozen == 0
    assert steps == pytest.approx(expected[1:], rel=1e-4)
    assert min(steps) > 1e-4


def test_where_there_is_no_t5_nothing_of_it_moves():
    _, rows = watched(tiny_config(transfer_learning={"use_pretrained_lm": False}))

    assert all(math.isnan(row["lm_relative_step"]) for row in rows)


def test_the_first_row_measures_the_model_as_it_was_built_with_interpolation_beside(trained):
    config = tiny_config()
    model, batch = tiny_model(config).eval(), all_validation(config)

    with torch.no_grad():
        decoded = model(batch.features, batch.hidden)
    line = interpolate(batch.targets, batch.hidden)
    expected = evaluate(decoded, line, batch, config)
    of_line = evaluate_baselines(line, batch, config)

    assert set(metric_names(config.data.timeframes)) == expected.keys()
    assert {name: trained.rows[0][name] for name in expected} == pytest.approx(expected)
    for row in trained.rows:
        assert expected.keys() <= row.keys()
        assert of_line.items() <= row.items()
        assert row["parameters"] == sum(p.numel() for p in model.parameters())
        assert not any("/" in key for key in row)


def test_the_hashes_cover_every_epoch_trained_so_far_and_no_other(trained):
    config, order, masks = tiny_config(), "", ""

    for epoch, row in enumerate(trained.rows[1:]):
        plan = tiny_windows(config).plan_epoch(config, epoch)
        order = hashlib.sha256(order.encode() + plan.order.tobytes()).hexdigest()
        masks = hashlib.sha256(masks.encode() + plan.uniforms.tobytes()).hexdigest()
        assert (row["order_sha256"], row["mask_sha256"]) == (order, masks)


def correlation_from(sums):
    """Mean over timeframes and prices of Pearson's r, from sums over all blocks."""
    n, truth, mine, truth_2, mine_2, product = sums.sum(axis=2).transpose(2, 0, 1)
    covariance = product / n - truth * mine / n**2
    variances = (truth_2 / n - (truth / n) ** 2) * (mine_2 / n - (mine / n) ** 2)
    return (covariance / variances**0.5).mean()


def test_the_sums_of_the_validation_s_blocks_give_the_recorded_correlation(trained):
    scored = all_validation(tiny_config()).scored.sum(dim=(0, 2)).tolist()

    assert [BLOCKS in row for row in trained.rows] == [True, True, False, True]
    for row in (trained.rows[1], trained.rows[3]):
        assert correlation_from(row[BLOCKS]) == pytest.approx(row["val_correlation"], abs=1e-6)
        counts = row[BLOCKS][..., 0].sum(axis=2)
        assert counts.tolist() == [[number] * 4 for number in scored]


def test_without_being_asked_a_training_adds_up_nothing_and_has_the_same_rows(trained, monkeypatch):
    def never(*arguments):
        raise AssertionError

    monkeypatch.setattr("stage1.training.module.block_sums", never)

    plain, _ = tiny_fit(tiny_config())

    others = [{key: row[key] for key in row if key != BLOCKS} for row in trained.rows]
    assert without_times(plain) == without_times(others)


def test_the_clock_times_the_steps_of_every_epoch(trained):
    clock, last = trained.clock, trained.rows[-1]

    assert clock.steps == [3, 3, 3]
    assert all(0 < seconds < last["seconds"] for seconds in clock.seconds)
    assert clock.seconds_per_step == pytest.approx(sum(clock.seconds) / 9)
    assert 0 < last["seconds_per_step"] < last["seconds"]
    assert StepClock().seconds_per_step == 0  # before the first step


def test_what_report_raises_ends_the_training():
    rows = []

    def stop(row):
        rows.append(row)
        if row["epoch"] == 1:
            raise KeyError("stopped")

    with pytest.raises(KeyError, match="stopped"):
        tiny_fit(tiny_config(), report=stop)

    assert [row["epoch"] for row in rows] == [0, 1]


# What is trained --------------------------------------------------------------------------------


@BOTH_KINDS
def test_the_same_training_twice_gives_the_same_rows_to_the_last_bit(calendar):
    transfer = {"initialization": "random"}
    config = tiny_config(calendar=calendar, model={"dropout": 0.2}, transfer_learning=transfer)

    first, _ = tiny_fit(config)
    torch.rand(7)
    second, _ = tiny_fit(config)

    assert without_times(first) == without_times(second)


def test_another_seed_gives_another_training(trained):
    first, second = trained.rows[-1], tiny_fit(tiny_config(training={"seed": 1}))[0][-1]

    assert first["val_loss"] != second["val_loss"]
    assert all(first[name] != second[name] for name in HASHES)
    assert first["lm_sha256"] == second["lm_sha256"]  # pretrained weights are no draw


def test_training_lowers_the_loss():
    config = tiny_config(training={"epochs": 2, "steps_per_epoch": 30, "optimizer.lr": 1e-2})

    rows, _ = tiny_fit(config)

    assert rows[-1]["val_loss"] < 0.8 * rows[0]["val_loss"]


@BOTH_KINDS
def test_arms_of_one_seed_share_all_but_the_t5(calendar):
    watches, rows = {}, {}
    for arm in ("pretrained", "random", "shuffled"):
        transfer, training = {"initialization": arm}, {"epochs": 2}
        config = tiny_config(calendar=calendar, transfer_learning=transfer, training=training)
        watches[arm], rows[arm] = watched(config)

    for arm in ("random", "shuffled"):
        for one, two in zip(rows["pretrained"], rows[arm], strict=True):
            assert all(one[name] == two[name] for name in HASHES)
        assert rows[arm][0]["baseline_val_loss"] == rows["pretrained"][0]["baseline_val_loss"]
        for one, two in zip(watches["pretrained"].inputs, watches[arm].inputs, strict=True):
            assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
    assert len({row[0]["lm_sha256"] for row in rows.values()}) == 3
    assert len({row[-1]["val_loss"] for row in rows.values()}) == 3


def test_a_step_trains_on_the_planned_batch(trained):
    expected = tiny_batch(tiny_config())

    assert len(trained.watch.inputs) == 9
    assert all(torch.equal(a, b) for a, b in zip(trained.watch.inputs[0], expected, strict=True))


def test_the_vanilla_encoder_trains_without_a_language_model():
    rows, module = tiny_fit(tiny_config(transfer_learning={"use_pretrained_lm": False}))

    assert rows[-1]["val_loss"] != rows[0]["val_loss"]
    assert rows[0]["lm_sha256"] is None
    assert not t5_weights(module)


@pytest.mark.parametrize(
    "transfer",
    [
        {"initialization": "pretrained"},
        {"initialization": "random"},
        {"initialization": "shuffled"},
        {"use_pretrained_lm": False},
    ],
    ids=["pretrained", "random", "shuffled", "vanilla"],
)
def test_every_step_of_every_arm_trains_with_dropout_on_and_is_measured_without(transfer):
    training = {"epochs": 1, "steps_per_epoch": 2}
    plain, dropped = (
        watched(tiny_config(model={"dropout": p}, transfer_learning=transfer, training=training))
        for p in (0.0, 0.1)
    )

    assert dropped[0].modes == [{True}] * 2
    assert plain[1][0]["val_loss"] == dropped[1][0]["val_loss"]
    assert plain[1][1]["train_loss"] != dropped[1][1]["train_loss"]


def test_a_training_sets_the_threads_it_is_configured_for(monkeypatch):
    numbers = []
    monkeypatch.setattr(torch, "set_num_threads", numbers.append)

    tiny_fit(tiny_config(training={"threads": 2, "epochs": 1, "steps_per_epoch": 1}))

    assert numbers == [2]


@pytest.mark.parametrize(
    ("variables", "rank"),
    [
        pytest.param({"SLURM_NTASKS": "8", "SLURM_JOB_NAME": "job"}, 0, id="sbatch -n 8"),
        pytest.param({"SLURM_NTASKS": "8", "SLURM_PROCID": "3"}, 3, id="fourth task of srun"),
        pytest.param(
            {"TORCHELASTIC_RUN_ID": "x", "RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2"},
            1,
            id="second process of torchrun",
        ),
        pytest.param({"PL_TRAINER_LIMIT_TRAIN_BATCHES": "1"}, 0, id="options of every Trainer"),
    ],
)
def test_a_training_is_alone_at_its_work_whatever_the_environment_says(
    trained, monkeypatch, tmp_path, variables, rank
):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(rank_zero_only, "rank", rank)  # as it is set when Lightning is imported

    logger = TensorBoardLogger(tmp_path, name=None)
    rows, _ = tiny_fit(tiny_config(), block_epochs=[0, 1, 3], logger=logger, log_every_n_steps=1)

    assert without_times(rows) == without_times(trained.rows)
    assert list(tmp_path.rglob("events.*"))
    assert variables.items() <= os.environ.items()


# The T5's weights and rates ---------------------------------------------------------------------


# Arithmetic -------------------------------------------------------------------------------------


def switches():
    cudnn, cuda = torch.backends.cudnn, torch.backends.cuda
    # Lightning asks torch for the first on a GPU, which refuses where newer switches were used.
    products, convolutions = torch.get_float32_matmul_precision(), cudnn.allow_tf32
    return products, convolutions, cudnn.deterministic, cuda.cudnn_sdp_enabled()


@pytest.mark.parametrize(
    ("precision", "products", "convolutions"),
    [("32-true", "highest", False), ("tf32", "high", True), ("bf16-mixed", "highest", False)],
)
def test_float32_is_what_the_precision_says_in_products_and_convolutions_alike(
    precision, products, convolutions
):
    before = switches()

    with arithmetic(precision):
        during = switches()

    assert during == (products, convolutions, True, False)  # no attention of cuDNN's
    assert switches() == before


def test_a_training_runs_in_its_arithmetic():
    noted = []

    class Look(Callback):
        def on_train_batch_start(self, *_):
            noted.append(switches())

    tiny_fit(tiny_config(training={"epochs": 1, "steps_per_epoch": 1}), callbacks=[Look()])

    assert noted == [("highest", False, True, False)]


@pytest.mark.parametrize("precision", ["tf32", "16-mixed"])
def test_what_a_cpu_cannot_compute_is_refused_where_another_arithmetic_would_be_taken(precision):
    with pytest.raises(ConfigError) as caught:
        tiny_fit(tiny_config(training={"precision": precision}))

    assert str(caught.value) == (
        "training.precision: must be 32-true or bf16-mixed where no CUDA GPU trains, got "
        f"{precision}; set one of them, or give the training a GPU"
    )


@pytest.mark.parametrize(("capability", "has_it"), [((7, 5), False), ((8, 0), True)])
def test_tf32_wants_a_gpu_that_has_it(monkeypatch, capability, has_it):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Tesla T4")
    wanted = nullcontext() if has_it else pytest.raises(ConfigError, match="on a Tesla T4, which")

    with wanted:
        check_precision(tiny_config(training={"precision": "tf32"}), "cuda")


@pytest.mark.parametrize(("freeze", "calendar"), [(0, False), (1, True), (2, False), (-1, True)])
def test_the_t5_stands_still_until_it_is_freed_whole_and_then_learns(freeze, calendar):
    config = tiny_config(calendar=calendar, transfer_learning={"freeze_lm_epochs": freeze})

    watch, rows = watched(config)

    learns = [0 <= freeze <= epoch for epoch in range(3)]
    start, *after = watch.weights
    assert [equal(start, weights) for weights in after] == [
        not any(learns[: e + 1]) for e in (0, 1, 2)
    ]
    if learns[-1]:
        assert all(not torch.equal(start[name], after[-1][name]) for name in start)
    heads = (False, True)
    assert watch.learning == [{heads, (True, learns[step // 3])} for step in range(9)]
    # The optimiser keeps nothing of what does not learn yet.
    assert watch.states == [{learns[step // 3]} for step in range(9)]
    assert rows[-1]["val_loss"] != rows[0]["val_loss"]


@pytest.mark.parametrize("schedule", ["one_cycle", "warmup_cosine"])
def test_the_t5_s_rate_follows_the_schedule_as_if_it_had_never_been_frozen(schedule):
    transfer, training = {"lm_learning_rate_factor": 0.3}, {"schedule": schedule}
    free, *frozen = (
        watched(
            tiny_config(
                transfer_learning=transfer | {"freeze_lm_epochs": freeze}, training=training
            ),
            **UNVALIDATED,
        )[0].rates
        for freeze in (0, 2, -1)
    )

    assert frozen == [free, free]
    assert len(free) == 9
    assert free[-1] == min(free, key=lambda rate: rate["head"])  # the horizon is the end
    for rate in free:
        assert rate["t5"] == pytest.approx(0.3 * rate["head"], rel=1e-12)


# Going on ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("freeze", "done", "dropout", "calendar"),
    [
        pytest.param(0, 1, 0.2, False, id="never frozen"),
        pytest.param(2, 1, 0.2, True, id="from before the T5 is freed"),
        pytest.param(1, 1, 0.0, False, id="from the moment before"),
        pytest.param(1, 2, 0.2, True, id="from after the T5 was freed"),
        pytest.param(-1, 2, 0.0, True, id="frozen for good"),
    ],
)
def test_going_on_from_a_checkpoint_gives_the_same_rows_to_the_last_bit(
    tmp_path, freeze, done, dropout, calendar
):
    transfer = {"freeze_lm_epochs": freeze}
    config = tiny_config(calendar=calendar, model={"dropout": dropout}, transfer_learning=transfer)
    whole, module = tiny_fit(config, **saved_every_epoch(tmp_path))

    checkpoint = tmp_path / f"epoch={done - 1}.ckpt"
    rest, resumed = tiny_fit(config, checkpoint=checkpoint, **saved_every_epoch(tmp_path))

    assert without_times(rest) == without_times(whole)[done + 1 :]
    assert equal(module.model.state_dict(), resumed.model.state_dict())


def test_a_gpu_s_random_state_goes_to_the_gpu_although_the_module_is_not_there_yet(monkeypatch):
    config, taken = tiny_config(), []
    module, gpu = tiny_module(config), torch.device("cuda", 0)
    strategy = SimpleNamespace(root_device=gpu)
    monkeypatch.setattr(Stage1Module, "trainer", SimpleNamespace(strategy=strategy))
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda *state: taken.append(state))
    monkeypatch.setattr(torch, "set_rng_state", lambda state: None)
    state = torch.arange(16, dtype=torch.uint8)
    record = {"fingerprints": module.fingerprints, "rng": state, "accumulation": 1}

    module.on_load_checkpoint({CHECKPOINT_KEY: record | {"cuda_rng": state}})

    assert [(kept.tolist(), device) for kept, device in taken] == [(list(range(16)), gpu)]
