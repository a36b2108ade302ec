"""What a person sees while an experiment runs: a line per ended training, a bar in a terminal."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from stage1.base.terminal import duration_text, print_plain
from stage1.run.columns import COMPLETED
from stage1.study.trials import TrialSpec


class ExperimentProgress:
    """Counts epochs and trainings; use as a context manager.

    Args:
        console: Where to.
        left: Trainings that have not ended yet.
        total: Trainings of the whole experiment.
        epochs: Of a training.
        workers: Trainings at once.
    """

    def __init__(
        self, console: Console, left: Sequence[TrialSpec], *, total: int, epochs: int, workers: int
    ) -> None:
        self._console, self._total, self._epochs, self._workers = console, total, epochs, workers
        self._left = Counter(training.arm for training in left)
        self._seconds: dict[str, list[float]] = {}
        self._started = time.monotonic()
        self._bar = Progress(
            TextColumn("epochs"),
            BarColumn(),
            MofNCompleteColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("", total=len(left) * (epochs + 1))

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def on_epoch(self) -> None:
        """Count an epoch of the training that runs."""
        self._bar.advance(self._task)

    def on_end(self, row: dict[str, Any]) -> None:
        """Count an ended training and tell of it.

        Args:
            row: Of trials.parquet.
        """
        self._left[row["arm"]] -= 1
        if row["status"] == COMPLETED:
            self._seconds.setdefault(row["arm"], []).append(row["seconds"])
        ended = self._total - self._left.total()
        left_out = self._left.total() * (self._epochs + 1)
        task = self._bar.tasks[0]
        self._bar.update(self._task, completed=(task.total or 0) - left_out)
        print_plain(
            self._console,
            f"{duration_text(time.monotonic() - self._started)} [{ended}/{self._total}] "
            f"{row['arm']}, seed {row['seed']}: {_told(row)}; remaining {self._remaining()}",
        )

    def _remaining(self) -> str:
        seconds = self.remaining_seconds()
        return "?" if seconds is None else duration_text(seconds)

    def remaining_seconds(self) -> float | None:
        """Expected time to the end; None before the first training was completed."""
        every = [value for values in self._seconds.values() for value in values]
        if not every:
            return None
        expected = 0.0
        for name, count in self._left.items():
            known = self._seconds.get(name, every)
            expected += count * sum(known) / len(known)
        return expected / self._workers


def _told(row: dict[str, Any]) -> str:
    if row["status"] != COMPLETED:
        return f"{row['status']} at epoch {row['epochs']} ({row['error']})"
    return (
        f"{row['status']} at epoch {row['epochs']}, val_loss {row['val_loss']:.4f}, "
        f"val_correlation {row['val_correlation']:.4f}"
    )
