"""How many trials run at once on one machine."""

from __future__ import annotations

import os

from stage1.search.space import Resources


def usable_cores() -> int:
    """Cores this process may run on, where the system tells; else all of the machine's."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def wanted_workers(resources: Resources, workers: int | None) -> int:
    """Trials at once by their CPUs: as many as were asked for, else as many as there are cores for.

    Args:
        resources: Of one trial.
        workers: As asked for; None = not.

    Returns:
        At least 1, even where a trial asks for more cores than there are.
    """
    return workers or max(int(usable_cores() / resources.cpus), 1)
