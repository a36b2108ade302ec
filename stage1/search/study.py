"""A study: a search space file checked whole against the configuration, before anything runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import yaml
from pydantic import ValidationError

from stage1.config import Config, Section, load_config, with_values
from stage1.errors import ConfigError
from stage1.model.metrics import metric_names
from stage1.search.space import ChoiceParameter, Space, Value
from stage1.yaml_source import YamlSource, did_you_mean, load_yaml, raise_faults


class Study(NamedTuple):
    """A checked space with its base configuration and seed."""

    space: Space
    config: Config
    seed: int

    @property
    def design_seeds(self) -> list[int]:
        """Seeds of the design and of the confirmation; the search's own is `seed`."""
        return [self.seed + 1 + index for index in range(self.space.design.seeds)]


def load_study(
    path: Path, *, seed: int = 0, trials: int | None = None
) -> Study:
    """Read a search space, check it whole, and fix its seed.

    Args:
        path: The YAML file.
        seed: Of the design, the samplers and the trials.
        trials: In place of `search.trials`.

    Raises:
        ConfigError: All faults that can be told together: file, line, key, rule, value.
    """
    source = load_yaml(path)
    try:
        space = Space.model_validate(source.values)
    except ValidationError as error:
        raise_faults(error, source, Space)
    base = load_config(path.parent / space.base)
    config = with_values(base, {"training.epochs": space.horizon_epochs})
    faults = [*_arm_faults(space, config), *_parameter_faults(space, config)]
    faults += _objective_faults(space, config)
    if space.search.scheduler.asha.grace_epochs > space.horizon_epochs:
        faults.append(
            (
                ("search", "scheduler", "asha", "grace_epochs"),
                f"must be <= horizon_epochs={space.horizon_epochs}, "
                f"got {space.search.scheduler.asha.grace_epochs}",
            )
        )
    if faults:
        raise ConfigError(_lines(faults, source))
    if trials is not None:
        space = space.model_copy(update={"search": space.search.model_copy(update={"trials": trials})})
    return Study(space, config, seed)


Fault = tuple[tuple[str, ...], str]


def _lines(faults: list[Fault], source: YamlSource) -> str:
    return "\n".join(f"{source.origin(keys)}: {'.'.join(keys)}: {text}" for keys, text in faults)


def _arm_faults(space: Space, config: Config) -> list[Fault]:
    faults: list[Fault] = []
    for arm, values in space.arms.items():
        for key, value in values.items():
            if key in space.space:
                faults.append((("arms", arm, key), "must not be searched too; it sets the arm"))
            fault = value_fault(config, key, value)
            if fault:
                faults.append((("arms", arm, key), fault))
    return faults


def _parameter_faults(space: Space, config: Config) -> list[Fault]:
    """Each parameter's extremes, put into the configuration, must give a valid one."""
    faults: list[Fault] = []
    for key, parameter in space.space.items():
        extremes = (
            parameter.options
            if isinstance(parameter, ChoiceParameter)
            else (parameter.low, parameter.high)
        )
        found = [fault for value in extremes if (fault := value_fault(config, key, value))]
        faults += [(("space", key), fault) for fault in dict.fromkeys(found)]
        earlier = list(space.space)[: list(space.space).index(key)]
        for other in parameter.when:
            if other not in earlier:
                hint = did_you_mean(other, earlier)
                faults.append((("space", key, "when", other), f"must be an earlier key{hint}"))
    return faults


def _objective_faults(space: Space, config: Config) -> list[Fault]:
    known = metric_names(config.data.timeframes)
    if space.objective.metric in known:
        return []
    hint = did_you_mean(space.objective.metric, known)
    return [(("objective", "metric"), f"must be a metric, got {space.objective.metric!r}{hint}")]


def value_fault(config: Config, key: str, value: Any) -> str | None:
    """What is wrong with setting a key of the configuration to a value, or None."""
    part: Any = config
    names = key.split(".")
    for name in names:
        fields = list(type(part).model_fields) if isinstance(part, Section) else []
        if name not in fields:
            return f"{name!r} is no key of the configuration{did_you_mean(name, fields)}"
        part = getattr(part, name)
    if isinstance(part, Section):
        return "must be a single value's key, not a section's"
    try:
        with_values(config, {key: value})
    except ValidationError as error:
        return "; ".join(_told(fault, value) for fault in error.errors())
    return None


def _told(fault: Any, value: Any) -> str:
    if fault["type"] == "value_error":
        return str(fault["ctx"]["error"])
    return f"{fault['msg'][:1].lower()}{fault['msg'][1:]}, got {value!r}"


def trial_config(study: Study, *, arm: str, values: dict[str, Value], seed: int) -> Config:
    """The complete configuration of one trial.

    Raises:
        pydantic.ValidationError: The values do not fit together.
    """
    return with_values(
        study.config, {**study.space.arms[arm], **values, "training.seed": seed}
    )


def language_model_names(study: Study) -> list[str]:
    """Every language model that a trial of the study may ask for, sorted."""
    key = "transfer_learning.lm_name_or_path"
    names: set[str] = set()
    for arm, settings in study.space.arms.items():
        config = trial_config(study, arm=arm, values={}, seed=0)
        if config.transfer_learning.use_pretrained_lm:
            parameter = study.space.space.get(key)
            options = parameter.options if isinstance(parameter, ChoiceParameter) else ()
            names.update(map(str, options) if key not in settings else ())
            if not options or (parameter is not None and parameter.when):
                names.add(config.transfer_learning.lm_name_or_path)
    return sorted(names)


def space_yaml(study: Study, extra: dict[str, Any]) -> str:
    """The resolved study as YAML: nothing in it depends on another file.

    Args:
        study: Checked.
        extra: Further top-level keys, such as what the data were.
    """
    resolved = study.space.model_dump(mode="json", exclude={"base"})
    resolved |= {"seed": study.seed, "config": study.config.model_dump(mode="json"), **extra}
    return yaml.safe_dump(resolved, sort_keys=False)
