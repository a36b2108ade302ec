"""`python -m stage1.track RUN --to TRACKER`: a study into MLflow, Weights & Biases or trackio.

The tables of a run are written there after the fact: the study as one run, and one for each trial.
Ids are made of the study and the trial, and each carries a digest of all that was written, last. So
a second call writes what is new or was cut off, and nothing twice.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import pandas as pd
import typer
from filelock import FileLock, Timeout
from rich.progress import track as progress_of

from stage1.base.errors import ConfigError, ResultsError
from stage1.base.files import sha256_of_file
from stage1.base.terminal import run_command, screen
from stage1.base.text import plural, reason_of
from stage1.claims.loaded_run import Run, load_run
from stage1.pages.trackers import KINDS, RUNNING, STUDY, Advice, Destination, Entry, Point, Tracker
from stage1.run.columns import COMPLETED, IDENTITY_COLUMNS, PARAMETER_PREFIX, STATUSES
from stage1.run.folder import RunFolder
from stage1.run.summary import Value, row_values

_LONGEST_TEXT = 5000
"""Characters of a tag; MLflow takes no more."""
_IDENTITY = {column.name for column in IDENTITY_COLUMNS}


def entries(run: Run) -> Iterator[Entry]:
    """The study, then its trials in the order of their ends."""
    study = sha256_of_file(run.tables.run.prereg)  # of one run: it holds the time it was begun

    def entry_id(name: str) -> str:
        return hashlib.sha256(f"{study} {name}".encode()).hexdigest()[:32]

    curves = dict(list(run.curves.groupby("trial_id")))
    yield _study_entry(run, entry_id(STUDY))
    for _, row in run.trials.iterrows():
        yield _trial_entry(run, row, curves.get(row["trial_id"]), entry_id(row["trial_id"]))


def _trial_entry(run: Run, row: pd.Series[Any], curve: pd.DataFrame | None, entry: str) -> Entry:
    seconds = 0.0 if pd.isna(row["seconds"]) else float(row["seconds"])
    started = _time(row["started_at"], run)
    points = []
    for at in [] if curve is None else curve.to_dict("records"):
        metrics = _numbers(at, without=_IDENTITY | {"epoch"})
        time = started + timedelta(seconds=metrics.get("seconds", 0.0))
        points.append(Point(int(at["epoch"]), time, metrics))
    if not points:  # it failed before the first step
        points = [Point(0, started, {})]
    columns = [name for name in row.index if not name.startswith(PARAMETER_PREFIX)]
    points[-1].metrics.update(
        _numbers(row[columns].to_dict(), without={*_IDENTITY, *points[-1].metrics})
    )
    return Entry(
        id=entry,
        name=row["trial_id"],
        stage=row["stage"],
        status=row["status"],
        parameters={
            "arm": row["arm"],
            "config_id": row["config_id"],
            "seed": int(row["seed"]),
            **row_values(row, run.tables.space),
        },
        tags={
            name: row[name][:_LONGEST_TEXT]
            for name in ("node", "error", *(name for name in columns if name.endswith("_sha256")))
            if isinstance(row[name], str)
        },
        points=points,
        started=started,
        ended=started + timedelta(seconds=seconds),
    )


def _study_entry(run: Run, entry: str) -> Entry:
    folder, space, trials = run.tables.run, run.tables.space, run.trials
    started = run.tables.registration.written_at
    ends = trials["started_at"] + pd.to_timedelta(trials["seconds"], unit="s")
    ended = _time(ends.max(), run)
    metrics = {name: float((trials["status"] == name).sum()) for name in STATUSES}
    tags: dict[str, str] = {}
    with suppress(ResultsError):  # while too few trials have ended
        best = run.best()
        metrics[f"best_{space.objective.metric}"] = best.value
        tags |= {"best_arm": best.arm, "best_config_id": best.config_id}
    with suppress(ResultsError):
        for claim in run.verdicts.to_dict("records"):
            tags[f"claim {claim['claim']}"] = f"{claim['name']}: {claim['verdict']}"
            if math.isfinite(claim["estimate"]):
                metrics[f"claim_{claim['claim']}"] = claim["estimate"]
    parameters: dict[str, Value] = {
        "study": space.name,
        "objective": space.objective.metric,
        "mode": space.objective.mode,
        "horizon_epochs": space.horizon_epochs,
        "arms": ", ".join(space.arms),
        "search_trials": space.search.trials,
        "seed": space.seed,
        "data": space.data.data_dir or "the bundled sample",
        "data_fingerprint": space.data.fingerprint,
        **{f"version_{name}": text for name, text in run.tables.registration.versions.items()},
    }
    files = (folder.space, folder.prereg, folder.claims, folder.report, folder.report_html)
    return Entry(
        id=entry,
        name=space.name,
        stage=STUDY,
        status=RUNNING if folder.begun.exists() else COMPLETED,
        parameters=parameters,
        tags=tags,
        points=[Point(len(trials), ended, metrics)],
        started=started,
        ended=ended,
        files=tuple(file for file in files if file.exists()),
    )


def _time(value: Any, run: Run) -> datetime:
    """A time of the tables; where there is none, that of the study's beginning."""
    if pd.isna(value):
        return run.tables.registration.written_at
    time: datetime = value.floor("us").to_pydatetime()
    return time


