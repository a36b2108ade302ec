"""The study as it runs, with made-up epochs: order, decisions, records, going on after an end."""

from __future__ import annotations

import math
from collections import Counter
from itertools import groupby, product

import numpy as np
import optuna
import pytest
from made_studies import (
    Tables,
    WrittenTables,
    design_rows,
    engine_of,
    epoch_row,
    simulate,
    simulated_study,
    started,
)
from optuna.storages import InMemoryStorage

from stage1.base.errors import TrialError
from stage1.base.metric_table import BLOCKS
from stage1.run.columns import COMPLETED, CONFIRM, DESIGN, DIVERGED, FAILED, SEARCH, STOPPED
from stage1.run.folder import RunFolder
from stage1.study.space import sobol_configurations
from stage1.study.trials import Loss, ended_trials

ARMS = ["pretrained", "random"]


@pytest.fixture
def study(tmp_path):
    return simulated_study(tmp_path)


def run(study, *, workers=1, row=epoch_row):
    tables, storage = Tables(), InMemoryStorage()
    engine = simulate(engine_of(study, tables=tables, storage=storage), workers=workers, row=row)
    return engine, tables, storage


def optuna_trials(storage, arm):
    return optuna.load_study(study_name=f"simulated-{arm}", storage=storage).trials


def of_stage(tables, stage):
    return [row for row in tables.rows if row["stage"] == stage]


def parameters(row):
    return {key.removeprefix("param."): row[key] for key in row if key.startswith("param.")}


# --- what is run ---


@pytest.mark.parametrize("workers", [1, 3])
def test_design_comes_before_search_before_confirmation(study, workers):
    _, tables, _ = run(study, workers=workers)

    stages = [stage for stage, _ in groupby(row["stage"] for row in tables.rows)]
    assert stages == [DESIGN, SEARCH, CONFIRM]


def test_every_configuration_of_the_design_is_run_with_every_seed_in_every_arm(study):
    _, tables, _ = run(study)

    points = {f"design00{index}": point for index, point in enumerate(study.points)}
    found = Counter((r["config_id"], r["seed"], r["arm"]) for r in design_rows(tables))
    assert study.points == sobol_configurations(study.space, 0)
    assert found == Counter(product(points, [1, 2], ARMS))
    for row in design_rows(tables):
        assert points[row["config_id"]].items() == parameters(row).items()


def test_an_unfinished_design_is_paired_as_far_as_it_goes(study):
    tables = Tables()

    simulate(engine_of(study, tables=tables), trials=6)

    pairs = [(row["config_id"], row["seed"]) for row in tables.rows]
    assert pairs == [("design000", 1)] * 2 + [("design000", 2)] * 2 + [("design001", 1)] * 2
    assert [row["arm"] for row in tables.rows] == ARMS * 3


def test_no_trial_of_the_search_starts_before_the_design_has_ended(study):
    engine = engine_of(study)
    simulate(engine, trials=15)
    assert started(engine, 4)

    assert {trial.spec.stage for trial in engine.running.values()} == {DESIGN}
    assert engine.next_trial() is None


@pytest.mark.parametrize(("trials", "split"), [(12, [6, 6]), (5, [3, 2]), (1, [1, 0]), (0, [0, 0])])
def test_the_search_is_split_over_the_arms_the_first_ones_get_what_is_left(tmp_path, trials, split):
    _, tables, _ = run(simulated_study(tmp_path, trials=trials))

    search = of_stage(tables, SEARCH)
    counts = Counter(row["arm"] for row in search)
    assert [counts[arm] for arm in ARMS] == split
    assert len({row["config_id"] for row in search}) == trials
    assert {row["seed"] for row in search} <= {0}


@pytest.mark.parametrize("mode", ["max", "min"])
def test_the_two_best_completed_search_points_of_each_arm_are_confirmed(tmp_path, mode):
    metric = {"max": "val_correlation", "min": "val_loss"}[mode]
    study = simulated_study(tmp_path, objective=f"{{metric: {metric}, mode: {mode}}}")

    _, tables, _ = run(study)

    confirm = of_stage(tables, CONFIRM)
    for arm in ARMS:
        done = [r for r in of_stage(tables, SEARCH) if r["arm"] == arm and r["status"] == COMPLETED]
        done.sort(key=lambda row: row[metric], reverse=mode == "max")
        best = [row["config_id"] for row in done[:2]]
        found = [(row["config_id"], row["seed"]) for row in confirm if row["arm"] == arm]
        assert found == list(product(best, [3, 4]))  # after the design's, 1 and 2
    searched = {row["config_id"]: parameters(row) for row in of_stage(tables, SEARCH)}
    assert all(parameters(row) == searched[row["config_id"]] for row in confirm)


