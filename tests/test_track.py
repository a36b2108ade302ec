"""A study in MLflow, Weights & Biases and trackio: after one call, two, and half a one."""

from __future__ import annotations

import json
import math
import shutil
import socket
import sqlite3
import struct
from importlib import import_module
from importlib.util import find_spec
from itertools import count

import pandas as pd
import pytest
from filelock import FileLock
from made_runs import LR, PATCH, write_synthetic_run

from stage1.base.errors import ResultsError
from stage1.claims.loaded_run import load_run
from stage1.pages import trackers
from stage1.pages.trackers import Destination
from stage1.run.tables import read_curves, read_trials
from stage1.track import entries, main, track_run

TRIALS = 9
CURVE = {"val_loss", "val_correlation", "val_skill", "lr", "seconds", "train_loss"}


@pytest.fixture
def run(tmp_path):
    """Six trials of a design and three of a search, of which the last one diverged."""
    return write_synthetic_run(tmp_path / "runs" / "one", configurations=2, seeds=1)


# --- what is written ---


def test_parameters_keep_their_types_and_curves_their_epochs(run):
    study, *trials = entries(load_run(run.path))
    rows = read_trials(run).set_index("trial_id")
    curves = read_curves(run).set_index(["trial_id", "epoch"])

    assert study.stage == "study"
    assert [trial.name for trial in trials] == list(rows.index)
    for trial in trials:
        row = rows.loc[trial.name]
        assert trial.parameters[LR] == row[f"param.{LR}"]
        assert trial.parameters[PATCH] == row[f"param.{PATCH}"]
        assert {key: type(value) for key, value in trial.parameters.items()} == {
            "arm": str,
            "config_id": str,
            "seed": int,
            LR: float,
            PATCH: int,
        }
        for point in trial.points:
            at = curves.loc[trial.name, point.step]
            for name in CURVE & point.metrics.keys():
                assert point.metrics[name] == at[name]
            assert point.time - trial.started == pd.Timedelta(seconds=at["seconds"])
            assert all(map(math.isfinite, point.metrics.values()))


def test_ids_and_digests_depend_on_nothing_but_the_run(run, tmp_path):
    first = [(one.id, one.digest) for one in entries(load_run(run.path))]
    copy = shutil.copytree(run.path, tmp_path / "copy")
    other = write_synthetic_run(tmp_path / "other", configurations=2, seeds=1)
    other.prereg.write_text(other.prereg.read_text() + "# begun at another time\n")

    assert first == [(one.id, one.digest) for one in entries(load_run(copy))]
    assert len(set(first)) == len(first) == TRIALS + 1
    assert not {one[0] for one in first} & {one.id for one in entries(load_run(other.path))}


@pytest.mark.parametrize("project", ["../elsewhere", "a/b", ".."])
def test_the_files_of_a_project_lie_in_a_folder_beside_the_database(project):
    class Client:
        def get_experiment_by_name(self, name):
            return None

    tracker = trackers._MlflowTracker.__new__(trackers._MlflowTracker)
    tracker._client, tracker._uri, tracker._project = Client(), "sqlite:///mlflow.db", project

    with pytest.raises(ResultsError, match="--project must be a name"):
        tracker._experiment_id()


def test_a_trial_that_failed_before_its_first_epoch_is_an_entry_too(run):
    rows, curves = pd.read_parquet(run.trials), pd.read_parquet(run.curves)
    rows.loc[8, ["status", "error", "epochs"]] = ["failed", "no memory", 0]
    rows.loc[8, ["seconds", "val_loss", "started_at"]] = None
    rows.to_parquet(run.trials)
    curves[curves["trial_id"] != rows.loc[8, "trial_id"]].to_parquet(run.curves)

    *_, failed = entries(load_run(run.path))

    assert (failed.status, failed.tags["error"]) == ("failed", "no memory")
    assert [point.step for point in failed.points] == [0]
    assert failed.started == failed.ended


# --- what is refused ---


@pytest.mark.parametrize("name", list(Destination))
def test_a_package_that_is_missing_is_named_with_what_installs_it(
    run, name, monkeypatch, call_command
):
    def import_module(module):
        raise ModuleNotFoundError(f"No module named {module!r}", name=module.partition(".")[0])

    monkeypatch.setattr(trackers, "import_module", import_module)
    status, _, err = call_command(main, str(run.path), "--to", name)

    assert status == 2
    (line,) = err.splitlines()
    assert f"got {name} without the package {name}" in line
    assert f"pip install {trackers.KINDS[name].package}" in line


