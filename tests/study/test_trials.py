"""A trial's identity and its rows of the tables."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest
from made_studies import epoch_row

from stage1.config.data import PRICES
from stage1.run.columns import COMPLETED, DESIGN, SEARCH
from stage1.study.trials import RunningTrial, TrialSpec, block_rows, curve_rows, trial_row

VALUES = {"training.optimizer.lr": 0.01, "transfer_learning.patch_len": 8}
START = datetime(2026, 11, 1, 12, tzinfo=UTC)


@pytest.fixture
def trial():
    spec = TrialSpec(SEARCH, "random", "random-007", 3, VALUES)
    return RunningTrial(spec, START, [epoch_row(spec, epoch) for epoch in range(4)])


def test_a_trial_is_known_by_stage_configuration_arm_and_seed():
    spec = TrialSpec(DESIGN, "random", "design003", 2, VALUES)

    others = [
        spec._replace(stage="confirm"),
        spec._replace(arm="pretrained"),
        spec._replace(config_id="design004"),
        spec._replace(seed=1),
    ]

    assert spec.trial_id == "design003-random-seed2"
    assert len({spec.trial_id, *(other.trial_id for other in others)}) == 5
    assert spec._replace(values={}).trial_id == spec.trial_id


@pytest.mark.parametrize(
    ("arm", "config_id", "point"),
    [("random", "random-007", 7), ("a1", "a1-012", 12), ("a", "a-1000", 1000)],
)
def test_a_search_trial_knows_which_proposal_it_is(arm, config_id, point):
    assert TrialSpec(SEARCH, arm, config_id, 0, {}).search_point == point


def test_the_row_has_identity_values_and_the_metrics_of_the_last_epoch(trial):
    row = trial_row(trial, COMPLETED, None)

    expected = {
        "trial_id": "search-random-007-seed3",
        "stage": "search",
        "arm": "random",
        "config_id": "random-007",
        "seed": 3,
        "status": "completed",
        "epochs": 3,
        "param.training.optimizer.lr": 0.01,
        "param.transfer_learning.patch_len": 8,
        "val_loss": trial.curve[3]["val_loss"],
        "baseline_val_loss": 0.6,
        "zero_val_loss": 0.7,
        "seconds": 6.0,
        "steps": 90,
        "node": "here",
        "started_at": START,
        "would_stop_epoch": None,
        "error": None,
    }
    assert expected.items() <= row.items()
    assert not {"epoch", "train_loss", "lr"} & row.keys()


def test_the_curve_has_a_row_per_epoch_without_what_belongs_to_the_trial(trial):
    rows = curve_rows(trial)

    assert [row["epoch"] for row in rows] == [0, 1, 2, 3]
    assert rows[2]["val_correlation"] == trial.curve[2]["val_correlation"]
    assert set(rows[0]) == {
        *("epoch", "val_loss", "val_correlation", "val_skill", "val_corr_m1"),
        *("train_loss", "lr", "seconds"),
    }


def test_sums_become_a_row_per_epoch_timeframe_price_and_block(trial):
    sums = np.arange(2 * 4 * 3 * 6, dtype=float).reshape(2, 4, 3, 6) + 1
    trial.blocks = {1: sums, 3: -sums}

    rows = block_rows(trial, ["m1", "m5"], PRICES)

    assert len(rows) == 2 * 2 * 4 * 3
    (row,) = [
        row
        for row in rows
        if (row["epoch"], row["timeframe"], row["channel"], row["block"]) == (1, "m5", "low", 2)
    ]
    first = sums[1, 2, 2, 0]
    assert list(row.values())[4:] == [first + place for place in range(6)]
    assert list(row)[4:] == [
        *("n", "sum_truth", "sum_decoded"),
        *("sum_truth_squared", "sum_decoded_squared", "sum_product"),
    ]


def test_a_block_without_a_scored_bar_has_no_row(trial):
    sums = np.ones((1, 4, 3, 6))
    sums[:, :, 1] = 0
    trial.blocks = {3: sums}

    assert {row["block"] for row in block_rows(trial, ["m1"], PRICES)} == {0, 2}
