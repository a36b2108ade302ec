"""What trials are made from, loaded and checked before the first one: bars and language models."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, TypeVar

import torch

from stage1.base.errors import ConfigError
from stage1.base.text import plural
from stage1.config import Config, with_values
from stage1.config.data import BUNDLED
from stage1.data.bars import Bars, fingerprint
from stage1.data.batches import MarketWindows
from stage1.data.load import load_data
from stage1.language_models.resolver import LanguageModel, resolve
from stage1.study.comparison import Comparison
from stage1.study.study import Study, language_model_names, model_configs

AnyStudy = TypeVar("AnyStudy", Study, Comparison)
HORIZON = "horizon_epochs"
"""Key of a space that sets the epochs of a full trial."""
ENOUGH_SEEN = 0.5
"""Share of the training windows from which no advice is given: neighbours overlap."""


@dataclass(frozen=True)
class StudyInputs(Generic[AnyStudy]):
    """All that is read from outside the study's own files."""

    study: AnyStudy
    """With the folder, its fingerprint, and channels and step of a series as they were found."""
    bars: dict[str, Bars]
    """Per timeframe."""
    windows: MarketWindows
    """Over the bars, as the base configuration has them."""
    language_models: list[LanguageModel]
    """All that trials may ask for."""

    @property
    def data_fingerprint(self) -> str:
        """Changes with any bar."""
        return fingerprint(self.bars)

    def summary(self) -> str:
        """How much there is of everything, in one line."""
        split = self.windows.split
        folder = self.study.config.data.data_dir
        test, held = len(split.test.ends), ""
        if test:
            held = f", and {test:,} test windows that no trial sees"
        return (
            f"{len(split.training.ends):,} training and {len(split.validation.ends):,} validation "
            f"windows{held}; language models: "
            f"{', '.join(model.name for model in self.language_models) or 'none'}; "
            f"{'the bundled bars' if folder == BUNDLED else f'bars: {folder}'}. "
            + windows_seen_text(self.study.config, len(split.training.ends), horizon=self._horizon)
        )

    @property
    def _horizon(self) -> str:
        return HORIZON if isinstance(self.study, Study) else "training.epochs"


def windows_seen_text(config: Config, windows: int, *, horizon: str = HORIZON) -> str:
    """What share of the training windows a full trial sees, and which values would show it all.

    Args:
        config: Of a trial; its epochs are the horizon.
        windows: Of the training side, at least one.
        horizon: Key that the epochs are set by.
    """
    training, data = config.training, config.data
    if training.batch_size == "auto":  # each arm sets its own
        return ""
    seen = training.epochs * training.steps_per_epoch * training.windows_per_step
    text = (
        f"A full trial ({plural(training.epochs, 'epoch')} of "
        f"{plural(training.steps_per_epoch, 'step')} of "
        f"{plural(training.windows_per_step, 'window')}) "
    )
    if seen >= windows:
        return f"{text}sees each of the {windows:,} training windows {seen / windows:.1f} times."
    share, short = seen / windows, windows / seen
    text += f"sees {seen:,} of {windows:,} training windows, {_share(share)}"
    if share > ENOUGH_SEEN:
        return f"{text}."
    finest = data.minutes[0]
    apart = math.lcm(data.stride, finest)  # a window ends with a finest bar
    stride = min(math.ceil(apart * short / finest), max(data.seq_len, apart // finest)) * finest
    thinned = (
        f"; or, at the same work, {_share(min(share * stride / apart, 1))} of those that "
        f"data.stride {stride:,} leaves, which overlap less"
    )
    return (
        f"{text}. All of them are seen with training.steps_per_epoch "
        f"{math.ceil(training.steps_per_epoch * short):,}, training.batch_size "
        f"{math.ceil(training.windows_per_step * short):,} or {horizon} "
        f"{math.ceil(training.epochs * short):,}, at {short:.0f} times the work"
        f"{thinned if stride > apart else ''}."
    )


def _share(share: float) -> str:
    return "all" if share == 1 else f"{share:.0%}" if share >= 0.1 else f"{share:.1%}"


def load_inputs(study: Study, data_dir: str | Path | None) -> StudyInputs[Study]:
    """Load what a study needs, and build each model that its trials may ask for, without weights.

    `data_dir` is as `load_data` has it.

    Raises:
        DataError: The bars cannot be read, or are too few.
        ModelError: A language model cannot be had.
        ConfigError: A model that a trial may ask for cannot be built.
    """
    # It takes seconds to load, which a mistake in the space should not have to wait for.
    from stage1.model.stage1_model import check_models

    bars, config = load_data(data_dir, study.config)
    study, windows = replace(study, config=config), MarketWindows.of(bars, config)
    models = {name: resolve(name) for name in language_model_names(study)}
    check_models(
        (config for arm in study.space.arms for config in model_configs(study, arm)), models
    )
    return StudyInputs(study, bars, windows, list(models.values()))


def load_comparison_inputs(
    comparison: Comparison, data_dir: str | Path | None
) -> StudyInputs[Comparison]:
    """Load what a comparison needs, as `load_inputs` does for a study."""
    from stage1.model.stage1_model import check_models

    bars, config = load_data(data_dir, comparison.config)
    data = {"data": config.data.model_dump(mode="json")}  # the same for all, and now complete
    configs = {arm: with_values(own, data) for arm, own in comparison.configs.items()}
    windows = MarketWindows.of(bars, config)
    for arm, own in configs.items():
        if fault := own.training.precision_fault(on_gpu=torch.cuda.is_available()):
            raise ConfigError(f"{arm}: training.precision: {fault}")
    names = {name for own in configs.values() if (name := own.language_model_name) is not None}
    models = {name: resolve(name) for name in sorted(names)}
    check_models(configs.values(), models)
    return StudyInputs(replace(comparison, configs=configs), bars, windows, list(models.values()))
