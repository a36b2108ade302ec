"""The two encoders: a language model's T5 between projections of bars, and the vanilla encoder.

Both cut the bars into patches, encode the patches of every timeframe by themselves as tokens, let
the timeframes see each other where they are to, and turn the tokens back into bars.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import rms_norm
from torch.utils.checkpoint import checkpoint
from transformers.models.t5.modeling_t5 import T5Stack

from stage1.config import EncoderConfig
from stage1.model.patching import PatchEmbedding, Present, Unpatch, on_rows, present_tokens

EPSILON = 1e-8


class CrossScaleAttention(nn.Module):
    """Every token attends to the tokens of the timeframes paired with its own; the result is added.

    Args:
        width: Of a token.
        heads: Where they do not divide the width, the next smaller number does.
        timeframes: At least two.
        patches: Tokens per timeframe.
        pairs: Timeframes, by index, that see each other.
    """

    def __init__(
        self,
        *,
        width: int,
        heads: int,
        timeframes: int,
        patches: int,
        pairs: Collection[tuple[int, int]],
    ) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.timeframe = nn.Parameter(torch.randn(timeframes, 1, width) * 0.02)
        dividing = max(n for n in range(1, heads + 1) if width % n == 0)
        self.attention = nn.MultiheadAttention(width, dividing, batch_first=True)
        self.blocked: Bool[Tensor, "token token"]
        blocked = _blocked(timeframes, patches, pairs)
        self.register_buffer("blocked", blocked, persistent=False)

    def forward(
        self,
        tokens: Float[Tensor, "batch timeframe patch width"],
        present: Present | None = None,
    ) -> Float[Tensor, "batch timeframe patch width"]:
        """Add what the other timeframes' tokens say; nothing where there are none.

        Args:
            tokens: Of all timeframes.
            present: Those with a real bar, the only ones that are attended to; None = all.
        """
        flat = rearrange(self.norm(tokens) + self.timeframe, "b f p d -> b (f p) d")
        if present is None:
            seen = self._attend(flat, self.blocked)
            return tokens + seen.reshape(tokens.shape)
        # What no window has is most of it, and left out.
        some = torch.arange(tokens.shape[2]) < present.patches.unsqueeze(-1)
        chosen = some.flatten().nonzero().squeeze(-1).to(flat.device, non_blocking=True)
        there = present.exists.flatten(1).index_select(1, chosen)
        blocked = self.blocked.index_select(0, chosen).index_select(1, chosen)
        attended = self._attend(flat.index_select(1, chosen), blocked | ~there.unsqueeze(1))
        seen = attended.new_zeros(flat.shape).index_copy(1, chosen, attended)
        return tokens + seen.reshape(tokens.shape)

    def _attend(
        self, flat: Float[Tensor, "batch token width"], blocked: Bool[Tensor, "... token token"]
    ) -> Float[Tensor, "batch token width"]:
        alone = blocked.all(dim=-1, keepdim=True)  # a softmax over nothing is no number
        mask = blocked & ~alone
        if mask.ndim == 3:
            mask = mask.repeat_interleave(self.attention.num_heads, dim=0)
        seen: Tensor
        seen, _ = self.attention(flat, flat, flat, attn_mask=mask, need_weights=False)
        return seen.masked_fill(alone, 0.0)


def _blocked(
    timeframes: int, patches: int, pairs: Collection[tuple[int, int]]
) -> Bool[Tensor, "token token"]:
    apart = torch.ones(timeframes, timeframes, dtype=torch.bool)
    for one, other in pairs:
        apart[one, other] = apart[other, one] = False
    return apart.repeat_interleave(patches, dim=0).repeat_interleave(patches, dim=1)


class EncoderShape(NamedTuple):
    """The bars that enter and leave an encoder."""

    timeframes: int
    channels: int  # values per bar that enter
    width: int  # values per bar that leave
    seq_len: int  # bars per timeframe
    patch_len: int  # bars per token; divides seq_len
    pairs: Collection[tuple[int, int]] = ()
    """Timeframes, by index, whose tokens see each other behind the encoder's blocks."""

    def embedding(self, token_width: int) -> PatchEmbedding:
        """Bars -> tokens."""
        return PatchEmbedding(
            timeframes=self.timeframes,
            channels=self.channels,
            patch_len=self.patch_len,
            patches=self.seq_len // self.patch_len,
            width=token_width,
        )

    def cross_scale(self, token_width: int, heads: int) -> CrossScaleAttention | None:
        """Attention across the timeframes, if there are pairs."""
        if not self.pairs:
            return None
        return CrossScaleAttention(
            width=token_width,
            heads=heads,
            timeframes=self.timeframes,
            patches=self.seq_len // self.patch_len,
            pairs=self.pairs,
        )

    def unpatch(self, token_width: int) -> Unpatch:
        """Tokens -> bars."""
        return Unpatch(
            timeframes=self.timeframes,
            width=token_width,
            patch_len=self.patch_len,
            channels=self.width,
        )


