"""How many trainings of a comparison run at once, and what each one has of the machine."""

from __future__ import annotations

from contextlib import contextmanager

import pytest
from made_studies import WrittenTables, simulate
from tiny_training import tiny_config

from stage1.run.folder import RunFolder
from stage1.study.comparison import Comparison
from stage1.study.engine import StudyEngine
from stage1.study.inputs import StudyInputs
from stage1.study.space import Resources
from stage1.workers import launch
from stage1.workers.cluster import Cluster
from stage1.workers.launch import run_comparison

CONFIGS = {
    "plain": tiny_config(transfer_learning={"use_pretrained_lm": False}),
    "t5": tiny_config(),
}
COMPARISON = Comparison(CONFIGS, seed=0, seeds=2, resources=Resources(cpus=1))


@pytest.fixture
def run(tmp_path):
    return RunFolder(tmp_path)


@pytest.fixture
def asked(monkeypatch):
    """In place of Ray, on two cores and no GPU: notes what it would be asked for."""
    noted = []

    @contextmanager
    def ray_cluster(resources, *, workers, address, storage):
        noted.append((workers, resources.cpus, resources.gpus))
        yield Cluster(workers, storage)

    monkeypatch.setattr("stage1.workers.cluster.usable_cores", lambda: 2)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    monkeypatch.setattr(launch, "ray_cluster", ray_cluster)
    monkeypatch.setattr(launch, "share_inputs", lambda *_: None)
    monkeypatch.setattr(launch, "_run_trials", lambda *_, **__: True)
    return noted


def run_with(run, workers):
    inputs = StudyInputs(COMPARISON, bars={}, windows=None, language_models=[])
    run_comparison(inputs, run, workers=workers, console=None)


@pytest.mark.parametrize(
    ("devices", "workers", "at_once", "share"),
    [
        pytest.param(0, None, 2, 0, id="as many as have a core"),
        pytest.param(0, 1, 1, 0, id="as asked for"),
        pytest.param(0, 64, 4, 0, id="no more than there are trainings"),
        pytest.param(1, None, 1, 1.0, id="one at a time on a single GPU"),
        pytest.param(2, None, 2, 1.0, id="a GPU for each"),
        pytest.param(1, 2, 2, 0.5, id="two share one"),
        pytest.param(2, 3, 3, 0.5, id="three on two"),
    ],
)
def test_as_many_trainings_run_as_were_asked_for_or_as_fit_and_share_gpus_evenly(
    run, asked, monkeypatch, devices, workers, at_once, share
):
    monkeypatch.setattr("torch.cuda.device_count", lambda: devices)

    run_with(run, workers)

    assert asked == [(at_once, 1, share)]


def test_only_what_has_not_ended_has_workers_started_for_it(run, asked):
    engine = StudyEngine(COMPARISON, WrittenTables(run), samplers={}, halving={})

    def row(spec, epoch):
        ones = dict.fromkeys(("val_loss", "val_correlation", "train_loss", "lr", "seconds"), 1.0)
        return {"epoch": epoch, **ones}

    simulate(engine, trials=3, row=row)
    run_with(run, 2)
    simulate(engine, row=row)
    run_with(run, 2)

    assert asked == [(1, 1, 0)]
