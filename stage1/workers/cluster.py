"""Ray on this machine alone, or a cluster that is checked before it is used."""

from __future__ import annotations

import logging
import math
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from ipaddress import ip_address
from pathlib import Path
from threading import Event, Thread
from typing import Any, NamedTuple
from uuid import uuid4

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from stage1.base.errors import EXIT_USER_ERROR, TrialError
from stage1.base.files import remove_scratch_folders, scratch_folder
from stage1.base.interrupt import Interrupt, keep_sigterm_handler, leave
from stage1.base.machine import total_mb, usable_cores
from stage1.base.text import brief, one_line
from stage1.study.space import Resources
from stage1.workers.ray_internals import (
    LONGEST_SOCKET_PATH,
    RAY_SESSION,
    closed_to_others,
    ended_process,
    environment,
    fault_in_logs,
    use_token_of_environment,
)
from stage1.workers.states import TrialStates, check_place

RAY_MB = 900
"""Memory of the command itself and of Ray's own processes, pages that they share counted once."""
_SMALLEST_WORKER_MB = 700
"""Of the bundled study's trials, most of it libraries; no trial takes less."""


def wanted_workers(resources: Resources, workers: int | None) -> int:
    """Trials at once: as many as were asked for, else as cores and memory are there for.

    At least 1, even where one trial asks for more cores than there are.
    """
    fit = min(usable_cores() / resources.cpus, (total_mb() - RAY_MB) / _SMALLEST_WORKER_MB)
    return workers or max(int(fit), 1)


_MALLOC = {
    # Each trial runs in a thread of its own; glibc gives every new thread an arena and keeps it.
    "MALLOC_ARENA_MAX": "1",
    # Memory that every step frees and wants again is kept, where the system would clear it anew.
    "MALLOC_MMAP_THRESHOLD_": str(2**25),
    "MALLOC_TRIM_THRESHOLD_": str(2**30),
    "MALLOC_TOP_PAD_": str(2**26),
}
RAY_SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # stage1.base.interrupt handles Ctrl-C
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # the run folder has its own tables
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",  # the row of the trial says it in one line
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",  # the run folder is the state, Tune's snapshot is not read
    "RAY_worker_niceness": "0",  # trials are what the machine is for; Ray's own default is 15
    # Wait for a stopped trial: if Tune gave it up, it would forget the trial that comes next.
    "TUNE_FUNCTION_THREAD_TIMEOUT_S": "600",
    **_MALLOC,
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
"""Environment of Ray, before it starts."""
_OF_WORKERS = {"MPLBACKEND": "agg"}  # a notebook's own is perhaps not installed where they run
"""Environment of the workers alone."""


class Cluster(NamedTuple):
    """A running Ray."""

    workers: int
    """Trials at once."""
    storage: str | None
    """Folder or URI that all nodes reach; None = the run folder."""


@contextmanager
def ray_cluster(
    resources: Resources, *, workers: int | None, address: str | None, storage: str | None
) -> Iterator[Cluster]:
    """Start Ray on this machine, or connect to a cluster, for as long as the block lasts.

    Args:
        resources: Of one trial.
        workers: Trials at once; None = as many as fit. On a cluster it may be more than fit now:
            where nodes are added as trials wait for them, that is how many it grows to.
        address: Of an existing cluster; None = this machine alone, on its loopback.
        storage: Folder or URI that all nodes reach; None = the run folder.

    Raises:
        ConfigError: The storage cannot be one.
        TrialError: No cluster at the address, or not even one trial fits, or its nodes do not all
            reach the storage.
        KeyboardInterrupt: Ctrl-C while Ray started; SystemExit for SIGTERM.
    """
    if storage is not None:
        check_place(storage)
    if ray.is_initialized():  # by a notebook, before `stage1.run_study`
        raise TrialError(
            "Ray must not run in this process yet, got one that does; call ray.shutdown() first"
        )
    os.environ.update(RAY_SETTINGS)
    with ExitStack() as stack:
        with Interrupt():  # Ctrl-C may vanish in what Ray does
            if address is None:
                stack.enter_context(_local_ray(wanted_workers(resources, workers), resources))
                cluster = Cluster(min(workers or sys.maxsize, _fitting(resources)), storage)
            else:
                stack.enter_context(_existing_ray(address))
                cluster = Cluster(workers or _fitting(resources), storage)
                if storage is None:
                    _check_single_node()
                else:
                    check_every_node(storage)
        yield cluster


@contextmanager
def _local_ray(workers: int, resources: Resources) -> Iterator[None]:
    """Start a Ray that nobody outside the machine reaches.

    Its files go to a scratch folder: in Ray's usual place sessions would pile up, and one that was
    left behind would be taken for a running cluster. Ray opens the folder it is given to everyone,
    so it is given one inside.
    """
    inside = "r"
    longest = LONGEST_SOCKET_PATH - len(f"/{inside}/{RAY_SESSION.format(pid=os.getpid())}")
    with (
        scratch_folder(longest=longest) as folder,
        scratch_folder() as temporary,
        closed_to_others(str(temporary)),
    ):
        _start(
            "Ray must start on this machine, got",
            advice="see that processes may be started, and that /dev/shm and TMPDIR have room",
            address="local",
            num_cpus=math.ceil(workers * resources.cpus),
            include_dashboard=False,
            _temp_dir=str(folder / inside),
        )
        try:
            with _ending_with_ray():  # not in the shutdown, which ends Ray on purpose
                yield
        finally:
            ray.shutdown()


