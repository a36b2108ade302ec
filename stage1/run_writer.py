"""Writing the tables of a run folder while the study runs, so that readers find them whole.

A table is rewritten whole and atomically after every trial, `trials.parquet` last: a trial in it
always has its curve and its blocks.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from stage1.files import atomic_path
from stage1.results import load_table
from stage1.run_folder import RunFolder
from stage1.run_tables import (
    BLOCK_COLUMNS,
    COST_COLUMNS,
    CURVE_COLUMNS,
    IDENTITY_COLUMNS,
    INTEGER,
    TRIAL_COLUMNS,
    Column,
)


class RunWriter:
    """Adds trials to a run folder while the study runs; the only writer of its tables."""

    def __init__(self, run: RunFolder) -> None:
        """Continue the tables of `run`, or begin them empty.

        Curves and blocks whose trial is not in `trials.parquet` are leftovers of a crash and are
        dropped.

        Args:
            run: May be new; created with its parents.

        Raises:
            ResultsError: A table exists but cannot be read.
        """
        self._run = run
        self._blocks = _arrow_table([], BLOCK_COLUMNS)
        if run.trials.exists():
            self._trials = load_table(run.trials)
            self._curves = self._of_written_trials(load_table(run.curves))
            if run.blocks.exists():
                blocks = load_table(run.blocks)
                self._blocks = self._of_written_trials(blocks)
                if len(self._blocks) < len(blocks):  # unlike curves, not every trial writes them
                    _save(self._blocks, run.blocks)
        else:
            self._trials = _arrow_table([], TRIAL_COLUMNS)
            self._curves = _arrow_table([], CURVE_COLUMNS)
            _save(self._blocks, run.blocks)
            _save(self._curves, run.curves)
            _save(self._trials, run.trials)

    def _of_written_trials(self, table: pa.Table) -> pa.Table:
        return table.filter(pc.is_in(table["trial_id"], value_set=self._trials["trial_id"]))

    @property
    def trial_ids(self) -> frozenset[str]:
        """The trials that are written."""
        return frozenset(self._trials["trial_id"].to_pylist())

    def add_trial(
        self,
        row: Mapping[str, Any],
        curve: Iterable[Mapping[str, Any]],
        blocks: Iterable[Mapping[str, Any]] = (),
    ) -> None:
        """Write one ended trial, its curve and its blocks.

        Args:
            row: By names of `TRIAL_COLUMNS`; absent ones are null, non-finite numbers too.
            curve: A row per epoch by names of `CURVE_COLUMNS`, epochs increasing; what identifies
                the trial is taken from `row`. Empty if it failed before epoch 0.
            blocks: Rows by names of `BLOCK_COLUMNS`, identified in the same way.

        Raises:
            ValueError: The trial is there already, or a name or value is none of the table's. The
                tables stay as they were.
        """
        if row.get("trial_id") in self.trial_ids:
            raise ValueError(f"trial_id must be new, got {row['trial_id']!r}, already written")
        identity = {column.name: row.get(column.name) for column in IDENTITY_COLUMNS}
        epochs = [{**epoch, **identity} for epoch in curve]
        _check_epochs([epoch.get("epoch") for epoch in epochs])
        sums = [{**block, **identity} for block in blocks]
        added = _extended(self._blocks, sums, BLOCK_COLUMNS) if sums else self._blocks
        curves = _extended(self._curves, epochs, CURVE_COLUMNS)
        trials = _extended(self._trials, [row], TRIAL_COLUMNS)
        if sums:
            _save(added, self._run.blocks)
        _save(curves, self._run.curves)
        _save(trials, self._run.trials)
        self._blocks, self._curves, self._trials = added, curves, trials


def write_cost(run: RunFolder, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write cost.parquet whole, by names of `COST_COLUMNS`.

    Raises:
        ValueError: A name or value is none of the table's. Nothing is written.
    """
    _save(_arrow_table(rows, COST_COLUMNS), run.cost)


def _check_epochs(epochs: list[Any]) -> None:
    if None in epochs:
        raise ValueError(f"epoch must be given in every row of a curve, got {epochs}")
    if any(later <= earlier for earlier, later in pairwise(epochs)):
        raise ValueError(f"epochs of a curve must increase, got {epochs}")


def _save(table: pa.Table, file: Path) -> None:
    with atomic_path(file) as path:
        pq.write_table(table, path)


def _extended(
    table: pa.Table, rows: Sequence[Mapping[str, Any]], columns: Sequence[Column]
) -> pa.Table:
    """The table with rows added; integers become numbers where a column has both."""
    try:
        both = [table, _arrow_table(rows, columns)]
        joined = pa.concat_tables(both, promote_options="permissive")
    except pa.ArrowException as error:
        raise ValueError(f"values must keep to one type in a column, got: {error}") from None
    return joined.select(_ordered(joined.column_names, columns)).combine_chunks()


def _arrow_table(rows: Sequence[Mapping[str, Any]], columns: Sequence[Column]) -> pa.Table:
    fixed = [column.name for column in columns if not column.is_family]
    names = _ordered(dict.fromkeys([*fixed, *(name for row in rows for name in row)]), columns)
    arrays = {}
    for name in names:
        column = columns[_position(name, columns)]
        values = [_storable(row.get(name), name) for row in rows]
        _check_values(values, name, column)
        arrays[name] = pa.array(values, type=column.type)
    return pa.table(arrays)


def _ordered(names: Iterable[str], columns: Sequence[Column]) -> list[str]:
    return sorted(names, key=lambda name: _position(name, columns))


def _position(name: str, columns: Sequence[Column]) -> int:
    """Place of the column of that name, or of the first family it belongs to."""
    for place, column in enumerate(columns):
        if re.match(column.pattern, name):
            return place
    raise ValueError(f"a column must be one of the table's, got {name!r}")


def _storable(value: Any, name: str) -> Any:
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError(f"{name} must have a time zone, got {value}")
        return value.astimezone(UTC)  # pyarrow would drop the offset, not apply it
    if value is None or isinstance(value, str | int | np.integer | np.bool_):
        return value
    raise ValueError(f"{name} must be text, a number, true or false, a time or null, got {value!r}")


def _check_values(values: list[Any], name: str, column: Column) -> None:
    if column.required and None in values:
        raise ValueError(f"{name} must be given, got null")
    if column.type == INTEGER and not all(isinstance(v, int | np.integer | None) for v in values):
        raise ValueError(f"{name} must be a whole number, got {values}")
    wrong = [value for value in values if column.allowed and value not in column.allowed]
    if wrong:
        raise ValueError(f"{name} must be one of {', '.join(column.allowed)}, got {wrong[0]!r}")
