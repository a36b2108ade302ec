"""Where a study can be tracked: MLflow, Weights & Biases and trackio, each as one writer of runs.

Their packages are imported when one is opened. None sends anything unless the user's settings of
it ask for that.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shlex
import shutil
import tempfile
from contextlib import suppress
from datetime import UTC, datetime
from enum import StrEnum
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from stage1.base.errors import ResultsError
from stage1.base.files import must_be_writable, sha256_of_file, write_text
from stage1.run.columns import COMPLETED, DIVERGED, FAILED, STOPPED
from stage1.run.summary import Value

STUDY = "study"
"""In place of a stage, of the run that stands for the whole study."""
RUNNING = "running"
"""Of a study with trials that have begun and not ended."""


class Point(NamedTuple):
    """Metrics at a step."""

    step: int
    """Epoch of a trial; of the study, how many trials had ended."""
    time: datetime
    metrics: dict[str, float]
    """Finite ones."""


class Entry(NamedTuple):
    """What becomes a run of a tracker: the study, or a trial of it."""

    id: str
    """Of study and trial, the same in every call: 32 hexadecimal digits."""
    name: str
    stage: str
    status: str
    parameters: dict[str, Value]
    """With their types; those that a trial does not have are absent."""
    tags: dict[str, str]
    points: list[Point]
    """By step."""
    started: datetime
    ended: datetime
    files: tuple[Path, ...] = ()

    @property
    def config(self) -> dict[str, Value]:
        """Parameters and tags, for trackers that keep them in one place."""
        return {**self.parameters, **self.tags, "stage": self.stage, "status": self.status}

    @property
    def digest(self) -> str:
        """SHA-256 of everything that is written of it."""
        files = {file.name: sha256_of_file(file) for file in self.files}
        text = json.dumps([self._replace(files=()), files], default=str, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


class Advice(NamedTuple):
    """What to do with what was written."""

    place: str
    """Where it is."""
    command: str | None
    """Of the tracker's own package, to look at it or to send it."""


class Tracker(Protocol):
    """Where runs are written."""

    def digest(self, entry: Entry) -> str | None:
        """Of what is there of an entry; None where it is not there, or not whole."""

    def write(self, entry: Entry, digest: str) -> None:
        """Write an entry in place of what is there of it. The study comes first."""

    def advice(self) -> Advice:
        """Where that is, and how to go on."""


_MLFLOW_STATUS = {
    COMPLETED: "FINISHED",
    STOPPED: "KILLED",
    DIVERGED: "FAILED",
    FAILED: "FAILED",
    RUNNING: "RUNNING",
}
_MOST_METRICS = 1000
"""In one request to MLflow."""


