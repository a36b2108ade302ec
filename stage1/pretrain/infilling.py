"""What a pretrained T5 puts into a gap of held-out text, for people to read."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import takewhile

import sentencepiece
import torch
from transformers import T5ForConditionalGeneration

from stage1.pretrain.saved_state import quiet
from stage1.pretrain.spans import EOS_ID, PAD_ID

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
