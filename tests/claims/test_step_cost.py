"""The cost block: geometric means by hand, rounds, sizes and memory."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from stage1.claims import step_cost
from stage1.run.columns import PRETRAINED, VANILLA

MARGIN = 1.15
size_costs = partial(step_cost.size_costs, margin=MARGIN, error_rate=0.05 / 6)


def timed(seconds, *, size="small", patch_len=8, steps=10, **columns):
    """Rows of cost.parquet: pairs of pretrained and vanilla seconds, one per round."""
    rows = [
        {
            "arm": arm,
            "size": size,
            "patch_len": patch_len,
            "round": number,
            "steps": steps,
            "seconds": value,
            "peak_rss_mb": 700.0 + number + 50 * (arm == PRETRAINED),
            "peak_vram_mb": math.nan,
        }
        | columns
        for number, pair in enumerate(seconds)
        for arm, value in zip((PRETRAINED, VANILLA), pair, strict=True)
        if value is not None
    ]
    return pd.DataFrame(rows)


def test_the_cost_is_the_ratio_of_geometric_means_of_seconds_per_step():
    rounds = [(2.0, 1.0), (8.0, 2.0), (1.0, 4.0)]

    (cost,) = size_costs(timed(rounds, steps=10))

    assert cost.seconds_per_step == pytest.approx((16 ** (1 / 3) / 10, 2 / 10))
    assert cost.ratio.estimate == pytest.approx(16 ** (1 / 3) / 2)


def test_its_interval_and_p_are_those_of_a_t_test_of_log_ratios():
    seconds = np.exp(np.random.default_rng(0).normal(0.1, 0.03, size=(6, 2)))

    (cost,) = size_costs(timed(seconds))

    logs = np.log(seconds[:, 0] / seconds[:, 1])
    test = stats.ttest_1samp(logs, math.log(MARGIN))
    ends = test.confidence_interval(1 - 0.05 / 6)
    assert cost.ratio[1:] == pytest.approx((math.exp(ends.low), math.exp(ends.high), test.pvalue))


def test_neither_slow_spells_of_both_encoders_nor_steps_that_differ_by_round_count():
    spells = np.array([[1.0], [3.0], [1.0], [7.0]])
    steps = [timed([(2.0, 1.0)], steps=10), timed([(8.0, 4.0)], steps=40, round=1)]

    (slow,) = size_costs(timed(spells * [1.1, 1.0]))
    (by_step,) = size_costs(pd.concat(steps, ignore_index=True))

    assert slow.ratio[:3] == pytest.approx((1.1, 1.1, 1.1))
    assert by_step.seconds_per_step == pytest.approx((0.2, 0.1))


def test_rounds_that_lack_an_encoder_do_not_count():
    whole = [(1.2, 1.0), (1.3, 1.0), (1.1, 1.0)]

    (cost,) = size_costs(timed([*whole, (9.0, None), (None, 0.1)]))
    (expected,) = size_costs(timed(whole))

    assert cost.rounds == 3
    assert cost.ratio == pytest.approx(expected.ratio)
    assert cost.seconds_per_step == pytest.approx(expected.seconds_per_step)


@pytest.mark.parametrize(
    "rounds",
    [
        pytest.param([(1.2, 1.0)], id="one round"),
        pytest.param([(1.2, None), (1.3, None)], id="no vanilla encoder"),
        pytest.param([(None, 1.0), (None, 1.1)], id="no T5"),
        pytest.param([(1.2, None), (None, 1.0)], id="never both in a round"),
    ],
)
def test_a_size_without_two_whole_rounds_has_no_cost(rounds):
    assert size_costs(timed(rounds)) == size_costs(timed(rounds).iloc[:0]) == []


def test_every_size_and_patch_length_has_its_own_cost_the_cheapest_first():
    block = pd.concat(
        [
            timed([(3.0, 2.0), (3.1, 2.0)], size="base"),
            timed([(1.2, 1.0), (1.3, 1.0)], size="small"),
            timed([(0.6, 0.5), (0.7, 0.5)], size="small", patch_len=16),
        ],
        ignore_index=True,
    )

    places = [(cost.size, cost.patch_len) for cost in size_costs(block)]

    assert places == [("small", 16), ("small", 8), ("base", 8)]


def test_memory_is_the_largest_peak_and_absent_without_a_gpu():
    rounds = [(1.2, 1.0), (1.3, 1.0), (1.1, 1.0)]

    (cost,), (on_gpu,) = size_costs(timed(rounds)), size_costs(timed(rounds, peak_vram_mb=512.0))

    assert cost.memory_mb == (752.0, 702.0)
    assert all(math.isnan(peak) for peak in cost.gpu_memory_mb)
    assert on_gpu.gpu_memory_mb == (512.0, 512.0)
