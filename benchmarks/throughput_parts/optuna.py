"""Way c: plain Optuna in several processes, with stage1's training and data path."""

from __future__ import annotations

import time

import optuna
import torch
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from stage1.config import with_values
from stage1.data.batches import MarketWindows
from stage1.data.load import load_bars
from stage1.language_models.resolver import resolve
from stage1.training.fit import EpochRow, fit
from throughput_parts.results import LEARNING_RATES, Job, Trial, write_trial
from throughput_parts.trials import LEARNING_RATE, in_processes, planned_trials, read_study

NAME = "throughput"


def run(job: Job) -> None:
    """Every process takes its share of the trials that wait in the journal."""
    torch.set_num_threads(1)  # before the first arithmetic: a pool of threads would not be forked
    study = read_study(job.folder)
    planned = planned_trials(study)
    windows = MarketWindows(
        load_bars(job.folder / "bars", study.config.data.timeframes), study.config.data
    )
    language_model = resolve(study.config.transfer_learning.lm_name_or_path)
    created = optuna.create_study(study_name=NAME, storage=_storage(job), direction="minimize")
    for trial in planned:
        created.enqueue_trial({"lr": trial.lr, "seed": trial.seed})
    (arm,) = study.space.arms

    def objective(trial: optuna.Trial) -> float:
        lr = trial.suggest_float("lr", *LEARNING_RATES, log=True)
        seed = trial.suggest_int("seed", 0, 1000)
        values = {LEARNING_RATE: lr, "training.seed": seed}
        config = with_values(study.arm_configs[arm], values)
        rows: list[EpochRow] = []
        first_step = 0.0

        def report(row: EpochRow) -> None:
            """Tell Optuna every epoch, as its pruners want it."""
            nonlocal first_step
            if row["epoch"] == 0:
                first_step = time.time()
            rows.append(row)
            trial.report(row["val_loss"], row["epoch"])

        started = time.time()
        fit(config, windows, language_model, report=report, block_epochs=study.block_epochs)
        last = rows[-1]
        ended = Trial(
            lr=lr,
            seed=seed,
            started=started,
            first_step=first_step,
            ended=time.time(),
            val_loss=float(last["val_loss"]),
            steps=last["steps"],
            windows=last["steps"] * config.training.windows_per_step,
            parameters=last["parameters"],
        )
        write_trial(job.result, ended)
        return ended.val_loss

    def work(index: int) -> None:
        shared = optuna.load_study(study_name=NAME, storage=_storage(job))
        shared.optimize(objective, n_trials=len(planned[index :: job.workers]))

    in_processes(work, job.workers)


def _storage(job: Job) -> JournalStorage:
    return JournalStorage(JournalFileBackend(str(job.scratch / "journal.log")))
