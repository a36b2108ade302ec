"""Writing the tables of a run folder while the study runs, so that readers find them whole.

A table is written whole and atomically, `trials.parquet` last: a trial in it always has its curve
and its blocks.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from stage1.base.files import atomic_path, remove_leftovers
from stage1.run.columns import (
    BLOCK_COLUMNS,
    COST_COLUMNS,
    CURVE_COLUMNS,
    IDENTITY_COLUMNS,
    INTEGER,
    TRIAL_COLUMNS,
    Column,
)
from stage1.run.folder import RunFolder
from stage1.run.reading import load_table


class _Table:
    """A table that grows by few rows at a time and is written whole, now and then.

    Rows are kept in pieces until the table is written: to join them for every trial would take
    longer and longer.
    """

    def __init__(self, file: Path, columns: tuple[Column, ...], table: pa.Table) -> None:
        self.file, self.columns = file, columns
        self._pieces, self._schema = [table], table.schema

    def piece(self, rows: Sequence[Mapping[str, Any]]) -> pa.Table:
        """Rows as the table would hold them.

        Raises:
            ValueError: A name or value is none of the table's.
        """
        piece = _arrow_table(rows, self.columns)
        _joined_schema([self._schema, piece.schema])
        return piece

    def add(self, piece: pa.Table) -> None:
        """Add rows made by `piece`."""
        self._schema = _joined_schema([self._schema, piece.schema])
        self._pieces.append(piece)

    def joined(self) -> pa.Table:
        """The table with all rows so far; integers become numbers where a column has both."""
        pieces = list(self._pieces)
        whole = pa.concat_tables(pieces, promote_options="permissive")
        whole = whole.select(_ordered(whole.column_names, self.columns)).combine_chunks()
        self._pieces[: len(pieces)] = [whole]
        return whole


class RunWriter:
    """Adds trials to a run folder while the study runs; the only writer of its tables.

    One thread may add trials while another saves them.
    """

    def __init__(self, run: RunFolder) -> None:
        """Continue the tables of `run`, or begin them empty.

        What a crash has left behind is dropped: curves and blocks whose trial is not in
        `trials.parquet`, and files that were never finished.

        Args:
            run: May be new; created with its parents.

        Raises:
            ResultsError: A table exists but cannot be read.
        """
        begun = run.trials.exists()
        for file in (run.trials, run.curves, run.blocks):
            remove_leftovers(file)
        trials = load_table(run.trials) if begun else _arrow_table([], TRIAL_COLUMNS)
        curves = load_table(run.curves) if begun else _arrow_table([], CURVE_COLUMNS)
        has_blocks = begun and run.blocks.exists()
        blocks = load_table(run.blocks) if has_blocks else _arrow_table([], BLOCK_COLUMNS)
        known = trials["trial_id"]
        self._trial_ids = set(known.to_pylist())
        self._trials = _Table(run.trials, TRIAL_COLUMNS, trials)
        self._curves = _Table(run.curves, CURVE_COLUMNS, _of_trials(curves, known))
        self._blocks = _Table(run.blocks, BLOCK_COLUMNS, _of_trials(blocks, known))
        self._lock = Lock()
        self._has_new_blocks = not begun or len(self._blocks.joined()) < len(blocks)
        if not begun or self._has_new_blocks:
            self.save()

    @property
    def trial_ids(self) -> frozenset[str]:
        """The trials that were added, saved or not."""
        return frozenset(self._trial_ids)

    def add_trial(
        self,
        row: Mapping[str, Any],
        curve: Iterable[Mapping[str, Any]],
        blocks: Iterable[Mapping[str, Any]] = (),
    ) -> None:
        """Write one ended trial, its curve and its blocks: `add` and `save`."""
        self.add(row, curve, blocks)
        self.save()

    def add(
        self,
        row: Mapping[str, Any],
        curve: Iterable[Mapping[str, Any]],
        blocks: Iterable[Mapping[str, Any]] = (),
    ) -> None:
        """Take one ended trial, its curve and its blocks; `save` writes them.

        Args:
            row: By names of `TRIAL_COLUMNS`; absent ones are null, non-finite numbers too.
            curve: A row per epoch by names of `CURVE_COLUMNS`, epochs increasing; what identifies
                the trial is taken from `row`. Empty if it failed before epoch 0.
            blocks: Rows by names of `BLOCK_COLUMNS`, identified in the same way.

        Raises:
            ValueError: The trial is there already, or a name or value is none of the table's. The
                tables stay as they were.
        """
        if row.get("trial_id") in self._trial_ids:
            raise ValueError(f"trial_id must be new, got {row['trial_id']!r}, already written")
        identity = {column.name: row.get(column.name) for column in IDENTITY_COLUMNS}
        epochs = [{**epoch, **identity} for epoch in curve]
        _check_epochs([epoch.get("epoch") for epoch in epochs])
        sums = [{**block, **identity} for block in blocks]
        with self._lock:
            pieces = [
                (table, table.piece(rows))
                for table, rows in (
                    (self._blocks, sums),
                    (self._curves, epochs),
                    (self._trials, [row]),
                )
                if rows
            ]
            for table, piece in pieces:
                table.add(piece)
            self._has_new_blocks = self._has_new_blocks or bool(sums)
            self._trial_ids.add(row["trial_id"])

    def save(self) -> None:
        """Write the tables, each whole or not at all, that of the trials last.

        Raises:
            OSError: A table cannot be written; what was there before is still there.
        """
        with self._lock:
            tables = [self._curves, self._trials]
            if self._has_new_blocks:
                tables.insert(0, self._blocks)
            joined = [(table.joined(), table.file) for table in tables]
            self._has_new_blocks, had_new_blocks = False, self._has_new_blocks
        try:
            for whole, file in joined:
                _save(whole, file)
        except OSError:
            self._has_new_blocks = had_new_blocks
            raise


def _of_trials(table: pa.Table, trial_ids: pa.ChunkedArray) -> pa.Table:
    return table.filter(pc.is_in(table["trial_id"], value_set=trial_ids))


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


def _joined_schema(schemas: list[pa.Schema]) -> pa.Schema:
    try:
        return pa.unify_schemas(schemas, promote_options="permissive")
    except pa.ArrowException as error:
        raise ValueError(f"values must keep to one type in a column, got: {error}") from None


def _arrow_table(rows: Sequence[Mapping[str, Any]], columns: tuple[Column, ...]) -> pa.Table:
    fixed = [column.name for column in columns if not column.is_family]
    names = _ordered(dict.fromkeys([*fixed, *(name for row in rows for name in row)]), columns)
    arrays = {}
    for name in names:
        column = columns[_position(name, columns)]
        values = [_storable(row.get(name), name) for row in rows]
        _check_values(values, name, column)
        arrays[name] = pa.array(values, type=column.type)
    return pa.table(arrays)


def _ordered(names: Iterable[str], columns: tuple[Column, ...]) -> list[str]:
    return sorted(names, key=lambda name: _position(name, columns))


@lru_cache(maxsize=1024)
def _position(name: str, columns: tuple[Column, ...]) -> int:
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
