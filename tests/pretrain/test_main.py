"""`python -m stage1.pretrain` as a user runs it, with a vocabulary and a model of toy size."""

import json
import logging
import os
import shlex
import shutil
import signal
import sys
import warnings
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
import yaml
from transformers import T5ForConditionalGeneration

from stage1.base.files import sha256_of_file
from stage1.base.terminal import run_command
from stage1.language_models.resolver import resolve
from stage1.pretrain import corpus, saved_state, span_training
from stage1.pretrain.__main__ import pretrain
from stage1.pretrain.span_training import SpanCorruptionModule


@pytest.fixture(autouse=True, scope="module")
def small():
    """A vocabulary, model and evaluation that train in milliseconds."""
    with pytest.MonkeyPatch.context() as patch, torch.random.fork_rng():
        for module in (corpus, span_training):
            patch.setattr(module, "VOCABULARY_SIZE", 60)
        patch.setattr(corpus, "HELD_OUT_EVERY", 5)
        patch.setattr(span_training, "HELD_OUT_BATCHES", 1)
        patch.setattr(saved_state, "EVALUATIONS", 2)
        tiny = {"d_model": 16, "d_kv": 8, "num_heads": 2, "d_ff": 24, "num_layers": 2}
        patch.setitem(span_training.DIMENSIONS, "nano", tiny)
        patch.setattr(torch, "set_num_threads", lambda number: None)
        yield


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    """A hundred paragraphs of thirty words each."""
    generator = np.random.default_rng(0)
    lexicon = ["".join(generator.choice(list("abcdefgh"), size=4)) for _ in range(80)]
    paragraphs = [" ".join(generator.choice(lexicon, size=30)) for _ in range(100)]
    path = tmp_path_factory.mktemp("corpus") / "book.txt"
    path.write_text("\n\n".join(paragraphs))
    return path


class Printed(NamedTuple):
    status: object
    out: str
    error: str


