"""Where the seconds of a trial on stage1's engine go: its functions timed from outside."""

from __future__ import annotations

import gc
import json
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ray import tune

import stage1.model.stage1_model
import stage1.training.fit
import stage1.workers.launch
from stage1.data.batches import MarketWindows
from stage1.run.folder import RunFolder
from stage1.training.module import Stage1Module
from stage1.workers.states import TrialStates
from stage1.workers.trainable import SharedInputs, train_trial
from throughput_parts.results import Job
from throughput_parts.stage1 import run_engine

REST = "rest: Lightning's loops, metrics of the process"
CALLS: list[tuple[Any, str, str]] = [
    (gc, "collect", "clearing up behind the last trial"),
    (SharedInputs, "windows", "data"),
    (MarketWindows, "plan_epoch", "data"),
    (MarketWindows, "validation_batches", "data"),
    (SharedInputs, "language_model", "weights"),
    (stage1.model.stage1_model, "build_t5", "weights"),
    (stage1.training.fit, "build_model", "model build"),
    (Stage1Module, "configure_optimizers", "model build"),
    (Stage1Module, "training_step", "steps"),
    (Stage1Module, "validation_step", "validation"),
    (Stage1Module, "on_validation_epoch_end", "validation"),
    (TrialStates, "fetch", "checkpoint"),
    (TrialStates, "save", "checkpoint"),
    (tune, "report", "reporting"),
]
"""Whose, which function, which part of a trial; a call inside another counts for its own part."""


class PartClock:
    """Seconds by part; what one part calls of another counts for the other alone.

    Only the trial's own thread counts: what is done beside it takes none of its time.
    """

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self.installed = False
        self.thread = 0
        self._inside: list[float] = []

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        if threading.get_ident() != self.thread:
            yield
            return
        began = time.perf_counter()
        self._inside.append(0.0)
        try:
            yield
        finally:
            whole = time.perf_counter() - began
            self.seconds[name] += whole - self._inside.pop()
            if self._inside:
                self._inside[-1] += whole

    def timed(self, function: Callable[..., Any], name: str) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            with self.part(name):
                return function(*arguments, **named)

        return call

    def timed_batches(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """For the one generator: its work is done when a batch is asked for."""

        def call(*arguments: Any, **named: Any) -> Iterator[Any]:
            batches = function(*arguments, **named)
            while True:
                with self.part("data"):
                    batch = next(batches, None)
                if batch is None:
                    return
                yield batch

        return call


CLOCK = PartClock()


def _install() -> None:
    """Once per process."""
    if CLOCK.installed:
        return
    CLOCK.installed = True
    for owner, name, part in CALLS:
        setattr(owner, name, CLOCK.timed(getattr(owner, name), part))
    MarketWindows.training_batches = CLOCK.timed_batches(MarketWindows.training_batches)


def profiled_trial(settings: dict[str, Any], profiles: str, **inputs: Any) -> None:
    """In place of `train_trial`, around it; the scheduler may end it at the last report."""
    entered = time.time()
    _install()
    CLOCK.thread = threading.get_ident()
    before = Counter(CLOCK.seconds)
    try:
        train_trial(settings, **inputs)
    finally:
        left = time.time()
        parts = {part: CLOCK.seconds[part] - before[part] for _, _, part in CALLS}
        parts[REST] = left - entered - sum(parts.values())
        row = {"process": os.getpid(), "entered": entered, "left": left, "parts": parts}
        with Path(profiles).open("a") as file:
            file.write(json.dumps(row) + "\n")


def run(job: Job) -> None:
    """The study of way a with clocks in its workers; writes a line per part."""
    profiles = job.scratch / "profiles.jsonl"

    def trial_with_path(settings: dict[str, Any], **inputs: Any) -> None:
        profiled_trial(settings, str(profiles), **inputs)

    stage1.workers.launch.train_trial = trial_with_path
    stood = run_engine(job, RunFolder(job.scratch / "run"))
    rows = [json.loads(line) for line in profiles.read_text().splitlines()]
    rows.sort(key=lambda row: row["entered"])
    previous: dict[int, float] = {}
    for row in rows:
        process = row.pop("process")
        row["is_first"] = process not in previous
        start = "start of the worker" if row["is_first"] else "idle: between trials"
        row["parts"] = {start: row["entered"] - previous.get(process, stood), **row["parts"]}
        previous[process] = row["left"]
    job.result.write_text("".join(json.dumps(row) + "\n" for row in rows))
