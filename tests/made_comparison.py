"""A comparison made by hand: numbers simple enough to check with a pencil."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from stage1.config import Config, with_values
from stage1.run.columns import COMPLETED, DESIGN, DIVERGED
from stage1.run.comparison_record import CONFIG_ID, ComparisonRecord, DataRecord, MachineRecord
from stage1.run.folder import RunFolder
from stage1.run.tables import RunWriter
from stage1.study.resume import begin_comparison

SEEDS = (1, 2, 3)
HORIZON = 5
START = datetime(2026, 11, 1, tzinfo=UTC)
BASELINE = {"baseline_val_loss": 0.30, "baseline_val_correlation": 0.50}

CORRELATION = {  # by configuration and seed, epochs 0 to 5; `late` lost seed 2 after epoch 2
    ("plain", 1): [0.0, 0.2, 0.4, 0.6, 0.8, 0.80],
    ("plain", 2): [0.0, 0.4, 0.6, 0.8, 0.8, 0.84],
    ("plain", 3): [0.0, 0.3, 0.5, 0.7, 0.8, 0.82],
    ("free", 1): [0.0, 0.5, 0.8, 0.82, 0.85, 0.86],
    ("free", 2): [0.0, 0.5, 0.8, 0.86, 0.85, 0.86],
    ("free", 3): [0.0, 0.5, 0.8, 0.84, 0.85, 0.83],
    ("late", 1): [0.0, 0.1, 0.2, 0.3, 0.4, 0.40],
    ("late", 2): [0.0, 0.1, 0.2],
    ("late", 3): [0.0, 0.1, 0.2, 0.3, 0.4, 0.44],
}
LOSS = {
    ("plain", 1): [1.0, 0.8, 0.6, 0.4, 0.30, 0.20],
    ("plain", 2): [1.0, 0.8, 0.6, 0.4, 0.35, 0.22],
    ("plain", 3): [1.0, 0.8, 0.6, 0.4, 0.30, 0.24],
    ("free", 1): [1.0, 0.5, 0.3, 0.25, 0.20, 0.10],
    ("free", 2): [1.0, 0.5, 0.3, 0.37, 0.20, 0.16],
    ("free", 3): [1.0, 0.5, 0.3, 0.25, 0.26, 0.25],
    ("late", 1): [1.0, 0.9, 0.8, 0.7, 0.60, 0.50],
    ("late", 2): [1.0, 0.9, 9.0],
    ("late", 3): [1.0, 0.9, 0.8, 0.7, 0.60, 0.54],
}
SKILL = {"plain": 0.2, "free": 0.3, "late": -0.5}
PER_STEP = {
    **{("plain", 1): 0.020, ("plain", 2): 0.025, ("plain", 3): 0.020},
    **{("free", 1): 0.022, ("free", 2): 0.0275, ("free", 3): 0.026},
    **{("late", 1): 0.010, ("late", 2): 0.010, ("late", 3): 0.010},
}


def made_record(**changes: Any) -> ComparisonRecord:
    """Three configurations of which the middle one is vanilla; `changes` replace."""
    base = with_values(Config(), {"training.epochs": HORIZON})
    fields: dict[str, Any] = {
        "configs": {
            "late": with_values(base, {"transfer_learning.freeze_lm_epochs": 3}),
            "plain": with_values(base, {"transfer_learning.use_pretrained_lm": False}),
            "free": base,
        },
        "seeds": SEEDS,
        "data": DataRecord(data_dir=None, fingerprint="f" * 64),
        "language_models": {"google-t5/t5-small": "a" * 64},
        "versions": {"stage1": "0.1.0", "torch": "2.13.0"},
        "machine": MachineRecord(cores=2, gpu=None),
    }
    return ComparisonRecord(**fields | changes)


def made_trial(name: str, seed: int, **columns: Any) -> dict[str, Any]:
    """A row of trials.parquet; `columns` replace."""
    epochs = len(LOSS[name, seed]) - 1
    last = {
        "val_loss": LOSS[name, seed][-1],
        "val_correlation": CORRELATION[name, seed][-1],
        "val_skill": SKILL[name],
    }
    completed = epochs == HORIZON
    order = [*CORRELATION].index((name, seed))
    return {
        "trial_id": f"{DESIGN}-{CONFIG_ID}-{name}-{seed}",
        "stage": DESIGN,
        "arm": name,
        "config_id": CONFIG_ID,
        "seed": seed,
        "status": COMPLETED if completed else DIVERGED,
        "epochs": epochs,
        **last,
        **BASELINE,
        "seconds": 10.0 + seed,
        "seconds_per_step": PER_STEP[name, seed],
        "peak_rss_mb": 600.0 + 10 * seed,
        "peak_vram_mb": None,
        "started_at": START + timedelta(minutes=order),
        "node": "here",
        "error": None if completed else "val_loss must stay finite, got inf at epoch 3",
    } | columns


def made_curve(name: str, seed: int) -> list[dict[str, Any]]:
    """Rows of curves.parquet."""
    pairs = zip(LOSS[name, seed], CORRELATION[name, seed], strict=True)
    return [
        {"epoch": epoch, "val_loss": loss, "val_correlation": correlation, "val_skill": SKILL[name]}
        for epoch, (loss, correlation) in enumerate(pairs)
    ]


def write_made(path, *, only=tuple(CORRELATION), of=None, **columns):
    """Write the folder of the comparison.

    Args:
        path: Of the folder.
        only: The trainings that have ended.
        of: Fields of the record that are replaced.
        columns: Of all trials that are replaced.
    """
    run = RunFolder(path)
    begin_comparison(run, made_record(**(of or {})))
    writer = RunWriter(run)
    for name, seed in only:
        writer.add_trial(made_trial(name, seed, **columns), made_curve(name, seed))
    return run
