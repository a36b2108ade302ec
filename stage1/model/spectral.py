"""Whether the series that decoded bars complete move as the true ones: spectra, two ways.

A spectrum needs bars side by side. So each price of each timeframe is completed first: decoded
where a bar is scored, the truth elsewhere. Only hidden bars that exist have a say, and all terms
are 0 where these are decoded right. Everything is computed in float32, as there is no Fourier
transform of bf16.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from stage1.data.batches import Batch

RESOLUTIONS = (8, 16, 32)
"""Bars per frame of the short-time Fourier transforms."""
EPSILON = 1e-2
"""Added to a magnitude before its logarithm, in normalised units: what the rounding of a price to
the tick leaves in a frame (of EUR/USD by the minute: a hundredth of a unit). Smaller magnitudes say
nothing, yet their logarithms would weigh most, and have gradients without bound."""
STILL = 1e-3
"""A completed series that moves by less than this share of the true one's movement has no spectrum
to correlate: its correlations fall to 0 in proportion instead of changing ever faster."""

Prices = Float[Tensor, "batch timeframe time channel"]
"""Normalised bars."""
Bars = Bool[Tensor, "batch timeframe time"]


class Distances(NamedTuple):
    """How far the spectra of two series are from each other."""

    amplitude: Tensor  # 1 less the correlation of the amplitudes, in [0, 1]
    phase: Tensor  # 1 less the correlation of the phases, in [0, 2]


def completed(decoded: Prices, targets: Prices, chosen: Bars) -> Prices:
    """The decoded bars where chosen, the true ones elsewhere, float32."""
    return torch.where(chosen.unsqueeze(-1), decoded.float(), targets.float())


def stft_loss(decoded: Prices, batch: Batch) -> Float[Tensor, ""]:
    """Multi-resolution STFT loss of the completed series.

    With S and Ŝ the magnitudes of the short-time Fourier transforms of the true and of the
    completed series (frames of n bars, every n / 4 bars, under a Hann window),
    loss = mean over n of ||S - Ŝ||_F / ||S||_F + mean |log(S + eps) - log(Ŝ + eps)|,
    norms and mean over all frames of all windows, timeframes and prices. A frame counts if its
    every bar exists; n counts if it has such a frame.

    Args:
        decoded: The completed series where a bar is scored.
        batch: Its windows.

    Returns:
        >= 0; exactly 0 where scored bars are decoded right, and 0 without a frame.

    Source:
        Yamamoto et al. 2020, "Parallel WaveGAN", section 2.2. There eps is no part of the formula,
        and the frames are those of sound.
    """
    truth, mine = batch.targets.float(), completed(decoded, batch.targets, batch.scored)
    total: Tensor = mine.new_zeros(())
    counted = 0
    for length in RESOLUTIONS:
        whole = _frames(batch.real, length).all(dim=-1)
        decoded_in = whole & _frames(batch.scored, length).any(dim=-1)
        counted += bool(whole.any())
        if decoded_in.any():  # there is no Fourier transform of nothing
            total = total + _stft_distance(truth, mine, whole, decoded_in, length=length)
    return total / max(counted, 1)


def _stft_distance(
    truth: Prices,
    mine: Prices,
    whole: Bool[Tensor, "batch timeframe frame"],
    decoded_in: Bool[Tensor, "batch timeframe frame"],
    *,
    length: int,
) -> Float[Tensor, ""]:
    """Spectral convergence and log distance of the whole frames.

    Only those with a decoded bar can differ, the others are there for their size and number.
    """
    window = torch.hann_window(length, device=truth.device)
    spectra = torch.fft.rfft(_frames(truth, length)[whole] * window)
    size = torch.linalg.vector_norm(torch.view_as_real(spectra))
    true, decoded = (
        torch.fft.rfft(_frames(one, length)[decoded_in] * window).abs() for one in (truth, mine)
    )
    convergence: Tensor = torch.linalg.vector_norm(true - decoded) / size.clamp_min(EPSILON)
    logs = ((true + EPSILON).log() - (decoded + EPSILON).log()).abs()
    log_distance: Tensor = logs.sum() / (whole.sum() * logs.shape[1:].numel())
    return convergence + log_distance


def _frames(values: Tensor, length: int) -> Tensor:
    """Views of `length` bars side by side, one every `length / 4`: (..., frame, ..., bar)."""
    if length > values.shape[2]:
        return values.new_zeros(*values.shape[:2], 0, *values.shape[3:], length)
    return values.unfold(2, length, length // 4)


def amplitude_phase_loss(decoded: Prices, batch: Batch) -> Float[Tensor, ""]:
    """Correlation of amplitudes and of phases between the true and the completed series.

    With X and Y the Fourier transforms of a price of a timeframe in a window, true and completed,
    each less its own mean over the real bars and 0 at padding,
    A = sum |X| |Y| / sqrt(sum |X|^2 sum |Y|^2),
    P = sum |X| |Y| cos(phase of X - phase of Y) / sum |X| |Y|,
    loss = mean over series of 1 - (A + P) / 2,
    sums over positive and negative frequencies. Then A P is the Pearson correlation of the two
    series, by Parseval's theorem. This is why each loses its own mean; a level that is wrong shows
    all the same, as a step from the visible bars to the decoded ones.

    Series without a scored bar, or whose truth is constant, do not count.

    Args:
        decoded: The completed series where a bar is scored.
        batch: The windows.

    Returns:
        In [0, 1.5]; exactly 0 where scored bars are decoded right, and 0 if no series counts.

    Source:
        Ours; the two factors of a correlation.
    """
    truth, mine = _scored_series(completed(decoded, batch.targets, batch.scored), batch)
    if not len(truth):
        return mine.sum()  # 0
    distances = spectral_distances(truth, mine)
    return (distances.amplitude + distances.phase).mean() / 2


def spectral_distances(
    truth: Float[Tensor, "series time"], mine: Float[Tensor, "series time"]
) -> Distances:
    """1 - A and 1 - P as in `amplitude_phase_loss`, of series of mean 0.

    They are computed as
    1 - A = sum (|X| / ||X|| - |Y| / ||Y||)^2 / 2 and
    1 - P = sum (|X - Y|^2 - (|X| - |Y|)^2) / 2 / sum |X| |Y|,
    the same but for rounding, which would leave something above or below 0 where X = Y.

    Args:
        truth: Not constant.
        mine: May be; then both correlations are 0.
    """
    x, y = _two_sided(truth), _two_sided(mine)
    amplitudes_x, amplitudes_y = x.abs(), y.abs()
    norm_x = torch.linalg.vector_norm(amplitudes_x, dim=-1, keepdim=True)
    norm_y = torch.linalg.vector_norm(amplitudes_y, dim=-1, keepdim=True)
    moves = (norm_y / (STILL * norm_x)).clamp_max(1).square().squeeze(-1)
    apart = amplitudes_x / norm_x - amplitudes_y / norm_y.maximum(STILL * norm_x)
    amplitude = (apart.square().sum(dim=-1) + 1 - moves) / 2

    shared = (amplitudes_x * amplitudes_y).sum(dim=-1)
    least = STILL * norm_x.squeeze(-1).square()
    turned = torch.view_as_real(x - y).square().sum(dim=-1) - (amplitudes_x - amplitudes_y).square()
    lost = turned.sum(dim=-1).clamp_min(0) / 2
    phase = lost / shared.maximum(least) + 1 - (shared / least).clamp_max(1)
    return Distances(amplitude, phase)


def spectral_delta(series: Prices, batch: Batch) -> float:
    """How far the amplitudes of completed series are from the true ones.

    With X and Y the Fourier transforms of the true and of the completed series as in
    `amplitude_phase_loss`, delta = sum | |Y| - |X| | / sum |X|, both sums over the frequencies from
    0 up and over all series with a scored bar. Interpolation loses the high frequencies.

    Args:
        series: Completed: decoded where hidden, the truth elsewhere.
        batch: The windows.

    Returns:
        >= 0, and 0 if the spectra are the same; NaN without such a series.

    Source:
        Ours.
    """
    truth, mine = _scored_series(series, batch)
    if not len(truth):
        return float("nan")
    x, y = torch.fft.rfft(truth).abs(), torch.fft.rfft(mine).abs()
    return float((y - x).abs().double().sum()) / float(x.double().sum())


def _scored_series(
    mine: Prices, batch: Batch
) -> tuple[Float[Tensor, "series time"], Float[Tensor, "series time"]]:
    """True and completed series of mean 0, of those with a scored bar and a truth that moves."""
    truth, there = _series(batch.targets, batch.real), batch.real.unsqueeze(2)
    highest = truth.masked_fill(~there, -torch.inf).amax(dim=-1)
    lowest = truth.masked_fill(~there, torch.inf).amin(dim=-1)
    counts = batch.scored.any(dim=-1).unsqueeze(2) & (lowest < highest)
    there = there.expand_as(truth)[counts]
    return _centred(truth[counts], there), _centred(_series(mine, batch.real)[counts], there)


def _series(prices: Prices, real: Bars) -> Float[Tensor, "batch timeframe channel time"]:
    """Each price along time, float32, 0 at padding."""
    return prices.float().masked_fill(~real.unsqueeze(-1), 0.0).transpose(2, 3)


def _centred(
    series: Float[Tensor, "series time"], real: Bool[Tensor, "series time"]
) -> Float[Tensor, "series time"]:
    """Less the mean of the real bars, 0 at padding."""
    mean = series.sum(dim=1, keepdim=True) / real.sum(dim=1, keepdim=True)
    return (series - mean).masked_fill(~real, 0.0)


def _two_sided(series: Float[Tensor, "series time"]) -> Tensor:
    """The spectrum from 0 up, weighted so that squares sum over negative frequencies too."""
    length = series.shape[-1]
    frequency = torch.arange(length // 2 + 1, device=series.device)
    own_mirror = (frequency == 0) | (2 * frequency == length)
    weighted: Tensor = torch.fft.rfft(series) * torch.where(own_mirror, 1.0, 2.0**0.5)
    return weighted
