"""Nothing is lost: workers and drivers killed with SIGKILL in the middle of a study.

The study is that of `benchmarks/made_up_study.py`, real but for its trainings. All share one Ray.
"""

from __future__ import annotations

import json
import os
import re
import signal
from collections import Counter
from contextlib import suppress

import made_up_study
import pandas as pd
import pytest
from command_line import HANG, wait_until
from driven_study import Driver, finish, running_ray, workers_of
from optuna.trial import TrialState

from stage1.run.registration import read_preregistration


@pytest.fixture(scope="module")
def ray_process():
    with running_ray(num_cpus=8) as process:
        yield process


@pytest.fixture(scope="module")
def undisturbed(ray_process, tmp_path_factory):
    driver = Driver(ray_process.address, tmp_path_factory.mktemp("undisturbed"))
    finish(driver.start())
    return driver


@pytest.fixture(scope="module")
def killed(ray_process, tmp_path_factory):
    """The same study whose driver was killed three times: in the design, twice in the search.

    Its trials keep a state after every other epoch and after the last.
    """
    driver = Driver(ray_process.address, tmp_path_factory.mktemp("killed"), epochs_per_state=2)
    for number, trials in enumerate((1, 5, 8)):
        enough = max(trials, driver.written() + 1)
        process = driver.start(*(["--resume"] if number else []))
        wait_until(lambda enough=enough: driver.written() >= enough, during=process)
        process.kill()
        process.communicate(timeout=HANG)
    finish(driver.start("--resume"))
    return driver


def test_after_its_driver_was_killed_a_study_ends_with_the_tables_of_an_undisturbed_one(
    undisturbed, killed
):
    expected, found = (
        driver.trials().drop(columns="started_at") for driver in (undisturbed, killed)
    )

    pd.testing.assert_frame_equal(found, expected)
    pd.testing.assert_frame_equal(killed.curves(), undisturbed.curves())


def test_after_its_driver_was_killed_a_study_has_the_sampler_states_of_an_undisturbed_one(
    undisturbed, killed
):
    def state(driver):
        return [
            (trial.state, trial.params, trial.values, trial.intermediate_values, trial.user_attrs)
            for trial in driver.optuna_trials()
        ]

    assert state(killed) == state(undisturbed)


def test_no_more_is_repeated_for_each_kill_of_the_driver_than_came_after_the_last_state(killed):
    # Two epochs, the one it was in, and the first, whose row is made twice.
    assert sum(killed.repeated().values()) <= 3 * 4


@pytest.mark.parametrize("driver", ["undisturbed", "killed"])
def test_at_the_end_nothing_is_left_running_or_lying_about(driver, request):
    driver = request.getfixturevalue(driver)

    left = {path.name for path in driver.run.path.iterdir()}
    assert left <= {
        *(".lock", "blocks.parquet", "checkpoints", "curves.parquet", "optuna.journal"),
        *("prereg.yaml", "space.yaml", "tensorboard", "trials.parquet"),
    }
    states = {trial.state for trial in driver.optuna_trials()}
    assert states <= {TrialState.COMPLETE, TrialState.PRUNED}


@pytest.mark.parametrize("driver", ["undisturbed", "killed"])
def test_the_last_states_of_the_three_best_trials_are_kept(driver, request):
    driver = request.getfixturevalue(driver)
    trials = driver.trials()

    done = trials[trials["status"] == "completed"]
    best = done.nlargest(3, "val_correlation")["trial_id"]
    assert {path.stem for path in driver.run.checkpoints.iterdir()} == set(best)
    for state in driver.run.checkpoints.iterdir():
        assert [row["epoch"] for row in json.loads(state.read_text())] == [0, 1, 2, 3, 4]


def test_a_trial_whose_worker_is_killed_goes_on_from_its_last_state(
    ray_process, undisturbed, tmp_path
):
    options = {"seconds_per_epoch": 0.4, "trials": 0, "epochs_per_state": 2}
    driver = Driver(ray_process.address, tmp_path, **options)
    process = driver.start()
    wait_until(lambda: any(driver.run.running.glob("*.ckpt")), during=process)
    (worker,) = workers_of(ray_process)
    worker.kill()

    printed = finish(process)

    trials = driver.trials()
    assert trials["status"].tolist() == ["completed"] * 4
    design = undisturbed.trials().head(4)
    assert trials["val_correlation"].tolist() == design["val_correlation"].tolist()
    assert sum(driver.repeated().values()) <= 2
    assert printed.count("it goes on from its last state") == 1


def test_a_trial_whose_workers_die_again_and_again_has_failed_until_it_is_run_again(
    ray_process, undisturbed, tmp_path
):
    driver = Driver(ray_process.address, tmp_path, seconds_per_epoch=0.05, trials=0)
    process = driver.start("--deadly=design000-random-seed1")

    finish(process)

    trials = driver.trials().set_index("trial_id")
    failed = trials[trials["status"] == "failed"]
    assert failed.index.tolist() == ["design000-random-seed1"]
    assert "died" in failed["error"].iloc[0]
    assert (trials["status"] == "completed").sum() == 3
    finish(driver.start("--resume", "--retry-failed"))
    again, design = (
        one.sort_values("trial_id")["val_correlation"].tolist()
        for one in (driver.trials(), undisturbed.trials().head(4))
    )
    assert again == design


