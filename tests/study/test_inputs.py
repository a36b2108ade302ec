"""What is told of a study's windows before its first trial."""

from __future__ import annotations

import re

import pytest
from synthetic_bars import market
from tiny_training import tiny_config

from stage1.config import with_values
from stage1.data.batches import MarketWindows
from stage1.study.inputs import windows_seen_text

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
