"""AdamW over parameter groups, and the learning rate over the horizon."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR

from stage1.config import Config
from stage1.model.encoders import T5TimeSeriesAdapter
from stage1.model.stage1_model import T5_PREFIX, Stage1Model


def parameter_groups(model: Stage1Model, config: Config) -> list[dict[str, Any]]:
    """Parameters by learning rate and weight decay; only matrices decay.

    Those in block i of the T5's n learn at lr x lm_learning_rate_factor x
    layerwise_lr_decay^(n - 1 - i), all others at lr. The T5's final norm goes with its last block,
    its relative attention bias with the first, where it lies.

    All parameters are there from the start, frozen ones too: those have no gradient and are left
    alone, and the schedule counts for them from step 0.

    Source: layer-wise rates: Howard and Ruder 2018, "Universal Language Model Fine-tuning for Text
    Classification", section 3.2.
    """
    optimizer = config.training.optimizer
    groups: dict[tuple[str, float, bool], list[torch.nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        is_matrix = parameter.ndim >= 2 and not name.endswith("bias")  # one bias per timeframe
        part = "t5" if name.startswith(T5_PREFIX) else "head"
        factor = _t5_factor(name, model, config) if part == "t5" else 1.0
        groups.setdefault((part, factor, is_matrix), []).append(parameter)
    return [
        {
            "params": parameters,
            "lr": optimizer.lr * factor,
            "weight_decay": optimizer.weight_decay if is_matrix else 0.0,
            "name": part,
        }
        for (part, factor, is_matrix), parameters in groups.items()
    ]


def _t5_factor(name: str, model: Stage1Model, config: Config) -> float:
    """What the learning rate of a T5's parameter is a multiple of, by its block."""
    transfer = config.transfer_learning
    assert isinstance(model.encoder, T5TimeSeriesAdapter)
    last = len(model.encoder.t5.block) - 1
    _, is_block, behind = name.partition(f"{T5_PREFIX}block.")
    block = int(behind.split(".")[0]) if is_block else last
    return transfer.lm_learning_rate_factor * transfer.layerwise_lr_decay ** (last - block)


def build_optimizer(model: Stage1Model, config: Config) -> torch.optim.AdamW:
    """AdamW with one fused kernel per group where the arithmetic allows."""
    optimizer = config.training.optimizer
    return torch.optim.AdamW(
        parameter_groups(model, config),
        betas=(optimizer.beta1, optimizer.beta2),
        # A fused kernel would undo the loss scaling of 16-mixed itself, after the clipping.
        fused=config.training.precision != "16-mixed",
    )


def build_schedule(optimizer: torch.optim.Optimizer, config: Config) -> LRScheduler:
    """One cycle (cosine up and down), or linear warm-up and cosine to 0, over all steps."""
    training = config.training
    steps = training.epochs * training.steps_per_epoch
    if training.schedule == "one_cycle":
        return OneCycleLR(
            optimizer,
            [group["lr"] for group in optimizer.param_groups],
            total_steps=max(steps, 2),
            pct_start=training.warmup_share,
            cycle_momentum=False,
        )
    warmup = max(round(training.warmup_share * steps), 1)

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(steps - warmup, 1)))

    return LambdaLR(optimizer, factor)
