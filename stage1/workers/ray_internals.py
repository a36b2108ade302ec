"""The private parts of Ray that this package relies on, all of them, and why.

Ray promises nothing about them, so `pyproject.toml` keeps Ray below its next minor version;
`tests/workers/test_ray_internals.py` says what to look at before that is raised.
"""

from __future__ import annotations

import os
import re
import secrets
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ray._private import ray_constants, worker
from ray._private.authentication.authentication_token_setup import (
    maybe_enable_token_auth_if_token_available,
)
from ray._raylet import AuthenticationTokenLoader, Config  # type: ignore[attr-defined]
from ray.air.execution._internal import RayActorManager
from ray.exceptions import OutOfMemoryError, RayActorError
from ray.tune.experiment import Trial

# Doors --------------------------------------------------------------------------------------------

RAY_SESSION = "session_2026-11-30_23-59-59_123456_{pid}/sockets/plasma_store"
"""The longest path in the folder that Ray is given, of a socket; `pid` is its starter's."""
LONGEST_SOCKET_PATH = 103 if sys.platform == "darwin" else 107
"""Bytes that the system takes."""


@contextmanager
def closed_to_others(temporary_folder: str) -> Iterator[None]:
    """Have a Ray that starts in the block listen to this machine alone, and to its own processes.

    Otherwise its ports are open to the network, and its token is in a file of HOME that every user
    of the machine can read; the environment of a process is for its own user alone. Ray reads both
    when it is imported, so this process is told on its own. Temporary files of its processes, the
    workers' among them, go to the folder, so that they go with it, however a worker ends.

    What its processes report of each other, such as the last lines of one that was killed, is not
    printed: the study says in its own words what has happened.
    """
    enabled, listen = ray_constants.ENABLE_RAY_CLUSTER, worker.listen_error_messages
    own = {
        "TMPDIR": temporary_folder,
        ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR: "0",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
    }
    ray_constants.ENABLE_RAY_CLUSTER = False
    worker.listen_error_messages = lambda *_: None
    try:
        with environment(own):
            _read_token_again()
            yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER, worker.listen_error_messages = enabled, listen
        _read_token_again()


@contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """Have this process, and those that start in the block, find these in their environment."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


def _read_token_again() -> None:
    Config.initialize("")
    AuthenticationTokenLoader.instance().reset_cache()


def ended_process() -> str | None:
    """The name of a process without which a Ray that this one has started cannot go on."""
    node: Any = worker._global_node
    ended = [name for name, _ in node.dead_processes()] if node else []
    return next((name for name in ("gcs_server", "raylet") if name in ended), None)


_FAULT_IN_LOG = re.compile(
    r"^\[[\d :,-]+ [CEF] \d+ \d+\] (?:\(\w+\) )?\S+: +(?:An unexpected system.+ fix it\. )?(.+)",
    re.MULTILINE,
)


def fault_in_logs(folder: Path) -> str | None:
    """The last fault that Ray's own processes have logged below the folder that Ray was given.

    Why it has not started: what Ray raises says no more than that, or that it took too long.
    """
    faults = [
        fault
        for name in ("gcs_server", "raylet")
        for log in sorted(folder.glob(f"session_*/logs/{name}.*"))
        if not log.is_symlink()
        for fault in _FAULT_IN_LOG.findall(log.read_text(encoding="utf-8", errors="replace"))
    ]
    return faults[-1] if faults else None


def use_token_of_environment() -> None:
    """Authenticate with the token that the environment names.

    Ray reads the mode when it is imported, and does not look for a token where it is given an
    address.
    """
    maybe_enable_token_auth_if_token_available(warn_if_disabled=False)


# Memory -------------------------------------------------------------------------------------------

_KILLED = re.compile(r"Selected to kill: \(Actor\((\w+)\).*actual memory used=([\d.]+)GB")
_SHORT_OF_MEMORY = "the node running low on memory. "
"""As Ray says it, before the node and its memory."""


@contextmanager
def memory_kills_as_deaths() -> Iterator[None]:
    """Have Tune take a process that Ray killed for memory as one that died.

    Tune knows the errors of a process that died and of a training that raised. The error of a
    process that was killed for memory is neither, and would end the whole study: also where Tune
    asks for the first result of a process that was killed while it started.
    """
    original = RayActorManager._actor_task_failed
    original_result = Trial._get_default_result_or_future

    def handle_all(self: Any, tracked_actor_task: Any, exception: Exception) -> None:
        if isinstance(exception, OutOfMemoryError):
            live = self._live_actors_to_ray_actors_resources
            actor, *_ = live.get(tracked_actor_task._tracked_actor, (None,))
            actor_id = actor._actor_id.hex() if actor else ""
            exception = RayActorError(error_msg=_message_of_death(str(exception), actor_id))
        original(self, tracked_actor_task, exception)

    def result_or_none(self: Any) -> dict[str, Any] | None:
        try:
            return original_result(self)
        except OutOfMemoryError:
            self._default_result_or_future = None
            return None

    RayActorManager._actor_task_failed = handle_all  # type: ignore[method-assign]
    Trial._get_default_result_or_future = result_or_none  # type: ignore[method-assign]
    try:
        yield
    finally:
        RayActorManager._actor_task_failed = original  # type: ignore[method-assign]
        Trial._get_default_result_or_future = original_result  # type: ignore[method-assign]


def _message_of_death(message: str, actor_id: str) -> str:
    """Ray's message, or that of a death where another of the killed processes took more memory.

    Ray kills the youngest first and as many as it needs, whoever it was that took the memory.
    """
    taken = {actor: float(memory) for actor, memory in _KILLED.findall(message)}
    if actor_id in taken and taken[actor_id] < max(taken.values()):
        return "The actor was killed for memory of which another took more."
    return message


def memory_shortage(line: str) -> str | None:
    """What Ray says of the node's memory, if the line says that a process was killed for it."""
    return line.partition(_SHORT_OF_MEMORY)[2] or None
