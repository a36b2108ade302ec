"""The tables of a run folder: one check of what they hold, for who writes and who reads them.

A folder may come from anyone: names must be fit to be printed, numbers to be computed with, and no
column may hold what is neither. Our own writer is held to the same rules. It writes a table whole
and atomically, `trials.parquet` last: a trial in it always has its curve and its blocks.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from stage1.base.errors import ResultsError
from stage1.base.files import atomic_path, remove_leftovers
from stage1.base.parquet import read_parquet_table
from stage1.base.text import shown
from stage1.run.columns import (
    BLOCK_COLUMNS,
    COST_COLUMNS,
    CURVE_COLUMNS,
    IDENTITY_COLUMNS,
    INTEGER,
    NUMBER,
    TEST_COLUMNS,
    TEXT,
    TIME,
    TRIAL_COLUMNS,
    Column,
    column_of,
    with_present_names,
)
from stage1.run.folder import RESTORE_OR_REPEAT, RunFolder, require_file, unreadable
from stage1.run.resolved_space import LONGEST_NAME

FILE_NAMES = ("trial_id", "arm", "config_id")
"""Columns from which a study that is resumed makes names of files."""
LONGEST_FILE_NAME = 250
"""Characters of each of them; a file system takes no more."""
LARGEST = 1e100
"""Sums of squares of 32-bit floats are smaller, and sums of its own squares still finite."""
LAST_SECOND = 7_258_118_399
"""Of the year 2199, in unix seconds."""
_TICKS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


# Checking -------------------------------------------------------------------------------------


class TableError(ValueError):
    """A table breaks rules: `faults` name each column and what is there instead."""

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__("; ".join(faults))
        self.faults = list(faults)


def checked(table: pa.Table, columns: Sequence[Column], *, unique: Sequence[str] = ()) -> pa.Table:
    """The table with its declared columns in their types, those added later null where absent.

    Columns that are not declared are left out; those of `unique` tell rows apart.

    Raises:
        TableError: The faults of all columns; or which columns are missing; or a row twice.
    """
    faults = list(_name_faults(table.column_names))
    arrays: dict[str, pa.ChunkedArray] = {}
    for name in table.column_names if not faults else ():
        column = column_of(name, columns)
        if column is not None:
            arrays[name], rule = _checked_column(table.column(name), name, column)
            faults += [f"{name} must be {rule}"] if rule else []
    if faults:
        raise TableError(faults)
    absent = [one for one in columns if not one.is_family and one.name not in arrays]
    missing = [column.name for column in absent if not column.added_later]
    if missing:
        raise TableError([f"must have the columns {', '.join(missing)}"])
    arrays |= {one.name: pa.nulls(len(table), one.type) for one in absent}
    whole = pa.table(arrays)
    repeated = _repeated_row(whole, unique) if unique else None
    if repeated:
        raise TableError([f"rows must differ in {', '.join(unique)}, got {repeated} twice"])
    return whole


def _name_faults(names: Sequence[str]) -> Iterator[str]:
    for name, times in Counter(names).items():
        if times > 1:
            yield f"must have each column once, got {shown(name)} {times} times"
        elif not name.isprintable() or len(name) > LONGEST_NAME:
            yield f"must have columns with a name of one line, got {shown(name)}"


def _repeated_row(table: pa.Table, unique: Sequence[str]) -> str | None:
    counts = table.group_by(list(unique)).aggregate([([], "count_all")])
    repeated = counts.filter(pc.greater(counts["count_all"], 1)).select(list(unique))
    return ", ".join(map(shown, repeated.slice(0, 1).to_pylist()[0].values())) if repeated else None


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_number(kind: pa.DataType) -> bool:
    tests = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean)
    return any(test(kind) for test in tests)


_KINDS = {
    TEXT: (_is_text, "text"),
    INTEGER: (_is_number, "a whole number"),
    NUMBER: (_is_number, "a number"),
    TIME: (pa.types.is_timestamp, "a time"),
    None: (lambda kind: _is_text(kind) or _is_number(kind), "text, numbers or truth values"),
}
"""By a column's type: whether a table's type can be it, and what it is in words."""


def _checked_column(
    values: pa.ChunkedArray, name: str, column: Column
) -> tuple[pa.ChunkedArray, str | None]:
    """The values in the column's type, NaN as null, and the first rule that they break."""
    fits, in_words = _KINDS[column.type]
    if pa.types.is_floating(values.type):
        values = values.cast(pa.float64())
        values = pc.if_else(pc.is_nan(values), None, values)
    if values.null_count == len(values) and column.type is not None:
        values = pa.chunked_array([pa.nulls(len(values), column.type)])
    if column.required and values.null_count:
        return values, "given in every row, got null"
    if not (fits(values.type) or pa.types.is_null(values.type)):
        got = values.drop_null().slice(0, 1).to_pylist() if _KINDS[None][0](values.type) else []
        return values, f"{in_words}, got {shown(got[0] if got else str(values.type))}"
    for good, rule in _rules(values, name, column):
        place = pc.index(good, value=pa.scalar(False)).as_py()
        if place >= 0:
            readable = values.cast(pa.int64()) if pa.types.is_timestamp(values.type) else values
            return values, f"{rule}, got {shown(readable[place].as_py())}"
    if column.type not in (None, values.type):
        # Times of a finer unit and whole numbers beyond 2^53 may lose digits.
        values = values.cast(column.type, safe=column.type not in (TIME, NUMBER))
    return values, None


