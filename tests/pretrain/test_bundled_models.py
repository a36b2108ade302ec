import hashlib
import math
from functools import cache
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import sentencepiece
import torch
from safetensors import safe_open
from transformers import AutoTokenizer, T5ForConditionalGeneration

from stage1.base.files import sha256_of_file
from stage1.language_models.names import bundled_names
from stage1.pretrain.card import read_card
from stage1.pretrain.corpus import encode
from stage1.pretrain.saved_state import quiet
from stage1.pretrain.span_training import held_out_batches, held_out_loss, is_word, token_losses

MODELS = Path(str(files("stage1"))) / "language_models" / "bundled"
NAMES = ["english-t5-micro", "english-t5-mini", "english-t5-nano"]
# About a seventeenth of the held-out text of the models' corpus: every twelfth of its paragraphs,
# the one of twelve such parts whose words are nearest to the whole in frequency.
HELD_OUT = (Path(__file__).parent / "held_out.txt").read_text(encoding="utf-8").split("\n\n")


@cache
def load(name):
    with quiet():
        return T5ForConditionalGeneration.from_pretrained(MODELS / name, dtype=torch.float32).eval()


def test_three_sizes_come_with_the_package_and_they_are_small():
    weights = [path.stat().st_size for path in MODELS.rglob("*") if path.is_file()]

    assert bundled_names() == NAMES
    assert sum(weights) < 24e6


@pytest.mark.parametrize(
    ("name", "width", "fewest", "most"),
    [
        ("english-t5-nano", 64, 0.1e6, 0.3e6),
        ("english-t5-micro", 128, 0.8e6, 1e6),
        ("english-t5-mini", 256, 3e6, 4e6),
    ],
)
def test_a_bundled_model_has_the_size_of_its_name(name, width, fewest, most):
    model = load(name)

    blocks = sum(weight.numel() for weight in model.encoder.block.parameters())
    assert model.config.d_model == width
    assert fewest < blocks < most
    assert model.config.feed_forward_proj == "gated-gelu"
    assert model.shared.weight is model.lm_head.weight


@pytest.mark.parametrize("name", NAMES)
def test_a_bundled_model_s_card_tells_of_the_files_beside_it(name):
    folder = MODELS / name

    card = read_card(folder)

    with safe_open(folder / "model.safetensors", "pt") as weights:
        tensors = {key: weights.get_slice(key) for key in weights.keys()}  # noqa: SIM118
    assert {tensor.get_dtype() for tensor in tensors.values()} == {"F16"}
    assert card.parameters == sum(math.prod(tensor.get_shape()) for tensor in tensors.values())
    assert card.weights_sha256 == sha256_of_file(folder / "model.safetensors")
    assert card.name == name
    assert card.shorter is not None
    assert card.shorter.held_out_loss > card.held_out_loss.model
    assert len(card.infilling) == 3
    assert len(card.corpus.sources) == 2


def test_the_text_of_the_tests_is_held_out():
    digests = [hashlib.sha256(paragraph.strip().encode()).digest() for paragraph in HELD_OUT]

    assert len(HELD_OUT) > 30
    assert all(int.from_bytes(digest[:4]) % 100 == 0 for digest in digests)


@pytest.mark.parametrize("name", NAMES)
def test_a_bundled_model_is_as_good_as_its_card_says_and_lost_where_words_lost_their_order(name):
    """One that took its input as a bag of words would not notice."""
    model = load(name)
    stream = encode(HELD_OUT, (MODELS / name / "spiece.model").read_bytes())
    losses = {"in order": [], "out of order": []}

    loss = held_out_loss(model, stream)
    for inputs, targets in held_out_batches(stream)[:2]:
        order = torch.randperm(inputs.shape[1] - 1, generator=torch.Generator().manual_seed(1))
        shuffled = torch.cat([inputs[:, order], inputs[:, -1:]], dim=1)  # the end stays the end
        with torch.no_grad():
            for how, ids in [("in order", inputs), ("out of order", shuffled)]:
                losses[how] += token_losses(model, ids, targets)[is_word(targets)].tolist()

    card = read_card(MODELS / name)
    assert loss == pytest.approx(card.held_out_loss.model, rel=0.02)
    assert loss < card.held_out_loss.unigram - 1.2
    assert np.mean(losses["out of order"]) > np.mean(losses["in order"]) + 0.5


@pytest.mark.parametrize("name", NAMES)
def test_transformers_alone_reads_the_vocabulary_as_it_was_trained(name):
    text = "The people of the United States <extra_id_0> in congress <extra_id_1> assembled."
    tokenizer = AutoTokenizer.from_pretrained(MODELS / name, local_files_only=True)

    ids = tokenizer(text).input_ids

    pieces = sentencepiece.SentencePieceProcessor(model_file=str(MODELS / name / "spiece.model"))
    assert pieces.get_piece_size() == 8000
    assert [token for token in ids if token >= 8000] == [8099, 8098]
    assert ids[-1] == 1
    assert [token for token in ids if token < 8000] == [
        *pieces.encode("The people of the United States"),
        *pieces.encode("in congress"),
        *pieces.encode("assembled."),
        1,
    ]
