"""The T5 as a time-series encoder: patches of bars take the place of word embeddings."""

from __future__ import annotations

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from transformers.models.t5.modeling_t5 import T5Stack

from stage1.model.patching import PatchEmbedding, Unpatch

EPSILON = 1e-8


def scale_tokens(
    tokens: Float[Tensor, "*batch patch width"], scale: float
) -> Float[Tensor, "*batch patch width"]:
    """Give every token the root mean square `scale`: e <- scale * e / sqrt(mean(e^2) + eps).

    A T5 adds what its blocks compute to the tokens that enter, so their size decides how much its
    weights can say: it has to be the size the weights were trained with. Source: ours.
    """
    mean_square = tokens.float().square().mean(dim=-1, keepdim=True)
    return tokens * (scale * torch.rsqrt(mean_square + EPSILON))


class T5TimeSeriesAdapter(nn.Module):
    """One T5 for all timeframes, called once per batch.

    Args:
        t5: The language model's encoder.
        input_scale: Root mean square of the tokens that enter it.
        timeframes: How many.
        channels: Values per bar that enter.
        patch_len: Bars per token.
        seq_len: Bars per timeframe.
        width: Values per bar that leave.
    """

    def __init__(
        self,
        t5: T5Stack,
        *,
        input_scale: float,
        timeframes: int,
        channels: int,
        patch_len: int,
        seq_len: int,
        width: int,
    ) -> None:
        super().__init__()
        self.t5 = t5
        self.input_scale = input_scale
        token_width = int(t5.config.d_model)
        self.embedding = PatchEmbedding(
            timeframes=timeframes,
            channels=channels,
            patch_len=patch_len,
            patches=seq_len // patch_len,
            width=token_width,
        )
        self.unpatch = Unpatch(
            timeframes=timeframes, width=token_width, patch_len=patch_len, channels=width
        )

    def forward(
        self, bars: Float[Tensor, "batch timeframe time channels"]
    ) -> Float[Tensor, "batch timeframe time width"]:
        """Encode every timeframe's bars by itself, all in one call of the T5."""
        tokens = scale_tokens(self.embedding(bars), self.input_scale)
        folded = rearrange(tokens, "b f p d -> (b f) p d")
        encoded = self.t5(inputs_embeds=folded).last_hidden_state
        unfolded = rearrange(encoded, "(b f) p d -> b f p d", b=len(bars))
        result: Tensor = self.unpatch(unfolded)
        return result
