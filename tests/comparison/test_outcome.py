"""One training, whatever becomes of it."""

from __future__ import annotations

import math

import pytest
from tiny_training import tiny_config, tiny_language_model, tiny_windows

from stage1.comparison import outcome
from stage1.comparison.outcome import train_once
from stage1.run.columns import COMPLETED, DIVERGED, FAILED
from stage1.study.trials import not_finite
from stage1.training.fit import fit

METRICS = ("epoch", "val_loss", "val_correlation", "head_sha256", "order_sha256", "steps")


def epoch_row(epoch, **columns):
    return {"epoch": epoch, "val_loss": 0.5, "val_correlation": 0.5, "train_loss": 0.5} | columns


@pytest.fixture
def outcome_of(monkeypatch):
    """The outcome of a training that reports some rows and then, perhaps, raises."""

    def run(*rows, error=None, **options):
        def made_up(config, windows, language_model, *, report, **options):
            for row in rows:
                report(row)
            if error is not None:
                raise error

        monkeypatch.setattr(outcome, "fit", made_up)
        return train_once(None, None, None, accelerator="cpu", **options)

    return run


def test_a_training_is_what_fit_makes_of_the_same_arguments():
    config = tiny_config(training={"epochs": 1})
    rows = []
    fit(config, tiny_windows(config), tiny_language_model(), report=rows.append)

    trained = train_once(config, tiny_windows(config), tiny_language_model(), accelerator="cpu")

    assert (trained.status, trained.error) == (COMPLETED, None)
    assert [[row[name] for name in METRICS] for row in trained.curve] == [
        [row[name] for name in METRICS] for row in rows
    ]
    assert all(row["node"] for row in trained.curve)


@pytest.mark.parametrize(
    "row",
    [
        epoch_row(2, val_loss=math.inf),
        epoch_row(2, val_correlation=math.nan),
        epoch_row(2, train_loss=math.nan),
    ],
)
def test_a_number_that_is_none_ends_the_training_as_diverged(outcome_of, row):
    ended = outcome_of(epoch_row(0, train_loss=math.nan), epoch_row(1), row, epoch_row(3))

    assert ended.status == DIVERGED
    assert "must stay finite" in ended.error
    assert [row["epoch"] for row in ended.curve] == [0, 1, 2]


def test_a_training_that_raises_has_failed_with_one_line_and_keeps_its_epochs(outcome_of):
    ended = outcome_of(epoch_row(0), error=RuntimeError("no memory\nlong story"))

    assert (ended.status, ended.error) == (FAILED, "RuntimeError: no memory")
    assert len(ended.curve) == 1


def test_ctrl_c_is_no_outcome(outcome_of):
    with pytest.raises(KeyboardInterrupt):
        outcome_of(error=KeyboardInterrupt())


@pytest.mark.parametrize("batches", [0, 2], ids=["before the first", "amid the steps"])
def test_ctrl_c_between_two_batches_ends_a_training(batches):
    config = tiny_config(training={"epochs": 1})
    left = iter(range(batches))

    def check():
        if next(left, None) is None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_once(
            config, tiny_windows(config), tiny_language_model(), accelerator="cpu", check=check
        )


def test_every_epoch_is_told(outcome_of):
    told = []

    outcome_of(epoch_row(0), epoch_row(1), on_epoch=lambda: told.append("epoch"))

    assert len(told) == 2


def test_before_the_first_step_there_is_no_training_loss_to_diverge():
    assert not_finite(epoch_row(0, train_loss=math.nan), "val_correlation") is None
