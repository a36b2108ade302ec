"""The run folder: the one module that names its files and columns, and the one door to read them.

`stage1.run_writer` writes the tables. Both are always complete; whoever reads `trials.parquet`
first and then `curves.parquet`, beside a running study too, finds the curve of every trial.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pandera.pandas as pandera
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from pandera.errors import SchemaErrors

from stage1.errors import ResultsError

COMPLETED = "completed"
"""Trained to the horizon."""
STOPPED = "stopped"
"""Ended at a rung by the scheduler."""
DIVERGED = "diverged"
"""Ended because its loss left the range of useful numbers."""
FAILED = "failed"
"""Ended by an error; the row says which."""
STATUSES = (COMPLETED, STOPPED, DIVERGED, FAILED)

DESIGN = "design"
"""The fixed paired set of configurations, every arm, full horizon."""
SEARCH = "search"
"""The adaptive part."""
CONFIRM = "confirm"
"""The best search points again, on the design's seeds."""
STAGES = (DESIGN, SEARCH, CONFIRM)

PARAMETER_PREFIX = "param."
"""A searched value's column is this and its dotted key."""

TEXT, INTEGER, NUMBER = pa.string(), pa.int64(), pa.float64()
TIME = pa.timestamp("us", tz="UTC")


class Column(NamedTuple):
    """A column, or a family of columns if its name ends with `*`."""

    name: str
    type: pa.DataType | None
    """None: that of its values, which are text, integers, numbers or truth values."""
    required: bool = False
    """Never null."""
    allowed: tuple[str, ...] = ()
    """The only values; none = any."""

    @property
    def is_family(self) -> bool:
        """Whether it stands for every column whose name begins like this."""
        return self.name.endswith("*")

    @property
    def pattern(self) -> str:
        """Regular expression of the whole name."""
        return f"^{re.escape(self.name[:-1])}.+$" if self.is_family else f"^{re.escape(self.name)}$"


IDENTITY_COLUMNS = (
    Column("trial_id", TEXT, required=True),
    Column("stage", TEXT, required=True, allowed=STAGES),
    Column("arm", TEXT, required=True),
    Column("config_id", TEXT, required=True),
    Column("seed", INTEGER, required=True),
)
_METRICS = (
    Column("val_loss", NUMBER),
    Column("val_correlation", NUMBER),
    Column("val_skill", NUMBER),
    Column("val_corr_*", NUMBER),
    Column("val_skill_*", NUMBER),
)
TRIAL_COLUMNS = (
    *IDENTITY_COLUMNS,
    Column("status", TEXT, required=True, allowed=STATUSES),
    Column("epochs", INTEGER, required=True),
    Column(PARAMETER_PREFIX + "*", None),
    *_METRICS,
    Column("baseline_val_loss", NUMBER),
    Column("baseline_val_correlation", NUMBER),
    Column("baseline_val_corr_*", NUMBER),
    Column("seconds", NUMBER),
    Column("seconds_per_step", NUMBER),
    Column("peak_rss_mb", NUMBER),
    Column("peak_vram_mb", NUMBER),
    Column("parameters", INTEGER),
    Column("lm_sha256", TEXT),
    Column("head_sha256", TEXT),
    Column("order_sha256", TEXT),
    Column("mask_sha256", TEXT),
    Column("steps", INTEGER),
    Column("started_at", TIME),
    Column("node", TEXT),
    Column("would_stop_epoch", INTEGER),
    Column("error", TEXT),
)
"""trials.parquet, in order: one row per trial that has ended, metrics after its last epoch."""
CURVE_COLUMNS = (
    *IDENTITY_COLUMNS,
    Column("epoch", INTEGER, required=True),
    *_METRICS,
    Column("train_loss", NUMBER),
    Column("lr", NUMBER),
    Column("seconds", NUMBER),
)
"""curves.parquet, in order: one row per trial and epoch; epoch 0 is before the first step."""

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


@dataclass(frozen=True)
class RunFolder:
    """The folder of a study, and where everything lies in it."""

    path: Path

    @property
    def space(self) -> Path:
        """The resolved study, written before the first trial."""
        return self.path / "space.yaml"

    @property
    def prereg(self) -> Path:
        """What was fixed before the first trial."""
        return self.path / "prereg.yaml"

    @property
    def trials(self) -> Path:
        """One row per trial that has ended."""
        return self.path / "trials.parquet"

    @property
    def curves(self) -> Path:
        """One row per trial and epoch."""
        return self.path / "curves.parquet"

    @property
    def journal(self) -> Path:
        """Optuna's journal, one study per arm."""
        return self.path / "optuna.journal"

    @property
    def tensorboard(self) -> Path:
        """Folder of curves and HParams for TensorBoard."""
        return self.path / "tensorboard"

    @property
    def checkpoints(self) -> Path:
        """Folder of the best trials' weights."""
        return self.path / "checkpoints"

    @property
    def report(self) -> Path:
        """The end table and what to do next, for people."""
        return self.path / "report.md"

    @property
    def learning_curves(self) -> Path:
        """The figure of the design's learning curves."""
        return self.path / "figures" / "learning_curves.png"


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


def read_space(run: RunFolder) -> dict[str, Any]:
    """The resolved study; its keys are `SPACE_KEYS`.

    Raises:
        ResultsError: Folder or file is missing or broken, or keys are missing.
    """
    _require(run, run.space)
    try:
        space = yaml.safe_load(run.space.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise _unreadable(run.space, error) from None
    missing = [key for key in SPACE_KEYS if not isinstance(space, dict) or key not in space]
    if missing:
        raise ResultsError(f"{run.space}: must have the keys {', '.join(missing)}; {_ADVICE}")
    return dict(space)


_ADVICE = "restore the file, or run the study again under another name"


def _require(run: RunFolder, file: Path) -> None:
    if not run.path.is_dir():
        raise ResultsError(f"{run.path} must be a run folder, got no such folder; check the path")
    if not file.is_file():
        raise ResultsError(
            f"{run.path} must hold {file.name}, got no such file; "
            "name the folder that stage1.tune made, OUT/NAME"
        )


def _unreadable(file: Path, error: Exception) -> ResultsError:
    reason = " ".join(str(error).split())
    return ResultsError(f"{file}: must be readable, got {reason}; {_ADVICE}")


def load_table(file: Path) -> pa.Table:
    """A table as it lies in its file, unchecked.

    Raises:
        ResultsError: The file is missing or broken.
    """
    try:
        return pq.ParquetFile(file).read()
    except (OSError, pa.ArrowException) as error:
        raise _unreadable(file, error) from None


def _read_checked(
    run: RunFolder, file: Path, columns: Sequence[Column], *, unique: list[str]
) -> pd.DataFrame:
    _require(run, file)
    frame = load_table(file).to_pandas(types_mapper={INTEGER: pd.Int64Dtype()}.get)
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
        f"{file}: {case.column} must satisfy {case.check}, got {case.failure_case}; {_ADVICE}"
        for case in first.itertuples()
    ]
