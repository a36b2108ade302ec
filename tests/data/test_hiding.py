import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare
from synthetic_bars import MIDNIGHT, data_config, gappy_minutes, market

from stage1.base.steps import MINUTES, STANDARD
from stage1.config import MaskingConfig
from stage1.data.hiding import (
    NO_TIME,
    draw_calendar_hiding,
    draw_hiding,
    inside,
    numbers_needed,
    place_spans,
    span_lengths,
)
from stage1.data.windows import FEWEST_BARS, find_windows

ALL = STANDARD
LENGTHS = {name: MINUTES[name] for name in ALL}


def gapless_times(timeframes, *, seq_len, windows, step=7):
    """(windows, timeframes, bars) open times; windows end `step` minutes apart."""
    ends = MIDNIGHT + 60 * step * np.arange(windows)
    times = np.empty((windows, len(timeframes), seq_len), dtype=np.int64)
    for column, name in enumerate(timeframes):
        length = 60 * MINUTES[name]
        newest = ends // length * length - length
        times[:, column] = newest[:, None] - length * np.arange(seq_len - 1, -1, -1)
    return times


def minutes_of(timeframes):
    return tuple(MINUTES[name] for name in timeframes)


def draw(times, timeframes, masking, *, seed=0):
    ratios = (masking.mask_ratio,) * len(timeframes)
    numbers = numbers_needed(times.shape[2], masking, ratios)
    uniforms = np.random.default_rng(seed).random((*times.shape[:2], numbers))
    return draw_hiding(times, minutes_of(timeframes), masking, uniforms, ratios)


