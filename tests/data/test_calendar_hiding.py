"""Hiding in calendar windows: nothing hidden can be read off any other timeframe."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from stage1.base.steps import MINUTES
from stage1.config import MaskingConfig
from stage1.data.hiding import NO_TIME, draw_calendar_hiding, draw_presence, inside, numbers_needed
from stage1.data.windows import FEWEST_BARS

ALL = tuple(MINUTES)


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


def draw(times, lengths, masking, *, seed=0, ratios=None):
    ratios = ratios or (masking.mask_ratio,) * len(ALL)
    numbers = numbers_needed(times.shape[2], masking, ratios) + 1
    uniforms = np.random.default_rng(seed).random((*lengths.shape, numbers))
    return draw_calendar_hiding(times, lengths, tuple(MINUTES.values()), masking, uniforms, ratios)


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

    hidden, scored = draw(times, lengths, masking, seed=seed)

    positions = np.arange(seq_len)
    inner = (positions > 0) & (positions < lengths[..., None] - 1)
    assert not (scored & ~hidden).any()
    assert not (hidden & (times == NO_TIME)).any()
    assert not (scored & ~inner).any()
    assert not scored[lengths < FEWEST_BARS].any()
    assert scored.any(axis=(1, 2)).all()


def test_no_visible_bar_of_any_timeframe_shares_a_minute_with_a_scored_bar_of_another():
    times, lengths = calendar_times(256, ENDS)

    hidden, scored = draw(times, lengths, MaskingConfig())

    for window in range(len(times)):
        minutes = {True: set(), False: set()}
        covered = []
        for column, length in enumerate(MINUTES.values()):
            for bar in range(lengths[window, column]):
                opens = times[window, column, bar] // 60
                span = set(range(opens, opens + length))
                if scored[window, column, bar]:
                    minutes[True] |= span
                elif not hidden[window, column, bar]:
                    covered.append(span)
        assert not any(span & minutes[True] for span in covered)


def test_one_timeframe_draws_per_window_each_of_those_with_enough_bars_equally_often():
    times, lengths = calendar_times(270, np.arange(3000) + 100_000)

    scored = draw(times, lengths, MaskingConfig()).scored.any(axis=2)

    assert (scored.sum(axis=1) == 1).all()
    enough = (lengths >= FEWEST_BARS).all(axis=0)
    assert enough.tolist() == [True, True, True, True, False, False]
    assert chisquare(scored.sum(axis=0)[enough]).pvalue > 1e-3
    assert not scored[:, ~enough].any()


def test_without_hiding_across_timeframes_each_draws_its_own_share_and_nothing_else_is_hidden():
    times, lengths = calendar_times(256, ENDS)
    masking = MaskingConfig(mask_ratio=0.15, sync_across_tf=False)

    hidden, scored = draw(times, lengths, masking)

    assert np.array_equal(hidden, scored)
    counts = scored.sum(axis=2)
    assert (counts[:, 0] == round(0.15 * 256)).all()
    assert (counts[lengths >= FEWEST_BARS] > 0).all()


@pytest.mark.parametrize("ratio", [0.01, 0.9], ids=["less than a bar", "nearly all"])
def test_an_extreme_ratio_leaves_at_least_one_bar_hidden_and_both_ends_visible(ratio):
    times, lengths = calendar_times(256, ENDS[:50])
    masking = MaskingConfig(sync_across_tf=False)

    scored = draw(times, lengths, masking, ratios=(ratio,) * len(ALL)).scored

    counts = scored.sum(axis=2)[lengths >= FEWEST_BARS]
    assert counts.min() >= 1
    assert (counts <= lengths[lengths >= FEWEST_BARS] - 2).all()


def test_fine_bars_inside_a_drawn_coarse_bar_are_found_across_gaps_and_padding():
    fine = np.array([[0, 60, 240, 300, 360, int(NO_TIME)]])
    coarse = np.array([[0, 300, 900, int(NO_TIME), int(NO_TIME), int(NO_TIME)]])
    drawn = np.array([[False, True, False, False, False, False]])

    found = inside(fine, coarse, 5, drawn)

    assert found.tolist() == [[False, False, False, True, True, False]]


def test_a_timeframe_left_out_by_chance_has_no_bars():
    lengths = np.array([[64, 12], [64, 13]])
    uniforms = np.array([[0.99, 0.2], [0.0, 0.6]])

    assert draw_presence(lengths, uniforms, (1.0, 0.5)).tolist() == [[64, 12], [64, 0]]
