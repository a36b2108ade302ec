"""A study: its space, base configuration and seed, resolved."""

from __future__ import annotations

from itertools import product

import pytest
import yaml
from made_studies import ROOT, SPACE, simulated_study, write_space
from pydantic import ValidationError

from stage1.config import Config, load_config, with_values
from stage1.run.columns import DESIGN, LADDER
from stage1.run.resolved_space import ResolvedSpace
from stage1.study.stages import expected_by_stage
from stage1.study.study import (
    arm_roles,
    cost_config,
    language_model_names,
    load_study,
    pretrained_language_models,
    space_yaml,
)
from stage1.study.trials import TrialSpec

SHIPPED = sorted((ROOT / "search_spaces").glob("*.yaml"))
NAME = "transfer_learning.lm_name_or_path"
RATIO = "  masking.mask_ratio: {type: float, low: 0.1, high: 0.3}\n"


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_every_shipped_search_space_loads(path):
    study = load_study(path)

    assert study.space.name == path.stem


def test_the_horizon_becomes_the_epochs_of_every_training_and_all_else_is_the_base_s(tmp_path):
    study = simulated_study(tmp_path, horizon_epochs="7")

    base = load_config(tmp_path / "base.yaml")
    assert study.config == with_values(base, {"training.epochs": 7})
    assert {config.training.epochs for config in study.arm_configs.values()} == {7}


def test_a_space_without_looks_keeps_the_design_it_had_before_there_were_any():
    study = load_study(ROOT / "search_spaces" / "smoke.yaml")

    specs = study.design_specs()

    earlier = {  # as version 52757b3 drew them
        "design000": (0.004471228363462332, 2.04994201994717, 0, 16),
        "design001": (0.0013436622239486101, 0.09370284880591442, 1, 8),
        "design002": (0.0018796940850158057, 0.9279968507906482, 0, 16),
        "design003": (0.005648625650542506, 0.20658003953557172, 1, 8),
    }
    assert [spec.trial_id for spec in specs] == [
        f"{config_id}-{arm}-seed{seed}"
        for config_id, seed, arm in product(earlier, [1, 2], ["pretrained", "random"])
    ]
    for spec in specs:
        assert tuple(spec.values.values()) == pytest.approx(earlier[spec.config_id], rel=1e-14)
    assert study.confirm_seeds == [3, 4]


@pytest.mark.parametrize(
    ("given", "own", "seed"), [(None, "", 0), (None, "seed: 7", 7), (3, "seed: 7", 3)]
)
def test_the_seed_is_the_one_given_or_the_space_s_own(tmp_path, given, own, seed):
    study = load_study(write_space(tmp_path, f"{SPACE}{own}\n"), seed=given)

    assert study.seed == seed
    assert yaml.safe_load(space_yaml(study, {}))["seed"] == seed


def test_the_default_study_looks_twice_with_a_seed_that_was_fixed_before_its_results():
    study = load_study(ROOT / "search_spaces" / "transfer.yaml")

    trials = [len(study.design_specs(look)) for look in study.looks]
    assert (study.seed, study.looks, trials) == (21, [16, 32], [40, 72])
    assert expected_by_stage(study, {}) == {"design": 72, "search": 6, "confirm": 4}
    assert study.cautions == []


@pytest.mark.parametrize(("seed", "expected"), [(0, [1, 2, 3]), (10, [11, 12, 13])])
def test_the_designs_seeds_follow_the_studys(tmp_path, seed, expected):
    study = simulated_study(tmp_path, seed=seed, design="{configurations: 2, seeds: 3}")

    assert study.design_seeds == expected


def trial_with(values):
    return TrialSpec(DESIGN, "random", "design000", 5, values)


def test_a_trial_is_the_base_with_arm_values_and_seed(tmp_path):
    study = simulated_study(tmp_path)

    config = study.trial_config(trial_with({"training.optimizer.lr": 0.02}))

    assert config == with_values(
        study.config,
        {
            "transfer_learning.initialization": "random",
            "training.optimizer.lr": 0.02,
            "training.seed": 5,
        },
    )


def test_values_that_do_not_fit_together_are_refused(tmp_path):
    study = simulated_study(tmp_path)

    with pytest.raises(ValidationError, match="must divide"):
        study.trial_config(trial_with({"transfer_learning.patch_len": 7}))


@pytest.mark.parametrize(
    ("key", "options", "held"),
    [
        pytest.param("transfer_learning.patch_len", "[4.0, 8]", (4, 8), id="8.0 is a whole number"),
        pytest.param("training.optimizer.lr", "[3e-4, 1e-3]", (3e-4, 1e-3), id="3e-4 is no text"),
        pytest.param("training.optimizer.lr", "[1, 2]", (1.0, 2.0), id="1 is a real number"),
        pytest.param("data.normalization", "[instance]", ("instance",), id="text is text"),
        pytest.param("masking.sync_across_tf", "[true]", (True,), id="truth is truth"),
    ],
)
def test_options_are_held_as_the_configuration_holds_them(tmp_path, key, options, held):
    space = f"space:\n  {key}: {{type: choice, options: {options}}}\n{RATIO}"

    study = load_study(write_space(tmp_path, SPACE.split("space:\n")[0] + space))

    found = study.space.space[key].options
    assert found == held
    assert [type(option) for option in found] == [type(option) for option in held]


