"""The T5 of each arm: pretrained weights, fresh ones, or a rung of the ladder between them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import T5Config
from transformers.models.t5.modeling_t5 import T5LayerNorm, T5Stack

from stage1.base.errors import ConfigError
from stage1.config import Initialization
from stage1.language_models.ladder import weights_of_rung
from stage1.language_models.resolver import LanguageModel, weights_sha256
from stage1.language_models.t5_dimensions import block_of


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
            does; `shuffled` permutes the entries inside each tensor, the norms' vectors too, so
            that scale and distribution stay and structure goes. `mean_sd` and `spectrum` draw each
            tensor anew with its mean and standard deviation, or its singular values. All three
            keep the relative attention bias as it is. `norms_only`, `attention_only` and
            `mlp_only` take those tensors; the rest is fresh.
        seed: Of the fresh weights and of what is drawn anew.
        initializer_factor: Scale of fresh weights, > 0; 1 is T5's own.
        n_pretrained_blocks: Only the first so many blocks are taken (or drawn anew, the same as if
            all were), the rest is fresh. The final norm belongs to the last block. None takes all.

    What is fresh is the same as in the random arm of this seed and factor.
        dropout: Share dropped in training, in [0, 1).

    Returns:
        The encoder in training mode, without a token table (call it with `inputs_embeds`), and the
        SHA-256 of its weights.

    Raises:
        ConfigError: The language model has no such number of blocks.
    """
    config = language_model.config
    blocks = _first_blocks(language_model, blocks_to_take(language_model, n_pretrained_blocks))
    weights = weights_of_rung(blocks, initialization, seed=seed)
    if len(weights) < len(language_model.weights):
        weights = fresh_weights(config, seed=seed, initializer_factor=initializer_factor) | weights
    with torch.device("meta"):
        stack = t5_stack(config, initializer_factor=initializer_factor, dropout=dropout)
    stack.load_state_dict(weights, assign=True)
    return stack.train(), weights_sha256(weights)


def fresh_weights(
    config: dict[str, Any], *, seed: int, initializer_factor: float = 1.0
) -> dict[str, Tensor]:
    """Weights as `transformers` initialises them, of `T5Stack.state_dict()`, in float32.

    A function of the arguments alone, global randomness untouched; config and factor are those of
    `t5_stack`.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would reseed every GPU too
        stack = t5_stack(config, initializer_factor=initializer_factor)
    return {name: tensor.detach() for name, tensor in stack.state_dict().items()}


def t5_stack(
    config: dict[str, Any], *, initializer_factor: float = 1.0, dropout: float = 0.0
) -> T5Stack:
    """An encoder with weights as `transformers` draws them from the global generator.

    SDPA attention, no token table. T5 1.1's `gelu_new` and the norms are computed by torch's fused
    kernels of the same functions, under the same names of weights. Under `torch.device("meta")` it
    costs no memory and counts parameters.

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
    for module in list(stack.modules()):
        for name, norm in module.named_children():
            if isinstance(norm, T5LayerNorm):  # six kernels on a GPU, and thirteen backward
                fused = nn.RMSNorm(norm.weight.shape, config["layer_norm_epsilon"], device="meta")
                fused.weight = norm.weight
                setattr(module, name, fused)
    return stack


def blocks_to_take(language_model: LanguageModel, n_pretrained_blocks: int | None) -> int:
    """How many of its first blocks an arm takes; None = all.

    Raises:
        ConfigError: The language model has no such number of blocks.
    """
    layers = int(language_model.config["num_layers"])
    blocks = layers if n_pretrained_blocks is None else n_pretrained_blocks
    if not 1 <= blocks <= layers:
        raise ConfigError(
            f"transfer_learning.n_pretrained_blocks must be from 1 to {layers}, the blocks of "
            f"{language_model.name}, got {n_pretrained_blocks}; null takes all"
        )
    return blocks


def _first_blocks(language_model: LanguageModel, blocks: int) -> dict[str, Tensor]:
    """The weights in the first blocks, block by block."""
    layers = int(language_model.config["num_layers"])
    in_order = sorted((block_of(name, layers), name) for name in language_model.weights)
    return {name: language_model.weights[name] for block, name in in_order if block < blocks}
