"""What space.yaml of a run folder must hold for whoever reads it, whoever wrote it.

The names in it become titles, columns and labels of a report, so they are held to what a study may
call them. The base configuration is checked where it is used, by the version that uses it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from stage1.base.errors import ResultsError
from stage1.base.faults import RuleError, dotted, faults_of
from stage1.base.metric_table import metric_row

MOST_EPOCHS = 100_000
"""Of a trial; more would be a mistake, and no memory holds a design's curves of that length."""
LONGEST_NAME = 4096
"""Characters of what may be the path of a file; arms are shorter."""
LONGEST_ARM = 100


def _shows(text: str) -> str:
    if not text.isprintable():
        raise ValueError(f"must be text without line breaks and control codes, got {text[:80]!r}")
    return text


Word = Annotated[str, Field(min_length=1, max_length=LONGEST_NAME), AfterValidator(_shows)]
"""Text of one line."""
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_]+$", max_length=LONGEST_ARM)]
Scalar = bool | int | float | Word | None


class _Part(BaseModel):
    """A part of the file as it lies there; keys of a later version are passed over."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True, allow_inf_nan=False)


class _Objective(_Part):
    metric: Word
    mode: Literal["max", "min"]

    @model_validator(mode="after")
    def _is_of_the_tables(self) -> Self:
        if metric_row(self.metric) is None:
            raise RuleError(("metric", f"must be a metric of the tables, got {self.metric!r}"))
        return self


class _Range(_Part):
    type: Literal["float", "int"]
    low: float
    high: float
    log: bool = False
    when: dict[Word, Scalar] = {}

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        if self.low > self.high:
            raise RuleError(("low", f"must be <= high={self.high:g}, got {self.low:g}"))
        if self.log and self.low <= 0:
            raise RuleError(("low", f"must be > 0 with log: true, got {self.low:g}"))
        return self


class _Choice(_Part):
    type: Literal["choice"]
    options: list[Scalar] = Field(min_length=1)
    when: dict[Word, Scalar] = {}


class _Design(_Part):
    configurations: int = Field(ge=1, le=1_000_000)
    seeds: int = Field(ge=1, le=1_000_000)


class _Search(_Part):
    trials: int = Field(ge=0, le=1_000_000_000)


class _Windows(_Part):
    timeframes: list[Name] = Field(min_length=1)


class _Base(_Part):
    data: _Windows


def require_timeframes(run_space: Path, space: dict[str, Any]) -> None:
    """Refuse a study whose base configuration names no timeframes, which the scores are by.

    Raises:
        ResultsError: It names none.
    """
    try:
        _Base.model_validate(space["config"])
    except ValidationError as error:
        key, rule = faults_of(error, _Base)[0]
        raise ResultsError(
            f"{run_space}: {dotted(('config', *key))}: {rule}; read the run with the version that "
            "wrote it"
        ) from None


class _Data(_Part):
    data_dir: Word | None = None
    fingerprint: Word = ""


class ResolvedSpace(_Part):
    """The resolved study, as far as a report or an export needs it."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", max_length=LONGEST_ARM)
    seed: int
    objective: _Objective
    horizon_epochs: int = Field(ge=1, le=MOST_EPOCHS)
    arms: dict[Name, dict[Word, Any]] = Field(min_length=1)
    space: dict[Word, Annotated[_Range | _Choice, Field(discriminator="type")]]
    design: _Design
    search: _Search
    config: dict[Word, Any]
    data: _Data
