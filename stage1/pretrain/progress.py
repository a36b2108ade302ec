"""What a person sees of a pretraining, and what Lightning and transformers shall not say."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

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

_NOISE = (".*LeafSpec.*", ".*num_workers.*", ".*GPU available but not used.*")
"""Warnings of Lightning that no user of the command can act on."""
_TIPS = "pytorch_lightning.utilities.rank_zero"
"""The logger of Lightning's tips and notices."""


@contextmanager
def quiet() -> Iterator[None]:
    """Keep Lightning's named warnings and notices and transformers' progress bars away."""
    notices = logging.getLogger(_TIPS)
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


class StepProgress(Callback):
    """Shows a bar with the losses on a terminal, and elsewhere a line per evaluation."""

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.terminal = Console().is_terminal
        self.bar = Progress(
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.description}"),
            disable=not self.terminal,
        )

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
