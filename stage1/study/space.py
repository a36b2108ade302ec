"""What a search space file may say; its translation into Optuna's terms and into the design."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Annotated, Any, Literal, Self

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from pydantic import Field, field_validator, model_validator

from stage1.base.seeds import Stream, generator
from stage1.base.text import shown
from stage1.claims.designs import unit_points
from stage1.claims.intervals import Values
from stage1.config import Section
from stage1.config.rules import RuleError
from stage1.run.looks import (
    FIRST_LOOK,
    MOST_CONFIGURATIONS,
    DesignSize,
    design_size,
    look_fault,
)
from stage1.run.resolved_space import check_bounds, key_of, meets

Value = float | int | str | bool | None
MOST = 2**53
"""Whole numbers up to here are exact as floats, which Optuna makes of them."""
LONGEST_NAME = 100
"""Characters; names of arms and studies become parts of file names, which hold 255 bytes."""
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_-]*$"
"""Of a study; nothing that matches leads out of a folder."""
ArmName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_]+$", max_length=LONGEST_NAME)]


class Conditional(Section):
    """What all parameters have in common."""

    when: dict[str, Any] = Field(default_factory=dict)
    """Values that other keys must have; else the base configuration's value is used."""


class FloatParameter(Conditional):
    """A real number, both bounds included."""

    type: Literal["float"]
    """Kind of parameter."""
    low: float
    """Smallest value."""
    high: float
    """Largest value."""
    log: bool = False
    """Uniform in the exponent."""

    @model_validator(mode="after")
    def _bounds(self) -> Self:
        check_bounds(self.low, self.high, log=self.log)
        return self


class IntParameter(Conditional):
    """A whole number, both bounds included."""

    type: Literal["int"]
    """Kind of parameter."""
    low: int = Field(ge=-MOST, le=MOST)
    """Smallest value."""
    high: int = Field(ge=-MOST, le=MOST)
    """Largest value."""
    log: bool = False
    """Uniform in the exponent."""

    @model_validator(mode="after")
    def _bounds(self) -> Self:
        check_bounds(self.low, self.high, log=self.log)
        return self


class ChoiceParameter(Conditional):
    """One of several values."""

    type: Literal["choice"]
    """Kind of parameter."""
    options: tuple[Value, ...] = Field(min_length=1)
    """The values, each once; null is what the key's null means, such as all blocks."""

    @field_validator("options", mode="before")
    @classmethod
    def _one_kind(cls, options: Any) -> Any:
        if not isinstance(options, list | tuple):
            return options
        if _NUMBER in map(_kind, options):
            options = [_number(option) for option in options]
        kinds = {_kind(option) for option in options if option is not None}
        if len(kinds) > 1 or None in kinds:
            raise ValueError(
                f"must be all text, all numbers or all true/false, got {shown(options)}"
            )
        if len(set(options)) < len(options):
            raise ValueError(f"must differ from each other, got {shown(list(options))}")
        return options


_NUMBER = int | float


def _kind(option: Any) -> Any:
    """The type that options share; whole numbers and others are one, and None is none."""
    return next((kind for kind in (bool, _NUMBER, str) if isinstance(option, kind)), None)


def _number(option: Any) -> Any:
    """`3e-4`, which YAML 1.1 takes for text, as the number it is; anything else as it is."""
    with suppress(ValueError):
        return float(option) if isinstance(option, str) else option
    return option


Parameter = FloatParameter | IntParameter | ChoiceParameter


class Objective(Section):
    """What the search optimises."""

    metric: str = "val_correlation"
    """A metric of the validation set."""
    mode: Literal["max", "min"] = "max"
    """Which way is better."""


