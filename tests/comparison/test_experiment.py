"""Which configurations may be compared, and what is trained in which order."""

from __future__ import annotations

import pytest

from stage1.base.errors import ConfigError
from stage1.comparison.experiment import load_experiment

BASE = "data: {timeframes: [m1], seq_len: 16}\nmasking: {mask_ratio: 0.25}\n"


@pytest.fixture
def load(tmp_path):
    """Writes configurations and loads them as an experiment."""

    def load_texts(seed=0, seeds=2, max_epochs=None, **texts):
        files = []
        for name, text in texts.items():
            files.append(tmp_path / f"{name}.yaml")
            files[-1].write_text(text)
        return load_experiment(files, seed=seed, seeds=seeds, max_epochs=max_epochs)

    return load_texts


def test_trainings_go_seed_by_seed_through_all_configurations(load):
    experiment = load(seed=4, seeds=2, one=BASE, two=BASE)

    trainings = experiment.trainings()

    assert [(t.seed, t.arm) for t in trainings] == [
        *((5, "one"), (5, "two")),
        *((6, "one"), (6, "two")),
    ]
    assert trainings[0].trial_id == "design-compare000-one-5"


def test_a_trainings_configuration_is_its_file_with_its_seed(load):
    experiment = load(one=BASE + "training: {seed: 99}\n", two=BASE + "model: {dropout: 0.5}\n")

    first, second, *_ = experiment.trainings()

    assert experiment.config_of(first).training.seed == 1
    assert experiment.config_of(second).training.seed == 1
    assert experiment.config_of(second).model.dropout == 0.5


def test_a_training_carries_the_values_in_which_the_configurations_differ(load):
    pairs = "model: {cross_pairs: [[m1, m5]], dropout: 0.5}\n"
    both = BASE.replace("[m1]", "[m1, m5]")

    one, two, *_ = load(one=both, two=both + pairs).trainings()

    assert one.values == {"model.dropout": 0.0}
    assert two.values == {"model.dropout": 0.5, "model.cross_pairs": '[["m1", "m5"]]'}


def test_max_epochs_replaces_the_horizon_of_all(load):
    experiment = load(
        max_epochs=2, one=BASE + "training: {epochs: 3}\n", two=BASE + "training: {epochs: 4}\n"
    )

    assert {config.training.epochs for config in experiment.configs.values()} == {2}


def test_all_keys_that_have_to_be_equal_are_named_with_who_has_which_value(load):
    other = BASE.replace("16", "32") + "training: {epochs: 3}\nmodel: {async_sampler: true}\n"

    with pytest.raises(ConfigError) as raised:
        load(one=BASE, two=other, three=BASE)

    assert str(raised.value).splitlines() == [
        f"{key}: must be the same in all configurations of a comparison, got {values}"
        for key, values in (
            ("data.seq_len", "16 (one, three), 32 (two)"),
            ("model.async_sampler", "False (one, three), True (two)"),
            ("training.epochs", "15 (one, three), 3 (two)"),
        )
    ]


@pytest.mark.parametrize(
    "text",
    [
        "masking: {mask_ratio: 0.5}",
        "evaluation: {tf_specific_mask_ratios: {m1: 0.5}}",
        "loss: {weights: {cross: 1}}",
        "training: {steps_per_epoch: 3}",
        "training: {batch_size: 3}",
        "training: {threads: 2}",
    ],
)
def test_what_makes_results_comparable_has_to_be_equal(load, text):
    other = BASE.replace("masking: {mask_ratio: 0.25}\n", "") if "masking" in text else BASE

    with pytest.raises(ConfigError, match="must be the same in all configurations"):
        load(one=BASE, two=f"{other}{text}\n")


@pytest.mark.parametrize(
    "text",
    [
        "training: {optimizer: {lr: 0.5}, precision: bf16-mixed, gradient_checkpointing: true}",
        "transfer_learning: {use_pretrained_lm: false, patch_len: 4}",
        "model: {d_model: 8}",
    ],
)
def test_everything_else_may_differ(load, text):
    assert len(load(one=BASE, two=f"{BASE}{text}\n").configs) == 2


def test_a_batch_size_that_is_still_to_be_found_is_refused(load):
    auto = BASE + "training: {batch_size: auto}\n"

    with pytest.raises(ConfigError, match="batch_size: must be a number in a comparison"):
        load(one=auto, two=auto)


def test_one_configuration_is_no_comparison(load):
    with pytest.raises(ConfigError, match="at least two configurations, got 1"):
        load(one=BASE)


def test_two_files_of_the_same_name_are_refused(tmp_path):
    files = [tmp_path / "a" / "x.yaml", tmp_path / "b" / "x.yaml"]
    for file in files:
        file.parent.mkdir()
        file.write_text(BASE)

    with pytest.raises(ConfigError, match=r"b/x\.yaml: must have a file name that no other"):
        load_experiment(files, seed=0, seeds=1, max_epochs=None)
