"""Trials that have begun, in a file that outlives the process."""

from __future__ import annotations

import pytest

from stage1.base.errors import ResultsError
from stage1.study.resume import BegunTrials, read_begun
from stage1.study.trials import TrialSpec

A = TrialSpec("search", "random", "random-000", 0, {"lr": 1e-3, "n": 2, "name": "x", "on": True})
B = TrialSpec("design", "random", "design000", 1, {})


@pytest.fixture
def file(tmp_path):
    return tmp_path / "begun.json"


def test_they_are_read_back_as_they_were_and_in_their_order(file):
    begun = BegunTrials(file)
    begun.add(B)
    begun.add(A)

    assert read_begun(file) == [B, A]
    assert [type(value) for value in read_begun(file)[1].values.values()] == [float, int, str, bool]


def test_those_that_are_written_are_no_longer_begun(file):
    begun = BegunTrials(file)
    begun.add(B)
    begun.add(A)

    begun.remove([B.trial_id, "unknown"])

    assert read_begun(file) == [A]


def test_without_any_there_is_no_file(file):
    begun = BegunTrials(file)
    begun.add(A)
    begun.remove([A.trial_id])

    assert not file.exists()
    assert read_begun(file) == []


def test_the_next_session_goes_on_with_the_file(file):
    BegunTrials(file).add(A)

    BegunTrials(file).add(B)

    assert read_begun(file) == [A, B]


def test_what_a_killed_process_has_left_half_written_is_removed(file):
    half = file.with_name(".begun.json.abcd1234")
    half.mkdir()

    BegunTrials(file)

    assert not half.exists()


@pytest.mark.parametrize(
    "text", ["", "[", "{}", "[1]", '[{"stage": "search"}]', '[{"stage": 1, "arm": "a"}]', "\0"]
)
def test_a_file_that_was_changed_is_one_line(file, text):
    file.write_text(text)

    with pytest.raises(
        ResultsError, match=r"begun\.json: must be as the study has written it"
    ) as e:
        read_begun(file)

    assert "\n" not in str(e.value)
