"""The whole model: stem -> encoder -> bottleneck -> a decoder per timeframe; how it is built."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from itertools import combinations
from typing import Any, NamedTuple

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from pydantic import Field
from torch import Tensor, nn
from transformers.models.t5.modeling_t5 import T5Stack

from stage1.base.errors import ConfigError, ModelError, Stage1Error
from stage1.base.seeds import Stream, integer_seed
from stage1.config import Config, Section, StemConfig, with_values
from stage1.data.features import kind_of
from stage1.language_models.initialization import blocks_to_take, build_t5, t5_stack
from stage1.language_models.resolver import FEWEST_TOKENS, LanguageModel
from stage1.language_models.t5_dimensions import encoder_config
from stage1.model.encoders import EncoderShape, SharedEncoder, T5TimeSeriesAdapter
from stage1.model.patching import TimeframeLinear

T5_PREFIX = "encoder.t5."
"""What the names of a T5's weights begin with in the model."""
T5_PART = "T5 (one, shared)"
"""What `parameter_counts` calls the T5."""


class Stem(nn.Module):
    """A convolution over the bars of each timeframe, with its own filters for each.

    `channels` are the values per bar that enter; `config` says how many leave.
    """

    def __init__(self, config: StemConfig, *, timeframes: int, channels: int) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(
            timeframes * channels,
            timeframes * config.width,
            config.kernel,
            padding="same",
            groups=timeframes,
        )

    def forward(
        self, bars: Float[Tensor, "batch timeframe time channels"]
    ) -> Float[Tensor, "batch timeframe time width"]:
        """Look at the bars around each bar."""
        folded = rearrange(bars, "b f t c -> b (f c) t")
        wide = nn.functional.gelu(self.convolution(folded))
        return rearrange(wide, "b (f c) t -> b f t c", f=bars.shape[1])


class Bottleneck(nn.Module):
    """`stride` neighbouring bars share one code, of `width` values as each bar."""

    def __init__(self, width: int, stride: int) -> None:
        super().__init__()
        self.down = nn.Conv1d(width, width, stride, stride)
        self.up = nn.ConvTranspose1d(width, width, stride, stride)

    def forward(
        self, bars: Float[Tensor, "batch timeframe time width"]
    ) -> Float[Tensor, "batch timeframe time width"]:
        """Squeeze the bars through the codes and back."""
        folded = rearrange(bars, "b f t c -> (b f) c t")
        restored: Tensor = self.up(nn.functional.gelu(self.down(folded)))
        return rearrange(restored, "(b f) c t -> b f t c", b=len(bars))


class Stage1Model(nn.Module):
    """Windows with hidden bars -> all bars.

    Hidden bars enter as zeros with a mask channel that says so; so does padding, which nothing
    attends to either.

    Args:
        config: Architecture.
        t5: The language model's encoder, or None for the vanilla encoder.
        input_scale: Root mean square of the tokens that enter the T5.
    """

    def __init__(self, config: Config, *, t5: T5Stack | None, input_scale: float) -> None:
        super().__init__()
        timeframes, model = len(config.data.timeframes), config.model
        kind = kind_of(config.data)
        channels = kind.features + 1
        self.stem: nn.Module = nn.Identity()
        if model.stem.width:
            self.stem = Stem(model.stem, timeframes=timeframes, channels=channels)
            channels = model.stem.width
        shape = EncoderShape(
            timeframes=timeframes,
            channels=channels,
            width=model.d_model,
            seq_len=config.data.seq_len,
            patch_len=config.transfer_learning.patch_len,
            pairs=_pairs(config),
        )
        self.encoder: nn.Module
        if t5 is None:
            self.encoder = SharedEncoder(
                model.encoder,
                shape,
                dropout=model.dropout,
                checkpointing=config.training.gradient_checkpointing,
            )
        else:
            if config.training.gradient_checkpointing:
                t5.activation_checkpointing_enable({"use_reentrant": False})
            self.encoder = T5TimeSeriesAdapter(t5, shape, input_scale=input_scale)
        self.bottleneck: nn.Module = nn.Identity()
        if model.bottleneck_stride > 1:
            self.bottleneck = Bottleneck(model.d_model, model.bottleneck_stride)
        self.decoder = nn.Sequential(
            nn.GELU(),
            TimeframeLinear(timeframes, model.d_model, model.d_model),
            nn.GELU(),
            TimeframeLinear(timeframes, model.d_model, len(kind.channels)),
        )

    def forward(
        self,
        features: Float[Tensor, "batch timeframe time feature"],
        hidden: Bool[Tensor, "batch timeframe time"],
        real: Bool[Tensor, "batch timeframe time"] | None = None,
        lengths: Int[Tensor, "batch timeframe"] | None = None,
    ) -> Float[Tensor, "batch timeframe time channel"]:
        """Decode every bar, in normalised units, float32; at padding the result means nothing.

        Args:
            features: What the model sees of each bar.
            hidden: True where it sees nothing.
            real: False at padding, whose features are not read; None = all bars are real.
            lengths: Bars up to the last real one, on the CPU; None = as `real` says, which a GPU
                has to be waited for.
        """
        encoded = encode_bars(self.stem, self.encoder, features, hidden, real, lengths)
        decoded: Tensor = self.decoder(self.bottleneck(encoded))
        return decoded.float()

    def let_t5_learn(self, learns: bool) -> None:
        """Free or freeze the T5, whole; a model without one is left as it is."""
        for name, parameter in self.named_parameters():
            if name.startswith(T5_PREFIX):
                parameter.requires_grad_(learns)


