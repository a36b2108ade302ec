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

from stage1.base.errors import TrialError
from stage1.run.columns import FAILED
from stage1.workers import tune_bridge
from stage1.workers.trainable import REPORT, EpochReport
from stage1.workers.tune_bridge import EngineScheduler, EngineSearcher, Watch


@pytest.fixture
def study(tmp_path):
    return simulated_study(tmp_path)


class FirstTrial:
    """A study whose first trial Ray has asked for, and what Ray then calls."""

    def __init__(self, study):
        self.tables, self.returned = Tables(), []
        self.engine = engine_of(study, tables=self.tables)
        self.searcher = EngineSearcher(self.engine, None)
        self.scheduler = EngineScheduler(self.engine, self.returned.append)
        self.settings = self.searcher.suggest("a")
        (self.running,) = self.engine.running.values()

    def report(self, epoch, warning=None, **columns):
        """An epoch's result as Ray hands it over: flattened, with keys of its own."""
        report = EpochReport(epoch_row(self.running.spec, epoch, **columns), warning)
        result = flatten_dict({REPORT: report, "config": {"parts": 1}})
        return self.scheduler.on_trial_result(None, self._trial(None), result)

    def complete(self):
        self.scheduler.on_trial_complete(None, self._trial(None), {})

    def fail(self, error_file):
        self.scheduler.on_trial_error(None, self._trial(error_file))

    def _trial(self, error_file):
        return SimpleNamespace(config=self.settings, error_file=error_file)


@pytest.fixture
def first(study):
    return FirstTrial(study)


def test_a_suggestion_is_the_trials_id_and_its_complete_configuration(study, first):
    spec = first.running.spec

    assert first.settings["trial_id"] == spec.trial_id == "design000-pretrained-seed1"
    assert first.settings["config"] == study.trial_config(spec)


def test_only_trials_of_the_design_are_to_add_up_their_blocks(study):
    design, search = engine_of(study), simulate(engine_of(study), trials=16)

    assert EngineSearcher(design, None).suggest("a")["block_epochs"] == [2, 9]
    settings = EngineSearcher(search, None).suggest("a")
    assert settings["trial_id"].startswith("search-")
    assert settings["block_epochs"] == []


def test_while_the_stage_must_end_first_the_searcher_waits(study):
    searcher = EngineSearcher(simulate(engine_of(study), trials=15), None)

    assert searcher.suggest("a")["trial_id"].startswith("design")
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
    next_trial = engine.next_trial
    monkeypatch.setattr(engine, "next_trial", lambda: spoiled(next_trial()))

    settings = EngineSearcher(engine, None).suggest("a")

    (row,) = tables.rows
    assert row["status"] == FAILED
    assert row["error"] == "transfer_learning.patch_len: must divide data.seq_len=64, got 7"
    assert settings["trial_id"] == "design000-random-seed1"


def spoiled(spec):
    if spec.trial_id == "design000-pretrained-seed1":
        spec = spec._replace(values=spec.values | {"transfer_learning.patch_len": 7})
    return spec


def test_every_epoch_reaches_the_engine_without_rays_own_keys(first):
    assert first.report(0) == TrialScheduler.CONTINUE
    assert str(first.running.curve) == str([epoch_row(first.running.spec, 0)])


def test_a_trial_that_must_stop_is_stopped(first):
    assert first.report(0, val_loss=float("nan")) == TrialScheduler.STOP
    assert first.engine.running == {}


def test_a_trial_at_its_horizon_ends_by_itself(first):
    actions = [first.report(epoch) for epoch in range(10)]
    first.complete()

    assert set(actions) == {TrialScheduler.CONTINUE}
    assert first.engine.ended[first.running.spec.trial_id].status == "completed"


def test_what_a_trial_reports_once_more_changes_nothing(first):
    for epoch in (0, 1, 2, 0, 1, 2, 3):
        first.report(epoch)

    assert [row["epoch"] for row in first.running.curve] == [0, 1, 2, 3]


def test_what_went_wrong_without_harm_is_noted(first):
    first.report(0, "its state could not be kept")

    assert first.engine.notes == ["design000-pretrained-seed1: its state could not be kept"]


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
    first, write, error, reason
):
    first.fail(error and str(write(error, "error.txt")))

    assert [(row["status"], row["error"]) for row in first.tables.rows] == [(FAILED, reason)]
    assert first.returned == list(first.engine.ended.values())


NO_MEMORY = "stage1.training.memory.TrialMemoryError: the model must fit into memory, got x"
NO_CUBLAS = f"{NO_MEMORY}: CUDA error: CUBLAS_STATUS_ALLOC_FAILED"
OF_THE_GPU = "torch.AcceleratorError: CUDA error: uncorrectable ECC error encountered"


