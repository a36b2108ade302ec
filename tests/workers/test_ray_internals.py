"""What Tune is told of workers that Ray killed for memory; the message is Ray 2.60's, shortened."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from ray.air.execution._internal import RayActorManager
from ray.exceptions import OutOfMemoryError, RayActorError

from stage1.workers.ray_internals import outlived_memory_kills, shortage

MESSAGE = """\
2 worker(s) were killed due to the node running low on memory. Memory on the node (IP: 10.0.0.2, \
ID: a619) was 3.40GB used / 23.54GB limit (0.144531)
Ray killed 2 worker(s) based on the killing policy
Considered workers: [
Selected to kill: (Actor(d8cd): job ID=02, resources={CPU: 1}, pid=27559, actual memory \
used=0.11GB, worker ID=194d)
Selected to kill: (Actor(a6b2): job ID=02, resources={CPU: 1}, pid=27558, actual memory \
used=1.72GB, worker ID=9e01)
]
"""


def told(error, *, actor_id, monkeypatch):
    """What Tune's own handling gets to see of an error of the actor's task."""
    seen = []
    monkeypatch.setattr(
        RayActorManager, "_actor_task_failed", lambda _, task, exception: seen.append(exception)
    )
    actor = SimpleNamespace(_actor_id=SimpleNamespace(hex=lambda: actor_id))
    manager = SimpleNamespace(_live_actors_to_ray_actors_resources={"tracked": (actor, None)})
    task = SimpleNamespace(_tracked_actor="tracked")
    with outlived_memory_kills():
        RayActorManager._actor_task_failed(manager, task, error)
    return seen[0]


@pytest.mark.parametrize("actor_id", ["a6b2", "unknown"])
def test_a_worker_killed_for_memory_has_died_for_tune_and_the_message_is_kept(
    monkeypatch, actor_id
):
    error = told(OutOfMemoryError(MESSAGE), actor_id=actor_id, monkeypatch=monkeypatch)

    assert isinstance(error, RayActorError)
    assert str(error) == MESSAGE


def test_a_worker_killed_beside_one_that_took_more_memory_has_only_died(monkeypatch):
    error = told(OutOfMemoryError(MESSAGE), actor_id="d8cd", monkeypatch=monkeypatch)

    assert str(error).startswith("The actor was killed for memory of which another took more")


def test_other_errors_reach_tune_as_they_are(monkeypatch):
    error = ValueError("patch_len")

    assert told(error, actor_id="a6b2", monkeypatch=monkeypatch) is error


def test_afterwards_tune_is_as_it_was():
    before = RayActorManager._actor_task_failed

    with outlived_memory_kills():
        assert RayActorManager._actor_task_failed is not before

    assert RayActorManager._actor_task_failed is before


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        pytest.param(
            MESSAGE.splitlines()[0],
            "Memory on the node (IP: 10.0.0.2, ID: a619) "
            "was 3.40GB used / 23.54GB limit (0.144531)",
            id="killed for memory",
        ),
        pytest.param("The actor died unexpectedly.", None, id="died"),
    ],
)
def test_the_shortage_is_what_ray_says_of_the_node(line, expected):
    assert shortage(line) == expected
