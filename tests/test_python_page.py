"""The programs of docs/python.md, run as they stand there, one after the other."""

from __future__ import annotations

import re
import shutil
from contextlib import contextmanager
from textwrap import dedent

import pandas as pd
import pytest
from command_line import ROOT
from made_studies import engine_of, epoch_row, simulate

from stage1.workers.cluster import Cluster
from stage1.workers.recorder import Recorder

PAGE = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
OWN_BARS = 'run = stage1.run_study("transfer", data_dir="data/derived", workers=2)'
PROGRAMS = [
    dedent(block).strip("\n") for block in re.findall(r"(?:^ {4}.*\n|^\n(?= {4}))+", PAGE, re.M)
]


@contextmanager
def no_ray(resources, **options):
    yield Cluster(1, None)


def made_up_trials(inputs, run, *, judge, on_trial_end, check, metrics, **_):
    columns = {f"{of}metric.{name}": 0.5 for name in metrics for of in ("", "baseline_")}
    with Recorder(run, on_trial_end) as recorder:
        engine = engine_of(inputs.study, tables=recorder, judge=judge)
        engine.observers.append(check)
        simulate(engine, row=lambda spec, epoch: epoch_row(spec, epoch, **columns))
    return True


@pytest.fixture
def names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROOT / "analysis" / "sample_run", "runs/transfer")
    return {"tmp_path": tmp_path, "__name__": "page"}


def test_the_page_runs_on_made_up_trials(names, monkeypatch, capsys):
    monkeypatch.setattr("stage1.tune.ray_cluster", no_ray)
    monkeypatch.setattr("stage1.pages.study_page.draw_all", lambda *_: [])
    monkeypatch.setattr("stage1.workers.launch.run_study", made_up_trials)

    for program in PROGRAMS:
        file = names["tmp_path"] / "page.py"
        file.write_text(program)
        if program != OWN_BARS:  # which nobody has here
            exec(compile(program, str(file), "exec"), names)

    assert OWN_BARS in PROGRAMS
    printed = capsys.readouterr().out
    assert "runs/small: must not exist yet; go on with it by resume=True" in printed
    assert "design000-pretrained-seed1 completed" in printed
    assert "NOT EVALUABLE" in printed
    assert isinstance(names["best"].configuration, dict)
    assert isinstance(names["run"].curves, pd.DataFrame)
    assert (names["run"].trials["metric.direction"] == 0.5).all()
