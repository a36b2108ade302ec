"""The mean of some of the values."""

from __future__ import annotations

from jaxtyping import Bool, Float
from torch import Tensor


def masked_mean(values: Tensor, mask: Bool[Tensor, "..."]) -> Float[Tensor, ""]:
    """Mean where the (broadcast) mask is true, 0 where it never is; masked values may be NaN."""
    mask = mask.expand_as(values)
    return values.masked_fill(~mask, 0.0).sum() / mask.sum().clamp_min(1)
