"""Which trials' last states are kept."""

from __future__ import annotations

import pytest
from made_studies import simulated_study

from stage1.run.columns import COMPLETED, SEARCH, STOPPED
from stage1.run.folder import RunFolder
from stage1.study.trials import EndedTrial, TrialSpec
from stage1.workers.best_checkpoints import BestCheckpoints
from stage1.workers.states import TrialStates


@pytest.fixture
def run(tmp_path):
    return RunFolder(tmp_path / "run")


@pytest.fixture
def states(tmp_path):
    return TrialStates(str(tmp_path / "states"))


def trial(number, value, status=COMPLETED):
    spec = TrialSpec(SEARCH, "random", f"random-{number:03d}", 0, {})
    return EndedTrial(spec, status, value, {}, 1.0)


def offer(best, states, ended, *, size=10):
    states.save(ended.spec.trial_id, lambda path: path.write_bytes(bytes(size)))
    best.offer(ended)


def kept(run):
    if not run.checkpoints.exists():
        return []
    return sorted(int(path.stem.split("-")[2]) for path in run.checkpoints.iterdir())


def best_of(tmp_path, run, states, *, mode="max", policy="{keep: 3}", ended=()):
    metric = {"max": "val_correlation", "min": "val_loss"}[mode]
    study = simulated_study(
        tmp_path,
        objective=f"{{metric: {metric}, mode: {mode}}}",
        search=f"{{trials: 4}}\ncheckpoints: {policy}",
    )
    return BestCheckpoints(run, study.space, states, ended)


@pytest.mark.parametrize(("mode", "best"), [("max", [1, 4, 5]), ("min", [0, 2, 3])])
def test_the_best_three_are_kept_whatever_the_order(tmp_path, run, states, mode, best):
    keeper = best_of(tmp_path, run, states, mode=mode)

    for number, value in enumerate([0.2, 0.6, 0.1, 0.3, 0.5, 0.9]):
        offer(keeper, states, trial(number, value))

    assert kept(run) == best
    assert states.trial_ids() == []


def test_only_completed_trials_are_kept(tmp_path, run, states):
    keeper = best_of(tmp_path, run, states)

    offer(keeper, states, trial(0, 0.9, STOPPED))

    assert kept(run) == []
    assert states.trial_ids() == []


def test_a_trial_without_a_state_takes_nobody_s_place(tmp_path, run, states):
    keeper = best_of(tmp_path, run, states, policy="{keep: 1}")
    offer(keeper, states, trial(0, 0.1))

    keeper.offer(trial(1, 0.9))

    assert kept(run) == [0]


def test_the_budget_is_kept_but_the_best_one_stays_however_large(tmp_path, run, states):
    keeper = best_of(tmp_path, run, states, policy="{keep: 9, gigabytes: 2.5e-6}")

    for number, size in enumerate([1000, 1000, 1000, 4000]):
        offer(keeper, states, trial(number, 0.1 * number), size=size)

    assert kept(run) == [3]


def test_none_are_kept_where_none_are_wanted(tmp_path, run, states):
    keeper = best_of(tmp_path, run, states, policy="{keep: 0}")

    offer(keeper, states, trial(0, 0.9))

    assert kept(run) == []


def test_a_resumed_study_knows_what_it_has_kept(tmp_path, run, states):
    trials = [trial(number, 0.1 * number) for number in range(5)]
    first = best_of(tmp_path, run, states, policy="{keep: 2}")
    for ended in trials[:4]:
        offer(first, states, ended)

    again = best_of(tmp_path, run, states, policy="{keep: 2}", ended=trials[:4])
    offer(again, states, trials[4])

    assert kept(run) == [3, 4]


def test_what_a_killed_study_has_left_half_copied_is_removed(tmp_path, run, states):
    half = run.checkpoints / f".{trial(0, 0.9).spec.trial_id}.ckpt.abcd1234"
    half.mkdir(parents=True)
    (half / "half.ckpt").write_bytes(b"half")

    best_of(tmp_path, run, states, ended=[trial(0, 0.9)])

    assert not half.exists()


def test_a_study_killed_between_copy_and_removal_counts_the_trial_once(tmp_path, run, states):
    trials = [trial(number, 0.1 * number) for number in range(3)]
    first = best_of(tmp_path, run, states)
    for ended in trials:
        offer(first, states, ended)

    again = best_of(tmp_path, run, states, ended=trials)
    offer(again, states, trials[0])
    offer(again, states, trials[2])

    assert kept(run) == [0, 1, 2]
