"""Ray itself: started on this machine's loopback, or an existing cluster, checked before use."""

from __future__ import annotations

import math
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import ray

from stage1.errors import TrialError
from stage1.search.space import Resources
from stage1.search.workers import wanted_workers

RAY_SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C is ours: it ends the study at once, saved
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # the run folder has its own tables
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",  # the run folder is the state, Tune's snapshot is not read
    "RAY_worker_niceness": "0",  # trials are what the machine is for; Ray's own default is 15
    # Each trial runs in a thread of its own; glibc gives every new thread an arena and keeps it.
    "MALLOC_ARENA_MAX": "1",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
"""Environment of Ray, before it starts."""


class Cluster(NamedTuple):
    """A running Ray."""

    workers: int
    """Trials at once."""
    storage: str | None
    """Folder or URI that all nodes reach; None = a temporary folder of this machine."""


@contextmanager
def ray_cluster(
    resources: Resources, *, workers: int | None, address: str | None, storage: str | None
) -> Iterator[Cluster]:
    """Start Ray on this machine, or connect to a cluster, for as long as the block lasts.

    Args:
        resources: Of one trial.
        workers: Trials at once; None = as many as fit.
        address: Of an existing cluster; None = this machine alone, on its loopback.
        storage: Folder or URI that all nodes reach; None = a temporary one.

    Raises:
        TrialError: No cluster at the address, or not even one trial fits.
    """
    os.environ.update(RAY_SETTINGS)
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if address is None:
        wanted = wanted_workers(resources, workers)
        options |= {
            "address": "local",
            "num_cpus": math.ceil(wanted * resources.cpus),
            "include_dashboard": False,
        }
    else:
        _check_reachable(address)
        options |= {"address": address}
    try:
        ray.init(**options)
    except (ConnectionError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        place = (
            f"--address must be a running Ray cluster, got {address}"
            if address
            else ("Ray must start on this machine")
        )
        raise TrialError(f"{place}; {reason}") from None
    try:
        yield Cluster(min(workers or sys.maxsize, _fitting(resources)), storage)
    finally:
        ray.shutdown()


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
    have = ray.cluster_resources()
    cpus, gpus = have.get("CPU", 0.0), have.get("GPU", 0.0)
    fitting = cpus / resources.cpus
    if resources.gpus:
        fitting = min(fitting, gpus / resources.gpus)
    if fitting < 1:
        raise TrialError(
            f"resources must fit: a trial needs {resources.cpus:g} CPUs and {resources.gpus:g} "
            f"GPUs, got {cpus:g} and {gpus:g} here; lower resources in the search space"
        )
    return int(fitting)
