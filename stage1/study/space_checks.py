"""What a search space can get wrong about its configuration, each fault with its key."""

from __future__ import annotations

import re
from itertools import takewhile
from typing import Any

from pydantic import ValidationError

from stage1.base.metric_table import metric_names, metric_row
from stage1.base.text import did_you_mean, dotted, plural, shown
from stage1.claims.designs import aliases, fewest_configurations
from stage1.config import Config, Section, with_values
from stage1.config.data import DATA_KEYS
from stage1.config.rules import Fault, faults_of
from stage1.data.windows import FEWEST_BARS
from stage1.run.looks import FIRST_LOOK, MOST_CONFIGURATIONS
from stage1.run.resolved_space import key_of
from stage1.study.space import (
    NAME_PATTERN,
    ChoiceParameter,
    FloatParameter,
    IntParameter,
    Parameter,
    Space,
    Value,
    by_name,
    design_points,
    distinct,
    distributions,
    lies_in,
)

TO_THE_HORIZON = (
    "must be null in a study, where all trials take the same steps and only ASHA ends one early; "
    "stage1.export --final sets it for the training after the study"
)
OWN_KEYS = {
    "training.epochs": "must be left to horizon_epochs",
    "training.seed": "must be left to --seed and design.seeds",
    "training.early_stop": TO_THE_HORIZON,
    "training.origin": "must be left to stage1.export",
    "model.async_sampler": "must be set in the base configuration, the same for all trials",
    **dict.fromkeys(
        (
            "data.timeframes",
            "data.kind",
            "data.channels",
            "data.step",
            "data.test_share",
            *DATA_KEYS,
        ),
        "must be set in the base configuration, the same for all trials",
    ),
}
"""Keys that neither an arm nor the search may set, and why."""
FEWEST_PAIRS = 12
"""Distinct configurations at the first look."""
MOST_NAMED = 3
"""Pairs of settings that one message names."""
FEW = 64
"""A range of at most so many whole numbers is checked value by value."""


def check_space(space: Space, config: Config) -> tuple[Space, list[Fault]]:
    """The space with options and conditions as the configuration holds them, and what is wrong.

    A file may write `8.0` for a whole number, and YAML takes `3e-4` for text. Parameters with
    faults are left out. The faults are those that one part shows without the others.
    """
    parameters, faults = _check_parameters(space, config)
    faults = [
        *_arm_faults(space, config),
        *faults,
        *_objective_faults(space, config),
        *_scheduler_faults(space),
        *_batch_size_faults(space, config),
        *_early_stop_faults(config),
        *_precision_faults(space, config),
    ]
    space = space.model_copy(update={"space": parameters})
    if not faults:  # else what is wrong with a point may be its parameter's
        start, faults = _check_start(space, config)
        search = space.search.model_copy(update={"start": start})
        space = space.model_copy(update={"search": search})
    return space, faults


def design_faults(space: Space, config: Config, points: list[dict[str, Value]]) -> list[Fault]:
    """The first of `points`, the design's, whose values do not fit together, per arm."""
    faults: list[Fault] = []
    for arm, settings in space.arms.items():
        for index, point in enumerate(points):
            _, broken = _build(config, {**settings, **point})
            if broken:
                where = f"configuration {index} of the design, arm {arm}"
                faults += [(("space",), f"{where}: {key}: {rule}") for key, rule in broken]
                break
    return faults


def size_faults(space: Space, seed: int, points: list[dict[str, Value]]) -> list[Fault]:
    """Why a design can answer nothing: few distinct configurations, settings that go together.

    A design without looks may have both; `design_cautions` says what it leaves open.
    """
    size = space.design.size
    first, fewest = size.looks[0], FEWEST_PAIRS if size.grows else 2
    keys = ("design", "looks" if size.grows else "configurations")
    count = len(distinct(points[:first]))
    if count < fewest:
        rule = f"must hold at least {fewest} distinct configurations, got {count} among {first}"
        return [(keys, f"{rule} points; give the space more values or ranges of real numbers")]
    pairs = settings_that_go_together(space, seed, first) if size.grows else []
    enough = enough_configurations(space, seed)
    if pairs or (size.grows and first < enough):
        settings = len(_varying(space))
        rule = f"must begin with {enough} for {settings} settings, got {first}"
        reason = f", which cannot tell {_pairs_text(pairs)}" if pairs else ""
        return [(keys, f"{rule}{reason}; write looks: [{enough}, {2 * enough}]")]
    return []


