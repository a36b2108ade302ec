"""What the search of a study is told of an earlier one, what not, and what it does with it."""

from __future__ import annotations

import math
from dataclasses import replace
from shutil import copytree, rmtree
from types import SimpleNamespace

import optuna
import pytest
import torch
from made_studies import WrittenTables, engine_of, simulate, simulated_study
from optuna.storages import InMemoryStorage

from stage1.base.errors import ConfigError, ResultsError
from stage1.config import with_values
from stage1.run.columns import CONFIRM, SEARCH
from stage1.run.folder import RunFolder
from stage1.run.registration import RegisteredClaims, read_preregistration
from stage1.study.resume import begin_run
from stage1.study.sampler import read_earlier, read_warm_start
from stage1.study.trials import ended_trials

LR = "training.optimizer.lr"
PATCH = "transfer_learning.patch_len"
FREEZE = "transfer_learning.freeze_lm_epochs"
DATA = {"data_dir": None, "fingerprint": "d" * 64}
BARS = {"data.data_dir": "sample", "data.sha256": DATA["fingerprint"]}
CLAIMS = RegisteredClaims({"sensitivity": 0.2}, 0.05 / 6)
NANO = SimpleNamespace(name="english-t5-nano", sha256="a" * 64, weights={"w": torch.zeros(3, 5)})
BEGIN = {"data": DATA, "models": [NANO], "claims": CLAIMS, "training_windows": 9}


def study_in(folder, name, *, bars=BARS, **replaced):
    """A study on its bars, in a folder of its own."""
    (folder / name).mkdir()
    study = simulated_study(folder / name, name=name, **replaced)
    return replace(study, config=with_values(study.config, bars))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """An earlier study that has ended: 4 configurations of its design, 6 of the search, per arm."""
    folder = tmp_path_factory.mktemp("before")
    study, run = study_in(folder, "earlier"), RunFolder(folder / "runs" / "earlier")
    begin_run(run, study, **BEGIN)
    simulate(engine_of(study, tables=WrittenTables(run)))
    return run


def told_to(run, study):
    earlier = read_earlier(run, study)
    return {(one.arm, one.config_id): one for one in earlier.told}, dict(earlier.left_out)


def test_the_same_space_is_told_all_configurations_each_by_its_mean(run, tmp_path):
    study = study_in(tmp_path, "later")

    told, left_out = told_to(run, study)

    assert left_out == {}
    before = ended_trials(run, study_in(tmp_path, "as_then"))
    assert told.keys() == {(trial.spec.arm, trial.spec.config_id) for trial in before}
    for (arm, config_id), one in told.items():
        mine = [t for t in before if (t.spec.arm, t.spec.config_id) == (arm, config_id)]
        assert one.values == mine[0].spec.values
        if {t.status for t in mine} == {"completed"}:
            assert one.state == "COMPLETE"
            assert one.value == pytest.approx(sum(t.value for t in mine) / len(mine), rel=1e-12)
        else:
            assert (one.state, one.value) == ("PRUNED", None)
            assert one.curve == {max(mine[0].curve): mine[0].value}
    assert {len([t for t in before if t.spec.config_id == c]) for _, c in told} == {1, 3, 4}


def test_what_lies_outside_of_the_space_or_was_another_is_left_out_and_it_is_said_why(
    run, tmp_path
):
    study = study_in(
        tmp_path,
        "later",
        **{
            "  training.optimizer.lr": "{type: float, low: 1.0e-3, high: 1.0, log: true}",
            "  transfer_learning.freeze_lm_epochs": "{type: int, low: 0, high: 9}",
            "  transfer_learning.patch_len": "{type: choice, options: [8]}",
            "  random": "{transfer_learning.initialization: shuffled}",
        },
    )

    told, left_out = told_to(run, study)

    assert {arm for arm, _ in told} == {"pretrained"}
    assert all(one.values[LR] >= 1e-3 and one.values[PATCH] == 8 for one in told.values())
    low = f"{LR} lies outside of what is searched here"
    other = f"{PATCH} lies outside of what is searched here"
    assert left_out.keys() == {low, other, "no arm here is as random was"}
    assert left_out["no arm here is as random was"] == 10
    assert len(told) + left_out[low] + left_out[other] == 10


