"""The configuration of one training: typed, frozen, every key documented, all faults at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from stage1.faults import RuleError
from stage1.timeframes import MINUTES
from stage1.yaml_source import YamlSource, load_yaml, merged, raise_faults

Initialization = Literal["pretrained", "random", "shuffled"]


class Section(BaseModel):
    """A part of the configuration: unknown keys are refused, values do not change."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True
    )


class DataConfig(Section):
    """Which bars a window holds, and how they are scaled and split."""

    timeframes: tuple[str, ...] = ("m1", "m5", "m15", "m30", "h1", "h4")
    """Timeframes of a window, fine to coarse, the first one m1."""
    seq_len: int = Field(64, ge=8, le=65_536)
    """Bars of each timeframe in a window."""
    stride: int = Field(1, ge=1)
    """Minutes between the ends of consecutive windows."""
    max_gap: int = Field(4320, ge=0)
    """Longest gap inside a window, in minutes; 4320 lets weekends pass."""
    normalization: Literal["instance", "zscore"] = "instance"
    """Log prices scaled by the window's visible bars, or by the training split."""
    validation_share: float = Field(0.2, gt=0, lt=1)
    """Share of the time, at the end, that validation windows come from."""
    validation_windows: int = Field(512, ge=1)
    """At most this many validation windows, evenly spaced."""

    @model_validator(mode="after")
    def _timeframes_known_and_ordered(self) -> Self:
        known = list(MINUTES)
        unknown = [name for name in self.timeframes if name not in known]
        if unknown:
            rule = f"must be among {', '.join(known)}, got {unknown[0]!r}"
            raise RuleError(("timeframes", rule))
        ordered = tuple(name for name in known if name in self.timeframes)
        if self.timeframes != ordered or ordered[:1] != ("m1",):
            rule = "must start with m1 and go from fine to coarse, each once"
            raise RuleError(("timeframes", f"{rule}, got {list(self.timeframes)}"))
        return self


class MaskingConfig(Section):
    """Which bars are hidden from the encoder."""

    mask_ratio: float = Field(0.15, gt=0, lt=1)
    """Share of each timeframe's bars that is drawn, hidden and scored."""
    mask_span_min: int = Field(3, ge=1)
    """Bars in the shortest hidden span."""
    mask_span_max: int = Field(7, ge=1)
    """Bars in the longest hidden span."""
    sync_across_tf: bool = True
    """Hide every coarse bar that overlaps a hidden finer one, so that none gives it away."""


class LossWeights(Section):
    """Weights of the loss terms; a term of weight 0 is not computed."""

    recon_tf: float = Field(1.0, gt=0)
    """Huber loss on the scored bars."""
    cross: float = Field(0.0, ge=0)
    """Decoded bars against the aggregate of the decoded bars of the next finer timeframe."""


class LossConfig(Section):
    """What is minimised."""

    weights: LossWeights = LossWeights()
    """Weight of each term."""
    huber_delta: float = Field(1.0, gt=0)
    """Where the Huber loss turns linear, in normalised units."""


class StemConfig(Section):
    """A convolution over each timeframe's bars before the encoder."""

    width: int = Field(16, ge=0)
    """Channels; 0 = no stem, the encoder sees the features themselves."""
    kernel: int = Field(15, ge=1)
    """Bars the convolution sees; odd. Twice the longest hidden span shows both its ends."""

    @model_validator(mode="after")
    def _kernel_is_odd(self) -> Self:
        if self.kernel % 2 == 0:
            raise RuleError(("kernel", f"must be odd, got {self.kernel}"))
        return self


class EncoderConfig(Section):
    """The vanilla encoder, used where `transfer_learning.use_pretrained_lm` is false."""

    d_model: int = Field(64, ge=8)
    """Width of its tokens."""
    layers: int = Field(2, ge=1)
    """Transformer blocks."""
    heads: int = Field(2, ge=1)
    """Attention heads; divides d_model."""
    d_ff: int = Field(256, ge=8)
    """Width of the feed-forward layers."""

    @model_validator(mode="after")
    def _heads_divide_width(self) -> Self:
        if self.d_model % self.heads:
            raise RuleError(("heads", f"must divide d_model={self.d_model}, got {self.heads}"))
        return self


class ModelConfig(Section):
    """Everything around the encoder."""

    async_sampler: Literal[False] = False
    """Only synchronous sampling exists so far."""
    d_model: int = Field(32, ge=4)
    """Width of a bar between encoder and decoder."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Inside the encoder."""
    stem: StemConfig = StemConfig()
    """Before the encoder."""
    bottleneck_stride: int = Field(1, ge=1)
    """Bars that share one code between encoder and decoder; 1 = no bottleneck."""
    encoder: EncoderConfig = EncoderConfig()
    """The vanilla encoder."""


