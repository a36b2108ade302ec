"""Everything a run folder holds for the analysis, read once."""

from __future__ import annotations

from typing import Any, NamedTuple

import pandas as pd

from stage1.preregistration import (
    Preregistration,
    preregistration_deviations,
    read_preregistration,
)
from stage1.results import (
    RunFolder,
    read_blocks,
    read_cost,
    read_curves,
    read_space,
    read_trials,
)
from stage1.run_space import require_timeframes


class RunTables(NamedTuple):
    """The tables of a run and what they are to be read by."""

    run: RunFolder
    space: dict[str, Any]
    """The resolved study."""
    registration: Preregistration
    trials: pd.DataFrame
    curves: pd.DataFrame
    cost: pd.DataFrame
    """No rows if nothing was timed."""
    blocks: pd.DataFrame
    """No rows if none were recorded."""
    deviations: list[str]
    """What was edited since the first trial."""


def read_run(run: RunFolder) -> RunTables:
    """Read a run folder, beside a running study too.

    Raises:
        ResultsError: The folder is not a run, or a file in it cannot be read.
    """
    trials = read_trials(run)  # first: then every trial has its curve and its blocks
    space = read_space(run)
    require_timeframes(run.space, space)
    return RunTables(
        run=run,
        space=space,
        registration=read_preregistration(run),
        trials=trials,
        curves=read_curves(run),
        cost=read_cost(run),
        blocks=read_blocks(run),
        deviations=preregistration_deviations(run),
    )
