"""The rounds: every way in a process of its own, in rotating order."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
import threading
import time
from argparse import Namespace
from pathlib import Path
from typing import Any, NamedTuple

from throughput_parts.inputs import FULL, QUICK, Size, write_inputs
from throughput_parts.results import (
    Job,
    Round,
    check_same_work,
    profile_table,
    read_trials,
    throughput_table,
)

try:
    import psutil
except ModuleNotFoundError:  # the tests' group has it
    psutil = None

CHECKED = 2
"""Trials of each way before the clock starts."""


class Settings(NamedTuple):
    """What all rounds have in common."""

    size: Size
    trials: int
    workers: int
    precision: str


def run_rounds(options: Namespace) -> None:
    """All that a call without `--way` does."""
    size = QUICK if options.quick else FULL
    settings = Settings(size, options.trials, options.workers, options.precision)
    print(_title(settings, options.repeats), flush=True)
    with _scratch() as name:
        folder = Path(name)
        if not options.quick:  # every round is compared too
            _check(folder / "check", options.ways, settings)
        inputs = folder / "inputs"
        _write_inputs(inputs, settings)
        rounds = []
        for number in range(options.repeats):
            for way in _rotated(options.ways, number):
                rounds.append(_run_way(way, inputs, settings, number))
                _append_line(options.out, rounds[-1].row())
            differences = check_same_work(sorted(rounds[-len(options.ways) :]))
            print(f"round {number + 1}: {_differences_text(differences)}", file=sys.stderr)
        print(f"\n{throughput_table(rounds)}")
        if options.profile:
            rows = _run_profile(inputs, settings)
            _append_line(options.out, {"profile": rows})
            print(f"\n{profile_table(rows)}")


def _scratch() -> tempfile.TemporaryDirectory[str]:
    """A short name, since Ray makes sockets below it; Ray's last files may come while it goes."""
    return tempfile.TemporaryDirectory(prefix="tp", ignore_cleanup_errors=True)


def _title(settings: Settings, repeats: int) -> str:
    size = settings.size
    return (
        f"{settings.trials} trials of {size.epochs} epochs x {size.steps_per_epoch} steps of 8 "
        f"windows, {size.validation_windows} validation windows, T5 of 4 blocks {size.d_model} "
        f"wide, six timeframes of {size.seq_len} bars in patches of {size.patch_len}, "
        f"{settings.workers} workers of 1 thread, {settings.precision}; {repeats} rounds, median "
        "(smallest to largest)"
    )


def _check(folder: Path, ways: str, settings: Settings) -> None:
    """The ways compute the same thing, seen in a few trials."""
    few = settings._replace(trials=CHECKED)
    _write_inputs(folder, few)
    rounds = [_run_way(way, folder, few, 0) for way in sorted(ways)]
    print(f"check: {_differences_text(check_same_work(rounds))}", file=sys.stderr)


def _differences_text(differences: dict[str, float]) -> str:
    parts = [f"{way} {difference:.1e}" for way, difference in differences.items()]
    return f"val_loss is off by, relative: {', '.join(parts) or 'nothing to compare'}"


def _write_inputs(folder: Path, settings: Settings) -> None:
    write_inputs(folder, settings.size, trials=settings.trials, precision=settings.precision)


def _rotated(ways: str, number: int) -> str:
    """Who comes first changes, so that no way always runs on the machine that another left."""
    start = number % len(ways)
    return ways[start:] + ways[:start]


def _run_way(way: str, inputs: Path, settings: Settings, number: int) -> Round:
    with _scratch() as name:
        job = Job(inputs, Path(name), Path(name) / "trials.jsonl", settings.workers)
        began, peak = _run_process(way, job)
        trials = read_trials(job.result)
    done = Round(way, number, settings.precision, settings.workers, began, peak, trials)
    print(f"{way}: {len(trials)} trials in {done.whole:.1f} s", file=sys.stderr)
    return done


def _run_profile(inputs: Path, settings: Settings) -> list[dict[str, Any]]:
    with _scratch() as name:
        job = Job(inputs, Path(name), Path(name) / "profile.jsonl", settings.workers)
        _run_process("profile", job)
        return [json.loads(line) for line in job.result.read_text().splitlines()]


def _run_process(way: str, job: Job) -> tuple[float, float]:
    """When the process began, and the memory that it and its children had at most."""
    command = [sys.executable, str(Path(__file__).parents[1] / "throughput.py"), "--way", way]
    command += ["--folder", str(job.folder), "--scratch", str(job.scratch)]
    command += ["--result", str(job.result), "--workers", str(job.workers)]
    # One thread everywhere, no word to anybody outside, and Ray's workers as nice as all others.
    quiet = {"OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}
    quiet["RAY_TMPDIR"] = str(job.scratch)  # Lightning's own checkpoints would stay behind there
    log = job.scratch / "log"
    with log.open("w") as output:
        began = time.time()
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, env=os.environ | quiet
        )
        memory = PeakMemory(process.pid)
        memory.start()
        status = process.wait()
    memory.join()
    if status:
        raise SystemExit(f"way {way} ended with status {status}:\n{log.read_text()[-3000:]}")
    return began, memory.peak_mb


class PeakMemory(threading.Thread):
    """Looks once a second at the resident memory of a process and all below it."""

    def __init__(self, process: int) -> None:
        super().__init__(daemon=True)
        self.process = process
        self.peak_mb = math.nan if psutil is None else 0.0

    def run(self) -> None:
        if psutil is None:
            return
        while (now := self._now()) is not None:
            self.peak_mb = max(self.peak_mb, now)
            time.sleep(1)

    def _now(self) -> float | None:
        try:
            parent = psutil.Process(self.process)
            processes = [parent, *parent.children(recursive=True)]
        except psutil.NoSuchProcess:
            return None
        total = 0.0
        for process in processes:
            try:
                total += process.memory_info().rss / 1e6
            except psutil.NoSuchProcess:
                continue
        return total


def _append_line(out: Path | None, row: dict[str, Any]) -> None:
    if out is not None:
        with out.open("a") as file:
            file.write(json.dumps(row) + "\n")
