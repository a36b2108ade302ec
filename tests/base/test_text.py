"""Values, counts and reasons in words: cut short, printable, on one line."""

from __future__ import annotations

import pytest

from stage1.base.errors import TrialError
from stage1.base.text import LONGEST_VALUE, did_you_mean, dotted, one_line, plural, reason_of, shown


@pytest.mark.parametrize(
    ("word", "known", "hint"),
    [
        pytest.param("patch_length", ["lr", "patch_len"], "; did you mean 'patch_len'?", id="near"),
        pytest.param("zzz", ["lr", "b"], "; known: lr, b", id="far from all: all are listed"),
        pytest.param("zzz", [], "", id="nothing is known"),
    ],
)
def test_a_mistyped_word_gets_a_hint(word, known, hint):
    assert did_you_mean(word, known) == hint


@pytest.mark.parametrize(
    ("value", "text"),
    [
        pytest.param(-1, "-1", id="a number"),
        pytest.param("pretraind", "'pretraind'", id="text"),
        pytest.param([4, 8, 16], "[4, 8, 16]", id="a list"),
        pytest.param({"b": 1}, "{'b': 1}", id="a mapping"),
        pytest.param("a\nb\x1b[31m", r"'a\nb\x1b[31m'", id="control codes"),
    ],
)
def test_a_value_is_shown_as_python_writes_it(value, text):
    assert shown(value) == text


@pytest.mark.parametrize(
    "value",
    [
        pytest.param("x" * 10_000, id="text"),
        pytest.param(list(range(10_000)), id="a list"),
        pytest.param(10**3_000, id="a number"),
        pytest.param([[["x" * 50] * 50] * 50] * 50, id="lists of lists"),
    ],
)
def test_a_long_value_is_cut(value):
    assert len(shown(value)) <= LONGEST_VALUE + len("...")


def test_words_of_any_origin_are_printable():
    assert one_line("a\n  b") == "a b"
    assert "\x1b" not in one_line("\x1b[31mred")
    assert dotted(("a", "b")) == "a.b"
    assert "\n" not in dotted(("a\n", "b"))


@pytest.mark.parametrize(
    ("error", "told"),
    [
        pytest.param(ValueError("a\x1bb"), r"'ValueError: a\x1bb'", id="control codes"),
        pytest.param(ValueError(), "ValueError:", id="nothing said"),
        pytest.param(TrialError("memory must suffice."), "memory must suffice", id="one of ours"),
    ],
)
def test_a_reason_is_one_printable_line(error, told):
    assert reason_of(error) == told


def test_a_long_reason_is_cut():
    assert len(reason_of(ValueError("x" * 10_000))) <= 200


def test_one_has_no_plural():
    told = [plural(count, "seed") for count in (1, 0, 2, 1500)]

    assert told == ["1 seed", "0 seeds", "2 seeds", "1,500 seeds"]
