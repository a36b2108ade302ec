"""What is minimised: the Huber loss of the scored bars, and the sum of all terms by their weights.

The other terms are in `stage1.model.spectral` and `stage1.model.consistency`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import huber_loss

from stage1.config import Config
from stage1.data.batches import Batch
from stage1.model.consistency import cross_timeframe_loss
from stage1.model.spectral import amplitude_phase_loss, stft_loss


def masked_mean(values: Tensor, mask: Bool[Tensor, "..."]) -> Float[Tensor, ""]:
    """Mean where the (broadcast) mask is true, 0 where it never is; masked values may be NaN."""
    mask = mask.expand_as(values)
    return values.masked_fill(~mask, 0.0).sum() / mask.sum().clamp_min(1)


def reconstruction_loss(
    decoded: Float[Tensor, "batch timeframe time channel"], batch: Batch, *, delta: float
) -> Float[Tensor, ""]:
    """Huber loss of the scored bars.

    loss = mean over scored bars and channels of e^2 / 2 where |e| <= delta, else of
    delta (|e| - delta / 2), with e = decoded - true.

    Args:
        decoded: Normalised bars.
        batch: The windows; their targets may be anything where no bar is scored.
        delta: Where the loss turns linear, in normalised units, > 0.

    Returns:
        Float32, >= 0; 0 if no bar is scored.

    Source:
        Huber 1964, "Robust Estimation of a Location Parameter".
    """
    where = batch.scored.unsqueeze(-1)
    # Before the loss: what is not finite has a gradient of NaN even where it is masked later.
    mine, truth = (one.masked_fill(~where, 0.0) for one in (decoded.float(), batch.targets))
    return masked_mean(huber_loss(mine, truth, reduction="none", delta=delta), where)


LOSSES: dict[str, Callable[[Tensor, Batch, Config], Tensor]] = {
    "recon_tf": lambda decoded, batch, config: reconstruction_loss(
        decoded, batch, delta=config.loss.huber_delta
    ),
    "spec_tf": lambda decoded, batch, _: stft_loss(decoded, batch),
    "cross": lambda decoded, batch, config: cross_timeframe_loss(decoded, batch, config.data),
    "amp_phase": lambda decoded, batch, _: amplitude_phase_loss(decoded, batch),
}
"""The terms, each a scalar >= 0, by the name of their weight in `loss.weights`."""


def total_loss(
    decoded: Float[Tensor, "batch timeframe time channel"], batch: Batch, config: Config
) -> Float[Tensor, ""]:
    """The sum of weight x term that is trained on and reported as val_loss.

    A term of weight 0 is not computed.

    Args:
        decoded: Normalised bars, timeframes fine to coarse.
        batch: The windows.
        config: Of the weights, and of what the terms need.

    Returns:
        Float32, >= 0.
    """
    total = torch.zeros((), device=decoded.device)
    for name, weight in config.loss.weights:
        if weight:
            total = total + weight * LOSSES[name](decoded, batch, config)
    return total
