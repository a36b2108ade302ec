"""When a Lightning training begins, the validation before its first step excluded."""

from __future__ import annotations

import time
from typing import Any

import pytorch_lightning as lightning
from pytorch_lightning.callbacks import Callback


class FirstStep(Callback):
    """Notes the time, in unix seconds."""

    at = 0.0

    def on_train_start(self, trainer: lightning.Trainer, module: Any) -> None:
        self.at = time.time()
