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

SPEC = TrialSpec("design", "random", "design000", 1, {"x": 1.5})


@pytest.fixture
def run(tmp_path):
    return RunFolder(tmp_path / "run")


def add(recorder, *trial_ids):
    for trial_id in trial_ids:
        recorder.add_trial(synthetic_trial(trial_id), synthetic_curve(0.9))


def written(run):
    return load_table(run.trials)["trial_id"].to_pylist()  # opened once: it is replaced meanwhile


def test_ended_trials_are_written_while_the_study_runs(run):
    with Recorder(run) as recorder:
        add(recorder, "a", "b", "c")
        wait_until(lambda: written(run) == ["a", "b", "c"])

    assert INTERVAL <= 1  # so that a row is there within two seconds


def test_who_flushes_finds_everything_on_disk(run):
    with Recorder(run) as recorder:
        for number in range(1, 4):
            add(recorder, f"t{number}")
            recorder.flush()

            assert len(written(run)) == number


def test_who_flushes_what_cannot_be_written_is_told(run):
    def fail():
        raise OSError("no room")

    with Recorder(run) as recorder:
        recorder.submit(fail)

        with pytest.raises(OSError, match="no room"):
            recorder.flush()


def test_at_the_end_everything_is_written(run):
    with Recorder(run) as recorder:
        add(recorder, *(f"t{number}" for number in range(20)))

    assert len(written(run)) == 20
    assert len({path.parent for path in run.tensorboard.rglob("events.out.*")}) == 20


def test_an_interruption_loses_nothing(run):
    def interrupted():
        with Recorder(run) as recorder:
            add(recorder, "a")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()

    assert written(run) == ["a"]


def test_a_trial_counts_as_begun_until_its_row_is_written(run):
    with Recorder(run) as recorder:
        recorder.begin(SPEC)
        assert json.loads(run.begun.read_text()) == [SPEC._asdict()]
        add(recorder, SPEC.trial_id)
        wait_until(lambda: not run.begun.exists())

        assert written(run) == [SPEC.trial_id]


def test_trials_that_are_run_again_count_as_begun_and_leave_the_tables_whole(run):
    with Recorder(run) as recorder:
        add(recorder, "a", SPEC.trial_id, "b")
    with Recorder(run) as recorder:
        recorder.begin_again([SPEC])

        assert json.loads(run.begun.read_text()) == [SPEC._asdict()]
        for table in (run.trials, run.curves):
            assert set(load_table(table)["trial_id"].to_pylist()) == {"a", "b"}
        add(recorder, SPEC.trial_id)

    assert written(run) == ["a", "b", SPEC.trial_id]
    assert not run.begun.exists()


def test_nothing_is_done_after_a_file_that_cannot_be_written(run):
    removed = []

    def record():
        with Recorder(run) as recorder:
            add(recorder, "a")
            wait_until(lambda: written(run) == ["a"])
            run.tensorboard.rename(run.path / "elsewhere")
            run.tensorboard.write_text("a file in the way")
            add(recorder, "b")
            recorder.submit(lambda: removed.append("the state of b"))

    with pytest.raises(OSError, match="tensorboard"):
        record()

    assert written(run) == ["a"]
    assert removed == []


def test_a_trial_whose_row_was_written_just_before_a_kill_is_no_longer_begun(run):
    with Recorder(run) as recorder:
        recorder.begin(SPEC)
        begun = run.begun.read_bytes()
        add(recorder, SPEC.trial_id)
    run.begun.write_bytes(begun)

    with Recorder(run):
        assert not run.begun.exists()
