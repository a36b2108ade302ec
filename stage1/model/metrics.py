"""How good decoded bars are: the metrics of a validation set, and sums over blocks of its time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from torch import Tensor

from stage1.base.metric_table import ALL_TIMEFRAMES, BASELINE_PREFIX, metric_row
from stage1.config import Config
from stage1.data.batches import Batch
from stage1.data.features import interpolate
from stage1.model.consistency import Comparison, compare, consistency_ratio
from stage1.model.losses import reconstruction_loss, total_loss
from stage1.model.spectral import completed, spectral_delta

Decoded = Float[Tensor, "batch timeframe time channel"]

MOST_BLOCKS = 32


class Score(NamedTuple):
    """How near decoded bars are to the true ones, over all scored bars of each timeframe."""

    correlation: Float[Tensor, "timeframe channel"]
    """Pearson's, in [-1, 1]; 0 where one side is constant, NaN without a scored bar."""
    squares: Float[Tensor, " timeframe"]
    """Sum of the squared errors."""
    bars: Int[Tensor, " timeframe"]
    """Scored bars."""


def score_of(
    decoded: Decoded, targets: Decoded, scored: Bool[Tensor, "batch timeframe time"]
) -> Score:
    """Compare with the truth in float64, where the bars are; their number is not waited for.

    `torchmetrics` has the same correlation, but asks a GPU how many bars there are, and five times
    more.
    """
    where = scored.unsqueeze(-1)
    mine, truth = (one.double() for one in (decoded, targets))
    over, bars = (0, 2), scored.sum(dim=(0, 2))
    squares = (mine - truth).masked_fill(~where, 0.0).square().sum(dim=(0, 2, 3))
    is_constant = torch.zeros((), dtype=torch.bool, device=where.device)
    deviations = []
    for one in (mine, truth):
        highest = one.masked_fill(~where, -torch.inf).amax(dim=over)
        lowest = one.masked_fill(~where, torch.inf).amin(dim=over)
        is_constant = is_constant | (highest == lowest)
        mean = one.masked_fill(~where, 0.0).sum(dim=over) / bars.unsqueeze(-1)
        deviations.append((one - mean.unsqueeze(1)).masked_fill(~where, 0.0))
    product = (deviations[0] * deviations[1]).sum(dim=over)
    norms = [torch.linalg.vector_norm(one, dim=over) for one in deviations]
    correlation = (product / norms[0] / norms[1]).clamp(-1, 1).masked_fill(is_constant, 0.0)
    return Score(correlation, squares, bars)


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
    comparisons = compare(whole, batch, config.data)
    return on_the_cpu(_evaluate(decoded, line, batch, config, whole, comparisons))


def on_the_cpu(metrics: Mapping[str, Tensor]) -> dict[str, float]:
    """The values of some metrics; a GPU is waited for once."""
    values = torch.stack([value.double() for value in metrics.values()]).tolist()
    return dict(zip(metrics, values, strict=True))


def _evaluate(
    decoded: Decoded,
    line: Decoded,
    batch: Batch,
    config: Config,
    whole: Decoded,
    comparisons: Iterable[Comparison],
) -> dict[str, Tensor]:
    return {
        "val_loss": total_loss(decoded, batch, config),
        **_correlations_and_skills(decoded, line, batch, config.data.timeframes),
        "consistency_ratio": consistency_ratio(comparisons, batch.hidden),
        "spectral_delta": spectral_delta(whole, batch),
    }


def _correlations_and_skills(
    decoded: Decoded, line: Decoded, batch: Batch, timeframes: tuple[str, ...]
) -> dict[str, Tensor]:
    mine, its = (score_of(one, batch.targets, batch.scored) for one in (decoded, line))
    own = mine.correlation.mean(dim=1)
    is_scored = mine.bars > 0
    metrics = {
        "val_correlation": own.where(is_scored, 0.0).sum() / is_scored.sum(),
        "val_skill": _skill(mine.squares.sum(), its.squares.sum()),
    }
    for name, correlation, skill in zip(
        timeframes, own, _skill(mine.squares, its.squares), strict=True
    ):
        metrics |= {f"val_corr_{name}": correlation, f"val_skill_{name}": skill}
    return metrics


def _skill(squares: Float[Tensor, "*of"], line_squares: Float[Tensor, "*of"]) -> Tensor:
    """1 - MSE / MSE of the line; NaN where the line is the truth."""
    return (1 - squares / line_squares).where(line_squares > 0, torch.nan)


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
    pooled = on_the_cpu(_evaluate(decoded, line, batch, config, whole, comparisons))
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
            "spectral_delta": float(spectral_delta(whole, of_timeframe)),
            "consistency_ratio": float(consistency_ratio(with_finer, batch.hidden)),
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
    return named | on_the_cpu({"zero_val_loss": total_loss(zeros, batch, config)})


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
    decoded: Decoded, batch: Batch, blocks: Int[Tensor, " batch"], *, count: int
) -> Float[Tensor, "timeframe channel block 6"]:
    """What correlations need, added up over the scored bars of each block.

    Args:
        decoded: Normalised bars.
        batch: What they are to be compared with.
        blocks: Of each window, from 0.
        count: How many blocks there are; on a GPU the largest number would have to be waited for.

    Returns:
        float64, for each timeframe, channel and block: number of bars, sum of the truth, of the
        decoded, of the truth squared, of the decoded squared, of the product.
    """
    where = batch.scored.unsqueeze(-1)
    truth, mine = (one.double().masked_fill(~where, 0.0) for one in (batch.targets, decoded))
    columns = (where.double().expand_as(truth), truth, mine, truth**2, mine**2, truth * mine)
    of_windows = torch.stack([one.sum(dim=2) for one in columns], dim=-1)  # (batch, timeframe, ...)
    sums = of_windows.new_zeros(count, *of_windows.shape[1:]).index_add(0, blocks, of_windows)
    return sums.permute(1, 2, 0, 3).contiguous()
