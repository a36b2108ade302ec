"""The scale that a training split gives its windows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from stage1.base.errors import DataError
from stage1.data.features import SMALLEST_SCALE
from stage1.data.kinds import Kind

SMALLEST_SHARE = 1e-2
"""A channel of a series, whose unit may be any, is divided by this share of its standard deviation
in the training split at least."""


class TrainingStatistics(NamedTuple):
    """Of the bars that are trained on: their four log prices together, or each channel."""

    mean: Float[Tensor, " timeframe *channel"]
    """float64; with channels for a series alone."""
    deviation: Float[Tensor, " timeframe *channel"]
    """Standard deviation, float64, > 0."""
    bars: Int[Tensor, " timeframe"]
    """How many bars they are of."""

    @property
    def smallest(self) -> Float[Tensor, " *channel"]:
        """No window is divided by less."""
        if self.deviation.ndim == 1:
            return self.deviation.new_tensor(SMALLEST_SCALE)
        return SMALLEST_SHARE * self.deviation[0]


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
    if not kind.one_scale:
        _require_movement(parts[0], kind.channels)
    found = TrainingStatistics(
        mean=torch.stack([part.mean(dim=over) for part in parts]),
        deviation=torch.stack([part.std(dim=over, correction=0) for part in parts]),
        bars=torch.tensor([len(part) for part in parts]),
    )
    return found._replace(deviation=found.deviation.maximum(found.smallest))


def _require_movement(levels: Float[Tensor, "time channel"], channels: Sequence[str]) -> None:
    still = (levels.amax(dim=0) == levels.amin(dim=0)).tolist()
    for name, value, stands in zip(channels, levels[0], still, strict=True):
        if stands:
            raise DataError(
                f"channel {name} must move in the training split, got {value:g} throughout; "
                "leave it out of data.channels"
            )
