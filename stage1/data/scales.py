"""The scale that a training split gives its windows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from stage1.data.features import SMALLEST_SCALE
from stage1.data.kinds import Kind
from stage1.errors import DataError

SMALLEST_SHARE = 1e-2
"""A channel of a series, whose unit may be any, is divided by this share of its standard deviation
in the training split at least."""


class TrainingStatistics(NamedTuple):
    """Of what is completed by the split, all log prices together, or each channel of a series."""

    mean: Tensor
    """(timeframe,) or (timeframe, channel)."""
    deviation: Tensor
    """Of the same shape; the standard deviation."""
    smallest: Tensor
    """() or (channel,); no window is divided by less."""


def training_statistics(
    parts: Sequence[Float[Tensor, "_ channel"]], kind: Kind
) -> TrainingStatistics:
    """Mean and standard deviation of every timeframe.

    Args:
        parts: Per timeframe, fine to coarse, what is completed by the split.
        kind: Of the data.

    Raises:
        DataError: A channel of a series stands still: nothing can be learned of it.
    """
    over = None if kind.one_scale else 0
    mean = torch.stack([part.mean(dim=over) for part in parts])
    deviation = torch.stack([part.std(dim=over, correction=0) for part in parts])
    smallest = torch.tensor(SMALLEST_SCALE, dtype=deviation.dtype)
    if not kind.one_scale:
        _require_movement(parts[0], kind.channels)
        smallest = SMALLEST_SHARE * deviation[0]
    return TrainingStatistics(mean, deviation.maximum(smallest), smallest)


def _require_movement(levels: Float[Tensor, "time channel"], channels: Sequence[str]) -> None:
    still = (levels.amax(dim=0) == levels.amin(dim=0)).tolist()
    for name, value, stands in zip(channels, levels[0], still, strict=True):
        if stands:
            raise DataError(
                f"channel {name} must move in the training split, got {value:g} throughout; "
                "leave it out of data.channels"
            )
