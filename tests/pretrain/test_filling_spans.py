import io
from types import SimpleNamespace

import pytest
import sentencepiece
import torch
from transformers import T5Config, T5ForConditionalGeneration

from stage1.pretrain.spans import infill

WORDS = 60
SENTINEL = WORDS + 99
PARAGRAPH = "one two three four five six seven eight nine ten eleven twelve"


@pytest.fixture(scope="module")
def vocabulary():
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([PARAGRAPH] * 20),
        model_writer=model,
        vocab_size=WORDS,
        hard_vocab_limit=False,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        minloglevel=2,
    )
    return model.getvalue()


class Model(T5ForConditionalGeneration):
    """Writes what it is told to, and remembers what it saw."""

    def says(self, *tokens):
        self.tokens, self.seen = tokens, []
        return self

    def generate(self, inputs, **options):
        self.seen.append(inputs[0].tolist())
        assert options["do_sample"] is False
        return torch.tensor([[0, *self.tokens]])


TINY = {"vocab_size": 192, "d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 1, "num_heads": 2}


@pytest.fixture
def model():
    with torch.random.fork_rng():
        return Model(T5Config(**TINY)).eval()


def pieces(vocabulary, text):
    return sentencepiece.SentencePieceProcessor(model_proto=vocabulary).encode(text)


def test_the_model_sees_the_words_around_the_gap_and_not_those_in_it(model, vocabulary):
    model.says(SENTINEL, *pieces(vocabulary, "nine ten"), SENTINEL - 1)

    [filled] = infill(model, [PARAGRAPH], vocabulary, sentinel=SENTINEL)

    assert filled.hidden == "six seven"
    assert filled.before == "one two three four five"
    assert filled.after == "eight nine ten eleven twelve"
    assert filled.answer == "nine ten"
    [seen] = model.seen
    before, after = (pieces(vocabulary, part) for part in (filled.before, filled.after))
    assert seen == [*before, SENTINEL, *after, 1]


def test_the_guesses_are_the_likeliest_pieces_after_the_gap_s_sentinel(model, vocabulary):
    text = sentencepiece.SentencePieceProcessor(model_proto=vocabulary)
    first = text.encode("six seven")[0]

    def forward(input_ids, decoder_input_ids):
        assert decoder_input_ids.tolist() == [[0, SENTINEL]]
        logits = torch.full((1, 2, 192), -30.0)
        logits[0, 1, [first, 3, 1, SENTINEL]] = torch.tensor([0.1, 0.4, 0.3, 0.2]).log()
        return SimpleNamespace(logits=logits)

    model.forward = forward

    [filled] = infill(model.says(1), [PARAGRAPH], vocabulary, sentinel=SENTINEL)

    names, shares = zip(*filled.guesses, strict=True)
    assert names[:4] == (text.id_to_piece(3), "</s>", "(no word)", text.id_to_piece(first))
    assert shares[:4] == pytest.approx((0.4, 0.3, 0.2, 0.1), abs=1e-4)
    assert filled.rank == 4


@pytest.mark.parametrize("end", [[1], [SENTINEL - 1, 5], []])
@pytest.mark.parametrize("answer", ["one", ""])
def test_the_answer_ends_with_the_first_token_that_is_no_text(model, vocabulary, answer, end):
    model.says(SENTINEL, *pieces(vocabulary, answer), *end)

    [filled] = infill(model, [PARAGRAPH], vocabulary, sentinel=SENTINEL)

    assert filled.answer == answer


def test_the_first_three_paragraphs_of_a_fitting_length_are_taken(model, vocabulary):
    long = " ".join(["one"] * 31)
    fitting = [f"{word} {PARAGRAPH}" for word in ("one", "two", "three", "four")]
    texts = ["too short a text", long, *fitting]

    filled = infill(model.says(1), texts, vocabulary, sentinel=SENTINEL)

    assert [example.before.split()[0] for example in filled] == ["one", "two", "three"]


def test_transformers_own_generation_fills_the_gap_the_same_each_time(vocabulary):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = T5ForConditionalGeneration(T5Config(**TINY, decoder_start_token_id=0)).eval()

    first, second = (infill(model, [PARAGRAPH], vocabulary, sentinel=SENTINEL) for _ in range(2))

    assert first == second
    assert len(first) == 1
