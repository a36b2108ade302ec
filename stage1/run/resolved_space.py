"""The resolved study of a run folder as a typed object: what space.yaml holds, whoever wrote it.

The names in it become titles, columns and labels of a report, so they are held to what a study may
call them. The base configuration is checked where it is used, by the version that uses it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from itertools import count, islice
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

import pandas as pd
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from stage1.base.errors import ConfigError, ResultsError
from stage1.base.metric_table import metric_row
from stage1.base.text import dotted, shown
from stage1.config import EARLIER
from stage1.config.data import BUNDLED, DATA_KEYS
from stage1.config.rules import RuleError, faults_of
from stage1.config.yaml_source import YamlSource, fault_lines, merged, read_yaml
from stage1.run.folder import RESTORE_OR_REPEAT, RunFolder, require_file, unreadable
from stage1.run.looks import DesignSize, design_size

Model = TypeVar("Model", bound=BaseModel)

MOST_EPOCHS = 100_000
"""Of a trial; more would be a mistake, and no memory holds a design's curves of that length."""
LONGEST_NAME = 4096
"""Characters of what may be the path of a file; arms are shorter."""
LONGEST_ARM = 100
NOT_RECORDED = "not recorded"
"""In place of a fingerprint, of runs of earlier versions."""


def _shows(text: str) -> str:
    if not text.isprintable():
        raise ValueError(f"must be text without line breaks and control codes, got {text[:80]!r}")
    return text


Word = Annotated[str, Field(min_length=1, max_length=LONGEST_NAME), AfterValidator(_shows)]
"""Text of one line."""
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_]+$", max_length=LONGEST_ARM)]
Scalar = bool | int | float | Word | None


class _Part(BaseModel):
    """A part of the file. Keys of a later version are kept, and nobody here reads them."""

    model_config = ConfigDict(
        frozen=True,
        extra="allow",
        strict=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
    )


class Objective(_Part):
    """What trials are judged by."""

    metric: Word
    """A column of the tables."""
    mode: Literal["max", "min"]
    """Which way is better."""

    @model_validator(mode="after")
    def _is_of_the_tables(self) -> Self:
        if metric_row(self.metric) is None:
            raise RuleError(("metric", f"must be a metric of the tables, got {self.metric!r}"))
        return self


def check_bounds(low: float, high: float, *, log: bool) -> None:
    """Refuse bounds between which no number lies.

    Raises:
        RuleError: They are the wrong way round, or there is no logarithm of the lower one.
    """
    if low > high:
        raise RuleError(("low", f"must be <= high={high}, got {low}; swap them"))
    if log and low <= 0:
        raise RuleError(("low", f"must be > 0 with log: true, got {low}"))


class Range(_Part):
    """Numbers that a hyperparameter was searched in, both bounds included."""

    type: Literal["float", "int"]
    """`int`: whole numbers only."""
    low: int | float
    high: int | float
    log: bool = False
    """Searched in the exponent."""
    when: dict[Word, Scalar] = {}
    """Searched only where these other keys have these values."""

    @model_validator(mode="after")
    def _bounds(self) -> Self:
        check_bounds(self.low, self.high, log=self.log)
        return self


class Choice(_Part):
    """Options that a hyperparameter was chosen from."""

    type: Literal["choice"] = "choice"
    options: list[Scalar] = Field(min_length=1)
    """Any of them equally often."""
    when: dict[Word, Scalar] = {}
    """Searched only where these other keys have these values."""


Domain = Range | Choice
"""What was searched of one hyperparameter."""


def key_of(name: str) -> str:
    """The dotted key of what is searched: its name without the label after `@`.

    Labels tell apart what is searched of one key under different conditions.
    """
    return name.partition("@")[0]


def meets(when: Mapping[str, Any], values: Mapping[str, Any]) -> bool:
    """Whether values by dotted key have what a condition asks for; a key without value does not."""
    return all(other in values and values[other] == wanted for other, wanted in when.items())


def searched_values(domains: Mapping[str, Any], cells: Mapping[Any, Any]) -> dict[str, Any]:
    """What was searched of a configuration, by name.

    A null stands for itself where it is an option and the condition holds, else for a key that was
    not searched. Of the names of one key that with the condition that holds has the value.

    Args:
        domains: By name, in the order of the study: of a `ResolvedSpace` or a `Space`.
        cells: Of a table's row, by dotted key; NaN counts as null.
    """
    by_key: dict[str, Any] = {}
    by_name: dict[str, Any] = {}
    for name, domain in domains.items():
        key, options = key_of(name), getattr(domain, "options", ())
        value = cells.get(key)
        value = None if pd.isna(value) else value
        if (value is None or name != key) and not meets(domain.when, by_key):
            continue
        if value is not None or None in options:
            by_key[key] = by_name[name] = value
    return by_name


MOST_COUNTED = 100_000
"""Configurations of a space that are counted; more are as good as endlessly many."""


def count_configurations(domains: Mapping[str, Any], most: int) -> int:
    """How many distinct configurations a space holds; `most` where there are as many or more.

    Args:
        domains: By name, in the order of the study: of a `ResolvedSpace` or a `Space`.
        most: How many are of interest.
    """
    limit = min(most, MOST_COUNTED)
    counted = sum(1 for _ in islice(_configurations([*domains.items()], {}), limit))
    return counted if counted < limit else most


