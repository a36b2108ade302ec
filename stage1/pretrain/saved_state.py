"""A training from its start to its end or interruption: its plan, saved state and progress.

`StateKeeper` evaluates, saves and ends; `StepProgress` shows it to a person; `quiet` keeps away
what Lightning and transformers would add.
"""

from __future__ import annotations

import logging
import math
import shutil
import signal
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pytorch_lightning as lightning
from pytorch_lightning.callbacks import Callback
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from transformers.utils import logging as transformers_logging

from stage1.base.checkpoints import load_checkpoint
from stage1.base.errors import ResultsError
from stage1.base.files import atomic_path

STATE_FILE = "training_state.ckpt"
EVALUATIONS = 20

Size = Literal["nano", "micro", "mini"]
Precision = Literal["32-true", "bf16-mixed"]
Accelerator = Literal["cpu", "gpu"]


class Plan(NamedTuple):
    """What decides the weights: on one computer, two trainings with the same plan are one."""

    size: Size
    steps: int
    seed: int
    corpus_sha256: str
    accelerator: Accelerator = "cpu"
    precision: Precision = "32-true"
    threads: int = 2
    """Of the CPU."""


class Saved(NamedTuple):
    """What a state file says of its training, the tensors aside."""

    plan: Plan
    step: int
    seconds: float
    """Spent on training so far, over all sessions."""
    vocabulary_sha256: str
    """Of the vocabulary it began with."""


def read_state(state: Path) -> Saved:
    """Read the plan of an unfinished training and how far it got.

    Raises:
        ResultsError: The file cannot be read, or is not a state of this command.
    """
    stored = load_checkpoint(state, made_by="stage1.pretrain")
    try:
        return Saved(
            Plan(**stored["plan"]),
            int(stored["global_step"]),
            float(stored["seconds"]),
            str(stored["vocabulary_sha256"]),
        )
    except (KeyError, TypeError) as error:
        raise ResultsError(
            f"{state}: must be a state that stage1.pretrain saved, got {type(error).__name__} on "
            "reading it; begin again in another --out"
        ) from None


def remove_state(folder: Path) -> None:
    """Remove the state of a training that is finished, and what a killed session was writing."""
    for half_written in folder.glob(f".{STATE_FILE}.*"):
        shutil.rmtree(half_written)
    (folder / STATE_FILE).unlink()


def check_plan(saved: Plan, requested: Plan) -> None:
    """Refuse to go on with another training than the saved one.

    Raises:
        ResultsError: Something differs; names all that does.
    """
    faults = [
        f"--{name} must be {getattr(saved, name)} as when it began, got {getattr(requested, name)}"
        for name in ("size", "steps", "seed", "accelerator", "precision", "threads")
        if getattr(saved, name) != getattr(requested, name)
    ]
    if saved.corpus_sha256 != requested.corpus_sha256:
        faults.append("the corpus must be the one it began with, got other text")
    if faults:
        raise ResultsError(f"--resume: {'; '.join(faults)}; or begin another training without it")


class StateKeeper(Callback):
    """Evaluates and saves at equal distances; ends the training when its time is up or on Ctrl-C.

    One callback does all of it because the order matters: a state holds the evaluation of its own
    step, and a training that ends early has saved the step it ended at. Ctrl-C ends the training
    at the end of a step, since in the middle of one the weights may be half updated; a second one
    does not wait.
    """

    def __init__(
        self,
        state: Path,
        plan: Plan,
        *,
        vocabulary_sha256: str,
        budget: timedelta | None,
        seconds: float = 0.0,
    ) -> None:
        self.state, self.plan, self.vocabulary_sha256 = state, plan, vocabulary_sha256
        self.seconds_before, self.started = seconds, time.monotonic()
        self.budget_seconds = math.inf if budget is None else budget.total_seconds()
        self.interrupted = False

    @property
    def seconds(self) -> float:
        """Since this session's training began."""
        return time.monotonic() - self.started

    def on_train_batch_end(
        self, trainer: lightning.Trainer, module: Any, outputs: Any, batch: Any, batch_index: int
    ) -> None:
        """Evaluate, save and end, in this order, what is due after this step."""
        step, steps = trainer.global_step, self.plan.steps
        due = step * EVALUATIONS // steps > (step - 1) * EVALUATIONS // steps
        ending = self.interrupted or self.seconds >= self.budget_seconds
        if due:
            module.evaluate()
        if due or ending:
            with atomic_path(self.state) as path:
                trainer.save_checkpoint(path, weights_only=False)
        if ending:
            trainer.should_stop = True

    def on_save_checkpoint(
        self, trainer: lightning.Trainer, module: Any, checkpoint: dict[str, Any]
    ) -> None:
        """Add the plan to the state, by which `--resume` knows whose it is."""
        checkpoint["plan"] = self.plan._asdict()
        checkpoint["seconds"] = self.seconds_before + self.seconds
        checkpoint["vocabulary_sha256"] = self.vocabulary_sha256

    @contextmanager
    def listening(self) -> Iterator[None]:
        """End the training on Ctrl-C inside the block; the old handler is restored afterwards."""
        before = signal.signal(signal.SIGINT, self._interrupt)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    def _interrupt(self, number: int, frame: object) -> None:
        self.interrupted = True
        signal.signal(signal.SIGINT, signal.default_int_handler)


class StepProgress(Callback):
    """Shows a bar with the losses on a terminal, and elsewhere a line per evaluation."""

    def __init__(self, steps: int) -> None:
        self.steps, self.terminal = steps, Console().is_terminal
        times = TimeElapsedColumn(), TimeRemainingColumn(), TextColumn("{task.description}")
        self.bar = Progress(BarColumn(), MofNCompleteColumn(), *times, disable=not self.terminal)

    def on_train_start(self, trainer: lightning.Trainer, module: Any) -> None:
        """Begin at the step that is gone on from."""
        self.bar.start()
        self.task = self.bar.add_task("", total=self.steps, completed=trainer.global_step)

    def on_train_batch_end(
        self, trainer: lightning.Trainer, module: Any, outputs: Any, batch: Any, batch_index: int
    ) -> None:
        """Show the step done."""
        step, curve = trainer.global_step, module.curve
        if self.terminal:
            losses = f"loss {float(outputs['loss']):.3f}"
            losses += f", held-out {curve[-1][1]:.3f}" if curve else ""
            self.bar.update(self.task, completed=step, description=losses)
        elif curve and curve[-1][0] == step:
            print(f"step {step:,} of {self.steps:,}: held-out loss {curve[-1][1]:.3f}", flush=True)

    def teardown(self, trainer: lightning.Trainer, module: Any, stage: str) -> None:
        """Leave the bar as it stands."""
        self.bar.stop()

    def on_exception(
        self, trainer: lightning.Trainer, module: Any, exception: BaseException
    ) -> None:
        """Leave the bar as it stands, before the error is printed."""
        self.bar.stop()


_NOISE = (".*LeafSpec.*", ".*num_workers.*", ".*GPU available but not used.*")
"""Warnings of Lightning that no user of the command can act on."""


@contextmanager
def quiet() -> Iterator[None]:
    """Keep Lightning's named warnings and notices and transformers' progress bars away."""
    notices = logging.getLogger("pytorch_lightning.utilities.rank_zero")
    level = notices.level
    bars = transformers_logging.is_progress_bar_enabled()
    notices.setLevel(logging.WARNING)
    transformers_logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            for message in _NOISE:
                warnings.filterwarnings("ignore", message=message)
            yield
    finally:
        notices.setLevel(level)
        if bars:
            transformers_logging.enable_progress_bar()