def _numbers(cells: Mapping[Any, Any], *, without: set[str]) -> dict[str, float]:
    """The finite numbers among a row's cells, by column."""
    return {
        name: float(value)
        for name, value in cells.items()
        if name not in without and isinstance(value, int | float) and math.isfinite(value)
    }


class Counts(NamedTuple):
    """What a call has found and done, in runs of the tracker."""

    new: int
    changed: int
    unchanged: int


def track_run(
    path: Path, to: Destination, *, where: str | None = None, project: str | None = None
) -> tuple[Counts, Advice]:
    """Write a run into a tracker, as far as it is not there yet; says how to look at it.

    Args:
        path: Of the run folder; the study may be running.
        to: Which tracker.
        where: MLflow's tracking URI, or a folder; None = as the tracker's own variable says.
        project: Experiment or project; None = the study's name.

    Raises:
        ConfigError: The tracker is not installed.
        ResultsError: The run cannot be read, or the tracker not be written.
    """
    run = load_run(path)
    with _alone_in(run.tables.run):
        wanted = list(entries(run))
        tracker = _open(to, where, project or run.tables.space.name, wanted[0])
        done = {"new": 0, "changed": 0, "unchanged": 0}
        terminal = (console := screen()).is_terminal
        with _faults_in_one_line(to):
            for entry in progress_of(wanted, to.value, console=console, disable=not terminal):
                before, digest = tracker.digest(entry), entry.digest
                if before != digest:
                    tracker.write(entry, digest)
                kind = "new" if before is None else "changed"
                done["unchanged" if before == digest else kind] += 1
    return Counts(**done), tracker.advice()


def _open(to: Destination, where: str | None, project: str, study: Entry) -> Tracker:
    try:
        with _faults_in_one_line(to):
            return KINDS[to].open(where, project, study)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"--to must be a tracker that is installed, got {to.value} without the package "
            f"{error.name}; run: python -m pip install {KINDS[to].package}"
        ) from None


@contextmanager
def _faults_in_one_line(to: Destination) -> Iterator[None]:
    """What the tracker refuses, whatever it raises: each has errors of its own."""
    try:
        yield
    except (ModuleNotFoundError, ResultsError):
        raise
    except Exception as error:
        raise ResultsError(
            f"{to.value} must take what is written to it, got {reason_of(error)}; mend it, and "
            "repeat the command: it goes on where it stopped"
        ) from error


@contextmanager
def _alone_in(run: RunFolder) -> Iterator[None]:
    """Keep a second call for the same run from writing it twice."""
    lock = FileLock(run.path / ".track.lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise ResultsError(
            f"{run.path}: must be tracked by one process at a time, and one is at it; wait for "
            "its end"
        ) from None
    except OSError:  # somebody else's folder, which cannot be written
        pass
    try:
        yield
    finally:
        lock.release()


def main(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder, OUT/NAME.")],
    to: Annotated[Destination, typer.Option(help="Where to.", show_default=False)],
    where: Annotated[
        str | None,
        typer.Option(
            help="MLflow's tracking URI, or the folder of the others; MLFLOW_TRACKING_URI, "
            "WANDB_DIR and TRACKIO_DIR say it too.",
            show_default="sqlite:///mlflow.db; the current folder; trackio's own",
        ),
    ] = None,
    project: Annotated[
        str | None,
        typer.Option(help="Experiment or project there.", show_default="the study's name"),
    ] = None,
) -> None:
    """Write a study into a tracker: one run for it, one for each trial, with curves and files.

    Call it again at any time, while the study runs too: only what is new is written. Nothing goes
    over the network unless WANDB_MODE=online or the URI of an MLflow server asks for it.
    """
    counts, advice = track_run(run, to, where=where, project=project)
    done = ", ".join(f"{number} {name}" for name, number in counts._asdict().items())
    print(f"{plural(sum(counts), 'run')} ({done}): {advice.place}")
    if advice.command:
        print(f"    {advice.command}")


if __name__ == "__main__":
    run_command(main)
