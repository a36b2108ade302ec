"""Ray on this machine alone, or a cluster that is checked before it is used."""

from __future__ import annotations

import json
import os
import signal
from contextlib import contextmanager

import pytest
from command_line import free_port, python

from stage1.base.errors import ConfigError, TrialError
from stage1.study.space import Resources
from stage1.workers import cluster
from stage1.workers.cluster import ray_cluster

OTHER_USER = 65534
OWN_RAY = f"""
import json, os, psutil, ray, subprocess, sys
from pathlib import Path
from stage1.workers.cluster import ray_cluster
from stage1.study.space import Resources

@ray.remote(num_cpus=1)
class Worker:
    def backend(self):
        return os.environ["MPLBACKEND"]

with ray_cluster(Resources(), workers=2, address=None, storage=None) as cluster:
    workers = [Worker.remote() for _ in range(2)]
    backends = ray.get([worker.backend.remote() for worker in workers])
    family = [psutil.Process(), *psutil.Process().children(recursive=True)]
    listening = [
        connection.laddr.ip
        for process in family
        for connection in process.net_connections()
        if connection.status == psutil.CONN_LISTEN
    ]
    session = Path(ray._private.worker._global_node.get_session_dir_path())
    folder = session.parents[1]
    mode = oct(folder.stat().st_mode)
    environments = [f"/proc/{{process.pid}}/environ" for process in family]
    command_lines = " ".join(" ".join(process.cmdline()) for process in family)
    other = dict(user={OTHER_USER}, group={OTHER_USER}, extra_groups=[])
    words = [["ls", "/"], ["ls", folder], ["touch", folder / "x"]]
    words += [["cat", environment] for environment in environments]
    root = os.geteuid() == 0
    as_other = [subprocess.run(one, **other).returncode == 0 for one in words] if root else []
    knock = "import sys; from ray._raylet import GcsClient; GcsClient(address=sys.argv[1])"
    stranger = subprocess.run(
        [sys.executable, "-c", knock, ray.get_runtime_context().gcs_address],
        env=os.environ | {{"RAY_AUTH_TOKEN": "0" * 64}}, capture_output=True, text=True,
    )
    in_command_lines = os.environ["RAY_AUTH_TOKEN"] in command_lines
psutil.wait_procs(family[1:], timeout=20)
print(json.dumps({{
    "mode": mode, "as_other": as_other, "stranger": stranger.stderr,
    "in_command_lines": in_command_lines, "after": os.environ.get("RAY_AUTH_TOKEN"),
    "listening": listening,
    "workers": cluster.workers,
    "left": [process.pid for process in family[1:] if process.is_running()],
    "folder": folder.exists(),
    "usage": os.environ["RAY_USAGE_STATS_ENABLED"],
    "backends": [os.environ["MPLBACKEND"], *backends],
}}))
"""


@pytest.fixture(scope="module")
def own_ray(tmp_path_factory):
    """What there is to see of one, where it may not write HOME and TMPDIR is too long for it."""
    home = tmp_path_factory.mktemp("home")
    home.chmod(0o500)
    deep = tmp_path_factory.mktemp("deep") / ("x" * 80)
    deep.mkdir()
    surroundings = {"HOME": str(home), "TMPDIR": str(deep), "MPLBACKEND": "of a notebook"}
    result = python("-c", OWN_RAY, env=surroundings)
    return json.loads(result.stdout.splitlines()[-1]) | {"home": [*home.iterdir()]}


def test_a_ray_of_its_own_listens_on_the_loopback_alone_and_tells_nobody_that_it_is_used(own_ray):
    assert own_ray["workers"] == 2
    assert len(own_ray["listening"]) >= 5
    assert {address.removeprefix("::ffff:") for address in own_ray["listening"]} == {"127.0.0.1"}
    assert own_ray["usage"] == "0"


def test_a_ray_of_its_own_leaves_neither_processes_nor_files(own_ray):
    assert own_ray["left"] == []
    assert not own_ray["folder"]
    assert own_ray["home"] == []


