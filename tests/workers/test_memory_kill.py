"""What comes of a trial whose worker Ray kills for memory, in a study whose trainings are made up.

The limit of Ray is set a few gigabytes above what the machine uses; nothing else is in danger.
"""

from __future__ import annotations

import psutil
import pytest
from driven_study import Driver, finish, running_ray

pytestmark = pytest.mark.slow

GAP = 4 << 30
"""Bytes between what is used and Ray's limit; the hungry training would take a half more."""
HUNGRY = "design000-random-seed1"


@pytest.fixture
def address():
    """A Ray that kills workers once the machine uses so much more than now."""
    memory = psutil.virtual_memory()
    if memory.available < 2 * GAP:
        pytest.skip(f"needs {2 * GAP >> 30} GiB of free memory")
    limit = {
        "RAY_memory_usage_threshold": str((memory.total - memory.available + GAP) / memory.total),
        "RAY_memory_monitor_refresh_ms": "100",
    }
    with running_ray(env=limit, num_cpus=4, object_store_memory=10**8) as process:
        yield process.address


@pytest.fixture
def driver(address, tmp_path):
    return Driver(address, tmp_path, seconds_per_epoch=0.4, trials=0, workers=2, hungry=HUNGRY)


def test_a_trial_whose_worker_was_killed_for_memory_goes_on_with_smaller_parts(driver):
    printed = finish(driver.start())

    trials = driver.trials().set_index("trial_id")
    assert trials["status"].tolist() == ["completed"] * 4
    assert trials["accumulation"].to_dict() == dict.fromkeys(trials.index, 1) | {HUNGRY: 2}
    assert printed.count("killed for memory; it goes on") == 1


def test_a_trial_whose_worker_is_killed_for_memory_again_has_failed(driver):
    finish(driver.start("--hungry-parts=2"))

    trials = driver.trials().set_index("trial_id")
    failed = trials[trials["status"] == "failed"]
    assert failed.index.tolist() == [HUNGRY]
    assert failed["error"].iloc[0].startswith("its process was killed for memory: Memory on the")
    assert (trials["status"] == "completed").sum() == 3
