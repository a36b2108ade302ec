"""The small T5s that are pretrained: their dimensions, first weights and learning rates."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import T5Config, T5ForConditionalGeneration

from stage1.pretrain.corpus import VOCABULARY_SIZE
from stage1.pretrain.spans import EOS_ID, PAD_ID, SENTINELS
from stage1.pretrain.state import Size

TABLE_LEARNING_RATE = 0.2
"""Of the token table, whose entries have RMS 1 when T5 draws them."""
TABLE_BETAS = (0.9, 0.999)
"""A rare word has a large gradient once in many steps. In between, a shorter memory has forgotten
it, and makes full steps of the softmax's small pushes."""
NORM_LEARNING_RATE = 0.01
BIAS_LEARNING_RATE = 0.05
"""Of the relative attention biases, which must grow to several units to look at a neighbour."""
MATRIX_LEARNING_RATE = 0.128
"""Divided by d_model: 2e-3, 1e-3 and 5e-4 for the three sizes."""

DIMENSIONS: dict[Size, dict[str, int]] = {
    "nano": {"d_model": 64, "d_kv": 32, "num_heads": 2, "d_ff": 192, "num_layers": 2},
    "micro": {"d_model": 128, "d_kv": 32, "num_heads": 4, "d_ff": 384, "num_layers": 4},
    "mini": {"d_model": 256, "d_kv": 64, "num_heads": 4, "d_ff": 768, "num_layers": 4},
}


def t5_config(size: Size) -> T5Config:
    """T5 v1.1 (gated GELU, no biases) with tied embeddings and a decoder of one block."""
    tokens = VOCABULARY_SIZE + SENTINELS
    return T5Config(
        **DIMENSIONS[size],
        vocab_size=-(-tokens // 64) * 64,  # T5's own habit: rows padded to a round number
        num_decoder_layers=1,
        feed_forward_proj="gated-gelu",
        tie_word_embeddings=True,
        dropout_rate=0.0,
        pad_token_id=PAD_ID,
        eos_token_id=EOS_ID,
        decoder_start_token_id=PAD_ID,
    )


def new_model(size: Size) -> T5ForConditionalGeneration:
    """A T5 as `transformers` draws it, but for where its decoder looks first.

    With keys of the attention to the encoder parallel to its queries, the sentinel that a span
    begins with finds the same sentinel in the encoder. Drawn independently they find nothing: then
    nothing rewards the encoder for gathering a gap's neighbours there, and a short training never
    learns that the order of words matters. Uses the global generator.

    Source:
        Ours.
    """
    model = T5ForConditionalGeneration(t5_config(size)).train()
    with torch.no_grad():
        for block in model.decoder.block:
            attention = block.layer[1].EncDecAttention
            scale = attention.k.weight.std() / attention.q.weight.std()
            attention.k.weight.copy_(scale * attention.q.weight)
    return model


def make_optimizer(model: T5ForConditionalGeneration) -> torch.optim.AdamW:
    """AdamW with a learning rate for each kind of weight, no weight decay."""
    kinds: dict[str, list[Tensor]] = {"table": [], "norm": [], "bias": [], "matrix": []}
    for name, weight in model.named_parameters():  # the tied table once, as `shared`
        if name == "shared.weight":
            kinds["table"].append(weight)
        elif "relative_attention_bias" in name:
            kinds["bias"].append(weight)
        else:
            kinds["norm" if weight.ndim == 1 else "matrix"].append(weight)
    return torch.optim.AdamW(
        [
            {"params": kinds["table"], "lr": TABLE_LEARNING_RATE, "betas": TABLE_BETAS},
            {"params": kinds["norm"], "lr": NORM_LEARNING_RATE},
            {"params": kinds["bias"], "lr": BIAS_LEARNING_RATE},
            {"params": kinds["matrix"], "lr": MATRIX_LEARNING_RATE / model.model_dim},
        ],
        betas=(0.9, 0.98),
        weight_decay=0.0,
        fused=True,
    )
