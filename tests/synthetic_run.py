"""A small run folder with made-up numbers, for tests of whatever reads one."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml

from stage1.base.files import sha256_of_file
from stage1.config import Config, with_values
from stage1.config.data import PRICES
from stage1.run.columns import (
    COMPLETED,
    DESIGN,
    DIVERGED,
    PARAMETER_PREFIX,
    PRETRAINED,
    RANDOM,
    SEARCH,
    VANILLA,
)
from stage1.run.folder import RunFolder
from stage1.run.registration import (
    COST_ROUNDS,
    CostPlan,
    Preregistration,
    RandomArm,
    early_epoch,
    preregistration_text,
)
from stage1.run.resolved_space import ResolvedSpace
from stage1.run.tables import RunWriter, write_cost
from stage1.study.study import arm_roles

HORIZON = 4
EARLY = early_epoch(HORIZON)
BASELINE = 0.88
ZERO_VAL_LOSS = 0.45
TIMEFRAMES = ("m1", "m5")
BLOCKS = 12
SIZE = "google-t5/t5-small"
COST_RATIO = 1.1
"""Seconds of a step, pretrained over vanilla, up to a small noise."""
ARMS = ("pretrained", "random", "shuffled")
RATES = (1e-3, 2e-3, 4e-3, 8e-3)
START = datetime(2026, 11, 1, tzinfo=UTC)


def synthetic_space(
    *, arms: tuple[str, ...] = ARMS, configurations: int = 4, seeds: int = 2
) -> dict[str, Any]:
    """What space.yaml of a synthetic run holds, seed 0."""
    base = with_values(
        Config(),
        {"data.timeframes": list(TIMEFRAMES), "training.epochs": HORIZON, "training.threads": 1},
    )
    return {
        "name": "synthetic",
        "seed": 0,
        "objective": {"metric": "val_correlation", "mode": "max"},
        "horizon_epochs": HORIZON,
        "arms": {arm: {"transfer_learning.initialization": arm} for arm in arms},
        "space": {
            "training.optimizer.lr": {"type": "float", "low": 1e-4, "high": 1e-2, "log": True},
            "transfer_learning.patch_len": {"type": "choice", "options": [4, 8]},
        },
        "design": {"configurations": configurations, "seeds": seeds},
        "search": {"trials": len(arms), "sampler": "tpe"},
        "resources": {"cpus": 1, "gpus": 0},
        "config": base.model_dump(mode="json"),
        "data": {"fingerprint": "0" * 64},
    }


def synthetic_study(
    *, arms: tuple[str, ...] = ARMS, configurations: int = 4, seeds: int = 2, **changes: Any
) -> ResolvedSpace:
    """The same as it is read; `changes` replace top-level keys."""
    space = synthetic_space(arms=arms, configurations=configurations, seeds=seeds)
    return ResolvedSpace.model_validate(space | changes)


def changed_study(space: ResolvedSpace, /, **changes: Any) -> ResolvedSpace:
    """A resolved study with other values of top-level keys."""
    return ResolvedSpace.model_validate(space.model_dump() | changes)


def synthetic_trial(trial_id: str, /, **columns: Any) -> dict[str, Any]:
    """A completed trial of the design as `RunWriter.add_trial` takes it; `columns` replace."""
    return {
        "trial_id": trial_id,
        "stage": DESIGN,
        "arm": "random",
        "config_id": "c0",
        "seed": 1,
        "status": COMPLETED,
        "epochs": HORIZON,
        PARAMETER_PREFIX + "training.optimizer.lr": 1e-3,
        PARAMETER_PREFIX + "transfer_learning.patch_len": 8,
        "val_loss": 0.1,
        "val_correlation": 0.9,
        "val_skill": 0.1,
        "val_corr_m1": 0.91,
        "val_corr_m5": 0.89,
        "baseline_val_loss": 0.12,
        "baseline_val_correlation": BASELINE,
        "zero_val_loss": ZERO_VAL_LOSS,
        "seconds": 12.0,
        "seconds_per_step": 0.03,
        "peak_rss_mb": 700.0,
        "parameters": 115_000,
        "lm_sha256": "a" * 64,
        "steps": 400,
        "started_at": START,
        "node": "localhost",
    } | columns


def synthetic_curve(final: float, *, epochs: int = HORIZON) -> list[dict[str, Any]]:
    """A curve that rises from 0 to `final`."""
    return [
        {
            "epoch": epoch,
            "val_loss": 1 - 0.9 * _share(epoch),
            "val_correlation": final * _share(epoch),
            "val_skill": 0.1 - (1 - _share(epoch)),
            "train_loss": math.nan if epoch == 0 else 1 - 0.9 * _share(epoch),
            "lr": 1e-3,
            "seconds": 3.0 * epoch,
        }
        for epoch in range(epochs + 1)
    ]


def _share(epoch: int) -> float:
    return (1 - math.exp(-2 * epoch)) / (1 - math.exp(-2 * HORIZON))


def write_synthetic_run(
    path: Path, *, arms: tuple[str, ...] = ARMS, configurations: int = 4, seeds: int = 2
) -> RunFolder:
    """Write a finished run: the whole design, and one search trial per arm, the last one diverged.

    With its registration, the sums of its blocks and, if an arm is pretrained, its cost block.
    Design trial (arm a, configuration c, seed s) ends at correlation 0.91 - 0.01 a - 0.02 c +
    0.004 s, so the first arm's first configuration is the best.
    """
    run = RunFolder(path)
    path.mkdir(parents=True)
    space = synthetic_space(arms=arms, configurations=configurations, seeds=seeds)
    run.space.write_text(yaml.safe_dump(space, sort_keys=False), encoding="utf-8")
    run.prereg.write_text(synthetic_preregistration(run, space), encoding="utf-8")
    writer = RunWriter(run)
    for c in range(configurations):
        for seed in range(1, seeds + 1):
            for a, arm in enumerate(arms):
                _add_design_trial(writer, c=c, seed=seed, a=a, arm=arm)
    for arm in arms:
        _add_search_trial(writer, arm=arm, diverged=arm == arms[-1])
    if PRETRAINED in _roles(space):
        write_cost(run, synthetic_cost())
    return run


def _roles(space: dict[str, Any]) -> dict[str, str]:
    base = Config.model_validate(space["config"])
    configs = {arm: with_values(base, settings) for arm, settings in space["arms"].items()}
    return arm_roles(configs, space["space"])


def synthetic_preregistration(run: RunFolder, space: dict[str, Any]) -> str:
    """The content of prereg.yaml for a space.yaml that is written already."""
    roles = _roles(space)
    has_random, has_pretrained = RANDOM in roles, PRETRAINED in roles
    return preregistration_text(
        Preregistration(
            space_sha256=sha256_of_file(run.space),
            written_at=START - timedelta(minutes=1),
            arms=list(space["arms"]),
            roles=roles,
            configurations=space["design"]["configurations"],
            seeds=list(range(1, space["design"]["seeds"] + 1)),
            horizon_epoch=space["horizon_epochs"],
            early_epoch=early_epoch(space["horizon_epochs"]),
            random_arm=RandomArm(initializer_factor=1.0, input_scale=None) if has_random else None,
            cost=CostPlan(size=SIZE, patch_len=8) if has_pretrained else None,
            language_models={SIZE: "b" * 64},
            versions={"torch": "2.13.0"},
        )
    )


def synthetic_cost(ratio: float = COST_RATIO) -> list[dict[str, Any]]:
    """Rows of cost.parquet for one size, in the order in which they were timed."""
    rows = []
    for number in range(COST_ROUNDS):
        order = (PRETRAINED, VANILLA) if number % 2 == 0 else (VANILLA, PRETRAINED)
        for arm in order:
            seconds = 0.2 * (ratio if arm == PRETRAINED else 1.0)
            rows.append(
                {
                    "arm": arm,
                    "size": SIZE,
                    "patch_len": 8,
                    "round": number,
                    "steps": 10,
                    "seconds": seconds * (1 + 0.002 * math.sin(3 * len(rows))),
                    "peak_rss_mb": 700.0,
                    "peak_vram_mb": None,
                }
            )
    return rows


def synthetic_blocks(correlations: dict[str, float], *, epoch: int) -> list[dict[str, Any]]:
    """Rows of blocks.parquet from which the correlation of each timeframe comes out.

    Every block has as many bars, means of 0 and variances of 1; its own correlation is a little
    off, by amounts that add up to 0 over the blocks.
    """
    n = 40
    return [
        {
            "epoch": epoch,
            "timeframe": timeframe,
            "channel": channel,
            "block": block,
            "n": n,
            "sum_truth": 0.0,
            "sum_decoded": 0.0,
            "sum_truth_squared": float(n),
            "sum_decoded_squared": float(n),
            "sum_product": n * (value + 0.02 * math.cos(2 * math.pi * block / BLOCKS)),
        }
        for timeframe, value in correlations.items()
        for channel in PRICES
        for block in range(BLOCKS)
    ]


def _add_design_trial(writer: RunWriter, *, c: int, seed: int, a: int, arm: str) -> None:
    final = 0.91 - 0.01 * a - 0.02 * c + 0.004 * seed
    by_timeframe = {"m1": final + 0.01, "m5": final - 0.01}
    row = synthetic_trial(
        f"design-{c}-{arm}-{seed}",
        arm=arm,
        config_id=f"c{c}",
        seed=seed,
        val_correlation=final,
        val_skill=(final - BASELINE) / (1 - BASELINE),
        started_at=START + timedelta(minutes=len(writer.trial_ids)),
        lm_sha256=f"{a:064x}",
        **{f"val_corr_{name}": value for name, value in by_timeframe.items()},
        **{
            PARAMETER_PREFIX + "training.optimizer.lr": RATES[c % len(RATES)],
            PARAMETER_PREFIX + "transfer_learning.patch_len": 4 if c % 2 else 8,
        },
    )
    blocks = [
        block
        for epoch in (EARLY, HORIZON)
        for block in synthetic_blocks(
            {name: value * _share(epoch) for name, value in by_timeframe.items()}, epoch=epoch
        )
    ]
    writer.add_trial(row, synthetic_curve(final), blocks)


def _add_search_trial(writer: RunWriter, *, arm: str, diverged: bool) -> None:
    row = synthetic_trial(
        f"search-{arm}",
        stage=SEARCH,
        arm=arm,
        config_id=f"s-{arm}",
        status=DIVERGED if diverged else COMPLETED,
        epochs=1 if diverged else HORIZON,
        val_correlation=math.nan if diverged else 0.99,
        val_loss=math.inf if diverged else 0.05,
        error="val_loss is not finite at epoch 1" if diverged else None,
    )
    writer.add_trial(row, synthetic_curve(0.99, epochs=row["epochs"]))
