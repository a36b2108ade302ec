"""What is read and built before a study's first trial, and what is told of its windows."""

from __future__ import annotations

import re

import pytest
import torch
from made_studies import BASE, SPACE, write_space
from synthetic_bars import market
from tiny_t5 import rewrite, save_model
from tiny_training import tiny_config, tiny_language_model

from stage1.base.errors import ConfigError
from stage1.config import with_values
from stage1.data.batches import MarketWindows
from stage1.language_models.t5_dimensions import PUBLIC_CONFIGS, encoder_shapes
from stage1.model.stage1_model import check_models
from stage1.study.inputs import load_inputs, windows_seen_text
from stage1.study.study import load_study

SEEN = 3 * 3 * 4
"""Windows in all steps of `tiny_config()`."""


def training_windows(config, minutes=3000):
    return len(
        MarketWindows.of(market(minutes, config.data.timeframes), config).split.training.ends
    )


def test_a_trial_that_sees_most_windows_is_not_advised():
    assert windows_seen_text(tiny_config(), 60) == (
        "A full trial (3 epochs of 3 steps of 4 windows) sees 36 of 60 training windows, 60%."
    )
    assert windows_seen_text(tiny_config(), 12).endswith(
        "sees each of the 12 training windows 3.0 times."
    )


def test_of_a_batch_size_that_each_arm_sets_nothing_is_said():
    assert windows_seen_text(tiny_config(training={"batch_size": "auto"}), 1000) == ""


@pytest.mark.parametrize(
    ("key", "named"),
    [
        ("training.steps_per_epoch", "training.steps_per_epoch"),
        ("training.batch_size", "training.batch_size"),
        ("training.epochs", "horizon_epochs"),
    ],
)
def test_each_advice_shows_a_trial_every_window(key, named):
    config = tiny_config()
    windows = training_windows(config)

    text = windows_seen_text(config, windows)

    assert f"sees {SEEN} of {windows:,} training windows, {SEEN / windows:.1%}" in text
    advised = int(re.search(rf"{named} ([\d,]+)", text)[1].replace(",", ""))
    training = with_values(config, {key: advised}).training
    seen = training.epochs * training.steps_per_epoch * training.windows_per_step
    assert windows <= seen < 1.4 * windows  # and not far more than it takes


@pytest.mark.parametrize(
    ("steps", "stride", "share"),
    [pytest.param(61, 3, "all", id="all"), pytest.param(3, 16, 0.27, id="no overlap left")],
)
def test_a_stride_thins_windows_out_until_they_no_longer_overlap(steps, stride, share):
    config = tiny_config(training={"steps_per_epoch": steps})

    text = windows_seen_text(config, training_windows(config))

    written = share if share == "all" else f"{share:.0%}"
    assert f"; or, at the same work, {written} of those that data.stride {stride} leaves" in text
    left = training_windows(with_values(config, {"data.stride": stride}))
    seen = 12 * steps / left
    assert seen >= 1 if share == "all" else seen == pytest.approx(share, abs=0.01)


def test_a_stride_is_of_whole_bars_of_the_finest_timeframe():
    config = tiny_config(data={"timeframes": ["m5", "m15"]}, training={"steps_per_epoch": 9})

    text = windows_seen_text(config, windows := training_windows(config))

    stride = int(re.search(r"data\.stride (\d+)", text)[1])
    assert stride % 5 == 0
    left = training_windows(with_values(config, {"data.stride": stride}))
    assert windows > 2 * 108 >= 2 * left  # 3 epochs of 9 steps of 4 windows see all of them


def test_where_no_windows_overlap_no_stride_is_advised():
    assert "stride" not in windows_seen_text(tiny_config(data={"stride": 16}), 10_000)


def faults_of_models(folder, space, *, base=BASE):
    """What `load_inputs` refuses of a study with further keys under `space`, a line each."""
    study = load_study(write_space(folder, SPACE.replace("design:", f"{space}design:"), base=base))
    with pytest.raises(ConfigError) as caught:
        load_inputs(study, None)
    return str(caught.value).splitlines()


NAME, BLOCKS = "transfer_learning.lm_name_or_path", "transfer_learning.n_pretrained_blocks"
SCALE = "  input_scale: 1.0\n"
WHERE = "when: {transfer_learning.patch_len: 16}"


@pytest.mark.parametrize(
    ("space", "numbers"),
    [
        pytest.param(f"  {BLOCKS}: {{type: int, low: 1, high: 9}}\n", ["2"], id="a range"),
        pytest.param(
            f"  {BLOCKS}: {{type: choice, options: [1, 9], {WHERE}}}\n", ["2"], id="conditional"
        ),
        pytest.param(
            f"  {NAME}: {{type: choice, options: [english-t5-nano, english-t5-mini]}}\n"
            f"  {BLOCKS}: {{type: choice, options: [1, 9]}}\n",
            ["2", "4"],
            id="of every language model",
        ),
    ],
)
def test_blocks_that_a_language_model_lacks_are_refused_before_the_first_trial(
    tmp_path, space, numbers
):
    faults = faults_of_models(tmp_path, space)

    assert [re.match(rf"{BLOCKS} must be from 1 to (\d)", fault)[1] for fault in faults] == numbers


def test_blocks_are_those_of_the_language_model_that_the_condition_names(tmp_path):
    space = (
        f"  {NAME}: {{type: choice, options: [english-t5-nano, english-t5-mini]}}\n"
        f"  {BLOCKS}: {{type: int, low: 3, high: 4, when: {{{NAME}: english-t5-mini}}}}\n"
    )
    study = load_study(write_space(tmp_path, SPACE.replace("design:", f"{space}design:")))

    inputs = load_inputs(study, None)

    assert [model.name for model in inputs.language_models] == [
        "english-t5-mini",
        "english-t5-nano",
    ]


def test_a_language_model_without_a_token_table_is_refused_unless_a_scale_is_given(tmp_path):
    save_model(tmp_path / "bare")
    rewrite(tmp_path / "bare", lambda tensors: tensors.pop("shared.weight"))
    own = f"{BASE.splitlines()[0]}\ntransfer_learning:\n  lm_name_or_path: {tmp_path / 'bare'}\n"

    (fault,) = faults_of_models(tmp_path, "", base=own)

    assert "set transfer_learning.input_scale" in fault
    assert load_inputs(load_study(write_space(tmp_path, base=own + SCALE)), None).language_models


def test_the_largest_t5_is_checked_without_memory_for_its_weights():
    fields = PUBLIC_CONFIGS["google-t5/t5-3b"]
    weights = {
        name: torch.empty(shape, device="meta") for name, shape in encoder_shapes(fields).items()
    }
    model = tiny_language_model()._replace(config=fields, weights=weights)
    configs = [
        tiny_config(transfer_learning={"n_pretrained_blocks": k, "initialization": arm})
        for arm in ("pretrained", "random", "shuffled")
        for k in (None, 1, 24)
    ]

    check_models(configs, {"tiny": model})

    with pytest.raises(ConfigError, match="from 1 to 24"):
        check_models([tiny_config(transfer_learning={"n_pretrained_blocks": 25})], {"tiny": model})
