"""What a comparison is: written before its first training, read by its page and by --resume."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator

from stage1.base.errors import ResultsError
from stage1.base.text import dotted
from stage1.config import EARLIER, Config, Section
from stage1.config.yaml_source import merged
from stage1.run.folder import RunFolder
from stage1.run.resolved_space import read_model

RECORD_FILE = "experiment.yaml"
CONFIG_FOLDER = "configs"
"""Each configuration as it was resolved, by its name."""
CONFIG_ID = "compare000"
"""Of every training: the configurations are the arms."""


class DataRecord(Section):
    """The bars."""

    data_dir: str | None
    """Their folder; null = the bundled sample."""
    fingerprint: str
    """SHA-256 over all of them."""


class MachineRecord(Section):
    """The machine that the comparison was begun on."""

    cores: int
    """Cores that the process could use."""
    gpu: str | None
    """Name of the first one; null = there is none."""


def _of_earlier(config: Any) -> Any:
    return merged(EARLIER, config) if isinstance(config, dict) else config


class ComparisonRecord(Section):
    """Everything that makes two comparisons the same, and where it was begun."""

    configs: dict[str, Annotated[Config, BeforeValidator(_of_earlier)]]
    """By name: that of its file."""
    seeds: tuple[int, ...]
    """In the order of training."""
    data: DataRecord
    """What was trained on."""
    language_models: dict[str, str]
    """SHA-256 of the weights, by name."""
    versions: dict[str, str]
    """Of the packages that decide the numbers."""
    machine: MachineRecord
    """Not compared: times are told apart by it, results are not."""

    @property
    def horizon(self) -> int:
        """The last epoch, the same in all configurations."""
        return next(iter(self.configs.values())).training.epochs


def leaves(section: Section, above: tuple[str, ...] = ()) -> dict[str, Any]:
    """Every key of a section that is not itself a section, dotted, with its value."""
    values: dict[str, Any] = {}
    for name in type(section).model_fields:
        value, keys = getattr(section, name), (*above, name)
        values |= leaves(value, keys) if isinstance(value, Section) else {dotted(keys): value}
    return values


def differing_keys(configs: dict[str, Config]) -> list[str]:
    """Keys in which some configurations differ, but for the seed, which the comparison sets."""
    values = [leaves(config) for config in configs.values()]
    return [
        key
        for key, value in values[0].items()
        if key != "training.seed" and any(other[key] != value for other in values[1:])
    ]


def read_record(run: RunFolder) -> ComparisonRecord:
    """The record of a comparison's folder.

    Raises:
        ResultsError: Missing, broken, or not as it was written.
    """
    file = run.path / RECORD_FILE
    if not file.exists():
        raise ResultsError(
            f"{run.path}: must be the folder of a comparison, got none with {RECORD_FILE}; name "
            "the one that stage1.compare made, its --out"
        )
    return read_model(run, file, ComparisonRecord)
