from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from synthetic_bars import (
    MIDNIGHT,
    coarse_market,
    data_config,
    gappy_minutes,
    m1_bars,
    market,
)

from stage1.base.errors import DataError
from stage1.base.steps import MINUTES, STANDARD
from stage1.config import Config, MaskingConfig
from stage1.data.bars import Bars, resample_all
from stage1.data.batches import MarketWindows
from stage1.data.hiding import NO_TIME
from stage1.data.windows import DAY, FEWEST_BARS, days_needed, find_windows, split_windows

configs = st.builds(
    data_config,
    timeframes=st.sampled_from([("m1",), ("m1", "m5"), ("m1", "m5", "m15"), ("m1", "m15")]),
    seq_len=st.integers(8, 12),
    stride=st.sampled_from([1, 3, 5]),
    max_gap=st.sampled_from([0, 1, 4, 5, 7, 30, 4320]),
    validation_share=st.sampled_from([0.2, 0.35, 0.5]),
    test_share=st.sampled_from([None, 0.0, 0.1, 0.3]),
)


def windows_by_hand(bars, config):
    """Every window in plain words: end, first open time, bars per timeframe."""
    found = []
    finest = config.timeframes[0]
    for end in (bars[finest].open_time + 60 * MINUTES[finest]).tolist():
        if end // 60 % config.stride:
            continue
        chosen = []
        for timeframe in config.timeframes:
            length, times = 60 * MINUTES[timeframe], bars[timeframe].open_time.tolist()
            completed = [i for i, time in enumerate(times) if time + length <= end]
            if len(completed) < config.seq_len:
                break
            window = completed[-config.seq_len :]
            begun = [time for time in times[window[0] :] if time < end]
            silences = [b - (a + length) for a, b in zip(begun, [*begun[1:], end], strict=True)]
            if max(silences) > 60 * config.max_gap:
                break
            chosen.append(window)
        else:
            first = min(
                int(bars[name].open_time[window[0]])
                for name, window in zip(config.timeframes, chosen, strict=True)
            )
            found.append((end, first, [window[-1] for window in chosen]))
    return found


def opens_in(windows, bars, config):
    """(timeframe, open time) of every bar of the windows."""
    return {
        (name, time)
        for column, name in enumerate(config.timeframes)
        for last in windows.last[:, column].tolist()
        for time in bars[name].open_time[last - config.seq_len + 1 : last + 1].tolist()
    }


@given(minutes=gappy_minutes(), config=configs)
@settings(max_examples=40, deadline=None)
def test_the_windows_are_those_found_by_trying_every_minute(minutes, config):
    bars = market(minutes, config.timeframes)

    windows = find_windows(bars, config)

    expected = windows_by_hand(bars, config)
    assert windows.ends.tolist() == [end for end, _, _ in expected]
    assert windows.starts.tolist() == [start for _, start, _ in expected]
    assert windows.last.tolist() == [last for _, _, last in expected]


@pytest.mark.parametrize("timeframes", [("m5", "m15", "h1"), ("h1", "h4"), ("h4", "d1")])
@given(offsets=gappy_minutes(), stride=st.sampled_from([1, 60, 240]))
@settings(max_examples=15, deadline=None)
def test_windows_that_begin_above_one_minute_are_found_likewise(timeframes, offsets, stride):
    config = data_config(timeframes=timeframes, seq_len=8, stride=stride)
    bars = coarse_market(offsets, timeframes)

    windows = find_windows(bars, config)

    expected = windows_by_hand(bars, config)
    assert windows.ends.tolist() == [end for end, _, _ in expected]
    assert windows.last.tolist() == [last for _, _, last in expected]


def test_the_longest_stretch_without_a_long_gap_is_said():
    gap = 60
    bars = market([*range(400), *range(400 + gap, 900), *range(900 + gap, 1440)], ("m1", "m15"))
    config = data_config(timeframes=("m1", "m15"), seq_len=64, max_gap=gap - 1)

    with pytest.raises(DataError) as error:
        split_windows(find_windows(bars, config), bars, config)

    # A fifth of a day is 288 minutes, all after the last gap; before it there are 440 at once.
    longest = "got 1.0 days, the longest stretch without one 0.3 before the split and 0.2 after it"
    assert longest in str(error.value)


