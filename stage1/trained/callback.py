"""The reconstructions of a training's end, among its curves."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as lightning
import torch
from pytorch_lightning.callbacks import Callback

from stage1.data.batches import Batch
from stage1.figures.reconstructions import Reconstruction, reconstructions_figure
from stage1.trained.reconstructions import reconstructions, taken
from stage1.training.module import Stage1Module


class ReconstructionPicture(Callback):
    """Adds the picture that `stage1.evaluate` draws to TensorBoard's log when a training ends."""

    def on_train_end(self, trainer: lightning.Trainer, module: Any) -> None:
        """Draw. Called by Lightning; not after Ctrl-C."""
        drawn = reconstructions_figure(excerpts_of(module))
        if drawn.figure is not None:
            log: Any = trainer.logger
            log.experiment.add_figure(drawn.name, drawn.figure, trainer.global_step)


@torch.no_grad()
def excerpts_of(module: Stage1Module) -> list[Reconstruction]:
    """Excerpts of a module's validation windows, as it decodes them now.

    In full precision, and so not to the last digit what a validation in a mixed one gives.
    """
    parts = zip(*module.val_dataloader(), strict=True)
    batch, pairs = taken(Batch(*(torch.cat(tensors) for tensors in parts)))
    training = module.training
    module.eval()
    decoded = module.predict_step(Batch(*(tensor.to(module.device) for tensor in batch)), 0)
    module.train(training)
    return reconstructions(decoded, batch, pairs, module.config.data)
