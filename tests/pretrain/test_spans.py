import itertools

import numpy as np
import pytest
from scipy.stats import chisquare

from stage1.pretrain.spans import (
    EOS_ID,
    SpanCorruption,
    corrupt,
    corrupted_batch,
    hidden_mask,
    random_segments,
)

OBJECTIVE = SpanCorruption(first_sentinel=1099)


@pytest.fixture
def generator():
    return np.random.default_rng(0)


def runs(row):
    """Lengths and values of the runs of equal values in a row."""
    return [(value, len(list(group))) for value, group in itertools.groupby(row.tolist())]


def restored(inputs, targets, first_sentinel):
    """The text that inputs and targets stand for, put together token by token."""
    spans, current = {}, None
    for token in targets.tolist()[:-1]:
        if token > first_sentinel - 100:
            current = spans.setdefault(token, [])
        else:
            current.append(token)
    text = []
    for token in inputs.tolist()[:-1]:
        text.extend(spans.pop(token) if token > first_sentinel - 100 else [token])
    assert not spans
    return text


@pytest.mark.parametrize(("items", "segments"), [(24, 8), (5, 5), (7, 1), (136, 8)])
def test_segments_are_never_empty_and_add_up(generator, items, segments):
    lengths = random_segments(items, segments, rows=200, generator=generator)

    assert lengths.shape == (200, segments)
    assert (lengths.sum(axis=1) == items).all()
    assert lengths.min() >= 1


def test_every_way_to_cut_is_equally_likely(generator):
    ways = [cut for cut in itertools.product(range(1, 6), repeat=3) if sum(cut) == 6]

    lengths = random_segments(6, 3, rows=20_000, generator=generator)

    found = [int((lengths == way).all(axis=1).sum()) for way in ways]
    assert sum(found) == 20_000
    assert chisquare(found).pvalue > 1e-3


def test_spans_alternate_and_every_row_hides_as_many_tokens_and_its_text_is_given_back(generator):
    mask = hidden_mask(OBJECTIVE, rows=300, generator=generator)
    tokens = generator.integers(3, 999, (300, 160))

    inputs, targets = corrupt(tokens, mask, first_sentinel=1099)

    assert mask.shape == (300, 160)
    assert (mask.sum(axis=1) == 24).all()
    # the first span is visible
    assert all([value for value, _ in runs(row)] == [False, True] * 8 for row in mask)
    lengths = [length for row in mask for value, length in runs(row) if value]
    assert np.mean(lengths) == OBJECTIVE.mean_span
    assert len(set(lengths)) > 5
    assert inputs.shape == (300, 160 - 24 + 8 + 1)
    assert targets.shape == (300, 24 + 8 + 1)
    for row in range(300):
        assert restored(inputs[row], targets[row], 1099) == tokens[row].tolist()


def test_corruption_by_hand():
    tokens = np.array([[11, 12, 13, 14, 15, 16, 17]])
    hidden = np.array([[0, 1, 1, 0, 0, 1, 0]], dtype=bool)

    inputs, targets = corrupt(tokens, hidden, first_sentinel=99)

    assert inputs.tolist() == [[11, 99, 14, 15, 98, 17, EOS_ID]]
    assert targets.tolist() == [[99, 12, 13, 98, 16, EOS_ID]]


def test_a_batch_is_running_text_from_places_all_over_the_stream():
    stream = np.arange(200, 1000, dtype=np.int32)  # each token tells its place

    inputs, targets = corrupted_batch(stream, OBJECTIVE, rows=400, seed=(0, 0))

    starts = inputs[:, 0] - 200
    assert all(
        restored(inputs[row], targets[row], 1099) == list(range(200 + start, 360 + start))
        for row, start in enumerate(starts.tolist())
    )
    assert chisquare(np.histogram(starts, bins=8, range=(0, 640))[0]).pvalue > 1e-3


def test_a_batch_depends_on_its_seed_alone():
    stream = np.arange(200, 1000, dtype=np.int32)

    np.random.seed(1)
    first = corrupted_batch(stream, OBJECTIVE, rows=4, seed=(3, 5))
    np.random.seed(2)
    second = corrupted_batch(stream, OBJECTIVE, rows=4, seed=(3, 5))
    other_step = corrupted_batch(stream, OBJECTIVE, rows=4, seed=(3, 6))
    other_seed = corrupted_batch(stream, OBJECTIVE, rows=4, seed=(4, 5))

    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    assert not np.array_equal(first[0], other_step[0])
    assert not np.array_equal(first[0], other_seed[0])