def design_cautions(space: Space, seed: int, points: list[dict[str, Value]]) -> list[str]:
    """What a design that may run leaves open, in sentences; empty if nothing."""
    size, sentences = space.design.size, list[str]()
    for look in size.looks:
        count = len(distinct(points[:look]))
        if count < look:
            sentences.append(f"{count} distinct configurations of {look} points")
    pairs = [] if size.grows else settings_that_go_together(space, seed, size.configurations)
    enough = enough_configurations(space, seed)
    reasons = []
    if not size.grows and size.configurations < FIRST_LOOK:
        reasons.append(f"it needs {FIRST_LOOK} configurations, got {size.configurations}")
    if pairs:
        reasons.append(f"{size.configurations} configurations cannot tell {_pairs_text(pairs)}")
    if reasons:
        sentences.append(
            f"claim 1 will be NOT EVALUABLE: {'; '.join(reasons)}; design: {{looks: "
            f"[{enough}, {2 * enough}]}} would do"
        )
    return sentences


def settings_that_go_together(space: Space, seed: int, configurations: int) -> list[list[str]]:
    """The pairs of settings that the first points of a design cannot tell apart.

    A parameter with a single value is no setting, and one with a condition has values of its own.
    """
    columns = _varying(space)
    points = design_points(space, seed, configurations)[:, list(columns.values())]
    names = list(columns)
    return [[names[pair.first], names[pair.second]] for pair in aliases(points)]


def enough_configurations(space: Space, seed: int) -> int:
    """The smallest first look whose points tell all settings of a space apart."""
    look = fewest_configurations(len(_varying(space)))
    while look < MOST_CONFIGURATIONS and settings_that_go_together(space, seed, look):
        look *= 2
    return look


def _varying(space: Space) -> dict[str, int]:
    """Columns of the parameters that every configuration has, and that have several values."""
    return {
        name: column
        for column, (name, domain) in enumerate(distributions(space).items())
        if not domain.single() and not space.space[name].when
    }


def _last_part(key: str) -> str:
    return key.rpartition(".")[2]


def _pairs_text(pairs: list[list[str]]) -> str:
    """Some of the pairs, by their keys."""
    texts = [" from ".join(map(_last_part, pair)) for pair in pairs[:MOST_NAMED]]
    further = len(pairs) - len(texts)
    return ", ".join(texts) + (f" and {plural(further, 'other pair')}" if further else "")


def _conditions(space: Space, name: str) -> dict[str, Any]:
    """What other keys are wherever this parameter is searched, or are in one such case."""
    result: dict[str, Any] = {}
    for other, wanted in space.space[name].when.items():
        giving = (n for n in _named(space, other) if _can_be(space.space[n], wanted))
        result |= {**_conditions(space, next(giving)), other: wanted}
    return result


def _named(space: Space, key: str) -> list[str]:
    """The parameters of a key."""
    return [name for name in space.space if key_of(name) == key]


def _batch_size_faults(space: Space, config: Config) -> list[Fault]:
    """Auto asks each machine's memory, and trials must not differ in what a step is."""
    key = "training.batch_size"
    set_in_all = key in space.searched_keys or all(key in arm for arm in space.arms.values())
    if set_in_all or config.training.batch_size != "auto":
        return []
    return [(("base",), f"must set {key} to a number, since all trials share it, got auto")]


def _early_stop_faults(config: Config) -> list[Fault]:
    if config.training.early_stop is None:
        return []
    return [(("base",), f"training.early_stop: {TO_THE_HORIZON}; base it on a file without")]