def test_a_gap_as_long_as_allowed_is_crossed_and_a_longer_one_is_not():
    minutes = [*range(20), *range(27, 60)]

    crossing = {
        max_gap: (find_windows(market(minutes, ("m1",)), config).ends - MIDNIGHT) // 60
        for max_gap in (6, 7)
        for config in [data_config(timeframes=("m1",), seq_len=8, max_gap=max_gap)]
    }

    assert crossing[7].tolist() == [*range(8, 21), *range(28, 61)]
    assert crossing[6].tolist() == [*range(8, 21), *range(35, 61)]


def test_a_long_gap_just_before_the_coarse_bar_that_is_not_complete_yet_is_seen():
    bars = market([*range(300), *range(315, 400)], ("m1", "m15"))

    windows = find_windows(bars, data_config(timeframes=("m1", "m15"), seq_len=8, max_gap=14))

    assert windows.ends.max() == MIDNIGHT + 300 * 60


@pytest.mark.parametrize("empty", ["m1", "m5"])
def test_a_timeframe_without_bars_makes_no_windows(empty):
    bars = market(200)
    bars[empty] = Bars(np.empty(0, dtype=np.int64), np.empty((0, 4)))

    windows = find_windows(bars, data_config())

    assert windows.last.shape == (0, 2)


@given(minutes=gappy_minutes(runs=10), config=configs)
@settings(max_examples=60, deadline=None)
def test_no_bar_lies_in_windows_of_two_sides(minutes, config):
    bars = market(minutes, config.timeframes)
    try:
        split = split_windows(find_windows(bars, config), bars, config)
    except DataError:
        assume(False)

    training = opens_in(split.training, bars, config)
    validation = opens_in(split.validation, bars, config)
    test = opens_in(split.test, bars, config)

    assert training
    assert validation
    assert bool(test) == bool(config.test_share)
    assert len(training | validation | test) == len(training) + len(validation) + len(test)
    assert split.training.ends.max() <= split.boundary <= split.validation.starts.min()
    assert split.validation.ends.max() <= split.test_from <= min(split.test.starts, default=10**12)


def test_only_windows_across_the_boundary_are_lost():
    bars, config = market(500), data_config(validation_windows=10_000)
    windows = find_windows(bars, config)

    split = split_windows(windows, bars, config)

    boundary = MIDNIGHT + 400 * 60
    across = (windows.ends > boundary) & (windows.starts < boundary)
    assert split.boundary == boundary
    assert np.concatenate([split.training.ends, split.validation.ends]).tolist() == (
        windows.ends[~across].tolist()
    )


def test_before_the_test_period_all_is_as_if_the_bars_ended_there():
    bars, config = market(1000), data_config()
    before = {
        name: Bars(one.open_time[: -(100 // m)], one.prices[: -(100 // m)])
        for (name, one), m in zip(bars.items(), (1, 5), strict=True)
    }
    tested = config.model_copy(update={"test_share": 0.1})

    split = split_windows(find_windows(bars, tested), bars, tested)

    alone = split_windows(find_windows(before, config), before, config)
    assert split.test_from == MIDNIGHT + 900 * 60
    assert split.boundary == alone.boundary
    for side in ("training", "validation"):
        for mine, other in zip(getattr(split, side), getattr(alone, side), strict=True):
            np.testing.assert_array_equal(mine, other)


@pytest.mark.parametrize("wanted", [1, 2, 7, 40])
def test_validation_windows_are_spread_evenly(wanted):
    bars, everything = market(1000), data_config(validation_windows=10_000)
    windows = find_windows(bars, everything)
    ends = split_windows(windows, bars, everything).validation.ends

    chosen = split_windows(windows, bars, data_config(validation_windows=wanted)).validation.ends

    steps = np.diff(chosen) // 60
    assert len(set(chosen.tolist())) == wanted
    assert set(chosen.tolist()) <= set(ends.tolist())
    assert chosen[0] == ends[0]
    assert wanted == 1 or (chosen[-1] == ends[-1] and steps.max() - steps.min() <= 1)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"timeframes": ("m1",), "seq_len": 8, "stride": 600}, id="a long stride"),
        pytest.param({"timeframes": ("m1", "m5"), "seq_len": 64}, id="m1 and m5"),
        pytest.param({"timeframes": ("m1", "m15"), "validation_share": 0.7}, id="short training"),
        pytest.param({"timeframes": ("m1", "h1"), "seq_len": 8, "stride": 7}, id="up to h1"),
        pytest.param({"timeframes": STANDARD, "seq_len": 8}, id="all timeframes"),
        pytest.param({"timeframes": ("m1", "h1"), "seq_len": 8, "test_share": 0.1}, id="tested"),
    ],
)
def test_the_days_that_the_error_asks_for_are_enough_wherever_they_start_and_half_too_few(changes):
    config = data_config(**changes)
    whole = m1_bars(range(round(days_needed(config) * 1440) + 1440))

    for offset in (0, 1, 59, 121, 239, 1439):
        rows = slice(offset, offset + round(days_needed(config) * 1440))
        bars = resample_all(Bars(whole.open_time[rows], whole.prices[rows]), config.timeframes)
        split = split_windows(find_windows(bars, config), bars, config)

        assert len(split.training.ends)
        assert len(split.validation.ends)
        assert bool(config.test_share) == (len(split.test.ends) > 0)
    bars = market(round(days_needed(config) * 1440 / 2), config.timeframes)
    days = (bars["m1"].open_time[-1] + 60 - bars["m1"].open_time[0]) / DAY
    with pytest.raises(DataError) as error:
        split_windows(find_windows(bars, config), bars, config)
    assert f"at least {days_needed(config):.1f} days" in str(error.value)
    assert f"got {days:.1f} days" in str(error.value)
    assert "\n" not in str(error.value)


