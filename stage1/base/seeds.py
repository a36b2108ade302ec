"""One seed, many streams: what one part of a training draws never shifts what another draws."""

from __future__ import annotations

from enum import IntEnum

import numpy as np


class Stream(IntEnum):
    """What random numbers are for; the values are part of every result, never change one."""

    LANGUAGE_MODEL = 1
    HEAD = 2
    ORDER = 3
    MASKS = 4
    DROPOUT = 5
    VALIDATION_MASKS = 6
    DESIGN = 7
    SAMPLER = 8
    LANGUAGE_MODEL_AGAIN = 9


def generator(stream: Stream, *key: int) -> np.random.Generator:
    """Random numbers that are a function of the stream and the key alone.

    The key is non-negative integers (seed, epoch, instant), as many for every use of a stream,
    since numpy takes a key that ends in zeros for the shorter one without them.
    """
    return np.random.default_rng([int(stream), *key])


def integer_seed(stream: Stream, *key: int) -> int:
    """A 63-bit seed for generators of other libraries."""
    return int(generator(stream, *key).integers(0, 2**63 - 1))
