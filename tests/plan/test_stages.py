"""How many trials, and of which kinds."""

import pytest
from simulated_study import SPACE, engine_of, simulate, simulated_study, write_space

from stage1.plan.stages import (
    VANILLA_ENCODER,
    Kind,
    also_varying,
    by_kind,
    design_configs,
    expected_search_epochs,
    kind_of,
    spread_evenly,
    trials_by_stage,
)
from stage1.study.study import load_study


def test_the_design_is_configurations_times_seeds_times_arms(tmp_path):
    study = simulated_study(tmp_path, design="{configurations: 8, seeds: 3}")

    assert trials_by_stage(study)["design"] == 8 * 3 * 2


@pytest.mark.parametrize("trials", [0, 1, 3, 12])
def test_no_stage_of_a_study_that_runs_has_more_trials_than_were_planned(tmp_path, trials):
    study = simulated_study(tmp_path, trials=trials)
    engine = simulate(engine_of(study))

    ran = {stage: 0 for stage in ("design", "search", "confirm")}
    for trial in engine.ended.values():
        ran[trial.spec.stage] += 1

    planned = trials_by_stage(study)
    assert (ran["design"], ran["search"]) == (planned["design"], planned["search"])
    assert ran["confirm"] <= planned["confirm"] == 2 * min(2 * 2, trials)


@pytest.mark.parametrize(
    ("horizon", "asha", "mean"),
    [
        pytest.param(9, "grace_epochs: 1, reduction_factor: 3", 1 + 2 / 3 + 6 / 9, id="1, 3, 9"),
        pytest.param(
            15, "grace_epochs: 1, reduction_factor: 3", 1 + 2 / 3 + 6 / 9 + 6 / 27, id="1, 3, 9, 15"
        ),
        pytest.param(
            10, "grace_epochs: 2, reduction_factor: 2", 2 + 2 / 2 + 4 / 4 + 2 / 8, id="2, 4, 8, 10"
        ),
        pytest.param(
            5, "grace_epochs: 1, reduction_factor: 2.5", 1 + 2 / 2.5 + 2 / 2.5**2, id="1, 3, 5"
        ),
        pytest.param(4, "grace_epochs: 4, reduction_factor: 3", 4, id="never stopped"),
    ],
)
def test_one_search_trial_in_so_many_goes_on_at_each_rung(tmp_path, horizon, asha, mean):
    search = f"{{trials: 6, scheduler: {{asha: {{{asha}}}}}}}"
    study = simulated_study(tmp_path, horizon_epochs=str(horizon), search=search)

    assert expected_search_epochs(study.space) == pytest.approx(mean)


def test_every_configuration_of_the_design_has_a_config_in_every_arm(tmp_path):
    configs = design_configs(simulated_study(tmp_path))

    assert [config.transfer_learning.initialization for config in configs] == [
        *["pretrained"] * 4,
        *["random"] * 4,
    ]
    rates = [config.training.optimizer.lr for config in configs]
    assert rates[:4] == rates[4:]
    assert len(set(rates)) == 4


def test_kinds_are_sizes_and_patch_lengths_and_the_vanilla_encoder_is_one(tmp_path):
    text = SPACE.replace("arms:\n", "arms:\n  v: {transfer_learning.use_pretrained_lm: false}\n")
    configs = design_configs(load_study(write_space(tmp_path, text)))

    kinds = by_kind(configs)

    sizes = {kind.size for kind in kinds}
    assert sizes == {"english-t5-nano", VANILLA_ENCODER}
    assert len(kinds[Kind(VANILLA_ENCODER, None)]) == 4
    patches = [kind.patch_len for kind in kinds if kind.size == "english-t5-nano"]
    assert patches == sorted({config.transfer_learning.patch_len for config in configs})
    assert all(kind_of(config) == kind for kind, of in kinds.items() for config in of)


def test_few_kinds_are_all_timed():
    kinds = [Kind("a", patch) for patch in range(1, 4)]

    assert spread_evenly(kinds, 3) == kinds


def test_of_many_kinds_those_are_timed_that_span_them_all():
    kinds = [Kind("a", patch) for patch in range(1, 12)]

    chosen = spread_evenly(kinds, 3)

    assert [kind.patch_len for kind in chosen] == [1, 6, 11]


def test_keys_that_may_change_the_cost_are_named_and_those_that_do_not_are_not(tmp_path):
    text = SPACE.replace(
        "space:\n", "space:\n  training.batch_size: {type: choice, options: [8, 16]}\n"
    ).replace("random: {", "random: {model.dropout: 0.1, ")
    study = load_study(write_space(tmp_path, text))

    varying = also_varying(study, design_configs(study))

    assert varying == ["model.dropout", "training.batch_size"]


def test_a_key_that_all_arms_set_alike_changes_nothing(tmp_path):
    text = SPACE.replace("random: {", "random: {training.batch_size: 8, ").replace(
        "pretrained: {", "pretrained: {training.batch_size: 8, "
    )
    study = load_study(write_space(tmp_path, text))

    assert also_varying(study, design_configs(study)) == []
