"""All trials as data for the page's script: what a reader filters, sorts, brushes and compares."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.ticker import MaxNLocator

from stage1.base.metric_table import POOLED, USER_METRIC, Scale, metric_label, metric_row
from stage1.claims.intervals import Values
from stage1.claims.scores import RunTables
from stage1.pages.blocks import Block, Explorer, Heading, paragraph
from stage1.pages.figures.drawn import arm_styles, correlation_ticks, fisher, log_locator, scale_of
from stage1.run.columns import STAGES, STATUSES
from stage1.run.resolved_space import Choice, Domain, key_of
from stage1.run.summary import Value, baseline_value, leaderboard, row_values

_MOST_POINTS = 150_000
"""Numbers of all curves together; of longer ones every second, third ... epoch is shown."""
_DIGITS = 6
"""Significant ones of a number: no screen shows more."""
_MISSING = -0.1
"""Place on an axis of what was not searched or not reached: below its foot."""


class Axis(NamedTuple):
    """An axis of the parallel coordinates; places are 0 at its foot and 1 at its head."""

    places: list[float]
    """Of each trial."""
    ticks: list[tuple[float, str]]


class Column(NamedTuple):
    """A column of the table of trials, in the order of the trials."""

    name: str
    key: str
    """In full."""
    cells: Sequence[float | None]
    """Numbers, or places in `options`; null = not searched, not known."""
    options: list[str] | None = None
    """Texts, one of which each trial has; null = numbers."""
    better: str = ""
    """min or max, of a metric."""
    filtered: bool = False
    """Whether the page has a filter for it."""
    axis: Axis | None = None


def explorer_blocks(tables: RunTables) -> list[Block]:
    """The section of all trials; none before the first has ended."""
    if tables.trials.empty:
        return []
    return [
        Heading("All trials"),
        paragraph(
            "In report.html, where a browser runs its script, trials can be filtered, sorted and "
            "compared curve by curve here, without a network. For other tools the same numbers "
            "are in trials.parquet and curves.parquet.",
            note=True,
        ),
        Explorer(_data(tables)),
    ]


def _data(tables: RunTables) -> dict[str, Any]:
    trials, space = _in_order(tables), tables.space
    arms = list(dict.fromkeys([*space.arms, *trials["arm"]]))
    return {
        "names": trials["config_id"].tolist(),
        "columns": [
            column._asdict() | {"axis": column.axis and column.axis._asdict()}
            for column in _columns(trials, tables)
        ],
        "colors": {arm: style.color for arm, style in arm_styles(arms).items()},
        "horizon": space.horizon_epochs,
        **_curves(trials, tables),
    }


def _in_order(tables: RunTables) -> pd.DataFrame:
    """Trials with the place of their configuration on the leaderboard, best first."""
    space = tables.space
    board = leaderboard(tables.trials, space, tables.registration)
    identity = ["arm", "stage", "config_id"]
    places = board[identity].assign(place=np.arange(1.0, len(board) + 1))
    trials = tables.trials.assign(objective=tables.trials.get(space.objective.metric, math.nan))
    trials = trials.merge(places, how="left", on=identity)
    best_first = [True, space.objective.mode == "min"]
    return trials.sort_values(["place", "objective"], ascending=best_first, ignore_index=True)


# Columns ----------------------------------------------------------------------------------------


def _columns(trials: pd.DataFrame, tables: RunTables) -> list[Column]:
    space, objective = tables.space, tables.space.objective.metric
    searched = [row_values(row, space) for _, row in trials.iterrows()]
    domains: dict[str, list[Domain]] = {}
    for name, domain in space.space.items():
        domains.setdefault(key_of(name), []).append(domain)
    others = [name for name in _metrics(trials) if name != objective]
    return [
        _numbers("place", trials["place"]),
        _objective(objective, trials["objective"], space.objective.mode),
        _texts("arm", trials["arm"], list(space.arms)),
        _texts("stage", trials["stage"], STAGES),
        _numbers("seed", trials["seed"]),
        _texts("status", trials["status"], STATUSES),
        _numbers("epochs", trials["epochs"]),
        *(
            _searched(key, [values.get(key, ...) for values in searched], alternatives)
            for key, alternatives in domains.items()
        ),
        *(
            _numbers(name, trials[name], better=_better(name))._replace(name=_short(name))
            for name in others
        ),
        _numbers("seconds", trials["seconds"]),
    ]


def _metrics(rows: pd.DataFrame) -> list[str]:
    """Metrics of all timeframes together that the rows have, ours and then a user's own."""
    known = rows.columns[rows.notna().any()].tolist()
    ours = [metric.name for metric in POOLED if metric.name in known]
    return [*ours, *(name for name in known if name.startswith(USER_METRIC))]


def _short(metric: str) -> str:
    return metric.removeprefix(USER_METRIC)


def _better(metric: str) -> str:
    row = metric_row(metric)
    return row.better if row else ""


def _numbers(name: str, values: Iterable[Any], *, better: str = "") -> Column:
    return Column(name, name, [_rounded(value) for value in values], better=better)


def _rounded(value: Any) -> float | None:
    return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None