def _rules(
    values: pa.ChunkedArray, name: str, column: Column
) -> Iterator[tuple[pa.ChunkedArray, str]]:
    """Where values of a kind that fits keep to each rule, and the rule."""
    kind = values.type
    if pa.types.is_timestamp(kind):
        ticks, end = values.cast(pa.int64()), LAST_SECOND * _TICKS[kind.unit]
        good = pc.and_(pc.greater_equal(ticks, 0), pc.less_equal(ticks, end))
        yield good, f"a time from 1970 to 2199, in {kind.unit}"
    elif pa.types.is_floating(kind):
        yield pc.less_equal(pc.abs(values), LARGEST), "a finite number"
        if column.type == INTEGER:
            whole = pc.and_(pc.equal(pc.floor(values), values), pc.less(pc.abs(values), 2.0**53))
            yield whole, "a whole number"
    elif kind == pa.uint64() and column.type == INTEGER:
        yield pc.less(values, 2**63), "a whole number below 2^63"
    elif column.allowed:
        allowed = pa.array(column.allowed, type=kind)
        yield pc.is_in(values, value_set=allowed), f"one of {', '.join(column.allowed)}"
    elif _is_text(kind) and column.required:
        most = LONGEST_FILE_NAME if name in FILE_NAMES else LONGEST_NAME
        short = pc.less_equal(pc.utf8_length(values), most)
        one_line = pc.and_(short, pc.utf8_is_printable(values))
        yield one_line, f"a line of at most {most:,} characters"
        if name in FILE_NAMES:
            good = pc.invert(pc.match_substring_regex(values, r"[/\\]|^\.+$|^$"))
            yield good, "a part of a file name, without slashes"


# Reading --------------------------------------------------------------------------------------


def read_trials(run: RunFolder) -> pd.DataFrame:
    """The trials that have ended so far, in the order of their ends; no rows before the first.

    Raises:
        ResultsError: Folder or file is missing or broken, or the table is not ours.
    """
    return read_table(run, run.trials, TRIAL_COLUMNS, unique=["trial_id"])


def read_curves(run: RunFolder) -> pd.DataFrame:
    """Metrics by trial and epoch. Beside a running study, read the trials first.

    Raises as `read_trials`.
    """
    return read_table(run, run.curves, CURVE_COLUMNS, unique=["trial_id", "epoch"])


