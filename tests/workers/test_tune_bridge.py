"""Ray Tune's two extension points around the engine, called as Ray calls them."""

from __future__ import annotations

import pickle
import time
from types import SimpleNamespace

import pytest
from made_studies import Tables, engine_of, epoch_row, simulate, simulated_study
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher
from ray.tune.utils import flatten_dict

from stage1.run.columns import FAILED
from stage1.workers.trainable import REPORT, EpochReport
from stage1.workers.tune_bridge import EngineScheduler, EngineSearcher, Watch


@pytest.fixture
def study(tmp_path):
    return simulated_study(tmp_path)


def ray_trial(settings, error_file=None):
    return SimpleNamespace(config=settings, error_file=error_file)


def scheduler_of(engine, returned=None):
    return EngineScheduler(engine, [].append if returned is None else returned.append)


def result_of(row, warning=None):
    """A result as Ray hands it over: dictionaries flattened, with keys of its own."""
    return flatten_dict({REPORT: EpochReport(row, warning), "config": {"parts": 1}})


def test_a_suggestion_is_the_trials_id_and_its_complete_configuration(study):
    engine = engine_of(study)

    settings = EngineSearcher(engine, None).suggest("ray_0001")

    (running,) = engine.running.values()
    spec = running.spec
    assert settings["trial_id"] == spec.trial_id == "design-design000-pretrained-1"
    assert settings["config"] == study.trial_config(spec)


def test_only_trials_of_the_design_are_to_add_up_their_blocks(study):
    design, search = engine_of(study), simulate(engine_of(study), trials=16)

    assert EngineSearcher(design, None).suggest("a")["block_epochs"] == [2, 9]
    settings = EngineSearcher(search, None).suggest("a")
    assert settings["trial_id"].startswith("search-")
    assert settings["block_epochs"] == []


def test_while_the_stage_must_end_first_the_searcher_waits(study):
    engine = engine_of(study)
    simulate(engine, trials=15)
    searcher = EngineSearcher(engine, None)

    assert searcher.suggest("a")["trial_id"].startswith("design-")
    assert searcher.suggest("b") is None


def test_after_the_last_trial_the_searcher_has_finished(study):
    searcher = EngineSearcher(simulate(engine_of(study)), None)

    assert searcher.suggest("a") == Searcher.FINISHED
    assert searcher.suggest("b") == Searcher.FINISHED


@pytest.mark.parametrize(("offset", "starts"), [(60, True), (-1, False)])
def test_after_the_deadline_no_trial_starts(study, offset, starts):
    engine = engine_of(study)

    suggestion = EngineSearcher(engine, time.monotonic() + offset).suggest("a")

    assert (suggestion != Searcher.FINISHED) == starts
    assert len(engine.running) == int(starts)


def test_a_configuration_that_cannot_be_fails_with_its_reason_and_the_next_one_runs(
    study, monkeypatch
):
    tables = Tables()
    engine = engine_of(study, tables=tables)
    broken = engine.next_trial
    monkeypatch.setattr(engine, "next_trial", lambda: spoiled(engine, broken()))

    settings = EngineSearcher(engine, None).suggest("a")

    (row,) = tables.rows
    assert row["status"] == FAILED
    assert row["error"] == "transfer_learning.patch_len: must divide data.seq_len=64, got 7"
    assert settings["trial_id"] == "design-design000-random-1"


def spoiled(engine, spec):
    if spec.trial_id == "design-design000-pretrained-1":
        spec = spec._replace(values=spec.values | {"transfer_learning.patch_len": 7})
    return spec


def test_every_epoch_reaches_the_engine_without_rays_own_keys(study):
    engine = engine_of(study)
    trial = ray_trial(EngineSearcher(engine, None).suggest("a"))
    (running,) = engine.running.values()
    row = epoch_row(running.spec, 0)

    action = scheduler_of(engine).on_trial_result(None, trial, result_of(row))

    assert action == TrialScheduler.CONTINUE
    assert str(running.curve) == str([row])


def test_a_trial_that_must_stop_is_stopped(study):
    engine = engine_of(study)
    scheduler = scheduler_of(engine)
    trial = ray_trial(EngineSearcher(engine, None).suggest("a"))
    (running,) = engine.running.values()

    row = epoch_row(running.spec, 0, val_loss=float("nan"))

    assert scheduler.on_trial_result(None, trial, result_of(row)) == TrialScheduler.STOP
    assert engine.running == {}


def test_a_trial_at_its_horizon_ends_by_itself(study):
    engine = engine_of(study)
    scheduler = scheduler_of(engine)
    trial = ray_trial(EngineSearcher(engine, None).suggest("a"))
    (running,) = engine.running.values()

    actions = [
        scheduler.on_trial_result(None, trial, result_of(epoch_row(running.spec, epoch)))
        for epoch in range(10)
    ]
    scheduler.on_trial_complete(None, trial, result_of(epoch_row(running.spec, 9)))

    assert set(actions) == {TrialScheduler.CONTINUE}
    assert engine.ended[running.spec.trial_id].status == "completed"


