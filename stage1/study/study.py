"""A study: a search space file checked whole against the configuration, before anything runs."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from pydantic import ValidationError

from stage1.base.errors import ConfigError
from stage1.config import Config, load_config, with_values
from stage1.config.shipped import find
from stage1.config.yaml_source import existing_file, load_yaml, raise_faults, raise_listed
from stage1.run.columns import PRETRAINED
from stage1.run.registration import arm_roles, early_epoch
from stage1.study.space import ChoiceParameter, Space, Value
from stage1.study.space_checks import design_faults, in_configuration_types, space_faults

LANGUAGE_MODEL = "transfer_learning.lm_name_or_path"
USES_LANGUAGE_MODEL = "transfer_learning.use_pretrained_lm"


class Study(NamedTuple):
    """A checked space with its base configuration and seed."""

    space: Space
    config: Config
    seed: int

    @property
    def design_seeds(self) -> list[int]:
        """Seeds of the design and of the confirmation; the search's own is `seed`."""
        return [self.seed + 1 + index for index in range(self.space.design.seeds)]

    @property
    def block_epochs(self) -> list[int]:
        """Epochs of the design whose validation blocks are kept: the early one and the last."""
        horizon = self.space.horizon_epochs
        return sorted({early_epoch(horizon), horizon})

    @property
    def roles(self) -> dict[str, str]:
        """What the arms are in the comparisons: arm by role."""
        configs = {arm: with_values(self.config, own) for arm, own in self.space.arms.items()}
        return arm_roles(configs, self.space.space)


def load_study(path: Path, *, seed: int = 0, trials: int | None = None) -> Study:
    """Read a search space, check it whole, and fix its seed.

    Args:
        path: The YAML file, or the name of a space that comes with the package.
        seed: Of the design, the samplers and the trials.
        trials: In place of `search.trials`.

    Raises:
        ConfigError: All faults that can be told together: file, line, key, rule, value.
    """
    source = load_yaml(find(path, "search_spaces"))
    if "config" in source.values and "base" not in source.values:
        raise ConfigError(
            f"{path}: must be a search space, got that of a study that has run; begin one like it: "
            f"python -m stage1.new NAME --from {shlex.quote(str(path.parent))}"
        )
    try:
        space = Space.model_validate(source.values)
    except ValidationError as error:
        raise_faults(error, source, Space)
    base = load_config(existing_file(space.base, key="base", source=source))
    config = with_values(base, {"training.epochs": space.horizon_epochs})
    faults = space_faults(space, config)
    if not faults:
        space = in_configuration_types(space, config)
        faults = design_faults(space, config, seed)
    if faults:
        raise_listed(faults, source)
    if trials is not None:
        search = space.search.model_copy(update={"trials": trials})
        space = space.model_copy(update={"search": search})
    return Study(space, config, seed)


def trial_config(study: Study, *, arm: str, values: dict[str, Value], seed: int) -> Config:
    """The complete configuration of one trial.

    Raises:
        pydantic.ValidationError: The values do not fit together.
    """
    return with_values(study.config, {**study.space.arms[arm], **values, "training.seed": seed})


def language_model_names(study: Study) -> list[str]:
    """Every language model that a trial of the study may ask for, sorted."""
    return sorted({name for arm in study.space.arms for name in _models_of_arm(study, arm)})


def pretrained_language_models(study: Study) -> list[str]:
    """Every language model that the pretrained arm may ask for, sorted; none without that arm."""
    arm = study.roles.get(PRETRAINED)
    return [] if arm is None else sorted(_models_of_arm(study, arm))


def cost_config(study: Study, name: str) -> Config:
    """The configuration in which a language model's cost is timed: the pretrained arm's own.

    Args:
        study: With a pretrained arm.
        name: One of `pretrained_language_models`.
    """
    values: dict[str, Value] = {LANGUAGE_MODEL: name}
    return trial_config(study, arm=study.roles[PRETRAINED], values=values, seed=study.seed)


def _models_of_arm(study: Study, arm: str) -> set[str]:
    transfer = trial_config(study, arm=arm, values={}, seed=0).transfer_learning
    if True not in _possible(study, USES_LANGUAGE_MODEL, transfer.use_pretrained_lm):
        return set()
    return set(map(str, _possible(study, LANGUAGE_MODEL, transfer.lm_name_or_path)))


def _possible(study: Study, key: str, otherwise: Value) -> set[Value]:
    """Values that a key can have: its options, and the arm's own where it is not searched."""
    parameter = study.space.space.get(key)
    if not isinstance(parameter, ChoiceParameter):
        return {otherwise}
    return {*parameter.options, *([otherwise] if parameter.when else [])}


def space_yaml(study: Study, extra: dict[str, Any]) -> str:
    """The resolved study as YAML: nothing in it depends on another file.

    Args:
        study: Checked.
        extra: Further top-level keys, such as what the data were.
    """
    return yaml.safe_dump(_resolved(study) | extra, sort_keys=False)


def _resolved(study: Study) -> dict[str, Any]:
    resolved = study.space.model_dump(mode="json", exclude={"base"})
    return resolved | {"seed": study.seed, "config": study.config.model_dump(mode="json")}