def test_conditions_are_held_as_the_configuration_holds_them(tmp_path):
    space = (
        "space:\n"
        "  transfer_learning.patch_len: {type: choice, options: [4, 8]}\n"
        "  training.optimizer.lr: {type: float, low: 1, high: 2,\n"
        f"    when: {{transfer_learning.patch_len: 8.0}}}}\n{RATIO}"
    )

    study = load_study(write_space(tmp_path, SPACE.split("space:\n")[0] + space))

    (wanted,) = study.space.space["training.optimizer.lr"].when.values()
    assert repr(wanted) == "8"


def study_of(tmp_path, *, arms, space=""):
    text = (
        "name: s\nbase: base.yaml\nhorizon_epochs: 2\n"
        f"arms:\n{arms}space:\n  training.optimizer.lr: {{type: float, low: 1, high: 2}}\n{space}"
    )
    return load_study(write_space(tmp_path, text))


PRETRAINED = "  pretrained: {transfer_learning.initialization: pretrained}\n"
VANILLA = "  vanilla: {transfer_learning.use_pretrained_lm: false}\n"
BOTH = f"  {NAME}: {{type: choice, options: [english-t5-nano, english-t5-micro]}}\n"


CONDITIONAL = (
    "  transfer_learning.patch_len: {type: choice, options: [4, 8]}\n"
    f"  {NAME}: {{type: choice, options: [english-t5-micro],\n"
    "    when: {transfer_learning.patch_len: 8}}\n"
)
EITHER = "  transfer_learning.use_pretrained_lm: {type: choice, options: [true, false]}\n"
FLAN = f"  flan: {{{NAME}: google/flan-t5-small}}\n"
NANO, MICRO = "english-t5-nano", "english-t5-micro"


@pytest.mark.parametrize(
    ("arms", "space", "expected"),
    [
        pytest.param(PRETRAINED, "", [NANO], id="the base's, where none is searched"),
        pytest.param(PRETRAINED, BOTH, [MICRO, NANO], id="all options"),
        pytest.param(PRETRAINED + FLAN, "", [NANO, "google/flan-t5-small"], id="an arm's own"),
        pytest.param(VANILLA, "", [], id="none without a T5"),
        pytest.param(VANILLA, BOTH, [], id="none without a T5, whatever is searched"),
        pytest.param(VANILLA + PRETRAINED, "", [NANO], id="a vanilla arm changes nothing"),
        pytest.param(PRETRAINED, CONDITIONAL, [MICRO, NANO], id="the base, where it may not apply"),
        pytest.param("  one: {training.batch_size: 8}\n", EITHER, [NANO], id="where a T5 may be"),
    ],
)
def test_the_language_models_are_all_that_trials_may_ask_for(tmp_path, arms, space, expected):
    study = study_of(tmp_path, arms=arms, space=space)

    assert language_model_names(study) == expected


@pytest.mark.parametrize(("horizon", "epochs"), [(15, [3, 15]), (9, [2, 9]), (2, [1, 2]), (1, [1])])
def test_blocks_are_kept_at_the_early_epoch_and_at_the_horizon(tmp_path, horizon, epochs):
    asha = "{trials: 1, scheduler: {asha: {grace_epochs: 1}}}"
    study = simulated_study(tmp_path, horizon_epochs=str(horizon), search=asha)

    assert study.block_epochs == epochs


def test_the_pretrained_arm_s_language_models_are_those_it_may_have_and_no_others(tmp_path):
    other = f"  other: {{transfer_learning.initialization: random, {NAME}: x/y}}\n"

    study = study_of(tmp_path, arms=PRETRAINED + other)

    assert language_model_names(study) == ["english-t5-nano", "x/y"]
    assert pretrained_language_models(study) == ["english-t5-nano"]


def test_cost_is_timed_at_the_base_configuration_with_the_pretrained_arm_s_settings(tmp_path):
    arm = "{transfer_learning.initialization: pretrained, training.batch_size: 7}"
    study = simulated_study(tmp_path, **{"  pretrained": arm})

    config = cost_config(study, "english-t5-micro")

    assert config.transfer_learning.lm_name_or_path == "english-t5-micro"
    assert config.transfer_learning.patch_len == study.config.transfer_learning.patch_len
    assert config.training.batch_size == 7


