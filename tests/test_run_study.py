"""A study from Python: the run of the command, with callbacks and metrics of a user's own."""

from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager
from threading import Thread

import pytest
import yaml
from command_line import HANG
from made_studies import engine_of, simulate

import stage1
from stage1.base.errors import ConfigError, ResultsError, Stage1Error
from stage1.study.trials import ended_trials
from stage1.tune import in_python
from stage1.workers.cluster import Cluster
from stage1.workers.recorder import Recorder

SPACE = {
    "extends": "smoke",
    "name": "tiny",
    "horizon_epochs": 1,
    "design": {"configurations": 2, "seeds": 1},
    "search": {"trials": 2},
}
TRIALS = 2 * 2 + 2 + 2 * 2


@pytest.fixture
def simulated(monkeypatch, tmp_path):
    """Trials are made up, and no Ray is started; runs go to the folder that is current then."""
    monkeypatch.chdir(tmp_path)

    @contextmanager
    def no_ray(resources, **options):
        yield Cluster(1, None)

    def run_study(inputs, run, *, judge, on_trial_end, check, **_):
        with Recorder(run, on_trial_end) as recorder:
            ended = ended_trials(run, inputs.study) if run.trials.exists() else []
            engine = engine_of(inputs.study, tables=recorder, ended=ended, judge=judge)
            engine.observers.append(check)
            simulate(engine)
        return True

    monkeypatch.setattr("stage1.tune.ray_cluster", no_ray)
    monkeypatch.setattr("stage1.pages.study_page.draw_all", lambda *_: [])
    monkeypatch.setattr("stage1.workers.launch.run_study", run_study)


class Noted:
    def __init__(self):
        self.rows, self.looks = [], []

    def on_trial_end(self, row):
        self.rows.append(row)

    def on_look(self, verdicts):
        self.looks.append(verdicts)


def test_a_study_gives_its_run_and_tells_callbacks_of_trials_and_verdicts(simulated, capsys):
    noted = Noted()

    run = stage1.run_study(SPACE, callbacks=[noted], quiet=True)

    assert str(run.path) == "runs/tiny"
    assert len(run.trials) == TRIALS
    assert [row["trial_id"] for row in noted.rows] == run.trials["trial_id"].tolist()
    assert noted.rows[0]["val_correlation"] == run.trials["val_correlation"][0]
    assert [frame.equals(run.verdicts) for frame in noted.looks] == [True]
    assert capsys.readouterr().out == ""


def test_what_a_callback_raises_is_raised_with_its_name_and_the_study_goes_on_later(simulated):
    class Picky:
        def on_trial_end(self, row):
            if len(seen) == 2:
                raise OSError(28, "my own disk")
            seen.append(row["trial_id"])

    seen, noted = [], Noted()

    with pytest.raises(OSError, match="my own disk") as raised:
        stage1.run_study(SPACE, callbacks=[Picky()], quiet=True)
    run = stage1.run_study(SPACE, callbacks=[noted], quiet=True, resume=True)

    assert "Picky.on_trial_end" in raised.value.__notes__[0]
    assert len(run.trials) == TRIALS
    assert len(seen) + 1 + len(noted.rows) == TRIALS