def runs(flags):
    """Lengths of the runs of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(int), [0]])))
    return (edges[1::2] - edges[::2]).tolist()


def reachable(bars, shortest, longest):
    """The largest number up to `bars` that is a sum of span lengths, by building all sums."""
    sums = {0}
    for _ in range(bars):
        sums |= {s + size for s in sums for size in range(shortest, longest + 1)}
    return max(s for s in sums if s <= bars)


@given(
    bars=st.integers(1, 20),
    shortest=st.integers(1, 7),
    more=st.integers(0, 5),
    seed=st.integers(0, 99),
)
@settings(max_examples=80, deadline=None)
def test_lengths_keep_their_bounds_and_use_all_bars_that_they_can(bars, shortest, more, seed):
    assume(bars >= shortest)
    uniforms = np.random.default_rng(seed).random((50, bars // shortest))

    lengths = span_lengths(uniforms, np.full(50, bars), shortest=shortest, longest=shortest + more)

    used = lengths[lengths > 0]
    assert used.min() >= shortest
    assert used.max() <= shortest + more
    assert (lengths.sum(axis=1) == reachable(bars, shortest, shortest + more)).all()
    assert (np.diff((lengths > 0).astype(int), axis=1) <= 0).all()  # the unused ones come last


def test_all_first_lengths_that_can_be_completed_are_drawn_equally_often():
    uniforms = np.random.default_rng(0).random((20_000, 3))

    lengths = span_lengths(uniforms, np.full(20_000, 10), shortest=3, longest=7)

    counts = np.bincount(lengths[:, 0], minlength=8)
    assert counts[:3].sum() == 0
    assert chisquare(counts[3:]).pvalue > 1e-3


@pytest.mark.parametrize("unused", [0, 1, 4])
def test_a_span_starts_at_every_possible_bar_equally_often(unused):
    lengths = np.tile([5] + [0] * unused, (20_000, 1))
    uniforms = np.random.default_rng(unused).random(lengths.shape)

    covered = place_spans(lengths, uniforms, last=np.full(20_000, 14), seq_len=16)

    starts = np.bincount(covered.argmax(axis=1), minlength=16)
    assert (covered.sum(axis=1) == 5).all()
    assert starts[[0, *range(11, 16)]].sum() == 0
    assert chisquare(starts[1:11]).pvalue > 1e-3


def test_two_spans_are_shifted_by_every_amount_equally_often():
    lengths = np.tile([3, 3, 0], (20_000, 1))
    uniforms = np.random.default_rng(1).random(lengths.shape)

    covered = place_spans(lengths, uniforms, last=np.full(20_000, 14), seq_len=16)

    # Packed to the left they start at bars 1 and 5 and end at bar 7; 7 bars of room remain.
    edges = np.flatnonzero(np.diff(covered.astype(int), axis=1).ravel() == 1) % 15 + 1
    shifts = edges.reshape(-1, 2) - [1, 5]
    assert (shifts >= 0).all()
    assert chisquare(np.bincount(shifts.ravel(), minlength=8)).pvalue > 1e-3


@given(
    lengths=st.lists(st.lists(st.integers(1, 4), min_size=3, max_size=3), min_size=1, max_size=8),
    last=st.integers(-1, 14),
    seed=st.integers(0, 999),
)
@settings(max_examples=80, deadline=None)
def test_placed_spans_stay_apart_and_those_without_room_are_dropped(lengths, last, seed):
    lengths = np.array(lengths)
    uniforms = np.random.default_rng(seed).random(lengths.shape)

    covered = place_spans(lengths, uniforms, last=np.full(len(lengths), last), seq_len=16)

    for row, sizes in zip(covered, lengths.tolist(), strict=True):
        fits = [n for n in range(4) if sum(sizes[:n]) + max(n - 1, 0) <= max(last, 0)]
        assert runs(row) == sizes[: max(fits)]
        assert not row[0]
        assert not row[last + 1 :].any()


@pytest.mark.parametrize("ratio", [0.1, 0.15, 0.3])
def test_every_timeframe_draws_the_same_number_of_bars_near_the_ratio(ratio):
    masking = MaskingConfig(mask_ratio=ratio)
    times = gapless_times(ALL, seq_len=64, windows=200)

    scored = draw(times, ALL, masking).scored

    assert np.unique(scored.sum(axis=2)).tolist() == [round(ratio * 64)]
    assert scored.mean() == pytest.approx(ratio, abs=0.5 / 64)


@pytest.mark.parametrize("sync", [True, False])
def test_hidden_spans_have_lengths_between_the_bounds_and_spare_both_ends(sync):
    masking = MaskingConfig(mask_ratio=0.3, mask_span_min=2, mask_span_max=4, sync_across_tf=sync)
    times = gapless_times(ALL, seq_len=32, windows=100)

    scored = draw(times, ALL, masking).scored

    assert not scored[..., [0, -1]].any()
    lengths = {length for row in scored.reshape(-1, 32) for length in runs(row)}
    assert lengths == {2, 3, 4}


cases = st.fixed_dictionaries(
    {
        "timeframes": st.sampled_from([("m1", "m5"), ("m1", "m5", "m15"), ("m1", "m15")]),
        "minutes": gappy_minutes(longest_gap=20),
        "seq_len": st.integers(8, 16),
        "ratio": st.sampled_from([0.25, 0.4]),
        "shortest": st.integers(1, 2),
        "more": st.integers(0, 2),
        "seed": st.integers(0, 99),
    }
)


def drawn_windows(case):
    """The last windows over gappy bars: times, masking, and what is hidden in synchrony."""
    config = data_config(timeframes=case["timeframes"], seq_len=case["seq_len"])
    bars = market(case["minutes"], config.timeframes)
    last = find_windows(bars, config).last[-12:]
    assume(len(last))
    rows = last[:, :, None] - np.arange(config.seq_len - 1, -1, -1)
    times = np.stack(
        [bars[name].open_time[rows[:, i]] for i, name in enumerate(config.timeframes)], axis=1
    )
    masking = MaskingConfig(
        mask_ratio=case["ratio"],
        mask_span_min=case["shortest"],
        mask_span_max=case["shortest"] + case["more"],
    )
    return times, masking, draw(times, config.timeframes, masking, seed=case["seed"])


def overlap(coarse, coarse_minutes, fine, fine_minutes):
    return coarse < fine + 60 * fine_minutes and fine < coarse + 60 * coarse_minutes


@given(case=cases)
@settings(max_examples=40, deadline=None)
def test_coarse_bars_are_hidden_over_drawn_finer_bars_and_drawn_only_where_no_finer_bar_is(case):
    timeframes, (times, masking, hiding) = case["timeframes"], drawn_windows(case)

    for window, frames in enumerate(times.tolist()):
        for index, minutes in enumerate(minutes_of(timeframes)):
            for bar, time in enumerate(frames[index]):
                gives_away = any(
                    overlap(time, minutes, fine_time, MINUTES[timeframes[finer]])
                    for finer in range(index)
                    for fine_time, fine_drawn in zip(
                        frames[finer], hiding.scored[window, finer], strict=True
                    )
                    if fine_drawn
                )
                drawn_itself = bool(hiding.scored[window, index, bar])
                assert hiding.hidden[window, index, bar] == (drawn_itself or gives_away)
                assert not (drawn_itself and gives_away)
    assert not hiding.hidden.all(axis=2).any()  # no window is hidden whole
    for window, index, bar in np.argwhere(hiding.scored).tolist():
        coarse = times[window, index, bar]
        assert not any(
            overlap(coarse, MINUTES[timeframes[index]], fine, MINUTES[timeframes[finer]])
            for finer in range(index)
            for fine in times[window, finer].tolist()
        )
        assert bar not in (0, times.shape[2] - 1)
    for row in hiding.scored.reshape(-1, times.shape[2]):
        assert all(masking.mask_span_min <= length <= masking.mask_span_max for length in runs(row))


def test_switched_off_every_timeframe_hides_what_it_draws_and_no_more():
    masking = MaskingConfig(sync_across_tf=False)
    times = gapless_times(ALL, seq_len=64, windows=100)

    hiding = draw(times, ALL, masking)

    assert (hiding.hidden == hiding.scored).all()
    newest_hour = times[:, 1, :] >= times[:, 0, :1]
    assert (hiding.scored[:, 1] & newest_hour).any()


def calendar_times(seq_len, ends):
    """Open times of gapless calendar windows, and how many bars each timeframe has."""
    times = np.full((len(ends), len(ALL), seq_len), NO_TIME)
    lengths = np.zeros((len(ends), len(ALL)), dtype=np.int64)
    for row, end in enumerate(ends):
        for column, name in enumerate(ALL):
            minutes = MINUTES[name]
            start = -(-(end - seq_len) // minutes) * minutes
            opens = np.arange(start, end - minutes + 1, minutes) * 60
            times[row, column, : len(opens)] = opens
            lengths[row, column] = len(opens)
    return times, lengths


def draw_calendar(times, lengths, masking, *, seed=0, ratios=None):
    ratios = ratios or (masking.mask_ratio,) * len(ALL)
    numbers = numbers_needed(times.shape[2], masking, ratios) + 1
    uniforms = np.random.default_rng(seed).random((*lengths.shape, numbers))
    return draw_calendar_hiding(times, lengths, tuple(LENGTHS.values()), masking, uniforms, ratios)


ENDS = range(100_000, 100_400)


@given(
    seq_len=st.sampled_from([64, 256, 512]),
    ratio=st.floats(0.05, 0.5),
    sync=st.booleans(),
    seed=st.integers(0, 99),
)
@settings(max_examples=30, deadline=None)
def test_scored_bars_are_hidden_and_real_and_neither_first_nor_last(seq_len, ratio, sync, seed):
    times, lengths = calendar_times(seq_len, ENDS[:20])
    masking = MaskingConfig(mask_ratio=ratio, sync_across_tf=sync)

    hidden, scored = draw_calendar(times, lengths, masking, seed=seed)

    positions = np.arange(seq_len)
    inner = (positions > 0) & (positions < lengths[..., None] - 1)
    assert not (scored & ~hidden).any()
    assert not (hidden & (times == NO_TIME)).any()
    assert not (scored & ~inner).any()
    assert not scored[lengths < FEWEST_BARS].any()
    assert scored.any(axis=(1, 2)).all()


def test_no_visible_bar_of_any_timeframe_shares_a_minute_with_a_scored_bar_of_another():
    times, lengths = calendar_times(256, ENDS)

    hidden, scored = draw_calendar(times, lengths, MaskingConfig())

    for window in range(len(times)):
        minutes = {True: set(), False: set()}
        covered = []
        for column, length in enumerate(LENGTHS.values()):
            for bar in range(lengths[window, column]):
                opens = times[window, column, bar] // 60
                span = set(range(opens, opens + length))
                if scored[window, column, bar]:
                    minutes[True] |= span
                elif not hidden[window, column, bar]:
                    covered.append(span)
        assert not any(span & minutes[True] for span in covered)


def test_one_timeframe_draws_per_window_each_of_those_with_enough_bars_equally_often():
    times, lengths = calendar_times(270, np.arange(1000) + 100_000)

    scored = draw_calendar(times, lengths, MaskingConfig()).scored.any(axis=2)

    assert (scored.sum(axis=1) == 1).all()
    enough = (lengths >= FEWEST_BARS).all(axis=0)
    assert enough.tolist() == [True, True, True, True, False, False]
    assert chisquare(scored.sum(axis=0)[enough]).pvalue > 1e-3
    assert not scored[:, ~enough].any()


def test_without_hiding_across_timeframes_each_draws_its_own_share_and_nothing_else_is_hidden():
    times, lengths = calendar_times(256, ENDS)
    masking = MaskingConfig(mask_ratio=0.15, sync_across_tf=False)

    hidden, scored = draw_calendar(times, lengths, masking)

    assert np.array_equal(hidden, scored)
    counts = scored.sum(axis=2)
    assert (counts[:, 0] == round(0.15 * 256)).all()
    assert (counts[lengths >= FEWEST_BARS] > 0).all()


@pytest.mark.parametrize("ratio", [0.01, 0.9], ids=["less than a bar", "nearly all"])
def test_an_extreme_ratio_leaves_at_least_one_bar_hidden_and_both_ends_visible(ratio):
    times, lengths = calendar_times(256, ENDS[:50])
    masking = MaskingConfig(sync_across_tf=False)

    scored = draw_calendar(times, lengths, masking, ratios=(ratio,) * len(ALL)).scored

    counts = scored.sum(axis=2)[lengths >= FEWEST_BARS]
    assert counts.min() >= 1
    assert (counts <= lengths[lengths >= FEWEST_BARS] - 2).all()


def test_fine_bars_inside_a_drawn_coarse_bar_are_found_across_gaps_and_padding():
    fine = np.array([[0, 60, 240, 300, 360, int(NO_TIME)]])
    coarse = np.array([[0, 300, 900, int(NO_TIME), int(NO_TIME), int(NO_TIME)]])
    drawn = np.array([[False, True, False, False, False, False]])

    found = inside(fine, coarse, 5, drawn)

    assert found.tolist() == [[False, False, False, True, True, False]]
