import json
import signal
import sys

import numpy as np
import pytest
import torch
from transformers import T5ForConditionalGeneration

from stage1.command import run_command
from stage1.files import sha256_of_file
from stage1.model.language_models import resolve
from stage1.pretrain import corpus, training
from stage1.pretrain.__main__ import pretrain

pytestmark = pytest.mark.filterwarnings("ignore:Checkpoint directory .* is not empty")


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """A vocabulary, model and evaluation that train in milliseconds."""
    for module in (corpus, training):
        monkeypatch.setattr(module, "VOCABULARY_SIZE", 60)
    monkeypatch.setattr(corpus, "HELD_OUT_EVERY", 5)
    monkeypatch.setattr(training, "HELD_OUT_BATCHES", 1)
    monkeypatch.setattr(training, "EVALUATIONS", 2)
    tiny = {"d_model": 16, "d_kv": 8, "num_heads": 2, "d_ff": 24, "num_layers": 2}
    monkeypatch.setitem(training.DIMENSIONS, "nano", tiny)
    monkeypatch.setattr(torch, "set_num_threads", lambda number: None)
    with torch.random.fork_rng():
        yield


@pytest.fixture
def text(tmp_path):
    """A hundred paragraphs of thirty words each."""
    generator = np.random.default_rng(0)
    lexicon = ["".join(generator.choice(list("abcdefgh"), size=4)) for _ in range(80)]
    paragraphs = [" ".join(generator.choice(lexicon, size=30)) for _ in range(100)]
    path = tmp_path / "book.txt"
    path.write_text("\n\n".join(paragraphs))
    return path