def run(*arguments: object) -> Printed:
    """Runs the command line."""
    out, error = StringIO(), StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(error):
        patch.setattr(sys, "argv", ["pretrain", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            run_command(pretrain)
    assert "Traceback" not in error.getvalue()
    return Printed(ended.value.code, out.getvalue(), error.getvalue())


class Finished(NamedTuple):
    folder: Any
    printed: Printed
    also_said: list[str]
    """Warnings and log records."""

    @property
    def card(self):
        return json.loads((self.folder / "card.json").read_text())


@pytest.fixture(scope="module")
def finished(text, tmp_path_factory):
    """A training of six steps, and all that it said; tests leave it as it is."""
    folder = tmp_path_factory.mktemp("finished") / "a model"
    handler, records = logging.Handler(logging.INFO), []
    handler.emit = lambda record: records.append(record.getMessage())
    logging.getLogger().addHandler(handler)
    before = os.umask(0o022)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        printed = run(text, "--out", folder, "--steps", 6, "--license", "mine: all [of it]")
    os.umask(before)
    logging.getLogger().removeHandler(handler)
    return Finished(folder, printed, records + [str(warning.message) for warning in caught])


@pytest.fixture(scope="module")
def cut_short(text, tmp_path_factory):
    """The same, which its budget ended after a step: its folder, and what it printed."""
    folder = tmp_path_factory.mktemp("cut_short") / "out"
    options = ("--steps", 6, "--time-budget", "0.01s", "--license", "mine: all [of it]")
    return folder, run(text, "--out", folder, *options)


@pytest.fixture
def unfinished(cut_short, tmp_path):
    """A copy of the folder of a training that is not finished."""
    return shutil.copytree(cut_short[0], tmp_path / "out")


def weights(folder):
    return sha256_of_file(folder / "model.safetensors")


def press(monkeypatch, number):
    """A signal in the middle of every step."""
    original = SpanCorruptionModule.training_step

    def interrupted_step(self, batch, batch_index):
        signal.raise_signal(number)
        return original(self, batch, batch_index)

    monkeypatch.setattr(SpanCorruptionModule, "training_step", interrupted_step)


def test_a_pretraining_leaves_a_language_model_that_the_resolver_takes(finished):
    model = resolve(str(finished.folder))

    stored = T5ForConditionalGeneration.from_pretrained(finished.folder)
    assert finished.printed.status == 0
    assert stored.dtype == torch.float16
    assert stored.shared.weight is stored.lm_head.weight
    assert model.config["feed_forward_proj"] == "gated-gelu"
    assert model.embedding_rms == pytest.approx(
        float(stored.shared.weight.detach().double().square().mean().sqrt()), rel=1e-9
    )


def test_the_card_holds_the_measured_numbers(finished):
    numbers, card = finished.card, (finished.folder / "README.md").read_text()

    model = resolve(str(finished.folder))
    assert numbers["training"]["steps"] == 6
    assert f"{6 * 16 * 160:,}" in card  # tokens seen
    assert numbers["weights_sha256"] == weights(finished.folder)
    assert numbers["embedding_rms"] == pytest.approx(model.embedding_rms, rel=1e-3)
    assert numbers["encoder_parameters"] == sum(weight.numel() for weight in model.weights.values())
    assert [point[0] for point in numbers["curve"]] == [3, 6]
    assert f"**{numbers['held_out_loss']['model']:.3f}**" in card
    assert "--steps 6 --seed 0" in card
    # a licence of any form is valid front matter
    assert yaml.safe_load(card.split("---\n")[1])["license"] == "mine: all [of it]"


def test_a_training_leaves_files_that_all_may_read_and_says_what_matters_and_nothing_else(finished):
    modes = {path.name: oct(path.stat().st_mode & 0o777) for path in finished.folder.iterdir()}
    lines = finished.printed.out.splitlines()

    names = ["README.md", "card.json", "config.json", "model.safetensors", "spiece.model"]
    assert modes == dict.fromkeys(names, "0o644")
    assert [line.split(":")[0] for line in lines[1:]] == [
        "step 3 of 6",
        "step 6 of 6",
        str(finished.folder),
        "sha256 of the weights",
    ]
    assert lines[-1].split()[-1] == weights(finished.folder)
    assert finished.printed.error == ""
    assert finished.also_said == []


def test_the_card_s_command_remakes_the_weights_bit_for_bit(finished, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    printed = run(*shlex.split(finished.card["training"]["command"])[3:])

    again = tmp_path / "a model"
    assert printed.status == 0
    assert weights(again) == weights(finished.folder)
    assert json.loads((again / "card.json").read_text())["license"] == "mine: all [of it]"


def test_a_training_that_its_budget_ended_says_so_and_resumes_to_the_same_weights(
    text, finished, cut_short, unfinished
):
    left = unfinished / ".training_state.ckpt.abc"  # what a killed session was writing
    left.mkdir()
    (left / "training_state.ckpt").write_bytes(b"half")

    again = run(text, "--out", unfinished, "--time-budget", "5m", "--resume")

    _, first = cut_short
    assert first.status == 2
    assert "--time-budget must cover the training, got 0.01s for 1 of 6 steps" in first.error
    assert again.status == 0
    assert weights(unfinished) == weights(finished.folder)
    assert not left.exists()


def test_an_interrupted_training_says_how_to_go_on_and_does(text, finished, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        press(patch, signal.SIGINT)
        cut = run(text, "--out", tmp_path / "out", "--steps", 6)
    again = run(text, "--out", tmp_path / "out", "--steps", 6, "--resume")

    assert cut.status == 130
    assert cut.error == (
        "interrupted: the state after step 1 of 6 is saved; go on with the same command and "
        "--resume\n"
    )
    assert again.status == 0
    assert weights(tmp_path / "out") == weights(finished.folder)


@pytest.mark.parametrize(
    "where",
    [
        pytest.param((SpanCorruptionModule, "training_step"), id="in the first step"),
        pytest.param((corpus, "encode"), id="while the text is encoded"),
    ],
)
def test_an_interruption_before_anything_is_saved_says_so(text, tmp_path, monkeypatch, where):
    def interrupt(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(*where, interrupt)

    printed = run(text, "--out", tmp_path / "out", "--steps", 2)

    assert printed.status == 130
    assert printed.error.startswith("interrupted: nothing to go on from is saved yet")


@pytest.mark.parametrize(
    ("number", "steps", "saved"),
    [
        pytest.param(signal.SIGINT, (), "nothing to go on from is saved yet", id="while timed"),
        pytest.param(signal.SIGTERM, (), "nothing to go on from is saved yet", id="terminated"),
        pytest.param(signal.SIGTERM, ("--steps", 2), "the state after step 1 of 2 ", id="later"),
    ],
)
def test_a_signal_is_no_success(text, tmp_path, monkeypatch, number, steps, saved):
    # as in a shell's foreground: what runs in the background ignores Ctrl-C
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    press(monkeypatch, number)

    printed = run(text, "--out", tmp_path / "out", *steps)
    signal.signal(signal.SIGINT, before)

    assert printed.status == 130
    assert printed.error.startswith(f"interrupted: {saved}")


@pytest.mark.parametrize("options", [["--steps", 1, "--seed", 1], ["--resume"]])
def test_a_finished_training_is_neither_overwritten_nor_gone_on_with(text, finished, options):
    before = weights(finished.folder)

    printed = run(text, "--out", finished.folder, *options)

    assert printed.status == 2
    assert "already holds a finished training; use another --out" in printed.error
    assert weights(finished.folder) == before


@pytest.mark.parametrize("content", [b"garbage", b""])
def test_going_on_with_another_vocabulary_is_refused(text, unfinished, content):
    (unfinished / "spiece.model").write_bytes(content)

    printed = run(text, "--out", unfinished, "--resume")

    assert printed.status == 2
    assert "spiece.model: must be the vocabulary that the training began with" in printed.error


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--steps", 2], "already holds a training; use --resume or another --out"),
        (["--resume", "--seed", 1], "--resume: --seed must be"),
        (["--resume", "--size", "micro"], "--resume: --size must be"),
        (["--resume", "--steps", 3], "--resume: --steps must be"),
        (["--resume", "--precision", "bf16-mixed"], "--resume: --precision must be"),
        (["--resume", "--threads", 3], "--resume: --threads must be"),
    ],
)
def test_an_unfinished_training_is_not_overwritten_nor_gone_on_with_as_another(
    text, unfinished, options, message
):
    printed = run(text, "--out", unfinished, *options)

    assert printed.status == 2
    assert message in printed.error


def test_resuming_on_another_corpus_is_refused_and_leaves_the_state(text, unfinished, tmp_path):
    state = sha256_of_file(unfinished / "training_state.ckpt")
    other = tmp_path / "other.txt"
    other.write_text(text.read_text() + "\n\nA paragraph that was not there before.")

    printed = run(other, "--out", unfinished, "--resume")

    assert printed.status == 2
    assert "the corpus must be the one it began with" in printed.error
    assert sha256_of_file(unfinished / "training_state.ckpt") == state


def test_a_gpu_that_is_not_there_is_missed_before_anything_is_written(text, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    printed = run(text, "--out", tmp_path / "out", "--accelerator", "gpu")

    assert printed.status == 2
    assert "--accelerator gpu must find a GPU" in printed.error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(["absent.txt"], "must be a text file or a folder", id="no corpus"),
        pytest.param(["{text}", "--threads", "9999999"], "--threads", id="threads"),
        pytest.param(["{text}", "--resume"], "must exist for --resume", id="nothing to resume"),
        pytest.param(["{text}", "--time-budget", "soon"], "must look like 90s", id="budget"),
        pytest.param(["{text}", "--size", "huge"], "nano", id="size"),
        pytest.param(["{text}", "--steps", "0"], "--steps", id="no steps"),
        pytest.param(["{text}", "--seed", "-1", "--steps", "1"], "seed", id="negative seed"),
        pytest.param(["{short}", "--steps", "1"], "add text", id="less than a row of tokens"),
        pytest.param(
            ["{text}", "--steps", "4", "--shorter", "."],
            "card.json: must be a finished training's card, got no file",
            id="no shorter training",
        ),
    ],
)
def test_a_user_s_mistake_is_status_2(text, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    short = tmp_path / "short.txt"
    short.write_text("\n\n".join(text.read_text().split("\n\n")[:6]))
    words = [argument.format(text=text, short=short) for argument in arguments]

    printed = run(*words, "--out", tmp_path / "out")

    assert printed.status == 2
    assert message in printed.error


def test_a_shorter_training_of_the_same_kind_stands_in_the_card(text, finished, tmp_path):
    run(text, "--out", tmp_path / "out", "--steps", 24, "--shorter", finished.folder)

    longer = json.loads((tmp_path / "out" / "card.json").read_text())
    losses = [card["held_out_loss"]["model"] for card in (finished.card, longer)]
    card = (tmp_path / "out" / "README.md").read_text()
    assert f"| same training with 6 steps | {losses[0]:.3f} |" in card
    assert f"{(losses[0] - losses[1]) / 2:.3f} for every doubling" in card  # 6 to 24 are two


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        pytest.param(["--seed", 1], "must be of the same size, corpus, seed", id="seed"),
        pytest.param(["--steps", 6], "must have fewer steps than 6, got 6", id="not shorter"),
    ],
)
def test_another_training_is_no_measure_of_what_more_steps_gain(
    text, finished, tmp_path, changed, message
):
    arguments = ["--steps", 8, *changed, "--shorter", finished.folder]

    printed = run(text, "--out", tmp_path / "out", *arguments)

    assert printed.status == 2
    assert message in printed.error
    assert not (tmp_path / "out" / "model.safetensors").exists()


@pytest.mark.parametrize("name", ["spiece.model", "notes.txt"])
def test_a_fresh_training_refuses_a_folder_that_is_not_empty(text, tmp_path, name):
    (tmp_path / name).write_text("mine")

    printed = run(text, "--out", tmp_path, "--steps", 1)

    assert printed.status == 2
    assert f"must be a new or empty folder, got one that holds {name}" in printed.error
    assert (tmp_path / name).read_text() == "mine"


def test_the_output_must_be_a_folder_that_can_be_written(text):
    in_place_of_it, below_it = (run(text, "--out", out, "--steps", 1) for out in (text, text / "x"))

    assert in_place_of_it.status == below_it.status == 2
    assert "must be a folder, got a file" in in_place_of_it.error
    assert "must be a folder that can be written" in below_it.error


def test_help_names_where_the_corpus_comes_from():
    printed = run("--help")

    assert printed.status == 0
    assert "stage1.pretrain.fetch" in printed.out
