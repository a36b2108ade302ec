"""The words of a search space, and their one translation into distributions."""

from __future__ import annotations

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from pydantic import TypeAdapter, ValidationError

from stage1.study.space import (
    ChoiceParameter,
    FloatParameter,
    IntParameter,
    Parameter,
    Space,
    active,
    distributions,
    is_active,
)

PARAMETER = TypeAdapter(Parameter)
LR = {"type": "float", "low": 1e-4, "high": 1e-2, "log": True}


def space_of(**parameters):
    return Space.model_validate(
        {"name": "s", "base": "b.yaml", "arms": {"a": {}}, "space": parameters}
    )


def test_both_bounds_are_inside_as_optuna_has_them():
    space = space_of(
        a=LR,
        b={"type": "float", "low": 0.0, "high": 0.5},
        c={"type": "int", "low": 1, "high": 64, "log": True},
        d={"type": "choice", "options": ["nano", "micro"]},
    )

    assert distributions(space) == {
        "a": FloatDistribution(1e-4, 1e-2, log=True),
        "b": FloatDistribution(0.0, 0.5),
        "c": IntDistribution(1, 64, log=True),
        "d": CategoricalDistribution(("nano", "micro")),
    }


def test_parameters_keep_the_order_of_the_file():
    space = space_of(z=LR, a=LR, m=LR)

    assert list(distributions(space)) == ["z", "a", "m"]


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
        pytest.param([None, 8], id="nothing and a number"),
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


def test_a_choice_needs_an_option():
    with pytest.raises(ValidationError, match="too_short"):
        PARAMETER.validate_python({"type": "choice", "options": []})


@pytest.mark.parametrize("kind", ["float", "int"])
@pytest.mark.parametrize(
    ("bounds", "rule"),
    [
        pytest.param({"low": 2, "high": 1}, "low: must be <= high=1", id="the wrong way round"),
        pytest.param(
            {"low": 0, "high": 1, "log": True}, "low: must be > 0 with log: true", id="log of 0"
        ),
        pytest.param(
            {"low": -1, "high": 1, "log": True}, "low: must be > 0", id="log of less than 0"
        ),
    ],
)
def test_bounds_that_make_no_range_are_refused(kind, bounds, rule):
    with pytest.raises(ValidationError, match=rule):
        PARAMETER.validate_python({"type": kind, **bounds})


def test_a_range_of_one_value_is_a_range():
    parameter = PARAMETER.validate_python({"type": "int", "low": 3, "high": 3})

    assert parameter == IntParameter(type="int", low=3, high=3)


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
    space = space_of(a=number, b={**number, "when": {"a": 1}}, c={**number, "when": {"b": 2}})

    assert set(active(space, values)) == kept


def test_all_conditions_of_a_parameter_must_hold():
    number = {"type": "int", "low": 0, "high": 9}
    space = space_of(a=number, b=number, c={**number, "when": {"a": 1, "b": 2}})

    assert is_active(space, "c", {"a": 1, "b": 2})
    assert not is_active(space, "c", {"a": 1, "b": 3})
    assert not is_active(space, "c", {"a": 1})


@pytest.mark.parametrize(
    ("kind", "parameter"),
    [
        ("float", FloatParameter(type="float", low=0, high=1)),
        ("int", IntParameter(type="int", low=0, high=1)),
        ("choice", ChoiceParameter(type="choice", options=(1, 2))),
    ],
)
def test_a_parameter_written_out_reads_back_the_same(kind, parameter):
    written = parameter.model_dump(mode="json")

    assert written["type"] == kind
    assert PARAMETER.validate_python(written) == parameter
