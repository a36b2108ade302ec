"""What a search space can get wrong about its configuration, each fault with its key."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from stage1.base.metric_table import metric_names, metric_row
from stage1.base.text import did_you_mean, dotted, shown
from stage1.config import Config, Section, with_values
from stage1.config.rules import Fault, faults_of
from stage1.data.windows import FEWEST_BARS
from stage1.study.design import sobol_configurations
from stage1.study.space import (
    ChoiceParameter,
    FloatParameter,
    IntParameter,
    Parameter,
    Space,
    Value,
    active,
)

OWN_KEYS = {
    "training.epochs": "must be left to horizon_epochs",
    "training.seed": "must be left to --seed and design.seeds",
    "model.async_sampler": "must be set in the base configuration, the same for all trials",
    **dict.fromkeys(
        ("data.timeframes", "data.kind", "data.channels", "data.step"),
        "must be set in the base configuration, the same for all trials",
    ),
}
"""Keys that neither an arm nor the search may set, and why."""
FEW = 64
"""A range of at most so many whole numbers is checked value by value."""


def space_faults(space: Space, config: Config) -> list[Fault]:
    """All that is wrong with a space, as far as one part can be told without the others.

    Args:
        space: Well formed.
        config: What trials start from.
    """
    return [
        *_arm_faults(space, config),
        *_parameter_faults(space, config),
        *_objective_faults(space, config),
        *_scheduler_faults(space),
        *_batch_size_faults(space, config),
    ]


def design_faults(space: Space, config: Config, seed: int) -> list[Fault]:
    """The first configuration of the design, per arm, whose values do not fit together.

    Args:
        space: Without faults of its parts.
        config: What trials start from.
        seed: Of the design.
    """
    faults: list[Fault] = []
    points = [active(space, point) for point in sobol_configurations(space, seed)]
    for arm, settings in space.arms.items():
        broken = [_broken(config, {**settings, **point}) for point in points]
        first = next((index for index, rules in enumerate(broken) if rules), None)
        if first is not None:
            where = f"configuration {first} of the design, arm {arm}"
            faults += [(("space",), f"{where}: {key}: {rule}") for key, rule in broken[first]]
    return faults


def in_configuration_types(space: Space, config: Config) -> Space:
    """The space with options and conditions as the configuration holds them.

    A file may write `8.0` for a whole number, and YAML takes `3e-4` for text.

    Args:
        space: Without faults of its parts.
        config: What trials start from.
    """
    parameters: dict[str, Parameter] = {}
    for key, parameter in space.space.items():
        update: dict[str, Any] = {}
        for value in _values_to_check(parameter):
            holder = with_values(config, {**conditions(space, key), key: value})
            update["when"] = {other: _held(holder, other) for other in parameter.when}
            if isinstance(parameter, ChoiceParameter):
                update["options"] = (*update.get("options", ()), _held(holder, key))
        parameters[key] = parameter.model_copy(update=update)
    return space.model_copy(update={"space": parameters})


def conditions(space: Space, key: str) -> dict[str, Any]:
    """What other keys are wherever this one is searched."""
    result: dict[str, Any] = {}
    for other, wanted in space.space[key].when.items():
        result |= {**conditions(space, other), other: wanted}
    return result


def _batch_size_faults(space: Space, config: Config) -> list[Fault]:
    """Auto asks each machine's memory, and trials must not differ in what a step is."""
    key = "training.batch_size"
    set_in_all = key in space.space or all(key in arm for arm in space.arms.values())
    if set_in_all or config.training.batch_size != "auto":
        return []
    return [(("base",), f"must set {key} to a number, since all trials share it, got auto")]


def _arm_faults(space: Space, config: Config) -> list[Fault]:
    """Each key of an arm must exist and not be searched, and the values must fit together."""
    faults: list[Fault] = []
    for arm, values in space.arms.items():
        found = [(key, fault) for key in values if (fault := _key_fault(config, key))]
        found += [(key, "must not be searched too") for key in values if key in space.space]
        faults += [(("arms", arm, key), rule) for key, rule in found or _broken(config, values)]
    return faults


def _parameter_faults(space: Space, config: Config) -> list[Fault]:
    """Each parameter's key, conditions, and values."""
    faults: list[Fault] = []
    sound: list[str] = []
    for key, parameter in space.space.items():
        found = _condition_faults(space, key, earlier=sound)
        fault = _key_fault(config, key)
        if fault:
            found.append((("space", key), fault))
        if not found:
            sound.append(key)
            found = _range_faults(space, config, key, parameter)
        faults += found
    return faults


