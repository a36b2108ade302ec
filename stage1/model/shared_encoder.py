"""The vanilla encoder: a small transformer for all timeframes, which then see each other."""

from __future__ import annotations

from collections.abc import Collection

from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from stage1.config import EncoderConfig
from stage1.model.cross_scale import CrossScaleAttention
from stage1.model.patching import PatchEmbedding, Unpatch, any_in_patch, on_rows


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
        pairs: Timeframes, by index, whose tokens see each other behind the blocks.
        checkpointing: Whether the blocks are computed again in the backward pass.
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
        pairs: Collection[tuple[int, int]],
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        self.checkpointing = checkpointing
        patches = seq_len // patch_len
        self.embedding = PatchEmbedding(
            timeframes=timeframes,
            channels=channels,
            patch_len=patch_len,
            patches=patches,
            width=config.d_model,
        )
        # One by one: nn.TransformerEncoder copies a single block, initial weights and all.
        self.blocks = nn.ModuleList(_block(config, dropout) for _ in range(config.layers))
        self.cross_scale: CrossScaleAttention | None = None
        if pairs:
            self.cross_scale = CrossScaleAttention(
                width=config.d_model,
                heads=config.heads,
                timeframes=timeframes,
                patches=patches,
                pairs=pairs,
            )
        self.norm = nn.LayerNorm(config.d_model)
        self.unpatch = Unpatch(
            timeframes=timeframes, width=config.d_model, patch_len=patch_len, channels=width
        )

    def forward(
        self,
        bars: Float[Tensor, "batch timeframe time channels"],
        real: Bool[Tensor, "batch timeframe time"] | None = None,
    ) -> Float[Tensor, "batch timeframe time width"]:
        """Encode every timeframe by itself, then let them see each other.

        Args:
            bars: 0 at padding.
            real: True where a bar exists; None = everywhere. No token attends to one without a
                real bar.
        """
        exists = any_in_patch(real, self.embedding.patch_len)
        encoded = on_rows(self._encode, self.embedding(bars), exists)
        if self.cross_scale is not None:
            encoded = self.cross_scale(encoded, exists)
        result: Tensor = self.unpatch(self.norm(encoded))
        return result

    def _encode(self, rows: Tensor, exists: Tensor | None) -> Tensor:
        padding = None if exists is None else ~exists
        for block in self.blocks:
            if self.checkpointing and self.training:
                rows = checkpoint(block, rows, None, padding, use_reentrant=False)
            else:
                rows = block(rows, src_key_padding_mask=padding)
        return rows