def _texts(name: str, values: Iterable[str], options: Sequence[str]) -> Column:
    """Of the options those that occur, then what is none of them."""
    values = list(values)
    known = [option for option in options if option in values]
    options = list(dict.fromkeys([*known, *values]))
    cells = [options.index(text) for text in values]
    return Column(name, name, cells, options, filtered=len(options) > 1)


def _searched(key: str, values: list[Any], domains: list[Domain]) -> Column:
    """What was searched of a key; an ellipsis stands where it was not."""
    name = key.rpartition(".")[2]
    choices = [domain for domain in domains if isinstance(domain, Choice)]
    ranges = [domain for domain in domains if not isinstance(domain, Choice)]
    if choices:
        listed = [option for domain in choices for option in domain.options]
        tried = [value for value in values if value is not ...]
        options = list(dict.fromkeys(map(_text, [*listed, *tried])))
        cells = [None if value is ... else options.index(_text(value)) for value in values]
        axis = _axis(_array(cells), dict(enumerate(options)))
        return Column(name, key, cells, options, filtered=True, axis=axis)
    numbers = _array([None if value is ... else value for value in values])
    bounds = np.array([bound for domain in ranges for bound in (domain.low, domain.high)])
    axis = _scaled(
        numbers,
        "log" if all(domain.log for domain in ranges) else "linear",
        bounds=bounds,
        whole=all(domain.type == "int" for domain in ranges),
    )
    return _numbers(name, numbers)._replace(key=key, filtered=True, axis=axis)


def _text(value: Value) -> str:
    """An option as YAML writes it."""
    if value is None or isinstance(value, bool):
        return str(value).lower().replace("none", "null")
    return value if isinstance(value, str) else f"{value:g}"


def _array(values: Sequence[Any]) -> Values:
    return np.array([math.nan if value is None else value for value in values], dtype=float)


def _objective(name: str, values: pd.Series[float], mode: str) -> Column:
    numbers = _array(values.tolist())
    axis = _scaled(numbers, scale_of(name, numbers))
    return _numbers(name, numbers, better=mode)._replace(filtered=True, axis=axis)


# Axes ---------------------------------------------------------------------------------------------


def _scaled(
    values: Values, scale: Scale, *, bounds: Values | None = None, whole: bool = False
) -> Axis:
    """The axis of numbers, as long as they and the bounds reach."""
    ends = np.concatenate([values[np.isfinite(values)], [] if bounds is None else bounds])
    low, high = (float(ends.min()), float(ends.max())) if ends.size else (0.0, 0.0)
    ticks: Iterable[float] = [low]
    if high > low:
        locator = MaxNLocator(5, steps=[1, 2, 5, 10], integer=whole)
        match scale:
            case "correlation":
                ticks = correlation_ticks(low, high)
            case "log":
                ticks = log_locator(low, high).tick_values(low, high)
            case "linear":
                ticks = locator.tick_values(low, high)
    forward: dict[Scale, Callable[[Values], Values]] = {
        "correlation": fisher,
        "log": np.log,
        "linear": np.asarray,
    }
    shown = {tick: f"{tick:g}" for tick in map(float, ticks) if low <= tick <= high}
    return _axis(values, {low: "", high: ""} | shown, forward[scale])


def _axis(
    values: Values, ticks: dict[float, str], forward: Callable[[Values], Values] = np.asarray
) -> Axis:
    """The axis between the outermost ticks, spaced by `forward`; a tick without text is none."""
    low, high = forward(np.array([min(ticks), max(ticks)], dtype=float))

    def place(numbers: Values) -> list[float]:
        shares = (forward(numbers) - low) / (high - low) if high > low else 0.5 + 0 * numbers
        return list(map(float, np.where(np.isfinite(numbers), shares, _MISSING).round(4)))

    named = {tick: text for tick, text in sorted(ticks.items()) if text}
    places = place(np.array(list(named), dtype=float))
    return Axis(place(values), list(zip(places, named.values(), strict=True)))


# Curves -------------------------------------------------------------------------------------------


def _curves(trials: pd.DataFrame, tables: RunTables) -> dict[str, Any]:
    """Metrics by trial and epoch, the objective first, and how they are drawn."""
    curves, objective = tables.curves, tables.space.objective.metric
    names = [
        name
        for name in dict.fromkeys([objective, *_metrics(curves), "train_loss"])
        if name in curves
    ]
    every = math.ceil(len(curves) * (1 + len(names)) / _MOST_POINTS) or 1
    last = curves.groupby("trial_id")["epoch"].transform("max")
    shown = curves[(curves["epoch"] % every == 0) | (curves["epoch"] == last)]
    by_trial = {
        trial: [[*map(_rounded, rows[name])] for name in ("epoch", *names)]
        for trial, rows in shown.sort_values("epoch").groupby("trial_id")
    }
    return {
        "curves": [by_trial.get(trial) for trial in trials["trial_id"]],
        "metrics": [
            {
                "name": _short(name),
                "label": metric_label(name),
                "scale": scale_of(name, curves[name].to_numpy(dtype=float)),
                "baseline": _rounded(baseline_value(trials, name)),
            }
            for name in names
        ],
    }