class _MlflowTracker:
    """Runs in an experiment; the trials are nested in the study's.

    MLflow gives ids of its own, so the entry's is a tag.
    """

    def __init__(self, where: str | None, project: str, study: Entry) -> None:
        os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
        mlflow = import_module("mlflow")
        self._entities = import_module("mlflow.entities")
        for name in ("mlflow", "alembic"):  # which tell how they make their tables
            logging.getLogger(name).setLevel(logging.WARNING)
        default = os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db"
        self._uri, self._project = where or default, project
        self._client = mlflow.MlflowClient(self._uri)
        self._experiment = self._experiment_id()
        self._study = study.id
        self._runs: dict[str, Any] = {}
        token = None
        while token != "":
            page = self._client.search_runs(
                [self._experiment],
                filter_string=f"tags.`stage1.study` = '{study.id}'",
                max_results=1000,
                page_token=token,
            )
            self._runs |= {run.data.tags["stage1.id"]: run for run in page}
            token = page.token or ""

    def _experiment_id(self) -> str:
        known = self._client.get_experiment_by_name(self._project)
        if known is not None:
            return str(known.experiment_id)
        place, folder = self._uri.removeprefix("sqlite:///"), None
        if place != self._uri:  # else artefacts would lie in the folder where this is called
            if self._project == ".." or Path(self._project).name != self._project:
                raise ResultsError(
                    "--project must be a name, which a folder of artefacts gets too, got "
                    f"{self._project!r}; give one without / and .."
                )
            folder = (Path(place).absolute().parent / "mlartifacts" / self._project).as_uri()
        return str(self._client.create_experiment(self._project, artifact_location=folder))

    def digest(self, entry: Entry) -> str | None:
        """Of the run with the entry's id."""
        run = self._runs.get(entry.id)
        return run.data.tags.get("stage1.digest") if run else None

    def write(self, entry: Entry, digest: str) -> None:
        """Write a trial anew; the study's run stays, for its trials name it, and grows."""
        known, metric = self._runs.get(entry.id), self._entities.Metric
        if known and entry.id != self._study:
            self._client.delete_run(known.info.run_id)
            known = None
        run = known or self._begin(entry)
        self._runs[entry.id] = run
        run_id = run.info.run_id
        params = [self._entities.Param(key, str(v)) for key, v in entry.parameters.items()]
        metrics = [
            metric(name, value, _milliseconds(point.time), point.step)
            for point in entry.points
            for name, value in point.metrics.items()
        ]
        tags = [self._entities.RunTag(key, text) for key, text in self._tags(entry).items()]
        self._client.log_batch(run_id, params=params, tags=tags)
        for first in range(0, len(metrics), _MOST_METRICS):
            self._client.log_batch(run_id, metrics=metrics[first : first + _MOST_METRICS])
        for file in entry.files:
            self._client.log_artifact(run_id, str(file))
        status, end = _MLFLOW_STATUS[entry.status], _milliseconds(entry.ended)
        if entry.status == RUNNING:
            self._client.update_run(run_id, status)
        else:
            self._client.set_terminated(run_id, status, end)
        self._client.set_tag(run_id, "stage1.digest", digest)

    def _begin(self, entry: Entry) -> Any:
        return self._client.create_run(
            self._experiment,
            start_time=_milliseconds(entry.started),
            run_name=entry.name,
            tags={"stage1.id": entry.id, "stage1.study": self._study},
        )

    def _tags(self, entry: Entry) -> dict[str, str]:
        tags = {**entry.tags, "stage": entry.stage, "status": entry.status}
        if entry.id != self._study:
            tags["mlflow.parentRunId"] = self._runs[self._study].info.run_id
        return tags

    def advice(self) -> Advice:
        """MLflow's own pages, which are not in mlflow-skinny."""
        command = shlex.join(["mlflow", "ui", "--backend-store-uri", self._uri])
        return Advice(f"the experiment {self._project} of {self._uri}", command)


def _milliseconds(time: datetime) -> int:
    return round(time.timestamp() * 1000)


class _WandbTracker:
    """Runs in a group, each in an offline folder of its own unless WANDB_MODE is online.

    A file beside what wandb has written says that it is whole, and of what.
    """

    _MARK = "stage1_digest"

    def __init__(self, where: str | None, project: str, study: Entry) -> None:
        os.environ["WANDB_ERROR_REPORTING"] = "false"
        self._online = os.environ.get("WANDB_MODE") == "online"
        self._folder = Path(where or os.environ.get("WANDB_DIR") or ".", "wandb").absolute()
        self._project, self._group = project, f"{study.name}-{study.id[:8]}"
        self._wandb = import_module("wandb")
        _check_writable(self._folder)  # or wandb would write into a temporary one

    def _folders(self, entry: Entry) -> list[Path]:
        return sorted(self._folder.glob(f"*run-*-{self._id(entry)}"))

    def _id(self, entry: Entry) -> str:
        """The folder's name holds it, and of the project nothing else."""
        return hashlib.sha256(f"{self._project} {entry.id}".encode()).hexdigest()[:32]

    def digest(self, entry: Entry) -> str | None:
        """Of the last folder that was written whole."""
        for folder in reversed(self._folders(entry)):
            with suppress(FileNotFoundError):
                return (folder / self._MARK).read_text(encoding="utf-8")
        return None

    def write(self, entry: Entry, digest: str) -> None:
        """Write a folder in place of earlier ones; their id is the same."""
        for folder in self._folders(entry):
            shutil.rmtree(folder)
        run = self._wandb.init(
            project=self._project,
            group=self._group,
            job_type=entry.stage,
            id=self._id(entry),
            name=entry.name,
            resume="allow" if self._online else None,
            config=entry.config,
            dir=str(self._folder.parent),
            mode="online" if self._online else "offline",
            settings=self._wandb.Settings(
                silent=True,
                console="off",
                disable_code=True,
                disable_git=True,
                disable_job_creation=True,
                # Of the machine of this call, which has trained nothing.
                x_disable_meta=True,
                x_disable_machine_info=True,
                x_disable_stats=True,
                x_save_requirements=False,
            ),
        )
        axis = "trials" if entry.stage == STUDY else "epoch"
        run.define_metric("*", step_metric=axis)
        for point in entry.points:
            about = {axis: point.step, "_timestamp": point.time.timestamp()}
            run.log({**point.metrics, **about}, step=point.step)
        for file in entry.files:
            copy = shutil.copy(file, run.dir)
            run.save(copy, base_path=run.dir, policy="now")
        run.finish(exit_code=int(entry.status in (DIVERGED, FAILED)))
        write_text(Path(run.settings.sync_dir) / self._MARK, digest)

    def advice(self) -> Advice:
        """What sends the folders, where they are not sent yet."""
        if self._online:
            return Advice(f"the project {self._project} of Weights & Biases", None)
        command = f"wandb sync {shlex.quote(str(self._folder))}/offline-run-*"
        return Advice(f"folders in {self._folder}", command)