def test_sigterm_ends_a_study_as_ctrl_c_does(ray_process, tmp_path):
    driver = Driver(ray_process.address, tmp_path, seconds_per_epoch=0.2)
    process = driver.start()
    wait_until(lambda: driver.written() >= 5, during=process)  # the search has begun
    process.send_signal(signal.SIGTERM)
    printed, _ = process.communicate(timeout=HANG)

    assert process.returncode == 143
    assert "Traceback" not in printed
    states = Counter(trial.state for trial in driver.optuna_trials())
    assert states[TrialState.COMPLETE] >= 4  # the design's, and what of the search has ended
    assert TrialState.RUNNING not in states


@pytest.mark.parametrize(
    "name",
    [
        "optuna.journal",
        pytest.param("begun.json", marks=pytest.mark.slow),
        pytest.param("trials.parquet", marks=pytest.mark.slow),
    ],
)
def test_what_cannot_be_written_ends_a_study_in_one_line_and_costs_nothing(
    ray_process, undisturbed, tmp_path, name
):
    driver = Driver(ray_process.address, tmp_path, seconds_per_epoch=0.05)
    process = driver.start()
    wait_until(lambda: driver.written() >= 2, during=process)
    file = driver.run.path / name
    aside = tmp_path / "aside"
    while True:  # it may be replaced at the very moment
        with suppress(OSError):
            file.rename(aside)
            file.mkdir()
            break
    printed, _ = process.communicate(timeout=HANG)
    file.rmdir()
    aside.rename(file)

    assert process.returncode == 2
    assert "Traceback" not in printed
    assert re.search(rf"{name}: must be writable, got .*--resume", " ".join(printed.split()))
    finish(driver.start("--resume"))
    expected = undisturbed.trials().sort_values("trial_id")
    trials = driver.trials().sort_values("trial_id")
    assert trials["val_correlation"].tolist() == expected["val_correlation"].tolist()


GROWING = (
    made_up_study.SPACE.replace("horizon_epochs: 4", "horizon_epochs: 1")
    .replace("space:\n", "  shuffled: {transfer_learning.initialization: shuffled}\nspace:\n")
    .replace("{configurations: 2, seeds: 1}", "{looks: [16, 32], replicated: 1}")
    .replace("trials: 8", "trials: 2")
)
"""66 trials to the second look, 33 with shuffled weights, then search and confirmation."""


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_a_driver_killed_between_and_inside_looks_leaves_the_same_looks_each_once(
    ray_process, tmp_path, workers
):
    options = {"seconds_per_epoch": 0.05, "decides_at": 32, "workers": workers}
    driver = Driver(ray_process.address, tmp_path, GROWING, **options)
    for number, trials in enumerate((10, 34, 50, 66, 80)):  # 66 to 99 are the shuffled ones
        process = driver.start("--gain", *(["--resume"] if number else []))
        wait_until(lambda enough=trials: driver.written() >= enough, during=process)
        process.kill()
        process.communicate(timeout=HANG)
    finish(driver.start("--gain", "--resume"))

    trials = driver.trials()
    counts = Counter(zip(trials["stage"], trials["arm"], strict=True))
    assert {key: count for key, count in counts.items() if key[0] == "design"} == {
        ("design", arm): 33 for arm in ("pretrained", "random", "shuffled")
    }
    assert trials["trial_id"].is_unique
    assert len(trials) >= 66 + 33 + 2
    looks = driver.looks()
    assert {look for look, _ in looks} == {16, 32}
    assert [look for look, _ in looks] == sorted(look for look, _ in looks)
    assert all(written >= {16: 34, 32: 66}[look] for look, written in looks)
    assert looks[-1][1] == 99
    registered = read_preregistration(driver.run)
    design = trials[trials["stage"] == "design"]
    ended = zip(design["arm"], design["config_id"], design["seed"], strict=True)
    assert registered.looks_taken(ended) == [16, 32]


@pytest.mark.slow
def test_an_extension_whose_driver_was_killed_goes_on_by_resume(ray_process, tmp_path):
    driver = Driver(ray_process.address, tmp_path, GROWING, seconds_per_epoch=0.05)
    finish(driver.start("--decides-at=16"))
    before = driver.written()
    files = driver.run.space.read_bytes(), driver.run.prereg.read_bytes()
    process = driver.start("--decides-at=16", "--extend")
    wait_until(lambda: driver.written() >= before + 5, during=process)
    process.kill()
    process.communicate(timeout=HANG)
    refused, _ = driver.start("--decides-at=16", "--extend").communicate(timeout=HANG)

    finish(driver.start("--decides-at=16", "--resume"))

    assert "finish it first with --resume" in " ".join(refused.split())
    assert driver.written() == before + 32
    assert [look for look, _ in driver.looks()] == [16, 32]
    assert (driver.run.space.read_bytes(), driver.run.prereg.read_bytes()) == files


def test_a_study_is_run_by_one_process_at_a_time(ray_process, tmp_path):
    driver = Driver(ray_process.address, tmp_path, seconds_per_epoch=1.0)  # runs on meanwhile
    process = driver.start()
    wait_until(lambda: driver.written() >= 1, during=process)

    second, _ = driver.start("--resume").communicate(timeout=HANG)
    os.kill(process.pid, signal.SIGINT)
    process.communicate(timeout=HANG)

    assert "must be run by one process at a time" in second
    assert "Traceback" not in second
    assert process.returncode == 130
