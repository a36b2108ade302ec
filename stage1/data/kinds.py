"""What tells one kind of data from another, once it is loaded."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stage1.base.steps import parse_step
from stage1.config import DataConfig
from stage1.config.data import PRICES
from stage1.data.features import (
    FEATURES,
    aggregate_bars,
    features_of_channels,
    mean_of_parts,
    visible_features,
)


class Kind(NamedTuple):
    """A kind of data.

    The baseline, linear interpolation of every channel across the hidden bars, is the same for all.
    """

    channels: tuple[str, ...]
    """What the model says of every bar."""
    features: int
    """How many values it sees of every bar."""
    level: Callable[[NDArray[np.float64]], NDArray[Any]]
    """Values as they are on the scale that windows are normalised on."""
    value: Callable[[Tensor], Tensor]
    """Back from there."""
    instants: Callable[[NDArray[np.int64]], NDArray[np.int64]]
    """Times as `Bars` has them -> unix seconds."""
    one_scale: bool
    """Whether all channels of a window share mean and standard deviation; else each has its own."""
    see: Callable[[Tensor, Tensor], Tensor]
    """(batch, timeframe, time, channel) normalised values and what is hidden -> the features."""
    aggregate: Callable[[Tensor], Tensor]
    """(bars, parts, channel) -> (bars, channel), the coarser bars that the parts make."""
    composes: bool
    """Whether coarser bars are made of any finer ones; else of the finest alone, as the mean of
    means is not that of all rows where some are missing."""


OHLC = Kind(
    channels=PRICES,
    features=len(FEATURES),
    level=np.log,
    value=torch.exp,
    instants=np.asarray,
    one_scale=True,
    see=visible_features,
    aggregate=aggregate_bars,
    composes=True,
)
"""Bars: log prices, one scale for all four, which keeps low <= open, close <= high."""


def kind_of(config: DataConfig) -> Kind:
    """The kind of data of a configuration.

    Raises:
        ValueError: The channels of a series are not known yet.
    """
    if config.kind == "ohlc":
        return OHLC
    channels = config.channel_names
    return Kind(
        channels=channels,
        features=2 * len(channels),
        level=np.asarray,
        value=torch.asarray,
        instants=partial(_starts_of_steps, config.step),
        one_scale=False,
        see=features_of_channels,
        aggregate=mean_of_parts,
        composes=False,
    )


def _starts_of_steps(step: str | None, times: NDArray[np.int64]) -> NDArray[np.int64]:
    if step is None:
        raise ValueError("data.step must be known by now, got null")
    return parse_step(step).starts(times // 60)
