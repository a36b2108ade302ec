"""Curves and HParams of ended trials for TensorBoard."""

from __future__ import annotations

import math
import platform
import shutil
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import summary_v2 as hparams
from tensorboard.summary.writer.record_writer import RecordWriter

from stage1.base.files import atomic_path
from stage1.base.metric_table import POOLED, USER_METRIC
from stage1.run.columns import IDENTITY_COLUMNS, PARAMETER_PREFIX, STAGES, STATUSES
from stage1.run.resolved_space import key_of
from stage1.study.space import ChoiceParameter, IntParameter, Parameter, Value
from stage1.study.space_checks import values_to_check
from stage1.study.trials import RunnableStudy

_IDENTITY = {column.name for column in IDENTITY_COLUMNS}
_TRIAL = "trial."
"""Prefix of columns that are no parameter. TensorBoard sorts the columns and shows the first five,
which are then the arm and parameters. The name shown is what comes after the point."""


def write_columns(folder: Path, study: RunnableStudy, user_metrics: Iterable[str] = ()) -> None:
    """Write which columns the HParams tab has, in place of what is there.

    Otherwise TensorBoard takes those of any one trial for all, and has no column for parameters
    that this one does not have. The folder is `tensorboard/` of the run folder.
    """
    space, metric = study.space, study.space.objective.metric
    last_seed = max([study.seed, *study.design_seeds, *study.confirm_seeds])
    by_key: dict[str, list[Parameter]] = {}
    for parameter_name, parameter in space.space.items():
        by_key.setdefault(key_of(parameter_name), []).append(parameter)
    domains = {
        "arm": hparams.Discrete(list(space.arms)),
        **{key: _domain(parameters) for key, parameters in by_key.items()},
        f"{_TRIAL}seed": hparams.IntInterval(study.seed, last_seed),
        f"{_TRIAL}stage": hparams.Discrete(STAGES),
        f"{_TRIAL}status": hparams.Discrete(STATUSES),
    }
    last_parts = Counter(map(_last_part, domains))
    columns = []
    for key, domain in domains.items():
        name = _last_part(key) if last_parts[_last_part(key)] == 1 else key
        columns.append(hparams.HParam(key, domain, display_name=name, description=key))
    of_user = (USER_METRIC + name for name in user_metrics)
    names = dict.fromkeys([metric, *(row.name for row in POOLED), *of_user])
    metrics = [hparams.Metric(name) for name in names]
    _write_run(folder / "study", [(0, hparams.hparams_config_pb(columns, metrics))])


def _write_run(folder: Path, summaries: Iterable[tuple[int, Summary]]) -> None:
    """Write summaries by step, in place of what is there: TensorBoard would show both.

    Its own writer has a thread, whose traceback is all that it says of a full disk.
    """
    shutil.rmtree(folder, ignore_errors=True)
    now = time.time()
    file = folder / f"events.out.tfevents.{now:010.0f}.{platform.node()}"
    with atomic_path(file) as path, path.open("wb") as stream:
        records = RecordWriter(stream)
        records.write(Event(wall_time=now, file_version="brain.Event:2").SerializeToString())
        for step, summary in summaries:
            event = Event(wall_time=now, step=step, summary=summary)
            records.write(event.SerializeToString())


def _last_part(key: str) -> str:
    return key.rpartition(".")[2]


def _domain(parameters: list[Parameter]) -> hparams.Domain:
    """What the parameters of a key can be; TensorBoard knows no null."""
    values = [value for parameter in parameters for value in values_to_check(parameter)]
    if all(isinstance(parameter, ChoiceParameter) for parameter in parameters):
        options = dict.fromkeys(_number_as_float(value) for value in values if value is not None)
        return hparams.Discrete(list(options), dtype=None if options else str)  # of one type
    numbers = [float(value) for value in values if isinstance(value, int | float)]
    if all(isinstance(parameter, IntParameter) for parameter in parameters):
        return hparams.IntInterval(int(min(numbers)), int(max(numbers)))
    return hparams.RealInterval(min(numbers), max(numbers))


def _number_as_float(option: Value) -> Value:
    return float(option) if isinstance(option, int) and not isinstance(option, bool) else option


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
        if key.startswith(PARAMETER_PREFIX) and value is not None
    }
    about = {f"{_TRIAL}{name}": row[name] for name in ("seed", "stage", "status")}
    values = {"arm": row["arm"], **parameters, **about}
    about_trial = hparams.hparams_pb(values, row["trial_id"], row["started_at"].timestamp())
    points = [(point["epoch"], _scalars(point)) for point in curve]
    trial = folder / row["stage"] / row["arm"] / row["trial_id"]
    _write_run(trial, [(0, about_trial), *points])


def _scalars(point: Mapping[str, Any]) -> Summary:
    return Summary(
        value=[
            Summary.Value(tag=name, simple_value=value)
            for name, value in point.items()
            if name not in _IDENTITY and name != "epoch" and math.isfinite(value)
        ]
    )
