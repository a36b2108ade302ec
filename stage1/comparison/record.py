"""What an experiment is: written before its first training, checked when it is resumed."""

from __future__ import annotations

from typing import Any

import yaml
from pydantic import ValidationError

from stage1.base.errors import ConfigError, ResultsError
from stage1.base.files import atomic_path, write_text
from stage1.base.text import brief, dotted, shown
from stage1.config import Config, Section, config_yaml
from stage1.config.rules import faults_of
from stage1.config.yaml_source import read_yaml
from stage1.run.folder import RunFolder

RECORD_FILE = "experiment.yaml"
CONFIG_FOLDER = "configs"
"""Each configuration as it was resolved, by its name."""
CONFIG_ID = "compare000"
"""All configurations of an experiment are one in the tables, which the arms tell apart."""


class DataRecord(Section):
    """The bars."""

    data_dir: str | None
    """Their folder; null = the bundled sample."""
    fingerprint: str
    """SHA-256 over all of them."""


class MachineRecord(Section):
    """What the experiment was begun on."""

    cores: int
    """That the process might use."""
    gpu: str | None
    """Name of the first one; null = there is none."""


class ExperimentRecord(Section):
    """Everything that makes two experiments the same, and where it was begun."""

    configs: dict[str, Config]
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
    found: dict[str, Any] = {}
    for name in type(section).model_fields:
        value, keys = getattr(section, name), (*above, name)
        found |= leaves(value, keys) if isinstance(value, Section) else {dotted(keys): value}
    return found


def differing_keys(configs: dict[str, Config]) -> list[str]:
    """Keys in which some configurations differ, but for the seed, which the experiment sets."""
    values = [leaves(config) for config in configs.values()]
    return [
        key
        for key, value in values[0].items()
        if key != "training.seed" and any(other[key] != value for other in values[1:])
    ]


def begin_folder(run: RunFolder, record: ExperimentRecord) -> None:
    """Make the folder of an experiment, with its record and its configurations, at once.

    Args:
        run: Not there yet.
        record: Of the experiment.

    Raises:
        ResultsError: The folder cannot be made.
    """
    text = yaml.safe_dump(record.model_dump(mode="json"), sort_keys=False)
    try:
        with atomic_path(run.path) as path:
            for name, config in record.configs.items():
                write_text(path / CONFIG_FOLDER / f"{name}.yaml", config_yaml(config))
            write_text(path / RECORD_FILE, text)
    except OSError as error:
        reason = error.strerror or error
        raise ResultsError(
            f"{run.path}: must be a folder that can be made, got {reason}; give another --out"
        ) from None


def read_record(run: RunFolder) -> ExperimentRecord:
    """The record of an experiment's folder.

    Raises:
        ResultsError: Missing, broken, or not as it was written.
    """
    file = run.path / RECORD_FILE
    if not file.exists():
        raise ResultsError(
            f"{run.path}: must be the folder of an experiment, got none with {RECORD_FILE}; name "
            "the one that stage1.compare made, its --out"
        )
    try:
        content, _ = read_yaml(file)
        return ExperimentRecord.model_validate(content)
    except ValidationError as error:
        keys, rule = faults_of(error, ExperimentRecord)[0]
        reason = f"{dotted(keys)}: {rule}"
    except ConfigError as error:
        reason = brief(str(error).removeprefix(f"{file}:"))
    raise ResultsError(
        f"{file}: must be as it was written before the first training, got {reason}; restore it, "
        "or start a new experiment with another --out"
    )


def check_same(run: RunFolder, record: ExperimentRecord) -> None:
    """Refuse to go on with an experiment that is not the one the folder was begun with.

    Raises:
        ResultsError: The folder is missing or another experiment's; names what differs.
    """
    then = read_record(run)
    if list(then.configs) != list(record.configs):
        told = [_changed("configurations", ", ".join(then.configs), ", ".join(record.configs))]
    else:
        before, now = _identity(then), _identity(record)
        keys = dict.fromkeys([*before, *now])
        told = [
            _changed(key, before.get(key), now.get(key))
            for key in keys
            if before.get(key) != now.get(key)
        ]
    if told:
        raise ResultsError(
            f"{run.path / RECORD_FILE}: must be the experiment that is resumed, differs in "
            f"{', '.join(told)}; undo the change, or start a new one with another --out"
        )


def _changed(key: str, then: Any, now: Any) -> str:
    return f"{key} ({shown(then)} -> {shown(now)})"


def _identity(record: ExperimentRecord) -> dict[str, Any]:
    """All that must not change, by key; the fingerprint stands for the bars wherever they lie."""
    identity = {"seeds": list(record.seeds), "data.fingerprint": record.data.fingerprint}
    for part in ("language_models", "versions"):
        identity |= {f"{part}.{name}": value for name, value in getattr(record, part).items()}
    for name, config in record.configs.items():
        identity |= {f"{name}: {key}": value for key, value in leaves(config).items()}
    return identity
