"""A run as large as a serious study, with made-up scores that vary as real ones do.

Its tables are written at once and not trial by trial, which would take minutes.
"""

from __future__ import annotations

import math
from datetime import timedelta
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from synthetic_run import (
    START,
    synthetic_blocks,
    synthetic_preregistration,
    synthetic_space,
    synthetic_trial,
)

from stage1.run.columns import (
    BLOCK_COLUMNS,
    COMPLETED,
    COST_COLUMNS,
    CURVE_COLUMNS,
    DIVERGED,
    FAILED,
    PARAMETER_PREFIX,
    PRETRAINED,
    RANDOM,
    SEARCH,
    SHUFFLED,
    TRIAL_COLUMNS,
    VANILLA,
    Column,
)
from stage1.run.folder import RunFolder

HORIZON, EARLY, SEARCH_TRIALS = 15, 3, 16
SIZES = {"english-t5-nano": 1.08, "google-t5/t5-small": 1.31}
"""Cost ratio by language model; the last one decides."""
SPACE = {
    "training.optimizer.lr": {"type": "float", "low": 1e-4, "high": 1e-2, "log": True},
    "transfer_learning.lm_learning_rate_factor": {
        **{"type": "float", "low": 0.03, "high": 3.0, "log": True}
    },
    "transfer_learning.freeze_lm_epochs": {"type": "int", "low": 0, "high": 3},
    "transfer_learning.patch_len": {"type": "choice", "options": [4, 8, 16]},
}
_LEVEL = {PRETRAINED: 0.06, RANDOM: 0.0, SHUFFLED: 0.03}
_SPREAD = {PRETRAINED: 0.7, RANDOM: 1.0, SHUFFLED: 0.9}


def write_rich_run(path: Path, *, configurations: int = 64, seeds: int = 2) -> RunFolder:
    """A finished run of three arms; trial 7 of the design diverged, trial 20 failed."""
    run = RunFolder(path)
    path.mkdir(parents=True)
    space = _space(configurations, seeds)
    run.space.write_text(yaml.safe_dump(space, sort_keys=False), encoding="utf-8")
    run.prereg.write_text(synthetic_preregistration(run, space), encoding="utf-8")
    trials, curves, blocks = _tables(space, np.random.default_rng(0))
    _save(trials, TRIAL_COLUMNS, run.trials)
    _save(curves, CURVE_COLUMNS, run.curves)
    _save(blocks, BLOCK_COLUMNS, run.blocks)
    _save(_cost(), COST_COLUMNS, run.cost)
    return run


def _save(rows: list[dict[str, Any]], columns: tuple[Column, ...], file: Path) -> None:
    absent = [one.name for one in columns if not one.is_family and one.name not in rows[0]]
    pd.DataFrame(rows).assign(**dict.fromkeys(absent)).to_parquet(file)


def _space(configurations: int, seeds: int) -> dict[str, Any]:
    space = synthetic_space(configurations=configurations, seeds=seeds)
    space["config"]["training"]["epochs"] = HORIZON
    space |= {"name": "rich", "horizon_epochs": HORIZON, "space": SPACE}
    return space | {"search": {"trials": SEARCH_TRIALS, "sampler": "tpe"}}


def _tables(
    space: dict[str, Any], generator: np.random.Generator
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[dict[str, Any]]]:
    trials: list[dict[str, Any]] = []
    curves: list[dict[str, Any]] = []
    blocks: list[dict[str, Any]] = []
    design = [_point(generator) for _ in range(space["design"]["configurations"])]
    seeds = range(1, space["design"]["seeds"] + 1)
    for (c, point), seed, arm in product(enumerate(design), seeds, space["arms"]):
        status = {7: DIVERGED, 20: FAILED}.get(len(trials), COMPLETED)
        end = _quality(point, arm) + 0.015 * generator.standard_normal()
        row = _trial(len(trials), arm=arm, config_id=f"c{c:03}", seed=seed, end=end, status=status)
        trials.append(row | point)
        curves += _curve(row, end, generator)
        if status == COMPLETED:
            names = ("trial_id", "stage", "arm", "config_id", "seed")
            known = {name: row[name] for name in names}
            for epoch, value in ((EARLY, 0.7 * end), (HORIZON, end)):
                rows = synthetic_blocks({"m1": value, "m5": value - 0.02}, epoch=epoch)
                blocks += [known | block for block in rows]
    for place in range(SEARCH_TRIALS):
        arm = list(space["arms"])[place % 3]
        row = _trial(len(trials), arm=arm, config_id=f"s{place}", seed=0, end=0.6)
        trials.append(row | _point(generator) | {"stage": SEARCH})
        curves += [one | {"stage": SEARCH} for one in _curve(row, 0.6, generator)]
    return trials, curves, blocks


