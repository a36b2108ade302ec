"""Trainings that do not fit into memory: the same training, in parts."""

import math

import pytest
import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.plugins import MixedPrecision
from tiny_training import (
    saved_every_epoch,
    tiny_batch,
    tiny_config,
    tiny_fit,
    tiny_module,
    without_times,
)

from stage1.base.errors import TrialError
from stage1.base.seeds import Stream, integer_seed
from stage1.model.losses import total_loss
from stage1.training.module import Stage1Module

NO_MEMORY = "[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory"
VANILLA = {"use_pretrained_lm": False}


def config_of(*, calendar=False, transfer=None, dropout=0.0, **training):
    return tiny_config(
        calendar=calendar,
        model={"dropout": dropout},
        transfer_learning=transfer or {},
        training={"batch_size": 8, **training},
    )


class Steps(Callback):
    """Notes what every step of the optimiser gets: gradients before and after clipping, rates."""

    def __init__(self):
        self.unclipped, self.clipped, self.rates, self.global_steps = [], [], [], []

    def on_train_start(self, trainer, module):
        names = [name for name, _ in module.model.named_parameters()]
        self._parameters = dict(zip(names, module.model.parameters(), strict=True))

    def on_before_optimizer_step(self, trainer, module, optimizer):
        self.unclipped.append(self._gradients())
        self.rates.append([group["lr"] for group in optimizer.param_groups])

    def on_train_batch_end(self, trainer, *rest):
        self.clipped.append(self._gradients())
        self.global_steps.append(trainer.global_step)

    def _gradients(self):
        return {
            name: parameter.grad.clone()
            for name, parameter in self._parameters.items()
            if parameter.grad is not None
        }


def train(config, *, callbacks=(), **options):
    """Rows and notes of a training, the lines it warned with, and what it trained."""
    lines, steps = [], Steps()
    rows, module = tiny_fit(config, callbacks=[steps, *callbacks], warn=lines.append, **options)
    return rows, steps, lines, module


@pytest.fixture
def room(monkeypatch):
    """Limits the windows that fit into memory, in training or in validation."""
    decode = Stage1Module.decode
    # A tenth of a second each, and another test's business.
    monkeypatch.setattr("stage1.training.memory.garbage_collection_cuda", lambda: None)

    def limit(windows, *, training=True):
        def limited(self, batch):
            if self.training == training and len(batch.scored) > windows:
                raise RuntimeError(NO_MEMORY)
            return decode(self, batch)

        monkeypatch.setattr(Stage1Module, "decode", limited)

    return limit


def whole_gradient(config):
    """The gradient of the first step, by a single call of torch."""
    module, batch = tiny_module(config), tiny_batch(config)
    total_loss(module.decode(batch), batch, config).backward()
    return {n: p.grad for n, p in module.model.named_parameters() if p.grad is not None}


def norm(gradients):
    return math.sqrt(sum(float(one.double().square().sum()) for one in gradients.values()))


def assert_equal_gradients(found, expected, *, share=1e-5):
    """Equal up to a share of the whole gradient's size: float32 adds up in another order."""
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=0, atol=share * norm(expected))


@pytest.mark.parametrize(
    ("fits", "calendar", "transfer"),
    [(4, False, {}), (3, True, {}), (1, False, {}), (1, True, VANILLA), (3, False, VANILLA)],
)
def test_the_gradient_of_a_step_in_parts_is_the_whole_batch_s(room, fits, calendar, transfer):
    config = config_of(calendar=calendar, transfer=transfer)
    expected = whole_gradient(config)
    room(fits)

    _, steps, _, _ = train(config, limit_val_batches=0, max_epochs=1)

    assert_equal_gradients(steps.unclipped[0], expected)


@pytest.mark.parametrize(("calendar", "schedule"), [(False, "one_cycle"), (True, "warmup_cosine")])
def test_steps_schedule_windows_and_outcome_stay_the_same_in_parts(room, calendar, schedule):
    config = config_of(calendar=calendar, schedule=schedule)
    whole, whole_steps, _, _ = train(config)
    room(2)

    rows, steps, _, _ = train(config)

    assert [row["steps"] for row in rows] == [row["steps"] for row in whole] == [0, 3, 6, 9]
    assert steps.global_steps == list(range(1, 10))
    assert steps.rates == whole_steps.rates
    for one, other in zip(rows, whole, strict=True):
        assert one["order_sha256"] == other["order_sha256"]
        assert one["mask_sha256"] == other["mask_sha256"]
        assert one["lr"] == other["lr"]
    for name in ("val_loss", "train_loss", "val_correlation"):
        assert rows[-1][name] == pytest.approx(whole[-1][name], abs=2e-4)


def test_the_parts_of_a_step_are_recorded_from_the_epoch_on_that_needed_them(room):
    room(4)

    rows, _, lines, _ = train(config_of())

    assert [row["accumulation"] for row in rows] == [1, 2, 2, 2]
    assert len(lines) == 1
    assert "a training step did not fit into memory with 8 windows" in lines[0]


def test_a_step_that_fails_on_the_way_back_leaves_nothing_in_the_gradient(monkeypatch):
    config = config_of()
    expected = whole_gradient(config)
    decode, calls = Stage1Module.decode, []

    def fails_in_the_backward_pass(self, batch):
        decoded = decode(self, batch)
        if self.training:
            calls.append(len(batch.scored))
            if len(calls) in (1, 3):  # the whole batch, then the second of two parts

                def fail(gradient):
                    raise torch.OutOfMemoryError("CUDA out of memory")

                decoded.register_hook(fail)
        return decoded

    monkeypatch.setattr(Stage1Module, "decode", fails_in_the_backward_pass)

    _, steps, _, _ = train(config, limit_val_batches=0, max_epochs=1)

    assert calls[:7] == [8, 4, 4, 2, 2, 2, 2]
    assert_equal_gradients(steps.unclipped[0], expected)