@pytest.mark.parametrize(("trials", "confirmed"), [(0, 0), (1, 2), (2, 4), (5, 8), (12, 8)])
def test_the_expected_number_of_trials_is_what_runs_where_all_go_well(tmp_path, trials, confirmed):
    study = simulated_study(tmp_path, trials=trials)
    expected = {DESIGN: 16, SEARCH: trials, CONFIRM: confirmed}

    engine, tables, _ = run(study, row=equal_row)
    with_stops, stopped_tables, _ = run(study)

    assert engine_of(study).expected_by_stage() == expected
    assert Counter(row["stage"] for row in tables.rows) == Counter(expected)
    assert engine.expected_trials() == len(tables.rows)
    assert with_stops.expected_trials() == len(stopped_tables.rows)


def equal_row(spec, epoch):
    """No trial is worse than another, so none is stopped."""
    return epoch_row(spec, epoch, val_correlation=0.1 * epoch, val_loss=1 - 0.1 * epoch)


# --- who goes on ---


def test_the_design_runs_to_the_horizon_and_notes_stops_the_search_is_stopped_at_rungs(study):
    _, tables, _ = run(study)

    rows = design_rows(tables)
    noted = [row["would_stop_epoch"] for row in rows if row["would_stop_epoch"] is not None]
    assert {(row["status"], row["epochs"]) for row in rows} == {(COMPLETED, 9)}
    assert 0 < len(noted) < len(rows)
    assert set(noted) <= {1, 3}
    searched = of_stage(tables, SEARCH)
    ends = {(row["status"], row["epochs"]) for row in searched}
    assert ends <= {(COMPLETED, 9), (STOPPED, 1), (STOPPED, 3)}
    assert {status for status, _ in ends} == {COMPLETED, STOPPED}
    assert all(row["would_stop_epoch"] is None for row in searched)


@pytest.mark.parametrize(
    ("correlation", "stages", "ends"),
    [
        pytest.param(
            lambda spec: 0.5 if spec.stage == DESIGN else 0.1,
            {SEARCH},
            {(STOPPED, 1)},
            id="the search meets the rungs that the design has filled",
        ),
        pytest.param(
            lambda spec: 0.9 if spec.arm == "pretrained" else 0.1,
            {DESIGN, SEARCH, CONFIRM},
            {(COMPLETED, 9)},
            id="arms are not compared with each other",
        ),
        pytest.param(
            lambda spec: 0.01 if spec.stage == CONFIRM else 0.5,
            {CONFIRM},
            {(COMPLETED, 9)},
            id="a confirmation is never stopped",
        ),
    ],
)
def test_who_is_stopped_where_some_are_worse_than_all_others(study, correlation, stages, ends):
    def row(spec, epoch):
        return epoch_row(spec, epoch, val_correlation=correlation(spec))

    _, tables, _ = run(study, row=row)

    found = {(r["status"], r["epochs"]) for r in tables.rows if r["stage"] in stages}
    assert found == ends


