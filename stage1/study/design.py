"""The design: one scrambled Sobol set, the same for every arm and seed."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.stats import qmc

from stage1.base.seeds import Stream, generator
from stage1.study.space import (
    ChoiceParameter,
    FloatParameter,
    IntParameter,
    Parameter,
    Space,
    Value,
)


def sobol_configurations(space: Space, seed: int) -> list[dict[str, Value]]:
    """The design's configurations, every parameter of the space in each.

    Args:
        space: Parameters, in the order of the Sobol columns, and how many configurations.
        seed: Of the scramble.

    Source:
        Owen 1998, "Scrambling Sobol' and Niederreiter-Xing Points", as `scipy.stats.qmc.Sobol`.
    """
    engine = qmc.Sobol(len(space.space), scramble=True, rng=generator(Stream.DESIGN, seed))
    points: NDArray[np.float64] = engine.random(space.design.configurations)
    return [
        {
            key: place(parameter, float(u))
            for (key, parameter), u in zip(space.space.items(), point, strict=True)
        }
        for point in points
    ]


def place(parameter: Parameter, u: float) -> Value:
    """The parameter's value at the share `u` in [0, 1) of its range.

    Floats by the line or, with `log`, by the exponent; choices by floor(u k), and whole numbers so
    too, which gives every value the same share; with `log` a whole number is rounded down from
    the exponent of a range that ends just above `high`.
    """
    match parameter:
        case ChoiceParameter(options=options):
            return options[math.floor(u * len(options))]
        case IntParameter(low=low, high=high, log=True):
            return min(max(math.floor(_exponential(low, high + 1, u)), low), high)
        case IntParameter(low=low, high=high):
            return low + math.floor(u * (high - low + 1))
        case FloatParameter(low=low, high=high, log=True):
            return min(max(_exponential(low, high, u), low), high)
        case FloatParameter(low=low, high=high):
            return min(max(low + (u * high - u * low), low), high)


def _exponential(low: float, high: float, u: float) -> float:
    return math.exp(math.log(low) + u * (math.log(high) - math.log(low)))
