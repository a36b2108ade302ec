"""The tables of a run folder: what is written, what is read back, what is refused."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from made_runs import (
    START,
    synthetic_blocks,
    synthetic_cost,
    synthetic_curve,
    synthetic_space,
    synthetic_trial,
)

from stage1.base.errors import ResultsError
from stage1.run.columns import BLOCK_COLUMNS, COST_COLUMNS, CURVE_COLUMNS, TRIAL_COLUMNS
from stage1.run.folder import RunFolder
from stage1.run.resolved_space import read_space
from stage1.run.tables import (
    RunWriter,
    read_blocks,
    read_cost,
    read_curves,
    read_trials,
    write_cost,
)


@pytest.fixture
def run(tmp_path):
    return RunFolder(tmp_path / "runs" / "study")


def fixed_names(columns):
    return [column.name for column in columns if not column.is_family]


BLOCK = {
    "epoch": 4,
    "timeframe": "m1",
    "channel": "close",
    "block": 2,
    "n": 40,
    "sum_truth": 1.5,
    "sum_decoded": -0.5,
    "sum_truth_squared": 41.0,
    "sum_decoded_squared": 39.0,
    "sum_product": 36.0,
}


def test_a_new_run_has_empty_tables_with_all_fixed_columns(run):
    RunWriter(run)

    trials, curves, blocks = read_trials(run), read_curves(run), read_blocks(run)

    assert list(trials.columns) == fixed_names(TRIAL_COLUMNS)
    assert list(curves.columns) == fixed_names(CURVE_COLUMNS)
    assert list(blocks.columns) == fixed_names(BLOCK_COLUMNS)
    assert len(trials) == len(curves) == len(blocks) == 0


def test_a_trial_is_read_back_as_it_was_written_with_its_curve_and_blocks(run):
    identity = {"stage": "design", "arm": "shuffled", "config_id": "c3", "seed": 2}
    row = synthetic_trial("t7", **identity, would_stop_epoch=2, peak_vram_mb=None, error=None)

    RunWriter(run).add_trial(row, synthetic_curve(0.9, epochs=2), [BLOCK])

    (read,) = read_trials(run).to_dict("records")
    assert {name: read[name] for name in row if row[name] is not None} == {
        name: value for name, value in row.items() if value is not None
    }
    assert math.isnan(read["peak_vram_mb"])
    assert pd.isna(read["error"])
    assert read["started_at"] == START
    identity["trial_id"] = "t7"
    curves = read_curves(run)
    assert curves[list(identity)].drop_duplicates().to_dict("records") == [identity]
    assert curves["epoch"].tolist() == [0, 1, 2]
    assert curves["train_loss"].isna().tolist() == [True, False, False]
    assert read_blocks(run).to_dict("records") == [identity | BLOCK]


def test_columns_come_in_the_documented_order_whatever_the_order_of_the_row(run):
    row = synthetic_trial("t0", baseline_val_corr_m1=0.88, val_skill_m1=0.1)

    RunWriter(run).add_trial(dict(reversed(row.items())), [])

    names = list(read_trials(run).columns)
    assert names[:7] == ["trial_id", "stage", "arm", "config_id", "seed", "status", "epochs"]
    assert names[7].startswith("param.")
    assert names[9:15] == [
        *("val_loss", "val_correlation", "val_skill", "val_corr_m5", "val_corr_m1", "val_skill_m1")
    ]
    baseline = names.index("baseline_val_corr_m1")
    assert names[baseline + 1 : baseline + 3] == ["zero_val_loss", "accumulation"]


def test_types_do_not_depend_on_which_values_are_null(run):
    writer = RunWriter(run)
    writer.add_trial(synthetic_trial("t0", parameters=None, steps=None, val_loss=None), [])

    trials = read_trials(run)

    assert trials.dtypes[["seed", "epochs"]].tolist() == ["int64"] * 2
    assert trials.dtypes[["parameters", "would_stop_epoch"]].tolist() == ["Int64"] * 2
    assert trials["val_loss"].dtype == "float64"
    assert trials["error"].dtype == "str"
    assert str(trials["started_at"].dtype) == "datetime64[us, UTC]"


def test_parameters_take_the_type_of_their_values(run):
    writer = RunWriter(run)
    values = {"param.a": [1, 2], "param.b": [1, 0.5], "param.c": ["x", None], "param.d": [None, 3]}
    for place in range(2):
        row = {name: pair[place] for name, pair in values.items()}
        writer.add_trial(synthetic_trial(f"t{place}", **row), [])

    trials = read_trials(run)

    assert [str(trials[name].dtype) for name in values] == ["Int64", "float64", "str", "Int64"]
    assert trials["param.b"].tolist() == [1.0, 0.5]


def test_non_finite_metrics_of_a_diverged_trial_are_missing(run):
    row = synthetic_trial("t0", status="diverged", val_loss=math.inf, val_correlation=math.nan)

    RunWriter(run).add_trial(row, [{"epoch": 0, "val_loss": -math.inf}])

    assert read_trials(run)[["val_loss", "val_correlation"]].isna().all(axis=None)
    assert read_curves(run)["val_loss"].isna().all()


def test_a_writer_continues_the_tables_it_finds(run):
    blocks = synthetic_blocks({"m1": 0.9}, epoch=4)
    RunWriter(run).add_trial(synthetic_trial("t0"), synthetic_curve(0.9), blocks)

    writer = RunWriter(run)
    writer.add_trial(synthetic_trial("t1", stage="search"), synthetic_curve(0.8))
    writer.add_trial(synthetic_trial("t2"), [], blocks)

    assert writer.trial_ids == {"t0", "t1", "t2"}
    assert read_trials(run)["trial_id"].tolist() == ["t0", "t1", "t2"]
    assert read_curves(run)["trial_id"].value_counts().to_dict() == {"t0": 5, "t1": 5}
    counts = read_blocks(run)["trial_id"].value_counts().to_dict()
    assert counts == {"t0": len(blocks), "t2": len(blocks)}


@pytest.mark.parametrize(
    ("table", "left"),
    [
        pytest.param("blocks.parquet", (0, 0, 0), id="before the first"),
        pytest.param("curves.parquet", (0, 0, 1), id="after the blocks"),
        pytest.param("trials.parquet", (0, 5, 1), id="before the trials, which come last"),
    ],
)
def test_a_crash_between_the_tables_leaves_all_readable_and_no_double_rows(
    run, monkeypatch, table, left
):
    writer, write_table = RunWriter(run), pq.write_table

    def fail_at_the_table(content, path):
        if path.name == table:
            raise OSError("no space left on device")
        write_table(content, path)

    with monkeypatch.context() as patch:
        patch.setattr(pq, "write_table", fail_at_the_table)
        with pytest.raises(OSError, match="no space"):
            writer.add_trial(synthetic_trial("t0"), synthetic_curve(0.9), [BLOCK])
    between = [len(read(run)) for read in (read_trials, read_curves, read_blocks)]
    RunWriter(run).add_trial(synthetic_trial("t0", status="failed"), synthetic_curve(0.9)[:2])

    assert between == list(left)
    assert read_curves(run)["epoch"].tolist() == [0, 1]
    assert len(read_blocks(run)) == 0


def test_the_cost_is_read_back_as_it_was_written(run):
    rows = synthetic_cost()

    write_cost(run, rows)

    read = read_cost(run)
    assert list(read.columns) == fixed_names(COST_COLUMNS)
    assert read["seconds"].tolist() == [row["seconds"] for row in rows]
    assert read["arm"].tolist()[:4] == ["pretrained", "vanilla", "vanilla", "pretrained"]
    assert read["peak_vram_mb"].isna().all()


@pytest.mark.parametrize(
    ("read", "columns"), [(read_blocks, BLOCK_COLUMNS), (read_cost, COST_COLUMNS)]
)
def test_a_run_without_the_table_has_no_rows_but_all_columns_in_their_types(run, read, columns):
    writer = RunWriter(run)
    run.blocks.unlink()
    missing = read(run)
    writer.add_trial(synthetic_trial("t0"), [], [BLOCK])
    write_cost(run, synthetic_cost())

    assert list(missing.columns) == fixed_names(columns)
    assert len(missing) == 0
    assert missing.dtypes.to_dict() == read(run).dtypes.to_dict()


def test_a_timing_twice_is_refused(run):
    write_cost(run, synthetic_cost() * 2)

    with pytest.raises(ResultsError, match=r"cost\.parquet"):
        read_cost(run)


def test_a_cost_of_another_arm_is_refused_and_nothing_written(run):
    with pytest.raises(ValueError, match="arm must be one of pretrained, vanilla, got 'random'"):
        write_cost(run, [synthetic_cost()[0] | {"arm": "random"}])

    assert not run.cost.exists()


def test_trials_of_an_earlier_version_have_no_loss_of_predicting_0(run):
    RunWriter(run).add_trial(synthetic_trial("t0"), [])
    pq.write_table(pq.read_table(run.trials).drop_columns(["zero_val_loss"]), run.trials)

    trials = read_trials(run)

    assert trials["zero_val_loss"].isna().all()
    assert trials["zero_val_loss"].dtype == "float64"


def test_curves_of_an_earlier_version_have_no_relative_steps_and_go_on(run):
    RunWriter(run).add_trial(synthetic_trial("t0"), synthetic_curve(0.8))
    pq.write_table(pq.read_table(run.curves).drop_columns(["lm_relative_step"]), run.curves)

    before = read_curves(run)
    steps = [row | {"lm_relative_step": 0.5} for row in synthetic_curve(0.8)]
    RunWriter(run).add_trial(synthetic_trial("t1"), steps)
    after = read_curves(run)

    assert before["lm_relative_step"].isna().all()
    by_trial = after.groupby("trial_id")["lm_relative_step"]
    assert by_trial.count().to_dict() == {"t0": 0, "t1": len(steps)}


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        pytest.param({"trial_id": "t0"}, "trial_id must be new", id="a trial that is there"),
        pytest.param({"config_id": None}, "config_id must be given", id="a missing identity"),
        pytest.param({"stage": "warmup"}, "stage must be one of design", id="an unknown stage"),
        pytest.param({"status": "done"}, "status must be one of completed", id="an unknown status"),
        pytest.param({"val_los": 0.1}, "must be one of the table's, got 'val_los'", id="a typo"),
        pytest.param({"epochs": 3.5}, "epochs must be a whole number", id="half an epoch"),
        pytest.param({"param.a": [1]}, "param.a must be text, a number", id="a list"),
        pytest.param({"param.b": "x"}, "keep to one type", id="text among numbers"),
        pytest.param({"started_at": datetime(2026, 1, 1)}, "time zone", id="a naive time"),
    ],
)
def test_a_row_that_does_not_fit_is_refused_and_the_tables_stay(run, columns, message):
    writer = RunWriter(run)
    writer.add_trial(synthetic_trial("t0", **{"param.b": 1.0}), synthetic_curve(0.9))
    row = synthetic_trial("t1", **columns)

    with pytest.raises(ValueError, match=message):
        writer.add_trial(row, synthetic_curve(0.9))

    assert read_trials(run)["trial_id"].tolist() == ["t0"]
    assert len(read_curves(run)) == 5


@pytest.mark.parametrize(
    ("epochs", "message"),
    [
        pytest.param([0, 1, 1], "must increase", id="an epoch twice"),
        pytest.param([0, None], "must be given", id="no epoch"),
        pytest.param([0, 1.5], "whole number", id="half an epoch"),
    ],
)
def test_a_curve_needs_increasing_epochs(run, epochs, message):
    curve = [{"epoch": epoch, "val_loss": 0.1} for epoch in epochs]

    with pytest.raises(ValueError, match=message):
        RunWriter(run).add_trial(synthetic_trial("t0"), curve)


def replaced(name, values):
    return lambda table: table.set_column(table.column_names.index(name), name, pa.array(values))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda table: table.drop_columns(["val_loss", "node"]),
            "trials.parquet: must have the columns val_loss, node;",
        ),
        (replaced("status", ["done", "done"]), "status must be one of completed"),
        (replaced("trial_id", ["t0", "t0"]), "rows must differ in trial_id, got 't0' twice"),
        (replaced("config_id", ["c0", None]), "config_id must be given"),
        (replaced("val_loss", ["low", "high"]), "val_loss must be a number, got 'low'"),
        (replaced("val_loss", [math.inf] * 2), "a finite number, got inf"),
        (replaced("seconds", [1e300] * 2), "seconds must be a finite number"),
        (
            replaced("started_at", pa.array([2**62] * 2, pa.timestamp("us", "UTC"))),
            "started_at must be a time from 1970",
        ),
        (replaced("config_id", ["a\nb"] * 2), "config_id must be a line of"),
        (
            replaced("param.training.optimizer.lr", [[1.0]] * 2),
            "param.training.optimizer.lr must hold single values",
        ),
        (
            lambda table: table.append_column("seed", table.column("seed")),
            "must have each column once, got 'seed' 2 times",
        ),
    ],
)
def test_a_table_that_is_not_ours_is_one_line_with_its_fault(run, change, message):
    writer = RunWriter(run)
    writer.add_trial(synthetic_trial("t0"), [])
    writer.add_trial(synthetic_trial("t1"), [])
    pq.write_table(change(pq.read_table(run.trials)), run.trials)

    with pytest.raises(ResultsError) as error:
        read_trials(run)

    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("read", [read_trials, read_curves, read_blocks, read_cost, read_space])
def test_a_missing_folder_is_named_by_every_reader(run, read):
    with pytest.raises(ResultsError, match="study must be a run folder, got no such folder"):
        read(run)


def test_the_name_of_a_study_is_answered_with_its_folder(run, monkeypatch):
    monkeypatch.chdir(run.path.parent.parent)
    Path("runs/mine").mkdir(parents=True)

    with pytest.raises(ResultsError, match=r"no such folder; did you mean runs/mine[?]$"):
        read_trials(RunFolder(Path("mine")))


@pytest.mark.parametrize("read", [read_trials, read_curves, read_space])
def test_a_missing_file_is_named(run, read):
    run.path.mkdir(parents=True)

    with pytest.raises(ResultsError, match=r"study must hold \w+\.\w+, got no such file"):
        read(run)


@pytest.mark.parametrize("read", [read_trials, RunWriter])
def test_a_broken_table_is_one_line_for_reader_and_writer(run, read):
    RunWriter(run)
    run.trials.write_bytes(run.trials.read_bytes()[:100])

    with pytest.raises(ResultsError, match=r"trials.parquet: must be readable") as error:
        read(run)

    assert "\n" not in str(error.value)


def test_the_space_is_read_as_written(run):
    run.path.mkdir(parents=True)
    run.space.write_text(yaml.safe_dump(synthetic_space()), encoding="utf-8")

    space = read_space(run)

    assert space.model_dump(exclude_unset=True) == synthetic_space()
    assert space.space["training.optimizer.lr"].low == 1e-4
    assert space.timeframes == ("m1", "m5")


def test_a_time_in_another_zone_is_stored_as_the_same_instant(run):
    started = datetime.fromisoformat("2026-11-01T02:00:00+02:00")

    RunWriter(run).add_trial(synthetic_trial("t0", started_at=started), [])

    assert read_trials(run)["started_at"][0] == datetime(2026, 11, 1, tzinfo=UTC)
