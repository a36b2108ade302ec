"""Memory and disk of a study, by formula; the constants were measured on finished run folders."""

from __future__ import annotations

from stage1.run.columns import BLOCK_SUMS, DESIGN, SEARCH
from stage1.study.study import Study

RAY_MB = 900
"""Memory of the command itself and of Ray's own processes, pages that they share counted once."""
_TABLE_BYTES = 10_000
"""Of a Parquet file's description, whatever its rows."""
_NUMBER_BYTES = 10
"""Of a number in a Parquet file of curves, names and ids shared out."""
_TRIAL_BYTES = 400
"""Of a row of trials.parquet; most of it fingerprints."""
_BLOCK_NUMBER_BYTES = 5
"""Of a number in blocks.parquet."""
_EVENT_BYTES = 53
"""Of a number in TensorBoard's files."""
_RUN_BYTES = 1_100
"""Of TensorBoard's two files per trial, whatever they hold."""
_JOURNAL_BYTES = 300
"""Of a line of Optuna's journal."""
_REPORT_BYTES = 3_000_000
"""Of report.md, report.html and the figures."""


def memory_mb(worker_mb: float, *, workers: int, shared_bytes: int) -> float:
    """Resident memory of the whole study on one machine, in MB.

    Args:
        worker_mb: Peak of one trial.
        workers: Trials at once.
        shared_bytes: Of bars and language models, which lie in the object store and in the command.
    """
    return workers * worker_mb + RAY_MB + 2 * shared_bytes / 2**20


def disk_bytes(study: Study, trials: dict[str, int], *, blocks: int) -> int:
    """Size of the finished run folder, in bytes; what search trials would save is not taken off.

    Args:
        study: Checked.
        trials: By stage.
        blocks: Blocks of validation time, as `stage1.model.metrics` cuts them.
    """
    timeframes, every = len(study.config.data.timeframes), sum(trials.values())
    points = every * (study.space.horizon_epochs + 1)
    numbers = 5 + 2 * timeframes  # three losses and metrics, two per timeframe, lr and time
    series = timeframes * len(study.config.data.channel_names)
    in_blocks = trials[DESIGN] * len(study.block_epochs) * series * blocks
    journal_lines = trials[SEARCH] * (study.space.horizon_epochs + len(study.space.space) + 3)
    journal_lines += trials[DESIGN] // study.space.design.seeds
    return sum(
        (
            4 * _TABLE_BYTES,
            every * _TRIAL_BYTES,
            points * numbers * _NUMBER_BYTES,
            in_blocks * len(BLOCK_SUMS) * _BLOCK_NUMBER_BYTES,
            every * _RUN_BYTES + points * numbers * _EVENT_BYTES,
            journal_lines * _JOURNAL_BYTES,
            _REPORT_BYTES,
        )
    )