def _configurations(
    domains: Sequence[tuple[str, Any]], values: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    """Each configuration that has these values; of real numbers, endlessly many."""
    if not domains:
        yield values
        return
    (name, domain), *later = domains
    if not meets(domain.when, values):
        yield from _configurations(later, values)
        return
    for option in _options(domain):
        yield from _configurations(later, {**values, key_of(name): option})


def _options(domain: Any) -> Iterable[Any]:
    """The values of what is searched; of real numbers, endlessly many that stand for them."""
    if domain.type == "choice":
        return domain.options  # type: ignore[no-any-return]
    if domain.low == domain.high:
        return [domain.low]
    return range(domain.low, domain.high + 1) if domain.type == "int" else count()


class Design(_Part):
    """Size of the fixed paired part: with looks, or with configurations and seeds."""

    looks: list[int] | None = None
    """Configurations of every arm at each look."""
    replicated: int | None = Field(None, ge=0)
    """Configurations with a second seed."""
    control: int | None = Field(None, ge=0)
    """Configurations with shuffled weights in any case."""
    configurations: int | None = Field(None, ge=1, le=1_000_000)
    """Of every arm."""
    seeds: int | None = Field(None, ge=1, le=1_000_000)
    """Of every configuration."""

    @property
    def size(self) -> DesignSize:
        """Configurations, seeds and looks."""
        return design_size(**self.model_dump(include=set(Design.model_fields)))


class Search(_Part):
    """Size of the adaptive part."""

    trials: int = Field(ge=0, le=1_000_000_000)
    """Of all arms together."""
    start: list[dict[Word, Scalar]] = []
    """Points that every arm tried first."""


class _Windows(_Part):
    timeframes: list[Name] = Field(min_length=1)
    test_share: float | int | None


class _Base(_Part):
    data: _Windows


class Data(_Part):
    """The bars that the study was run on."""

    data_dir: Word | None = None
    """Null: the bundled sample."""
    fingerprint: Word = NOT_RECORDED
    """Changes with any bar."""

    @property
    def values(self) -> dict[str, str | None]:
        """What a configuration says that is for these bars, by dotted key."""
        sha256 = None if self.fingerprint == NOT_RECORDED else self.fingerprint
        return dict(zip(DATA_KEYS, (self.data_dir or BUNDLED, sha256), strict=True))


class ResolvedSpace(_Part):
    """The resolved study, as far as a report or an export needs it."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", max_length=LONGEST_ARM)
    seed: int
    """Of the design, the samplers and the search's trials."""
    objective: Objective
    horizon_epochs: int = Field(ge=1, le=MOST_EPOCHS)
    """Epochs of a trial that nothing stops."""
    arms: dict[Name, dict[Word, Any]] = Field(min_length=1)
    """Settings by dotted key that an arm lays over `config`, by the arm's name."""
    space: dict[Word, Annotated[Domain, Field(discriminator="type")]]
    """What was searched, by name: a dotted key, and perhaps a label."""
    design: Design
    search: Search
    resources: dict[Word, Any]
    """What a trial was given of its machine."""
    config: Annotated[dict[Word, Any], AfterValidator(partial(merged, EARLIER))]
    """The base configuration as its version wrote it, and what that did not know."""
    data: Data

    @cached_property
    def timeframes(self) -> tuple[str, ...]:
        """Timeframes of the base configuration.

        Raises:
            pydantic.ValidationError: It names none; `require_timeframes` says so to the user.
        """
        return tuple(_Base.model_validate(self.config).data.timeframes)

    @property
    def test_share(self) -> float | None:
        """Of the bars, that no trial has seen; raises as `timeframes`."""
        return _Base.model_validate(self.config).data.test_share


def require_timeframes(run_space: Path, space: ResolvedSpace) -> None:
    """Refuse a study whose base configuration names no timeframes, which the scores are by.

    Raises:
        ResultsError: It names none.
    """
    try:
        _ = space.timeframes
    except ValidationError as error:
        key, rule = faults_of(error, _Base)[0]
        raise ResultsError(
            f"{run_space}: {dotted(('config', *key))}: {rule}; read the run with the version that "
            "wrote it"
        ) from None


def read_space(run: RunFolder) -> ResolvedSpace:
    """The resolved study; raises as `read_model`."""
    return read_model(run, run.space, ResolvedSpace)


def read_model(run: RunFolder, file: Path, model: type[Model]) -> Model:
    """What a YAML file of a run says that was written before the first trial.

    Raises:
        ResultsError: The file is missing or broken, or lacks keys, as that of an earlier version
            may; or every fault with its line.
    """
    source = read_mapping(run, file)
    missing = [
        key
        for key, field in model.model_fields.items()
        if field.is_required() and key not in source.values
    ]
    if missing:
        raise ResultsError(
            f"{file}: must have the keys {', '.join(missing)}, which an earlier version may not "
            f"have written; {RESTORE_OR_REPEAT}"
        )
    try:
        return model.model_validate(source.values)
    except ValidationError as error:
        faults = fault_lines(error, source, model)
        raise ResultsError("\n".join(f"{line}; {RESTORE_OR_REPEAT}" for line in faults)) from None


def read_mapping(run: RunFolder, file: Path) -> YamlSource:
    """The keys and values of a YAML file of a run.

    Raises:
        ResultsError: It is missing or broken.
    """
    require_file(run, file)
    try:
        content, origins = read_yaml(file)
    except ConfigError as error:
        raise unreadable(file, error) from None
    if not isinstance(content, dict):
        got = shown(content)
        raise ResultsError(f"{file}: must hold keys and values, got {got}; {RESTORE_OR_REPEAT}")
    return YamlSource(file, content, origins)
