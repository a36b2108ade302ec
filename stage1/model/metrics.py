"""How good decoded bars are, on the validation set."""

from __future__ import annotations

import warnings

import torch
from jaxtyping import Float
from torch import Tensor
from torchmetrics.functional import pearson_corrcoef

from stage1.base.metric_table import BASELINE_PREFIX, metric_row
from stage1.config import Config
from stage1.data.batches import Batch
from stage1.data.features import interpolate, kind_of
from stage1.model.consistency import compare, consistency_ratio
from stage1.model.losses import reconstruction_loss, total_loss
from stage1.model.spectral import completed, spectral_delta


def correlations(
    decoded: Float[Tensor, "bars channel"], targets: Float[Tensor, "bars channel"]
) -> Float[Tensor, " channel"]:
    """Pearson correlation of each price over all bars, in [-1, 1]; 0 where one is constant."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The variance of predictions or target")
        result = pearson_corrcoef(decoded.double(), targets.double())
    constant = (decoded.amax(0) == decoded.amin(0)) | (targets.amax(0) == targets.amin(0))
    return torch.where(constant, torch.zeros_like(result), result)


def evaluate(
    decoded: Float[Tensor, "batch timeframe time channel"], batch: Batch, config: Config
) -> dict[str, float]:
    """All metrics of one set of decoded windows.

    Returns:
        `val_loss` (the training loss), `val_correlation` and `val_corr_<tf>` (Pearson per price,
        pooled over scored bars, then averaged over prices and timeframes), `val_skill` and
        `val_skill_<tf>` (1 - MSE / MSE of linear interpolation; 0 = no better than the line, at
        most 1), `consistency_ratio` (in [0, 1]) and `spectral_delta` (>= 0, 0 = the true spectrum),
        both of the windows with all hidden bars as decoded. What nothing can be said about is NaN.
        A timeframe without a scored bar is context: it has no correlation and no skill, and has no
        part in those of all.
    """
    minutes, kind = config.data.minutes, kind_of(config.data)
    metrics = {"val_loss": float(total_loss(decoded, batch, config.loss, minutes, kind))}
    metrics |= _of_scored_bars(decoded, batch, config.data.timeframes)
    whole = completed(decoded, batch.targets, batch.hidden)
    comparisons = compare(whole, batch.open_time, batch.center, batch.scale, minutes, kind)
    metrics["consistency_ratio"] = consistency_ratio(comparisons, batch.hidden)
    metrics["spectral_delta"] = spectral_delta(
        decoded, batch.targets, hidden=batch.hidden, scored=batch.scored, real=batch.real
    )
    return metrics


ALL = "all"
"""Stands for the timeframes together in `evaluate_each`."""


def evaluate_each(
    decoded: Float[Tensor, "batch timeframe time channel"], batch: Batch, config: Config
) -> dict[str, dict[str, float]]:
    """The metrics of each timeframe by itself, and those of `ALL`.

    Returns:
        By timeframe: `huber` (the loss's first term, >= 0); `correlation`, `skill` and
        `spectral_delta` as in `evaluate`; `consistency_ratio` with all finer timeframes, of a
        series with the finest, which itself has none. What nothing can be said about is NaN.
        `ALL` has `val_loss` too, the whole objective.
    """
    pooled = evaluate(decoded, batch, config)
    whole = completed(decoded, batch.targets, batch.hidden)
    minutes, kind = config.data.minutes, kind_of(config.data)
    comparisons = compare(whole, batch.open_time, batch.center, batch.scale, minutes, kind)
    compared = list(comparisons)
    found = {
        ALL: {
            "val_loss": pooled["val_loss"],
            "huber": _huber(decoded, batch, batch.scored, config),
            "correlation": pooled["val_correlation"],
            "skill": pooled["val_skill"],
            "spectral_delta": pooled["spectral_delta"],
            "consistency_ratio": pooled["consistency_ratio"],
        }
    }
    for index, name in enumerate(config.data.timeframes):
        scored = torch.zeros_like(batch.scored)
        scored[:, index] = batch.scored[:, index]
        own = [one for one in compared if one.coarse == index]
        found[name] = {
            "huber": _huber(decoded, batch, scored, config),
            "correlation": pooled[f"val_corr_{name}"],
            "skill": pooled[f"val_skill_{name}"],
            "spectral_delta": spectral_delta(
                decoded, batch.targets, hidden=batch.hidden, scored=scored, real=batch.real
            ),
            "consistency_ratio": consistency_ratio(own, batch.hidden),
        }
    return found


def _huber(decoded: Tensor, batch: Batch, scored: Tensor, config: Config) -> float:
    if not scored.any():
        return float("nan")
    delta = config.loss.huber_delta
    return float(reconstruction_loss(decoded, batch.targets, scored, delta=delta))


def _of_scored_bars(decoded: Tensor, batch: Batch, timeframes: tuple[str, ...]) -> dict[str, float]:
    """Correlations and skills."""
    metrics: dict[str, float] = {}
    line = interpolated(batch)
    squared, squared_line = 0.0, 0.0
    correlated = []
    for index, name in enumerate(timeframes):
        scored = batch.scored[:, index]
        truth, mine = batch.targets[:, index][scored], decoded[:, index][scored]
        correlation = float(correlations(mine, truth).mean()) if len(truth) else float("nan")
        own = float((mine - truth).double().square().sum())
        its = float((line[:, index][scored] - truth).double().square().sum())
        correlated += [correlation] if len(truth) else []
        metrics[f"val_corr_{name}"] = correlation
        metrics[f"val_skill_{name}"] = 1 - own / its if its > 0 else float("nan")
        squared, squared_line = squared + own, squared_line + its
    count = len(correlated)
    metrics["val_correlation"] = sum(correlated) / count if count else float("nan")
    metrics["val_skill"] = 1 - squared / squared_line if squared_line > 0 else float("nan")
    return metrics


def interpolated(batch: Batch) -> Tensor:
    """The baseline, from the bars that the model sees."""
    return interpolate(batch.targets, batch.hidden | ~batch.real)


def zero_loss(batch: Batch, config: Config) -> float:
    """The `val_loss` of predicting 0 everywhere, which a training that has learned nothing has."""
    zeros = torch.zeros_like(batch.targets)
    kind = kind_of(config.data)
    return float(total_loss(zeros, batch, config.loss, config.data.minutes, kind))


def evaluate_baseline(batch: Batch, config: Config) -> dict[str, float]:
    """The same metrics of linear interpolation, as `baseline_<metric>`; its skill is 0."""
    metrics = evaluate(interpolated(batch), batch, config)
    by_definition = {
        name for name in metrics if (row := metric_row(name)) and row.baseline is not None
    }
    return {
        BASELINE_PREFIX + name: value
        for name, value in metrics.items()
        if name not in by_definition
    }