@pytest.mark.parametrize(
    ("error", "gpus", "again"),
    [
        pytest.param(NO_MEMORY, 0.5, True, id="a neighbour may have had the memory"),
        pytest.param(NO_MEMORY, 1, False, id="nobody else was there"),
        pytest.param(NO_CUBLAS, 1, False, id="not even a library"),
        pytest.param(NO_MEMORY, 0, False, id="on the CPU"),
        pytest.param(f"{OF_THE_GPU}\nTo debug, set ...", 1, True, id="the GPU's own"),
    ],
)
def test_what_a_gpu_may_have_done_is_tried_again(first, write, monkeypatch, error, gpus, again):
    space = first.engine.study.space
    monkeypatch.setitem(vars(space), "resources", space.resources.model_copy(update={"gpus": gpus}))

    first.fail(str(write(f"{HEADLINE}ray::ImplicitFunc.train()\n{error}\n", "error.txt")))

    assert [row["error"] for row in first.tables.rows] == ([] if again else [error])
    assert (first.searcher.suggest("b") == first.settings) is again


def test_what_the_operating_system_refuses_a_trial_is_not_its_own_fault(first, write):
    full = "OSError: [Errno 28] No space left on device: '/tmp/s1-1'"
    file = write(HEADLINE + f"ray::ImplicitFunc.train()\n  File ...\n{full}\n\n", "error.txt")

    with pytest.raises(TrialError, match=r"No space left on device.*go on with --resume"):
        first.fail(str(file))

    assert first.tables.rows == []


@pytest.fixture
def died(write):
    """The file in which Ray notes that a process has died."""
    return str(write(HEADLINE + DIED, "error.txt"))


def test_a_trial_whose_process_died_is_begun_again_before_any_other(first, died):
    first.fail(died)

    assert first.tables.rows == []
    assert first.searcher.suggest("b") == first.settings
    assert first.searcher.suggest("c") != first.settings
    (note,) = first.engine.notes
    assert first.settings["trial_id"] in note
    assert "its worker process has died" in note


def test_what_the_kernel_kills_for_memory_goes_on_in_parts_and_what_dies_after_it_does_not(
    study, died, monkeypatch
):
    kills = 3  # of whatever ran here before
    monkeypatch.setattr(tune_bridge, "memory_kills", lambda: kills)
    first = FirstTrial(study)
    first.fail(died)
    assert first.running.parts == 1

    kills = 4
    first.fail(died)
    assert first.running.parts == 2
    first.fail(died)
    assert first.running.parts == 2

    assert first.searcher.suggest("b")["parts"] == 2
    assert "killed for memory; it goes on" in first.engine.notes[1]
    assert first.tables.rows == []
    kills = 5
    first.fail(died)
    assert first.tables.rows[0]["status"] == FAILED
    assert first.tables.rows[0]["error"].startswith("its process was killed for memory: what runs")


def test_a_trial_whose_process_dies_three_times_without_an_epoch_has_failed(first, died):
    for _ in range(2):
        first.fail(died)
        assert first.searcher.suggest("b") == first.settings
    first.report(0)
    for _ in range(3):
        assert first.tables.rows == []
        first.fail(died)

    assert [(row["status"], row["epochs"]) for row in first.tables.rows] == [(FAILED, 0)]
    assert "died" in first.tables.rows[0]["error"]


def test_after_the_deadline_a_trial_that_lost_its_process_goes_on(first, died):
    late = EngineSearcher(first.engine, time.monotonic() - 1)

    assert late.suggest("b") is None  # the other one may still lose its process
    first.fail(died)

    assert late.suggest("b") == first.settings


def test_a_training_that_returns_before_its_last_epoch_has_failed(first):
    first.complete()

    assert [row["error"] for row in first.tables.rows] == [
        "the training ended before its last epoch"
    ]


def test_the_watch_calls_its_checks_at_every_turn_and_lets_them_end_the_study():
    def stop():
        raise KeyboardInterrupt

    calls = []

    Watch(lambda: calls.append(1)).on_step_begin(0, [])
    with pytest.raises(KeyboardInterrupt):
        Watch(stop).on_step_begin(1, [])

    assert calls == [1]


def test_tune_may_pickle_both_though_neither_holds_anything_it_could_restore(first):
    first.engine.observers.append(lambda: None)  # what cannot be pickled must not be asked to

    for part in (first.searcher, first.scheduler, Watch(first.engine.next_trial)):
        assert b"StudyEngine" not in pickle.dumps(part)
