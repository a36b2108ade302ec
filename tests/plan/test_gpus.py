"""A trial on a GPU that is not at hand: reckoned as one would by hand from its parts."""

import math

import pytest

from stage1.config import Config, with_values
from stage1.model.stage1_model import parameter_counts
from stage1.plan.gpus import (
    CARDS,
    KERNEL_SECONDS,
    USED_SHARE,
    Card,
    Reckoned,
    card_named,
    mean_busy,
    reckon_trial,
    shared_timing,
    trials_per_gpu,
)
from stage1.training.timing import TrialTiming, count_step

SMALL = "google-t5/t5-small"


def config_of(name=SMALL, **changes):
    keys = {"transfer_learning.lm_name_or_path": name} | changes
    return with_values(Config(), keys)


def made(step, gpu, *, peak=1000.0):
    return Reckoned(TrialTiming(1.0, step, 0.5, math.nan, peak), gpu)


def test_a_step_takes_what_its_products_and_its_memory_take():
    config, card = config_of(), Card("slow", 80, 1.0, 2.0, 4.0, 1e6)  # memory that takes no time

    by_precision = {
        precision: reckon_trial(with_values(config, {"training.precision": precision}), card)
        for precision in ("32-true", "tf32", "bf16-mixed")
    }

    seconds = [one.timing.step_seconds for one in by_precision.values()]
    flops = count_step(config).flops
    expected = [flops / (USED_SHARE * rate * 1e12) for rate in (1.0, 2.0, 4.0)]
    assert seconds == pytest.approx(expected, rel=1e-3)
    # Kaplan et al. 2020: 6 per parameter and token, attention and the rest of the model beside it
    tokens = 64 * 6 * 64 // 8
    t5 = parameter_counts(config)["T5 (one, shared)"]
    assert 6 * t5 * tokens < flops < 1.3 * 6 * t5 * tokens


def test_a_fast_card_waits_for_the_program_that_starts_kernels():
    config, card = config_of(), Card("fast", 80, 1e6, 1e6, 1e6, 1e6)

    one = reckon_trial(config, card)

    assert one.timing.step_seconds == count_step(config).kernels * KERNEL_SECONDS
    assert one.busy < 0.01


def test_memory_is_that_of_weights_gradients_moments_and_what_the_backward_pass_needs():
    config = config_of()

    peak = reckon_trial(config, CARDS["h100"]).timing.peak_vram_mb

    parameters = sum(parameter_counts(config).values())
    least = (16 * parameters + count_step(config).saved_bytes) / 2**20
    assert least < peak < least + 4 * parameters / 2**20 + 1000


@pytest.mark.parametrize(
    ("name", "card"),
    [
        ("NVIDIA H100 80GB HBM3", "h100"),
        ("NVIDIA A100-SXM4-80GB", "a100"),
        ("Tesla T4", "t4"),
        ("NVIDIA GeForce RTX 4090", "rtx4090"),
        ("NVIDIA L40S", "l40s"),
        ("NVIDIA H200", "h200"),
        ("AMD Instinct MI300X", None),
    ],
)
def test_a_card_is_known_by_what_its_driver_calls_it(name, card):
    assert card_named(name) == (CARDS[card] if card else None)


@pytest.mark.parametrize(
    ("busy", "trial_mb", "best"),
    [
        pytest.param(0.9, 1000, 1, id="busy alone"),
        pytest.param(0.33, 1000, 3, id="a third each"),
        pytest.param(0.01, 1000, 8, id="no more than eight processes"),
        pytest.param(0.1, 20_000, 3, id="as many as fit into nine tenths"),
        pytest.param(0.1, 90_000, 1, id="one in any case"),
    ],
)
def test_as_many_trials_share_a_gpu_as_keep_it_busy_and_fit(busy, trial_mb, best):
    assert trials_per_gpu(busy, trial_mb=trial_mb, card_mb=80_000) == best


def test_a_mix_is_busy_by_the_time_that_its_trials_take():
    assert mean_busy([(made(0.01, 0.01), 1), (made(0.03, 0.01), 3)]) == pytest.approx(0.04 / 0.10)


def test_trials_that_share_a_gpu_are_slower_only_once_it_is_busy():
    one = made(0.01, 0.004)

    assert shared_timing(one, 2).step_seconds == 0.01
    four = shared_timing(one, 4)
    assert (four.step_seconds, four.validation_seconds) == pytest.approx((0.016, 0.8))
