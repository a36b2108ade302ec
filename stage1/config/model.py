"""The network: what surrounds the encoder, the vanilla encoder, the language model."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from stage1.config.rules import RuleError, Section

Initialization = Literal[
    "pretrained",
    "random",
    "shuffled",
    "mean_sd",
    "norms_only",
    "attention_only",
    "mlp_only",
    "spectrum",
]


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


def _pairs_or_none(value: Any) -> Any:
    """Refuse what is no list of pairs, before pydantic counts its entries."""
    is_pairs = isinstance(value, (list, tuple)) and all(
        isinstance(pair, (list, tuple)) and [type(name) for name in pair] == [str, str]
        for pair in value
    )
    if value is not None and not is_pairs:
        raise ValueError(f"must be a list of pairs such as [[m1, m5]], or null, got {value!r}")
    return value


class ModelConfig(Section):
    """Everything around the encoder."""

    async_sampler: bool = False
    """false: data.seq_len bars of every timeframe, all ending at the same instant; true: the same
    data.seq_len minutes of the calendar in every timeframe, with as many bars as fit."""
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
    cross_pairs: Annotated[tuple[tuple[str, str], ...] | None, BeforeValidator(_pairs_or_none)] = (
        None
    )
    """Timeframes whose tokens see each other behind the encoder's blocks, in pairs such as
    [m1, m5]; null = all of them with the vanilla encoder and none with a T5."""


class TransferConfig(Section):
    """The language model inside the encoder."""

    use_pretrained_lm: bool = True
    """A T5 (in the state `initialization` says) or, if false, the vanilla encoder."""
    lm_name_or_path: str = "google-t5/t5-small"
    """Bundled name, local folder, or hub name."""
    initialization: Initialization = "pretrained"
    """The T5's weights at the start; beside pretrained and random ones what lies between them.
    Drawn anew, each tensor keeping its entries (shuffled), its mean and deviation (mean_sd) or its
    singular values (spectrum); or fresh but for the pretrained norms (norms_only), attention
    (attention_only) or feed-forward layers (mlp_only)."""
    initializer_factor: float = Field(1.0, gt=0)
    """Scale of a random T5's initial weights, as transformers defines it."""
    initialization_stream: int = Field(0, ge=0)
    """Which independent stream drawn weights come from; another one makes an arm that differs from
    its twin by chance alone."""
    initialization_seed: int | None = Field(None, ge=0)
    """Seed of drawn weights; null = training.seed, a number = one draw for all."""
    n_pretrained_blocks: int | None = Field(None, ge=1)
    """The first so many blocks are what `initialization` says, the rest fresh; null = all."""
    freeze_lm_epochs: int = Field(0, ge=-1)
    """Epochs before the T5 learns; -1 = it never does."""
    lm_learning_rate_factor: float = Field(1.0, gt=0)
    """The T5's learning rate as a multiple of the rest's."""
    layerwise_lr_decay: float = Field(1.0, gt=0, le=1)
    """Each block of the T5 learns at this multiple of the next one's rate; 1 = all the same."""
    patch_len: int = Field(8, ge=1)
    """Bars per token; divides data.seq_len."""
    input_scale: float | None = Field(None, gt=0)
    """RMS of the tokens that enter the T5; null = that of its own token embeddings."""
