"""What the metrics of the validation set are called, and which way is better."""

from __future__ import annotations

from typing import Literal

LOWER_IS_BETTER = frozenset({"val_loss", "spectral_delta"})
"""Of all metrics; of the others higher is better."""


def metric_names(timeframes: tuple[str, ...]) -> list[str]:
    """Names of all metrics that a training reports."""
    pooled = ["val_loss", "val_correlation", "val_skill", "consistency_ratio", "spectral_delta"]
    return pooled + [f"val_{kind}_{name}" for kind in ("corr", "skill") for name in timeframes]


def better(metric: str) -> Literal["min", "max"]:
    """The direction in which one of `metric_names` improves."""
    return "min" if metric in LOWER_IS_BETTER else "max"
