"""What Ray does where a node's memory ends: it kills workers, and Tune is told so as of deaths."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ray.air.execution._internal import RayActorManager
from ray.exceptions import OutOfMemoryError, RayActorError

_KILLED = re.compile(r"Selected to kill: \(Actor\((\w+)\).*actual memory used=([\d.]+)GB")
_SHORT_OF_MEMORY = "the node running low on memory. "
"""As Ray says it, before the node and its memory."""


@contextmanager
def outlived_memory_kills() -> Iterator[None]:
    """Have Tune take a process that was killed for memory as one that died.

    Tune 2.60 knows the errors of a process that died and of a training that raised. The error of a
    process that was killed for memory is neither, and would end the whole study.
    """
    handle = RayActorManager._actor_task_failed

    def handle_all(self: Any, tracked_actor_task: Any, exception: Exception) -> None:
        if isinstance(exception, OutOfMemoryError):
            live = self._live_actors_to_ray_actors_resources
            actor, *_ = live.get(tracked_actor_task._tracked_actor, (None,))
            actor_id = actor._actor_id.hex() if actor else ""
            exception = RayActorError(error_msg=_told(str(exception), actor_id))
        handle(self, tracked_actor_task, exception)

    RayActorManager._actor_task_failed = handle_all  # type: ignore[method-assign]
    try:
        yield
    finally:
        RayActorManager._actor_task_failed = handle  # type: ignore[method-assign]


def _told(message: str, actor_id: str) -> str:
    """Ray's message, or that of a death where another of the killed processes took more memory.

    Ray kills the youngest first and as many as it needs, whoever it was that took the memory.
    """
    taken = {actor: float(memory) for actor, memory in _KILLED.findall(message)}
    if actor_id in taken and taken[actor_id] < max(taken.values()):
        return "The actor was killed for memory of which another took more."
    return message


def shortage(line: str) -> str | None:
    """What Ray says of the node's memory, if the line tells that a process was killed for it."""
    return line.partition(_SHORT_OF_MEMORY)[2] or None
