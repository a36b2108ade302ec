"""Private parts of Ray are as this package relies on them, and do what it wants of them."""

from __future__ import annotations

import inspect
import os
from types import SimpleNamespace

import pytest
import ray
from ray._private import ray_constants
from ray._private.authentication.authentication_token_setup import (
    maybe_enable_token_auth_if_token_available,
)
from ray._raylet import AuthenticationMode, AuthenticationTokenLoader, get_authentication_mode
from ray.air.execution._internal import RayActorManager
from ray.exceptions import OutOfMemoryError, RayActorError
from ray.tune.experiment import Trial

from stage1.workers.ray_internals import (
    closed_to_others,
    fault_in_logs,
    memory_kills_as_deaths,
    memory_shortage,
)

WHAT_TO_CHECK = """
Before the cap on ray in pyproject.toml is raised, see in the new version's sources that
1. `ray._private.ray_constants.ENABLE_RAY_CLUSTER` and its environment variable still decide where
   Ray's processes listen (tests/workers/test_cluster.py must find them on the loopback alone);
2. `maybe_enable_token_auth_if_token_available` still reads the token that the environment names,
   `Config.initialize` and `reset_cache` have it read again, and a socket's path in the folder of a
   session is still no longer than RAY_SESSION;
   `Node.dead_processes` still names gcs_server and raylet, and `listen_error_messages` still prints
   what Ray's processes report (test_cluster.py kills one);
3. Tune still does not handle OutOfMemoryError itself in `RayActorManager._actor_task_failed` and
   `Trial._get_default_result_or_future`, and its message still names the killed actors and their
   memory (the slow test_memory_kill.py shows);
4. AsyncHyperBandScheduler still reads no more of a trial than its id (test_halving.py);
5. `RAY_SETTINGS` in stage1/workers/cluster.py still name variables that Ray reads.
Then raise the cap and the version here.
"""


def test_ray_is_the_version_whose_private_parts_were_read():
    assert ray.__version__.split(".")[:2] == ["2", "60"], WHAT_TO_CHECK


def test_the_private_parts_of_ray_are_there():
    assert isinstance(ray_constants.ENABLE_RAY_CLUSTER, bool), WHAT_TO_CHECK
    variable = ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR
    assert variable == "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", WHAT_TO_CHECK
    handler = inspect.signature(RayActorManager._actor_task_failed)
    assert list(handler.parameters) == ["self", "tracked_actor_task", "exception"], WHAT_TO_CHECK
    token = inspect.signature(maybe_enable_token_auth_if_token_available)
    assert "warn_if_disabled" in token.parameters, WHAT_TO_CHECK
    manager = RayActorManager(resource_manager=SimpleNamespace())
    assert manager._live_actors_to_ray_actors_resources == {}, WHAT_TO_CHECK


@pytest.mark.parametrize("before", [None, "1"])
def test_afterwards_rays_of_other_programs_listen_and_ask_for_a_token_as_they_did(
    monkeypatch, before
):
    variables = (
        "TMPDIR",
        ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR,
        "RAY_AUTH_MODE",
        "RAY_AUTH_TOKEN",
    )
    for variable in variables:
        monkeypatch.delenv(variable, raising=False)
        if before is not None:
            monkeypatch.setenv(variable, before)
    enabled = ray_constants.ENABLE_RAY_CLUSTER

    with closed_to_others("/folder"):
        environment = [os.environ[variable] for variable in variables]
        inside = (ray_constants.ENABLE_RAY_CLUSTER, get_authentication_mode())
        token = AuthenticationTokenLoader.instance().get_raw_token()

    assert environment == ["/folder", "0", "token", token]
    assert inside == (False, AuthenticationMode.TOKEN)
    assert len(token) == 64
    assert enabled == ray_constants.ENABLE_RAY_CLUSTER
    assert [os.environ.get(variable) for variable in variables] == [before] * 4


LOG = """\
[2026-11-30 22:49:39,109 I 30811 30811] (raylet) main.cc:98: Ray cluster metadata
[2026-11-30 22:49:39,137 E 30811 30811] (raylet) dlmalloc.cc:120: failed to open file /dev/shm/x
    @     0x55d1 a line of its trace
"""
BUG = "An unexpected system state has occurred. We will work with you to fix it."