def test_two_calls_at_once_are_refused(run, call_command):
    with FileLock(run.path / ".track.lock"):
        status, _, err = call_command(main, str(run.path), "--to", "mlflow")

    assert status == 2
    assert "by one process at a time" in err


# --- in the trackers themselves ---


def read_mlflow(where, project):
    from mlflow import MlflowClient

    client = MlflowClient(where)
    experiment = client.get_experiment_by_name(project)
    runs = client.search_runs([experiment.experiment_id])
    names = {run.info.run_id: run.info.run_name for run in runs}
    read = []
    for run in runs:
        curves = {
            (metric.key, metric.step): metric.value
            for name in run.data.metrics
            for metric in client.get_metric_history(run.info.run_id, name)
        }
        parent = names.get(run.data.tags.get("mlflow.parentRunId"))
        files = {file.path for file in client.list_artifacts(run.info.run_id)}
        read.append((run.info.run_name, parent, run.data.params, curves, run.info.status, files))
    return read


def read_trackio(where, project):
    read = []
    with sqlite3.connect(f"{where}/{project}.db") as database:
        configs = database.execute("SELECT run_id, run_name, config FROM configs").fetchall()
        for run_id, name, config in configs:
            rows = database.execute("SELECT step, metrics FROM metrics WHERE run_id = ?", [run_id])
            curves = {
                (metric, step): value
                for step, metrics in rows
                for metric, value in json.loads(metrics).items()
            }
            config = json.loads(config)
            group = config["_Group"].rpartition("-")[0] if config["stage"] != "study" else None
            files = {file.name for file in (where / "media").rglob(f"{config['_Group']}/*")}
            read.append((name, group, config, curves, config["status"], files))
    return read


