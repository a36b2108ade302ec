"""Calendar windows: the same minutes in every timeframe, as many bars as there are."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic_bars import MIDNIGHT, data_config, gappy_minutes, market

from stage1.base.errors import DataError
from stage1.base.steps import MINUTES
from stage1.config import Config, MaskingConfig, with_values
from stage1.data.bars import Bars
from stage1.data.batches import MarketWindows
from stage1.data.hiding import NO_TIME
from stage1.data.windows import FEWEST_BARS, days_needed, find_windows, split_windows

MASKING = MaskingConfig(mask_ratio=0.25, mask_span_min=2, mask_span_max=3)
ALL = ("m1", "m5", "m15", "m30", "h1", "h4")


def bars_inside(bars, timeframe, end, minutes):
    """Open times of the bars that lie whole in the minutes before an instant, one by one."""
    length = 60 * MINUTES[timeframe]
    times = bars[timeframe].open_time.tolist()
    return [t for t in times if t >= end - 60 * minutes and t + length <= end]


def config_of(data, **changes):
    values = {"data": data.model_dump(), "model": {"async_sampler": True}}
    return with_values(Config.model_validate(values | {"masking": MASKING.model_dump()}), changes)


@given(gappy_minutes(longest_gap=100))
@settings(max_examples=40, deadline=None)
def test_a_window_holds_exactly_the_bars_that_lie_whole_in_its_minutes(minutes):
    data = data_config(timeframes=("m1", "m5", "m15"), seq_len=32)
    bars = market(minutes, data.timeframes)

    windows = find_windows(bars, data, calendar=True)

    for row, end in enumerate(windows.ends.tolist()):
        for column, timeframe in enumerate(data.timeframes):
            times, last = bars[timeframe].open_time, windows.last[row, column]
            mine = times[last - windows.lengths[row, column] + 1 : last + 1].tolist()
            assert mine == bars_inside(bars, timeframe, end, 32)


@given(gappy_minutes(longest_gap=100), st.integers(0, 60))
@settings(max_examples=40, deadline=None)
def test_windows_with_a_long_gap_or_few_m1_bars_are_left_out_and_no_others(minutes, max_gap):
    data = data_config(seq_len=32, max_gap=max_gap)
    bars = market(minutes)
    first = int(bars["m1"].open_time[0]) if minutes else 0

    windows = find_windows(bars, data, calendar=True)

    wanted = []
    for end in (bars["m1"].open_time + 60).tolist():
        inside = bars_inside(bars, "m1", end, 32)
        edges = [end - 60 * 32 - 60, *inside]
        gaps = [(later - earlier) // 60 - 1 for earlier, later in pairwise(edges)]
        whole = end - 60 * 32 >= first
        if whole and len(inside) >= FEWEST_BARS and max(gaps) <= max_gap:
            wanted.append(end)
    assert windows.ends.tolist() == wanted


def test_no_minute_of_a_validation_window_lies_in_a_training_window():
    data = data_config(timeframes=("m1", "m5", "m15"), seq_len=64)
    bars = market(1500, data.timeframes)

    split = split_windows(find_windows(bars, data, calendar=True), bars, data, calendar=True)

    assert split.training.ends.max() <= split.validation.starts.min()
    assert (split.validation.ends - split.validation.starts == 64 * 60).all()


def test_too_little_data_says_how_many_days_calendar_windows_need():
    data = data_config(timeframes=ALL, seq_len=256)
    wanted = days_needed(data, calendar=True)
    enough, short = (market(round(wanted * share * 1440), ALL) for share in (1, 0.5))

    MarketWindows(enough, data, calendar=True)
    with pytest.raises(DataError, match=rf"at least {wanted} days .*8 bars of m1 .*=256 minutes"):
        MarketWindows(short, data, calendar=True)


def test_a_timeframe_that_ends_before_all_windows_is_an_error_and_not_left_out():
    data = data_config(timeframes=("m1", "m5", "m15"), seq_len=64)
    bars = market(1500, data.timeframes)
    early = {**bars, "m15": Bars(bars["m15"].open_time - 10**6 // 900 * 900, bars["m15"].prices)}

    with pytest.raises(DataError, match=r"m15 must have a bar in some window, got none"):
        MarketWindows(early, data, calendar=True)


def test_too_few_validation_windows_to_draw_every_timeframe_name_the_key():
    data = data_config(timeframes=("m1", "m5", "m15"), seq_len=256, validation_windows=1)
    windows = MarketWindows(market(3000, data.timeframes), data, calendar=True)

    with pytest.raises(DataError, match=r"of 1 validation windows; raise data.validation_windows"):
        windows.validation_batches(MASKING)


def test_padding_is_not_real_not_hidden_not_scored_and_zero():
    data = data_config(timeframes=("m1", "m5", "m15"), seq_len=64)
    windows = MarketWindows(market(1500, data.timeframes), data, calendar=True)

    batch = windows.validation_batches(MASKING)[0]

    lengths = batch.real.sum(dim=2)
    assert (lengths[:, 0] == 64).all()
    assert set(lengths[:, 1].tolist()) == {12}  # of 13 that begin or end inside, 12 are whole
    assert set(lengths[:, 2].tolist()) <= {3, 4}
    padding = ~batch.real
    assert not batch.features[padding].any()
    assert not batch.targets[padding].any()
    assert not (batch.hidden | batch.scored)[padding].any()
    assert (batch.open_time[padding] == int(NO_TIME)).all()
    assert (batch.open_time[batch.real] < MIDNIGHT + 1500 * 60).all()


def test_each_timeframe_is_scaled_by_its_own_visible_bars_where_it_has_enough():
    data = data_config(timeframes=("m1", "m5", "m15"), seq_len=128)
    windows = MarketWindows(market(2500, data.timeframes), data, calendar=True)

    batch = windows.validation_batches(MASKING)[0]

    for window, timeframe in ((0, 0), (3, 1)):
        visible = (batch.real & ~batch.hidden)[window, timeframe]
        assert visible.sum() >= FEWEST_BARS
        values = batch.targets[window, timeframe][visible]
        assert values.mean().item() == pytest.approx(0, abs=1e-4)
        assert values.square().mean().item() == pytest.approx(1, abs=1e-4)
    few = (batch.real & ~batch.hidden).sum(dim=2)[:, 2] < FEWEST_BARS
    assert few.any()
    assert torch.equal(batch.scale[few, 2], batch.scale[few, 0])
    assert torch.equal(batch.center[few, 2], batch.center[few, 0])


def test_timeframes_are_left_out_of_training_windows_as_often_as_configured_and_m1_never():
    data = data_config(
        timeframes=("m1", "m5", "m15"), seq_len=64, sampling_probs={"m5": 0.3, "m15": 0}
    )
    config = config_of(data, **{"training.steps_per_epoch": 20, "training.batch_size": 64})
    windows = MarketWindows(market(2500, data.timeframes), data, calendar=True)

    batches = list(windows.training_batches(config, windows.plan_epoch(config, 0)))

    present = torch.cat([batch.real.any(dim=2) for batch in batches]).double()
    share = present.mean(dim=0).tolist()
    assert share[0] == 1
    assert share[1] == pytest.approx(0.3, abs=5 * np.sqrt(0.3 * 0.7 / 1280))
    assert share[2] == 0
    assert all(batch.real.any(dim=2).all() for batch in windows.validation_batches(MASKING))


def test_the_hidden_bars_of_a_validation_window_depend_on_its_end_alone():
    bars = market(2500)
    kept = [
        MarketWindows(bars, data_config(seq_len=64, stride=stride), calendar=True)
        for stride in (1, 7)
    ]

    by_end = [
        {
            int(end): batch.hidden[row]
            for batch in windows.validation_batches(MASKING)
            for row, end in enumerate(windows.split.validation.ends[: len(batch.hidden)])
        }
        for windows in kept
    ]

    common = by_end[0].keys() & by_end[1].keys()
    assert common
    assert all(torch.equal(by_end[0][end], by_end[1][end]) for end in common)
