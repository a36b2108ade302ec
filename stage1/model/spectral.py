"""Whether the series that decoded bars complete move as the true ones: spectra, two ways.

A spectrum needs bars side by side. So each price of each timeframe is completed first: decoded
where a bar is scored, the truth elsewhere. Only hidden bars that exist have a say, and all terms
are 0 where these are decoded right. Everything is computed in float32, as there is no Fourier
transform of bf16.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
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
    real = batch.real.unsqueeze(-1)
    mine = completed(decoded, batch.targets, batch.scored)
    truth, mine = (one.float().masked_fill(~real, 0.0) for one in (batch.targets, mine))
    distances, counted = mine.new_zeros(()), mine.new_zeros(())
    for length in RESOLUTIONS:
        if length > truth.shape[2]:
            continue
        places = _places_of_frames(batch.lengths, length, truth.device)
        if not len(places[0]):
            continue
        real_in, scored_in = (_frames(one, length)[places] for one in (batch.real, batch.scored))
        whole = real_in.all(dim=-1)
        differs = whole & scored_in.any(dim=-1)
        chosen = torch.arange(len(differs), device=truth.device)
        if truth.is_cpu and differs.any():  # on a GPU their number would have to be waited for
            chosen = chosen[differs]
        window = torch.hann_window(length, device=truth.device)
        true = torch.fft.rfft(_frames(truth, length)[places] * window).abs()
        in_mine = tuple(place[chosen] for place in places)
        decoded_in = torch.fft.rfft(_frames(mine, length)[in_mine] * window).abs()
        distances = distances + _stft_distance(
            true, decoded_in, chosen, whole=whole, differs=differs
        )
        counted = counted + whole.any()
    return distances / counted.clamp_min(1)


def _places_of_frames(
    lengths: Int[Tensor, "batch timeframe"], length: int, device: torch.device
) -> tuple[Tensor, ...]:
    """Window, timeframe and number of every frame that ends before the padding.

    They are counted on the CPU, so that a GPU is not waited for.
    """
    frames = (lengths - length).div(length // 4, rounding_mode="floor") + 1
    number = torch.arange(max(int(frames.max()), 0))
    places = (number < frames.unsqueeze(-1)).nonzero(as_tuple=True)
    return tuple(place.to(device, non_blocking=True) for place in places)


def _stft_distance(
    true: Float[Tensor, "frame channel frequency"],
    decoded: Float[Tensor, "some channel frequency"],
    chosen: Int[Tensor, " some"],
    *,
    whole: Bool[Tensor, " frame"],
    differs: Bool[Tensor, " frame"],
) -> Float[Tensor, ""]:
    """Spectral convergence and log distance of the whole frames; 0 without one.

    Only those with a decoded bar can differ, all of which are among the chosen; the others are
    there for their size and number.
    """
    size = torch.linalg.vector_norm(true * whole[:, None, None])
    true, apart = true[chosen], differs[chosen, None, None]
    convergence: Tensor = torch.linalg.vector_norm((true - decoded) * apart)
    logs = ((true + EPSILON).log() - (decoded + EPSILON).log()).abs() * apart
    count = whole.sum() * logs.shape[1:].numel()
    distance: Tensor = convergence / size.clamp_min(EPSILON) + logs.sum() / count.clamp_min(1)
    return distance


def _frames(values: Tensor, length: int) -> Tensor:
    """Views of `length` bars side by side, one every `length / 4`: (..., frame, ..., bar)."""
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
    truth, mine, counts = _scored_series(completed(decoded, batch.targets, batch.scored), batch)
    # Two equal series that move stand where none counts: their distance is 0, without a gradient.
    instead = torch.zeros_like(truth)
    instead[..., 0] = 1.0
    distances = spectral_distances(*(one.where(counts, instead) for one in (truth, mine)))
    return (distances.amplitude + distances.phase).sum() / 2 / counts.sum().clamp_min(1)


def spectral_distances(
    truth: Float[Tensor, "*series time"], mine: Float[Tensor, "*series time"]
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


def spectral_delta(series: Prices, batch: Batch) -> Float[Tensor, ""]:
    """How far the amplitudes of completed series are from the true ones.

    With X and Y the Fourier transforms of the true and of the completed series as in
    `amplitude_phase_loss`, delta = sum | |Y| - |X| | / sum |X|, both sums over the frequencies from
    0 up and over all series with a scored bar. Interpolation loses the high frequencies.

    Args:
        series: Completed: decoded where hidden, the truth elsewhere.
        batch: The windows.

    Returns:
        Float64, >= 0, and 0 if the spectra are the same; NaN without such a series.

    Source:
        Ours.
    """
    truth, mine, counts = _scored_series(series, batch)
    x, y = (torch.fft.rfft(one.where(counts, 0.0)).abs() for one in (truth, mine))
    delta: Tensor = (y - x).abs().double().sum() / x.double().sum()
    return delta


class _Series(NamedTuple):
    """True and completed series, each of mean 0, and which of them have a say."""

    truth: Float[Tensor, "batch timeframe channel time"]
    mine: Float[Tensor, "batch timeframe channel time"]
    counts: Bool[Tensor, "batch timeframe channel 1"]
    """True where a bar is scored and the truth moves."""


def _scored_series(mine: Prices, batch: Batch) -> _Series:
    truth, there = _series(batch.targets, batch.real), batch.real.unsqueeze(2)
    highest = truth.masked_fill(~there, -torch.inf).amax(dim=-1, keepdim=True)
    lowest = truth.masked_fill(~there, torch.inf).amin(dim=-1, keepdim=True)
    counts = batch.scored.any(dim=-1)[..., None, None] & (lowest < highest)
    centred = _centred(truth, there), _centred(_series(mine, batch.real), there)
    return _Series(*centred, counts)


def _series(prices: Prices, real: Bars) -> Float[Tensor, "batch timeframe channel time"]:
    """Each price along time, float32, 0 at padding."""
    return prices.float().masked_fill(~real.unsqueeze(-1), 0.0).transpose(2, 3)


def _centred(
    series: Float[Tensor, "batch timeframe channel time"],
    real: Bool[Tensor, "batch timeframe 1 time"],
) -> Float[Tensor, "batch timeframe channel time"]:
    """Less the mean of the real bars, 0 at padding."""
    mean = series.sum(dim=-1, keepdim=True) / real.sum(dim=-1, keepdim=True).clamp_min(1)
    return (series - mean).masked_fill(~real, 0.0)


def _two_sided(series: Float[Tensor, "*series time"]) -> Tensor:
    """The spectrum from 0 up, weighted so that squares sum over negative frequencies too."""
    length = series.shape[-1]
    frequency = torch.arange(length // 2 + 1, device=series.device)
    own_mirror = (frequency == 0) | (2 * frequency == length)
    weighted: Tensor = torch.fft.rfft(series) * torch.where(own_mirror, 1.0, 2.0**0.5)
    return weighted
