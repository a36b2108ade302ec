"""AdamW over parameter groups, and the learning rate over the horizon."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR

from stage1.config import Config
from stage1.model.stage1_model import T5_PREFIX, Stage1Model


def parameter_groups(model: Stage1Model, config: Config) -> list[dict[str, Any]]:
    """The T5's parameters at lr x lm_learning_rate_factor, all others at lr; only matrices decay.

    All parameters are there from the start, frozen ones too: those have no gradient and are left
    alone, and the schedule counts for them from step 0.
    """
    optimizer = config.training.optimizer
    factors = {True: config.transfer_learning.lm_learning_rate_factor, False: 1.0}
    groups: dict[tuple[bool, bool], list[torch.nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        is_matrix = parameter.ndim >= 2 and not name.endswith("bias")  # one bias per timeframe
        key = (name.startswith(T5_PREFIX), is_matrix)
        groups.setdefault(key, []).append(parameter)
    return [
        {
            "params": parameters,
            "lr": optimizer.lr * factors[is_t5],
            "weight_decay": optimizer.weight_decay if is_matrix else 0.0,
            "name": "t5" if is_t5 else "head",
        }
        for (is_t5, is_matrix), parameters in groups.items()
    ]


def build_optimizer(model: Stage1Model, config: Config) -> torch.optim.AdamW:
    """AdamW with one fused kernel per group where the arithmetic allows."""
    optimizer = config.training.optimizer
    return torch.optim.AdamW(
        parameter_groups(model, config),
        betas=(optimizer.beta1, optimizer.beta2),
        fused=config.training.precision == "32-true",  # Lightning clips no fused mixed precision
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
