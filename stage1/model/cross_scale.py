"""Tokens of one timeframe look at those of others."""

from __future__ import annotations

from collections.abc import Collection

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn

from stage1.model.patching import Present


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
