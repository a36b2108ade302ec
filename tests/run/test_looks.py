import pytest

from stage1.run.looks import look_faults, look_level, next_look, spent_share


@pytest.mark.parametrize(
    ("looks", "divisors"),
    [
        pytest.param([16, 32, 64, 128], [48, 16, 24, 48], id="from 16"),
        pytest.param([32, 64, 128], [12, 24, 48], id="from 32"),
    ],
)
def test_each_look_spends_what_is_new(looks, divisors):
    levels = [look_level(looks, index) for index in range(len(looks))]

    assert levels == pytest.approx([0.05 / divisor for divisor in divisors])


def test_however_far_a_study_goes_on_the_looks_spend_no_more_than_the_error_rate():
    looks = [16 * 2**doubling for doubling in range(20)]

    total = sum(look_level(looks, index) for index in range(len(looks)))

    assert total <= 0.05 / 6
    assert total == pytest.approx(0.05 / 6 * spent_share(looks[-1]))


@pytest.mark.parametrize(
    ("looks", "word"),
    [
        pytest.param([8, 16], "from 16 on, got 8", id="too small"),
        pytest.param([16, 48], "got 48", id="no power of two"),
        pytest.param([16, 64], "must double", id="a look left out"),
        pytest.param([32, 16], "must double", id="backwards"),
    ],
)
def test_looks_that_break_a_rule_are_named(looks, word):
    assert word in look_faults(looks)[0]


def test_good_looks_have_no_fault_and_are_followed_by_a_doubling():
    assert look_faults([16, 32]) == []
    assert next_look([16, 32]) == 64