def wandb_records(file):
    """What is in a file of wandb: blocks of 32 KiB of records, as LevelDB logs have them."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, at, message = file.read_bytes(), 7, b""
    assert data.startswith(b":W&B")
    while at + 7 <= len(data):
        if (left := 32768 - at % 32768) < 7:
            at += left
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + 7])
        message += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield Record.FromString(message)
            message = b""


def read_wandb(where, project):
    read = []
    for file in where.glob("wandb/offline-run-*/*.wandb"):
        curves, name, status = {}, None, None
        for record in wandb_records(file):
            if record.HasField("run"):
                run, name = record.run, record.run.display_name
            elif record.HasField("exit"):
                status = record.exit.exit_code
            elif record.HasField("history"):
                row = {
                    item.key or item.nested_key[0]: json.loads(item.value_json)
                    for item in record.history.item
                }
                curves |= {(metric, row["_step"]): value for metric, value in row.items()}
        if run.project != project:
            continue
        config = {item.key: json.loads(item.value_json) for item in run.config.update}
        group = run.run_group.rpartition("-")[0] if config["stage"] != "study" else None
        files = {path.name for path in (file.parent / "files").iterdir()}
        read.append((name, group, config, curves, status, files))
    return read


READERS = {"mlflow": read_mlflow, "trackio": read_trackio, "wandb": read_wandb}
DONE = {
    "mlflow": {"completed": "FINISHED", "diverged": "FAILED", "running": "RUNNING"},
    "trackio": {"completed": "completed", "diverged": "diverged", "running": "running"},
    "wandb": {"completed": 0, "diverged": 1, "running": 0},
}
LAST_STEP = {
    "mlflow": ("mlflow", "MlflowClient", "set_tag"),
    "trackio": ("trackio.sqlite_storage", "SQLiteStorage", "bulk_log"),
    "wandb": ("stage1.pages.trackers", "", "write_text"),
}
"""What is called once for each run that is written, at its end."""
PROJECT = count()

in_each = pytest.mark.parametrize("name", READERS)
theirs = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """Of each tracker; trackio looks once in a process where its files lie."""
    folder = tmp_path_factory.mktemp("trackers")
    return {
        "mlflow": f"sqlite:///{folder}/mlflow.db",
        "trackio": folder / "trackio",
        "wandb": folder,
    }


@pytest.fixture
def tracked(name, places, run, monkeypatch):
    """Call the tracker on the run in a project of its own, without a network; and read it back."""
    if find_spec(name) is None:
        pytest.skip(f"{name} is not installed")
    connect, project, where = socket.socket.connect, f"p{next(PROJECT)}", places[name]

    def only_here(self, address):
        assert self.family == socket.AF_UNIX, f"{name} asks the network for {address}"
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", only_here)
    monkeypatch.delenv("WANDB_MODE", raising=False)

    def call():
        return track_run(run.path, Destination(name), where=str(where), project=project)[0]

    return call, lambda: READERS[name](where, project)


@pytest.mark.slow
@theirs
@in_each
def test_a_tracker_has_the_study_and_each_trial_under_it(name, tracked, run):
    call, read = tracked
    (run.path / "report.html").write_text("a report")

    assert call() == (TRIALS + 1, 0, 0)
    assert call() == (0, 0, TRIALS + 1)

    rows = read_trials(run).set_index("trial_id")
    curves = read_curves(run).set_index(["trial_id", "epoch"])
    parents = [one for one in read() if one[1] is None]
    trials = {one[0]: one for one in read() if one[1] is not None}
    assert [one[0] for one in parents] == ["synthetic"]
    assert {"report.html", "space.yaml"} <= parents[0][5]
    assert set(trials) == set(rows.index)
    for trial, parent, parameters, points, status, _ in trials.values():
        row = rows.loc[trial]
        assert parent == "synthetic"
        assert status == DONE[name][row["status"]]
        got = [parameters[key] for key in ("arm", "seed", LR, PATCH)]
        wanted = [row["arm"], row["seed"], row[f"param.{LR}"], row[f"param.{PATCH}"]]
        assert got == (list(map(str, wanted)) if name == "mlflow" else wanted)
        for metric in CURVE:
            values = curves.loc[trial][metric].dropna().to_dict()
            assert {step: v for (key, step), v in points.items() if key == metric} == values
        assert points["baseline_val_loss", row["epochs"]] == row["baseline_val_loss"]


@pytest.mark.slow
@theirs
@in_each
def test_a_study_that_runs_is_gone_on_with(name, tracked, run):
    call, read = tracked
    rows = pd.read_parquet(run.trials)
    rows[:4].to_parquet(run.trials)
    run.begun.write_text("[]")
    assert call() == (5, 0, 0)
    (study,) = (one for one in read() if one[1] is None)
    assert study[4] == DONE[name]["running"]

    rows.to_parquet(run.trials)
    run.begun.unlink()

    assert call() == (TRIALS - 4, 1, 4)
    (study,) = (one for one in read() if one[1] is None)
    assert study[4] == DONE[name]["completed"]
    assert study[3]["completed", TRIALS] == TRIALS - 1


@pytest.mark.slow
@theirs
@in_each
def test_a_call_that_was_killed_is_repeated_without_doubles(name, places, tracked, monkeypatch):
    call, read = tracked
    calls = count()
    with monkeypatch.context() as patch:

        def killed(*arguments, **options):
            if next(calls) == 3:
                raise KeyboardInterrupt
            return original(*arguments, **options)

        monkeypatch.setenv("TRACKIO_DIR", str(places["trackio"]))  # it is read by the import
        module, owner, attribute = LAST_STEP[name]
        target = getattr(import_module(module), owner) if owner else import_module(module)
        original = getattr(target, attribute)
        patch.setattr(target, attribute, killed)
        with pytest.raises(KeyboardInterrupt):
            call()

    assert sum(call()) == TRIALS + 1

    names = [one[0] for one in read()]
    assert len(names) == len(set(names)) == TRIALS + 1
    assert all(one[4] is not None for one in read())


@pytest.mark.slow
@theirs
@in_each
def test_a_trial_that_was_run_again_replaces_what_was_there(name, tracked, run):
    call, read = tracked
    call()
    rows = pd.read_parquet(run.trials)
    rows.loc[1, "baseline_val_loss"] = 0.625
    rows.to_parquet(run.trials)

    assert call().changed >= 1

    (changed,) = (one for one in read() if one[0] == read_trials(run).loc[1, "trial_id"])
    values = [value for (key, _), value in changed[3].items() if key == "baseline_val_loss"]
    assert values == [0.625]