def scale_tokens(
    tokens: Float[Tensor, "*batch patch width"], scale: float
) -> Float[Tensor, "*batch patch width"]:
    """Give every token the root mean square `scale`: e <- scale * e / sqrt(mean(e^2) + eps).

    A T5 adds what its blocks compute to the tokens that enter, so their size decides how much its
    weights can say: it has to be the size the weights were trained with. Source: ours.
    """
    return scale * rms_norm(tokens.float(), tokens.shape[-1:], eps=EPSILON)


class T5TimeSeriesAdapter(nn.Module):
    """The T5 as a time-series encoder: patches of bars take the place of word embeddings.

    One T5 for all timeframes, called once per batch.

    Args:
        t5: The language model's encoder.
        shape: What goes in and comes out.
        input_scale: Root mean square of the tokens that enter the T5.
    """

    def __init__(self, t5: T5Stack, shape: EncoderShape, *, input_scale: float) -> None:
        super().__init__()
        self.t5 = t5
        self.input_scale = input_scale
        token_width = int(t5.config.d_model)
        self.embedding = shape.embedding(token_width)
        self.unpatch = shape.unpatch(token_width)
        self.cross_scale = shape.cross_scale(token_width, int(t5.config.num_heads))

    def forward(
        self,
        bars: Float[Tensor, "batch timeframe time channels"],
        real: Bool[Tensor, "batch timeframe time"] | None = None,
        lengths: Int[Tensor, "batch timeframe"] | None = None,
    ) -> Float[Tensor, "batch timeframe time width"]:
        """Encode every timeframe's bars by itself, all in one call of the T5.

        Args:
            bars: 0 at padding.
            real: True where a bar exists; None = everywhere. No token attends to one without a
                real bar, and timeframes that are not in a window do not enter the T5.
            lengths: As `present_tokens` takes them.
        """
        tokens = scale_tokens(self.embedding(bars), self.input_scale)
        present = present_tokens(real, lengths, self.embedding.patch_len)
        encoded = on_rows(self._encode, tokens, present)
        if self.cross_scale is not None:
            encoded = self.cross_scale(encoded, present)
        result: Tensor = self.unpatch(encoded)
        return result

    def _encode(self, rows: Tensor, exists: Tensor | None) -> Tensor:
        # In this form `transformers` does not ask, and wait for, whether a mask masks anything.
        mask = None if exists is None else exists[:, None, None]
        result: Tensor = self.t5(inputs_embeds=rows, attention_mask=mask).last_hidden_state
        return result


class SharedEncoder(nn.Module):
    """The vanilla encoder: a small transformer for all timeframes, which then see each other.

    Args:
        config: Width, blocks, heads.
        shape: What goes in and comes out.
        dropout: In the blocks.
        checkpointing: Whether the blocks are computed again in the backward pass.
    """

    def __init__(
        self,
        config: EncoderConfig,
        shape: EncoderShape,
        *,
        dropout: float,
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        self.checkpointing = checkpointing
        self.embedding = shape.embedding(config.d_model)
        # One by one: nn.TransformerEncoder copies a single block, initial weights and all.
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(
                config.d_model,
                config.heads,
                config.d_ff,
                dropout,
                activation="gelu",
                batch_first=True,
                norm_first=True,
            )
            for _ in range(config.layers)
        )
        self.cross_scale = shape.cross_scale(config.d_model, config.heads)
        self.norm = nn.LayerNorm(config.d_model)
        self.unpatch = shape.unpatch(config.d_model)

    def forward(
        self,
        bars: Float[Tensor, "batch timeframe time channels"],
        real: Bool[Tensor, "batch timeframe time"] | None = None,
        lengths: Int[Tensor, "batch timeframe"] | None = None,
    ) -> Float[Tensor, "batch timeframe time width"]:
        """Encode every timeframe by itself, then let them see each other.

        Args:
            bars: 0 at padding.
            real: True where a bar exists; None = everywhere. No token attends to one without a
                real bar.
            lengths: As `present_tokens` takes them.
        """
        present = present_tokens(real, lengths, self.embedding.patch_len)
        encoded = on_rows(self._encode, self.embedding(bars), present)
        if self.cross_scale is not None:
            encoded = self.cross_scale(encoded, present)
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