class TransferConfig(Section):
    """The language model inside the encoder."""

    use_pretrained_lm: bool = True
    """A T5 (in the state `initialization` says) or, if false, the vanilla encoder."""
    lm_name_or_path: str = "google-t5/t5-small"
    """Bundled name, local folder, or hub name."""
    initialization: Initialization = "pretrained"
    """The T5's weights at the start."""
    initializer_factor: float = Field(1.0, gt=0)
    """Scale of a random T5's initial weights, as transformers defines it."""
    initialization_stream: int = Field(0, ge=0)
    """Which independent stream random and shuffled weights are drawn from; another one makes an arm
    that differs from its twin by chance alone."""
    initialization_seed: int | None = Field(None, ge=0)
    """Seed of random and shuffled weights; null = training.seed, a number = one draw for all."""
    n_pretrained_blocks: int | None = Field(None, ge=0)
    """The first so many blocks are pretrained, the rest fresh; null = all."""
    freeze_lm_epochs: int = Field(0, ge=-1)
    """Epochs before the T5 learns; -1 = it never does."""
    lm_learning_rate_factor: float = Field(1.0, gt=0)
    """The T5's learning rate as a multiple of the rest's."""
    patch_len: int = Field(8, ge=1)
    """Bars per token; divides data.seq_len."""
    input_scale: float | None = Field(None, gt=0)
    """RMS of the tokens that enter the T5; null = that of its own token embeddings."""


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


class TrainingConfig(Section):
    """How long, how fast, on what."""

    epochs: int = Field(15, ge=1)
    """The horizon: the learning-rate schedule ends here."""
    steps_per_epoch: int = Field(100, ge=1)
    """An epoch is this many optimiser steps."""
    batch_size: int = Field(64, ge=1)
    """Windows per step."""
    optimizer: OptimizerConfig = OptimizerConfig()
    """Its numbers."""
    schedule: Literal["one_cycle", "warmup_cosine"] = "one_cycle"
    """Shape of the learning rate over the horizon."""
    warmup_share: float = Field(0.15, gt=0, lt=1)
    """Share of all steps in which the learning rate rises."""
    gradient_clip: float = Field(1.0, gt=0)
    """Largest norm of the gradient."""
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    """Lightning's name of the arithmetic."""
    threads: int = Field(1, ge=1)
    """CPU threads; another number gives other rounding."""
    seed: int = Field(0, ge=0)
    """Of everything random."""


class Config(Section):
    """One training, complete."""

    data: DataConfig = DataConfig()
    """Windows."""
    masking: MaskingConfig = MaskingConfig()
    """Hiding."""
    loss: LossConfig = LossConfig()
    """Objective."""
    model: ModelConfig = ModelConfig()
    """Architecture around the encoder."""
    transfer_learning: TransferConfig = TransferConfig()
    """The language model."""
    training: TrainingConfig = TrainingConfig()
    """Optimisation."""

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        length, masking = self.data.seq_len, self.masking
        faults = []
        for key, step in (
            ("transfer_learning.patch_len", self.transfer_learning.patch_len),
            ("model.bottleneck_stride", self.model.bottleneck_stride),
        ):
            if length % step:
                faults.append((key, f"must divide data.seq_len={length}, got {step}"))
        if masking.mask_span_max < masking.mask_span_min:
            rule = f"must be >= masking.mask_span_min={masking.mask_span_min}"
            faults.append(("masking.mask_span_max", f"{rule}, got {masking.mask_span_max}"))
        if round(masking.mask_ratio * length) < masking.mask_span_min:
            rule = f"must hide at least one span of {masking.mask_span_min} of {length} bars"
            faults.append(("masking.mask_ratio", f"{rule}, got {masking.mask_ratio}"))
        if faults:
            raise RuleError(*faults)
        return self


def load_config(path: Path) -> Config:
    """Read and check a configuration file.

    Raises:
        ConfigError: All faults of the file, one line each: file, line, key, rule, value.
    """
    return check_config(load_yaml(path))


def check_config(source: YamlSource) -> Config:
    """Check a configuration whose file is already read.

    Raises:
        ConfigError: All faults, one line each.
    """
    try:
        return Config.model_validate(source.values)
    except ValidationError as error:
        raise_faults(error, source, Config)


def nested(dotted: dict[str, Any]) -> dict[str, Any]:
    """`{"a.b": 1}` -> `{"a": {"b": 1}}`."""
    result: dict[str, Any] = {}
    for key, value in dotted.items():
        *parents, last = key.split(".")
        part: dict[str, Any] = {last: value}
        for parent in reversed(parents):
            part = {parent: part}
        result = merged(result, part)
    return result


def with_values(config: Config, dotted: dict[str, Any]) -> Config:
    """The configuration with some keys set, checked anew.

    Args:
        config: Stays as it is.
        dotted: Values by dotted key, such as `{"training.optimizer.lr": 1e-3}`.

    Raises:
        pydantic.ValidationError: A key is unknown or a value breaks a rule.
    """
    values = merged(config.model_dump(mode="json"), nested(dotted))
    return Config.model_validate(values)


def config_yaml(config: Config) -> str:
    """The whole configuration as YAML, every key written out."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, default_flow_style=None)
