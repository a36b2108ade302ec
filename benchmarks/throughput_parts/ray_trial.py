"""One trial of way b. A module of its own: its processes need nothing of the search."""

from __future__ import annotations

import time
from typing import Any

import pytorch_lightning as lightning
import torch
from ray.tune.integration.pytorch_lightning import TuneReportCheckpointCallback

from stage1.config import Config, load_config, with_values
from stage1.data.load import load_bars
from stage1.language_models.resolver import resolve
from throughput_parts.first_step import FirstStep
from throughput_parts.plain import PlainData, plain_module
from throughput_parts.record import Job, Trial, write_trial


def train(settings: dict[str, Any], job: Job) -> None:
    """The trainable: a new process for every trial, which reads and builds everything."""
    started = time.time()
    config = _config(settings, job)
    torch.set_num_threads(config.training.threads)
    data = PlainData(load_bars(job.folder / "bars", config.data.timeframes), config)
    module = plain_module(config, resolve(config.transfer_learning.lm_name_or_path))
    first = FirstStep()
    report = TuneReportCheckpointCallback({"val_loss": "val_loss"}, on="validation_end")
    trainer = lightning.Trainer(
        accelerator="cpu",
        devices=1,
        precision=config.training.precision,
        max_epochs=config.training.epochs,
        gradient_clip_val=config.training.gradient_clip,
        reload_dataloaders_every_n_epochs=1,  # an epoch's windows are those of stage1's plan
        callbacks=[first, report],
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, datamodule=data)
    write_trial(
        job.result,
        Trial(
            lr=settings["lr"],
            seed=settings["seed"],
            started=started,
            first_step=first.at,
            ended=time.time(),
            val_loss=float(trainer.callback_metrics["val_loss"]),
            steps=trainer.global_step,
            windows=module.windows_seen,
            parameters=sum(parameter.numel() for parameter in module.parameters()),
        ),
    )


def _config(settings: dict[str, Any], job: Job) -> Config:
    values = {
        "training.optimizer.lr": settings["lr"],
        "training.seed": settings["seed"],
        "training.epochs": settings["epochs"],
        "transfer_learning.initialization": "random",
    }
    return with_values(load_config(job.folder / "config.yaml"), values)
