"""Curves and HParams as TensorBoard itself reads them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from simulated_study import epoch_row
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import metadata

from stage1.results import COMPLETED, FAILED, SEARCH
from stage1.search.tensorboard import write_trial
from stage1.search.trials import RunningTrial, TrialSpec, curve_rows, trial_row

VALUES = {"training.optimizer.lr": 0.01, "transfer_learning.lm_name_or_path": "english-t5-nano"}
SPEC = TrialSpec(SEARCH, "random", "random-007", 3, VALUES)


@pytest.fixture
def written(tmp_path):
    """Write a made-up trial; gives its folder and what TensorBoard finds in it."""

    def write(epochs, status=COMPLETED, **columns):
        rows = [epoch_row(SPEC, epoch, **columns) for epoch in range(epochs)]
        trial = RunningTrial(SPEC, datetime(2026, 11, 1, tzinfo=UTC), rows)
        write_trial(tmp_path, trial_row(trial, status, None), curve_rows(trial))
        folder = tmp_path / "search" / "random" / SPEC.trial_id
        events = EventAccumulator(str(folder))
        events.Reload()
        return rows, events

    return write


def test_every_finite_number_of_the_curve_is_a_scalar_by_epoch(written):
    rows, events = written(4)

    assert set(events.Tags()["scalars"]) == {
        *("val_loss", "val_correlation", "val_skill", "val_corr_m1", "train_loss", "lr", "seconds"),
        *("final/val_loss", "final/val_correlation", "final/val_skill"),
    }
    loss = events.Scalars("val_loss")
    assert [point.step for point in loss] == [0, 1, 2, 3]
    assert [p.value for p in loss] == pytest.approx([row["val_loss"] for row in rows])
    assert [point.step for point in events.Scalars("train_loss")] == [1, 2, 3]


def test_hparams_are_arm_seed_and_the_searched_values(written):
    _, events = written(2)

    content = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    hparams = metadata.parse_session_start_info_plugin_data(content).hparams
    assert hparams["training.optimizer.lr"].number_value == 0.01
    assert hparams["transfer_learning.lm_name_or_path"].string_value == "english-t5-nano"
    assert hparams["arm"].string_value == "random"
    assert hparams["seed"].number_value == 3


def test_a_trial_that_failed_before_its_first_epoch_is_an_empty_run(written):
    _, events = written(0, status=FAILED)

    assert events.Tags()["scalars"] == []


def test_numbers_that_are_not_finite_are_left_out(written):
    _, events = written(2, val_loss=float("nan"))

    assert "val_loss" not in events.Tags()["scalars"]
    assert "final/val_loss" not in events.Tags()["scalars"]
    assert "final/val_skill" in events.Tags()["scalars"]