def encode_bars(
    stem: nn.Module,
    encoder: nn.Module,
    features: Float[Tensor, "batch timeframe time feature"],
    hidden: Bool[Tensor, "batch timeframe time"],
    real: Bool[Tensor, "batch timeframe time"] | None,
    lengths: Int[Tensor, "batch timeframe"] | None = None,
) -> Float[Tensor, "batch timeframe time width"]:
    """What a `Stage1Model` of this stem and encoder makes of every bar before it decodes.

    The other arguments are those of its `forward`.
    """
    if real is not None:
        features = features.masked_fill(~real.unsqueeze(-1), 0.0)
        hidden = hidden | ~real
    seen = torch.cat([features, hidden.unsqueeze(-1).to(features.dtype)], dim=-1)
    encoded: Tensor = encoder(stem(seen), real, lengths)
    return encoded


def _pairs(config: Config) -> list[tuple[int, int]]:
    """Timeframes that see each other, by index."""
    names, pairs = config.data.timeframes, config.model.cross_pairs
    if pairs is None:
        uses_t5 = config.transfer_learning.use_pretrained_lm
        return [] if uses_t5 else list(combinations(range(len(names)), 2))
    return [(names.index(one), names.index(other)) for one, other in pairs]


class T5Shape(Section):
    """All that a checkpoint's weights do not say about their T5."""

    config: dict[str, Any]
    """Fields of `transformers.T5Config`, as `t5_stack` takes them."""
    input_scale: float = Field(gt=0)
    """Root mean square of the tokens that enter."""


class Built(NamedTuple):
    """A model and the fingerprints of its weights before the first step."""

    model: Stage1Model
    lm_sha256: str | None  # of the T5's weights; None for the vanilla encoder
    head_sha256: str  # of all other weights: equal between arms of one configuration and seed
    t5: T5Shape | None  # None for the vanilla encoder


