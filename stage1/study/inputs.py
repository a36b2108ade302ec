"""What a study's trials are made from, loaded and checked before the first one: bars, T5s."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from stage1.data.bars import Bars, fingerprint
from stage1.data.batches import MarketWindows
from stage1.data.load import load_data
from stage1.language_models.resolver import LanguageModel, resolve
from stage1.study.study import Study, language_model_names


class StudyInputs(NamedTuple):
    """All that is read from outside the study's own files."""

    study: Study
    """With channels and step of a series as they were found."""
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


def load_inputs(study: Study, data_dir: Path | None) -> StudyInputs:
    """Load what a study needs.

    Args:
        study: Checked.
        data_dir: Folder of prepared bars; None for the bundled sample.

    Raises:
        DataError: The bars cannot be read, or are too few.
        ModelError: A language model cannot be had.
    """
    bars, config = load_data(data_dir, study.config)
    study, windows = replace(study, config=config), MarketWindows.of(bars, config)
    models = [resolve(name) for name in language_model_names(study)]
    return StudyInputs(study, bars, windows, models)
