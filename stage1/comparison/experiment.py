"""An experiment: a few configurations that may be compared, and the seeds they are trained with."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from stage1.base.errors import ConfigError
from stage1.base.text import shown
from stage1.comparison.record import CONFIG_ID, differing_keys, leaves
from stage1.config import Config, load_config, with_values
from stage1.run.columns import DESIGN
from stage1.study.space import Value
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


class Experiment(NamedTuple):
    """What is to be trained."""

    configs: dict[str, Config]
    """By the name of their files, at least two."""
    seeds: tuple[int, ...]
    """Every configuration is trained with every one."""

    @property
    def first(self) -> Config:
        """Any of the configurations, for what they share."""
        return next(iter(self.configs.values()))

    def trainings(self) -> list[TrialSpec]:
        """All trainings in order: seed by seed, so that an unfinished experiment is paired."""
        values = _told_values(self.configs)
        return [
            TrialSpec(DESIGN, name, CONFIG_ID, seed, values[name])
            for seed in self.seeds
            for name in self.configs
        ]

    def config_of(self, training: TrialSpec) -> Config:
        """The complete configuration of one training."""
        return with_values(self.configs[training.arm], {"training.seed": training.seed})


def load_experiment(
    files: Sequence[Path], *, seed: int, seeds: int, max_epochs: int | None
) -> Experiment:
    """Read configurations and check that they may be compared.

    Args:
        files: Of the configurations.
        seed: The trainings' seeds are those that follow it, as in the design of a study.
        seeds: How many.
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
    if max_epochs is not None:
        changed = {"training.epochs": max_epochs}
        configs = {name: with_values(config, changed) for name, config in configs.items()}
    _check_comparable(configs)
    return Experiment(configs, tuple(seed + 1 + index for index in range(seeds)))


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


def _told_values(configs: dict[str, Config]) -> dict[str, dict[str, Value]]:
    """Where the configurations differ: value by key, by configuration; null is left out."""
    keys = differing_keys(configs)
    return {
        name: {key: _cell(value) for key in keys if (value := leaves(config)[key]) is not None}
        for name, config in configs.items()
    }


def _cell(value: Any) -> Value:
    """A value as a table can hold it: lists and mappings as text."""
    return value if isinstance(value, bool | int | float | str) else json.dumps(value)
