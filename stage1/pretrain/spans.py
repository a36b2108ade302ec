"""Span corruption of text: what is hidden, and what a trained model fills in."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import takewhile

import numpy as np
import sentencepiece
import torch
from numpy.typing import NDArray
from transformers import T5ForConditionalGeneration

from stage1.pretrain.saved_state import quiet

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


EXAMPLES = 3
GAP_WORDS = 2
_LEAST_WORDS, _MOST_WORDS = 12, 30
_LONGEST_ANSWER = 12
"""In word pieces."""
_GUESSES = 5


@dataclass(frozen=True)
class Infilling:
    """One gap: `before ... after` is what the model saw."""

    before: str
    after: str
    hidden: str
    answer: str
    """The likeliest piece at every place."""
    guesses: list[tuple[str, float]]
    """The likeliest word pieces to begin with, and their probabilities."""
    rank: int
    """Of what the hidden words begin with, among all pieces; 1 is the likeliest."""


def infill(
    model: T5ForConditionalGeneration, paragraphs: list[str], vocabulary: bytes, *, sentinel: int
) -> list[Infilling]:
    """Let the model fill a gap of two words in the middle of the first short paragraphs.

    The likeliest word piece at every place is taken, so the same weights give the same answers.

    Args:
        model: In evaluation mode, on the CPU.
        paragraphs: Held-out text; up to three of 12 to 30 words are taken.
        vocabulary: The SentencePiece model.
        sentinel: Token id that stands for the gap.
    """
    texts = [paragraph.split() for paragraph in paragraphs]
    short = [words for words in texts if _LEAST_WORDS <= len(words) <= _MOST_WORDS]
    pieces = sentencepiece.SentencePieceProcessor(model_proto=vocabulary)
    return [_filled(model, words, pieces, sentinel) for words in short[:EXAMPLES]]


def _filled(
    model: T5ForConditionalGeneration,
    words: list[str],
    pieces: sentencepiece.SentencePieceProcessor,
    sentinel: int,
) -> Infilling:
    start = (len(words) - GAP_WORDS) // 2
    before, after = " ".join(words[:start]), " ".join(words[start + GAP_WORDS :])
    hidden = " ".join(words[start : start + GAP_WORDS])
    inputs = torch.tensor([[*pieces.encode(before), sentinel, *pieces.encode(after), EOS_ID]])
    with quiet(), torch.no_grad():
        written = model.generate(
            inputs, do_sample=False, num_beams=1, max_new_tokens=_LONGEST_ANSWER + 1
        )[0].tolist()
        begun = torch.tensor([[PAD_ID, sentinel]])
        first = model(input_ids=inputs, decoder_input_ids=begun).logits[0, -1].softmax(-1)
    words_known, likeliest = pieces.get_piece_size(), first.topk(_GUESSES)
    return Infilling(
        before,
        after,
        hidden,
        answer=pieces.decode(_answer(written[1:], sentinel, words=words_known)),
        guesses=[
            (pieces.id_to_piece(token) if token < words_known else "(no word)", round(share, 4))
            for share, token in zip(*map(torch.Tensor.tolist, likeliest), strict=True)
        ],
        rank=1 + int((first > first[pieces.encode(hidden)[0]]).sum()),
    )


def _answer(written: list[int], sentinel: int, *, words: int) -> list[int]:
    """What was written for the gap: up to the next token that is not text."""
    body = written[1:] if written[:1] == [sentinel] else written
    return list(takewhile(lambda token: token < words and token != EOS_ID, body))