class Design(Section):
    """The fixed paired part of a study: with looks, or with configurations and seeds."""

    looks: tuple[int, ...] | None = None
    """Numbers of Sobol points after which verdicts are given, doubling from 16 or more."""
    replicated: int | None = Field(None, ge=0)
    """So many of the first configurations are trained with a second seed; null = as `seeds` says,
    or none."""
    control: int | None = Field(None, ge=0)
    """So many of the first configurations are trained with shuffled weights in any case."""
    configurations: int | None = Field(None, ge=2, le=MOST_CONFIGURATIONS)
    """Sobol points of a design that is looked at once; a power of two."""
    seeds: int | None = Field(None, ge=1, le=1000)
    """Trainings per configuration and arm."""

    @field_validator("configurations")
    @classmethod
    def _power_of_two(cls, configurations: int | None) -> int | None:
        if configurations is not None and configurations & (configurations - 1):
            raise ValueError(f"must be a power of two, got {configurations}")
        return configurations

    @field_validator("looks")
    @classmethod
    def _double(cls, looks: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if looks is not None and (fault := look_fault(looks)):
            raise ValueError(fault)
        if looks is not None and looks[-1] > MOST_CONFIGURATIONS:
            raise ValueError(f"must be at most {MOST_CONFIGURATIONS}, got {looks[-1]}")
        return looks

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        faults = []
        if self.looks is not None and self.configurations is not None:
            faults.append(("configurations", "must be left out beside looks; choose one of them"))
        if self.looks is None:
            faults += [
                (key, f"must stand beside looks, got it without; write looks: [{FIRST_LOOK}, ...]")
                for key in ("replicated", "control")
                if getattr(self, key) is not None
            ]
        elif self.seeds is not None and self.replicated is not None:
            faults.append(("replicated", "must be left out beside seeds; choose one of them"))
        if faults:
            raise RuleError(*faults)
        return self

    @property
    def size(self) -> DesignSize:
        """Configurations, seeds and looks."""
        return design_size(**self.model_dump())


class Asha(Section):
    """Asynchronous successive halving."""

    grace_epochs: int = Field(1, ge=1)
    """First epoch at which a trial may be stopped."""
    reduction_factor: float = Field(3, gt=1)
    """One in so many trials goes on at each rung."""


class Scheduler(Section):
    """What stops trials of the search early."""

    asha: Asha = Asha()
    """The only one so far."""


class Search(Section):
    """The adaptive part of a study."""

    trials: int = Field(24, ge=0)
    """In total, split over the arms."""
    sampler: Literal["tpe", "random"] = "tpe"
    """What proposes configurations."""
    scheduler: Scheduler = Scheduler()
    """What stops them."""
    start: tuple[dict[str, Any], ...] = ()
    """Points that every arm tries first, by dotted key; a key left out is proposed."""


class Resources(Section):
    """What one trial occupies."""

    cpus: float = Field(1, gt=0)
    """Cores."""
    gpus: float = Field(0, ge=0, le=1)
    """1 = a GPU of its own; less = a share of one, and of its memory; 0 = none."""

    @property
    def per_gpu(self) -> int:
        """Trials that share a GPU, at least 1; none of them ever spans two."""
        return int(1 / self.gpus + 1e-9) if self.gpus else 1


class Checkpoints(Section):
    """Which trainings' last states are kept."""

    keep: int = Field(3, ge=0)
    """Best completed trials of the whole study; 0 = none."""
    gigabytes: float = Field(10, gt=0)
    """Of all of them together, in 10^9 bytes; the best one is kept even if it is larger."""


class Space(Section):
    """A study as written in its file."""

    name: str = Field(pattern=NAME_PATTERN, max_length=LONGEST_NAME)
    """Name of the run folder."""
    base: str
    """Configuration file, relative to this one."""
    seed: int | None = Field(None, ge=0)
    """Of the study where --seed is not given; null = 0."""
    objective: Objective = Objective()
    """What is optimised."""
    horizon_epochs: int = Field(15, ge=1)
    """Epochs of a full trial."""
    arms: dict[ArmName, dict[str, Any]] = Field(min_length=1)
    """Keys that tell the arms apart."""
    space: dict[str, Annotated[Parameter, Field(discriminator="type")]] = Field(min_length=1)
    """Parameters by dotted key; `KEY@LABEL` is one of several of a key, whose `when` differ."""
    design: Design = Design()
    """The paired part."""
    search: Search = Search()
    """The adaptive part."""
    resources: Resources = Resources()
    """Per trial."""
    checkpoints: Checkpoints = Checkpoints()
    """What is kept of the best trials."""

    @property
    def searched_keys(self) -> set[str]:
        """Dotted keys of the parameters."""
        return set(map(key_of, self.space))


def distributions(space: Space) -> dict[str, BaseDistribution]:
    """The one translation of a space into Optuna's terms; bounds are inclusive in both."""
    result: dict[str, BaseDistribution] = {}
    for name, parameter in space.space.items():
        match parameter:
            case FloatParameter():
                result[name] = FloatDistribution(parameter.low, parameter.high, log=parameter.log)
            case IntParameter():
                result[name] = IntDistribution(parameter.low, parameter.high, log=parameter.log)
            case ChoiceParameter():
                result[name] = CategoricalDistribution(parameter.options)
    return result


def typed(parameter: Parameter, value: Any) -> Value:
    """A table's value as the parameter has it: a column with gaps holds whole numbers as floats.

    Raises:
        ValueError: It is none of the options.
    """
    if isinstance(parameter, IntParameter):
        return int(value)
    if isinstance(parameter, FloatParameter):
        return float(value)
    return parameter.options[parameter.options.index(value)]


def lies_in(parameter: Parameter, value: Any) -> bool:
    """Whether a value of the parameter's kind is among those that are searched."""
    if isinstance(parameter, ChoiceParameter):
        return value in parameter.options
    return bool(parameter.low <= value <= parameter.high)


def is_active(space: Space, name: str, values: Mapping[str, Value]) -> bool:
    """Whether the values so far, by key, meet the parameter's `when`."""
    return meets(space.space[name].when, values)


def active(space: Space, values: Mapping[str, Value]) -> dict[str, Value]:
    """The values whose `when` holds, by key; parameters may depend on earlier ones."""
    kept: dict[str, Value] = {}
    for name, value in values.items():
        if is_active(space, name, kept):
            kept[key_of(name)] = value
    return kept


def by_name(space: Space, values: Mapping[str, Value]) -> dict[str, Value]:
    """The values of a configuration, which are by key, by the names of their parameters."""
    return {
        name: values[key_of(name)]
        for name in space.space
        if key_of(name) in values and is_active(space, name, values)
    }


def design_points(space: Space, seed: int, configurations: int) -> Values:
    """The design's points in the unit cube; a column per parameter, in the space's order.

    Args:
        space: Parameters.
        seed: Of the scramble.
        configurations: How many points; a longer design begins with the same ones.
    """
    return unit_points(len(space.space), configurations, generator(Stream.DESIGN, seed))


def sobol_configurations(
    space: Space, seed: int, configurations: int | None = None
) -> list[dict[str, Value]]:
    """The design's configurations, the same for every arm and seed: every parameter, by name.

    The arguments are those of `design_points`; None = as many as the space announces.
    """
    points = design_points(space, seed, configurations or space.design.size.configurations)
    return [
        {
            key: place(parameter, float(u))
            for (key, parameter), u in zip(space.space.items(), point, strict=True)
        }
        for point in points
    ]


def distinct(points: Iterable[dict[str, Value]]) -> dict[int, dict[str, Value]]:
    """Each point that differs from all before it, by its number."""
    first: dict[Any, tuple[int, dict[str, Value]]] = {}
    for number, point in enumerate(points):
        first.setdefault(tuple(sorted(point.items())), (number, point))
    return dict(first.values())


def place(parameter: Parameter, u: float) -> Value:
    """The parameter's value at the share `u` in [0, 1) of its range.

    Floats by the line or, with `log`, by the exponent; choices by floor(u k), and whole numbers so
    too, which gives every value the same share; with `log` a whole number is rounded down from
    the exponent of a range that ends just above `high`.
    """
    match parameter:
        case ChoiceParameter(options=options):
            return options[math.floor(u * len(options))]
        case IntParameter(low=low, high=high, log=True):
            return min(max(math.floor(_exponential(low, high + 1, u)), low), high)
        case IntParameter(low=low, high=high):
            return low + math.floor(u * (high - low + 1))
        case FloatParameter(low=low, high=high, log=True):
            return min(max(_exponential(low, high, u), low), high)
        case FloatParameter(low=low, high=high):
            return min(max(low + (u * high - u * low), low), high)


def _exponential(low: float, high: float, u: float) -> float:
    return math.exp(math.log(low) + u * (math.log(high) - math.log(low)))
