"""The design: the points of scipy's Sobol set, laid on the parameters."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from optuna.distributions import FloatDistribution
from scipy.stats import qmc
from simulated_study import simulated_study

from stage1.base.seeds import Stream, generator
from stage1.study.design import place, sobol_configurations
from stage1.study.space import (
    ChoiceParameter,
    FloatParameter,
    IntParameter,
    Space,
    distributions,
)

LR, FREEZE, PATCH = (
    "training.optimizer.lr",
    "transfer_learning.freeze_lm_epochs",
    "transfer_learning.patch_len",
)


def space_of(configurations, **parameters):
    return Space.model_validate(
        {
            "name": "s",
            "base": "b.yaml",
            "arms": {"a": {}},
            "space": parameters,
            "design": {"configurations": configurations},
        }
    )


def test_the_design_is_scipys_sobol_set_laid_on_the_parameters(tmp_path):
    study = simulated_study(tmp_path, design="{configurations: 8, seeds: 1}")

    points = sobol_configurations(study.space, seed=3)

    unit = qmc.Sobol(3, scramble=True, rng=generator(Stream.DESIGN, 3)).random(8)
    np.testing.assert_allclose([p[LR] for p in points], 10 ** (-4 + 3 * unit[:, 0]), rtol=1e-12)
    assert [p[FREEZE] for p in points] == np.floor(unit[:, 1] * 4).astype(int).tolist()
    assert [p[PATCH] for p in points] == np.array([4, 8, 16])[
        np.floor(unit[:, 2] * 3).astype(int)
    ].tolist()


def test_the_same_seed_gives_the_same_design_and_another_another(tmp_path):
    space = simulated_study(tmp_path).space

    assert sobol_configurations(space, 1) == sobol_configurations(space, 1)
    assert sobol_configurations(space, 1) != sobol_configurations(space, 2)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("values", [2, 4, 8])
def test_every_value_comes_equally_often_where_their_number_is_a_power_of_two(values, seed):
    space = space_of(
        16,
        whole={"type": "int", "low": 3, "high": 2 + values},
        choice={"type": "choice", "options": [f"option{i}" for i in range(values)]},
    )

    points = sobol_configurations(space, seed)

    for key in ("whole", "choice"):
        assert set(Counter(point[key] for point in points).values()) == {16 // values}
        assert len({point[key] for point in points}) == values


@pytest.mark.parametrize("seed", range(5))
def test_every_slice_of_a_real_range_has_one_point(seed):
    space = space_of(8, a={"type": "float", "low": -2.0, "high": 6.0})

    points = sobol_configurations(space, seed)

    assert sorted(int(np.floor(point["a"])) for point in points) == list(range(-2, 6))


def test_every_parameter_is_in_every_point_even_where_its_condition_fails():
    number = {"type": "int", "low": 0, "high": 1}
    space = space_of(8, a=number, b={**number, "when": {"a": 1}})

    points = sobol_configurations(space, 0)

    assert all(set(point) == {"a", "b"} for point in points)


# --- one value ---


@pytest.mark.parametrize(
    ("parameter", "expected"),
    [
        pytest.param(FloatParameter(type="float", low=-1, high=3), [-1, 0, 1, 2], id="line"),
        pytest.param(
            FloatParameter(type="float", low=1e-4, high=1, log=True),
            [1e-4, 1e-3, 1e-2, 1e-1],
            id="exponent",
        ),
        pytest.param(IntParameter(type="int", low=5, high=6), [5, 5, 6, 6], id="two whole numbers"),
        pytest.param(
            IntParameter(type="int", low=1, high=15, log=True), [1, 2, 4, 8], id="doubling"
        ),
    ],
)
def test_a_share_of_the_range_becomes_its_value(parameter, expected):
    shares = [1e-12, 0.25 + 1e-12, 0.5 + 1e-12, 0.75 + 1e-12]

    found = [place(parameter, u) for u in shares]

    assert found == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_a_share_of_the_options_becomes_one_of_them():
    parameter = ChoiceParameter(type="choice", options=("a", "b", "c", "d"))

    assert [place(parameter, u) for u in (0.0, 0.25, 0.5, 0.999)] == ["a", "b", "c", "d"]


@pytest.mark.parametrize("u", [0.0, np.nextafter(1, 0)])
@pytest.mark.parametrize(
    ("low", "high", "log"),
    [
        (0.1, 0.3, False),
        (0.1, 0.3, True),
        (1e-300, 1e300, True),
        (-1e308, 1e308, False),
        (3, 3, True),
    ],
)
def test_rounding_never_carries_a_value_past_a_bound(low, high, log, u):
    real = place(FloatParameter(type="float", low=low, high=high, log=log), float(u))

    assert low <= real <= high
    assert FloatDistribution(low, high, log=log)._contains(real)


@pytest.mark.parametrize("log", [False, True])
def test_whole_numbers_reach_both_bounds_and_none_beyond(log):
    parameter = IntParameter(type="int", low=2, high=9, log=log)

    found = {place(parameter, float(u)) for u in np.linspace(0, 1, 1000, endpoint=False)}

    assert found == set(range(2, 10))


def test_a_point_is_inside_optunas_distributions(tmp_path):
    space = simulated_study(tmp_path, design="{configurations: 64, seeds: 1}").space

    points = sobol_configurations(space, 0)

    for key, distribution in distributions(space).items():
        assert all(distribution._contains(distribution.to_internal_repr(p[key])) for p in points)