@contextmanager
def _ending_with_ray() -> Iterator[None]:
    """End this process with one line, its temporary folders removed, where its own Ray has died.

    Ray itself waits, writes dozens of lines and then ends the process with another status. Nothing
    but Ray's own calls could be interrupted in the main thread; what is on disk is whole any time.
    """
    is_over = Event()

    def watch() -> None:
        while not is_over.wait(0.2):
            if name := ended_process():
                remove_scratch_folders()
                leave(
                    f"error: Ray must go on running, and its {name} was ended from outside; go on "
                    "with the same command and --resume",
                    EXIT_USER_ERROR,
                )

    watcher = Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        is_over.set()
        watcher.join()


@contextmanager
def _existing_ray(address: str) -> Iterator[None]:
    _check_reachable(address)
    use_token_of_environment()
    _check_authentication(address)
    name = "TUNE_FUNCTION_THREAD_TIMEOUT_S"
    _start(
        f"--address must be a running Ray cluster, got {address};",
        address=address,
        runtime_env={"env_vars": _MALLOC | _OF_WORKERS | {name: RAY_SETTINGS[name]}},
    )
    try:
        yield
    finally:
        ray.shutdown()


def _start(rule: str, *, advice: str = "", **options: Any) -> None:
    try:
        # Ray's own handler would end the process with another status.
        with keep_sigterm_handler(), environment(_OF_WORKERS):
            ray.init(log_to_driver=False, logging_level=logging.ERROR, **options)
    except Exception as error:  # Ray raises the bare class too
        logged = fault_in_logs(Path(options["_temp_dir"])) if "_temp_dir" in options else None
        reason = brief(logged or one_line(str(error)))
        raise TrialError("; ".join(filter(None, (f"{rule} {reason}", advice)))) from None


def _check_authentication(address: str) -> None:
    """A cluster that others can reach runs any code it is sent: it has to ask for a token."""
    host = address.removeprefix("ray://").rpartition(":")[0].strip("[]")
    if _is_loopback(host) or os.environ.get("RAY_AUTH_MODE", "").lower() == "token":
        return
    raise TrialError(
        f"--address must be on this machine or ask for a token, got {address} without one; start "
        "the cluster's nodes and this command with RAY_AUTH_MODE=token and the same RAY_AUTH_TOKEN "
        "(`ray get-auth-token --generate` makes one)"
    )


def _is_loopback(host: str) -> bool:
    if host in ("", "auto", "local", "localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _check_reachable(address: str) -> None:
    """Ray itself goes on trying for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not (host and port.isdigit()):
        return
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except (OSError, OverflowError) as error:
        raise TrialError(
            f"--address must be a running Ray cluster, got {address}; {error}"
        ) from None


def _fitting(resources: Resources) -> int:
    """Trials at once; none spans two nodes or two GPUs."""
    nodes = [node["Resources"] for node in _nodes()]
    fitting = sum(trials_on(resources, node.get("CPU", 0), node.get("GPU", 0)) for node in nodes)
    if not fitting:
        cpus, gpus = (max(node.get(name, 0) for node in nodes) for name in ("CPU", "GPU"))
        raise TrialError(
            f"resources must fit: a trial needs {resources.cpus:g} CPUs and {resources.gpus:g} "
            f"GPUs, got {cpus:g} and {gpus:g} here; lower resources in the search space"
        )
    return fitting


def trials_on(resources: Resources, cpus: float, gpus: float) -> int:
    """Trials that a machine of so many CPUs and GPUs holds at once."""
    fitting = int(cpus / resources.cpus + 1e-9)
    return min(fitting, int(gpus) * resources.per_gpu) if resources.gpus else fitting


def _nodes() -> list[dict[str, Any]]:
    return [node for node in ray.nodes() if node["Alive"]]


def _check_single_node() -> None:
    """Without a storage states lie in the run folder, which other machines do not have."""
    count = len(_nodes())
    if count > 1:
        raise TrialError(
            f"--storage must be given on a cluster of several nodes, got none with {count} nodes; "
            "name a folder that all of them mount, or s3://bucket/prefix"
        )


def check_every_node(storage: str) -> None:
    """Have every node read what this process has written there.

    Raises:
        TrialError: A node cannot; names it.
    """
    probe, name = TrialStates(f"{storage.rstrip('/')}/.probe-{uuid4().hex}"), "probe"
    try:
        probe.save(name, lambda path: path.write_text(name))
        for node in [one["NodeID"] for one in _nodes()]:
            place = NodeAffinitySchedulingStrategy(node, soft=False)
            task = ray.remote(num_cpus=0, max_retries=0)(TrialStates.trial_ids)
            seen: list[str] = ray.get(task.options(scheduling_strategy=place).remote(probe))
            if seen != [name]:
                raise TrialError(
                    f"--storage must be reached by every node, got {storage}, which node {node} "
                    "sees without what was just written there; mount it on all of them"
                )
    except (OSError, RayError) as error:
        raise TrialError(
            f"--storage must be writable here and readable on every node, got {storage}; "
            f"{one_line(str(error))}"
        ) from None
    finally:
        with suppress(OSError):
            probe.clear()
