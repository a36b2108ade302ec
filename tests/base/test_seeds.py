"""One seed, many streams."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from stage1.base.seeds import Stream, generator, integer_seed


def test_streams_seeds_and_epochs_give_numbers_of_their_own():
    keys = list(product(Stream, range(4), range(1, 4)))

    seeds = {integer_seed(*key) for key in keys}

    assert len(seeds) == len(keys)


@pytest.mark.parametrize("stream", list(Stream))
def test_numbers_are_those_of_numpy_seeded_with_stream_and_key(stream):
    expected = np.random.default_rng([stream.value, 7, 2]).random(3)

    np.testing.assert_array_equal(generator(stream, 7, 2).random(3), expected)


def test_the_numbers_of_the_streams_never_change():
    assert {stream.name: stream.value for stream in Stream} == {
        "LANGUAGE_MODEL": 1,
        "HEAD": 2,
        "ORDER": 3,
        "MASKS": 4,
        "DROPOUT": 5,
        "VALIDATION_MASKS": 6,
        "DESIGN": 7,
        "SAMPLER": 8,
        "LANGUAGE_MODEL_AGAIN": 9,
    }


def test_an_integer_seed_fits_into_63_bits_without_a_sign():
    seeds = [integer_seed(Stream.HEAD, seed) for seed in range(200)]

    assert all(0 <= seed < 2**63 for seed in seeds)
    assert max(seeds) > 2**60
    assert all(isinstance(seed, int) for seed in seeds)
