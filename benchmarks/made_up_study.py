"""A whole study on Ray in seconds: everything is real but the training, which makes its epochs up.

    python benchmarks/made_up_study.py SPACE.yaml RUN [--resume] --address ADDRESS [--workers 1]

The training keeps a state after some epochs, as the real one does, and goes on from it. Each epoch
that it works out is noted in a file of RUN.work/, so that tests see what was done twice; a second
file names the node of each attempt, as the environment variable MADE_UP_NODE there calls it. Each
look of a design that grows is a line of RUN.looks: its configurations, and the trials on disk.
"""

from __future__ import annotations

import json
import math
import os
import signal
import sys
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import ray
from ray import tune
from rich.console import Console

from stage1.base.terminal import run_command
from stage1.claims.catalogue import REGISTERED
from stage1.run.folder import RunFolder
from stage1.run.tables import load_table
from stage1.study.inputs import StudyInputs
from stage1.study.resume import as_begun, begin_run, check_same_study, extended
from stage1.study.study import Study, load_study
from stage1.study.trials import Judge, LookResult
from stage1.workers import launch
from stage1.workers.cluster import RAY_SETTINGS, Cluster
from stage1.workers.trainable import REPORT, EpochReport

DATA = {"data_dir": None, "fingerprint": "d" * 64}
SPACE = """\
name: tiny
base: base.yaml
objective: {metric: val_correlation, mode: max}
horizon_epochs: 4
arms:
  pretrained: {transfer_learning.initialization: pretrained}
  random: {transfer_learning.initialization: random}
space:
  training.optimizer.lr: {type: float, low: 1.0e-4, high: 1.0e-1, log: true}
  transfer_learning.freeze_lm_epochs: {type: int, low: 0, high: 3}
  transfer_learning.patch_len: {type: choice, options: [4, 8, 16]}
design: {configurations: 2, seeds: 1}
search: {trials: 8, sampler: tpe, scheduler: {asha: {grace_epochs: 1, reduction_factor: 2}}}
"""


def made_up_epoch(config: dict, epoch: int) -> dict:
    """A row that depends on the configuration and the epoch alone."""
    lr, seed = config["training"]["optimizer"]["lr"], config["training"]["seed"]
    arm = config["transfer_learning"]["initialization"]
    distance = abs(math.log10(lr) + 2.5) + 0.05 * (arm == "random") + 0.01 * math.sin(7 * seed)
    correlation = math.exp(-distance) * (1 - math.exp(-(epoch + 1) / 3))
    return {
        "epoch": epoch,
        "val_loss": 1 - correlation,
        "val_correlation": correlation,
        "val_skill": correlation - 0.5,
        "train_loss": math.nan if epoch == 0 else 1 - correlation,
        "seconds": 2.0 * epoch,
        "steps": 30 * epoch,
    }


def train_trial(tune_config, *, shared, states, gpus, warm_up, metrics):
    """Take the place of `stage1.workers.trainable.train_trial`."""
    trial_id, config = tune_config["trial_id"], tune_config["config"].model_dump(mode="json")
    work = Path(shared["work"]) / trial_id
    state = work.with_suffix(f".{os.getpid()}.state")
    rows = json.loads(state.read_text()) if states.fetch(trial_id, state) else []
    state.unlink(missing_ok=True)
    for row in rows:
        tune.report({REPORT: EpochReport(row)})
    with work.with_suffix(".nodes").open("a") as nodes:
        nodes.write(os.environ.get("MADE_UP_NODE", "unnamed") + "\n")
    if trial_id == shared["deadly"]:
        os.kill(os.getpid(), signal.SIGKILL)
    if trial_id == shared["hungry"] and tune_config["parts"] <= shared["hungry_parts"]:
        take_memory()
    for epoch in range(len(rows), config["training"]["epochs"] + 1):
        time.sleep(shared["seconds_per_epoch"])
        with work.open("a") as done:
            done.write(f"{epoch}\n")
        made_up = made_up_epoch(config, epoch)
        rows.append(made_up | {"accumulation": tune_config["parts"]})
        is_last = epoch == config["training"]["epochs"]
        if not is_last:
            tune.report({REPORT: EpochReport(rows[-1])})
        if epoch > 0 and (is_last or epoch % shared["epochs_per_state"] == 0):
            states.save(trial_id, lambda path: path.write_text(json.dumps(rows)))
    tune.report({REPORT: EpochReport(rows[-1])})