def _point(generator: np.random.Generator) -> dict[str, Any]:
    values = {
        "training.optimizer.lr": 10 ** generator.uniform(-4, -2),
        "transfer_learning.lm_learning_rate_factor": 10 ** generator.uniform(-1.5, 0.47),
        "transfer_learning.freeze_lm_epochs": int(generator.integers(0, 4)),
        "transfer_learning.patch_len": int(generator.choice([4, 8, 16])),
    }
    return {PARAMETER_PREFIX + key: value for key, value in values.items()}


def _quality(point: dict[str, Any], arm: str) -> float:
    """val_correlation at the horizon: a ridge in lr, small patches better, an arm's level."""
    lr, factor, freeze, patch = point.values()
    off = -0.06 * (math.log10(lr) + 2.7) ** 2 - 0.02 * (math.log10(factor)) ** 2
    off += -0.01 * freeze - 0.015 * math.log2(patch / 4)
    return 0.58 + _LEVEL[arm] + _SPREAD[arm] * off


def _trial(
    place: int, *, arm: str, config_id: str, seed: int, end: float, status: str = COMPLETED
) -> dict[str, Any]:
    score = {"val_correlation": end, "val_loss": _loss(end), "val_skill": end - 0.5}
    score |= {"val_corr_m1": end + 0.01, "val_corr_m5": end - 0.01 + 0.05 * math.sin(place)}
    if status != COMPLETED:
        score = dict.fromkeys(score)
    return synthetic_trial(
        f"t{place:04}",
        arm=arm,
        config_id=config_id,
        seed=seed,
        status=status,
        epochs=HORIZON if status == COMPLETED else 2,
        baseline_val_correlation=0.52,
        seconds=40 + 5 * math.sin(place),
        peak_rss_mb=700.0 + place % 17,
        lm_sha256=f"{place:064x}",
        head_sha256=f"{config_id}-{seed}",
        order_sha256=f"{config_id}-{seed}",
        mask_sha256="m",
        started_at=START + timedelta(minutes=place),
        error={
            DIVERGED: "val_loss is not finite at epoch 3",
            FAILED: "No space left on device",
        }.get(status),
        **score,
    )


def _loss(correlation: float) -> float:
    return 0.45 * (1 - 0.9 * max(correlation, 0.0))


def _curve(row: dict[str, Any], end: float, generator: np.random.Generator) -> list[dict[str, Any]]:
    known = {name: row[name] for name in ("trial_id", "stage", "arm", "config_id", "seed")}
    rows = []
    for epoch in range(row["epochs"] + 1):
        value = end * (1 - math.exp(-epoch / 3)) / (1 - math.exp(-HORIZON / 3))
        value += 0.01 * generator.standard_normal() if 0 < epoch < HORIZON else 0.0
        score = {"val_correlation": value, "val_loss": _loss(value), "val_skill": value - 0.5}
        rows.append(known | {"epoch": epoch, "train_loss": _loss(value), "lr": 1e-3} | score)
    return rows


def _cost() -> list[dict[str, Any]]:
    rows = []
    for (size, ratio), number in product(SIZES.items(), range(6)):
        order = (PRETRAINED, VANILLA) if number % 2 == 0 else (VANILLA, PRETRAINED)
        for arm in order:
            seconds = 0.5 * (ratio if arm == PRETRAINED else 1.0)
            rows.append(
                {
                    **{"arm": arm, "size": size, "patch_len": 8, "round": number, "steps": 10},
                    "seconds": seconds * (1 + 0.01 * math.sin(3 * len(rows))),
                    **{"peak_rss_mb": 700.0, "peak_vram_mb": math.nan},
                }
            )
    return rows