def _precision_faults(space: Space, config: Config) -> list[Fault]:
    """Whatever arithmetic trials may be asked for, their device must have it."""
    key, searched = "training.precision", space.space.get("training.precision")
    asked: list[tuple[tuple[str, ...], Any]] = [
        (("arms", arm, key), values[key]) for arm, values in space.arms.items() if key in values
    ]
    if searched is None and len(asked) < len(space.arms):
        asked.append((("base",), config.training.precision))
    if isinstance(searched, ChoiceParameter):
        asked += [(("space", key), option) for option in searched.options]
    faults: list[Fault] = []
    for keys, precision in asked:
        training = config.training.model_copy(update={"precision": precision})
        rule = training.precision_fault(on_gpu=space.resources.gpus > 0)
        if rule is not None:
            faults.append(
                (keys, f"{'' if key in keys else f'{key} '}{rule}: resources: {{gpus: 1}}")
            )
    return faults


def _arm_faults(space: Space, config: Config) -> list[Fault]:
    """Each key of an arm must exist and not be searched, and the values must fit together."""
    faults: list[Fault] = []
    for arm, values in space.arms.items():
        of_arm = [(key, fault) for key in values if (fault := _key_fault(config, key))]
        of_arm += [
            (key, "must not be searched too") for key in values if key in space.searched_keys
        ]
        faults += [(("arms", arm, key), rule) for key, rule in of_arm or _build(config, values)[1]]
    return faults


def _check_parameters(space: Space, config: Config) -> tuple[dict[str, Parameter], list[Fault]]:
    """The parameters as the configuration holds them; each key, its conditions, its values."""
    faults: list[Fault] = []
    parameters: dict[str, Parameter] = {}
    for name in space.space:
        of_name = _condition_faults(space, name, earlier=list(parameters))
        fault = _key_fault(config, key_of(name)) or _name_fault(space, name)
        if fault:
            of_name.append((("space", name), fault))
        if not of_name:
            parameters[name], of_name = _check_values(space, config, name)
        faults += of_name
    return parameters, faults


def _name_fault(space: Space, name: str) -> str | None:
    """Why a name cannot stand beside those before it; of a key one parameter applies at most."""
    key, at, label = name.partition("@")
    if at and not re.fullmatch(NAME_PATTERN, label):
        return f"must be KEY or KEY@LABEL, the label of letters, digits, _ and -, got {label!r}"
    when = space.space[name].when
    for other in takewhile(lambda earlier: earlier != name, _named(space, key)):
        theirs = space.space[other].when
        if not any(when[shared] != theirs[shared] for shared in when.keys() & theirs.keys()):
            return f"must have another value than {other} has under a key of `when` that both name"
    return None


def _condition_faults(space: Space, name: str, *, earlier: list[str]) -> list[Fault]:
    faults: list[Fault] = []
    keys = list(map(key_of, earlier))
    for other, wanted in space.space[name].when.items():
        rule = None
        if other not in keys:
            rule = f"must be an earlier key of the space{did_you_mean(other, keys)}"
        elif not any(_can_be(space.space[n], wanted) for n in earlier if key_of(n) == other):
            rule = f"must be a value that the search gives {other}, got {shown(wanted)}"
        if rule:
            faults.append((("space", name, "when", other), rule))
    return faults


def _can_be(parameter: Parameter, wanted: Any) -> bool:
    match parameter:
        case ChoiceParameter(options=options):
            return wanted in options
        case IntParameter(low=low, high=high):
            return isinstance(wanted, int) and low <= wanted <= high
    return False  # a real number is never met exactly


