"""Way a: the study on `stage1.tune`'s engine, by the calls that the command makes."""

from __future__ import annotations

import time
from typing import Any

from rich.console import Console

from stage1.claims.catalogue import REGISTERED
from stage1.data.batches import MarketWindows
from stage1.data.load import load_bars
from stage1.language_models.resolver import resolve
from stage1.run.columns import PARAMETER_PREFIX
from stage1.run.folder import RunFolder
from stage1.run.tables import read_curves, read_trials
from stage1.study.engine import StudyEngine
from stage1.study.inputs import StudyInputs
from stage1.study.resume import begin_run
from stage1.study.study import language_model_names
from throughput_parts.results import Job, Trial, write_trial
from throughput_parts.trials import LEARNING_RATE, read_study


def run(job: Job) -> None:
    """Run the study, then join when epochs arrived with what its tables say."""
    arrived = note_epochs()
    run_engine(job, RunFolder(job.scratch / "run"))
    _write_result(job, RunFolder(job.scratch / "run"), arrived)


def note_epochs() -> dict[str, dict[int, float]]:
    """When the engine was told of each epoch, by trial: the tables hold durations alone."""
    arrived: dict[str, dict[int, float]] = {}
    original = StudyEngine.on_epoch

    def on_epoch(self: StudyEngine, trial_id: str, row: dict[str, Any], **named: Any) -> Any:
        arrived.setdefault(trial_id, {})[int(row["epoch"])] = time.time()
        return original(self, trial_id, row, **named)

    StudyEngine.on_epoch = on_epoch
    return arrived


def run_engine(job: Job, run: RunFolder) -> float:
    """As `python -m stage1.tune` does, but for the report; says when the cluster stood."""
    study = read_study(job.folder)
    bars = load_bars(job.folder / "bars", study.config.data.timeframes)
    windows = MarketWindows(bars, study.config.data)  # as the command checks that they suffice
    models = [resolve(name) for name in language_model_names(study)]
    inputs = StudyInputs(study, bars, windows, models)
    data = {"data_dir": str(job.folder / "bars"), "fingerprint": inputs.data_fingerprint}
    # As in the command, which does not let a mistake in the input wait for Ray.
    from stage1.workers.cluster import ray_cluster
    from stage1.workers.launch import run_study

    with ray_cluster(
        study.space.resources, workers=job.workers, address=None, storage=None
    ) as cluster:
        stood = time.time()
        begin_run(run, study, data=data, models=models, claims=REGISTERED, training_windows=1)
        run_study(inputs, run, cluster=cluster, console=Console())
    return stood


def _write_result(job: Job, run: RunFolder, arrived: dict[str, dict[int, float]]) -> None:
    """The seconds of an epoch count from the beginning of its trial."""
    trials, curves = read_trials(run), read_curves(run)
    if list(trials["status"].unique()) != ["completed"]:
        raise SystemExit(f"all trials must go to the horizon, got {trials[['status', 'error']]}")
    before = curves[curves["epoch"] == 0].set_index("trial_id")["seconds"]
    size = read_study(job.folder).config.training.windows_per_step
    for _, row in trials.iterrows():
        epochs = arrived[row["trial_id"]]
        write_trial(
            job.result,
            Trial(
                lr=float(row[PARAMETER_PREFIX + LEARNING_RATE]),
                seed=int(row["seed"]),
                started=epochs[0] - float(before[row["trial_id"]]),
                first_step=epochs[0],
                ended=epochs[int(row["epochs"])],
                val_loss=float(row["val_loss"]),
                steps=int(row["steps"]),
                windows=int(row["steps"]) * size,
                parameters=int(row["parameters"]),
            ),
        )
