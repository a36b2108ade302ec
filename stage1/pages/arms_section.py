"""How each arm did: end table, the plan's own numbers by epoch, time and memory."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from stage1.base.metric_table import CORRELATION, INTERPOLATION, LOSS
from stage1.claims.intervals import Values
from stage1.claims.scores import Scores
from stage1.pages.blocks import Block, Heading, Inline, Table, paragraph
from stage1.pages.numbers import number
from stage1.run.columns import DESIGN, STATUSES
from stage1.run.resolved_space import ResolvedSpace
from stage1.run.summary import baseline_value, full_horizon, progress, summarize_arms

PLAN_EPOCHS = (1, 3, 5)
"""At which the plan wants its numbers, apart from the early epoch and the end."""
_PEAKS = ("peak_rss_mb", "peak_vram_mb")
NOTE = (
    "Best, median and spread (standard deviation) are over the design's configurations that "
    "completed with every seed (configs), each by its mean over seeds. They describe this run; "
    "they do not test a difference between arms. Interpolation draws a straight line across the "
    "hidden bars."
)


def progress_text(trials: pd.DataFrame, space: ResolvedSpace) -> str:
    """How far the study has come, in one line without a full stop."""
    stages = progress(trials, space)
    ended = " and ".join(f"{p.ended} of {p.planned} {stage}" for stage, p in stages.items())
    if all(part.ended >= part.planned for part in stages.values()):
        return f"Ended: {ended} trials"
    return (
        f"Ended so far: {ended} trials; if the study does not run any more, the command that "
        "started it goes on with --resume"
    )


def end_rows(trials: pd.DataFrame, space: ResolvedSpace) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the end table: a row per arm and one for linear interpolation."""
    header = ["arm", "trials", "configs", "best", "median", "spread", "s / trial"]
    rows = [
        [
            str(row.Index),
            _counts({status: getattr(row, status) for status in STATUSES}),
            str(row.configurations),
            *(number(value) for value in (row.best, row.median, row.spread)),
            number(row.seconds, digits=1),
        ]
        for row in summarize_arms(trials, space).itertuples()
    ]
    baseline = number(baseline_value(trials, space.objective.metric))
    return header, [*rows, [INTERPOLATION, "", "", baseline, baseline, "", ""]]


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items() if count) or "none"


def arm_blocks(trials: pd.DataFrame, space: ResolvedSpace) -> list[Block]:
    """The section of the end table."""
    header, rows = end_rows(trials, space)
    cells: list[list[Inline]] = [[*row] for row in rows]
    return [
        Heading(f"{space.objective.metric} by arm"),
        Table(header, cells, numbers_from=2),
        paragraph(NOTE, note=True),
    ]


# The plan's own table -------------------------------------------------------------------------


def plan_epochs(horizon: int, *others: int) -> list[int]:
    """The epochs at which the plan wants its numbers, the end and others; none is beyond it."""
    return sorted(epoch for epoch in {*PLAN_EPOCHS, *others, horizon} if epoch <= horizon)


def plan_blocks(trials: pd.DataFrame, space: ResolvedSpace, scores: Scores) -> list[Block]:
    """The section of the plan's own numbers."""
    losses = {arm: np.exp(values) for arm, values in scores.log_loss.items()}
    return [
        Heading("The plan's table"),
        _by_epoch(CORRELATION, scores.correlation, trials, scores),
        _by_epoch(LOSS, losses, trials, scores),
        paragraph(
            "Means over the configurations and seeds of the design that count in every arm. A "
            "diverged trial counts with correlation 0 and the loss of predicting 0, and no loss "
            "counts for more than that.",
            note=True,
        ),
        _time_and_memory(trials, space),
        paragraph(
            "Of the design's completed trials: means, and for memory the largest peak of the "
            "process. Trials run beside each other and share the machine, so these seconds do not "
            "decide the claim on cost; steps that were timed on their own do.",
            note=True,
        ),
    ]


def _by_epoch(
    metric: str, by_arm: dict[str, Values], trials: pd.DataFrame, scores: Scores
) -> Table:
    horizon = int(scores.epochs[-1])
    epochs = plan_epochs(horizon, scores.early_epoch)
    names = {scores.early_epoch: " (early)", horizon: " (end)"}
    rows: list[list[Inline]] = [
        [arm, *(number(_mean(values[..., epoch])) for epoch in epochs)]
        for arm, values in by_arm.items()
    ]
    baseline = number(baseline_value(trials, metric))
    rows.append([INTERPOLATION, *([baseline] * len(epochs))])
    header = ["arm", *(f"{epoch}{names.get(epoch, '')}" for epoch in epochs)]
    return Table(header, rows, caption=f"{metric} after epoch", numbers_from=1)


def _mean(values: Values) -> float:
    """Of the finite ones; NaN without any."""
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if finite.size else math.nan


def _time_and_memory(trials: pd.DataFrame, space: ResolvedSpace) -> Table:
    by_arm = full_horizon(trials, space, [DESIGN]).groupby("arm")
    means, peaks = by_arm[["seconds", "seconds_per_step"]].mean(), by_arm[list(_PEAKS)].max()
    told = pd.DataFrame(
        {
            "seconds": means["seconds"],
            "step": 1000 * means["seconds_per_step"],
            **{column: peaks[column] for column in _PEAKS},
        }
    ).reindex(list(space.arms))
    rows: list[list[Inline]] = [
        [str(arm), *(number(v, digits=d) for v, d in zip(values, (1, 1, 0, 0), strict=True))]
        for arm, *values in told.itertuples()
    ]
    header = ["arm", "s / trial", "ms / step", "peak memory, MB", "peak GPU memory, MB"]
    return Table(header, rows, caption="Time and memory", numbers_from=1)
