"""T5's training objective: spans of text are replaced by sentinels, and the model predicts them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

PAD_ID, EOS_ID, UNKNOWN_ID = 0, 1, 2
SENTINELS = 100


@dataclass(frozen=True)
class SpanCorruption:
    """The objective's numbers: T5's defaults, on rows of 160 tokens."""

    first_sentinel: int
    """Token id of the first sentinel; sentinel k is `first_sentinel - k`."""
    row_tokens: int = 160
    """Tokens of running text per row, before corruption."""
    density: float = 0.15
    """Share of the tokens that is hidden."""
    mean_span: float = 3.0
    """Mean tokens per hidden span."""

    @property
    def hidden_tokens(self) -> int:
        """Tokens to hide in every row."""
        return round(self.row_tokens * self.density)

    @property
    def spans(self) -> int:
        """Spans that they make up, at least one."""
        return max(round(self.hidden_tokens / self.mean_span), 1)


def random_segments(
    items: int, segments: int, *, rows: int, generator: np.random.Generator
) -> NDArray[np.int64]:
    """Cut `items` into `segments` parts of at least one item, uniformly over all ways to do so.

    Returns:
        (rows, segments) lengths; every row sums to `items`.
    """
    keys = generator.random((rows, items - 1))
    cuts = np.sort(np.argsort(keys, axis=1)[:, : segments - 1], axis=1) + 1
    lengths: NDArray[np.int64] = np.diff(cuts, axis=1, prepend=0, append=items)
    return lengths


def hidden_mask(
    objective: SpanCorruption, *, rows: int, generator: np.random.Generator
) -> NDArray[np.bool_]:
    """Choose the hidden tokens: visible and hidden spans alternate, a visible one comes first.

    Returns:
        (rows, row_tokens), True where hidden; every row hides the same number in as many spans.

    Source:
        Raffel et al. 2020, "Exploring the Limits of Transfer Learning", section 3.1.4; the
        alternation follows `random_spans_noise_mask` of the T5 code.
    """
    hidden_tokens, visible_tokens = (
        random_segments(tokens, objective.spans, rows=rows, generator=generator)
        for tokens in (objective.hidden_tokens, objective.row_tokens - objective.hidden_tokens)
    )
    ends = np.stack([visible_tokens, hidden_tokens], axis=2).reshape(rows, -1).cumsum(axis=1)
    places = np.arange(objective.row_tokens)
    span_of_token: NDArray[np.int64] = (places[None, :, None] >= ends[:, None, :]).sum(axis=2)
    hidden: NDArray[np.bool_] = span_of_token % 2 == 1
    return hidden


def corrupt(
    tokens: NDArray[np.int64], hidden: NDArray[np.bool_], *, first_sentinel: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Build encoder inputs and decoder targets from rows and their hidden tokens.

    Args:
        tokens: (rows, row_tokens) running text.
        hidden: Same shape; every row hides equally many tokens in equally many spans.
        first_sentinel: Token id of sentinel 0; the k-th span of a row gets `first_sentinel - k`.

    Returns:
        Inputs (visible tokens, one sentinel per hidden span, end of sequence) and targets (each
        sentinel followed by its span, end of sequence).
    """
    rows = len(tokens)
    starts = np.diff(hidden.astype(np.int64), axis=1, prepend=0) > 0
    sentinels = first_sentinel - (np.cumsum(starts, axis=1) - 1)
    end = np.full((rows, 1), EOS_ID)

    inputs = np.where(starts, sentinels, tokens)[~hidden | starts].reshape(rows, -1)
    pairs = np.stack([sentinels, tokens], axis=2)  # each start yields its sentinel, then the token
    keep = np.stack([starts, hidden], axis=2)
    targets = pairs[keep].reshape(rows, -1)
    return np.concatenate([inputs, end], axis=1), np.concatenate([targets, end], axis=1)


def corrupted_batch(
    stream: NDArray[np.int32], objective: SpanCorruption, *, rows: int, seed: tuple[int, int]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Draw rows at random places of a token stream and corrupt them; the seed decides all."""
    generator = np.random.default_rng(seed)
    places = generator.integers(0, len(stream) - objective.row_tokens, rows)
    tokens = stream[places[:, None] + np.arange(objective.row_tokens)].astype(np.int64)
    hidden = hidden_mask(objective, rows=rows, generator=generator)
    return corrupt(tokens, hidden, first_sentinel=objective.first_sentinel)
