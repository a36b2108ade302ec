"""Writes the rows of ended trials in a thread, so that the study does not wait for the disk."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from threading import Event
from typing import Any, Self

from stage1.run.folder import RunFolder
from stage1.run.tables import RunWriter
from stage1.study.resume import StartedTrials
from stage1.study.trials import TrialSpec
from stage1.workers.tensorboard import write_trial

INTERVAL = 1.0
"""Least seconds between two writings of the tables. A writing takes longer as the study grows, so
one for each trial would become slower and slower."""


Row = dict[str, Any]
"""A row of trials.parquet, by column."""


class Recorder:
    """Takes ended trials at once and has them on disk within two seconds.

    Until then they count as begun: a study that is killed goes on with them, from their last state.
    Use as a context manager; all is written when the block ends, however it does.

    Args:
        run: The run folder; perhaps with trials of earlier sessions.
        on_trial_end: Takes the row of every ended trial, in the thread that adds it.

    Raises:
        ResultsError: What is there cannot be read.
    """

    def __init__(self, run: RunFolder, on_trial_end: Callable[[Row], None] | None = None) -> None:
        self._on_trial_end = on_trial_end
        self._run, self._tables, self._started = run, RunWriter(run), StartedTrials(run.begun)
        self._started.remove(self._tables.trial_ids)  # killed between the two writings
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="recorder")
        self._jobs: list[Future[None]] = []
        self._waiting: list[tuple[dict[str, Any], list[dict[str, Any]]]] = []
        self._writing_is_due = self._failed = False
        self._written = time.monotonic() - INTERVAL
        self._closing = Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._closing.set()
        self._thread.shutdown()
        if error is None or isinstance(error, KeyboardInterrupt | SystemExit):
            self.check()

    def begin(self, spec: TrialSpec) -> None:
        """Note a trial that begins, on disk."""
        self._started.add(spec)

    def begin_again(self, specs: Sequence[TrialSpec]) -> None:
        """Take trials out of the tables, before any other is added: they count as begun."""
        for spec in specs:
            self._started.add(spec)
        self._tables.remove([spec.trial_id for spec in specs])

    def add_trial(
        self,
        row: dict[str, Any],
        curve: list[dict[str, Any]],
        blocks: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        """Take an ended trial; raises what `RunWriter.add` does."""
        self._tables.add(row, curve, blocks)
        if self._on_trial_end is not None:
            self._on_trial_end(dict(row))
        self._waiting.append((row, curve))
        if not self._writing_is_due:
            self._writing_is_due = True
            self.submit(self._write)

    def submit(self, job: Callable[[], None]) -> None:
        """Have the thread do something, after all that was submitted before."""
        self._jobs.append(self._thread.submit(self._unless_failed, job))

    def _unless_failed(self, job: Callable[[], None]) -> None:
        """After a failure nothing more is done: a state is removed only once its row is written."""
        if self._failed:
            return
        try:
            job()
        except BaseException:
            self._failed = True
            raise

    def flush(self) -> None:
        """Wait until all that was taken is on disk; raises as `check`."""
        wait(self._jobs)
        self.check()

    def check(self) -> None:
        """Raise the OSError of a file that the thread could not write, if there is one."""
        while self._jobs and self._jobs[0].done():
            error = self._jobs.pop(0).exception()
            if error is not None:
                raise error

    def _write(self) -> None:
        self._closing.wait(max(self._written + INTERVAL - time.monotonic(), 0))
        self._writing_is_due = False
        trials, self._waiting = self._waiting, []
        for row, curve in trials:
            write_trial(self._run.tensorboard, row, curve)
        self._tables.save()
        self._written = time.monotonic()
        self._started.remove([row["trial_id"] for row, _ in trials])