@pytest.mark.parametrize(
    ("log", "fault"),
    [
        pytest.param(LOG, "failed to open file /dev/shm/x", id="the last of them"),
        pytest.param(
            f"[2026-11-30 22:49:40,1 C 3 3] (raylet) a.cc:1:  {BUG} Check failed: rc == 0 no room",
            "Check failed: rc == 0 no room",
            id="without what it says of every one",
        ),
        pytest.param(LOG.splitlines()[0], None, id="none"),
    ],
)
def test_why_ray_did_not_start_is_in_the_logs_of_its_processes(tmp_path, log, fault):
    logs = tmp_path / "session_2026" / "logs"
    logs.mkdir(parents=True)
    (logs / "raylet.out").write_text(log)

    assert fault_in_logs(tmp_path) == fault


NODE_MEMORY = "Memory on the node (IP: 10.0.0.2, ID: a619) was 3.40GB used / 23.54GB limit (0.144)"
MESSAGE = f"""\
2 worker(s) were killed due to the node running low on memory. {NODE_MEMORY}
Ray killed 2 worker(s) based on the killing policy
Considered workers: [
Selected to kill: (Actor(d8cd): job ID=02, resources={{CPU: 1}}, pid=27559, actual memory \
used=0.11GB, worker ID=194d)
Selected to kill: (Actor(a6b2): job ID=02, resources={{CPU: 1}}, pid=27558, actual memory \
used=1.72GB, worker ID=9e01)
]
"""


def reported_error(error, *, actor_id, monkeypatch):
    """What Tune's own handling gets to see of an error of the actor's task."""
    seen = []
    monkeypatch.setattr(
        RayActorManager, "_actor_task_failed", lambda _, task, exception: seen.append(exception)
    )
    actor = SimpleNamespace(_actor_id=SimpleNamespace(hex=lambda: actor_id))
    manager = SimpleNamespace(_live_actors_to_ray_actors_resources={"tracked": (actor, None)})
    task = SimpleNamespace(_tracked_actor="tracked")
    with memory_kills_as_deaths():
        RayActorManager._actor_task_failed(manager, task, error)
    return seen[0]


@pytest.mark.parametrize("actor_id", ["a6b2", "unknown"])
def test_a_worker_killed_for_memory_has_died_for_tune_and_the_message_is_kept(
    monkeypatch, actor_id
):
    error = reported_error(OutOfMemoryError(MESSAGE), actor_id=actor_id, monkeypatch=monkeypatch)

    assert isinstance(error, RayActorError)
    assert str(error) == MESSAGE


def test_a_worker_killed_beside_one_that_took_more_memory_has_only_died(monkeypatch):
    error = reported_error(OutOfMemoryError(MESSAGE), actor_id="d8cd", monkeypatch=monkeypatch)

    assert str(error).startswith("The actor was killed for memory of which another took more")


def test_a_worker_killed_for_memory_while_it_started_has_no_first_result(monkeypatch):
    def killed(reference):
        raise OutOfMemoryError(MESSAGE)

    monkeypatch.setattr("ray.tune.experiment.trial.ray.get", killed)
    trial = Trial("anything", stub=True)
    trial._default_result_or_future = ray.ObjectRef(bytes(28))

    with memory_kills_as_deaths():
        assert trial.last_result == {"trial_id": trial.trial_id}


def test_other_errors_reach_tune_as_they_are(monkeypatch):
    error = ValueError("patch_len")

    assert reported_error(error, actor_id="a6b2", monkeypatch=monkeypatch) is error


def test_afterwards_tune_is_as_it_was():
    def parts():
        return RayActorManager._actor_task_failed, Trial._get_default_result_or_future

    before = parts()

    with memory_kills_as_deaths():
        assert not set(parts()) & set(before)

    assert parts() == before


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        pytest.param(MESSAGE.splitlines()[0], NODE_MEMORY, id="killed for memory"),
        pytest.param("The actor died unexpectedly.", None, id="died"),
    ],
)
def test_the_shortage_is_what_ray_says_of_the_node(line, expected):
    assert memory_shortage(line) == expected