def _condition_faults(space: Space, key: str, *, earlier: list[str]) -> list[Fault]:
    faults: list[Fault] = []
    for other, wanted in space.space[key].when.items():
        rule = None
        if other not in earlier:
            rule = f"must be an earlier key of the space{did_you_mean(other, earlier)}"
        elif not _can_be(space.space[other], wanted):
            rule = f"must be a value that the search gives {other}, got {shown(wanted)}"
        if rule:
            faults.append((("space", key, "when", other), rule))
    return faults


def _can_be(parameter: Parameter, wanted: Any) -> bool:
    match parameter:
        case ChoiceParameter(options=options):
            return wanted in options
        case IntParameter(low=low, high=high):
            return isinstance(wanted, int) and low <= wanted <= high
    return False  # a real number is never met exactly


def _range_faults(space: Space, config: Config, key: str, parameter: Parameter) -> list[Fault]:
    """Every option, or both ends of a range, must give a valid configuration."""
    faults: list[Fault] = []
    given = conditions(space, key)
    for value in _values_to_check(parameter):
        broken = _broken(config, {**given, key: value})
        faults += [
            (("space", key), rule if name == key else f"{name}: {rule}") for name, rule in broken
        ]
        if broken and isinstance(parameter, IntParameter):
            break  # the first of many
        if not broken and isinstance(parameter, FloatParameter):
            held = _held(with_values(config, {**given, key: value}), key)
            if not isinstance(held, float):
                rule = f"must not be float for a key with values such as {held!r}"
                faults.append((("space", key, "type"), rule))
    return faults


def _values_to_check(parameter: Parameter) -> list[Value]:
    match parameter:
        case ChoiceParameter(options=options):
            return list(options)
        case IntParameter(low=low, high=high) if high - low < FEW:
            return list(range(low, high + 1))
    return [parameter.low, parameter.high]


def _objective_faults(space: Space, config: Config) -> list[Fault]:
    known = metric_names(config.data.timeframes)
    metric, mode = space.objective.metric, space.objective.mode
    row = metric_row(metric)
    if row is None or metric not in known:
        hint = did_you_mean(metric, known)
        return [(("objective", "metric"), f"must be a metric, got {metric!r}{hint}")]
    if mode != row.better:
        return [(("objective", "mode"), f"must be {row.better} for {metric}, got {mode}")]
    context = _context_timeframe(metric, config)
    if context is not None:
        rule = f"must be of a timeframe with {FEWEST_BARS} bars in a window, got {metric!r}"
        longest = f"{config.data.seq_len} {config.data.unit}"
        return [(("objective", "metric"), f"{rule}: {longest} are too few for {context}")]
    return []


def _context_timeframe(metric: str, config: Config) -> str | None:
    """The timeframe that a metric is of, if it is never scored."""
    if not config.model.async_sampler:
        return None
    data = config.data
    bars = {
        name: data.seq_len // one for name, one in zip(data.timeframes, data.minutes, strict=True)
    }
    names = (name for name in data.timeframes if metric.endswith(f"_{name}"))
    return next((name for name in names if bars[name] < FEWEST_BARS), None)


def _scheduler_faults(space: Space) -> list[Fault]:
    grace = space.search.scheduler.asha.grace_epochs
    if grace <= space.horizon_epochs:
        return []
    rule = f"must be <= horizon_epochs={space.horizon_epochs}, got {grace}"
    return [(("search", "scheduler", "asha", "grace_epochs"), rule)]


def _key_fault(config: Config, key: str) -> str | None:
    """Why neither an arm nor the search can set a key, or None."""
    part: Any = config
    for name in key.split("."):
        fields = list(type(part).model_fields) if isinstance(part, Section) else []
        if name not in fields:
            return f"{name!r} is no key of the configuration{did_you_mean(name, fields)}"
        part = getattr(part, name)
    if isinstance(part, Section):
        return f"must be a single value's key such as {key}.{next(iter(type(part).model_fields))}"
    return OWN_KEYS.get(key)


def _broken(config: Config, values: dict[str, Any]) -> list[tuple[str, str]]:
    """The rules that a configuration breaks with some values set, by dotted key."""
    try:
        made = with_values(config, values)
    except ValidationError as error:
        return [(dotted(keys), rule) for keys, rule in faults_of(error, Config)]
    if "training.batch_size" in values and made.training.batch_size == "auto":
        return [("training.batch_size", "must be a number, since all trials share it, got auto")]
    return []


def _held(config: Config, key: str) -> Any:
    part: Any = config
    for name in key.split("."):
        part = getattr(part, name)
    return part
