import pytest

from stage1.run.looks import (
    DesignSize,
    configuration_id,
    configuration_number,
    look_fault,
    look_level,
    spent_share,
)


@pytest.mark.parametrize(
    ("looks", "divisors"),
    [
        pytest.param([16, 32, 64, 128], [48, 16, 24, 48], id="from 16"),
        pytest.param([32, 64, 128], [12, 24, 48], id="from 32"),
    ],
)
def test_each_look_spends_what_is_new(looks, divisors):
    levels = [look_level(looks, index, error_rate=0.05 / 6) for index in range(len(looks))]

    assert levels == pytest.approx([0.05 / divisor for divisor in divisors])


def test_however_far_a_study_goes_on_the_looks_spend_no_more_than_the_error_rate():
    looks = [16 * 2**doubling for doubling in range(20)]

    total = sum(look_level(looks, index, error_rate=1) for index in range(len(looks)))

    assert total <= 1
    assert total == pytest.approx(spent_share(looks[-1]))


@pytest.mark.parametrize(
    ("looks", "word"),
    [
        pytest.param([], "got none", id="none"),
        pytest.param([8, 16], "from 16 on, got 8", id="too small"),
        pytest.param([16, 48], "got 48", id="no power of two"),
        pytest.param([16, 64], "must double", id="a look left out"),
        pytest.param([32, 16], "must double", id="backwards"),
        pytest.param([16, 32], "", id="good"),
    ],
)
def test_looks_that_break_a_rule_are_named(looks, word):
    fault = look_fault(looks)

    assert word in fault
    assert bool(fault) == bool(word)


@pytest.mark.parametrize(
    ("size", "trainings"),
    [
        pytest.param(DesignSize((16, 32), 2, 4), 20, id="the first four with a second seed"),
        pytest.param(DesignSize((16,), 2), 32, id="all with every seed"),
    ],
)
def test_a_design_says_how_many_trainings_an_arm_has(size, trainings):
    assert size.pairs(16) == trainings


def test_a_configuration_keeps_its_number_in_its_name_beyond_a_thousand():
    assert [configuration_number(configuration_id(n)) for n in (0, 7, 1000)] == [0, 7, 1000]
    assert configuration_number("pretrained-003") > 10**6
