"""A trial's training: broken off anywhere, it goes on as if it had not been."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
import pytest
from tiny_training import tiny_config, tiny_language_model, tiny_windows

from stage1.base.metric_table import BLOCKS
from stage1.workers.states import TrialStates
from stage1.workers.trainable import train_from_last_state

MEASURED = {"seconds", "seconds_per_step", "peak_rss_mb", "peak_vram_mb"}
CONFIG = tiny_config(transfer_learning={"freeze_lm_epochs": 1}, model={"dropout": 0.1})


class BrokenOffError(Exception):
    """In place of a process that dies."""


def train(states, *, break_after=None, parts=1, config=CONFIG):
    """The rows that were reported, and the warnings."""
    rows, warnings = [], []

    def report(row, warning):
        rows.append(row)
        warnings.extend([warning] if warning else [])
        if break_after is not None and len(rows) > break_after:
            raise BrokenOffError

    arguments = {
        "trial_id": "design-a-1",
        "states": states,
        "report": report,
        "block_epochs": [1, 3],
        "parts": parts,
        "accelerator": "cpu",
    }
    with suppress(BrokenOffError):
        train_from_last_state(config, tiny_windows(config), tiny_language_model(), **arguments)
    return rows, warnings


def learned(rows):
    return [
        {
            key: value.tolist() if isinstance(value, np.ndarray) else value
            for key, value in row.items()
            if key not in MEASURED
        }
        for row in rows
    ]


@pytest.fixture
def states(tmp_path):
    return TrialStates(str(tmp_path / "states"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    rows, warnings = train(TrialStates(str(tmp_path_factory.mktemp("whole"))))
    assert warnings == []
    return rows


@pytest.mark.parametrize("epoch", [0, 1, 2, 3])
def test_broken_off_at_any_epoch_it_goes_on_to_the_same_rows(states, whole, epoch):
    train(states, break_after=epoch)

    rows, warnings = train(states)

    assert str(learned(rows)) == str(learned(whole))
    assert warnings == []


def test_broken_off_again_and_again_it_comes_to_the_same_end(states, whole):
    for epoch in (1, 2, 2, 3):
        train(states, break_after=epoch)

    rows, _ = train(states)

    assert str(learned(rows)) == str(learned(whole))


def test_the_epochs_behind_it_are_reported_as_they_were_measured(states):
    first, _ = train(states, break_after=2)

    rows, _ = train(states)

    for before, again in zip(first, rows[:3], strict=True):  # reported is what was kept
        assert before[BLOCKS].tolist() == again[BLOCKS].tolist() if BLOCKS in before else True
        assert {key: before[key] for key in MEASURED} == {key: again[key] for key in MEASURED}
    seconds = [row["seconds"] for row in rows]
    assert seconds == sorted(seconds)


def test_once_it_has_ended_nothing_is_trained_again(states, whole, monkeypatch):
    train(states)
    monkeypatch.setattr("stage1.workers.trainable.fit", None)

    rows, _ = train(states)

    assert str(learned(rows)) == str(learned(whole))


def test_a_state_that_cannot_be_read_is_told_and_the_trial_begins_again(states, whole, tmp_path):
    train(states, break_after=2)
    (tmp_path / "states" / "design-a-1.ckpt").write_bytes(b"half a fi")

    rows, (warning,) = train(states)

    assert str(learned(rows)) == str(learned(whole))
    assert warning.startswith("its last state could not be read, so it begins again: ")


def test_a_state_that_cannot_be_kept_is_told_and_the_training_goes_on(whole, tmp_path):
    (tmp_path / "states").write_text("a file in the place of the folder")

    rows, warnings = train(TrialStates(str(tmp_path / "states")))

    assert str(learned(rows)) == str(learned(whole))
    assert len(warnings) == 3  # one for every epoch after the first step
    assert all(warning.startswith("its state could not be kept: ") for warning in warnings)


def test_what_memory_has_cost_a_process_goes_on_with_its_batches_in_parts(states, whole):
    train(states, break_after=2)

    rows, _ = train(states, parts=2)

    assert [row["accumulation"] for row in rows] == [1, 1, 1, 2]
    assert rows[-1]["val_loss"] == pytest.approx(whole[-1]["val_loss"], rel=1e-3)