def take_memory(most: int = 60) -> None:
    """Take 100 MiB after 100 MiB until Ray kills the process, or `most` of them were taken."""
    taken = []
    for _ in range(most):
        taken.append(b"x" * (100 << 20))
        time.sleep(0.05)
    time.sleep(30)


def run(
    space: Path,
    folder: Path,
    address: str,
    resume: bool = False,
    workers: int = 1,
    seconds_per_epoch: float = 0.02,
    epochs_per_state: int = 1,
    trials: int | None = None,
    deadly: str = "",
    hungry: str = "",
    hungry_parts: int = 1,
    storage: str | None = None,
    decides_at: int = 16,
    gain: bool = False,
    extend: bool = False,
    retry_failed: bool = False,
) -> None:
    """Run the study in a Ray that runs already.

    Claim 1 is decided from `decides_at` configurations on, with a `gain` or without.
    """
    study, run = load_study(space, trials=trials), RunFolder(folder)
    result = partial(made_up_look, decides_at=decides_at, gain=gain)
    if resume or extend:
        check_same_study(run, study, data=DATA)
        study = as_begun(run, study)
        study = extended(run, study, result) if extend else study
    else:
        begin(run, study)
    ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    finished = run_made_up(
        study,
        run,
        Cluster(workers, storage),
        seconds_per_epoch=seconds_per_epoch,
        epochs_per_state=epochs_per_state,
        deadly=deadly,
        hungry=hungry,
        hungry_parts=hungry_parts,
        retry_failed=retry_failed,
        console=Console(),
        judge=partial(note_look, run, result),
    )
    sys.exit(0 if finished else 3)


def made_up_look(look: int, *, decides_at: int, gain: bool) -> LookResult:
    """What the claims at a look mean."""
    return LookResult(decided=look >= decides_at, asks_for_control=gain)


def note_look(run: RunFolder, judge: Judge, look: int) -> LookResult:
    """Judge, and note that and how many trials were in the table by then."""
    with run.path.with_suffix(".looks").open("a") as looks:
        looks.write(f"{look} {load_table(run.trials).num_rows}\n")
    return judge(look)


def begin(run: RunFolder, study: Study) -> None:
    """Write what comes before the first trial, of data and models that do not exist."""
    weights = {"w": SimpleNamespace(numel=lambda: 1)}
    model = SimpleNamespace(name="english-t5-nano", sha256="a" * 64, weights=weights)
    begin_run(run, study, data=DATA, models=[model], claims=REGISTERED, training_windows=1)


def run_made_up(
    study,
    run,
    cluster,
    *,
    console,
    judge=None,
    seconds_per_epoch=0.0,
    epochs_per_state=1,
    deadly="",
    hungry="",
    hungry_parts=1,
    retry_failed=False,
):
    """`run_study` with made-up trainings.

    Those of the trial `deadly` kill their process; those of `hungry` take memory until they are
    killed, as long as their batches are in no more than `hungry_parts` parts.
    """
    work = run.path.with_suffix(".work")
    work.mkdir(exist_ok=True)
    shared = {
        "work": str(work),
        "seconds_per_epoch": seconds_per_epoch,
        "epochs_per_state": epochs_per_state,
        "deadly": deadly,
        "hungry": hungry,
        "hungry_parts": hungry_parts,
    }
    launch.train_trial = train_trial
    launch.share_inputs = lambda *_: shared
    launch.record_cost = lambda *_, **__: None
    inputs = StudyInputs(study, bars={}, windows=None, language_models=[])
    options = {"cluster": cluster, "console": console, "judge": judge}
    return launch.run_study(inputs, run, **options, retry_failed=retry_failed)


if __name__ == "__main__":
    os.environ.update(RAY_SETTINGS)
    run_command(run)
