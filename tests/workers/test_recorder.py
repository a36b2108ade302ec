"""What ended trials leave behind, and when."""

from __future__ import annotations

import json

import pytest
from command_line import wait_until
from made_runs import synthetic_curve, synthetic_trial

from stage1.run.folder import RunFolder
from stage1.run.tables import load_table
from stage1.study.trials import TrialSpec
from stage1.workers.recorder import INTERVAL, Recorder


@pytest.fixture
def run(tmp_path):
    return RunFolder(tmp_path / "run")


def written(run):
    return load_table(run.trials)["trial_id"].to_pylist()  # opened once: it is replaced meanwhile


def test_ended_trials_are_written_while_the_study_runs(run):
    with Recorder(run) as recorder:
        for name in ("a", "b", "c"):
            recorder.add_trial(synthetic_trial(name), synthetic_curve(0.9))
        wait_until(lambda: written(run) == ["a", "b", "c"])

    assert INTERVAL <= 1  # so that a row is there within two seconds


def test_at_the_end_everything_is_written(run):
    with Recorder(run) as recorder:
        for number in range(20):
            recorder.add_trial(synthetic_trial(f"t{number}"), synthetic_curve(0.9))

    assert len(written(run)) == 20
    assert len({path.parent for path in run.tensorboard.rglob("events.out.*")}) == 20


def test_an_interruption_loses_nothing(run):
    def interrupted():
        with Recorder(run) as recorder:
            recorder.add_trial(synthetic_trial("a"), synthetic_curve(0.9))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()

    assert written(run) == ["a"]


def test_a_trial_counts_as_begun_until_its_row_is_written(run):
    spec = TrialSpec("design", "random", "design000", 1, {"x": 1.5})
    row = synthetic_trial(spec.trial_id)

    with Recorder(run) as recorder:
        recorder.begin(spec)
        assert json.loads(run.begun.read_text()) == [spec._asdict()]
        recorder.add_trial(row, synthetic_curve(0.9))
        wait_until(lambda: not run.begun.exists())

        assert written(run) == [spec.trial_id]


def test_nothing_is_done_after_a_file_that_cannot_be_written(run):
    removed = []

    def record():
        with Recorder(run) as recorder:
            recorder.add_trial(synthetic_trial("a"), synthetic_curve(0.9))
            wait_until(lambda: written(run) == ["a"])
            run.tensorboard.rename(run.path / "elsewhere")
            run.tensorboard.write_text("a file in the way")
            recorder.add_trial(synthetic_trial("b"), synthetic_curve(0.9))
            recorder.submit(lambda: removed.append("the state of b"))

    with pytest.raises(OSError, match="tensorboard"):
        record()

    assert written(run) == ["a"]
    assert removed == []


def test_a_trial_whose_row_was_written_just_before_a_kill_is_no_longer_begun(run):
    spec = TrialSpec("design", "random", "design000", 1, {"x": 1.5})
    with Recorder(run) as recorder:
        recorder.begin(spec)
        begun = run.begun.read_bytes()
        recorder.add_trial(synthetic_trial(spec.trial_id), synthetic_curve(0.9))
    run.begun.write_bytes(begun)

    with Recorder(run):
        assert not run.begun.exists()
