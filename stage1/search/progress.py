"""What a person sees while a study runs: a live table in a terminal, a line per trial elsewhere."""

from __future__ import annotations

import math
import time
from itertools import islice
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from stage1.command import duration_text
from stage1.results import COMPLETED, DIVERGED, FAILED, SEARCH, STOPPED
from stage1.search.engine import StudyEngine
from stage1.search.trials import EndedTrial

STOPPED_SHARE = 0.5
"""What a search trial is expected to take of a full trial's time; halving stops most early."""


class Progress:
    """Shows an engine's state; use as a context manager.

    The live table is drawn by a thread of its own, which therefore looks at copies only.

    Args:
        engine: The study.
        console: Where to.
        workers: Trials that run at once, for the remaining time.
    """

    def __init__(self, engine: StudyEngine, console: Console, *, workers: int) -> None:
        self._engine, self._console, self._workers = engine, console, workers
        self._started = time.monotonic()
        self._shown, self._notes_shown = len(engine.ended), 0
        self._seconds = [t.seconds for t in engine.ended.values() if t.status == COMPLETED]
        self._live: Live | None = None
        if console.is_terminal:
            self._live = Live(
                get_renderable=self._table, console=console, refresh_per_second=1, transient=True
            )
        engine.observers.append(self._on_change)

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live:
            self._live.stop()

    def _on_change(self) -> None:
        while self._notes_shown < len(self._engine.notes):
            self._print(self._engine.notes[self._notes_shown])
            self._notes_shown += 1
        if len(self._engine.ended) > self._shown:
            for trial in list(islice(self._engine.ended.values(), self._shown, None)):
                self._shown += 1
                self._note(trial)

    def _note(self, trial: EndedTrial) -> None:
        if trial.status == COMPLETED:
            self._seconds.append(trial.seconds)
        if self._live:
            return
        done, total = len(self._engine.ended), self._engine.expected_trials()
        self._print(
            f"{duration_text(self._elapsed())} [{done}/{total}] {trial.spec.trial_id}: "
            f"{trial.status} at epoch {max(trial.curve, default=0)}, {self._metric()} "
            f"{trial.value:.4f}; remaining {self._remaining_text()}"
        )

    def _print(self, text: str) -> None:
        self._console.print(text, soft_wrap=True, highlight=False, markup=False)

    def _table(self) -> Group:
        engine = self._engine
        counts = engine.ended_by_status()
        table = Table(box=None, pad_edge=False)
        for column in ("done", "running", "stopped", "diverged", "failed", "elapsed", "remaining"):
            table.add_column(column, justify="right")
        table.add_row(
            f"{len(engine.ended)}/{engine.expected_trials()}",
            str(len(engine.running)),
            *(str(counts[status]) for status in (STOPPED, DIVERGED, FAILED)),
            duration_text(self._elapsed()),
            self._remaining_text(),
        )
        lines = [Text(self._best_text())]
        horizon = engine.study.space.horizon_epochs
        for running in list(engine.running.values()):
            state = "starting"
            if running.curve:
                row = running.curve[-1]
                value = row.get(self._metric(), math.nan)
                state = f"epoch {row['epoch']}/{horizon}  {value:.4f}"
            lines.append(Text(f"  {running.spec.trial_id}  {state}", style="dim"))
        return Group(table, *lines)

    def _metric(self) -> str:
        return self._engine.study.space.objective.metric

    def _best_text(self) -> str:
        done = [t for t in list(self._engine.ended.values()) if t.status == COMPLETED]
        if not done:
            return "best: no trial has reached the horizon yet"
        sign = 1 if self._engine.study.space.objective.mode == "max" else -1
        best = max(done, key=lambda trial: sign * trial.value)
        return f"best {self._metric()} {best.value:.4f}, arm {best.spec.arm} ({best.spec.trial_id})"

    def _elapsed(self) -> float:
        return time.monotonic() - self._started

    def _remaining_text(self) -> str:
        seconds = self.remaining_seconds()
        return "?" if seconds is None else duration_text(seconds)

    def remaining_seconds(self) -> float | None:
        """Expected time to the end of the study; None before the first full trial."""
        if not self._seconds:
            return None
        engine, mean = self._engine, sum(self._seconds) / len(self._seconds)
        stages = engine.ended_by_stage()
        left = engine.expected_by_stage()
        every = sum(max(count - stages[stage], 0) for stage, count in left.items())
        search = max(left[SEARCH] - stages[SEARCH], 0)
        work = mean * (every - search + search * STOPPED_SHARE)
        now = time.monotonic()
        begun = sum(now - running.begun for running in list(engine.running.values()))
        return max(work - begun, 0.0) / self._workers