def test_a_ray_of_its_own_lets_nobody_in_without_its_token(own_ray):
    assert "InvalidAuthToken" in own_ray["stranger"]
    assert own_ray["mode"] == "0o40700"
    assert own_ray["after"] is None
    assert not own_ray["in_command_lines"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another user")
def test_another_user_reads_and_writes_nothing_of_a_ray_of_its_own(own_ray):
    anywhere_else, *here = own_ray["as_other"]
    assert anywhere_else
    assert len(here) > 5
    assert not any(here)


def test_workers_draw_with_a_backend_that_is_always_there_and_a_notebook_keeps_its_own(own_ray):
    assert own_ray["backends"] == ["of a notebook", "agg", "agg"]


ENDED = """
import os, ray, signal, sys, time
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # tests may run under nohup
from stage1.base.interrupt import exit_on_sigterm
from stage1.base.files import scratch_folder
from stage1.study.space import Resources
from stage1.workers.cluster import ray_cluster

with exit_on_sigterm(), scratch_folder():
    with ray_cluster(Resources(), workers=1, address=None, storage=None):
        processes = ray._private.worker._global_node.all_processes
        pid = processes[sys.argv[1]][0].process.pid if len(sys.argv) > 1 else os.getpid()
        os.kill(pid, signal.SIGKILL if len(sys.argv) > 1 else signal.SIGHUP)
        time.sleep(600)
"""


@pytest.mark.parametrize(
    ("ended", "status", "said"),
    [
        pytest.param(["raylet"], 2, "error: Ray must go on running, and its raylet was", id="Ray"),
        pytest.param([], 143, "", id="the terminal", marks=pytest.mark.slow),
    ],
)
def test_whatever_ends_a_study_it_says_so_in_a_line_and_leaves_no_folder(
    tmp_path, ended, status, said
):
    result = python("-c", ENDED, *ended, check=False, env={"TMPDIR": str(tmp_path)})

    assert result.returncode == status, result.stderr
    assert result.stderr.startswith(said)
    assert result.stderr.count("\n") == (1 if said else 0)
    assert [*tmp_path.iterdir()] == []


def enter(address, *, storage=None):
    ray_cluster(Resources(), workers=None, address=address, storage=storage).__enter__()


def test_an_address_where_nothing_listens_is_an_error_at_once():
    address = f"127.0.0.1:{free_port()}"

    with pytest.raises(TrialError, match=f"^--address .* got {address}"):
        enter(address)


def test_a_storage_that_cannot_be_one_is_an_error_before_anything_starts():
    with pytest.raises(ConfigError, match=r"^--storage must be .* got gopher://x"):
        enter(None, storage="gopher://x")


def test_a_cluster_that_others_can_reach_must_ask_for_a_token(monkeypatch):
    monkeypatch.setattr("stage1.workers.cluster._check_reachable", lambda address: None)
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")

    with pytest.raises(TrialError, match=r"^--address must be on this machine or ask for a token"):
        enter("192.0.2.7:6379")


def test_ctrl_c_while_ray_starts_ends_ray_and_is_not_lost(monkeypatch):
    happened = []

    @contextmanager
    def starting_ray(workers, resources):
        signal.raise_signal(signal.SIGINT)  # Ray's own code would swallow it
        happened.append("started")
        try:
            yield
        finally:
            happened.append("ended")

    monkeypatch.setattr(cluster, "_local_ray", starting_ray)
    monkeypatch.setattr(cluster, "_fitting", lambda resources: 1)

    with pytest.raises(KeyboardInterrupt):
        enter(None)

    assert happened == ["started", "ended"]


@pytest.mark.parametrize(
    ("each", "machine", "trials"),
    [
        pytest.param((1, 0), (4, 2), 4, id="by cores"),
        pytest.param((4, 0), (6, 0), 1, id="no half trial"),
        pytest.param((1, 1), (16, 4), 4, id="a GPU each"),
        pytest.param((1, 0.7), (16, 4), 4, id="a share never spans two GPUs"),
        pytest.param((1, 1 / 3), (16, 2), 6, id="a third"),
        pytest.param((1, 1 / 49), (99, 1), 49, id="as small as it is"),
        pytest.param((1, 0.5), (16, 0), 0, id="no GPU"),
    ],
)
def test_a_machine_holds_as_many_trials_as_have_whole_shares_of_it(each, machine, trials):
    cpus, gpus = each

    assert cluster.trials_on(Resources(cpus=cpus, gpus=gpus), *machine) == trials


def test_no_trial_spans_two_nodes(monkeypatch):
    def nodes(*each):
        return lambda: [{"Alive": alive, "Resources": {"CPU": cpus}} for alive, cpus in each]

    monkeypatch.setattr(cluster.ray, "nodes", nodes((True, 6.0), (True, 6.0), (False, 64.0)))

    assert cluster._fitting(Resources(cpus=4)) == 2
    with pytest.raises(TrialError, match="a trial needs 8 CPUs and 0 GPUs, got 6 and 0 here"):
        cluster._fitting(Resources(cpus=8))


def test_whatever_ray_raises_while_it_starts_is_one_line(monkeypatch):
    def init(**options):
        raise Exception("The current node timed out during startup.\nSee the logs")

    monkeypatch.setattr(cluster.ray, "init", init)

    with pytest.raises(TrialError, match=r"^Ray must start .* timed out during startup.* see that"):
        enter(None)


@pytest.mark.parametrize(
    ("cpus", "asked", "memory", "wanted"),
    [
        pytest.param(1, None, 16384, 8, id="one core each"),
        pytest.param(3, None, 16384, 2, id="what is left over stays idle"),
        pytest.param(0.5, None, 16384, 16, id="half a core each"),
        pytest.param(16, None, 16384, 1, id="more than there are: one all the same"),
        pytest.param(4, 5, 1024, 5, id="as asked for"),
        pytest.param(1, None, 2048, 1, id="memory for one"),
        pytest.param(1, None, 4096, 4, id="memory for some"),
        pytest.param(1, None, 512, 1, id="hardly any memory: one all the same"),
    ],
)
def test_as_many_trials_run_as_were_asked_for_or_as_fit(monkeypatch, cpus, asked, memory, wanted):
    monkeypatch.setattr(cluster, "usable_cores", lambda: 8)
    monkeypatch.setattr(cluster, "total_mb", lambda: memory)

    assert cluster.wanted_workers(Resources(cpus=cpus), asked) == wanted
