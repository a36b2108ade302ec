"""A comparison: a study whose configurations are given, each trained with the same seeds."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from stage1.base.errors import ConfigError
from stage1.base.text import shown
from stage1.config import ORIGIN, Config, load_config, with_values
from stage1.config.data import DATA_KEYS
from stage1.run.columns import DESIGN
from stage1.run.comparison_record import CONFIG_ID, ComparisonRecord, differing_keys, leaves
from stage1.study.space import (
    Checkpoints,
    ChoiceParameter,
    Design,
    Resources,
    Search,
    Space,
    Value,
)
from stage1.study.trials import TrialSpec

SHARED_SECTIONS = ("data", "masking", "evaluation", "loss")
SHARED_KEYS = (
    "model.async_sampler",
    "training.epochs",
    "training.steps_per_epoch",
    "training.batch_size",
    "training.threads",
)
"""What must be equal beside those sections: other windows, other amounts of training or other
shares of the machine would not be comparable."""


@dataclass(frozen=True)
class Comparison:
    """What a comparison trains: a study without a search, one arm per configuration."""

    configs: dict[str, Config]
    """By arm, the name of the configuration's file; at least two."""
    seed: int
    """The trainings' seeds are those that follow it."""
    seeds: int
    """Trainings of each configuration."""
    resources: Resources
    """Of one training."""

    @property
    def config(self) -> Config:
        """Any of the configurations, for what they share."""
        return next(iter(self.configs.values()))

    @property
    def design_seeds(self) -> list[int]:
        """Every configuration is trained with every one."""
        return [self.seed + 1 + index for index in range(self.seeds)]

    @property
    def confirm_seeds(self) -> list[int]:
        """None: nothing is searched."""
        return []

    @property
    def search_trials(self) -> int:
        """0: nothing is searched."""
        return 0

    @property
    def searched_arms(self) -> list[str]:
        """None: nothing is searched."""
        return []

    @property
    def looks(self) -> list[int]:
        """None: what is compared does not grow."""
        return []

    @property
    def goes_to(self) -> int:
        """Nowhere."""
        return 0

    def seeds_of(self, config_id: str) -> list[int]:
        """The same for all."""
        return self.design_seeds

    @property
    def block_epochs(self) -> list[int]:
        """No validation blocks are kept: nothing is tested."""
        return []

    @cached_property
    def space(self) -> Space:
        """The rules of the study; its parameters are the keys in which the configurations differ.

        A space that is read from a file has rules that these names and numbers need not meet.
        """
        return Space.model_construct(
            name="comparison",
            base="",
            horizon_epochs=self.config.training.epochs,
            arms={name: {} for name in self.configs},
            space={key: self._parameter(key) for key in differing_keys(self.configs)},
            design=Design.model_construct(configurations=1, seeds=self.seeds),
            search=Search(trials=0),
            resources=self.resources,
            checkpoints=Checkpoints(keep=0),
        )

    def _parameter(self, key: str) -> ChoiceParameter:
        options = (values[key] for values in self._values.values() if key in values)
        return ChoiceParameter(type="choice", options=tuple(dict.fromkeys(options)))

    @cached_property
    def _values(self) -> dict[str, dict[str, Value]]:
        """Where the configurations differ: value by key, by arm; null is left out."""
        keys = differing_keys(self.configs)
        return {
            arm: {key: _cell(value) for key in keys if (value := leaves(config)[key]) is not None}
            for arm, config in self.configs.items()
        }

    def control_specs(self, look: int) -> list[TrialSpec]:
        """None: there is no look."""
        return []

    def design_specs(self, look: int | None = None) -> list[TrialSpec]:
        """All trainings, seed by seed, so that an unfinished comparison is paired."""
        return [
            TrialSpec(DESIGN, arm, CONFIG_ID, seed, self._values[arm])
            for seed in self.design_seeds
            for arm in self.configs
        ]

    def trial_config(self, spec: TrialSpec) -> Config:
        """The complete configuration of one training."""
        return with_values(self.configs[spec.arm], {"training.seed": spec.seed})


def _cell(value: Any) -> Value:
    """A value as a table can hold it: lists and mappings as text."""
    return value if isinstance(value, bool | int | float | str) else json.dumps(value)


def load_comparison(
    files: Sequence[Path], *, seed: int, seeds: int, max_epochs: int | None
) -> Comparison:
    """Read configurations and check that they may be compared.

    Args:
        files: Of the configurations.
        seed: The trainings' seeds are the `seeds` ones that follow it, as in a study's design.
        seeds: Trainings of each configuration.
        max_epochs: In place of every `training.epochs`.

    Raises:
        ConfigError: A file is faulty, two have the same name, or they differ in what a comparison
            needs to be equal (all such keys, a line each).
    """
    if len(files) < 2:
        raise ConfigError(
            f"a comparison must have at least two configurations, got {len(files)}; "
            "stage1.train trains a single one"
        )
    configs: dict[str, Config] = {}
    for file in files:
        if file.stem in configs:
            raise ConfigError(
                f"{file}: must have a file name that no other configuration has, got {file.stem!r} "
                "again; copy one under another name"
            )
        configs[file.stem] = load_config(file)
    changed: dict[str, Any] = {ORIGIN: None}
    if max_epochs is not None:
        changed["training.epochs"] = max_epochs
    configs = {name: with_values(config, changed) for name, config in configs.items()}
    early = "training.early_stop: must be null in a comparison, where all take the same steps"
    if faults := [f"{n}: {early}" for n, c in configs.items() if c.training.early_stop is not None]:
        raise ConfigError("\n".join(faults))  # with it they do not even have the same keys
    configs = _on_the_same_bars(configs)
    _check_comparable(configs)
    resources = Resources(cpus=next(iter(configs.values())).training.threads)
    return Comparison(configs, seed, seeds, resources)


def as_begun(comparison: Comparison, record: ComparisonRecord) -> Comparison:
    """The comparison that goes on, with the test period that it was begun with if it names none."""
    share = {"data.test_share": next(iter(record.configs.values())).data.test_share}
    configs = {
        name: with_values(config, share) if config.data.test_share is None else config
        for name, config in comparison.configs.items()
    }
    return replace(comparison, configs=configs)


def _on_the_same_bars(configs: dict[str, Config]) -> dict[str, Config]:
    """Where one says which bars it is for, those that say nothing are for the same."""
    named = [config.data for config in configs.values() if config.data.data_dir]
    if not named:
        return configs
    keys = (*DATA_KEYS, "data.test_share")
    bars = {key: getattr(named[0], key.removeprefix("data.")) for key in keys}
    return {
        name: config if config.data.data_dir else with_values(config, bars)
        for name, config in configs.items()
    }


def _check_comparable(configs: dict[str, Config]) -> None:
    rule = "must be the same in all configurations of a comparison"
    faults = [
        f"{key}: {rule}, got {_by_value(key, configs)}"
        for key in differing_keys(configs)
        if key in SHARED_KEYS or key.split(".")[0] in SHARED_SECTIONS
    ]
    if not faults and next(iter(configs.values())).training.batch_size == "auto":
        faults = ["training.batch_size: must be a number in a comparison, got auto; choose one"]
    if faults:
        raise ConfigError("\n".join(faults))


def _by_value(key: str, configs: dict[str, Config]) -> str:
    """Each value of a key with the configurations that have it."""
    names: dict[str, list[str]] = {}
    for name, config in configs.items():
        names.setdefault(shown(leaves(config)[key]), []).append(name)
    return ", ".join(f"{value} ({', '.join(those)})" for value, those in names.items())
