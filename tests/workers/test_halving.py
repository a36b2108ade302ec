"""Which trials of an arm are stopped at its rungs."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
from made_studies import simulated_study
from ray.tune.schedulers import ASHAScheduler, TrialScheduler

from stage1.workers.tune_bridge import ArmHalving


@pytest.fixture
def halving_of(tmp_path):
    def make(*, mode="max", horizon=9, asha="{grace_epochs: 1, reduction_factor: 3}"):
        metric = {"max": "val_correlation", "min": "val_loss"}[mode]
        study = simulated_study(
            tmp_path,
            objective=f"{{metric: {metric}, mode: {mode}}}",
            horizon_epochs=str(horizon),
            search=f"{{trials: 1, scheduler: {{asha: {asha}}}}}",
        )
        return ArmHalving(study.space)

    return make


def stopped(halving, values, *, epoch=1):
    """The values that are stopped when they arrive in this order at this epoch."""
    return [
        value
        for index, value in enumerate(values)
        if halving.stops(f"trial{index}", epoch=epoch, value=value)
    ]


ARRIVALS = [0.1, 0.2, 0.3, 0.4, math.nan, 0.05, 0.35]


def test_the_reference_arrivals_stop_the_low_one_and_nan_and_for_a_minimum_the_high_one(halving_of):
    mirrored = [1 - value for value in ARRIVALS]

    assert str(stopped(halving_of(), ARRIVALS)) == "[nan, 0.05]"
    assert str(stopped(halving_of(mode="min"), mirrored)) == "[nan, 0.95]"


def test_a_value_goes_on_where_it_is_in_the_best_third_so_far(halving_of):
    halving, rng = halving_of(), np.random.default_rng(0)
    values = rng.random(200)

    for index, value in enumerate(values):
        cutoff = np.percentile(values[:index], 200 / 3) if index else -np.inf
        stops = halving.stops(f"trial{index}", epoch=1, value=float(value))

        assert stops == (value < cutoff)


@pytest.mark.parametrize("epoch", [2, 4, 5, 8])
def test_between_rungs_nothing_is_stopped(halving_of, epoch):
    halving = halving_of()
    for index in range(5):
        halving.stops(f"trial{index}", epoch=1, value=0.5)
    assert halving.stops("low", epoch=1, value=0.1)

    went_on = [halving.stops(f"trial{index}", epoch=3, value=0.5) for index in range(5)]

    assert not any(went_on)
    assert not halving.stops("trial0", epoch=epoch, value=0.0)


def test_every_rung_compares_with_its_own_arrivals(halving_of):
    halving = halving_of()

    assert stopped(halving, [0.1, 0.2, 0.3], epoch=1) == []
    assert stopped(halving, [0.9, 0.8, 0.7], epoch=3) == [0.8, 0.7]


@pytest.mark.parametrize("epoch", [0, 9])
def test_before_the_first_step_and_at_the_horizon_only_nan_stops(halving_of, epoch):
    halving = halving_of()

    assert stopped(halving, [0.5, 0.1, 0.0], epoch=epoch) == []
    assert halving.stops("nan", epoch=epoch, value=math.nan)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("epoch", [1, 2, 3])
def test_what_is_not_finite_always_stops_and_leaves_the_rung_as_it_was(halving_of, epoch, value):
    halving = halving_of()

    assert halving.stops("odd", epoch=epoch, value=value)
    assert stopped(halving, [0.1, 0.2], epoch=epoch) == []


def test_the_grace_epoch_is_the_first_rung(halving_of):
    halving = halving_of(asha="{grace_epochs: 2, reduction_factor: 2}")

    assert stopped(halving, [0.5, 0.1], epoch=1) == []
    assert stopped(halving, [0.5, 0.1], epoch=2) == [0.1]


def test_a_trial_is_judged_once_per_rung(halving_of):
    halving = halving_of()
    halving.stops("a", epoch=1, value=0.9)
    halving.stops("b", epoch=1, value=0.9)

    assert not halving.stops("a", epoch=1, value=0.0)


def test_decisions_are_those_of_rays_own_scheduler_on_finite_values(halving_of):
    theirs = ASHAScheduler(
        time_attr="epoch", metric="m", mode="max", max_t=9, grace_period=1, reduction_factor=3
    )
    ours, rng = halving_of(), np.random.default_rng(1)
    for index in range(60):
        trial = SimpleNamespace(trial_id=f"trial{index}")
        theirs.on_trial_add(None, trial)
        for epoch in range(1, 9):
            value = float(rng.random())
            action = theirs.on_trial_result(None, trial, {"epoch": epoch, "m": value})

            assert ours.stops(trial.trial_id, epoch=epoch, value=value) == (
                action == TrialScheduler.STOP
            )
            if action == TrialScheduler.STOP:
                break