@pytest.mark.parametrize(
    ("space", "options", "fault"),
    [
        pytest.param(None, {}, "space must be a name, a path", id="nothing"),
        pytest.param("nope", {}, "nope: must be an existing file or the name", id="no space"),
        pytest.param(SPACE | {"arm": {}}, {}, "space: arm: unknown key", id="a key of a dict"),
        pytest.param({"x": object()}, {}, "space: must hold mappings", id="no YAML"),
        pytest.param(SPACE, {"data_dir": "nope"}, "nope", id="no such bars"),
        pytest.param(SPACE, {"time_budget": "soon"}, "a duration must", id="a budget"),
        pytest.param(SPACE, {"resume": True}, "runs/tiny: must be a run folder", id="no run"),
        pytest.param(SPACE, {"callbacks": [print]}, "callbacks[0]: must have", id="no callback"),
        pytest.param(SPACE, {"callbacks": Noted()}, "callbacks must be a list", id="no list"),
        pytest.param(SPACE, {"workers": 0}, "workers must be a whole number >= 1", id="workers"),
        pytest.param(SPACE, {"trials": 2.5}, "trials must be a whole number >= 0", id="trials"),
        pytest.param(SPACE, {"metrics": {"m": 1}}, "metrics['m']: must be a func", id="no metric"),
        pytest.param(
            SPACE, {"metrics": {"m": lambda d, t: d.x}}, "metric m must give", id="a bad metric"
        ),
    ],
)
def test_a_fault_is_an_exception_of_the_package_and_leaves_no_run(
    simulated, tmp_path, space, options, fault
):
    with pytest.raises(Stage1Error) as raised:
        stage1.run_study(space, quiet=True, **options)

    assert str(raised.value).startswith(fault)
    assert list(tmp_path.iterdir()) == []


def test_metrics_are_registered_and_must_be_given_again(simulated):
    def hits(decoded, true):
        return (abs(decoded - true) < 0.5).mean()

    run = stage1.run_study(SPACE, quiet=True, metrics={"hits": hits})
    again = stage1.run_study(SPACE, quiet=True, metrics={"hits": hits}, resume=True)

    registered = yaml.safe_load((run.path / "prereg.yaml").read_text())["metrics"]
    assert list(registered) == ["hits"]
    assert len(registered["hits"]) == 64
    assert len(again.trials) == TRIALS
    for metrics, fault in (
        ({}, "hits: must be given again"),
        ({"hits": lambda d, t: 0}, "hits: must be the function that was registered"),
        ({"hits": hits, "more": lambda d, t: 0}, "more: must have been registered"),
    ):
        with pytest.raises(ResultsError, match=fault) as raised:
            stage1.run_study(SPACE, quiet=True, metrics=metrics, resume=True)
        assert "--" not in str(raised.value)


def test_advice_is_given_as_arguments():
    advice = "go on with the same command and --resume, or give another --out; see --data-dir"

    assert in_python(advice) == (
        "go on with the same call and resume=True, or give another out=; see data_dir="
    )


def test_another_thread_is_refused(simulated):
    faults = []

    def call():
        try:
            stage1.run_study(SPACE)
        except ConfigError as error:
            faults.append(str(error))

    thread = Thread(target=call)
    thread.start()
    thread.join()

    assert "must be called in the main thread" in faults[0]


PROGRAM = """
import os, signal, stage1

LIMIT = 0.5

def hits(decoded, true):
    return (abs(decoded - true) < LIMIT).mean()

class Interrupting:
    def on_trial_end(self, row):
        os.kill(os.getpid(), signal.SIGINT)

def study(**options):
    metrics = {"hits": hits, "mae": lambda d, t: abs(d - t).mean()}
    return stage1.run_study(SPACE, workers=2, quiet=True, metrics=metrics, **options)

try:
    study(callbacks=[Interrupting()])
except KeyboardInterrupt:
    print("interrupted", len(stage1.load_run("runs/tiny").trials))
run = study(resume=True)
print(*run.trials[["metric.hits", "baseline_metric.mae"]].notna().sum(), len(run.trials))
print(*run.curves.groupby("epoch")["metric.mae"].count())
"""


@pytest.mark.slow
def test_metrics_reach_the_workers_and_ctrl_c_keeps_what_has_ended(tmp_path):
    program = PROGRAM.replace("SPACE", repr(SPACE))
    (tmp_path / "mine.py").write_text(program)
    options = {"cwd": tmp_path, "capture_output": True, "text": True, "timeout": HANG}

    done = subprocess.run([sys.executable, "mine.py"], **options)

    first, second, third = done.stdout.splitlines()
    assert first.startswith("interrupted ")
    assert 1 <= int(first.split()[1]) < TRIALS
    assert second == f"{TRIALS} {TRIALS} {TRIALS}"
    assert third == f"{TRIALS} {TRIALS}"