def _check_values(space: Space, config: Config, name: str) -> tuple[Parameter, list[Fault]]:
    """Every option, or both ends of a range, must give a valid configuration."""
    key, parameter, given = key_of(name), space.space[name], _conditions(space, name)
    faults: list[Fault] = []
    when, options = dict(parameter.when), list[Value]()
    for value in values_to_check(parameter):
        made, broken = _build(config, {**given, key: value})
        if made is not None:
            when = {other: _value_of(made, other) for other in parameter.when}
            options.append(_value_of(made, key))
            if isinstance(parameter, FloatParameter) and not isinstance(options[-1], float):
                rule = f"must not be float for a key with values such as {options[-1]!r}"
                faults.append((("space", name, "type"), rule))
        faults += [
            (("space", name), rule if broken_key == key else f"{broken_key}: {rule}")
            for broken_key, rule in broken
        ]
        if broken and isinstance(parameter, IntParameter):
            break  # the first of many
    update: dict[str, Any] = {"when": when}
    if isinstance(parameter, ChoiceParameter):
        update["options"] = tuple(options)
    return parameter.model_copy(update=update), faults


def _check_start(space: Space, config: Config) -> tuple[tuple[dict[str, Any], ...], list[Fault]]:
    """The points that the search starts from, as the configuration holds them; what is wrong."""
    points: list[dict[str, Any]] = []
    rules: list[str] = []
    for index, point in enumerate(space.search.start):
        where = f"point {index + 1}: "
        unknown = [] if point else [f"{where}must name a key of the space, got none"]
        unknown += [
            f"{where}{key}: must be a key of the space"
            f"{did_you_mean(key, sorted(space.searched_keys))}"
            for key in point
            if key not in space.searched_keys
        ]
        made, broken = {}, {}
        for arm, settings in () if unknown else space.arms.items():
            made[arm], broken[arm] = _build(config, {**settings, **point})
        wrong = next((faults for faults in broken.values() if faults), [])
        rules += unknown + [f"{where}{key}: {rule}" for key, rule in wrong]
        one = next(iter(made.values()), None)
        if one is not None and not wrong:
            points.append({key: _value_of(one, key) for key in point})
            rules += [f"{where}{rule}" for rule in _point_rules(space, points[-1])]
            if points[-1] in points[:-1]:
                rules.append(f"{where}must differ from the others, got {shown(point)} twice")
    return tuple(points), [(("search", "start"), rule) for rule in rules]


def _point_rules(space: Space, point: dict[str, Value]) -> list[str]:
    """What keeps a point from being one of the space; a key that it leaves out is proposed."""
    named = by_name(space, point)
    rules = [
        f"{name}: must be {_described(space.space[name])}, got {shown(value)}; "
        "change it, or what is searched"
        for name, value in named.items()
        if not lies_in(space.space[name], value)
    ]
    for key in point.keys() - set(map(key_of, named)):
        conditions = " or ".join(
            " and ".join(f"{other} = {wanted}" for other, wanted in space.space[name].when.items())
            for name in _named(space, key)
        )
        rules.append(f"{key}: must stand beside {conditions}, got {shown(point)}")
    return rules


def _described(parameter: Parameter) -> str:
    if isinstance(parameter, ChoiceParameter):
        return f"one of {', '.join(map(str, parameter.options))}"
    return f"from {parameter.low:g} to {parameter.high:g}"


def values_to_check(parameter: Parameter) -> list[Value]:
    """Every value of a parameter where they are few, else both ends of its range."""
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
    data = config.data
    for name, minutes in zip(data.timeframes, data.minutes, strict=True):
        few = config.model.async_sampler and data.seq_len * data.minutes[0] // minutes < FEWEST_BARS
        if few and metric.endswith(f"_{name}"):
            return name
    return None


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


def _build(config: Config, values: dict[str, Any]) -> tuple[Config | None, list[tuple[str, str]]]:
    """The configuration with some values set, or None and the rules it breaks, by dotted key."""
    try:
        made = with_values(config, values)
    except ValidationError as error:
        return None, [(dotted(keys), rule) for keys, rule in faults_of(error, Config)]
    if "training.batch_size" in values and made.training.batch_size == "auto":
        rule = "must be a number, since all trials share it, got auto"
        return None, [("training.batch_size", rule)]
    return made, []


def _value_of(config: Config, key: str) -> Any:
    part: Any = config
    for name in key.split("."):
        part = getattr(part, name)
    return part
