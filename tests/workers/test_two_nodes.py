"""A study on a cluster of two nodes, on this machine: they come, go and die like others.

The cluster is Ray's own, started by its command line on the loopback. All tests share it; but for
the last one, trainings are made up.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import ExitStack, suppress
from importlib.util import find_spec
from pathlib import Path

import pandas as pd
import psutil
import pytest
from command_line import HANG, free_port, start, wait_until
from driven_study import TOKEN, Driver, finish, start_process, workers_of
from pyarrow.fs import FileSelector, FileSystem
from s3_server import s3_bucket

pytestmark = pytest.mark.slow

NOTICE_DEATHS_SOON = {
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_timeout_ms": "2000",
    "RAY_health_check_failure_threshold": "3",
}
HEAD, SECOND, THIRD = "head", "second", "third"


class Nodes:
    """A cluster of nodes with one CPU each, at 127.0.0.1; the head is one of them."""

    def __init__(self):
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.folder = tempfile.mkdtemp(prefix="r", dir="/tmp")  # sockets want a short path
        self.processes: dict[str, subprocess.Popen] = {}
        head = ["--head", f"--port={self.port}", f"--temp-dir={self.folder}"]
        self._start(HEAD, *head, "--include-dashboard=false")

    def add(self, name):
        """Start a node, unless it is there; returns once it is in the cluster."""
        process = self.processes.get(name)
        if process is None or process.poll() is not None:
            self._start(name, f"--address={self.address}")

    def _start(self, name, *options):
        ray = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--num-cpus=1"]
        limits = ["--object-store-memory=100000000", "--node-ip-address=127.0.0.1"]
        with (Path(self.folder) / f"{name}.log").open("w") as log:
            process = start(
                *(*ray, *limits, *options),
                env=TOKEN | NOTICE_DEATHS_SOON | {"MADE_UP_NODE": name},
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.processes[name] = process
        wait_until(lambda: "Ray runtime started" in Path(log.name).read_text())

    def kill(self, name):
        """Kill all processes of a node, as when its machine loses its power."""
        process = self.processes.pop(name)
        family = [*psutil.Process(process.pid).children(recursive=True), process]
        for member in family:
            with suppress(psutil.Error, ProcessLookupError):
                os.kill(member.pid, signal.SIGKILL)
        process.wait()

    def close(self):
        for name in [*self.processes][::-1]:
            self.kill(name)
        shutil.rmtree(self.folder, ignore_errors=True)


@pytest.fixture(scope="module")
def bucket():
    """Before the nodes start, since their environment says where it is; None without a server."""
    with ExitStack() as stack:
        here = find_spec("moto") is not None
        environment = stack.enter_context(pytest.MonkeyPatch.context())
        yield stack.enter_context(s3_bucket(environment)) if here else None


@pytest.fixture(scope="module")
def cluster(bucket):
    nodes = Nodes()
    yield nodes
    nodes.close()


@pytest.fixture
def nodes(cluster):
    """Two nodes, whatever became of them before."""
    cluster.add(SECOND)
    if THIRD in cluster.processes:
        cluster.kill(THIRD)
    return cluster


def driver_of(cluster, folder, **options):
    storage = folder / "states"
    options = {"seconds_per_epoch": 0.4, "trials": 0, "storage": storage} | options
    return Driver(cluster.address, folder, workers=2, **options)


def measured(driver):
    """The study's trials and curves, without what depends on when and in which order."""
    dropped = ["started_at", "would_stop_epoch"]
    trials = driver.trials().drop(columns=dropped).sort_values("trial_id")
    curves = driver.curves().sort_values(["trial_id", "epoch"])
    return trials.reset_index(drop=True), curves.reset_index(drop=True)


def assert_same(driver, other):
    for found, expected in zip(measured(driver), measured(other), strict=True):
        pd.testing.assert_frame_equal(found, expected)


@pytest.fixture(scope="module")
def on_one_node(cluster, tmp_path_factory):
    driver = driver_of(cluster, tmp_path_factory.mktemp("one"), seconds_per_epoch=0.02)
    finish(driver.start())
    return driver


