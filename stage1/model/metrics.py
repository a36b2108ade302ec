"""How good decoded bars are: the metrics of a validation set, and sums over blocks of its time."""

from __future__ import annotations

import warnings
from collections.abc import Iterable

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics.functional import pearson_corrcoef

from stage1.base.metric_table import ALL_TIMEFRAMES, BASELINE_PREFIX, metric_row
from stage1.config import Config
from stage1.data.batches import Batch
from stage1.data.features import interpolate
from stage1.model.consistency import Comparison, compare, consistency_ratio
from stage1.model.losses import reconstruction_loss, total_loss
from stage1.model.spectral import completed, spectral_delta

Decoded = Float[Tensor, "batch timeframe time channel"]

MOST_BLOCKS = 32


def correlations(
    decoded: Float[Tensor, "bars channel"], targets: Float[Tensor, "bars channel"]
) -> Float[Tensor, " channel"]:
    """Pearson correlation of each price over all bars, in [-1, 1]; 0 where one is constant."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The variance of predictions or target")
        result = pearson_corrcoef(decoded.double(), targets.double())
    constant = (decoded.amax(0) == decoded.amin(0)) | (targets.amax(0) == targets.amin(0))
    return torch.where(constant, torch.zeros_like(result), result)


def interpolated(batch: Batch) -> Decoded:
    """The baseline: linear interpolation between the bars that the model sees."""
    return interpolate(batch.targets, batch.hidden | ~batch.real)


def evaluate(decoded: Decoded, line: Decoded, batch: Batch, config: Config) -> dict[str, float]:
    """All metrics of one set of decoded windows.

    Args:
        decoded: Normalised bars.
        line: The windows as `interpolated`.
        batch: The windows.
        config: Of the training.

    Returns:
        `val_loss` (the training loss), `val_correlation` and `val_corr_<tf>` (Pearson per price,
        pooled over scored bars, then averaged over prices and timeframes), `val_skill` and
        `val_skill_<tf>` (1 - MSE / MSE of linear interpolation; 0 = no better than the line, at
        most 1), `consistency_ratio` (in [0, 1]) and `spectral_delta` (>= 0, 0 = the true spectrum),
        both of the windows with all hidden bars as decoded. What nothing can be said about is NaN.
        A timeframe without a scored bar is context: it has no correlation and no skill, and has no
        part in those of all.
    """
    whole = completed(decoded, batch.targets, batch.hidden)
    return _evaluate(decoded, line, batch, config, whole, compare(whole, batch, config.data))


def _evaluate(
    decoded: Decoded,
    line: Decoded,
    batch: Batch,
    config: Config,
    whole: Decoded,
    comparisons: Iterable[Comparison],
) -> dict[str, float]:
    return {
        "val_loss": float(total_loss(decoded, batch, config)),
        **_correlations_and_skills(decoded, line, batch, config.data.timeframes),
        "consistency_ratio": consistency_ratio(comparisons, batch.hidden),
        "spectral_delta": spectral_delta(whole, batch),
    }


def _correlations_and_skills(
    decoded: Decoded, line: Decoded, batch: Batch, timeframes: tuple[str, ...]
) -> dict[str, float]:
    metrics: dict[str, float] = {}
    error, line_error = 0.0, 0.0
    correlated = []
    for index, name in enumerate(timeframes):
        scored = batch.scored[:, index]
        truth, mine = batch.targets[:, index][scored], decoded[:, index][scored]
        correlation = float(correlations(mine, truth).mean()) if len(truth) else float("nan")
        squares = float((mine - truth).double().square().sum())
        line_squares = float((line[:, index][scored] - truth).double().square().sum())
        correlated += [correlation] if len(truth) else []
        metrics[f"val_corr_{name}"] = correlation
        metrics[f"val_skill_{name}"] = (
            1 - squares / line_squares if line_squares > 0 else float("nan")
        )
        error, line_error = error + squares, line_error + line_squares
    count = len(correlated)
    metrics["val_correlation"] = sum(correlated) / count if count else float("nan")
    metrics["val_skill"] = 1 - error / line_error if line_error > 0 else float("nan")
    return metrics


def evaluate_each(
    decoded: Decoded, line: Decoded, batch: Batch, config: Config
) -> dict[str, dict[str, float]]:
    """The metrics of each timeframe by itself, and those of `ALL_TIMEFRAMES`.

    The arguments are those of `evaluate`.

    Returns:
        By timeframe: `huber` (the loss's first term, >= 0); `correlation`, `skill` and
        `spectral_delta` as in `evaluate`; `consistency_ratio` with all finer timeframes, of a
        series with the finest, which itself has none. What nothing can be said about is NaN.
        `ALL_TIMEFRAMES` has `val_loss` too, the whole objective.
    """
    whole = completed(decoded, batch.targets, batch.hidden)
    comparisons = list(compare(whole, batch, config.data))
    pooled = _evaluate(decoded, line, batch, config, whole, comparisons)
    metrics = {
        ALL_TIMEFRAMES: {
            "val_loss": pooled["val_loss"],
            "huber": _huber(decoded, batch, config),
            "correlation": pooled["val_correlation"],
            "skill": pooled["val_skill"],
            "spectral_delta": pooled["spectral_delta"],
            "consistency_ratio": pooled["consistency_ratio"],
        }
    }
    for index, name in enumerate(config.data.timeframes):
        scored = torch.zeros_like(batch.scored)
        scored[:, index] = batch.scored[:, index]
        of_timeframe = batch._replace(scored=scored)
        with_finer = [one for one in comparisons if one.coarse == index]
        metrics[name] = {
            "huber": _huber(decoded, of_timeframe, config),
            "correlation": pooled[f"val_corr_{name}"],
            "skill": pooled[f"val_skill_{name}"],
            "spectral_delta": spectral_delta(whole, of_timeframe),
            "consistency_ratio": consistency_ratio(with_finer, batch.hidden),
        }
    return metrics


def _huber(decoded: Decoded, batch: Batch, config: Config) -> float:
    if not batch.scored.any():
        return float("nan")
    return float(reconstruction_loss(decoded, batch, delta=config.loss.huber_delta))


def evaluate_baselines(line: Decoded, batch: Batch, config: Config) -> dict[str, float]:
    """What no training changes: the metrics of linear interpolation, the loss of predicting 0.

    The arguments are those of `evaluate`.

    Returns:
        `baseline_<metric>` of the interpolation, but not where it is so by definition (skill 0);
        `zero_val_loss`, the `val_loss` that a training which has learned nothing has.
    """
    metrics = evaluate(line, line, batch, config)
    named = {
        BASELINE_PREFIX + name: value
        for name, value in metrics.items()
        if not ((row := metric_row(name)) and row.baseline is not None)
    }
    zeros = torch.zeros_like(batch.targets)
    return named | {"zero_val_loss": float(total_loss(zeros, batch, config))}


def blocks_of_windows(starts: NDArray[np.int64], ends: NDArray[np.int64]) -> NDArray[np.int64]:
    """The block of time in which each window ends.

    Blocks are equally long, the last one perhaps shorter. A block is at least as long as the
    longest window, so that windows of two blocks with another between them share no bar.

    Args:
        starts: (windows,) when the earliest bar of each window opens, unix seconds.
        ends: (windows,) when each window's last bar is completed, unix seconds.

    Returns:
        (windows,) from 0, at most `MOST_BLOCKS` different ones; a function of the windows alone,
        so that all trials with the same validation set share their blocks.

    Source:
        Ours.
    """
    first = int(ends.min())
    span = int(ends.max()) - first + 1
    longest = int((ends - starts).max())
    length = max(longest, -(-span // MOST_BLOCKS))
    return (ends - first) // length


def block_sums(
    decoded: Decoded, batch: Batch, blocks: Int[Tensor, " batch"]
) -> Float[Tensor, "timeframe channel block 6"]:
    """What correlations need, added up over the scored bars of each block.

    Args:
        decoded: Normalised bars.
        batch: What they are to be compared with.
        blocks: Of each window, from 0.

    Returns:
        float64, for each timeframe, channel and block: number of bars, sum of the truth, of the
        decoded, of the truth squared, of the decoded squared, of the product.
    """
    timeframes, channels = decoded.shape[1], decoded.shape[3]
    sums = torch.zeros(timeframes, int(blocks.max()) + 1, channels, 6, dtype=torch.float64)
    for index in range(timeframes):
        scored = batch.scored[:, index]
        truth = batch.targets[:, index][scored].double()  # (bars, channel)
        mine = decoded[:, index][scored].double()
        columns = (torch.ones_like(truth), truth, mine, truth**2, mine**2, truth * mine)
        block = blocks[:, None].expand_as(scored)[scored]
        sums[index].index_add_(0, block, torch.stack(columns, dim=-1))
    return sums.transpose(1, 2).contiguous()
