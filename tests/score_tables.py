"""A run's tables in memory, made from arrays of scores, for tests of the claims."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from synthetic_run import changed_study, synthetic_study

from stage1.claims.catalogue import ERROR_RATE
from stage1.claims.scores import ArmScores, RunTables
from stage1.claims.verdicts import Finding
from stage1.run.columns import (
    BLOCK_COLUMNS,
    COMPLETED,
    COST_COLUMNS,
    DESIGN,
    DIVERGED,
    FAILED,
    INTEGER,
    PARAMETER_PREFIX,
    PRETRAINED,
    ROLES,
    TEXT,
    VANILLA,
    Column,
)
from stage1.run.folder import RunFolder
from stage1.run.registration import CostPlan, Preregistration, RandomArm
from stage1.run.resolved_space import ResolvedSpace

EARLY, HORIZON = 1, 2
ZERO_VAL_LOSS = 1.0
"""So that a log val_loss above 0 is clipped."""
SIZE = "google-t5/t5-small"
TIMEFRAMES = ("m1", "m5")


def arm_scores(final, *, name="", early=None, log_loss=None, diverged=None) -> ArmScores:
    """Scores of an arm; what is not given follows from the final correlation."""
    final = np.asarray(final, dtype=float)
    return ArmScores(
        name,
        early=final / 2 if early is None else np.asarray(early, dtype=float),
        final=final,
        log_loss=-final if log_loss is None else np.asarray(log_loss, dtype=float),
        diverged=np.zeros(final.shape, dtype=bool) if diverged is None else np.asarray(diverged),
    )


def drawn_arm(
    generator, *, configurations=16, seeds=2, mean=0.5, spread=0.03, noise=0.01, loss_spread=0.2
) -> ArmScores:
    """An arm of Gaussian scores; early ones agree with final ones."""
    quality = generator.normal(size=(configurations, 1))
    luck = generator.normal(size=(2, configurations, seeds)) * noise / spread
    early, final = quality + luck
    return ArmScores(
        name="",
        early=0.7 * mean + spread * early,
        final=mean + spread * final,
        log_loss=-1 - loss_spread * final,
        diverged=np.zeros(final.shape, dtype=bool),
    )


def judged(definition, first: ArmScores, second: ArmScores) -> Finding:
    """What two arms' scores say of a claim at the usual error rate."""
    arms = (first._replace(name="first arm"), second._replace(name="second arm"))
    return definition.judge(*arms, error_rate=ERROR_RATE)


def timed_cost(ratios: Sequence[float], *, size: str = SIZE, patch_len: int = 8) -> pd.DataFrame:
    """A cost block: seconds of the T5 over those of the vanilla encoder, one per round."""
    rows = [
        {
            "arm": arm,
            "size": size,
            "patch_len": patch_len,
            "round": number,
            "steps": 10,
            "seconds": seconds,
            "peak_rss_mb": 700.0,
            "peak_vram_mb": math.nan,
        }
        for number, ratio in enumerate(ratios)
        for arm, seconds in ((PRETRAINED, 0.2 * ratio), (VANILLA, 0.2))
    ]
    return pd.DataFrame(rows)


def study_tables(arms: Mapping[str, ArmScores], /, **registered: Any) -> RunTables:
    """The tables of a finished study whose arms are called by their roles.

    A diverged trial has a curve of epoch 0 alone; one without a final score has failed.

    Args:
        arms: Scores by arm, (configurations, seeds).
        registered: In place of what the registration would hold.
    """
    rows, curves = [], []
    for arm, scores in arms.items():
        for c, s in np.ndindex(scores.final.shape):
            row, curve = _trial(arm, scores, c, s)
            rows.append(row)
            curves.extend({**_identity(row), **epoch} for epoch in curve)
    configurations, seeds = next(iter(arms.values())).final.shape
    trials = pd.DataFrame(rows).astype({"steps": "Int64"})
    return RunTables(
        run=RunFolder(Path("runs/made-up")),
        space=_space(arms, configurations, seeds),
        registration=_registration(list(arms), configurations, seeds, registered),
        trials=trials,
        curves=pd.DataFrame(curves),
        cost=_without_rows(COST_COLUMNS),
        blocks=_without_rows(BLOCK_COLUMNS),
        deviations=[],
    )


