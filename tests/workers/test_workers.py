import os

import pytest

from stage1.study.space import Resources
from stage1.workers import cluster as workers
from stage1.workers.cluster import usable_cores, wanted_workers


def test_cores_are_those_this_process_may_use():
    assert 1 <= usable_cores() <= (os.cpu_count() or 1)


@pytest.mark.parametrize(
    ("cpus", "asked", "wanted"),
    [
        pytest.param(1, None, 8, id="one core each"),
        pytest.param(3, None, 2, id="what is left over stays idle"),
        pytest.param(0.5, None, 16, id="half a core each"),
        pytest.param(16, None, 1, id="more than there are: one all the same"),
        pytest.param(4, 5, 5, id="as asked for"),
    ],
)
def test_as_many_trials_run_as_were_asked_for_or_as_fit(monkeypatch, cpus, asked, wanted):
    monkeypatch.setattr(workers, "usable_cores", lambda: 8)

    assert wanted_workers(Resources(cpus=cpus), asked) == wanted
