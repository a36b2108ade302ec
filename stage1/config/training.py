"""What is minimised, how long, how fast."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, PlainValidator

from stage1.base.metric_table import LOSS
from stage1.config.rules import Section


class LossWeights(Section):
    """Weights of the loss terms; a term of weight 0 is not computed. The first must be above 0."""

    recon_tf: float = Field(1.0, gt=0)
    """Huber loss, mean over the scored bars: a timeframe counts as much as it has of them."""
    spec_tf: float = Field(0.0, ge=0)
    """Multi-resolution STFT of each timeframe's series, hidden bars as decoded."""
    cross: float = Field(0.0, ge=0)
    """Decoded bars against the aggregate of the decoded bars of each finer timeframe."""
    amp_phase: float = Field(0.0, ge=0)
    """Correlation of amplitudes and phases of each timeframe's series, hidden bars as decoded."""


class LossConfig(Section):
    """What is minimised."""

    weights: LossWeights = LossWeights()
    """Weight of each term."""
    huber_delta: float = Field(1.0, gt=0)
    """Where the Huber loss turns linear, in normalised units."""


class OptimizerConfig(Section):
    """AdamW."""

    lr: float = Field(1e-3, gt=0)
    """Peak learning rate."""
    weight_decay: float = Field(0.01, ge=0)
    """Decoupled weight decay."""
    beta1: float = Field(0.9, ge=0, lt=1)
    """Decay of the gradient's mean."""
    beta2: float = Field(0.98, ge=0, lt=1)
    """Decay of the gradient's square."""


def _size_or_auto(value: Any) -> int | Literal["auto"]:
    if value == "auto":
        return "auto"
    number = value if not isinstance(value, str) else int(value) if value.isdecimal() else None
    if isinstance(number, bool) or not (isinstance(number, int | float) and number % 1 == 0):
        raise ValueError(f"must be a whole number or auto, got {value!r}")
    if number < 1:
        raise ValueError(f"must be >= 1, got {value}")
    return int(number)


class EarlyStop(Section):
    """When a training ends before its last epoch."""

    metric: str = LOSS
    """A metric of the validation; the state of its best epoch is what `best.ckpt` holds."""
    patience: int = Field(5, ge=1)
    """Epochs without a gain after which the training ends."""
    min_delta: float = Field(0.0, ge=0)
    """What a gain must be larger than, in the metric's unit."""


class Origin(Section):
    """The trial that `stage1.export` took a configuration from; a training is compared with it."""

    run: str = Field(min_length=1)
    """Folder of the study."""
    arm: str = Field(min_length=1)
    """Of the trial."""
    config_id: str = Field(min_length=1)
    """Likewise."""
    seed: int = Field(ge=0)
    """Likewise."""
    epochs: int = Field(ge=1)
    """Likewise: the horizon."""
    metric: str
    """The study's objective."""
    value: float
    """What the trial reached in it, after its last epoch."""
    baseline_val_loss: float
    """Of interpolation on the trial's validation windows, which tells them from others."""


GPU_PRECISIONS = ("tf32", "16-mixed")
"""Arithmetic that a CPU does not have: in its place another would be taken, and nobody told."""


class TrainingConfig(Section):
    """How long, how fast, on what."""

    epochs: int = Field(15, ge=1)
    """The horizon: the learning-rate schedule ends here."""
    steps_per_epoch: int = Field(100, ge=1)
    """An epoch is this many optimiser steps."""
    batch_size: Annotated[int | Literal["auto"], PlainValidator(_size_or_auto)] = 64
    """Windows per step; auto = as many as fit into memory, found once before a training."""
    gradient_checkpointing: bool = False
    """Compute the encoder's activations again in the backward pass: less memory, more time."""
    optimizer: OptimizerConfig = OptimizerConfig()
    """Its numbers."""
    schedule: Literal["one_cycle", "warmup_cosine"] = "one_cycle"
    """Shape of the learning rate over the horizon."""
    warmup_share: float = Field(0.15, gt=0, lt=1)
    """Share of all steps in which the learning rate rises."""
    gradient_clip: float = Field(1.0, gt=0)
    """Largest norm of the gradient."""
    precision: Literal["32-true", "tf32", "bf16-mixed", "16-mixed"] = "32-true"
    """Arithmetic: 32-true = float32 everywhere; tf32 = float32 whose products and convolutions a
    GPU rounds to 10 bits; bf16-mixed, 16-mixed = Lightning's. A CPU has neither tf32 nor 16-mixed.
    """
    threads: int = Field(1, ge=1)
    """CPU threads; another number gives other rounding."""
    seed: int = Field(0, ge=0)
    """Of everything random."""
    early_stop: EarlyStop | None = None
    """When a training ends early; null = at its horizon, as every trial of a study does."""
    origin: Origin | None = None
    """The trial that the configuration comes from; null = none. Changes nothing of a training."""

    def precision_fault(self, *, on_gpu: bool) -> str | None:
        """The rule that the precision breaks where a training would run, or None."""
        if on_gpu or self.precision not in GPU_PRECISIONS:
            return None
        return (
            "must be 32-true or bf16-mixed where no CUDA GPU trains, got "
            f"{self.precision}; set one of them, or give the training a GPU"
        )

    @property
    def windows_per_step(self) -> int:
        """The batch size as a number.

        Raises:
            ValueError: It is still `auto`; whoever trains has to find it first.
        """
        if self.batch_size == "auto":
            raise ValueError("training.batch_size must be a number by now, got auto")
        return self.batch_size
