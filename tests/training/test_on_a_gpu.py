"""Whole trainings on a GPU: what the CPU gives, in every arithmetic, resumed, with little memory.

What says something of a CPU too runs there as well, which keeps the tests themselves working.
"""

from __future__ import annotations

import math

import pytest
import torch
from tiny_training import (
    BOTH_KINDS,
    language_model_for,
    saved_every_epoch,
    tiny_config,
    tiny_fit,
    tiny_windows,
)
from torch.nn.functional import conv1d

from stage1.training.batch_size import FIRST, find_batch_size
from stage1.training.fit import arithmetic
from stage1.training.memory import take_device

ON = pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
HASHES = ("lm_sha256", "head_sha256", "order_sha256", "mask_sha256")
VANILLA = {"use_pretrained_lm": False}


def curve(rows):
    return [row["val_loss"] for row in rows]


@pytest.mark.gpu
@pytest.mark.parametrize("transfer", [{}, VANILLA], ids=["T5", "vanilla"])
@BOTH_KINDS
def test_a_gpu_gives_the_curve_of_the_cpu_from_the_same_weights_batches_and_masks(
    calendar, transfer
):
    config = tiny_config(calendar=calendar, transfer_learning=transfer, model={"stem.width": 4})

    of_cpu, _ = tiny_fit(config)
    rows, _ = tiny_fit(config, accelerator="cuda")

    assert [[row[name] for name in HASHES] for row in rows] == [
        [row[name] for name in HASHES] for row in of_cpu
    ]
    assert [row["val_correlation"] for row in rows] == pytest.approx(
        [row["val_correlation"] for row in of_cpu], abs=1e-3
    )
    assert all(row["peak_vram_mb"] > 0 for row in rows)


@ON
def test_dropout_goes_on_where_it_was_and_does_not_begin_again(device, tmp_path):
    config = tiny_config(model={"dropout": 0.3})
    whole, _ = tiny_fit(config, accelerator=device, **saved_every_epoch(tmp_path))

    for checkpoint in (tmp_path / "epoch=0.ckpt", tmp_path / "epoch=1.ckpt"):
        saved = saved_every_epoch(tmp_path)
        rest, _ = tiny_fit(config, accelerator=device, checkpoint=checkpoint, **saved)

        # Other masks move the loss by hundredths.
        assert curve(rest) == pytest.approx(curve(whole)[-len(rest) :], rel=1e-5)
        assert rest[-1]["train_loss"] == pytest.approx(whole[-1]["train_loss"], rel=1e-5)


@pytest.mark.gpu
@pytest.mark.parametrize("freeze", [0, 1])
@pytest.mark.parametrize("precision", ["32-true", "tf32", "bf16-mixed", "16-mixed"])
@BOTH_KINDS
def test_a_t5_trains_in_every_arithmetic(calendar, precision, freeze):
    transfer = {"freeze_lm_epochs": freeze}
    of_cpu, _ = tiny_fit(tiny_config(calendar=calendar, transfer_learning=transfer))
    config = tiny_config(
        calendar=calendar, transfer_learning=transfer, training={"precision": precision}
    )

    rows, module = tiny_fit(config, accelerator="cuda")

    assert all(torch.isfinite(weight).all() for weight in module.model.parameters())
    assert curve(rows) == pytest.approx(curve(of_cpu), rel=0.05)


@pytest.mark.gpu
@pytest.mark.parametrize(
    ("precision", "least", "most"), [("32-true", 0, 1e-5), ("tf32", 1e-5, 1e-2)]
)
def test_products_and_convolutions_round_as_the_precision_says(generator, precision, least, most):
    if torch.cuda.get_device_capability() < (8, 0):
        pytest.skip("this GPU has no TF32")
    left, right = torch.randn(2, 512, 512, generator=generator, dtype=torch.float64).cuda()
    with arithmetic(precision):
        results = [
            (left @ right, left.float() @ right.float()),
            (
                conv1d(left[None], right[:, :, None]),
                conv1d(left[None].float(), right[:, :, None].float()),
            ),
        ]

    for exact, found in results:
        error = ((found - exact).norm() / exact.norm()).item()
        assert least <= error <= most


@pytest.fixture
def little_memory():
    """Limits this process to so many MiB of the GPU."""

    def limit(mebibytes):
        torch.cuda.empty_cache()
        total = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(mebibytes * 2**20 / total, 0)

    yield limit
    torch.cuda.set_per_process_memory_fraction(1.0, 0)


WIDE = tiny_config(
    transfer_learning=VANILLA,
    model={"encoder.d_model": 256, "encoder.d_ff": 1024},
    training={"batch_size": 512, "epochs": 1, "steps_per_epoch": 2},
)
"""Keeps about 970 MiB for the backward pass of a batch."""


@pytest.mark.gpu
def test_a_batch_that_the_gpu_does_not_hold_is_taken_in_parts(little_memory):
    whole, _ = tiny_fit(WIDE, accelerator="cuda")
    little_memory(600)
    warnings = []

    rows, _ = tiny_fit(WIDE, accelerator="cuda", warn=warnings.append)

    assert whole[-1]["accumulation"] == 1
    assert rows[-1]["accumulation"] in (2, 4, 8)
    assert warnings
    assert curve(rows) == pytest.approx(curve(whole), rel=1e-3)


@pytest.mark.gpu
def test_auto_finds_the_largest_batch_that_the_gpu_holds(little_memory):
    little_memory(400)

    size = find_batch_size(WIDE, tiny_windows(WIDE), language_model_for(WIDE), accelerator="cuda")

    assert FIRST <= size.windows < 256
    assert "did not fit into memory" in size.reason


@pytest.mark.gpu
def test_a_share_of_the_gpu_is_that_share_of_its_memory(little_memory):
    device = take_device(0.5)

    assert device == "cuda"
    assert 0.25 <= torch.cuda.get_per_process_memory_fraction() < 0.5
    rows, _ = tiny_fit(tiny_config(), accelerator=device)
    assert all(math.isfinite(row["val_loss"]) for row in rows)
