"""A trial of way b: a plain Lightning module over plain windows, one T5 call per timeframe.

Apart from the search of `ray`, which the processes of the trials need not import.
"""

from __future__ import annotations

import time
from typing import Any, NamedTuple

import numpy as np
import pytorch_lightning as lightning
import torch
from data import PandasWindows
from pytorch_lightning.callbacks import Callback
from ray.tune.integration.pytorch_lightning import TuneReportCheckpointCallback
from torch import Tensor, nn
from torch.nn.functional import huber_loss
from torch.utils.data import DataLoader, Subset
from transformers.modeling_outputs import BaseModelOutput

from stage1.base.seeds import Stream, generator
from stage1.config import Config, load_config, with_values
from stage1.data.bars import Bars
from stage1.data.batches import VALIDATION_BATCH, EpochPlan, MarketWindows
from stage1.data.hiding import numbers_needed
from stage1.data.load import load_bars
from stage1.data.windows import Split
from stage1.language_models.resolver import LanguageModel, resolve
from stage1.model.stage1_model import Stage1Model, build_model
from throughput_parts.results import Job, Trial, write_trial

Parts = tuple[Tensor, Tensor, Tensor, Tensor]
"""Features, hidden, scored, targets."""


class EachTimeframe(nn.Module):
    """The same T5, called once for every timeframe: the obvious loop.

    The adapter folds timeframes into the batch; here its rows are taken apart again.
    """

    def __init__(self, t5: nn.Module, timeframes: int) -> None:
        super().__init__()
        self.t5, self.timeframes = t5, timeframes

    def forward(self, inputs_embeds: Tensor, attention_mask: Tensor | None) -> BaseModelOutput:
        assert attention_mask is None
        windows = inputs_embeds.unflatten(0, (-1, self.timeframes))
        encoded = [
            self.t5(inputs_embeds=windows[:, index]).last_hidden_state
            for index in range(self.timeframes)
        ]
        return BaseModelOutput(last_hidden_state=torch.stack(encoded, dim=1).flatten(0, 1))


class PlainModule(lightning.LightningModule):
    """Automatic optimisation, AdamW, one cycle."""

    def __init__(self, model: Stage1Model, config: Config) -> None:
        super().__init__()
        self.model, self.config = model, config
        self.windows_seen = 0

    def loss(self, parts: Parts) -> Tensor:
        features, hidden, scored, targets = parts
        decoded = self.model(features, hidden)
        return huber_loss(decoded[scored], targets[scored], delta=self.config.loss.huber_delta)

    def training_step(self, batch: Parts, batch_index: int) -> Tensor:
        self.windows_seen += len(batch[0])
        loss = self.loss(batch)
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: Parts, batch_index: int) -> None:
        # Weighted by the scored bars, the mean over batches is the mean over all of them.
        self.log("val_loss", self.loss(batch), batch_size=int(batch[2].sum()))

    def configure_optimizers(self) -> Any:
        training = self.config.training
        betas = (training.optimizer.beta1, training.optimizer.beta2)
        optimizer = torch.optim.AdamW(
            self.parameters(),
            lr=training.optimizer.lr,
            betas=betas,
            weight_decay=training.optimizer.weight_decay,
        )
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer,
            training.optimizer.lr,
            total_steps=training.epochs * training.steps_per_epoch,
            pct_start=training.warmup_share,
            cycle_momentum=False,
        )
        scheduler = {"scheduler": schedule, "interval": "step"}
        return {"optimizer": optimizer, "lr_scheduler": scheduler}


def plain_module(config: Config, language_model: LanguageModel) -> PlainModule:
    """The weights are those that stage1 starts from."""
    model = build_model(config, language_model).model
    model.encoder.t5 = EachTimeframe(model.encoder.t5, len(config.data.timeframes))
    return PlainModule(model, config)


class _Windows(NamedTuple):
    """What `PandasWindows` asks of the windows."""

    split: Split
    minutes: tuple[int, ...]


class PlainData(lightning.LightningDataModule):
    """DataLoaders over windows that are sliced from data frames, in stage1's order and hiding."""

    def __init__(self, bars: dict[str, Bars], config: Config) -> None:
        super().__init__()
        windows = MarketWindows(bars, config.data)
        plans = [windows.plan_epoch(config, epoch) for epoch in range(config.training.epochs)]
        whole = EpochPlan(*(np.concatenate(parts) for parts in zip(*plans, strict=True)))
        self.config = config
        self.training = PandasWindows(bars, windows, config, whole)
        validation = _Windows(
            windows.split._replace(training=windows.split.validation), windows.minutes
        )
        plan = _validation_plan(windows, config)
        self.validation = PandasWindows(bars, validation, config, plan)

    def train_dataloader(self) -> DataLoader[Any]:
        training = self.config.training
        size = training.steps_per_epoch * training.windows_per_step
        epoch = self.trainer.current_epoch
        part = Subset(self.training, range(epoch * size, (epoch + 1) * size))
        return DataLoader(part, batch_size=training.windows_per_step)

    def val_dataloader(self) -> DataLoader[Any]:
        return DataLoader(self.validation, batch_size=VALIDATION_BATCH)


def _validation_plan(windows: MarketWindows, config: Config) -> EpochPlan:
    """The random numbers that stage1 hides the validation windows by."""
    masking, ends = config.masking, windows.split.validation.ends
    numbers = numbers_needed(config.data.seq_len, masking, (masking.mask_ratio,))
    shape = (len(windows.minutes), numbers)
    uniforms = [generator(Stream.VALIDATION_MASKS, int(end)).random((1, *shape)) for end in ends]
    return EpochPlan(np.arange(len(ends))[:, None], np.stack(uniforms))


class FirstStep(Callback):
    """Notes when the training begins, after the validation before its first step; unix seconds."""

    at = 0.0

    def on_train_start(self, trainer: lightning.Trainer, module: Any) -> None:
        self.at = time.time()


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
