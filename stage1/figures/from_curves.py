"""The learning curves straight from the tables, for runs that are not evaluated."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.figure import Figure

from stage1.figures.drawn import LOOK
from stage1.figures.epochs import drawn_curves, learning_curves
from stage1.results import DESIGN
from stage1.summary import baseline_value, full_horizon

CORRELATION = "val_correlation"


def learning_curves_figure(
    trials: pd.DataFrame, curves: pd.DataFrame, space: dict[str, Any]
) -> Figure | None:
    """The design's learning curves per arm; None before its first full-horizon trial."""
    design = full_horizon(trials, space, [DESIGN])
    known = curves[curves["trial_id"].isin(design["trial_id"])]
    epochs = np.arange(int(space["horizon_epochs"]) + 1)
    by_arm = {}
    for arm in space["arms"]:
        rows = known[known["arm"] == arm]
        table = rows.pivot_table(index="trial_id", columns="epoch", values=CORRELATION)
        by_arm[arm] = table.reindex(columns=epochs).to_numpy(dtype=float)[:, None, :]
    drawn = learning_curves(by_arm, epochs)
    if not drawn:
        return None
    baseline = baseline_value(trials, CORRELATION)
    with rc_context(LOOK):
        return drawn_curves(drawn, arms=list(by_arm), baseline=baseline, early_epoch=None)