def read_blocks(run: RunFolder) -> pd.DataFrame:
    """Sums by trial, epoch, timeframe, channel and block of validation time; design trials only.

    Beside a running study, read the trials first. A block without a scored bar has no row.

    Returns:
        No rows if the run has no such file: none of its design trials has come that far, or an
        earlier version wrote it. Raises as `read_trials`, but for a missing file.
    """
    key = ["trial_id", "epoch", "timeframe", "channel", "block"]
    return read_table(run, run.blocks, BLOCK_COLUMNS, unique=key, optional=True)


def read_cost(run: RunFolder) -> pd.DataFrame:
    """What training steps cost, by arm, size of the language model and round.

    No rows if the run has no such file: it is timed when the study has ended. Raises as
    `read_blocks`.
    """
    key = ["arm", "size", "patch_len", "round"]
    return read_table(run, run.cost, COST_COLUMNS, unique=key, optional=True)


def read_test_period(run: RunFolder) -> pd.DataFrame:
    """What checkpoints came to on the test period, the first look first; of an evaluation's too.

    No rows if the run has no such file: nobody has looked. Raises as `read_blocks`.
    """
    key = ["checkpoint_sha256", "timeframe", "of"]
    return read_table(run, run.test_period, TEST_COLUMNS, unique=key, optional=True)


def load_table(file: Path) -> pa.Table:
    """A table as it lies in its file, unchecked, without what others have noted of it beside.

    Trials that an earlier version has named have their present names.

    Raises:
        ResultsError: The file is missing, broken or too large.
    """
    try:
        table = read_parquet_table(file)
        table.validate(full=True)
    except (OSError, pa.ArrowException, ValueError) as error:
        raise unreadable(file, error) from None
    return with_present_names(table.replace_schema_metadata(None))


def read_table(
    run: RunFolder,
    file: Path,
    columns: Sequence[Column],
    *,
    unique: list[str],
    optional: bool = False,
) -> pd.DataFrame:
    """In pandas' types; whole numbers that may be missing stay whole numbers."""
    if optional and run.path.is_dir() and not file.exists():
        table = _arrow_table([], columns)
    else:
        require_file(run, file)
        try:
            table = checked(load_table(file), columns, unique=unique)
        except TableError as error:
            faults = [f"{file}: {fault}; {RESTORE_OR_REPEAT}" for fault in error.faults]
            raise ResultsError("\n".join(faults)) from None
    frame: pd.DataFrame = table.to_pandas(types_mapper={INTEGER: pd.Int64Dtype()}.get)
    never_null = [one.name for one in columns if one.required and one.type == INTEGER]
    return frame.astype(dict.fromkeys(never_null, "int64"))


# Writing --------------------------------------------------------------------------------------