@pytest.fixture
def run(monkeypatch, capsys):
    """Run the command line; gives exit status and what it wrote to stderr."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["pretrain", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            run_command(pretrain)
        return ended.value.code, capsys.readouterr().err

    return call


def test_a_pretraining_leaves_a_language_model_that_the_resolver_takes(run, text, tmp_path):
    out = tmp_path / "english-t5-test"

    status, _ = run(text, "--out", out, "--steps", 3)

    model = resolve(str(out))
    stored = T5ForConditionalGeneration.from_pretrained(out)
    assert status == 0
    assert stored.dtype == torch.float16
    assert stored.shared.weight is stored.lm_head.weight
    assert model.config["feed_forward_proj"] == "gated-gelu"
    assert model.embedding_rms == pytest.approx(
        float(stored.shared.weight.detach().double().square().mean().sqrt()), rel=1e-9
    )


def test_the_card_holds_the_measured_numbers(run, text, tmp_path):
    run(text, "--out", tmp_path / "out", "--steps", 2)

    numbers = json.loads((tmp_path / "out" / "card.json").read_text())
    card = (tmp_path / "out" / "README.md").read_text()
    model = resolve(str(tmp_path / "out"))
    assert numbers["steps"] == 2
    assert numbers["tokens_seen"] == 2 * 16 * 160
    assert numbers["weights_sha256"] == sha256_of_file(tmp_path / "out" / "model.safetensors")
    assert numbers["embedding_rms"] == pytest.approx(model.embedding_rms, rel=1e-3)
    assert numbers["encoder_parameters_without_embeddings"] == sum(
        weight.numel() for weight in model.weights.values()
    )
    assert [step for step, _ in numbers["curve"]] == [1, 2]
    assert f"**{numbers['held_out_loss']['model']:.3f}**" in card
    assert "--steps 2 --seed 0" in card


def test_nothing_but_the_model_its_vocabulary_and_its_card_is_left(run, text, tmp_path):
    run(text, "--out", tmp_path / "out", "--steps", 2)

    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "README.md",
        "card.json",
        "config.json",
        "model.safetensors",
        "spiece.model",
    ]


def test_the_same_command_gives_the_same_weights_bit_for_bit(run, text, tmp_path):
    for name in ("one", "other"):
        run(text, "--out", tmp_path / name, "--steps", 2)

    files = [tmp_path / name / "model.safetensors" for name in ("one", "other")]
    assert sha256_of_file(files[0]) == sha256_of_file(files[1])


@pytest.mark.parametrize(
    "steps",
    [
        pytest.param(2, id="just after a state was saved"),
        pytest.param(6, id="before the first state was to be saved"),
    ],
)
def test_a_training_that_its_budget_ended_says_so_and_resumes_to_the_same_weights(
    run, text, tmp_path, steps
):
    run(text, "--out", tmp_path / "whole", "--steps", steps)

    status, error = run(text, "--out", tmp_path / "out", "--steps", steps, "--time-budget", "0.01s")
    again, _ = run(text, "--out", tmp_path / "out", "--time-budget", "5m", "--resume")

    assert status == 2
    assert "--time-budget must cover the training, got 0.01s for 1 of" in error
    assert again == 0
    assert sha256_of_file(tmp_path / "out" / "model.safetensors") == sha256_of_file(
        tmp_path / "whole" / "model.safetensors"
    )


def test_an_interrupted_training_ends_with_status_130(run, text, tmp_path, monkeypatch):
    def interrupt(self, batch, batch_index):
        raise KeyboardInterrupt

    handler = signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patch:
        patch.setattr(training.SpanCorruptionModule, "training_step", interrupt)
        status, error = run(text, "--out", tmp_path / "out", "--steps", 2)
    signal.signal(signal.SIGINT, handler)

    assert status == 130
    assert "interrupted" in error


def test_a_finished_training_is_not_overwritten(run, text, tmp_path):
    run(text, "--out", tmp_path / "out", "--steps", 1)
    weights = sha256_of_file(tmp_path / "out" / "model.safetensors")

    status, error = run(text, "--out", tmp_path / "out", "--steps", 1, "--seed", 1)

    assert status == 2
    assert "already holds a training; use --resume or another --out" in error
    assert sha256_of_file(tmp_path / "out" / "model.safetensors") == weights


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(["absent.txt"], "must be a text file or a folder", id="no corpus"),
        pytest.param(["{text}", "--resume"], "must exist for --resume", id="nothing to resume"),
        pytest.param(["{text}", "--time-budget", "soon"], "must look like 90s", id="budget"),
        pytest.param(["{text}", "--size", "huge"], "nano", id="size"),
        pytest.param(["{text}", "--steps", "0"], "--steps", id="no steps"),
        pytest.param(["{text}", "--seed", "-1", "--steps", "1"], "seed", id="negative seed"),
    ],
)
def test_a_user_s_mistake_is_one_line_and_status_2(
    run, text, tmp_path, monkeypatch, arguments, message
):
    monkeypatch.chdir(tmp_path)

    status, error = run(
        *[argument.format(text=text) for argument in arguments], "--out", tmp_path / "out"
    )

    assert status == 2
    assert message in error
    assert "Traceback" not in error


def test_a_corpus_shorter_than_a_row_of_tokens_is_one_line_and_status_2(run, text, tmp_path):
    short = tmp_path / "short.txt"
    short.write_text("\n\n".join(text.read_text().split("\n\n")[:6]))

    status, error = run(short, "--out", tmp_path / "out", "--steps", 1)

    assert status == 2
    assert "add text" in error


@pytest.mark.parametrize(
    ("option", "value"),
    [
        pytest.param("--seed", 1, id="seed"),
        pytest.param("--size", "micro", id="size"),
    ],
)
def test_resuming_another_training_than_the_state_s_is_refused(run, text, tmp_path, option, value):
    run(text, "--out", tmp_path / "out", "--steps", 2, "--time-budget", "0.01s")

    status, error = run(text, "--out", tmp_path / "out", "--resume", option, value)

    assert status == 2
    assert option.removeprefix("--") in error


def test_help_names_every_option(run, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["pretrain", "--help"])

    with pytest.raises(SystemExit) as ended:
        run_command(pretrain)

    shown = capsys.readouterr().out
    assert ended.value.code == 0
    assert all(
        option in shown
        for option in ("--out", "--size", "--steps", "--time-budget", "--seed", "--resume")
    )
