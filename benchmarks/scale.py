"""What a trial costs the process that runs the study, from the first trials to the last.

    python benchmarks/scale.py [--trials 2000] [--sampler tpe]

Trials whose training does nothing go through the whole engine: Ray, sampler, halving, tables. The
processor time of the driver, and the time on the clock, are noted at the end of each.
"""

from __future__ import annotations

import io
import tempfile
import time
from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np
import pandas as pd
import typer
from made_up_study import SPACE, begin, run_made_up
from rich.console import Console

from stage1.run.folder import RunFolder
from stage1.study.engine import StudyEngine
from stage1.study.study import load_study
from stage1.workers import launch
from stage1.workers.cluster import ray_cluster

BASE = "transfer_learning: {lm_name_or_path: english-t5-nano}\n"
HUNDRED = 100


class TimedEngine(StudyEngine):
    """Notes the clocks at the end of every trial."""

    times: ClassVar[list[tuple[float, float]]] = []

    def _end(self, *arguments, **options):
        super()._end(*arguments, **options)
        self.times.append((time.perf_counter(), time.process_time()))


def study_of(folder: Path, trials: int, sampler: str):
    (folder / "base.yaml").write_text(BASE)
    space = folder / "space.yaml"
    space.write_text(SPACE.replace("sampler: tpe", f"sampler: {sampler}"))
    return load_study(space, trials=trials)


def main(
    trials: Annotated[int, typer.Option(help="Of the search.")] = 2000,
    sampler: Annotated[str, typer.Option(help="tpe or random.")] = "tpe",
    workers: Annotated[int, typer.Option(help="At once.")] = 2,
) -> None:
    launch.StudyEngine = TimedEngine
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        study, run = study_of(folder, trials, sampler), RunFolder(folder / "run")
        options = {"workers": workers, "address": None, "storage": None}
        with ray_cluster(study.space.resources, **options) as cluster:
            begin(run, study)
            run_made_up(study, run, cluster, console=Console(file=io.StringIO()))
        table = pd.read_parquet(run.trials)
        assert table["trial_id"].is_unique
    report(np.array(TimedEngine.times), sampler)


def report(times: np.ndarray, sampler: str) -> None:
    """Print seconds per trial by hundreds: on the clock and of the driver's processor."""
    steps = np.diff(times, axis=0)[5:]  # the first trials wait for the workers
    parts = [steps[start : start + HUNDRED] for start in range(0, len(steps), HUNDRED)]
    means = np.array([part.mean(axis=0) for part in parts if len(part) == HUNDRED])
    print(f"{len(times)} trials, sampler {sampler}")
    print("| trials | seconds per trial | driver's processor, seconds per trial |\n|---|---|---|")
    for index in sorted({0, 1, len(means) // 2, len(means) - 2, len(means) - 1}):
        wall, processor = means[index]
        print(f"| {index * HUNDRED}-{(index + 1) * HUNDRED} | {wall:.4f} | {processor:.4f} |")
    wall, processor = means[-1] / means[0]
    print(f"last hundred / first hundred: clock {wall:.2f}, processor {processor:.2f}")


if __name__ == "__main__":
    typer.run(main)
