"""Bars <-> tokens: each timeframe its own linear map, positions, and the way back."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn


class TimeframeLinear(nn.Module):
    """A linear layer per timeframe, applied to all of them in one batched product."""

    def __init__(self, timeframes: int, inputs: int, outputs: int) -> None:
        super().__init__()
        bound = 1 / math.sqrt(inputs)  # as nn.Linear
        self.weight = nn.Parameter(torch.empty(timeframes, inputs, outputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(timeframes, 1, outputs).uniform_(-bound, bound))

    def forward(
        self, values: Float[Tensor, "batch timeframe position inputs"]
    ) -> Float[Tensor, "batch timeframe position outputs"]:
        """Map every timeframe with its own weights."""
        rows = rearrange(values, "b f p i -> f (b p) i")
        mapped = torch.baddbmm(self.bias, rows, self.weight)
        return rearrange(mapped, "f (b p) o -> b f p o", b=len(values))


class PatchEmbedding(nn.Module):
    """Patches of bars -> tokens: the timeframe's projection plus a learned position.

    Args:
        timeframes: How many.
        channels: Values per bar.
        patch_len: Bars per token.
        patches: Tokens per timeframe.
        width: Of a token.
    """

    def __init__(
        self, *, timeframes: int, channels: int, patch_len: int, patches: int, width: int
    ) -> None:
        super().__init__()
        self.patch_len = patch_len
        self.projection = TimeframeLinear(timeframes, patch_len * channels, width)
        self.position = nn.Parameter(torch.randn(patches, width) * 0.1)

    def forward(
        self, bars: Float[Tensor, "batch timeframe time channels"]
    ) -> Float[Tensor, "batch timeframe patch width"]:
        """Project every patch and add its position."""
        patches = rearrange(bars, "b f (p l) c -> b f p (l c)", l=self.patch_len)
        tokens: Tensor = self.projection(patches) + self.position
        return tokens


class Unpatch(nn.Module):
    """Tokens -> bars: a projection per timeframe to all bars of the patch.

    The arguments are those of `PatchEmbedding`.
    """

    def __init__(self, *, timeframes: int, width: int, patch_len: int, channels: int) -> None:
        super().__init__()
        self.patch_len = patch_len
        self.projection = TimeframeLinear(timeframes, width, patch_len * channels)

    def forward(
        self, tokens: Float[Tensor, "batch timeframe patch width"]
    ) -> Float[Tensor, "batch timeframe time channels"]:
        """Give every bar of a patch its own part of the token's projection."""
        bars: Tensor = self.projection(tokens)
        return rearrange(bars, "b f p (l c) -> b f (p l) c", l=self.patch_len)


def any_in_patch(
    real: Bool[Tensor, "batch timeframe time"] | None, patch_len: int
) -> Bool[Tensor, "batch timeframe patch"] | None:
    """True where a patch has a real bar; None where all bars are real."""
    if real is None:
        return None
    return rearrange(real, "b f (p l) -> b f p l", l=patch_len).any(dim=-1)


def on_rows(
    encode: Callable[[Tensor, Tensor | None], Tensor],
    tokens: Float[Tensor, "batch timeframe patch width"],
    exists: Bool[Tensor, "batch timeframe patch"] | None,
) -> Float[Tensor, "batch timeframe patch width"]:
    """Encode the tokens of all windows and timeframes in one call.

    Args:
        encode: Takes rows of tokens, (row, patch, width), and which of them exist.
        tokens: Of each window and timeframe.
        exists: True for tokens with a real bar; None = all. Rows without one are left out.

    Returns:
        The encoded tokens; 0 in rows that were left out.
    """
    if exists is None:
        encoded = encode(rearrange(tokens, "b f p d -> (b f) p d"), None)
        return rearrange(encoded, "(b f) p d -> b f p d", b=len(tokens))
    chosen = exists.any(dim=-1)  # (batch, timeframe)
    encoded = encode(tokens[chosen], exists[chosen])
    result = encoded.new_zeros(tokens.shape)
    result[chosen] = encoded
    return result
