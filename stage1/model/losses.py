"""The mean of some of the values."""

from __future__ import annotations

from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import huber_loss

from stage1.config import LossConfig
from stage1.data.batches import Batch
from stage1.data.features import OHLC, Kind
from stage1.model.consistency import cross_timeframe_loss
from stage1.model.spectral import amplitude_phase_loss, stft_loss


def masked_mean(values: Tensor, mask: Bool[Tensor, "..."]) -> Float[Tensor, ""]:
    """Mean where the (broadcast) mask is true, 0 where it never is; masked values may be NaN."""
    mask = mask.expand_as(values)
    return values.masked_fill(~mask, 0.0).sum() / mask.sum().clamp_min(1)


def reconstruction_loss(
    decoded: Float[Tensor, "batch timeframe time channel"],
    targets: Float[Tensor, "batch timeframe time channel"],
    scored: Bool[Tensor, "batch timeframe time"],
    *,
    delta: float,
) -> Float[Tensor, ""]:
    """Huber loss of the scored bars.

    loss = mean over scored bars and channels of e^2 / 2 where |e| <= delta, else of
    delta (|e| - delta / 2), with e = decoded - true.

    Args:
        decoded: Normalised bars.
        targets: True ones; may be anything where no bar is scored.
        scored: True where they are compared.
        delta: Where the loss turns linear, in normalised units, > 0.

    Returns:
        Float32, >= 0; 0 if no bar is scored.

    Source:
        Huber 1964, "Robust Estimation of a Location Parameter".
    """
    where = scored.unsqueeze(-1)
    # Before the loss: what is not finite has a gradient of NaN even where it is masked later.
    mine, truth = decoded.float().masked_fill(~where, 0.0), targets.masked_fill(~where, 0.0)
    return masked_mean(huber_loss(mine, truth, reduction="none", delta=delta), where)


def total_loss(
    decoded: Float[Tensor, "batch timeframe time channel"],
    batch: Batch,
    loss: LossConfig,
    minutes: tuple[int, ...],
    kind: Kind = OHLC,
) -> Float[Tensor, ""]:
    """The weighted sum that is trained on and reported as val_loss; weight 0 computes nothing.

    loss = recon_tf x Huber + spec_tf x STFT + cross x consistency + amp_phase x amplitude-phase,
    each as its own function says.

    Args:
        decoded: Normalised bars, timeframes fine to coarse.
        batch: The windows.
        loss: Weights, and where the Huber loss turns linear.
        minutes: Length of a bar, per timeframe.
        kind: Of the data.

    Returns:
        Float32, >= 0.
    """
    weights, scored, real = loss.weights, batch.scored, batch.real
    reconstruction = reconstruction_loss(decoded, batch.targets, scored, delta=loss.huber_delta)
    total = weights.recon_tf * reconstruction
    if weights.spec_tf:
        spectral = stft_loss(decoded, batch.targets, scored=scored, real=real)
        total = total + weights.spec_tf * spectral
    if weights.cross:
        cross = cross_timeframe_loss(
            decoded, batch.open_time, batch.center, batch.scale, minutes, kind
        )
        total = total + weights.cross * cross
    if weights.amp_phase:
        correlated = amplitude_phase_loss(decoded, batch.targets, scored=scored, real=real)
        total = total + weights.amp_phase * correlated
    return total
