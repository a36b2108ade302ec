import numpy as np
import pytest

from stage1.claims.designs import aliases, fewest_configurations, unit_points


def test_a_longer_design_begins_with_the_points_of_a_shorter_one():
    short = unit_points(5, 16, np.random.default_rng(4))
    long = unit_points(5, 64, np.random.default_rng(4))

    assert np.array_equal(long[:16], short)


@pytest.mark.parametrize("seed", range(30))
def test_eight_points_of_five_settings_have_the_same_two_aliases_for_every_scramble(seed):
    found = aliases(unit_points(5, 8, np.random.default_rng(seed)))

    assert {(pair.first, pair.second) for pair in found} == {(0, 4), (2, 3)}


@pytest.mark.parametrize(
    ("settings", "configurations"),
    [pytest.param(5, 16, id="five settings"), pytest.param(10, 32, id="ten settings")],
)
def test_enough_points_tell_all_settings_apart(settings, configurations):
    for seed in range(30):
        points = unit_points(settings, configurations, np.random.default_rng(seed))

        assert aliases(points) == []


def test_a_design_needs_twice_as_many_configurations_from_six_settings_on():
    assert [fewest_configurations(settings) for settings in (1, 5, 6, 10)] == [16, 16, 32, 32]


def test_settings_that_mirror_each_other_and_one_that_stands_still():
    column = np.linspace(0, 0.99, 20)
    points = np.stack([column, 1 - column, np.zeros(20)], axis=1)

    found = aliases(points)

    assert [(pair.first, pair.second) for pair in found] == [(0, 1)]
    assert found[0].correlation == pytest.approx(-1)
