import json
import math
from importlib.resources import files
from pathlib import Path

import pytest
import sentencepiece
from safetensors import safe_open

from stage1.files import sha256_of_file

MODELS = Path(str(files("stage1"))) / "language_models"


@pytest.mark.parametrize("name", ["english-t5-nano", "english-t5-micro"])
def test_a_bundled_model_agrees_with_its_card_and_knows_more_than_word_frequencies(name):
    folder = MODELS / name
    numbers = json.loads((folder / "card.json").read_text())
    card = (folder / "README.md").read_text()

    with safe_open(folder / "model.safetensors", "pt") as weights:
        shapes = {key: weights.get_slice(key).get_shape() for key in weights.keys()}  # noqa: SIM118
    vocabulary = sentencepiece.SentencePieceProcessor(model_file=str(folder / "spiece.model"))
    config = json.loads((folder / "config.json").read_text())

    losses = numbers["held_out_loss"]
    assert numbers["weights_sha256"] == sha256_of_file(folder / "model.safetensors")
    assert numbers["weights_sha256"] in card
    assert f"**{losses['model']:.3f}**" in card
    assert losses["unigram"] - losses["model"] > 0.7
    assert numbers["parameters"] == sum(map(math.prod, shapes.values()))
    assert shapes["shared.weight"] == [config["vocab_size"], config["d_model"]]
    assert vocabulary.get_piece_size() <= config["vocab_size"]
