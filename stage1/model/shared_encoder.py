"""The vanilla encoder: a small transformer for all timeframes, which then see each other."""

from __future__ import annotations

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn

from stage1.config import EncoderConfig
from stage1.model.patching import PatchEmbedding, Unpatch


class CrossScaleAttention(nn.Module):
    """Every token attends to the tokens of all other timeframes; the result is added.

    Args:
        width: Width of a token.
        heads: Attention heads.
        timeframes: How many; at least two.
        patches: Tokens per timeframe.
    """

    def __init__(self, *, width: int, heads: int, timeframes: int, patches: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.timeframe = nn.Parameter(torch.randn(timeframes, 1, width) * 0.02)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.own: Bool[Tensor, "token token"]
        self.register_buffer("own", _same_timeframe(timeframes, patches), persistent=False)

    def forward(
        self, tokens: Float[Tensor, "batch timeframe patch width"]
    ) -> Float[Tensor, "batch timeframe patch width"]:
        """Add what the other timeframes' tokens say."""
        flat = rearrange(self.norm(tokens) + self.timeframe, "b f p d -> b (f p) d")
        seen, _ = self.attention(flat, flat, flat, attn_mask=self.own, need_weights=False)
        result: Tensor = tokens + seen.reshape(tokens.shape)
        return result


def _same_timeframe(timeframes: int, patches: int) -> Bool[Tensor, "token token"]:
    owner = torch.arange(timeframes).repeat_interleave(patches)
    return owner[:, None] == owner[None, :]


def _block(config: EncoderConfig, dropout: float) -> nn.TransformerEncoderLayer:
    return nn.TransformerEncoderLayer(
        config.d_model,
        config.heads,
        config.d_ff,
        dropout,
        activation="gelu",
        batch_first=True,
        norm_first=True,
    )


class SharedEncoder(nn.Module):
    """Patches -> transformer blocks shared by the timeframes -> cross-scale attention -> bars.

    Args:
        config: Width, blocks, heads.
        timeframes: How many.
        channels: Values per bar that enter.
        patch_len: Bars per token.
        seq_len: Bars per timeframe.
        width: Values per bar that leave.
        dropout: In the blocks.
    """

    def __init__(
        self,
        config: EncoderConfig,
        *,
        timeframes: int,
        channels: int,
        patch_len: int,
        seq_len: int,
        width: int,
        dropout: float,
    ) -> None:
        super().__init__()
        patches = seq_len // patch_len
        self.embedding = PatchEmbedding(
            timeframes=timeframes,
            channels=channels,
            patch_len=patch_len,
            patches=patches,
            width=config.d_model,
        )
        # One by one: nn.TransformerEncoder copies a single block, initial weights and all.
        self.blocks = nn.Sequential(*(_block(config, dropout) for _ in range(config.layers)))
        self.cross_scale: nn.Module = nn.Identity()
        if timeframes > 1:
            self.cross_scale = CrossScaleAttention(
                width=config.d_model, heads=config.heads, timeframes=timeframes, patches=patches
            )
        self.norm = nn.LayerNorm(config.d_model)
        self.unpatch = Unpatch(
            timeframes=timeframes, width=config.d_model, patch_len=patch_len, channels=width
        )

    def forward(
        self, bars: Float[Tensor, "batch timeframe time channels"]
    ) -> Float[Tensor, "batch timeframe time width"]:
        """Encode every timeframe by itself, then let them see each other."""
        tokens = self.embedding(bars)
        folded = self.blocks(rearrange(tokens, "b f p d -> (b f) p d"))
        unfolded = rearrange(folded, "(b f) p d -> b f p d", b=len(bars))
        result: Tensor = self.unpatch(self.norm(self.cross_scale(unfolded)))
        return result
