"""Curves and HParams as TensorBoard itself reads them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from made_studies import epoch_row, write_space
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import metadata

from stage1.run.columns import COMPLETED, FAILED, SEARCH
from stage1.study.study import load_study
from stage1.study.trials import RunningTrial, TrialSpec, curve_rows, trial_row
from stage1.workers.tensorboard import write_columns, write_trial

VALUES = {"training.optimizer.lr": 0.01, "transfer_learning.lm_name_or_path": "english-t5-nano"}
SPEC = TrialSpec(SEARCH, "random", "random-007", 3, VALUES)


def events_of(folder):
    events = EventAccumulator(str(folder))
    events.Reload()
    return events


def hparams_of(events):
    content = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    return metadata.parse_session_start_info_plugin_data(content)


@pytest.fixture
def written(tmp_path):
    """Write a made-up trial; gives its folder and what TensorBoard finds in it."""

    def write(epochs, status=COMPLETED, **columns):
        rows = [epoch_row(SPEC, epoch, **columns) for epoch in range(epochs)]
        trial = RunningTrial(SPEC, datetime(2026, 11, 1, tzinfo=UTC), rows)
        write_trial(tmp_path, trial_row(trial, status, None), curve_rows(trial))
        return rows, events_of(tmp_path / "search" / "random" / SPEC.trial_id)

    return write


def test_every_finite_number_of_the_curve_is_a_scalar_by_epoch(written):
    rows, events = written(4)

    assert set(events.Tags()["scalars"]) == {
        *("val_loss", "val_correlation", "val_skill", "val_corr_m1", "train_loss", "lr", "seconds")
    }
    loss = events.Scalars("val_loss")
    assert [point.step for point in loss] == [0, 1, 2, 3]
    assert [p.value for p in loss] == pytest.approx([row["val_loss"] for row in rows])
    assert [point.step for point in events.Scalars("train_loss")] == [1, 2, 3]


def test_hparams_are_what_the_trial_is_and_the_searched_values(written):
    _, events = written(2)

    start = hparams_of(events)
    values = {name: one.string_value or one.number_value for name, one in start.hparams.items()}
    assert start.group_name == SPEC.trial_id
    trial = {"trial.seed": 3, "trial.stage": "search", "trial.status": "completed"}
    assert values == {"arm": "random", **trial, **VALUES}


def test_a_trial_that_failed_before_its_first_epoch_has_its_values_and_no_curve(written):
    _, events = written(0, status=FAILED)

    assert events.Tags()["scalars"] == []
    assert hparams_of(events).hparams["trial.status"].string_value == "failed"


def test_numbers_that_are_not_finite_are_left_out(written):
    _, events = written(2, val_loss=float("nan"))

    assert "val_loss" not in events.Tags()["scalars"]
    assert "val_skill" in events.Tags()["scalars"]


# --- the columns of the HParams tab ---

SPACE = """\
name: mixed
base: base.yaml
objective: {metric: val_skill, mode: max}
horizon_epochs: 3
arms:
  pretrained: {transfer_learning.initialization: pretrained}
  random: {transfer_learning.initialization: random}
space:
  transfer_learning.use_pretrained_lm: {type: choice, options: [true, false]}
  transfer_learning.patch_len: 
    {type: choice, options: [4, 8], when: {transfer_learning.use_pretrained_lm: true}}
  training.optimizer.lr: {type: float, low: 1.0e-3, high: 1.0e-2, log: true}
  training.gradient_clip: {type: choice, options: [0.5, 1]}
design: {configurations: 2, seeds: 2}
"""


@pytest.fixture
def experiment(tmp_path):
    study = load_study(write_space(tmp_path, SPACE), seed=5)
    for _ in range(2):  # as after --resume
        write_columns(tmp_path / "tensorboard", study)
    events = events_of(tmp_path / "tensorboard" / "study")
    content = events.SummaryMetadata("_hparams_/experiment").plugin_data.content
    return metadata.parse_experiment_plugin_data(content)


def test_every_parameter_has_a_column_with_a_short_name_and_its_range(experiment):
    columns = {column.name: column for column in experiment.hparam_infos}

    assert {name: column.display_name for name, column in columns.items()} == {
        "arm": "arm",
        **{f"trial.{name}": name for name in ("seed", "stage", "status")},
        "transfer_learning.use_pretrained_lm": "use_pretrained_lm",
        "transfer_learning.patch_len": "patch_len",
        "training.optimizer.lr": "lr",
        "training.gradient_clip": "gradient_clip",
    }
    assert columns["training.optimizer.lr"].domain_interval.max_value == 0.01
    assert list(columns["training.gradient_clip"].domain_discrete) == [0.5, 1.0]
    assert list(columns["arm"].domain_discrete) == ["pretrained", "random"]
    seeds = columns["trial.seed"].domain_interval
    assert (seeds.min_value, seeds.max_value) == (5, 9)


def test_the_objective_is_the_first_metric(experiment):
    tags = [metric.name.tag for metric in experiment.metric_infos]

    assert tags[:2] == ["val_skill", "val_loss"]
    assert len(tags) == len(set(tags)) == 5
