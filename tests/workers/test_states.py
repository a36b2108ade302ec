"""Where the states of trainings lie while a study runs, and which of them are kept."""

from __future__ import annotations

import re

import pytest
from made_studies import simulated_study

from stage1.base.errors import ConfigError
from stage1.run.columns import COMPLETED, SEARCH, STOPPED
from stage1.run.folder import RunFolder
from stage1.study.trials import EndedTrial, TrialSpec
from stage1.workers.states import (
    BestCheckpoints,
    TrialStates,
    check_place,
    seconds_between_states,
)


@pytest.fixture(params=["a folder", "file://"])
def states(request, tmp_path):
    folder = tmp_path / "states of trials"
    return TrialStates(str(folder) if request.param == "a folder" else folder.as_uri())


def saved(states, trial_id, text):
    states.save(trial_id, lambda path: path.write_text(text))


def test_the_last_state_is_fetched_and_stays_whatever_is_saved_or_removed_later(states, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    saved(states, "a", "first")
    assert states.fetch("a", first)
    saved(states, "a", "second")
    saved(states, "b", "other")

    assert states.fetch("a", second)
    assert sorted(states.trial_ids()) == ["a", "b"]
    assert (first.read_text(), second.read_text()) == ("first", "second")
    states.remove("a")

    assert (first.read_text(), second.read_text()) == ("first", "second")


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


def test_what_a_killed_process_has_left_half_written_goes_when_its_trial_goes_on(tmp_path):
    states = TrialStates(str(tmp_path))
    saved(states, "a", "whole")
    for name in (".a.ckpt.abcd1234", ".b.ckpt.abcd1234"):
        (tmp_path / name).mkdir()

    assert states.fetch("a", tmp_path / "copy")

    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *(".b.ckpt.abcd1234", "a.ckpt", "copy")
    ]


@pytest.mark.parametrize(
    ("parameters", "seconds"), [(106_880, 0.06), (84_954_240, 51), (302_040_576, 181)]
)
def test_the_larger_a_state_the_longer_it_may_become_old(parameters, seconds):
    assert seconds_between_states(parameters) == pytest.approx(seconds, rel=0.1)


def test_a_removed_state_is_gone_and_the_others_stay_until_all_are_cleared(states, tmp_path):
    saved(states, "a", "first")
    saved(states, "b", "other")

    states.remove("a")
    assert states.trial_ids() == ["b"]
    states.clear()

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("storage", ["gopher://x/y", "s3://", "s3://?region=x"])
def test_a_storage_that_is_neither_folder_nor_bucket_is_named(storage):
    with pytest.raises(
        ConfigError, match=f"^--storage must be a folder or a URI .* got {re.escape(storage)}"
    ):
        check_place(storage)


# --- the best ---


class Kept:
    """The checkpoints of a study in a folder, and what is offered to them."""

    def __init__(self, folder, *, mode="max", policy="{keep: 3}"):
        metric = {"max": "val_correlation", "min": "val_loss"}[mode]
        self.space = simulated_study(
            folder,
            objective=f"{{metric: {metric}, mode: {mode}}}",
            search=f"{{trials: 4}}\ncheckpoints: {policy}",
        ).space
        self.run = RunFolder(folder / "run")
        self.states = TrialStates(str(folder / "states"))
        self.begin(())

    def begin(self, ended):
        """As a session does, with the trials of earlier ones."""
        self.best = BestCheckpoints(self.run, self.space, self.states, ended)

    def offer(self, *trials, size=10):
        for trial in trials:
            self.states.save(trial.spec.trial_id, lambda path: path.write_bytes(bytes(size)))
            self.best.offer(trial)
            assert self.states.trial_ids() == []

    @property
    def numbers(self):
        return sorted(int(path.stem.split("-")[2]) for path in self.run.checkpoints.glob("*"))


def trial(number, value, status=COMPLETED):
    spec = TrialSpec(SEARCH, "random", f"random-{number:03d}", 0, {})
    return EndedTrial(spec, status, value, {}, 1.0)


@pytest.mark.parametrize(("mode", "best"), [("max", [1, 4, 5]), ("min", [0, 2, 3])])
def test_the_best_three_are_kept_whatever_the_order(tmp_path, mode, best):
    kept = Kept(tmp_path, mode=mode)

    kept.offer(*(trial(*one) for one in enumerate([0.2, 0.6, 0.1, 0.3, 0.5, 0.9])))

    assert kept.numbers == best


@pytest.mark.parametrize(
    ("policy", "status"),
    [
        pytest.param("{keep: 3}", STOPPED, id="it was stopped"),
        pytest.param("{keep: 0}", COMPLETED, id="none are wanted"),
    ],
)
def test_a_trial_is_kept_only_where_it_has_completed_and_is_wanted(tmp_path, policy, status):
    kept = Kept(tmp_path, policy=policy)

    kept.offer(trial(0, 0.9, status))

    assert kept.numbers == []


def test_a_trial_without_a_state_takes_nobody_s_place(tmp_path):
    kept = Kept(tmp_path, policy="{keep: 1}")
    kept.offer(trial(0, 0.1))

    kept.best.offer(trial(1, 0.9))

    assert kept.numbers == [0]


def test_the_budget_is_kept_but_the_best_one_stays_however_large(tmp_path):
    kept = Kept(tmp_path, policy="{keep: 9, gigabytes: 2.5e-6}")

    kept.offer(*(trial(number, 0.1 * number) for number in range(3)), size=1000)
    assert kept.numbers == [1, 2]
    kept.offer(trial(3, 0.3), size=4000)

    assert kept.numbers == [3]


def test_a_resumed_study_knows_what_it_has_kept(tmp_path):
    kept, trials = Kept(tmp_path, policy="{keep: 2}"), [trial(n, 0.1 * n) for n in range(5)]
    kept.offer(*trials[:4])

    kept.begin(trials[:4])
    kept.offer(trials[4])

    assert kept.numbers == [3, 4]


def test_a_study_killed_between_copy_and_removal_counts_the_trial_once(tmp_path):
    kept, trials = Kept(tmp_path), [trial(number, 0.1 * number) for number in range(3)]
    kept.offer(*trials)

    kept.begin(trials)
    kept.offer(trials[0], trials[2])

    assert kept.numbers == [0, 1, 2]


def test_what_a_killed_study_has_left_half_copied_is_removed(tmp_path):
    kept = Kept(tmp_path)
    half = kept.run.checkpoints / f".{trial(0, 0.9).spec.trial_id}.ckpt.abcd1234"
    half.mkdir(parents=True)
    (half / "half.ckpt").write_bytes(b"half")

    kept.begin([trial(0, 0.9)])

    assert not half.exists()