@pytest.mark.parametrize("column", ["val_loss", "val_correlation", "train_loss"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("stage", [DESIGN, SEARCH, CONFIRM])
def test_what_is_not_finite_ends_a_trial_of_any_stage(study, stage, column, value):
    def row(spec, epoch):
        bad = {column: value} if spec.stage == stage and epoch == 2 else {}
        return equal_row(spec, epoch) | bad

    _, tables, _ = run(study, row=row)

    rows = of_stage(tables, stage)
    assert {(row["status"], row["epochs"]) for row in rows} == {(DIVERGED, 2)}
    assert {row["error"] for row in rows} == {f"{column} must stay finite, got {value} at epoch 2"}


@pytest.mark.parametrize(("factor", "ends"), [(9.9, False), (10.1, True)])
def test_a_loss_of_ten_times_its_first_value_ends_search_but_not_design(study, factor, ends):
    def row(spec, epoch):
        loss = 0.5 * (factor if epoch == 2 else 1)
        return equal_row(spec, epoch) | {"val_loss": loss}

    _, tables, _ = run(study, row=row)

    assert {row["status"] for row in design_rows(tables)} == {COMPLETED}
    assert {row["status"] for row in of_stage(tables, SEARCH)} == {DIVERGED if ends else COMPLETED}
    if ends:
        assert {row["error"] for row in of_stage(tables, SEARCH)} == {
            "val_loss must stay below 10 x its first value 0.5, got 5.05 at epoch 2"
        }


def test_a_training_is_told_to_stop_exactly_where_it_must(study):
    engine = engine_of(study)
    simulate(engine, trials=16)
    (spec,) = [engine.next_trial()]

    assert engine.on_epoch(spec.trial_id, epoch_row(spec, 0)) is False
    assert engine.on_epoch(spec.trial_id, epoch_row(spec, 1, val_correlation=-1.0)) is True
    assert engine.on_epoch(spec.trial_id, epoch_row(spec, 2)) is False  # too late to matter
    assert engine.ended[spec.trial_id].status == STOPPED


def test_a_trial_that_raises_has_failed_with_its_reason_and_the_study_goes_on(study):
    def row(spec, epoch):
        if spec.trial_id == "design001-random-seed2" and epoch == 4:
            raise RuntimeError("out of memory")
        return epoch_row(spec, epoch)

    engine, tables, _ = run(study, row=row)

    (failed,) = [row for row in tables.rows if row["status"] == FAILED]
    assert (failed["error"], failed["epochs"]) == ("out of memory", 3)
    assert len(engine.ended) == len(tables.rows) > 28
    assert len(tables.curves[failed["trial_id"]]) == 4


def test_a_trial_that_fails_before_its_first_epoch_has_no_curve_and_no_metrics(study):
    def row(spec, epoch):
        raise RuntimeError(f"no such file: {spec.arm}")

    engine, tables, _ = run(study, row=row)

    assert {(row["status"], row["epochs"]) for row in tables.rows} == {(FAILED, 0)}
    assert not any("val_loss" in row for row in tables.rows)
    assert all(curve == [] for curve in tables.curves.values())
    assert [row["stage"] for row in tables.rows].count(CONFIRM) == 0
    assert not engine.running
    assert engine.has_finished


def test_a_study_whose_first_trials_all_fail_alike_before_epoch_0_ends_with_that_reason(study):
    tables = Tables()

    def row(spec, epoch):
        raise RuntimeError(f"out of memory: tried to allocate {len(tables.rows)} GiB")

    engine = engine_of(study, tables=tables)
    with pytest.raises(TrialError, match=r"first 5 trials .* got: out of memory: tried to"):
        simulate(engine, row=row)
    assert [row["status"] for row in tables.rows] == [FAILED] * 5  # all of one, one of another

    again = engine_of(study, ended=list(engine.ended.values()))  # resumed, and nothing mended
    with pytest.raises(TrialError, match=r"first 6 trials .* go on with --resume --retry-failed"):
        simulate(again, row=row)


def test_a_failed_search_point_that_is_run_again_and_is_the_best_is_confirmed_too(study):
    def broken(spec, epoch):
        if spec.config_id in ("pretrained-002", "random-001") and spec.stage == SEARCH:
            raise RuntimeError("broken")
        return epoch_row(spec, epoch)

    def now_the_best(spec, epoch):
        return epoch_row(spec, epoch, val_correlation=0.99)

    first, _, _ = run(study, row=broken)
    failed = [one.spec for one in first.ended.values() if one.status == FAILED]
    left = [one for one in first.ended.values() if one.status != FAILED]
    again = engine_of(study, ended=left, started=failed)
    assert not again.has_finished
    simulate(again, row=now_the_best)

    assert len(failed) == 2
    assert again.has_finished
    confirmed = {one.spec.config_id for one in again.ended.values() if one.spec.stage == CONFIRM}
    assert {"pretrained-002", "random-001"} < confirmed
    assert all(again.ended[spec.trial_id].status == COMPLETED for spec in failed)


@pytest.mark.parametrize(
    "good", [("design000-pretrained-seed1", 1), ("design000-random-seed1", 9)], ids=str
)
def test_a_study_goes_on_once_any_trial_has_come_to_epoch_0(study, good):
    def row(spec, epoch):
        if spec.trial_id != good[0] or epoch > good[1]:
            raise RuntimeError("broken")
        return epoch_row(spec, epoch)

    engine, tables, _ = run(study, row=row)

    assert [row["status"] for row in tables.rows].count(FAILED) >= 27
    assert engine.has_finished


def test_what_a_machine_refuses_ends_the_study_and_the_trial_is_still_to_be_run(study):
    engine = engine_of(study)
    simulate(engine, trials=2)
    spec = engine.next_trial()

    with pytest.raises(TrialError, match=f"{spec.trial_id}: .* No space left .* --resume"):
        engine.on_error(spec.trial_id, "OSError: [Errno 28] No space left on device", Loss.SYSTEM)

    assert list(engine.running) == [spec.trial_id]
    assert len(engine.ended) == 2


def test_an_error_of_a_trial_that_has_ended_changes_nothing(study):
    engine = simulate(engine_of(study), trials=1)
    (trial_id,) = engine.ended

    engine.on_error(trial_id, "its process died while it was being stopped")

    assert engine.ended[trial_id].status == COMPLETED


# --- what Optuna is told ---


@pytest.mark.parametrize("workers", [1, 3])
def test_states_are_those_of_the_trials_and_none_is_left_running(study, workers):
    def row(spec, epoch):
        one_seed = (spec.config_id, spec.seed) == ("design002", 2)
        if spec.search_point == 3 if spec.stage == SEARCH else one_seed:
            raise RuntimeError("broken")
        return epoch_row(spec, epoch)

    engine, tables, storage = run(study, workers=workers, row=row)

    assert engine.running == {}
    states = {COMPLETED: "COMPLETE", STOPPED: "PRUNED", DIVERGED: "FAIL", FAILED: "FAIL"}
    for arm in ARMS:
        trials = optuna_trials(storage, arm)
        points = {t.user_attrs.get("search_point"): t.state.name for t in trials}
        designs = {t.user_attrs.get("design"): t.state.name for t in trials}
        rows = [row for row in of_stage(tables, SEARCH) if row["arm"] == arm]
        del points[None], designs[None]
        assert points == {int(row["config_id"][-3:]): states[row["status"]] for row in rows}
        assert designs == {f"design00{n}": "FAIL" if n == 2 else "COMPLETE" for n in range(4)}


@pytest.mark.parametrize("workers", [1, 3])
def test_the_design_is_told_as_means_over_its_seeds(study, workers):
    _, tables, storage = run(study, workers=workers)

    for arm in ARMS:
        means = {
            trial.user_attrs["design"]: trial
            for trial in optuna_trials(storage, arm)
            if "design" in trial.user_attrs
        }
        assert len(means) == 4
        for point, trial in means.items():
            mine = [r for r in design_rows(tables) if (r["arm"], r["config_id"]) == (arm, point)]
            mean = sum(row["val_correlation"] for row in mine) / 2
            assert trial.value == pytest.approx(mean, rel=1e-12)
            assert trial.user_attrs["seeds"] == 2


def test_the_first_proposal_comes_after_the_whole_design_is_told(study):
    storage = InMemoryStorage()
    simulate(engine_of(study, storage=storage), trials=17)

    trials = optuna_trials(storage, "pretrained")
    assert ["design" in trial.user_attrs for trial in trials] == [True] * 4 + [False]


# --- going on after an end ---


def outcome(tables):
    """Everything of the ended trials that does not tell the time."""
    return {
        row["trial_id"]: {key: value for key, value in row.items() if key != "started_at"}
        for row in tables.rows
    }


def unlucky_row(spec, epoch):
    """Some trials fail, some explode, some become NaN."""
    if spec.stage == DESIGN and spec.config_id == "design003" and spec.seed == 1 and epoch == 2:
        raise RuntimeError("broken")
    if spec.stage == SEARCH and spec.search_point == 1 and epoch == 3:
        return epoch_row(spec, epoch, val_loss=100.0, val_correlation=0.99)
    if spec.stage == SEARCH and spec.search_point == 2 and epoch == 3:
        return epoch_row(spec, epoch, val_loss=math.nan)
    return epoch_row(spec, epoch)


@pytest.mark.parametrize("row", [epoch_row, unlucky_row])
def test_a_study_interrupted_after_every_trial_ends_as_if_it_had_not_been(study, row):
    _, whole, _ = run(study, row=row)
    tables, ended = Tables(), []

    for count in range(1, len(whole.rows) + 1):
        engine = simulate(engine_of(study, tables=tables, ended=ended), trials=count, row=row)
        ended = list(engine.ended.values())

    assert str(outcome(tables)) == str(outcome(whole))


@pytest.mark.parametrize("row", [epoch_row, unlucky_row])
@pytest.mark.parametrize("ended", [5, 19, 29])
def test_the_tables_of_a_run_are_all_that_is_needed_to_go_on(study, tmp_path, ended, row):
    _, whole, _ = run(study, row=row)
    folder = RunFolder(tmp_path / "run")
    simulate(engine_of(study, tables=WrittenTables(folder)), trials=ended, row=row)
    tables = Tables()

    known = ended_trials(folder, study)
    simulate(engine_of(study, tables=tables, ended=known), row=row)

    assert len(known) == ended
    assert [trial.spec.trial_id for trial in known] + tables.trial_ids == whole.trial_ids
    rest = {id_: row for id_, row in outcome(whole).items() if id_ in tables.trial_ids}
    assert str(outcome(tables)) == str(rest)


@pytest.mark.parametrize("ended", [3, 14, 18, 26])
def test_with_several_workers_no_trial_is_lost_and_none_is_run_twice(study, ended):
    tables = Tables()
    first = simulate(engine_of(study, tables=tables), workers=3, trials=ended)

    engine = engine_of(study, tables=tables, ended=first.ended.values())
    simulate(engine, workers=3)

    counts = Counter(row["stage"] for row in tables.rows)
    assert len(set(tables.trial_ids)) == len(tables.trial_ids)
    assert (counts[DESIGN], counts[SEARCH]) == (16, 12)
    assert counts[CONFIRM] == engine.expected_by_stage()[CONFIRM]


def test_going_on_rebuilds_the_same_optuna_studies(study):
    engine, _, lived = run(study, row=unlucky_row)
    rebuilt = InMemoryStorage()

    engine_of(study, storage=rebuilt, ended=engine.ended.values())

    for arm in ARMS:
        held = [
            [
                (t.state, t.value, t.params, t.intermediate_values, t.user_attrs)
                for t in optuna_trials(storage, arm)
            ]
            for storage in (lived, rebuilt)
        ]
        assert str(held[0]) == str(held[1])


def test_whoever_watches_hears_of_every_start_epoch_and_end(study):
    engine, heard = engine_of(study), []
    engine.observers.append(lambda: heard.append((len(engine.running), len(engine.ended))))

    simulate(engine, trials=1)

    assert heard == [(1, 0)] * 10 + [(0, 1)]


def row_with_blocks(spec, epoch):
    sums = np.full((2, 4, 3, 6), epoch + 1.0)
    return epoch_row(spec, epoch) | ({BLOCKS: sums} if epoch in (2, 9) else {})


def test_sums_of_blocks_are_written_beside_the_trial_and_nowhere_else(study):
    tables = Tables()

    simulate(engine_of(study, tables=tables), trials=1, row=row_with_blocks)

    (row,) = tables.rows
    blocks = tables.blocks[row["trial_id"]]
    assert [block["epoch"] for block in blocks] == [2] * 24 + [9] * 24
    assert {(block["epoch"], block["n"]) for block in blocks} == {(2, 3), (9, 10)}
    assert {block["timeframe"] for block in blocks} == {"m1", "m5"}
    assert BLOCKS not in row
    assert not any(BLOCKS in point for point in tables.curves[row["trial_id"]])


def test_what_a_trial_has_added_up_before_it_fails_is_written(study):
    def row(spec, epoch):
        if epoch == 5:
            raise RuntimeError("broken")
        return row_with_blocks(spec, epoch)

    tables = Tables()

    simulate(engine_of(study, tables=tables), trials=1, row=row)

    (blocks,) = tables.blocks.values()
    assert {block["epoch"] for block in blocks} == {2}
