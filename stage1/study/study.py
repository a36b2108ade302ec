"""A study: a search space file checked whole against the configuration, before anything runs."""

from __future__ import annotations

import shlex
from collections.abc import Container, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from stage1.base.errors import ConfigError
from stage1.base.text import plural
from stage1.config import ORIGIN, Config, load_config, with_values
from stage1.config.yaml_source import (
    existing_file,
    find,
    load_yaml,
    raise_faults,
    raise_listed,
    source_of_mapping,
)
from stage1.run.columns import (
    DESIGN,
    PRETRAINED,
    RANDOM,
    RANDOM_AGAIN,
    RANDOM_FIXED,
    SHUFFLED,
    SHUFFLED_FIXED,
    VANILLA,
)
from stage1.run.looks import DesignSize, configuration_id, configuration_number
from stage1.run.registration import control_arm, early_epoch, trainable_arms
from stage1.run.resolved_space import count_configurations, key_of
from stage1.study.space import (
    Space,
    Value,
    active,
    distinct,
    is_active,
    sobol_configurations,
)
from stage1.study.space_checks import (
    check_space,
    design_cautions,
    design_faults,
    size_faults,
    values_to_check,
)
from stage1.study.trials import TrialSpec

LANGUAGE_MODEL = "transfer_learning.lm_name_or_path"
USES_LANGUAGE_MODEL = "transfer_learning.use_pretrained_lm"
_MODEL_KEYS = (
    USES_LANGUAGE_MODEL,
    LANGUAGE_MODEL,
    "transfer_learning.n_pretrained_blocks",
    "transfer_learning.input_scale",
)
"""What decides whether a language model can be built into a trial's model."""
_DRAW = {
    "transfer_learning.initialization_stream": 0,
    "transfer_learning.initialization_seed": None,
}
"""Where a T5's weights are drawn from."""
_FIXED = {RANDOM: RANDOM_FIXED, SHUFFLED: SHUFFLED_FIXED}
"""What an arm is that keeps one draw across the seeds, by its initialisation."""
_ROLE_KEYS = (USES_LANGUAGE_MODEL, "transfer_learning.initialization", *_DRAW)