def _without_rows(columns: Sequence[Column]) -> pd.DataFrame:
    types = {TEXT: "str", INTEGER: "int64"}
    return pd.DataFrame(
        {column.name: pd.Series(dtype=types.get(column.type, "float64")) for column in columns}
    )


def _identity(row: dict[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in ("trial_id", "stage", "arm", "config_id", "seed")}


def _trial(arm: str, scores: ArmScores, c: int, s: int) -> tuple[dict[str, Any], list[Any]]:
    status = COMPLETED
    if not math.isfinite(scores.final[c, s]):
        status = FAILED
    if scores.diverged[c, s]:
        status = DIVERGED
    done = status == COMPLETED
    correlations = [0.0, scores.early[c, s], scores.final[c, s]] if done else [0.0]
    losses = [ZERO_VAL_LOSS, ZERO_VAL_LOSS, math.exp(scores.log_loss[c, s])]
    row = {
        "trial_id": f"design-{c:03d}-{arm}-{s + 1}",
        "stage": DESIGN,
        "arm": arm,
        "config_id": f"design{c:03d}",
        "seed": s + 1,
        "status": status,
        "epochs": HORIZON if done else 0,
        PARAMETER_PREFIX + "training.optimizer.lr": 1e-3 * (c + 1),
        "val_correlation": scores.final[c, s] if done else math.nan,
        "val_skill": 0.2 + 0.01 * scores.final[c, s] if done else math.nan,
        "val_corr_m1": scores.final[c, s] if done else math.nan,
        "val_corr_m5": scores.final[c, s] if done else math.nan,
        "zero_val_loss": ZERO_VAL_LOSS,
        "seconds_per_step": 0.03 if arm == PRETRAINED else 0.02,
        "lm_sha256": f"{arm}",
        "head_sha256": f"head {s}",
        "order_sha256": f"order {s}",
        "mask_sha256": f"mask {s}",
        "steps": 400 if done else 0,
        "started_at": datetime(2026, 11, 1, tzinfo=UTC),
    }
    curve = [
        {"epoch": epoch, "val_correlation": r, "val_loss": loss, "seconds": 3.0 * epoch}
        for epoch, (r, loss) in enumerate(zip(correlations, losses, strict=False))
    ]
    return row, curve


def _space(arms: Mapping[str, ArmScores], configurations: int, seeds: int) -> ResolvedSpace:
    changes = {"name": "made-up", "horizon_epochs": HORIZON, "arms": {arm: {} for arm in arms}}
    space = synthetic_study(configurations=configurations, seeds=seeds)
    return changed_study(space, **changes, config={"data": {"timeframes": list(TIMEFRAMES)}})


def _registration(
    arms: list[str], configurations: int, seeds: int, registered: dict[str, Any]
) -> Preregistration:
    fields: dict[str, Any] = {
        "space_sha256": "0" * 64,
        "written_at": datetime(2026, 11, 1, tzinfo=UTC),
        "arms": arms,
        "roles": {role: role for role in ROLES if role in registered.get("arms", arms)},
        "configurations": configurations,
        "seeds": list(range(1, seeds + 1)),
        "horizon_epoch": HORIZON,
        "early_epoch": EARLY,
        "random_arm": RandomArm(initializer_factor=1.0, input_scale=None),
        "cost": CostPlan(size=SIZE, patch_len=8) if PRETRAINED in arms else None,
        "language_models": {SIZE: "b" * 64},
        "versions": {},
    }
    return Preregistration(**fields | registered)
