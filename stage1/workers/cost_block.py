"""The cost block: after the last trial, every T5 timed against the vanilla encoder of its width."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError
from rich.console import Console

from stage1.base.errors import TrialError
from stage1.base.terminal import print_plain
from stage1.base.text import reason_of
from stage1.config import Config
from stage1.run.folder import RunFolder
from stage1.run.registration import COST_ROUNDS
from stage1.run.tables import read_cost, write_cost
from stage1.study.space import Resources
from stage1.study.study import Study, cost_config, pretrained_language_models
from stage1.training.memory import take_device
from stage1.training.timing import time_rounds
from stage1.workers.trainable import SharedInputs

Rows = list[dict[str, Any]]


def record_cost(
    study: Study, run: RunFolder, console: Console, *, time_size: Callable[[Config], Rows]
) -> None:
    """Time every T5 that is not timed yet, and write cost.parquet once at the end.

    A language model that cannot be timed is named on the console, and is timed when the finished
    study is resumed. `time_size` gives the rows of a configuration's language model.
    """
    recorded = read_cost(run)
    rounds = recorded["size"].value_counts()
    names = pretrained_language_models(study)
    missing = [name for name in names if rounds.get(name, 0) < 2 * COST_ROUNDS]
    complete: Any = recorded[~recorded["size"].isin(missing)]
    rows: Rows = complete.to_dict("records")
    for name in missing:
        print_plain(console, f"Timing {name} against a vanilla encoder of the same width ...")
        try:
            rows += time_size(cost_config(study, name))
        except TrialError as error:
            print_plain(
                console,
                f"Warning: {name} could not be timed, so what it costs stays open: {error}. The "
                "trials are complete; the same command with --resume tries again.",
            )
    if missing and rows:
        write_cost(run, rows)


def time_on_cluster(config: Config, shared: SharedInputs, resources: Resources) -> Rows:
    """The rows of a configuration's language model, timed where trials run, with their resources.

    Raises:
        TrialError: The timing failed, or its process died.
    """
    task = ray.remote(num_cpus=resources.cpus, num_gpus=resources.gpus, max_retries=0, max_calls=1)(
        _time
    )
    try:
        rows: Rows = ray.get(task.remote(config.model_dump(mode="json"), shared, resources.gpus))
    except RayError as error:
        cause = error.cause if isinstance(error, RayTaskError) else error
        raise TrialError(reason_of(cause)) from None
    return rows


def _time(config: dict[str, Any], shared: SharedInputs, gpus: float) -> Rows:
    checked = Config.model_validate(config)
    return time_rounds(
        checked,
        shared.windows(checked),
        shared.language_model(checked.transfer_learning.lm_name_or_path),
        rounds=COST_ROUNDS,
        accelerator=take_device(gpus),
    )
