"""How good decoded bars are, on the scored bars of the validation set."""

from __future__ import annotations

import warnings
from itertools import compress

import torch
from jaxtyping import Float
from torch import Tensor
from torchmetrics.functional import pearson_corrcoef

from stage1.config import Config
from stage1.data.batches import Batch
from stage1.data.features import interpolate
from stage1.model.losses import total_loss
from stage1.timeframes import MINUTES


def metric_names(timeframes: tuple[str, ...]) -> list[str]:
    """Names of all metrics that `evaluate` gives."""
    pooled = ["val_loss", "val_correlation", "val_skill"]
    return pooled + [f"val_{kind}_{name}" for kind in ("corr", "skill") for name in timeframes]


def correlations(
    decoded: Float[Tensor, "bars 4"], targets: Float[Tensor, "bars 4"]
) -> Float[Tensor, "4"]:
    """Pearson correlation of each price over all bars, in [-1, 1]; 0 where one is constant."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The variance of predictions or target")
        result = pearson_corrcoef(decoded.double(), targets.double())
    constant = (decoded.amax(0) == decoded.amin(0)) | (targets.amax(0) == targets.amin(0))
    return torch.where(constant, torch.zeros_like(result), result)


def evaluate(
    decoded: Float[Tensor, "batch timeframe time 4"], batch: Batch, config: Config
) -> dict[str, float]:
    """All metrics of one set of decoded windows.

    Returns:
        `val_loss` (the training loss), `val_correlation` and `val_corr_<tf>` (Pearson per price,
        pooled over scored bars, then averaged over prices and timeframes), `val_skill` and
        `val_skill_<tf>` (1 - MSE / MSE of linear interpolation; 0 = no better than the line, at
        most 1). A timeframe without a scored bar is context: its own metrics are NaN, and it is
        left out of the others.
    """
    names = config.data.timeframes
    minutes = tuple(MINUTES[name] for name in names)
    line = interpolate(batch.targets, batch.hidden)
    metrics = {"val_loss": float(total_loss(decoded, batch, config.loss, minutes))}
    squared, squared_line = 0.0, 0.0
    is_scored = [bool(batch.scored[:, index].any()) for index in range(len(names))]
    for index, name in enumerate(names):
        scored = batch.scored[:, index]
        truth, mine = batch.targets[:, index][scored], decoded[:, index][scored]
        correlation = float(correlations(mine, truth).mean()) if is_scored[index] else float("nan")
        metrics[f"val_corr_{name}"] = correlation
        own = float((mine - truth).double().square().sum())
        its = float((line[:, index][scored] - truth).double().square().sum())
        metrics[f"val_skill_{name}"] = 1 - own / its if its > 0 else float("nan")
        squared, squared_line = squared + own, squared_line + its
    per_timeframe = [metrics[f"val_corr_{name}"] for name in compress(names, is_scored)]
    count = len(per_timeframe)
    metrics["val_correlation"] = sum(per_timeframe) / count if count else float("nan")
    metrics["val_skill"] = 1 - squared / squared_line if squared_line > 0 else float("nan")
    return metrics


def zero_loss(batch: Batch, config: Config) -> float:
    """The `val_loss` of predicting 0 everywhere, which a training that has learned nothing has."""
    minutes = tuple(MINUTES[name] for name in config.data.timeframes)
    return float(total_loss(torch.zeros_like(batch.targets), batch, config.loss, minutes))


def evaluate_baseline(batch: Batch, config: Config) -> dict[str, float]:
    """The same metrics of linear interpolation, as `baseline_<metric>`; its skill is 0."""
    metrics = evaluate(interpolate(batch.targets, batch.hidden), batch, config)
    return {f"baseline_{name}": value for name, value in metrics.items() if "skill" not in name}
