"""What every way writes down of a trial. Imports nothing heavy: all processes load it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

LEARNING_RATES = (1e-5, 1e-4)
"""Low ones: how far two ways that round differently come apart in a training depends on them."""


class Job(NamedTuple):
    """What one process with one way has to do."""

    folder: Path
    """Bars, language model, configuration and space, as `throughput_parts.inputs` writes them."""
    scratch: Path
    """Empty; for what the way writes by the way."""
    result: Path
    """JSON lines; a trial each."""
    workers: int
    """Trials at once."""


class Trial(NamedTuple):
    """One trial that has ended; times are unix seconds."""

    lr: float
    seed: int
    started: float
    first_step: float
    """When the validation before the first step was over."""
    ended: float
    val_loss: float
    """After the last epoch."""
    steps: int
    windows: int
    """That were trained on, with repetition."""
    parameters: int


def write_trial(result: Path, trial: Trial) -> None:
    """Append a line; short enough for several processes to do so at once."""
    with result.open("a") as file:
        file.write(json.dumps(trial._asdict()) + "\n")


def read_trials(result: Path) -> list[Trial]:
    """In the order of their ends."""
    trials = [Trial(**json.loads(line)) for line in result.read_text().splitlines()]
    return sorted(trials, key=lambda trial: trial.ended)