HEADLINE = "Failure # 1 (occurred at 2026-11-02_10-00-00)\n"
DIED = """\
The actor died unexpectedly before finishing this task.
\tclass_name: ImplicitFunc
\tpid: 5169
The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR
"""


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        pytest.param(
            HEADLINE + "ray::ImplicitFunc.train()\n  File ...\nRuntimeError: out of memory\n\n",
            "RuntimeError: out of memory",
            id="the last line of a traceback",
        ),
        pytest.param(HEADLINE, "unknown", id="no error at all"),
        pytest.param("", "unknown", id="an empty file"),
        pytest.param(None, "unknown", id="no file"),
    ],
)
def test_a_trial_that_raised_has_failed_with_the_line_that_names_the_error(
    study, write, error, reason
):
    tables, returned = Tables(), []
    engine = engine_of(study, tables=tables)
    settings = EngineSearcher(engine, None).suggest("a")
    trial = ray_trial(settings, error and str(write(error, "error.txt")))

    scheduler_of(engine, returned).on_trial_error(None, trial)

    assert [(row["status"], row["error"]) for row in tables.rows] == [(FAILED, reason)]
    assert returned == list(engine.ended.values())


def test_a_trial_whose_process_died_is_begun_again_before_any_other(study, write):
    tables = Tables()
    engine = engine_of(study, tables=tables)
    searcher = EngineSearcher(engine, None)
    settings = searcher.suggest("a")
    trial = ray_trial(settings, str(write(HEADLINE + DIED, "error.txt")))

    scheduler_of(engine).on_trial_error(None, trial)

    assert tables.rows == []
    assert searcher.suggest("b") == settings
    assert searcher.suggest("c") != settings
    (note,) = engine.notes
    assert settings["trial_id"] in note
    assert "its worker process has died" in note


def test_a_trial_whose_process_dies_three_times_without_an_epoch_has_failed(study, write):
    tables = Tables()
    engine = engine_of(study, tables=tables)
    searcher, scheduler = EngineSearcher(engine, None), scheduler_of(engine)
    file = str(write(HEADLINE + DIED, "error.txt"))

    for _ in range(2):
        scheduler.on_trial_error(None, ray_trial(searcher.suggest("a"), file))
    (running,) = engine.running.values()
    scheduler.on_trial_result(
        None, ray_trial(searcher.suggest("a")), result_of(epoch_row(running.spec, 0))
    )
    for _ in range(3):
        assert tables.rows == []
        scheduler.on_trial_error(None, ray_trial({"trial_id": running.spec.trial_id}, file))

    assert [(row["status"], row["epochs"]) for row in tables.rows] == [(FAILED, 0)]
    assert "died" in tables.rows[0]["error"]


def test_what_a_trial_reports_once_more_changes_nothing(study):
    engine = engine_of(study)
    scheduler = scheduler_of(engine)
    trial = ray_trial(EngineSearcher(engine, None).suggest("a"))
    (running,) = engine.running.values()

    for epoch in (0, 1, 2, 0, 1, 2, 3):
        scheduler.on_trial_result(None, trial, result_of(epoch_row(running.spec, epoch)))

    assert [row["epoch"] for row in running.curve] == [0, 1, 2, 3]


def test_after_the_deadline_a_trial_that_lost_its_process_goes_on(study, write):
    engine = engine_of(study)
    settings = EngineSearcher(engine, None).suggest("a")
    late = EngineSearcher(engine, time.monotonic() - 1)

    assert late.suggest("b") is None  # the other one may still lose its process
    trial = ray_trial(settings, str(write(HEADLINE + DIED, "error.txt")))
    scheduler_of(engine).on_trial_error(None, trial)

    assert late.suggest("b") == settings


def test_what_went_wrong_without_harm_is_noted(study):
    engine = engine_of(study)
    trial = ray_trial(EngineSearcher(engine, None).suggest("a"))
    (running,) = engine.running.values()
    result = result_of(epoch_row(running.spec, 0), "its state could not be kept")

    scheduler_of(engine).on_trial_result(None, trial, result)

    assert engine.notes == ["design-design000-pretrained-1: its state could not be kept"]


def test_the_watch_calls_its_checks_at_every_turn_and_lets_them_end_the_study():
    def stop():
        raise KeyboardInterrupt

    calls = []

    Watch(lambda: calls.append(1)).on_step_begin(0, [])
    with pytest.raises(KeyboardInterrupt):
        Watch(stop).on_step_begin(1, [])

    assert calls == [1]


def test_a_training_that_returns_before_its_last_epoch_has_failed(study):
    tables = Tables()
    engine = engine_of(study, tables=tables)
    trial = ray_trial(EngineSearcher(engine, None).suggest("a"))

    scheduler_of(engine).on_trial_complete(None, trial, {})

    assert [row["error"] for row in tables.rows] == ["the training ended before its last epoch"]


def test_tune_may_pickle_both_though_neither_holds_anything_it_could_restore(study):
    engine = engine_of(study)
    engine.observers.append(lambda: None)  # what cannot be pickled must not be asked to

    for part in (EngineSearcher(engine, None), scheduler_of(engine), Watch(engine.next_trial)):
        assert b"StudyEngine" not in pickle.dumps(part)
