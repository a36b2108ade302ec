"""What is wrong with a table of a run folder before anything is computed from it.

A folder may come from anyone: names must be fit to be printed, numbers to be computed with, and no
column may hold what is neither.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pandera.pandas as pandera
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pandera.errors import SchemaErrors
from pydantic import ValidationError

from stage1.base.errors import ConfigError, ResultsError
from stage1.base.text import brief, shown
from stage1.config.yaml_source import YamlSource, fault_lines, read_yaml
from stage1.run.columns import (
    BLOCK_COLUMNS,
    BLOCK_SUMS,
    COMPLETED,
    CONFIRM,
    COST_COLUMNS,
    CURVE_COLUMNS,
    DESIGN,
    DIVERGED,
    FAILED,
    IDENTITY_COLUMNS,
    INTEGER,
    NUMBER,
    PARAMETER_PREFIX,
    PRETRAINED,
    RANDOM,
    RANDOM_AGAIN,
    RANDOM_FIXED,
    ROLES,
    SEARCH,
    SHUFFLED,
    STAGES,
    STATUSES,
    STOPPED,
    TEXT,
    TIME,
    TRIAL_COLUMNS,
    VANILLA,
    Column,
)
from stage1.run.folder import RunFolder
from stage1.run.resolved_space import LONGEST_NAME, ResolvedSpace

FILE_NAMES = ("trial_id", "arm", "config_id")
"""Columns from which a study that is resumed makes names of files."""
LONGEST_FILE_NAME = 250
"""Characters of each of them; a file system takes no more."""
MOST_ROWS = 20_000_000
"""Of a table; a file of few bytes can claim more than any memory holds."""
LARGEST = 1e100
"""Sums of squares of 32-bit floats are smaller, and sums of its own squares still finite."""

LAST_SECOND = 7_258_118_399
"""Of the year 2199, in unix seconds."""
_TICKS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


def table_faults(table: pa.Table, columns: Sequence[Column]) -> Iterator[str]:
    """The rules that a table breaks, each with its column and what is there instead.

    Types that can be converted, values that are not allowed and missing columns are not looked at.
    """
    for name, times in Counter(table.column_names).items():
        if times > 1:
            yield f"must have each column once, got {shown(name)} {times} times"
        elif not name.isprintable() or len(name) > LONGEST_NAME:
            yield f"must have columns with a name of one line, got {shown(name)}"
        else:
            yield from _column_faults(name, table.column(name), _column_of(name, columns))


def _column_of(name: str, columns: Sequence[Column]) -> Column | None:
    fitting = [
        c for c in columns if c.name == name or (c.is_family and name.startswith(c.name[:-1]))
    ]
    return fitting[0] if fitting else None


def _column_faults(name: str, values: pa.ChunkedArray, column: Column | None) -> Iterator[str]:
    if column is None:
        return
    kind = values.type
    is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    is_number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)
    is_time = pa.types.is_timestamp(kind) and column.type == TIME
    if not (is_text or is_number or is_time or pa.types.is_null(kind)):
        yield f"{name} must be text, numbers or truth values, got {shown(str(kind))}"
    elif pa.types.is_floating(kind):
        values = values.cast(pa.float64())
        good = pc.less_equal(pc.abs(values), LARGEST)
        yield from _first(name, values, pc.or_(good, pc.is_nan(values)), "a finite number")
    elif is_time:
        ticks, end = values.cast(pa.int64()), LAST_SECOND * _TICKS[kind.unit]
        good = pc.and_(pc.greater_equal(ticks, 0), pc.less_equal(ticks, end))
        yield from _first(name, ticks, good, f"a time from 1970 to 2199, in {kind.unit}")
    elif is_text and column.required and column.type == TEXT:
        most = LONGEST_FILE_NAME if name in FILE_NAMES else LONGEST_NAME
        short = pc.less_equal(pc.utf8_length(values), most)
        one_line = pc.and_(short, pc.utf8_is_printable(values))
        yield from _first(name, values, one_line, f"a line of at most {most:,} characters")
        if name in FILE_NAMES:
            good = pc.invert(pc.match_substring_regex(values, r"[/\\]|^\.+$|^$"))
            yield from _first(name, values, good, "a part of a file name, without slashes")


def _first(name: str, values: pa.ChunkedArray, good: pa.ChunkedArray, rule: str) -> Iterator[str]:
    """The first value that is not good, if any; a missing one is judged elsewhere."""
    place = pc.index(good, value=pa.scalar(False)).as_py()
    if place >= 0:
        value = values[place].as_py()
        told = str(value) if isinstance(value, float) and not math.isfinite(value) else shown(value)
        yield f"{name} must be {rule}, got {told}"


__all__ = [
    "BLOCK_COLUMNS",
    "BLOCK_SUMS",
    "COMPLETED",
    "CONFIRM",
    "COST_COLUMNS",
    "CURVE_COLUMNS",
    "DESIGN",
    "DIVERGED",
    "FAILED",
    "IDENTITY_COLUMNS",
    "INTEGER",
    "PARAMETER_PREFIX",
    "PRETRAINED",
    "RANDOM",
    "RANDOM_AGAIN",
    "RANDOM_FIXED",
    "ROLES",
    "SEARCH",
    "SHUFFLED",
    "STAGES",
    "STATUSES",
    "STOPPED",
    "TRIAL_COLUMNS",
    "VANILLA",
    "Column",
    "RunFolder",
    "load_table",
    "read_blocks",
    "read_cost",
    "read_curves",
    "read_space",
    "read_trials",
]


def read_trials(run: RunFolder) -> pd.DataFrame:
    """The trials that have ended so far, in the order of their ends; no rows before the first.

    Raises:
        ResultsError: Folder or file is missing or broken, or the table is not ours.
    """
    return _read_checked(run, run.trials, TRIAL_COLUMNS, unique=["trial_id"])


def read_curves(run: RunFolder) -> pd.DataFrame:
    """Metrics by trial and epoch. Beside a running study, read the trials first.

    Raises:
        ResultsError: Folder or file is missing or broken, or the table is not ours.
    """
    return _read_checked(run, run.curves, CURVE_COLUMNS, unique=["trial_id", "epoch"])


def read_blocks(run: RunFolder) -> pd.DataFrame:
    """Sums by trial, epoch, timeframe, channel and block of validation time; design trials only.

    Beside a running study, read the trials first. A block without a scored bar has no row.

    Returns:
        No rows if the run has no such file: none of its design trials has come that far, or an
        earlier version wrote it.

    Raises:
        ResultsError: The folder is missing, the file is broken, or the table is not ours.
    """
    key = ["trial_id", "epoch", "timeframe", "channel", "block"]
    return _read_optional(run, run.blocks, BLOCK_COLUMNS, unique=key)


def read_cost(run: RunFolder) -> pd.DataFrame:
    """What training steps cost, by arm, size of the language model and round.

    Returns:
        No rows if the run has no such file: it is timed when the study has ended.

    Raises:
        ResultsError: The folder is missing, the file is broken, or the table is not ours.
    """
    key = ["arm", "size", "patch_len", "round"]
    return _read_optional(run, run.cost, COST_COLUMNS, unique=key)


def read_space(run: RunFolder) -> ResolvedSpace:
    """The resolved study.

    Raises:
        ResultsError: Folder or file is missing or broken, or keys are missing.
    """
    _require(run, run.space)
    try:
        content, origins = read_yaml(run.space)
    except ConfigError as error:
        raise _unreadable(run.space, error) from None
    missing = [
        key
        for key, field in ResolvedSpace.model_fields.items()
        if field.is_required() and not (isinstance(content, dict) and key in content)
    ]
    if missing:
        raise ResultsError(f"{run.space}: must have the keys {', '.join(missing)}; {_ADVICE}")
    try:
        return ResolvedSpace.model_validate(content)
    except ValidationError as error:
        source = YamlSource(run.space, content, origins)
        faults = fault_lines(error, source, ResolvedSpace)
        raise ResultsError("\n".join(f"{line}; {_ADVICE}" for line in faults)) from None


_ADVICE = "restore the file, or run the study again under another name"


def _require_folder(run: RunFolder) -> None:
    if not run.path.is_dir():
        raise ResultsError(f"{run.path} must be a run folder, got no such folder; check the path")


def _require(run: RunFolder, file: Path) -> None:
    _require_folder(run)
    if not file.is_file():
        raise ResultsError(
            f"{run.path} must hold {file.name}, got no such file; "
            "name the folder that stage1.tune made, OUT/NAME"
        )


def _unreadable(file: Path, error: Exception) -> ResultsError:
    reason = brief(str(error).removeprefix(f"{file}:"))
    return ResultsError(f"{file}: must be readable, got {reason}; {_ADVICE}")


def load_table(file: Path) -> pa.Table:
    """A table as it lies in its file, unchecked, without what others have noted of it beside.

    Raises:
        ResultsError: The file is missing, broken or too large.
    """
    try:
        with pq.ParquetFile(file) as stored:
            rows = stored.metadata.num_rows
            if rows > MOST_ROWS:
                told = f"must have at most {MOST_ROWS:,} rows, got {rows:,}"
                raise ResultsError(f"{file}: {told}; {_ADVICE}")
            table = stored.read()
        table.validate(full=True)
    except (OSError, pa.ArrowException, ValueError) as error:
        raise _unreadable(file, error) from None
    return table.replace_schema_metadata(None)


def _read_optional(
    run: RunFolder, file: Path, columns: Sequence[Column], *, unique: list[str]
) -> pd.DataFrame:
    _require_folder(run)
    if file.exists():
        return _read_checked(run, file, columns, unique=unique)
    return pd.DataFrame({one.name: pd.Series(dtype=_pandas_type(one)) for one in columns})


def _read_checked(
    run: RunFolder, file: Path, columns: Sequence[Column], *, unique: list[str]
) -> pd.DataFrame:
    _require(run, file)
    table = load_table(file)
    faults = [f"{file}: {fault}; {_ADVICE}" for fault in table_faults(table, columns)]
    if faults:
        raise ResultsError("\n".join(faults))
    frame = table.to_pandas(types_mapper={INTEGER: pd.Int64Dtype()}.get)
    for column in columns:
        if column.added_later and column.name not in frame:
            frame[column.name] = None
    try:
        return _schema(columns, unique).validate(frame, lazy=True)
    except SchemaErrors as error:
        raise ResultsError("\n".join(_fault_lines(file, error.failure_cases))) from None


def _schema(columns: Sequence[Column], unique: list[str]) -> pandera.DataFrameSchema:
    declared = {}
    for column in columns:
        declared[column.pattern if column.is_family else column.name] = pandera.Column(
            _pandas_type(column),
            pandera.Check.isin(column.allowed) if column.allowed else None,
            nullable=not column.required,
            required=not column.is_family,
            regex=column.is_family,
            coerce=column.type is not None,
        )
    return pandera.DataFrameSchema(declared, unique=unique)


def _pandas_type(column: Column) -> Any:
    if column.type == INTEGER:
        return "int64" if column.required else "Int64"
    return {TEXT: str, NUMBER: float, TIME: "datetime64[us, UTC]", None: None}[column.type]


def _fault_lines(file: Path, cases: pd.DataFrame) -> list[str]:
    """One line per kind of fault; a missing column hides what follows from it."""
    missing = cases.loc[cases["check"] == "column_in_dataframe", "failure_case"]
    if len(missing):
        return [f"{file}: must have the columns {', '.join(missing)}; {_ADVICE}"]
    first = cases.drop_duplicates("column")
    return [
        f"{file}: {case.column} must satisfy {brief(str(case.check))}, "
        f"got {brief(str(case.failure_case))}; {_ADVICE}"
        for case in first.itertuples()
    ]
