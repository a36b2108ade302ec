"""The data of a configuration, of either kind, and what they add to the configuration."""

from __future__ import annotations

from pathlib import Path

from stage1.config import Config, with_values
from stage1.data.bars import Bars
from stage1.data.series import load_series
from stage1.data.store import load_bars


def load_data(data_dir: Path | None, config: Config) -> tuple[dict[str, Bars], Config]:
    """Load what a configuration asks for.

    Args:
        data_dir: Folder made by `stage1.prepare`; None for the bundled sample.
        config: Complete, but perhaps for the channels and the step of its series.

    Returns:
        Bars per timeframe, and the configuration with channels and step as they were found.

    Raises:
        DataError: The data cannot be read, or are not what the configuration asks for.
    """
    if config.data.kind == "ohlc":
        return load_bars(data_dir, config.data.timeframes), config
    series = load_series(data_dir, config.data)
    found = {"data.channels": list(series.channels), "data.step": series.step}
    return series.bars, with_values(config, found)
