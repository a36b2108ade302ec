"""The T5 as a time-series encoder: patches of bars take the place of word embeddings."""

from __future__ import annotations

from collections.abc import Collection

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from transformers.models.t5.modeling_t5 import T5Stack

from stage1.model.cross_scale import CrossScaleAttention
from stage1.model.patching import PatchEmbedding, Unpatch, any_in_patch, on_rows

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
        pairs: Timeframes, by index, whose tokens see each other behind the T5.
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
        pairs: Collection[tuple[int, int]] = (),
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
        self.cross_scale: CrossScaleAttention | None = None
        if pairs:
            self.cross_scale = CrossScaleAttention(
                width=token_width,
                heads=int(t5.config.num_heads),
                timeframes=timeframes,
                patches=seq_len // patch_len,
                pairs=pairs,
            )

    def forward(
        self,
        bars: Float[Tensor, "batch timeframe time channels"],
        real: Bool[Tensor, "batch timeframe time"] | None = None,
    ) -> Float[Tensor, "batch timeframe time width"]:
        """Encode every timeframe's bars by itself, all in one call of the T5.

        Args:
            bars: 0 at padding.
            real: True where a bar exists; None = everywhere. No token attends to one without a
                real bar, and timeframes that are not in a window do not enter the T5.
        """
        tokens = scale_tokens(self.embedding(bars), self.input_scale)
        exists = any_in_patch(real, self.embedding.patch_len)
        encoded = on_rows(self._encode, tokens, exists)
        if self.cross_scale is not None:
            encoded = self.cross_scale(encoded, exists)
        result: Tensor = self.unpatch(encoded)
        return result

    def _encode(self, rows: Tensor, exists: Tensor | None) -> Tensor:
        result: Tensor = self.t5(inputs_embeds=rows, attention_mask=exists).last_hidden_state
        return result