def test_validation_in_halves_measures_the_same(room):
    whole, _, nothing, _ = train(config_of())
    room(7, training=False)

    rows, _, lines, _ = train(config_of())

    names = [name for name in whole[0] if name.startswith(("val_", "baseline_"))]
    for one, other in zip(rows, whole, strict=True):
        assert {n: one[n] for n in names} == pytest.approx({n: other[n] for n in names}, abs=1e-5)
    assert {row["accumulation"] for row in whole + rows} == {1}
    assert nothing == []
    assert len(lines) == 2  # 24 windows, 12, 6
    assert "a validation batch" in lines[0]


def test_a_single_window_too_large_ends_the_training_with_what_to_do(room):
    room(0)

    with pytest.raises(TrialError, match=r"one window at a time, got .*gradient_checkpointing"):
        train(config_of())


def test_an_optimiser_that_does_not_fit_ends_the_training_with_what_to_do(monkeypatch):
    def fail(*arguments, **options):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(torch.optim.AdamW, "step", fail)

    with pytest.raises(TrialError, match=r"the optimiser's state must fit .* choose a smaller"):
        train(config_of())


def test_going_on_from_a_checkpoint_keeps_the_parts_and_every_bit(room, tmp_path):
    config = config_of(calendar=True, dropout=0.2)
    room(4)
    whole, _, _, _ = train(config, **saved_every_epoch(tmp_path))

    checkpoint = tmp_path / "epoch=0.ckpt"
    rest, _, lines, _ = train(config, checkpoint=checkpoint, **saved_every_epoch(tmp_path))

    assert lines == []  # the parts are known
    assert without_times(rest) == without_times(whole)[2:]


def test_gradients_are_clipped_to_the_configured_norm():
    config = config_of(gradient_clip=1e-3)

    _, steps, _, _ = train(config, limit_val_batches=0, max_epochs=1)

    assert norm(steps.unclipped[0]) > 1e-2
    assert norm(steps.clipped[0]) == pytest.approx(1e-3, rel=1e-3)


HALF = {
    "accelerator": "cpu",
    "precision": None,
    "limit_val_batches": 0,
    "num_sanity_val_steps": 0,
    "max_epochs": 1,
}
"""Lightning's 16-mixed as on a GPU: by itself it takes bfloat16 on the CPU."""


@pytest.mark.parametrize("fits", [8, 2], ids=["at once", "in parts"])
def test_in_half_precision_gradients_are_unscaled_before_they_are_clipped(room, fits):
    config = config_of(gradient_clip=0.05, precision="16-mixed")
    expected = whole_gradient(config)
    room(fits)
    precision = MixedPrecision("16-mixed", "cpu")

    _, steps, _, _ = train(config, plugins=[precision], **HALF)

    assert precision.scaler.get_scale() > 1000
    assert_equal_gradients(steps.unclipped[0], expected, share=5e-3)
    assert norm(steps.unclipped[0]) > 0.1
    assert norm(steps.clipped[0]) == pytest.approx(0.05, rel=1e-3)


def test_in_half_precision_a_step_that_overflows_is_left_out_and_the_scale_lowered(monkeypatch):
    config = config_of(precision="16-mixed")
    decode, calls, weights = Stage1Module.decode, [], []

    def overflows_once(self, batch):
        decoded = decode(self, batch)
        calls.append(decoded)
        weights.append([p.detach().clone() for p in self.model.parameters()])
        return decoded * math.inf if len(calls) == 1 else decoded

    monkeypatch.setattr(Stage1Module, "decode", overflows_once)
    precision = MixedPrecision("16-mixed", "cpu")
    start = precision.scaler.get_scale()

    _, steps, _, _ = train(config, plugins=[precision], **HALF)

    first, second, third = weights
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))
    assert not all(torch.equal(one, other) for one, other in zip(second, third, strict=True))
    assert precision.scaler.get_scale() == start / 2
    assert steps.global_steps == [1, 2, 3]


def test_a_checkpoint_in_half_precision_carries_the_scale(tmp_path):
    config = config_of(precision="16-mixed")

    train(
        config, plugins=[MixedPrecision("16-mixed", "cpu")], **saved_every_epoch(tmp_path), **HALF
    )

    kept = torch.load(tmp_path / "epoch=0.ckpt", weights_only=True)
    assert kept["MixedPrecision"]["scale"] > 1000


@pytest.mark.parametrize(("calendar", "transfer"), [(True, {}), (False, VANILLA)])
def test_bfloat16_trains_without_nan(calendar, transfer):
    config = config_of(calendar=calendar, transfer=transfer, dropout=0.1, precision="bf16-mixed")

    rows, steps, _, module = train(config)

    assert all(math.isfinite(row["val_loss"]) for row in rows)
    assert all(math.isfinite(row["train_loss"]) for row in rows[1:])
    assert all(torch.isfinite(one).all() for one in steps.clipped[-1].values())
    assert {p.dtype for p in module.model.parameters()} == {torch.float32}


def test_dropout_is_drawn_from_the_seed():
    config = config_of(dropout=0.3)
    torch.manual_seed(integer_seed(Stream.DROPOUT, config.training.seed))
    expected = whole_gradient(config)

    _, steps, _, _ = train(config, limit_val_batches=0, max_epochs=1)

    assert_equal_gradients(steps.unclipped[0], expected)