def test_a_study_on_two_nodes_has_the_trials_and_values_of_one_on_one_node(
    on_one_node, nodes, tmp_path
):
    driver = driver_of(nodes, tmp_path)

    finish(driver.start())

    assert_same(driver, on_one_node)
    assert {name for names in on_one_node.nodes().values() for name in names} == {HEAD}
    assert {name for names in driver.nodes().values() for name in names} == {HEAD, SECOND}
    assert not any((tmp_path / "states").iterdir())


def test_a_trial_whose_node_died_goes_on_elsewhere_from_its_last_epoch(
    on_one_node, nodes, tmp_path
):
    driver = driver_of(nodes, tmp_path, seconds_per_epoch=1)
    process = driver.start()
    wait_until(lambda: any(has_state(driver, trial_id) for trial_id in trials_on(driver, SECOND)))
    (trial_id,) = trials_on(driver, SECOND)
    nodes.kill(SECOND)

    printed = finish(process)

    assert_same(driver, on_one_node)
    assert driver.nodes()[trial_id] == [SECOND, HEAD]
    repeated = driver.repeated()
    assert repeated.pop(trial_id) <= 1
    assert set(repeated.values()) == {0}
    assert printed.count("it goes on from its last state") == 1


def trials_on(driver, node):
    work = driver.run.path.with_suffix(".work")
    found = driver.nodes() if work.exists() else {}
    return [trial_id for trial_id, names in found.items() if names[-1:] == [node]]


def has_state(driver, trial_id):
    return any(Path(driver.options["storage"]).rglob(f"{trial_id}.ckpt"))


def test_a_node_added_in_the_middle_is_used(on_one_node, cluster, tmp_path):
    if SECOND in cluster.processes:
        cluster.kill(SECOND)
    driver = driver_of(cluster, tmp_path, seconds_per_epoch=1)
    process = driver.start()
    wait_until(lambda: trials_on(driver, HEAD), during=process)
    cluster.add(THIRD)

    finish(process)

    assert_same(driver, on_one_node)
    assert trials_on(driver, THIRD)


def test_a_study_with_its_states_in_a_bucket_is_resumed_after_its_driver_was_killed(
    on_one_node, nodes, tmp_path, bucket
):
    if bucket is None:
        pytest.skip("`make test-all` installs moto")
    driver = driver_of(nodes, tmp_path, storage=f"{bucket}/states")
    storage, folder = FileSystem.from_uri(f"{bucket}/states")

    def states():
        found = storage.get_file_info(FileSelector(folder, recursive=True, allow_not_found=True))
        return [info.path for info in found if info.base_name.endswith(".ckpt")]

    process = driver.start()
    wait_until(lambda: driver.written() >= 1 and states(), during=process)
    process.kill()
    process.communicate(timeout=HANG)

    finish(driver.start("--resume"))

    assert_same(driver, on_one_node)
    assert driver.trials()["trial_id"].is_unique
    assert sum(driver.repeated().values()) <= 2 * 2  # the epoch each was in, and its first
    assert states() == []


def test_a_real_study_on_two_nodes_repeats_one_on_one_machine_bit_by_bit(nodes, tmp_path):
    tune = ["-m", "stage1.tune", "search_spaces/smoke.yaml", "--trials=0", "--workers=2"]
    storage = tmp_path / "states"
    process = start_process(
        *tune, "--out", tmp_path / "two", "--address", nodes.address, "--storage", storage
    )
    wait_until(
        lambda: len([*storage.rglob("*.ckpt")]) > 1, during=process
    )  # both have one to go on from
    worker = wait_until(lambda: workers_of(nodes.processes[SECOND]))[0]
    worker.kill()
    printed = finish(process)

    finish(start_process(*tune, "--out", tmp_path / "one"))

    two, one = (curves_of(tmp_path / place) for place in ("two", "one"))
    assert printed.count("it goes on from its last state") == 1
    trials = pd.read_parquet(tmp_path / "two" / "smoke" / "trials.parquet")
    assert trials["status"].tolist() == ["completed"] * 16
    pd.testing.assert_frame_equal(two, one, check_exact=True)


def curves_of(out):
    """What was computed at each epoch of each trial; what was timed is left out."""
    curves = pd.read_parquet(out / "smoke" / "curves.parquet")
    timed = [name for name in curves.columns if "second" in name]
    return curves.drop(columns=timed).set_index(["trial_id", "epoch"]).sort_index()