@dataclass(frozen=True)
class Study:
    """A checked space with its base configuration and seed."""

    space: Space
    config: Config
    """What trials start from."""
    seed: int
    """Of the design, the samplers and the search's trials."""
    points: list[dict[str, Value]]
    """The design's points up to its last look, in order: searched values by dotted key."""
    goes_to: int = 0
    """Points that the design goes to at least, whatever the looks before say: it was extended."""
    began_earlier: bool = False
    """Whether a version began it that trained points that came out equal, searched the controls
    too, and confirmed on the design's seeds: it goes on so."""

    @property
    def size(self) -> DesignSize:
        """Of the design."""
        return self.space.design.size

    @cached_property
    def configurations(self) -> dict[int, dict[str, Value]]:
        """Distinct points of the design by their number; of equal ones the first."""
        return dict(enumerate(self.points)) if self.began_earlier else distinct(self.points)

    def distinct_of(self, look: int) -> int:
        """How many distinct configurations the first points of the design are."""
        return sum(number < look for number in self.configurations)

    @cached_property
    def looks(self) -> list[int]:
        """The looks as far as there are points; one that adds no configuration is none."""
        looks = list[int]()
        for look in self.size.every_look():
            grown = not looks or self.distinct_of(look) > self.distinct_of(looks[-1])
            if look > len(self.points) or not grown:
                break
            looks.append(look)
        return looks

    @property
    def cautions(self) -> list[str]:
        """What design and search leave open, in sentences; empty if nothing."""
        cautions = design_cautions(self.space, self.seed, self.points)
        asked, arms = self.space.search.trials, len(self.searched_arms)
        if self.search_trials < asked:
            cautions.append(
                f"search.trials is {asked}, and {self.search_trials} are run: the space holds "
                f"{plural(self.search_trials // arms, 'configuration')}, and none is trained twice"
            )
        start = len(self.space.search.start)
        if self.search_trials < start * arms:
            cautions.append(
                f"search.start has {plural(start, 'point')} for each of {plural(arms, 'arm')}, and "
                f"search.trials is {self.search_trials}: the last ones are not tried"
            )
        return cautions

    @property
    def design_seeds(self) -> list[int]:
        """Seeds of the design; the search's own is `seed`."""
        return [self.seed + 1 + index for index in range(self.size.seeds)]

    @property
    def confirm_seeds(self) -> list[int]:
        """Seeds of the confirmation, which neither design nor search uses."""
        if self.began_earlier:
            return self.design_seeds
        return [self.seed + self.size.seeds + index for index in (1, 2)]

    @property
    def searched_arms(self) -> list[str]:
        """Arms that the search proposes points for."""
        arms = list(self.space.arms)
        return arms if self.began_earlier else trainable_arms(arms, self.roles)

    @cached_property
    def search_trials(self) -> int:
        """Trials of the search: no point is trained twice in an arm, so what the space holds."""
        arms, most = len(self.searched_arms), self.space.search.trials
        return min(most, arms * count_configurations(self.space.space, most))

    @property
    def block_epochs(self) -> list[int]:
        """Epochs of the design whose validation blocks are kept: the early one and the last."""
        horizon = self.space.horizon_epochs
        return sorted({early_epoch(horizon), horizon})

    def design_specs(self, look: int | None = None) -> list[TrialSpec]:
        """The trials of the design up to a look that run in any case; None = up to the last look.

        Configuration by configuration, so that an unfinished design is still a paired one.
        """
        control, controlled = control_arm(self.roles, self.size), self.size.control or 0
        return [
            TrialSpec(DESIGN, arm, configuration_id(number), seed, point)
            for place, number, point in self._up_to(look or self.looks[-1])
            for seed in self.seeds_at(place)
            for arm in self.space.arms
            if arm != control or place < controlled
        ]

    def control_specs(self, look: int) -> list[TrialSpec]:
        """The trials with shuffled weights that a gain at a look asks for; perhaps no such arm."""
        control = control_arm(self.roles, self.size)
        return [
            TrialSpec(DESIGN, control, configuration_id(number), seed, point)
            for place, number, point in self._up_to(look)
            for seed in self.seeds_at(place)
            if control is not None
        ]

    def _up_to(self, look: int) -> Iterator[tuple[int, int, dict[str, Value]]]:
        """Place, number and values of the distinct configurations among the first points."""
        for place, (number, point) in enumerate(self.configurations.items()):
            if number < look:
                yield place, number, point

    def seeds_at(self, place: int) -> list[int]:
        """Seeds of the configuration at a place among the distinct ones, from 0."""
        return self.design_seeds[: self.size.seeds_of(place)]

    def seeds_of(self, config_id: str) -> list[int]:
        """Seeds of a configuration of the design."""
        return self.seeds_at(self.distinct_of(configuration_number(config_id)))

    def with_points(self, configurations: int) -> Study:
        """The study with so many points of its design, which it goes to."""
        points = design_values(self.space, self.seed, configurations)
        return replace(self, points=points, goes_to=configurations)

    def trial_config(self, spec: TrialSpec) -> Config:
        """The complete configuration of one trial."""
        values = {**spec.values, "training.seed": spec.seed}
        return with_values(self.arm_configs[spec.arm], values)

    @cached_property
    def arm_configs(self) -> dict[str, Config]:
        """The configuration of each arm where nothing is searched, in the study's order."""
        return {arm: with_values(self.config, values) for arm, values in self.space.arms.items()}

    @cached_property
    def roles(self) -> dict[str, str]:
        """What the arms are in the comparisons: arm by role."""
        return arm_roles(self.arm_configs, self.space.searched_keys)


def design_values(space: Space, seed: int, configurations: int) -> list[dict[str, Value]]:
    """The first points of a design, each with the values whose condition holds."""
    return [active(space, point) for point in sobol_configurations(space, seed, configurations)]


def load_study(
    path: Path | Mapping[str, Any], *, seed: int | None = None, trials: int | None = None
) -> Study:
    """Read a search space, check it whole, and fix its seed.

    Args:
        path: The YAML file, or the name of a space that comes with the package; or what such a file
            would hold.
        seed: Of the design, the samplers and the trials; None = the space's own, or 0.
        trials: In place of `search.trials`.

    Raises:
        ConfigError: All faults that can be told together: file, line, key, rule, value.
    """
    if isinstance(path, Path):
        source = load_yaml(find(path, "search_spaces"))
    else:
        source = source_of_mapping(path, "space")
    if "config" in source.values and "base" not in source.values:
        raise ConfigError(
            f"{source.path}: must be a search space, got that of a study that has run; begin one "
            f"like it: python -m stage1.new NAME --from {shlex.quote(str(source.path.parent))}"
        )
    if {"data", "training"} <= source.values.keys():
        raise ConfigError(
            f"{source.path}: must be a search space, got a configuration; train it: "
            f"python -m stage1.train {shlex.quote(str(source.path))}"
        )
    try:
        space = Space.model_validate(source.values)
    except ValidationError as error:
        raise_faults(error, source, Space)
    base = load_config(existing_file(space.base, key="base", source=source))
    config = with_values(base, {"training.epochs": space.horizon_epochs, ORIGIN: None})
    space, faults = check_space(space, config)
    seed = seed if seed is not None else space.seed or 0
    last = space.design.size.configurations
    points = [] if faults else design_values(space, seed, last)
    faults = faults or design_faults(space, config, points) or size_faults(space, seed, points)
    if faults:
        raise_listed(faults, source)
    if trials is not None:
        search = space.search.model_copy(update={"trials": trials})
        space = space.model_copy(update={"search": search})
    return Study(space, config, seed, points)


