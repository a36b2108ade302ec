import numpy as np
import pandas as pd
import pytest
from made_runs import changed_study, synthetic_study
from pydantic import TypeAdapter

from stage1.claims.designs import (
    aliases,
    fewest_configurations,
    told_apart,
    unit_points,
    unit_values,
)
from stage1.study.space import Parameter, place


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


SETTINGS = {
    "rate": {"type": "float", "low": 1e-4, "high": 1e-2, "log": True},
    "share": {"type": "float", "low": -1.0, "high": 3.0},
    "epochs": {"type": "int", "low": 0, "high": 3},
    "width": {"type": "int", "low": 1, "high": 64, "log": True},
    "length": {"type": "choice", "options": [4, 8, 16]},
    "only": {"type": "int", "low": 5, "high": 5},
}


@pytest.fixture
def space():
    return changed_study(synthetic_study(), space=SETTINGS)


def test_unit_values_are_the_points_that_a_design_was_made_from(space):
    parameters = TypeAdapter(dict[str, Parameter]).validate_python(SETTINGS)
    points = unit_points(len(SETTINGS), 64, np.random.default_rng(3))
    values = pd.DataFrame(
        {
            key: [place(one, u) for u in points[:, i]]
            for i, (key, one) in enumerate(parameters.items())
        }
    )

    found = unit_values(space, values)

    assert found[:, :2] == pytest.approx(points[:, :2])
    cells = [4, None, 3, 1]
    for column, levels in zip(range(2, 6), cells, strict=True):
        if levels:
            assert np.abs(found[:, column] - points[:, column]).max() <= 0.5 / levels
    for i, (key, one) in enumerate(parameters.items()):  # and they give the same values again
        assert [place(one, u) for u in found[:, i]] == pytest.approx(values[key].tolist())


def test_a_setting_that_is_not_active_or_was_not_searched_has_no_point(space):
    values = pd.DataFrame({"rate": [1e-3, None, 1e-3], "length": [4, 4, 5]})

    found = unit_values(space, values)

    assert np.isnan(found[:, 0]).tolist() == [False, True, False]
    assert np.isnan(found[:, 4]).tolist() == [False, False, True]
    assert np.isnan(found[:, 1]).all()


def test_settings_that_vary_together_are_named_and_conditional_and_single_ones_are_not(space):
    rates = np.geomspace(1e-4, 1e-2, 16)
    values = pd.DataFrame({"rate": rates, "only": 5, "share": [3.0, None] * 8})

    assert told_apart(space, values) == ""

    values["width"] = [1] * 8 + [64] * 8

    assert told_apart(space, values) == (
        "its 16 configurations cannot tell rate from width: they vary together"
    )