def test_no_bars_at_all_are_too_little_data():
    bars = market([], ("m1",))

    with pytest.raises(DataError, match=r"got 0\.0 days"):
        split_windows(find_windows(bars, data_config()), bars, data_config())


def test_bars_off_the_clock_are_refused_since_nobody_knows_what_they_overlap():
    bars = market(2000)
    shifted = Bars(bars["m5"].open_time + 120, bars["m5"].prices)

    with pytest.raises(DataError, match=r"^m5: .* UTC clock .*stage1\.prepare$"):
        find_windows({**bars, "m5": shifted}, data_config(timeframes=("m1", "m5")))


MASKING = MaskingConfig(mask_ratio=0.25, mask_span_min=2, mask_span_max=3)


def bars_inside(bars, timeframe, end, minutes):
    """Open times of the bars that lie whole in the minutes before an instant, one by one."""
    length = 60 * MINUTES[timeframe]
    times = bars[timeframe].open_time.tolist()
    return [t for t in times if t >= end - 60 * minutes and t + length <= end]


@pytest.mark.parametrize("timeframes", [("m1", "m5", "m15"), ("m5", "m15", "h1"), ("h1", "d1")])
@given(minutes=gappy_minutes(longest_gap=100))
@settings(max_examples=25, deadline=None)
def test_a_window_holds_exactly_the_bars_that_lie_whole_in_its_minutes(timeframes, minutes):
    data = data_config(timeframes=timeframes, seq_len=32)
    bars = coarse_market(minutes, timeframes)
    span = 32 * MINUTES[timeframes[0]]

    windows = find_windows(bars, data, calendar=True)

    for row, end in enumerate(windows.ends.tolist()):
        for column, timeframe in enumerate(data.timeframes):
            times, last = bars[timeframe].open_time, windows.last[row, column]
            mine = times[last - windows.lengths[row, column] + 1 : last + 1].tolist()
            assert mine == bars_inside(bars, timeframe, end, span)


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


def test_too_little_data_says_how_many_days_calendar_windows_need():
    data = data_config(timeframes=STANDARD, seq_len=256)
    wanted = days_needed(data, calendar=True)
    enough, short = (market(round(wanted * share * 1440), data.timeframes) for share in (1, 0.5))

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
    training = {"steps_per_epoch": 20, "batch_size": 64}
    config = Config(data=data, model={"async_sampler": True}, masking=MASKING, training=training)
    windows = MarketWindows.of(market(2500, data.timeframes), config)

    batches = list(windows.training_batches(config, windows.plan_epoch(config, 0)))

    present = torch.cat([batch.real.any(dim=2) for batch in batches]).double()
    share = present.mean(dim=0).tolist()
    assert share[0] == 1
    assert share[1] == pytest.approx(0.3, abs=5 * np.sqrt(0.3 * 0.7 / 1280))
    assert share[2] == 0
    assert all(batch.real.any(dim=2).all() for batch in windows.validation_batches(MASKING))