def language_model_names(study: Study) -> list[str]:
    """Every language model that a trial of the study may ask for, sorted."""
    return sorted({name for arm in study.space.arms for name in _names(model_configs(study, arm))})


def pretrained_language_models(study: Study) -> list[str]:
    """Every language model that the pretrained arm may ask for, sorted; none without that arm."""
    arm = study.roles.get(PRETRAINED)
    return [] if arm is None else _names(model_configs(study, arm))


def cost_config(study: Study, name: str) -> Config:
    """The configuration in which a language model's cost is timed: the pretrained arm's own.

    `name` is one of `pretrained_language_models`.
    """
    values = {LANGUAGE_MODEL: name, "training.seed": study.seed}
    return with_values(study.arm_configs[study.roles[PRETRAINED]], values)


def _names(configs: Iterable[Config]) -> list[str]:
    return sorted({name for config in configs if (name := config.language_model_name) is not None})


def model_configs(study: Study, arm: str) -> list[Config]:
    """An arm with each language model that its trials may have, and what they may take of it.

    What else is searched stays as the base has it. Values that do not fit together without the
    rest of a point are left out.
    """
    searched, wanted = study.space.space, set(_MODEL_KEYS)
    for name in reversed(searched):  # a condition is on an earlier key
        if key_of(name) in wanted:
            wanted |= searched[name].when.keys()
    points: list[dict[str, Value]] = [{}]
    for name, parameter in searched.items():
        if key_of(name) in wanted:
            points = [
                {**point, **value}
                for point in points
                for value in (
                    [{key_of(name): value} for value in values_to_check(parameter)]
                    if is_active(study.space, name, point)
                    else [{}]
                )
            ]
    configs = []
    for point in points:
        with suppress(ValidationError):
            configs.append(with_values(study.arm_configs[arm], point))
    return configs


def space_yaml(study: Study, extra: dict[str, Any]) -> str:
    """The resolved study as YAML: nothing in it depends on another file.

    `extra` are further keys at the top, such as what the data were.
    """
    resolved = study.space.model_dump(mode="json", exclude={"base"})
    if not study.space.search.start:
        del resolved["search"]["start"]  # as studies begun before there was this key
    resolved |= {"seed": study.seed, "config": study.config.model_dump(mode="json")}
    return yaml.safe_dump(resolved | extra, sort_keys=False)


def arm_roles(configs: Mapping[str, Config], searched: Container[str]) -> dict[str, str]:
    """Which arm is what in the comparisons: role -> arm, the first arm of a role.

    `random_again`, `random_fixed` and `shuffled_fixed` differ from the random or the shuffled arm
    in where their weights are drawn from and in nothing else: an arm with another learning rate,
    say, is none of them. Without a shuffled arm any fixed one is `shuffled_fixed`.

    Args:
        configs: Configuration of each arm, in the study's order.
        searched: Dotted keys of what is searched.

    Returns:
        Roles of `ROLES` that the study has; none where the search itself decides how a T5 is
        initialised.
    """
    if any(key in searched for key in _ROLE_KEYS):
        return {}
    roles: dict[str, str] = {}
    for arm, config in configs.items():
        if not _is_fixed(config):
            roles.setdefault(_role(config), arm)
    for arm, config in configs.items():
        role = _role(config)
        twin = configs.get(roles.get(role, ""))
        differs_by_draw = twin is not None and with_values(config, _DRAW) == with_values(
            twin, _DRAW
        )
        if _is_fixed(config) and (differs_by_draw or (twin is None and role == SHUFFLED)):
            roles.setdefault(_FIXED[role], arm)
        elif role == RANDOM and differs_by_draw and config != twin:
            roles.setdefault(RANDOM_AGAIN, arm)
    return roles


def _role(config: Config) -> str:
    transfer = config.transfer_learning
    return transfer.initialization if transfer.use_pretrained_lm else VANILLA


def _is_fixed(config: Config) -> bool:
    """Whether a random or shuffled T5 is one draw for all seeds."""
    return _role(config) in _FIXED and config.transfer_learning.initialization_seed is not None
