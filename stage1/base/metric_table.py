"""The metrics of the validation set: one row each, read by everything that names a metric.

`stage1.model.metrics` computes them. A metric that it computes and that has a row here has its
columns in the run folder, may be a study's objective, and is drawn, listed and explained.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

LOSS, CORRELATION, SKILL = "val_loss", "val_correlation", "val_skill"
BLOCKS = "blocks"
"""Key under which the row of an epoch holds the sums over blocks of validation time."""
INTERPOLATION = "interpolation"
"""What the baseline is called."""
INTERPOLATION_MEANING = "A straight line drawn across the hidden bars; learns nothing."
ALL_TIMEFRAMES = "all"
"""Stands for the timeframes together where metrics are given for each."""
BASELINE_PREFIX = "baseline_"
"""Begins the column of what interpolation reaches in a metric."""
USER_METRIC = "metric."
"""Begins the column of a metric that a user has written; its name comes after it."""

Scale = Literal["linear", "correlation", "log"]
"""How an axis spaces values: correlations by Fisher's z, losses by their logarithm."""


class Metric(NamedTuple):
    """A metric, or a family of one per timeframe if its name ends with `*`."""

    name: str
    """Its column in trials and curves, and its key in every table of metrics."""
    better: Literal["min", "max"]
    label: str
    """At the axis of a figure; `*` stands for the timeframe."""
    meaning: str
    """One sentence for a reader of the report."""
    heading: str = ""
    """Of its column in the table of an evaluation; empty = it has none there."""
    scale: Scale = "linear"
    """How an axis spaces it."""
    baseline: float | None = None
    """What linear interpolation reaches by definition; None = a column of trials says it."""
    added_later: bool = False
    """Tables of an earlier version are without it."""

    @property
    def is_family(self) -> bool:
        """Whether there is one of it per timeframe."""
        return self.name.endswith("*")

    def has(self, name: str) -> bool:
        """Whether a name is that of this metric, or of one of the family."""
        if not self.is_family:
            return name == self.name
        return name.startswith(self.name[:-1]) and len(name) >= len(self.name)


METRICS = (
    Metric(
        LOSS,
        "min",
        "validation loss",
        "The training objective on the validation windows; smaller is better.",
        scale="log",
    ),
    Metric(
        CORRELATION,
        "max",
        "validation correlation",
        "Pearson correlation of reconstructed and true hidden bars, pooled per timeframe and "
        "channel, then averaged; 1 is perfect.",
        heading="corr.",
        scale="correlation",
    ),
    Metric(
        SKILL,
        "max",
        "validation skill",
        "1 - MSE / MSE of linear interpolation; above 0 beats a straight line.",
        heading="skill",
        baseline=0.0,
    ),
    Metric(
        "val_corr_*",
        "max",
        "validation correlation of *",
        "val_correlation of one timeframe.",
        scale="correlation",
    ),
    Metric(
        "val_skill_*", "max", "validation skill of *", "val_skill of one timeframe.", baseline=0.0
    ),
    Metric(
        "consistency_ratio",
        "max",
        "consistency between timeframes",
        "Share of the coarse bars' values with hidden parts that agree with the finer bars beneath "
        "them, to a tenth of a standard deviation; says nothing about truth.",
        heading="consistency",
        added_later=True,
    ),
    Metric(
        "spectral_delta",
        "min",
        "error of the spectrum",
        "How far the amplitudes of reconstructed series are from the true ones, as a share of "
        "those; 0 is right, and interpolation is too smooth.",
        heading="spectrum",
        added_later=True,
    ),
)
"""In the order of their columns in the run folder."""
POOLED = tuple(metric for metric in METRICS if not metric.is_family)
"""Those of all timeframes together."""


def metric_names(timeframes: tuple[str, ...]) -> list[str]:
    """Names of all metrics that a training reports: the pooled ones, then those by timeframe."""
    families = [metric.name[:-1] for metric in METRICS if metric.is_family]
    by_timeframe = [prefix + name for prefix in families for name in timeframes]
    return [metric.name for metric in POOLED] + by_timeframe


def metric_row(name: str) -> Metric | None:
    """The row of a metric; None for a name that is none's."""
    return next((metric for metric in METRICS if metric.has(name)), None)


def metric_label(name: str) -> str:
    """A metric in words; a name that is none's as it is."""
    row = metric_row(name)
    if row is None:
        return name.removeprefix(USER_METRIC)
    return row.label.replace("*", name.removeprefix(row.name[:-1]))


def meanings(*names: str) -> dict[str, str]:
    """What metrics mean, by name, for a list of words."""
    rows = {metric.name: metric.meaning for metric in METRICS}
    return {name: rows[name] for name in names or [metric.name for metric in POOLED]}


def evaluation_key(name: str) -> str:
    """The key of a pooled metric where an evaluation gives it for each timeframe."""
    return name.removeprefix("val_")