def build_model(config: Config, language_model: LanguageModel | None) -> Built:
    """Build the model of a configuration; a function of it and `training.seed`.

    The T5's weights and all others come from separate random streams, so that two arms differ in
    the T5 and in nothing else.

    Args:
        config: Complete.
        language_model: What `transfer_learning.lm_name_or_path` resolves to; None for the vanilla
            encoder.

    Raises:
        ModelError: The language model has no table of tokens and no input scale is set.
    """
    transfer = config.transfer_learning
    t5, lm_sha256, shape = None, None, None
    if language_model is not None:
        scale = input_scale(config, language_model)
        shape = T5Shape(config=language_model.config, input_scale=scale)
        t5, lm_sha256 = build_t5(
            language_model,
            initialization=transfer.initialization,
            seed=weights_seed(config),
            initializer_factor=transfer.initializer_factor,
            n_pretrained_blocks=transfer.n_pretrained_blocks,
            dropout=config.model.dropout,
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(integer_seed(Stream.HEAD, config.training.seed))
        model = Stage1Model(config, t5=t5, input_scale=shape.input_scale if shape else 1.0)
    return Built(model, lm_sha256, _head_sha256(model), shape)


def check_models(configs: Iterable[Config], language_models: Mapping[str, LanguageModel]) -> None:
    """Build the model of every configuration as `build_model` does, without memory or weights.

    Args:
        configs: Complete.
        language_models: By name, all that the configurations ask for.

    Raises:
        ConfigError: Why some cannot be built, a line per language model and reason.
    """
    faults: dict[tuple[str, type[Stage1Error]], str] = {}
    with torch.device("meta"):
        stacks = {name: t5_stack(model.config) for name, model in language_models.items()}
        for config in configs:
            name, scale = config.language_model_name or "", 1.0
            try:
                if name:
                    blocks = config.transfer_learning.n_pretrained_blocks
                    blocks_to_take(language_models[name], blocks)
                    scale = input_scale(config, language_models[name])
                Stage1Model(config, t5=stacks.get(name), input_scale=scale)
            except Stage1Error as error:
                faults.setdefault((name, type(error)), str(error))
    if faults:
        raise ConfigError("\n".join(faults.values()))


def model_of_weights(
    config: Config, shape: T5Shape | None, weights: Mapping[str, Tensor]
) -> Stage1Model:
    """A model around weights that were trained; needs no language model.

    Args:
        config: Of the training.
        shape: Of its T5; None for the vanilla encoder.
        weights: The model's `state_dict`; taken over, not copied.

    Raises:
        RuntimeError: They are not the weights of such a model.
    """
    t5 = None
    if shape is not None:
        with torch.device("meta"):
            t5 = t5_stack(shape.config, dropout=config.model.dropout)
    with torch.random.fork_rng(devices=[]):
        model = Stage1Model(config, t5=t5, input_scale=shape.input_scale if shape else 1.0)
    model.load_state_dict(weights, assign=True)
    return model


def weights_seed(config: Config) -> int:
    """Seed of a T5's drawn weights, apart from that of everything else.

    `initialization_stream` 0 keeps the key (LANGUAGE_MODEL, seed), so that its weights are those of
    every earlier study. The other streams have a key of their own kind: all keys of one member of
    `Stream` must be equally long, or numpy would take two different ones for the same.
    """
    transfer = config.transfer_learning
    seed = transfer.initialization_seed
    if seed is None:
        seed = config.training.seed
    if transfer.initialization_stream == 0:
        return integer_seed(Stream.LANGUAGE_MODEL, seed)
    return integer_seed(Stream.LANGUAGE_MODEL_AGAIN, seed, transfer.initialization_stream)


def input_scale(config: Config, language_model: LanguageModel) -> float:
    """The size of the tokens that enter the T5: as configured, or that of its own embeddings.

    Raises:
        ModelError: Neither exists.
    """
    if config.transfer_learning.input_scale is not None:
        return config.transfer_learning.input_scale
    if language_model.embedding_rms is None:
        raise ModelError(
            f"{language_model.name}: must have a table of at least {FEWEST_TOKENS} token "
            "embeddings, which tells the scale of its inputs, got none; set "
            "transfer_learning.input_scale (the RMS of the embeddings it was trained with)"
        )
    return language_model.embedding_rms


def _head_sha256(model: Stage1Model) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        if not name.startswith(T5_PREFIX):
            digest.update(f"{name}{tuple(tensor.shape)}".encode())
            digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()


def with_some_channel(config: Config) -> Config:
    """The configuration; a series whose channels are null counts as one with a single channel."""
    if config.data.kind == "series" and config.data.channels is None:
        return with_values(config, {"data.channels": ["channel"]})
    return config


def model_on_paper(config: Config) -> Stage1Model:
    """The model of a configuration on the meta device: shapes, but no weights, data or memory.

    Args:
        config: Its language model's dimensions come from its folder or the table of public sizes.

    Raises:
        ModelError: The language model's dimensions are not known.
    """
    with torch.device("meta"):
        t5 = None
        if config.language_model_name is not None:
            dimensions = encoder_config(config.language_model_name)
            t5 = t5_stack(dimensions, dropout=config.model.dropout)
        return Stage1Model(config, t5=t5, input_scale=1.0)


def parameter_counts(config: Config) -> dict[str, int]:
    """Parameters of a configuration by part of the model; argument, errors: `model_on_paper`."""
    model = model_on_paper(with_some_channel(config))
    counts: dict[str, int] = {}
    for name, parameter in model.named_parameters():
        part = _part(name)
        counts[part] = counts.get(part, 0) + parameter.numel()
    return counts


def _part(name: str) -> str:
    """The part of the model that a parameter counts in."""
    if name.startswith(T5_PREFIX):
        return T5_PART
    module, inner, *_ = name.split(".")
    return f"{module}, {inner.replace('_', ' ')}" if module == "encoder" else module
