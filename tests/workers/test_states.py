"""Where the states of trainings lie while a study runs."""

from __future__ import annotations

import re

import pytest

from stage1.base.errors import ConfigError
from stage1.workers.states import TrialStates, check_place


@pytest.fixture(params=["a folder", "file://"])
def states(request, tmp_path):
    folder = tmp_path / "states of trials"
    return TrialStates(str(folder) if request.param == "a folder" else folder.as_uri())


def saved(states, trial_id, text):
    states.save(trial_id, lambda path: path.write_text(text))


def test_the_last_state_that_was_saved_is_fetched(states, tmp_path):
    saved(states, "a", "first")
    saved(states, "a", "second")
    saved(states, "b", "other")

    assert states.fetch("a", tmp_path / "copy")
    assert (tmp_path / "copy").read_text() == "second"
    assert sorted(states.trial_ids()) == ["a", "b"]


def test_what_was_fetched_stays_as_it_was_whatever_is_saved_or_removed(states, tmp_path):
    saved(states, "a", "first")
    states.fetch("a", tmp_path / "copy")

    saved(states, "a", "second")
    assert (tmp_path / "copy").read_text() == "first"
    states.remove("a")

    assert (tmp_path / "copy").read_text() == "first"


def test_without_a_state_there_is_nothing_to_fetch_or_to_remove(states, tmp_path):
    assert states.trial_ids() == []
    assert not states.fetch("a", tmp_path / "copy")
    states.remove("a")
    states.clear()

    assert not (tmp_path / "copy").exists()


def test_a_state_that_could_not_be_written_leaves_the_one_before_it(states, tmp_path):
    saved(states, "a", "first")

    def fail(path):
        path.write_text("half")
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space left"):
        states.save("a", fail)

    states.fetch("a", tmp_path / "copy")
    assert (tmp_path / "copy").read_text() == "first"
    assert states.trial_ids() == ["a"]


def test_a_removed_state_is_gone_and_the_others_stay(states):
    saved(states, "a", "first")
    saved(states, "b", "other")

    states.remove("a")

    assert states.trial_ids() == ["b"]


def test_in_the_end_nothing_is_left(states, tmp_path):
    saved(states, "a", "first")

    states.clear()

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("storage", ["gopher://x/y", "s3://", "s3://?region=x"])
def test_a_storage_that_is_neither_folder_nor_bucket_is_named(storage):
    with pytest.raises(
        ConfigError, match=f"^--storage must be a folder or a URI .* got {re.escape(storage)}"
    ):
        check_place(storage)
