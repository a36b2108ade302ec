"""One arm's Optuna study: proposals that can be repeated, states that are true."""

from __future__ import annotations

import json
import math

import pytest
from made_studies import simulated_study
from optuna.storages import InMemoryStorage
from optuna.trial import TrialState

from stage1.study.sampler import SEARCH_POINT, STARTUP_TRIALS, ArmSampler
from stage1.study.space import sobol_configurations

LR = "training.optimizer.lr"


@pytest.fixture
def space(tmp_path):
    return simulated_study(tmp_path, design="{configurations: 16, seeds: 1}").space


def sampler_of(space, *, arm="random", arm_index=1, seed=0, storage=None):
    storage = storage or InMemoryStorage()
    return ArmSampler(space, arm=arm, arm_index=arm_index, seed=seed, storage=storage)


def score(values):
    return -abs(math.log10(values[LR]) + 2.5)


def add_design(sampler, space):
    for index, values in enumerate(sobol_configurations(space, 0)):
        sampler.add(
            values,
            state=TrialState.COMPLETE,
            value=score(values),
            curve={0: -9.0, 9: score(values)},
            attributes={"design": index},
        )


def search(sampler, numbers):
    """Ask and tell one after the other: every third point is stopped, every fifth fails."""
    proposed = []
    for number in numbers:
        values = sampler.ask(number)
        state, value, curve = how_it_ended(number, values)
        for epoch, reported in curve.items():
            sampler.report(number, epoch=epoch, value=reported)
        sampler.tell(number, state, value)
        proposed.append(values)
    return proposed


def how_it_ended(number, values):
    if number % 5 == 4:
        return TrialState.FAIL, None, {0: -9.0}
    if number % 3 == 2:
        return TrialState.PRUNED, None, {0: -9.0, 1: score(values) - 1}
    return TrialState.COMPLETE, score(values), {0: -9.0, 1: -3.0, 9: score(values)}


@pytest.mark.parametrize("other", [{"seed": 1}, {"arm_index": 0}])
def test_another_seed_or_arm_proposes_something_else(space, other):
    assert search(sampler_of(space), range(3)) != search(sampler_of(space, **other), range(3))


def test_what_the_design_has_found_steers_the_first_proposals(space):
    informed = sampler_of(space)
    add_design(informed, space)

    steered = [abs(math.log10(values[LR]) + 2.5) for values in search(informed, range(12))]
    blind = [abs(math.log10(values[LR]) + 2.5) for values in search(sampler_of(space), range(10))]

    assert len(informed.study.trials) > STARTUP_TRIALS
    assert sum(steered) / len(steered) < 0.7 * sum(blind) / len(blind)


@pytest.mark.parametrize("mode", ["max", "min"])
def test_the_studys_direction_is_the_objectives(tmp_path, mode):
    metric = {"max": "val_skill", "min": "val_loss"}[mode]
    study = simulated_study(tmp_path, objective=f"{{metric: {metric}, mode: {mode}}}")

    sampler = sampler_of(study.space)

    assert sampler.study.direction.name == {"max": "MAXIMIZE", "min": "MINIMIZE"}[mode]


def test_the_random_sampler_does_not_look_at_the_study(tmp_path):
    study = simulated_study(tmp_path, search="{trials: 4, sampler: random}")
    informed = sampler_of(study.space)
    add_design(informed, study.space)

    assert search(informed, range(4)) == search(sampler_of(study.space), range(4))


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_points_proposed_at_the_same_time_differ(tmp_path, sampler):
    space = simulated_study(tmp_path, search=f"{{trials: 4, sampler: {sampler}}}").space
    arm = sampler_of(space)

    proposed = [arm.ask(number) for number in range(20)]

    assert len({values[LR] for values in proposed}) == 20


def test_a_parameter_is_proposed_only_where_its_condition_holds(tmp_path):
    space = simulated_study(
        tmp_path,
        **{
            "  transfer_learning.patch_len": "{type: choice, options: [4, 8], "
            "when: {transfer_learning.freeze_lm_epochs: 2}}"
        },
    ).space

    proposed = search(sampler_of(space), range(30))

    for values in proposed:
        frozen = values["transfer_learning.freeze_lm_epochs"] == 2
        assert ("transfer_learning.patch_len" in values) == frozen
    assert len({len(values) for values in proposed}) == 2


START = [
    {LR: 2e-3, "transfer_learning.freeze_lm_epochs": 1, "transfer_learning.patch_len": 4},
    {LR: 3e-3},
]


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_points_to_start_from_come_first_in_every_arm_and_what_they_lack_is_proposed(
    tmp_path, sampler
):
    space = simulated_study(
        tmp_path, search=f"{{trials: 6, sampler: {sampler}, start: {json.dumps(START)}}}"
    ).space

    for index, arm in enumerate(space.arms):
        first, second, third = search(sampler_of(space, arm=arm, arm_index=index), range(3))
        assert first == START[0]
        assert second[LR] == 3e-3
        assert second.keys() == third.keys() == START[0].keys()
        assert third[LR] not in (2e-3, 3e-3)


DISCRETE = {
    "  training.optimizer.lr": "{type: choice, options: [0.001, 0.003]}",
    "  transfer_learning.freeze_lm_epochs": "{type: int, low: 0, high: 1, "
    "when: {training.optimizer.lr: 0.003}}",
    "design": "{configurations: 2, seeds: 1}",
}
"""Nine configurations: three patch lengths with the lower rate, six with the higher one."""


@pytest.mark.parametrize("sampler", ["tpe", "random"])
@pytest.mark.parametrize("halfway", [0, 5])
def test_no_point_is_proposed_twice_though_the_space_holds_few(tmp_path, sampler, halfway):
    study = simulated_study(tmp_path, search=f"{{trials: 100, sampler: {sampler}}}", **DISCRETE)
    assert study.search_trials == 2 * 9
    arm = sampler_of(study.space)
    add_design(arm, study.space)

    proposed = search(arm, range(halfway))
    again = sampler_of(study.space)  # as after an end
    add_design(again, study.space)
    for number, values in enumerate(proposed):
        state, value, curve = how_it_ended(number, values)
        again.add(values, state=state, value=value, curve=curve, attributes={SEARCH_POINT: number})
    proposed += search(again, range(halfway, 9))

    assert len({tuple(sorted(values.items())) for values in proposed}) == 9
    assert len(again.study.trials) == 9 + 2  # with the design's, and none that was thrown away


def test_points_at_the_same_time_differ_too_where_the_space_holds_few(tmp_path):
    arm = sampler_of(simulated_study(tmp_path, **DISCRETE).space)

    proposed = [arm.ask(number) for number in range(9)]

    assert len({tuple(sorted(values.items())) for values in proposed}) == 9


def test_a_stopped_trial_keeps_its_last_value_and_its_curve(space):
    sampler = sampler_of(space)
    sampler.ask(0)
    for epoch, value in {0: 0.1, 1: 0.2, 3: math.nan}.items():
        sampler.report(0, epoch=epoch, value=value)
    (running,) = sampler.study.trials

    sampler.tell(0, TrialState.PRUNED, None)

    assert running.state == TrialState.RUNNING
    (trial,) = sampler.study.trials
    assert trial.intermediate_values == {0: 0.1, 1: 0.2}
    assert trial.value == 0.2
