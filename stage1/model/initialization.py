"""The T5 of each arm: pretrained weights, fresh ones, or the pretrained ones shuffled."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import T5Config
from transformers.models.t5.modeling_t5 import T5Stack

from stage1.config import Initialization
from stage1.errors import ConfigError
from stage1.model.language_models import LanguageModel, weights_sha256

_RELATIVE_BIAS = "relative_attention_bias"


def build_t5(
    language_model: LanguageModel,
    *,
    initialization: Initialization,
    seed: int,
    initializer_factor: float = 1.0,
    n_pretrained_blocks: int | None = None,
    dropout: float = 0.0,
) -> tuple[T5Stack, str]:
    """Build the encoder of one arm; a function of its arguments alone, global randomness untouched.

    Args:
        language_model: Where config and weights come from; left as it is.
        initialization: `pretrained` takes the weights; `random` draws fresh ones as `transformers`
            does; `shuffled` permutes the values of each tensor within it, so that scale and
            distribution stay and structure goes. The relative attention bias is not shuffled.
        seed: Of the fresh weights and the permutations.
        initializer_factor: Scale of fresh weights, > 0; 1 is T5's own.
        n_pretrained_blocks: Only the first so many blocks are taken (or shuffled), the rest is
            fresh, the same as in the random arm of this seed; the final norm belongs to the last
            block. None takes all.
        dropout: Share dropped in training, in [0, 1).

    Returns:
        The encoder in training mode, without a token table (call it with `inputs_embeds`), and the
        SHA-256 of its weights.

    Raises:
        ConfigError: The language model has no such number of blocks.
    """
    config = language_model.config
    blocks = _blocks_taken(language_model, n_pretrained_blocks)
    taken = {
        name: tensor
        for name, tensor in language_model.weights.items()
        if _block_of(name, config["num_layers"]) < blocks
    }
    match initialization:
        case "pretrained":
            weights = {name: tensor.clone() for name, tensor in taken.items()}
        case "shuffled":
            weights = _shuffled(taken, seed=seed)
        case "random":
            weights = {}
        case _:
            raise ValueError(f"initialization must be an arm's, got {initialization!r}")
    if len(weights) < len(language_model.weights):
        weights = _fresh(config, seed=seed, initializer_factor=initializer_factor) | weights
    with torch.device("meta"):
        stack = t5_stack(config, initializer_factor=initializer_factor, dropout=dropout)
    stack.load_state_dict(weights, assign=True)
    return stack.train(), weights_sha256(weights)


def t5_stack(
    config: dict[str, Any], *, initializer_factor: float = 1.0, dropout: float = 0.0
) -> T5Stack:
    """An encoder with weights as `transformers` draws them from the global generator.

    SDPA attention, no token table. T5 1.1's `gelu_new` is computed by torch's fused kernel of the
    same function. Under `torch.device("meta")` it costs no memory and counts parameters.

    Args:
        config: As `encoder_config` or a `LanguageModel` gives it.
        initializer_factor: Scale of the weights, > 0.
        dropout: Share dropped in training, in [0, 1).
    """
    fields = {**config, "attn_implementation": "sdpa"}
    if fields["feed_forward_proj"] == "gated-gelu":
        fields["feed_forward_proj"] = "gated-gelu_pytorch_tanh"
    stack = T5Stack(
        T5Config(
            **fields,
            initializer_factor=initializer_factor,
            dropout_rate=dropout,
            vocab_size=1,  # the stack always builds a token table
            is_encoder_decoder=False,
            use_cache=False,
            pad_token_id=None,
            eos_token_id=None,
        )
    )
    stack.embed_tokens = nn.Identity()
    return stack


def _blocks_taken(language_model: LanguageModel, n_pretrained_blocks: int | None) -> int:
    layers = int(language_model.config["num_layers"])
    if n_pretrained_blocks is None:
        return layers
    if not 1 <= n_pretrained_blocks <= layers:
        raise ConfigError(
            f"transfer_learning.n_pretrained_blocks must be from 1 to {layers}, the blocks of "
            f"{language_model.name}, got {n_pretrained_blocks}; null takes all"
        )
    return n_pretrained_blocks


def _block_of(name: str, layers: int) -> int:
    """Index of the block a weight belongs to; the final norm goes with the last."""
    return int(name.split(".")[1]) if name.startswith("block.") else layers - 1


def _fresh(config: dict[str, Any], *, seed: int, initializer_factor: float) -> dict[str, Tensor]:
    """Weights as `transformers` initialises them, from a generator state of their own."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would reseed every GPU too
        stack = t5_stack(config, initializer_factor=initializer_factor)
    return {name: tensor.detach() for name, tensor in stack.state_dict().items()}


def _shuffled(weights: dict[str, Tensor], *, seed: int) -> dict[str, Tensor]:
    """Every tensor permuted within itself, the relative attention bias kept."""
    generator = torch.Generator().manual_seed(seed)
    shuffled = {}
    for name in sorted(weights):
        tensor = weights[name]
        if _RELATIVE_BIAS in name:
            shuffled[name] = tensor.clone()
            continue
        order = torch.randperm(tensor.numel(), generator=generator)
        shuffled[name] = tensor.flatten()[order].view_as(tensor)
    return shuffled
