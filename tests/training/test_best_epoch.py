"""Which epoch is the best, when a training ends early, and what it says at its end."""

import math

import pytest
import torch
from pytorch_lightning.callbacks import EarlyStopping

from stage1.config.training import EarlyStop, Origin
from stage1.training.best_epoch import best_epoch, epochs_without_gain
from stage1.training.session import origin_line


def rows(*values, metric="val_loss"):
    """Of epochs 0, 1, ...; the first one is before training."""
    return [{"epoch": epoch, metric: value} for epoch, value in enumerate(values)]


@pytest.mark.parametrize(
    ("metric", "epoch"), [("val_loss", 2), ("val_correlation", 4), ("val_skill", 4)]
)
def test_the_best_epoch_is_the_first_with_the_best_value_after_training_began(metric, epoch):
    found = best_epoch(rows(0.0, 0.5, 0.2, 0.2, 0.9, math.nan, metric=metric), metric)

    assert found["epoch"] == epoch


def test_before_the_first_step_or_without_a_number_no_epoch_is_the_best():
    assert best_epoch(rows(0.1), "val_loss") is None
    assert best_epoch(rows(0.1, math.nan, math.inf), "val_loss") is None


@pytest.mark.parametrize("min_delta", [0.0, 0.05, 0.3])
@pytest.mark.parametrize("seed", range(5))
def test_epochs_without_a_gain_are_counted_as_lightning_counts_them(min_delta, seed):
    losses = torch.rand(30, generator=torch.Generator().manual_seed(seed)).tolist()
    theirs = EarlyStopping("val_loss", min_delta=min_delta, patience=100)
    ours = EarlyStop(metric="val_loss", min_delta=min_delta, patience=100)

    for end in range(1, len(losses)):
        theirs._evaluate_stopping_criteria(torch.tensor(losses[end]))

        found = epochs_without_gain(rows(*losses[: end + 1]), ours)
        assert found == theirs.wait_count


ORIGIN = Origin(
    run="runs/transfer",
    arm="random",
    config_id="design003",
    seed=6,
    epochs=15,
    metric="val_loss",
    value=0.09,
    baseline_val_loss=0.12,
)


@pytest.mark.parametrize(
    ("loss", "end"),
    [(0.08, "0.0100 better"), (0.095, "0.0050 worse"), (0.09, "equal")],
)
def test_a_training_is_compared_with_the_trial_it_comes_from(loss, end):
    line = origin_line(ORIGIN, {"epoch": 9, "val_loss": loss, "baseline_val_loss": 0.12})

    assert line.startswith("Compared: val_loss")
    assert "design003 of arm random, seed 6, 15 epochs, in runs/transfer" in line
    assert line.endswith(end)


def test_scores_of_other_validation_windows_are_not_compared():
    line = origin_line(ORIGIN, {"epoch": 9, "val_loss": 0.01, "baseline_val_loss": 0.13})

    assert line.startswith("Not compared")
