"""Three hundred short trials while workers and the driver are killed, and what is left at the end.

    python benchmarks/soak.py [--trials 300] [--worker-kills-every 8] [--driver-kills 5]

A real study on the bundled sample, by `python -m stage1.tune`. Every few seconds a random worker is
killed with SIGKILL; five times, at random moments, the process that runs the study is, and then the
study is resumed. Prints what became of the trials, and what was left behind or grew.
"""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import pandas as pd
import psutil
import pyarrow.parquet as pq
import typer
import yaml

ROOT = Path(__file__).parents[1]
ARMS = ("pretrained", "random")
SPACE = """\
name: soak
base: base.yaml
objective: {metric: val_correlation, mode: max}
horizon_epochs: 2
arms:
  pretrained: {transfer_learning.initialization: pretrained}
  random: {transfer_learning.initialization: random}
space:
  training.optimizer.lr: {type: float, low: 1.0e-3, high: 1.0e-2, log: true}
search: {trials: 20}
"""


class Study:
    """The study's process, begun and begun again."""

    def __init__(self, folder: Path, trials: int) -> None:
        base = {
            "extends": str(ROOT / "configs" / "sample.yaml"),
            "data": {"validation_windows": 64},
            "training": {"steps_per_epoch": 10},
        }
        (folder / "base.yaml").write_text(yaml.safe_dump(base))
        # A design of 2^k configurations, in seeds enough for the trials.
        configurations = 8
        seeds = -(-(trials - 20) // (configurations * len(ARMS)))
        design = f"design: {{configurations: {configurations}, seeds: {seeds}}}\n"
        (folder / "space.yaml").write_text(SPACE + design)
        self.folder, self.run = folder, folder / "runs" / "soak"
        self.log = folder / "log"

    def start(self) -> None:
        command = [sys.executable, "-m", "stage1.tune", str(self.folder / "space.yaml")]
        command += ["--out", str(self.folder / "runs"), "--workers", "2"]
        if (self.run / "prereg.yaml").exists():
            command.append("--resume")
        with self.log.open("a") as log:
            self.process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)

    def family(self) -> list[psutil.Process]:
        try:
            driver = psutil.Process(self.process.pid)
            return [driver, *driver.children(recursive=True)]
        except psutil.Error:
            return []

    def workers(self) -> list[psutil.Process]:
        return [process for process in self.family() if "ray::ImplicitFunc" in title(process)]

    def rows(self) -> int:
        """Trials in the table, which has to be readable at any moment."""
        table = self.run / "trials.parquet"
        if not table.exists():
            return 0
        with pq.ParquetFile(table) as stored:  # pandas would open it twice
            return int(stored.metadata.num_rows)


def title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def main(
    trials: Annotated[int, typer.Option(help="Of the study, about.")] = 300,
    worker_kills_every: Annotated[float, typer.Option(help="Seconds, on average.")] = 8.0,
    driver_kills: Annotated[int, typer.Option(help="Of the process of the study.")] = 5,
    seed: Annotated[int, typer.Option(help="Of the moments.")] = 0,
) -> None:
    chance = random.Random(seed)
    before = lying_about()
    with tempfile.TemporaryDirectory(prefix="soak-") as scratch:
        study = Study(Path(scratch), trials)
        began = time.monotonic()
        moments = sorted(chance.uniform(0.05, 0.95) * trials for _ in range(driver_kills))
        counts = {"workers": 0, "drivers": 0, "outlived the driver by 15 s": 0}
        memory: list[tuple[int, float]] = []
        study.start()
        next_kill = time.monotonic() + chance.expovariate(1 / worker_kills_every)
        while study.process.poll() is None:
            time.sleep(0.5)
            rows = study.rows()
            if rows < trials:  # the report that follows takes its own
                memory += [(rows, mebibytes) for mebibytes in driver_memory(study)]
            if moments and rows >= moments[0]:
                moments.pop(0)
                counts["drivers"] += 1
                counts["outlived the driver by 15 s"] += kill_driver(study)
                study.start()
            elif time.monotonic() >= next_kill:
                next_kill = time.monotonic() + chance.expovariate(1 / worker_kills_every)
                if workers := study.workers():
                    counts["workers"] += 1
                    chance.choice(workers).kill()
        report(study, counts, memory, seconds=time.monotonic() - began)
        left = sorted(path.name for path in study.run.iterdir())
        print(f"run folder: {', '.join(left)}")
        if study.process.returncode:
            shutil.copy(study.log, "soak.log")
            print(f"ended with status {study.process.returncode}; see soak.log")
    time.sleep(5)
    print(f"left on the machine: {lying_about() - before or 'nothing'}")


def kill_driver(study: Study) -> int:
    """Kill the process of the study; gives how many of its children are there 15 s later."""
    family = study.family()
    study.process.kill()
    study.process.wait()
    _, alive = psutil.wait_procs(family[1:], timeout=15)
    return len(alive)


def driver_memory(study: Study) -> Iterator[float]:
    try:
        yield psutil.Process(study.process.pid).memory_info().rss / 2**20
    except psutil.Error:
        return


def lying_about() -> set[str]:
    """Processes of Ray, files of its object store and temporary folders of studies."""
    processes = {
        f"process {process.info['name']}"
        for process in psutil.process_iter(["name"])
        if any(word in (process.info["name"] or "") for word in ("raylet", "gcs_server", "ray::"))
    }
    files = {
        f"file {path}"
        for folder, pattern in (("/dev/shm", "plasma*"), (tempfile.gettempdir(), "s1-*"))
        for path in Path(folder).glob(pattern)
    }
    return processes | files


def report(study: Study, counts: dict[str, int], memory: list, *, seconds: float) -> None:
    trials = pd.read_parquet(study.run / "trials.parquet")
    curves = pd.read_parquet(study.run / "curves.parquet")
    epochs = curves.groupby("trial_id")["epoch"].agg(list)
    whole = all(epochs[row.trial_id] == list(range(row.epochs + 1)) for row in trials.itertuples())
    print(f"{len(trials)} trials in {seconds:.0f} s; killed: {counts}")
    print(f"duplicates: {int(trials['trial_id'].duplicated().sum())}; every curve whole: {whole}")
    print(f"states: {trials['status'].value_counts().to_dict()}")
    for error, count in trials["error"].value_counts().items():
        print(f"  {count} x {error}")
    late = [mebibytes for rows, mebibytes in memory if rows > 0.9 * len(trials)]
    early = [mebibytes for rows, mebibytes in memory if 0 < rows <= 0.2 * len(trials)]
    if early and late:
        print(f"driver's memory, MiB: {max(early):.0f} in the first fifth of the trials, ", end="")
        print(f"{max(late):.0f} in the last tenth")


if __name__ == "__main__":
    typer.run(main)
