"""The trials, the same ones whichever way runs them, and processes for the ways without Ray."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from stage1.config import Config
from stage1.study.study import Study, load_study

LEARNING_RATE = "training.optimizer.lr"


class Planned(NamedTuple):
    """A trial of the design."""

    lr: float
    seed: int
    config: Config


def read_study(folder: Path) -> Study:
    """The checked space."""
    return load_study(folder / "space.yaml")


def planned_trials(study: Study) -> list[Planned]:
    """In the order in which the engine starts them."""
    return [
        Planned(float(spec.values[LEARNING_RATE]), spec.seed, study.trial_config(spec))
        for spec in study.design_specs()
    ]


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
