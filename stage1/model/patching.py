"""Bars <-> tokens: each timeframe its own linear map, positions, and the way back."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
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


class Present(NamedTuple):
    """The tokens with a real bar, where not all have one."""

    exists: Bool[Tensor, "batch timeframe patch"]
    rows: Int[Tensor, " row"]
    """Windows' timeframes with such a token, of all of them one after another."""
    patches: Int[Tensor, " timeframe"]
    """How many tokens of each timeframe any window has, from the first; on the CPU."""


def present_tokens(
    real: Bool[Tensor, "batch timeframe time"] | None,
    lengths: Int[Tensor, "batch timeframe"] | None,
    patch_len: int,
) -> Present | None:
    """Which tokens have a real bar; None where all bars are real.

    Args:
        real: True where a bar exists; None = everywhere.
        lengths: Bars up to the last real one, on the CPU; None = as `real` says, which a GPU has to
            be waited for.
        patch_len: Bars per token.
    """
    if real is None:
        return None
    if lengths is None:
        places = torch.arange(1, real.shape[-1] + 1, device=real.device)
        lengths = (real * places).amax(dim=-1).cpu()
    patches = -(-lengths // patch_len)
    rows = patches.flatten().nonzero().squeeze(-1).to(real.device, non_blocking=True)
    exists = rearrange(real, "b f (p l) -> b f p l", l=patch_len).any(dim=-1)
    return Present(exists, rows, patches.amax(dim=0))


def on_rows(
    encode: Callable[[Tensor, Tensor | None], Tensor],
    tokens: Float[Tensor, "batch timeframe patch width"],
    present: Present | None,
) -> Float[Tensor, "batch timeframe patch width"]:
    """Encode the tokens of all windows and timeframes in one call.

    Args:
        encode: Takes rows of tokens, (row, patch, width), and which of them exist.
        tokens: Of each window and timeframe.
        present: Those with a real bar; None = all. Rows without one are left out.

    Returns:
        The encoded tokens; 0 in rows that were left out.
    """
    rows = tokens.flatten(0, 1)
    if present is None:
        every: Tensor = encode(rows, None).unflatten(0, tokens.shape[:2])
        return every
    exists = present.exists.flatten(0, 1).index_select(0, present.rows)
    encoded = encode(rows.index_select(0, present.rows), exists)
    whole = encoded.new_zeros(rows.shape).index_copy(0, present.rows, encoded)
    result: Tensor = whole.unflatten(0, tokens.shape[:2])
    return result