class _TrackioTracker:
    """Runs in a project of trackio's own database; nothing of it listens or sends."""

    def __init__(self, where: str | None, project: str, study: Entry) -> None:
        if where is not None:
            os.environ["TRACKIO_DIR"] = str(Path(where).absolute())
        self._media = import_module("trackio.media.utils").get_project_media_path
        self._storage = import_module("trackio.sqlite_storage").SQLiteStorage
        self._where, self._project = where, project
        self._group = f"{study.name}-{study.id[:8]}"
        self._storage.validate_project_name(project)
        self._folder: Path = import_module("trackio.utils").TRACKIO_DIR
        _check_writable(self._folder)

    def digest(self, entry: Entry) -> str | None:
        """Of the run with the entry's id, which is written in one transaction."""
        config = self._storage.get_run_config(self._project, run_id=entry.id) or {}
        return config.get("stage1_digest")

    def write(self, entry: Entry, digest: str) -> None:
        """Write a run in place of an earlier one."""
        for file in entry.files:
            place = self._media(project=self._project, relative_path=self._group)
            shutil.copy(file, place)
        self._storage.delete_run(self._project, entry.name, run_id=entry.id)
        self._storage.bulk_log(
            self._project,
            entry.name,
            [point.metrics for point in entry.points],
            steps=[point.step for point in entry.points],
            timestamps=[point.time.astimezone(UTC).isoformat() for point in entry.points],
            config={
                **entry.config,
                "stage1_digest": digest,
                "_Group": self._group,
                "_Created": entry.started.astimezone(UTC).isoformat(),
            },
            run_id=entry.id,
        )

    def advice(self) -> Advice:
        """Its own pages."""
        place = "" if self._where is None else f"TRACKIO_DIR={shlex.quote(str(self._folder))} "
        show = shlex.join(["trackio", "show", "--project", self._project])
        return Advice(f"the project {self._project} in {self._folder}", place + show)


def _check_writable(folder: Path) -> None:
    with must_be_writable(folder, advice="give another --where"):
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()


class Destination(StrEnum):
    """The trackers there are."""

    MLFLOW = "mlflow"
    WANDB = "wandb"
    TRACKIO = "trackio"


class Kind(NamedTuple):
    """What is known of a tracker before its package is imported."""

    open: type[_MlflowTracker] | type[_WandbTracker] | type[_TrackioTracker]
    package: str
    """What to install."""


KINDS = {
    Destination.MLFLOW: Kind(_MlflowTracker, "mlflow-skinny"),
    Destination.WANDB: Kind(_WandbTracker, "wandb"),
    Destination.TRACKIO: Kind(_TrackioTracker, "trackio"),
}
