import numpy as np
import pytest
import torch
from tiny_training import all_validation, tiny_config, tiny_windows

from stage1.model.blocks import MOST_BLOCKS, block_sums, blocks_of_windows
from stage1.model.metrics import correlations

CONFIG = tiny_config()
DAY = 86_400


def windows_every(minutes, *, count, length):
    """Starts and ends of windows of so many minutes each."""
    ends = 1_700_000_040 + 60 * minutes * np.arange(count, dtype=np.int64)
    return ends - 60 * length, ends


# --- which block a window belongs to ---


def test_many_short_windows_fill_all_blocks_evenly():
    starts, ends = windows_every(5, count=3200, length=60)

    blocks = blocks_of_windows(starts, ends)

    counts = np.bincount(blocks)
    assert len(counts) == MOST_BLOCKS == 32
    assert counts[:-1].min() >= counts[:-1].max() - 1
    assert counts[-1] <= counts[0]


@pytest.mark.parametrize("count", [1, 2, 31, 32, 33, 1000])
def test_there_are_never_more_than_32_blocks(count):
    starts, ends = windows_every(1, count=count, length=1)

    blocks = blocks_of_windows(starts, ends)

    assert np.unique(blocks).tolist() == list(range(min(count, 32)))


def test_a_block_is_as_long_as_the_longest_window_where_that_is_more_than_a_32nd():
    starts, ends = windows_every(60, count=24 * 10, length=24 * 60)

    blocks = blocks_of_windows(starts, ends)

    assert np.bincount(blocks).tolist() == [24] * 10  # one day each


def test_windows_with_a_block_between_them_share_no_bar():
    rng = np.random.default_rng(0)
    ends = np.sort(60 * rng.integers(0, 5000, size=400))
    starts = ends - 60 * rng.integers(10, 200, size=400)

    blocks = blocks_of_windows(starts, ends)

    for block in range(blocks.max() - 1):
        assert ends[blocks == block].max() <= starts[blocks == block + 2].min()


def test_blocks_follow_the_clock_where_windows_are_missing():
    starts, ends = windows_every(60, count=24 * 10, length=60 * 24)
    weekend = (ends >= ends[0] + 4 * DAY) & (ends < ends[0] + 6 * DAY)

    blocks = blocks_of_windows(starts[~weekend], ends[~weekend])

    assert np.unique(blocks).tolist() == [0, 1, 2, 3, 6, 7, 8, 9]


# --- what is added up ---


@pytest.fixture(scope="module")
def batch():
    return all_validation(CONFIG)


@pytest.fixture
def decoded(batch, generator):
    return batch.targets + 0.5 * torch.randn(batch.targets.shape, generator=generator)


@pytest.fixture(scope="module")
def blocks(batch):
    return torch.arange(len(batch.targets)) % 3


def bars_of(values, batch, timeframe, *, windows):
    """(bars, 4) of the scored bars of a timeframe in some windows, float64."""
    return values[windows, timeframe][batch.scored[windows, timeframe]].double().numpy()


def test_every_block_has_the_sums_over_its_own_scored_bars(decoded, batch, blocks):
    sums = block_sums(decoded, batch, blocks)

    assert sums.shape == (3, 4, 3, 6)
    assert sums.dtype == torch.float64
    for timeframe in range(3):
        for block in range(3):
            windows = blocks == block
            truth = bars_of(batch.targets, batch, timeframe, windows=windows)
            mine = bars_of(decoded, batch, timeframe, windows=windows)
            expected = [
                np.full(4, len(truth)),
                truth.sum(axis=0),
                mine.sum(axis=0),
                np.square(truth).sum(axis=0),
                np.square(mine).sum(axis=0),
                (truth * mine).sum(axis=0),
            ]
            np.testing.assert_allclose(
                sums[timeframe, :, block].T, np.stack(expected), rtol=1e-12, atol=1e-9
            )


def test_added_up_the_sums_give_the_correlation_of_all_bars(decoded, batch, blocks):
    n, truth, mine, truth_2, mine_2, product = block_sums(decoded, batch, blocks).sum(2).unbind(-1)

    covariance = n * product - truth * mine
    result = covariance / torch.sqrt((n * truth_2 - truth**2) * (n * mine_2 - mine**2))

    for timeframe in range(3):
        scored = batch.scored[:, timeframe]
        pooled = (values[:, timeframe][scored] for values in (decoded, batch.targets))
        np.testing.assert_allclose(result[timeframe], correlations(*pooled), rtol=1e-9)


def test_unscored_bars_do_not_count(decoded, batch, blocks):
    elsewhere = decoded.masked_fill(~batch.scored.unsqueeze(-1), 77.0)

    result = block_sums(elsewhere, batch, blocks)

    assert torch.equal(result, block_sums(decoded, batch, blocks))


def test_a_block_without_windows_has_sums_of_0(decoded, batch, blocks):
    sums = block_sums(decoded, batch, 2 * blocks)

    assert sums.shape[2] == 5
    assert not sums[:, :, [1, 3]].any()


def test_the_validation_windows_of_a_study_are_in_blocks_by_their_ends():
    validation = tiny_windows(CONFIG).split.validation

    blocks = blocks_of_windows(validation.starts, validation.ends)

    assert len(blocks) == len(validation.ends)
    assert (np.diff(blocks) >= 0).all()
