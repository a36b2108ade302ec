"""What a study takes on a GPU that is not at hand, and how many of its trials a GPU should share.

Reckoned from what a step consists of: floating-point operations, memory that they read and write,
and kernels that are started one after another. Nothing here was measured on a GPU; the assumptions
are constants below, and `benchmarks/gpu.py` says what is true of a card.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from stage1.config import Config
from stage1.model.stage1_model import parameter_counts
from stage1.training.timing import StepCount, TrialTiming, count_step


class Card(NamedTuple):
    """A GPU by its data sheet, dense rates without sparsity."""

    name: str
    memory_gb: float
    float32: float
    """Of float32 arithmetic, TFLOP/s."""
    tf32: float
    """Of TF32 products; that of float32 where a card has none."""
    half: float
    """Of bfloat16 products, or of float16 on a card without bfloat16."""
    bandwidth: float
    """Of its memory, TB/s."""


# Rates as NVIDIA's data sheets give them (T4, L4, L40S, and the SXM forms of A100 80 GB, H100 and
# H200) and its white papers on the GA102 and Ada architectures; rounded.
CARDS = {
    "t4": Card("T4", 16, 8.1, 8.1, 65, 0.32),
    "l4": Card("L4", 24, 30.3, 60, 121, 0.3),
    "rtx3090": Card("RTX 3090", 24, 35.6, 35.6, 71, 0.936),
    "rtx4090": Card("RTX 4090", 24, 82.6, 82.6, 165.2, 1.008),
    "l40s": Card("L40S", 48, 91.6, 183, 362, 0.864),
    "a100": Card("A100 80 GB", 80, 19.5, 156, 312, 2.039),
    "h100": Card("H100", 80, 67, 494, 989, 3.35),
    "h200": Card("H200", 141, 67, 494, 989, 4.8),
}
"""By the word that --gpu takes."""
DEFAULT_CARD = "h100"

USED_SHARE = 0.4
"""Of a data sheet's rates that products of this size reach: between a third and a half is usual."""
KERNEL_SECONDS = 10e-6
"""That a Python program needs to start a kernel, its share of the bookkeeping included."""
_PASSES = 4
"""How often what the forward pass keeps is written or read until the step's end."""
_OPTIMIZER_BYTES = 28
"""Read and written per parameter: weight, gradient and two moments."""
_RESIDENT_BYTES = 20
"""Kept per parameter: those four, and the copy whose distance tells how far the T5 moved."""
_CONTEXT_MB = 600
"""Of CUDA and its libraries in a process."""
_START_SECONDS = 2.0
"""From the trial before to the first validation: a model on the GPU."""
FILLED_SHARE = 0.9
"""Of a card's memory that trials may take together; the rest is for what fragments."""
MOST_PACKED = 8
"""Trials on one GPU; each is a process with a copy of CUDA's libraries."""


class Reckoned(NamedTuple):
    """A trial on a card."""

    timing: TrialTiming
    gpu_seconds: float
    """Of a step in which the GPU works; the rest waits for the program that starts kernels."""

    @property
    def busy(self) -> float:
        """Share of a step in which the GPU works, in (0, 1]."""
        return self.gpu_seconds / self.timing.step_seconds


def card_named(name: str) -> Card | None:
    """The card of the table that a driver calls so, such as NVIDIA H100 80GB HBM3, or None."""
    words = name.lower().replace("geforce ", "").replace("rtx ", "rtx").replace("-", " ").split()
    return next((card for key, card in CARDS.items() if key in words), None)


def reckon_trial(config: Config, card: Card) -> Reckoned:
    """Time and memory of a trial on a card, alone on it.

    Args:
        config: Of the trial.
        card: Of the table, or one like it.

    Raises:
        ModelError: The language model's dimensions are not known.
    """
    count, parameters = count_step(config), sum(parameter_counts(config).values())
    gpu_seconds = _on_gpu(count, config, card)
    gpu_seconds += parameters * _OPTIMIZER_BYTES / (USED_SHARE * card.bandwidth * 1e12)
    step = max(gpu_seconds, count.kernels * KERNEL_SECONDS)
    batches = math.ceil(config.data.validation_windows / config.training.windows_per_step)
    validation = batches * step / 3  # a forward pass without the two backward ones
    timing = TrialTiming(
        start_seconds=_START_SECONDS + validation,
        step_seconds=step,
        validation_seconds=validation,
        peak_rss_mb=math.nan,
        peak_vram_mb=(parameters * _RESIDENT_BYTES + count.saved_bytes) / 2**20 + _CONTEXT_MB,
    )
    return Reckoned(timing, gpu_seconds)


def _on_gpu(count: StepCount, config: Config, card: Card) -> float:
    """Seconds that a step's products and its traffic with memory take."""
    precision = config.training.precision
    rate = {"32-true": card.float32, "tf32": card.tf32}.get(precision, card.half)
    width = 0.5 if precision in ("bf16-mixed", "16-mixed") else 1.0
    products = count.flops / (rate * 1e12)
    traffic = _PASSES * width * count.saved_bytes / (card.bandwidth * 1e12)
    return (products + traffic) / USED_SHARE


def trials_per_gpu(busy: float, *, trial_mb: float, card_mb: float) -> int:
    """How many trials should share a GPU: as many as keep it busy, and as fit into its memory.

    A trial that keeps a GPU busy alone gains nothing by company; one that waits for its kernels to
    be started does.

    Args:
        busy: Share of its time in which a trial keeps the GPU busy, in (0, 1].
        trial_mb: Peak of the largest trial, MiB, > 0.
        card_mb: The GPU's memory, MiB.

    Returns:
        At least 1, at most `MOST_PACKED`.
    """
    fitting = int(FILLED_SHARE * card_mb / trial_mb)
    return max(min(round(1 / busy), fitting, MOST_PACKED), 1)


def mean_busy(trials: list[tuple[Reckoned, int]]) -> float:
    """Share of its time in which a GPU works on a mix of trials, one at a time, each so often."""
    works = sum(one.gpu_seconds * times for one, times in trials)
    return works / sum(one.timing.step_seconds * times for one, times in trials)


def shared_timing(one: Reckoned, per_gpu: int) -> TrialTiming:
    """The timing where so many trials like it share a GPU, which works on one at a time."""
    step = max(one.timing.step_seconds, per_gpu * one.gpu_seconds)
    slower = step / one.timing.step_seconds
    return one.timing._replace(
        step_seconds=step, validation_seconds=slower * one.timing.validation_seconds
    )
