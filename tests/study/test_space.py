"""The words of a search space, their translation into distributions, and the design."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from made_studies import simulated_study
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from pydantic import TypeAdapter, ValidationError
from scipy.stats import qmc

from stage1.base.seeds import Stream, generator
from stage1.study.space import (
    ChoiceParameter,
    FloatParameter,
    IntParameter,
    Parameter,
    Space,
    active,
    distributions,
    place,
    sobol_configurations,
)

PARAMETER = TypeAdapter(Parameter)
LR = {"type": "float", "low": 1e-4, "high": 1e-2, "log": True}


def space_of(configurations=2, **parameters):
    return Space.model_validate(
        {
            "name": "s",
            "base": "b.yaml",
            "arms": {"a": {}},
            "space": parameters,
            "design": {"configurations": configurations},
        }
    )


def test_both_bounds_are_inside_as_optuna_has_them_and_the_order_is_the_file_s():
    space = space_of(
        d=LR,
        b={"type": "float", "low": 0.0, "high": 0.5},
        c={"type": "int", "low": 1, "high": 64, "log": True},
        a={"type": "choice", "options": ["nano", "micro"]},
    )

    assert list(distributions(space).items()) == [
        ("d", FloatDistribution(1e-4, 1e-2, log=True)),
        ("b", FloatDistribution(0.0, 0.5)),
        ("c", IntDistribution(1, 64, log=True)),
        ("a", CategoricalDistribution(("nano", "micro"))),
    ]


@pytest.mark.parametrize(
    ("options", "read"),
    [
        pytest.param([4, 8, 16], (4, 8, 16), id="whole numbers"),
        pytest.param([0.5, 1], (0.5, 1), id="numbers of both kinds"),
        pytest.param(["3e-4", 0.001], (0.0003, 0.001), id="3e-4, which YAML takes for text"),
        pytest.param(["nano", "micro"], ("nano", "micro"), id="text"),
        pytest.param([True, False], (True, False), id="truth values"),
    ],
)
def test_options_of_one_kind_are_read(options, read):
    parameter = PARAMETER.validate_python({"type": "choice", "options": options})

    assert parameter.options == read
    assert [type(option) for option in parameter.options] == [type(option) for option in read]


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(["nano", 8], id="text and a number"),
        pytest.param([True, 8], id="a truth value and a number"),
        pytest.param([True, "yes"], id="a truth value and text"),
        pytest.param([None, 8, "nano"], id="nothing, a number and text"),
        pytest.param([[1], [2]], id="lists"),
        pytest.param([{"a": 1}], id="mappings"),
    ],
)
def test_options_of_several_kinds_are_refused(options):
    with pytest.raises(ValidationError, match="must be all text, all numbers or all true/false"):
        PARAMETER.validate_python({"type": "choice", "options": options})


@pytest.mark.parametrize("options", [[8, 8], [8, 8.0], ["a", "a"], [True, True]])
def test_options_must_differ(options):
    with pytest.raises(ValidationError, match="must differ from each other"):
        PARAMETER.validate_python({"type": "choice", "options": options})


def test_whole_numbers_beyond_the_exact_floats_are_refused():
    with pytest.raises(ValidationError, match="less_than_equal"):
        PARAMETER.validate_python({"type": "int", "low": 0, "high": 10**400})


@pytest.mark.parametrize(
    ("values", "kept"),
    [
        pytest.param({"a": 1, "b": 2, "c": 3}, {"a", "b", "c"}, id="all conditions hold"),
        pytest.param({"a": 0, "b": 2, "c": 3}, {"a"}, id="what depends on a lost one is lost too"),
        pytest.param({"a": 1, "b": 0, "c": 3}, {"a", "b"}, id="only the last fails"),
    ],
)
def test_a_value_is_kept_where_its_condition_holds(values, kept):
    number = {"type": "int", "low": 0, "high": 9}
    space = space_of(
        a=number, b={**number, "when": {"a": 1}}, c={**number, "when": {"a": 1, "b": 2}}
    )

    assert set(active(space, values)) == kept


RATE, FREEZE, PATCH = (
    "training.optimizer.lr",
    "transfer_learning.freeze_lm_epochs",
    "transfer_learning.patch_len",
)


def test_the_design_is_scipys_sobol_set_laid_on_the_parameters(tmp_path):
    study = simulated_study(tmp_path, design="{configurations: 8, seeds: 1}")

    points = sobol_configurations(study.space, seed=3)

    unit = qmc.Sobol(3, scramble=True, rng=generator(Stream.DESIGN, 3)).random(8)
    np.testing.assert_allclose([p[RATE] for p in points], 10 ** (-4 + 3 * unit[:, 0]), rtol=1e-12)
    assert [p[FREEZE] for p in points] == np.floor(unit[:, 1] * 4).astype(int).tolist()
    assert [p[PATCH] for p in points] == np.array([4, 8, 16])[
        np.floor(unit[:, 2] * 3).astype(int)
    ].tolist()


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


def test_every_parameter_is_in_every_point_even_where_its_condition_fails():
    number = {"type": "int", "low": 0, "high": 1}
    space = space_of(8, a=number, b={**number, "when": {"a": 1}})

    points = sobol_configurations(space, 0)

    assert all(set(point) == {"a", "b"} for point in points)


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
        pytest.param(IntParameter(type="int", low=1, high=15, log=True), [1, 2, 4, 8], id="double"),
        pytest.param(IntParameter(type="int", low=3, high=3), [3] * 4, id="one whole number"),
        pytest.param(ChoiceParameter(type="choice", options=(9, 8, 7, 5)), [9, 8, 7, 5], id="list"),
    ],
)
def test_a_share_of_the_range_becomes_its_value(parameter, expected):
    shares = [1e-12, 0.25 + 1e-12, 0.5 + 1e-12, 0.75 + 1e-12]

    found = [place(parameter, u) for u in shares]

    assert found == pytest.approx(expected, rel=1e-9, abs=1e-9)


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
