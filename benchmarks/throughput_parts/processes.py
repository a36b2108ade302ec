"""Processes that are made once and share what their parent has read: for the ways without Ray."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable


def in_processes(work: Callable[[int], None], workers: int) -> None:
    """Call `work` with 0, 1, ... in a process each; any failure is one of the whole.

    Forked, so that imports, bars and weights are there at once: no other way starts faster.
    """
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=work, args=(index,)) for index in range(workers)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    if any(process.exitcode for process in processes):
        raise SystemExit("a worker failed; see above")
