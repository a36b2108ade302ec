"""The trials of the space: the same ones whichever way runs them."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from stage1.config import Config
from stage1.study.study import Study, load_study, trial_config

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
    (arm,) = study.space.arms
    return [
        Planned(
            float(values[LEARNING_RATE]),
            seed,
            trial_config(study, arm=arm, values=values, seed=seed),
        )
        for values in study.points
        for seed in study.design_seeds
    ]
