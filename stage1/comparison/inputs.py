"""What all trainings of an experiment share: bars, windows, language models; and its record."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import torch

from stage1.comparison.experiment import Experiment
from stage1.comparison.record import DataRecord, ExperimentRecord, MachineRecord
from stage1.config import Config, with_values
from stage1.data.bars import Bars, fingerprint
from stage1.data.batches import MarketWindows
from stage1.data.load import load_data
from stage1.language_models.resolver import LanguageModel, resolve
from stage1.model.stage1_model import build_model
from stage1.study.resume import data_description
from stage1.workers.cluster import usable_cores

_PACKAGES = ("stage1", "torch", "pytorch-lightning", "transformers", "numpy")


class Inputs(NamedTuple):
    """What all trainings of an experiment share."""

    experiment: Experiment
    """With channels and step of a series as they were found."""
    bars: dict[str, Bars]
    windows: MarketWindows
    language_models: dict[str, LanguageModel]
    """By name; empty if all encoders are vanilla."""

    def language_model(self, config: Config) -> LanguageModel | None:
        """Of a configuration; None for the vanilla encoder."""
        transfer = config.transfer_learning
        return self.language_models[transfer.lm_name_or_path] if _has_t5(config) else None

    def told(self) -> str:
        """That all is there, in one line."""
        experiment, split = self.experiment, self.windows.split
        return (
            f"{', '.join(experiment.configs)}: sound. {len(experiment.trainings())} trainings, "
            f"{len(split.training.ends):,} training and {len(split.validation.ends):,} validation "
            f"windows; language models: {', '.join(self.language_models) or 'none'}."
        )


def _has_t5(config: Config) -> bool:
    return config.transfer_learning.use_pretrained_lm


def load_inputs(experiment: Experiment, data_dir: Path | None) -> Inputs:
    """Load bars and language models, and build every model once: what cannot train, says so now.

    Args:
        experiment: Checked.
        data_dir: Folder of prepared bars; None for the bundled sample.

    Raises:
        DataError: Bars are missing, unsound or too few.
        ModelError: A language model cannot be had, or does not fit its configuration.
        ConfigError: A language model has fewer blocks than its configuration asks for.
    """
    bars, first = load_data(data_dir, experiment.first)
    found = {"data.channels": first.data.channels, "data.step": first.data.step}
    configs = {name: with_values(config, found) for name, config in experiment.configs.items()}
    experiment = experiment._replace(configs=configs)
    names = sorted({c.transfer_learning.lm_name_or_path for c in configs.values() if _has_t5(c)})
    inputs = Inputs(
        experiment,
        bars,
        MarketWindows.of(bars, first),
        {name: resolve(name) for name in names},
    )
    for config in configs.values():
        build_model(config, inputs.language_model(config))
    return inputs


def experiment_record(inputs: Inputs, data_dir: Path | None) -> ExperimentRecord:
    """What makes the experiment what it is, and the machine it is begun on."""
    gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else None
    return ExperimentRecord(
        configs=inputs.experiment.configs,
        seeds=inputs.experiment.seeds,
        data=DataRecord(**data_description(fingerprint(inputs.bars), data_dir)),
        language_models={name: model.sha256 for name, model in inputs.language_models.items()},
        versions={package: version(package) for package in _PACKAGES},
        machine=MachineRecord(cores=usable_cores(), gpu=gpu),
    )
