"""Convolutions over the bars: a stem before the encoder, a bottleneck behind it."""

from __future__ import annotations

from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from stage1.config import StemConfig


class Stem(nn.Module):
    """A convolution over the bars of each timeframe, with its own filters for each.

    Args:
        config: Channels and kernel.
        timeframes: How many.
        channels: Values per bar that enter.
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
    """`stride` neighbouring bars share one code.

    Args:
        width: Values per bar, and per code.
        stride: Bars per code.
    """

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