def test_the_study_written_out_has_the_keys_of_space_yaml_and_needs_no_other_file(tmp_path):
    study = simulated_study(tmp_path, seed=4)

    written = yaml.safe_load(space_yaml(study, {"data": {"sha256": "0" * 64}}))

    assert set(written) == {*ResolvedSpace.model_fields, "checkpoints"}
    assert (written["seed"], written["data"]) == (4, {"sha256": "0" * 64})
    assert Config.model_validate(written["config"]) == study.config
    assert written["arms"] == study.space.arms
    assert written["space"]["transfer_learning.patch_len"]["options"] == [4, 8, 16]
    assert written["search"]["trials"] == 12


def test_a_written_study_loads_as_the_same_study(tmp_path):
    study = simulated_study(tmp_path)
    written = yaml.safe_load(space_yaml(study, {"data": {}}))
    (tmp_path / "again.yaml").write_text(yaml.safe_dump(written["config"]))
    kept = {key: value for key, value in written.items() if key not in ("seed", "config", "data")}
    path = tmp_path / "space_again.yaml"
    path.write_text(yaml.safe_dump(kept | {"base": "again.yaml"}, sort_keys=False))

    again = load_study(path)

    assert space_yaml(again, {"data": {}}) == space_yaml(study, {"data": {}})


def roles_of(arms, *, searched=()):
    configs = {
        name: with_values(
            Config(), {f"transfer_learning.{key}": value for key, value in settings.items()}
        )
        for name, settings in arms.items()
    }
    return arm_roles(configs, searched)


RANDOM, SHUFFLED = {"initialization": "random"}, {"initialization": "shuffled"}


@pytest.mark.parametrize(
    ("arms", "roles"),
    [
        pytest.param(
            {"t5": {"initialization": "pretrained"}, "r": RANDOM},
            {"pretrained": "t5", "random": "r"},
            id="by what they are, not by their names",
        ),
        pytest.param(
            {"base": {}, "s": {"initialization": "shuffled"}, "v": {"use_pretrained_lm": False}},
            {"pretrained": "base", "shuffled": "s", "vanilla": "v"},
            id="the base configuration's own initialisation",
        ),
        pytest.param(
            {"one": {}, "two": {"lm_learning_rate_factor": 0.1}},
            {"pretrained": "one"},
            id="the first of a role",
        ),
        pytest.param(
            {"r": RANDOM, "again": RANDOM | {"initialization_stream": 1}},
            {"random": "r", "random_again": "again"},
            id="another stream",
        ),
        pytest.param(
            {"s": SHUFFLED, "one": SHUFFLED | {"initialization_seed": 4}},
            {"shuffled": "s", "shuffled_fixed": "one"},
            id="one shuffling kept across the seeds",
        ),
        pytest.param(
            {"one": SHUFFLED | {"initialization_seed": 4}},
            {"shuffled_fixed": "one"},
            id="one shuffling alone",
        ),
        pytest.param(
            {"one": SHUFFLED | {"initialization_seed": 4, "patch_len": 4}, "s": SHUFFLED},
            {"shuffled": "s"},
            id="one shuffling that differs by more than the draw",
        ),
        pytest.param(
            {rung: {"initialization": rung} for rung in LADDER},
            {rung: rung for rung in LADDER},
            id="the rungs of the ladder",
        ),
        pytest.param(
            {"one": {"initialization": "spectrum", "initialization_seed": 4}},
            {"spectrum": "one"},
            id="a rung whose draw is kept",
        ),
        pytest.param(
            {"s": SHUFFLED | {"use_pretrained_lm": False, "initialization_seed": 4}},
            {"vanilla": "s"},
            id="without a T5 its initialisation says nothing",
        ),
        pytest.param(
            {"r": RANDOM, "small": RANDOM | {"initializer_factor": 0.05}},
            {"random": "r"},
            id="another scale is no second draw",
        ),
        pytest.param(
            {
                "r": RANDOM,
                "both": RANDOM | {"initialization_stream": 1, "initializer_factor": 0.05},
            },
            {"random": "r"},
            id="another stream and another scale are no second draw",
        ),
        pytest.param(
            {"fixed": RANDOM | {"initialization_seed": 0}, "r": RANDOM},
            {"random": "r", "random_fixed": "fixed"},
            id="one draw kept across seeds",
        ),
        pytest.param({"fixed": RANDOM | {"initialization_seed": 0}}, {}, id="no random beside"),
        pytest.param(
            {"r": RANDOM | {"initialization_stream": 2}, "again": RANDOM},
            {"random": "r", "random_again": "again"},
            id="the first random arm has another stream",
        ),
    ],
)
def test_the_role_of_an_arm_follows_from_its_settings(arms, roles):
    assert roles_of(arms) == roles


@pytest.mark.parametrize("key", ["initialization", "use_pretrained_lm", "initialization_stream"])
def test_where_the_search_decides_there_are_no_roles(key):
    searched = [f"transfer_learning.{key}"]

    assert roles_of({"a": {}, "b": {"patch_len": 4}}, searched=searched) == {}
