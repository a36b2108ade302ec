"""The one door to read a run folder; its columns and paths are named here for all who read.

`stage1.run_writer` writes the tables. All are always complete; whoever reads `trials.parquet`
first and then `curves.parquet` or `blocks.parquet`, beside a running study too, finds the rows of
every trial.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pandera.pandas as pandera
import pyarrow as pa
import pyarrow.parquet as pq
from pandera.errors import SchemaErrors
from pydantic import ValidationError

from stage1.errors import ConfigError, ResultsError
from stage1.faults import brief
from stage1.run_folder import RunFolder
from stage1.run_space import ResolvedSpace
from stage1.run_tables import (
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
from stage1.table_checks import MOST_ROWS, table_faults
from stage1.yaml_source import YamlSource, fault_lines, read_yaml

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
    "SPACE_KEYS",
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

SPACE_KEYS = (
    "name",
    "seed",
    "objective",
    "horizon_epochs",
    "arms",
    "space",
    "design",
    "search",
    "resources",
    "config",
    "data",
)
"""Top level of space.yaml, the resolved study."""


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


def read_space(run: RunFolder) -> dict[str, Any]:
    """The resolved study; its keys are `SPACE_KEYS`.

    Raises:
        ResultsError: Folder or file is missing or broken, or keys are missing.
    """
    _require(run, run.space)
    try:
        space, origins = read_yaml(run.space)
    except ConfigError as error:
        raise _unreadable(run.space, error) from None
    missing = [key for key in SPACE_KEYS if not isinstance(space, dict) or key not in space]
    if missing:
        raise ResultsError(f"{run.space}: must have the keys {', '.join(missing)}; {_ADVICE}")
    try:
        ResolvedSpace.model_validate(space)
    except ValidationError as error:
        source = YamlSource(run.space, space, origins)
        faults = fault_lines(error, source, ResolvedSpace)
        raise ResultsError("\n".join(f"{line}; {_ADVICE}" for line in faults)) from None
    return dict(space)


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
