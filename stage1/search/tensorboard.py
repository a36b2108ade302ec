"""Curves and HParams of ended trials for TensorBoard."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from stage1.results import IDENTITY_COLUMNS, PARAMETER_PREFIX

_FINAL = ("val_loss", "val_correlation", "val_skill", "consistency_ratio", "spectral_delta")
_IDENTITY = {column.name for column in IDENTITY_COLUMNS}


def write_trial(folder: Path, row: dict[str, Any], curve: list[dict[str, Any]]) -> None:
    """Write an ended trial as a TensorBoard run by stage, arm and trial, in place of an old one.

    Args:
        folder: `tensorboard/` of the run folder.
        row: Of trials.parquet.
        curve: Rows of curves.parquet.
    """
    parameters = {
        key.removeprefix(PARAMETER_PREFIX): value
        for key, value in row.items()
        if key.startswith(PARAMETER_PREFIX)
    }
    final = {
        f"final/{name}": row[name] for name in _FINAL if math.isfinite(row.get(name, math.nan))
    }
    trial = folder / row["stage"] / row["arm"] / row["trial_id"]
    shutil.rmtree(trial, ignore_errors=True)  # TensorBoard would show the curves of both
    with SummaryWriter(trial) as writer:
        for point in curve:
            for name, value in point.items():
                if name not in _IDENTITY and name != "epoch" and math.isfinite(value):
                    writer.add_scalar(name, value, point["epoch"])
        if final:
            hparams = {"arm": row["arm"], "seed": row["seed"], **parameters}
            writer.add_hparams(hparams, final, run_name=".")
