"""Way b: Ray Tune with Lightning as Ray's documentation shows it."""

from __future__ import annotations

import ray
from ray import tune
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search.optuna import OptunaSearch

from throughput_parts.plain import train
from throughput_parts.results import LEARNING_RATES, Job
from throughput_parts.trials import planned_trials, read_study


def run(job: Job) -> None:
    """OptunaSearch begins with the trials of the design; ASHA has no epoch at which to stop one."""
    study = read_study(job.folder)
    planned = planned_trials(study)
    points = [{"lr": trial.lr, "seed": trial.seed} for trial in planned]
    epochs = study.space.horizon_epochs
    ray.init(address="local", num_cpus=job.workers)
    trainable = tune.with_resources(tune.with_parameters(train, job=job), {"cpu": 1})
    tune.Tuner(
        trainable,
        param_space={
            "lr": tune.loguniform(*LEARNING_RATES),
            "seed": tune.randint(0, 1000),
            "epochs": epochs,
        },
        tune_config=tune.TuneConfig(
            metric="val_loss",
            mode="min",
            search_alg=OptunaSearch(points_to_evaluate=points),
            scheduler=ASHAScheduler(max_t=epochs + 1, grace_period=epochs + 1),
            num_samples=len(points),
            max_concurrent_trials=job.workers,
        ),
        run_config=tune.RunConfig(name="throughput", storage_path=str(job.scratch)),
    ).fit()
    ray.shutdown()