def test_a_hyperparameter_that_is_new_or_no_longer_searched_has_the_value_it_had(run, tmp_path):
    dropout = "{type: int, low: 0, high: 3}\n  model.dropout: {type: float, low: 0.0, high: 0.5}"
    study = study_in(tmp_path, "later", **{f"  {FREEZE}": dropout})
    parameters = {name: one for name, one in study.space.space.items() if name != PATCH}
    study = replace(study, space=study.space.model_copy(update={"space": parameters}))

    told, left_out = told_to(run, study)

    assert told
    assert {one.values["model.dropout"] for one in told.values()} == {study.config.model.dropout}
    now = study.config.transfer_learning.patch_len
    assert all(reason.endswith(f"at times, and is {now} here") for reason in left_out)
    assert len(told) + sum(left_out.values()) == 20


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"bars": BARS | {"data.sha256": "e" * 64}}, "the fingerprint of the bars ('ddd"),
        ({"horizon_epochs": "8"}, "training.epochs (9 -> 8)"),
        ({"objective": "{metric: val_loss, mode: min}"}, "objective ('val_correlation' -> 'val_lo"),
        ({"bars": BARS | {"training.batch_size": 8}}, "training.batch_size ("),
    ],
)
def test_scores_that_cannot_be_compared_are_refused_by_what_differs(run, tmp_path, changed, named):
    study = study_in(tmp_path, "later", **changed)

    with pytest.raises(ResultsError) as raised:
        read_earlier(run, study)

    assert f"which differs in {named}" in str(raised.value)
    assert "search: {start: [...]}" in str(raised.value)


@pytest.mark.parametrize("search", ["{trials: 0}", "{trials: 4, sampler: random}"])
def test_a_study_whose_search_would_not_listen_is_refused(run, tmp_path, search):
    with pytest.raises(ConfigError, match="leave it out, or change search"):
        read_earlier(run, study_in(tmp_path, "later", search=search))


def test_a_folder_without_a_study_is_refused(tmp_path):
    with pytest.raises(ResultsError, match="must be a run folder"):
        read_earlier(RunFolder(tmp_path / "nowhere"), study_in(tmp_path, "later"))


def begun(folder, run, study):
    later = RunFolder(folder / "runs" / study.space.name)
    begin_run(later, study, **BEGIN, earlier=read_earlier(run, study))
    return later


def test_what_was_told_is_registered_and_kept_so_that_resuming_does_not_need_the_earlier_run(
    run, tmp_path
):
    study, run = study_in(tmp_path, "later"), RunFolder(copytree(run.path, tmp_path / "copy"))
    told = read_earlier(run, study).told
    later = begun(tmp_path, run, study)

    rmtree(run.path)

    assert read_warm_start(later) == told
    registered = read_preregistration(later).warm_start
    assert registered.told == {"pretrained": 10, "random": 10}
    assert str(registered) == f"20 configurations of {run.path} (pretrained 10, random 10)"


@pytest.mark.parametrize("edit", [lambda f: f.write_text("[]"), lambda f: f.unlink()])
def test_what_was_told_is_read_as_it_was_written_or_refused(run, tmp_path, edit):
    later = begun(tmp_path, run, study_in(tmp_path, "later"))
    edit(later.warm_start)

    with pytest.raises(ResultsError, match=r"warm_start\.json"):
        read_warm_start(later)


def test_a_run_that_began_without_is_told_nothing(run):
    assert read_warm_start(run) == []


def test_a_search_that_was_told_begins_where_the_earlier_one_was_good(run, tmp_path):
    study = study_in(tmp_path, "later", seed=5, search="{trials: 12}")
    told = read_earlier(run, study).told

    def searched(earlier):
        storage, tables = InMemoryStorage(), WrittenTables(RunFolder(tmp_path / str(len(earlier))))
        engine = simulate(engine_of(study, tables=tables, storage=storage, earlier=earlier))
        points = [t.spec for t in engine.ended.values() if t.spec.stage == SEARCH]
        return points, engine, storage

    points, engine, storage = searched(told)
    without, *_ = searched([])

    distance = [
        sum(abs(math.log10(spec.values[LR]) + 2.5) for spec in specs) for specs in (points, without)
    ]
    assert distance[0] < 0.8 * distance[1]
    design = [t for t in engine.ended.values() if t.spec.stage not in (SEARCH, CONFIRM)]
    assert [t.spec for t in design] == study.design_specs()
    held = optuna.load_study(study_name="later-random", storage=storage).trials
    assert len(held) == 4 + 6  # of its own design and search: its best trial is this study's