class _Table:
    """A table that grows by few rows at a time and is written whole, now and then.

    Rows are kept in pieces until the table is written: to join them for every trial would take
    longer and longer.
    """

    def __init__(self, file: Path, columns: tuple[Column, ...], table: pa.Table) -> None:
        self.file, self.columns = file, columns
        self._pieces, self._schema = [table], table.schema

    def piece(self, rows: Sequence[Mapping[str, Any]]) -> pa.Table:
        """Rows as the table would hold them; `ValueError` where it cannot."""
        piece = _arrow_table(rows, self.columns)
        _joined_schema([self._schema, piece.schema])
        return piece

    def add(self, piece: pa.Table) -> None:
        """Add rows made by `piece`."""
        self._schema = _joined_schema([self._schema, piece.schema])
        self._pieces.append(piece)

    def remove(self, trial_ids: Sequence[str]) -> None:
        """Remove the rows of these trials."""
        whole = self.joined()
        gone = pc.is_in(whole["trial_id"], value_set=pa.array(trial_ids, pa.string()))
        self._pieces = [whole.filter(pc.invert(gone))]

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
        """Continue the tables of a run, or begin them empty; makes its folder.

        What a crash has left behind is dropped: curves and blocks whose trial is not in
        `trials.parquet`, and files that were never finished.

        Raises:
            ResultsError: A table exists but cannot be read.
        """
        continues = run.trials.exists()
        for file in (run.trials, run.curves, run.blocks):
            remove_leftovers(file)
        trials = load_table(run.trials) if continues else _arrow_table([], TRIAL_COLUMNS)
        curves = load_table(run.curves) if continues else _arrow_table([], CURVE_COLUMNS)
        has_blocks = continues and run.blocks.exists()
        blocks = load_table(run.blocks) if has_blocks else _arrow_table([], BLOCK_COLUMNS)
        known = trials["trial_id"]
        self._trial_ids = set(known.to_pylist())
        self._trials = _Table(run.trials, TRIAL_COLUMNS, trials)
        self._curves = _Table(run.curves, CURVE_COLUMNS, _of_trials(curves, known))
        self._blocks = _Table(run.blocks, BLOCK_COLUMNS, _of_trials(blocks, known))
        self._lock = Lock()
        self._has_new_blocks = not continues or len(self._blocks.joined()) < len(blocks)
        if not continues or self._has_new_blocks:
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
        numbers: list[Any] = [epoch.get("epoch") for epoch in epochs]
        if None in numbers:
            raise ValueError(f"epoch must be given in every row of a curve, got {numbers}")
        if any(later <= earlier for earlier, later in pairwise(numbers)):
            raise ValueError(f"epochs of a curve must increase, got {numbers}")
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

    def remove(self, trial_ids: Sequence[str]) -> None:
        """Remove trials that are to be run again, on disk: at any moment none lacks its curve.

        Raises:
            OSError: A table cannot be written; what was there before is still there.
        """
        with self._lock:
            for table in (self._trials, self._curves, self._blocks):
                table.remove(trial_ids)
                if table.file.exists():
                    _save(table.joined(), table.file)
            self._trial_ids -= set(trial_ids)

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
    """Write cost.parquet whole, by names of `COST_COLUMNS`; raises as `write_table`."""
    write_table(run.cost, COST_COLUMNS, rows)


def write_table(file: Path, columns: Sequence[Column], rows: Sequence[Mapping[str, Any]]) -> None:
    """Write a table whole, by names of its columns; `ValueError` where a row does not fit them."""
    _save(_arrow_table(rows, columns), file)


def _save(table: pa.Table, file: Path) -> None:
    with atomic_path(file) as path:
        pq.write_table(table, path)


def _joined_schema(schemas: list[pa.Schema]) -> pa.Schema:
    try:
        return pa.unify_schemas(schemas, promote_options="permissive")
    except pa.ArrowException as error:
        raise ValueError(f"values must keep to one type in a column, got: {error}") from None


def _arrow_table(rows: Sequence[Mapping[str, Any]], columns: Sequence[Column]) -> pa.Table:
    fixed = [column.name for column in columns if not column.is_family]
    names = _ordered(dict.fromkeys([*fixed, *(name for row in rows for name in row)]), columns)
    arrays = {name: _array([_storable(row.get(name), name) for row in rows]) for name in names}
    return checked(pa.table(arrays), columns).select(names)


def _array(values: list[Any]) -> pa.Array:
    try:
        return pa.array(values)
    except pa.ArrowException as error:
        raise ValueError(f"values must keep to one type in a column, got: {error}") from None


def _ordered(names: Iterable[str], columns: Sequence[Column]) -> list[str]:
    """Names in the order of their columns, each of which must be one of the table's."""
    places = {name: column_of(name, columns) for name in names}
    for name, column in places.items():
        if column is None:
            raise ValueError(f"a column must be one of the table's, got {name!r}")
    return sorted(places, key=lambda name: columns.index(places[name]))


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
