"""Way d, the limit: the steps and the validation in a loop, without Lightning, Ray or Optuna."""

from __future__ import annotations

import time

import torch
from torch import Tensor, nn

from stage1.config import Config
from stage1.data.batches import MarketWindows
from stage1.data.gathering import CPU
from stage1.data.load import load_bars
from stage1.language_models.resolver import LanguageModel, resolve
from stage1.model.losses import total_loss
from stage1.model.metrics import block_sums, blocks_of_windows, evaluate
from stage1.model.stage1_model import build_model
from stage1.training.module import validation_of
from stage1.training.optimization import build_optimizer, build_schedule
from throughput_parts.results import Job, Trial, write_trial
from throughput_parts.trials import in_processes, planned_trials, read_study


def run(job: Job) -> None:
    """Every process has its share of the trials, one after the other."""
    torch.set_num_threads(1)  # before the first arithmetic: a pool of threads would not be forked
    study = read_study(job.folder)
    planned = planned_trials(study)
    windows = MarketWindows(
        load_bars(job.folder / "bars", study.config.data.timeframes), study.config.data
    )
    language_model = resolve(study.config.transfer_learning.lm_name_or_path)

    def work(index: int) -> None:
        for trial in planned[index :: job.workers]:
            ended = train(trial.config, windows, language_model, study.block_epochs)
            write_trial(job.result, ended)

    in_processes(work, job.workers)


def train(
    config: Config, windows: MarketWindows, language_model: LanguageModel, block_epochs: list[int]
) -> Trial:
    """One training; what it computes is what `stage1.training.fit` does."""
    started, training = time.time(), config.training
    model = build_model(config, language_model).model
    optimizer = build_optimizer(model, config)
    schedule = build_schedule(optimizer, config)
    validation = Validation(config, windows, block_epochs)
    validation.run(model, epoch=0)
    first_step, steps, seen = time.time(), 0, 0
    for epoch in range(training.epochs):
        for batch in windows.training_batches(config, windows.plan_epoch(config, epoch)):
            optimizer.zero_grad()
            with _autocast(config):
                loss = total_loss(model(batch.features, batch.hidden), batch, config)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), training.gradient_clip)
            optimizer.step()
            schedule.step()
            steps, seen = steps + 1, seen + len(batch.features)
        metrics = validation.run(model, epoch=epoch + 1)
    return Trial(
        lr=training.optimizer.lr,
        seed=training.seed,
        started=started,
        first_step=first_step,
        ended=time.time(),
        val_loss=metrics["val_loss"],
        steps=steps,
        windows=seen,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
    )


class Validation:
    """All metrics of the validation set, and the sums that the engine's design asks for."""

    def __init__(self, config: Config, windows: MarketWindows, block_epochs: list[int]) -> None:
        self.config, self.block_epochs = config, block_epochs
        ratios = config.evaluation.tf_specific_mask_ratios
        self.validation = validation_of(windows, config, CPU)
        self.batches = windows.validation_batches(config.masking, ratios)
        self.blocks = torch.from_numpy(
            blocks_of_windows(windows.split.validation.starts, windows.split.validation.ends)
        )

    @torch.no_grad()
    def run(self, model: nn.Module, *, epoch: int) -> dict[str, float]:
        """Decode, score."""
        model.eval()
        parts: list[Tensor] = []
        for batch in self.batches:
            with _autocast(self.config):
                parts.append(model(batch.features, batch.hidden))
        model.train()
        decoded, (batch, line, _) = torch.cat(parts), self.validation
        if epoch in self.block_epochs:
            block_sums(decoded, batch, self.blocks)
        return evaluate(decoded, line, batch, self.config)


def _autocast(config: Config) -> torch.autocast:
    mixed = config.training.precision == "bf16-mixed"
    return torch.autocast("cpu", dtype=torch.bfloat16, enabled=mixed)
