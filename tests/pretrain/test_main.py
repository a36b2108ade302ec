import json
import os
import shlex
import signal
import sys
import warnings

import numpy as np
import pytest
import torch
import yaml
from transformers import T5ForConditionalGeneration

from stage1.base.files import sha256_of_file
from stage1.base.terminal import run_command
from stage1.language_models.resolver import resolve
from stage1.pretrain import corpus, session, training
from stage1.pretrain.__main__ import pretrain


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """A vocabulary, model and evaluation that train in milliseconds."""
    for module in (corpus, training):
        monkeypatch.setattr(module, "VOCABULARY_SIZE", 60)
    monkeypatch.setattr(corpus, "HELD_OUT_EVERY", 5)
    monkeypatch.setattr(training, "HELD_OUT_BATCHES", 1)
    monkeypatch.setattr(session, "EVALUATIONS", 2)
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
    assert numbers["training"]["steps"] == 2
    assert f"{2 * 16 * 160:,}" in card  # tokens seen
    assert numbers["weights_sha256"] == sha256_of_file(tmp_path / "out" / "model.safetensors")
    assert numbers["embedding_rms"] == pytest.approx(model.embedding_rms, rel=1e-3)
    assert numbers["encoder_parameters"] == sum(weight.numel() for weight in model.weights.values())
    assert [point[0] for point in numbers["curve"]] == [1, 2]
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


def test_everybody_may_read_the_files_whatever_the_staging_was(run, text, tmp_path):
    before = os.umask(0o022)

    run(text, "--out", tmp_path / "out", "--steps", 2)
    os.umask(before)

    modes = {path.name: oct(path.stat().st_mode & 0o777) for path in (tmp_path / "out").iterdir()}
    assert set(modes.values()) == {"0o644"}


def test_a_training_says_what_matters_and_nothing_else(text, tmp_path, monkeypatch, capsys, caplog):
    arguments = [text, "--out", tmp_path / "out", "--steps", 4]
    monkeypatch.setattr(sys, "argv", ["pretrain", *map(str, arguments)])

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with pytest.raises(SystemExit):
            run_command(pretrain)

    written = capsys.readouterr()
    assert [line.split(":")[0] for line in written.out.splitlines()[1:]] == [
        "step 2 of 4",
        "step 4 of 4",
        str(tmp_path / "out"),
        "sha256 of the weights",
    ]
    assert written.out.split()[-1] == sha256_of_file(tmp_path / "out" / "model.safetensors")
    assert written.err == ""
    assert caplog.text == ""
    assert [str(warning.message) for warning in caught] == []


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


def test_an_interrupted_training_says_how_to_go_on_and_does(run, text, tmp_path, monkeypatch):
    run(text, "--out", tmp_path / "whole", "--steps", 6)
    original = training.SpanCorruptionModule.training_step

    def press(self, batch, batch_index):
        signal.raise_signal(signal.SIGINT)
        return original(self, batch, batch_index)

    with monkeypatch.context() as patch:
        patch.setattr(training.SpanCorruptionModule, "training_step", press)
        status, error = run(text, "--out", tmp_path / "out", "--steps", 6)
    again, _ = run(text, "--out", tmp_path / "out", "--steps", 6, "--resume")

    assert status == 130
    assert error == (
        "interrupted: the state after step 1 of 6 is saved; go on with the same command and "
        "--resume\n"
    )
    assert again == 0
    assert sha256_of_file(tmp_path / "out" / "model.safetensors") == sha256_of_file(
        tmp_path / "whole" / "model.safetensors"
    )


@pytest.mark.parametrize(
    "where",
    [
        pytest.param((training.SpanCorruptionModule, "training_step"), id="in the first step"),
        pytest.param((corpus, "encode"), id="while the text is encoded"),
    ],
)
def test_an_interruption_before_anything_is_saved_says_so(run, text, tmp_path, monkeypatch, where):
    def interrupt(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(*where, interrupt)

    status, error = run(text, "--out", tmp_path / "out", "--steps", 2)

    assert status == 130
    assert error.startswith("interrupted: nothing to go on from is saved yet")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_steps_are_timed_is_no_success(run, text, tmp_path, monkeypatch, number):
    original = training.SpanCorruptionModule.training_step
    # as in a shell's foreground: what runs in the background ignores Ctrl-C
    before = signal.signal(signal.SIGINT, signal.default_int_handler)

    def interrupt(self, batch, batch_index):
        signal.raise_signal(number)
        return original(self, batch, batch_index)

    monkeypatch.setattr(training.SpanCorruptionModule, "training_step", interrupt)

    status, error = run(text, "--out", tmp_path / "out")
    signal.signal(signal.SIGINT, before)

    assert status == 130
    assert error.startswith("interrupted: nothing to go on from is saved yet")


def test_a_request_to_terminate_is_no_success(run, text, tmp_path, monkeypatch):
    original = training.SpanCorruptionModule.training_step

    def terminate(self, batch, batch_index):
        signal.raise_signal(signal.SIGTERM)
        return original(self, batch, batch_index)

    monkeypatch.setattr(training.SpanCorruptionModule, "training_step", terminate)

    status, error = run(text, "--out", tmp_path / "out", "--steps", 2)

    assert status == 130
    assert "the state after step 1 of 2 is saved" in error


def test_a_finished_training_is_not_overwritten(run, text, tmp_path):
    run(text, "--out", tmp_path / "out", "--steps", 1)
    weights = sha256_of_file(tmp_path / "out" / "model.safetensors")

    status, error = run(text, "--out", tmp_path / "out", "--steps", 1, "--seed", 1)

    assert status == 2
    assert "already holds a finished training; use another --out" in error
    assert sha256_of_file(tmp_path / "out" / "model.safetensors") == weights


def test_a_finished_training_is_not_gone_on_with(run, text, tmp_path):
    run(text, "--out", tmp_path / "out", "--steps", 1)

    status, error = run(text, "--out", tmp_path / "out", "--resume")

    assert status == 2
    assert "already holds a finished training; use another --out" in error


def test_an_unfinished_training_is_not_overwritten(run, text, tmp_path):
    run(text, "--out", tmp_path / "out", "--steps", 2, "--time-budget", "0.01s")

    status, error = run(text, "--out", tmp_path / "out", "--steps", 2)

    assert status == 2
    assert "already holds a training; use --resume or another --out" in error


@pytest.mark.parametrize("content", [b"garbage", b""])
def test_going_on_with_another_vocabulary_is_refused(run, text, tmp_path, content):
    run(text, "--out", tmp_path / "out", "--steps", 2, "--time-budget", "0.01s")
    (tmp_path / "out" / "spiece.model").write_bytes(content)

    status, error = run(text, "--out", tmp_path / "out", "--resume")

    assert status == 2
    assert "spiece.model: must be the vocabulary that the training began with" in error
    assert "Traceback" not in error


def test_what_a_killed_session_was_writing_does_not_stay(run, text, tmp_path):
    run(text, "--out", tmp_path / "out", "--steps", 2, "--time-budget", "0.01s")
    left = tmp_path / "out" / ".training_state.ckpt.abc"
    left.mkdir()
    (left / "training_state.ckpt").write_bytes(b"half")

    status, _ = run(text, "--out", tmp_path / "out", "--resume")

    assert status == 0
    assert not left.exists()


def test_a_gpu_that_is_not_there_is_missed_before_anything_is_written(
    run, text, tmp_path, monkeypatch
):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    status, error = run(text, "--out", tmp_path / "out", "--accelerator", "gpu")

    assert status == 2
    assert "--accelerator gpu must find a GPU" in error
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_written_is_one_line_and_status_2(run, text):
    status, error = run(text, "--out", text / "below", "--steps", 1)

    assert status == 2
    assert "must be a folder that can be written" in error
    assert "Traceback" not in error


def test_a_licence_of_any_form_is_valid_front_matter(run, text, tmp_path):
    run(text, "--out", tmp_path / "out", "--steps", 1, "--license", "mine: all [of it]")

    front_matter = (tmp_path / "out" / "README.md").read_text().split("---\n")[1]
    assert yaml.safe_load(front_matter)["license"] == "mine: all [of it]"


def test_the_card_s_command_remakes_the_weights(run, text, tmp_path, monkeypatch):
    out = tmp_path / "a model"
    run(text, "--out", out, "--steps", 2, "--seed", 3, "--license", "mit")
    command = json.loads((out / "card.json").read_text())["training"]["command"]
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")

    status, _ = run(*shlex.split(command)[3:])

    assert status == 0
    again = tmp_path / "elsewhere" / "a model"
    assert sha256_of_file(again / "model.safetensors") == sha256_of_file(out / "model.safetensors")
    assert json.loads((again / "card.json").read_text())["license"] == "mit"


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
        pytest.param("--steps", 3, id="steps"),
        pytest.param("--precision", "bf16-mixed", id="precision"),
        pytest.param("--threads", 3, id="threads"),
    ],
)
def test_resuming_another_training_than_the_state_s_is_refused(run, text, tmp_path, option, value):
    run(text, "--out", tmp_path / "out", "--steps", 2, "--time-budget", "0.01s")

    status, error = run(text, "--out", tmp_path / "out", "--resume", option, value)

    assert status == 2
    assert option.removeprefix("--") in error


def test_a_shorter_training_of_the_same_kind_stands_in_the_card(run, text, tmp_path):
    run(text, "--out", tmp_path / "shorter", "--steps", 2)

    run(text, "--out", tmp_path / "out", "--steps", 8, "--shorter", tmp_path / "shorter")

    losses = [
        json.loads((tmp_path / name / "card.json").read_text())["held_out_loss"]["model"]
        for name in ("shorter", "out")
    ]
    card = (tmp_path / "out" / "README.md").read_text()
    assert f"| same training with 2 steps | {losses[0]:.3f} |" in card
    assert f"{(losses[0] - losses[1]) / 2:.3f} for every doubling" in card  # 2 to 8 are two


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        pytest.param(["--seed", 1], "must be of the same size, corpus, seed", id="seed"),
        pytest.param(["--steps", 3], "must have fewer steps than 3, got 3", id="not shorter"),
    ],
)
def test_another_training_is_no_measure_of_what_more_steps_gain(
    run, text, tmp_path, changed, message
):
    run(text, "--out", tmp_path / "shorter", "--steps", 3)
    arguments = ["--steps", 4, *changed, "--shorter", tmp_path / "shorter"]

    status, error = run(text, "--out", tmp_path / "out", *arguments)

    assert status == 2
    assert message in error
    assert not (tmp_path / "out" / "model.safetensors").exists()


def test_a_folder_without_a_card_is_no_shorter_training(run, text, tmp_path):
    status, error = run(text, "--out", tmp_path / "out", "--steps", 4, "--shorter", tmp_path)

    assert status == 2
    assert "card.json: must be a finished training's card, got no file" in error


def test_resuming_on_another_corpus_is_refused_and_leaves_the_state(run, text, tmp_path):
    run(text, "--out", tmp_path / "out", "--steps", 2, "--time-budget", "0.01s")
    other = tmp_path / "other.txt"
    other.write_text(text.read_text() + "\n\nA paragraph that was not there before.")

    status, error = run(other, "--out", tmp_path / "out", "--resume")
    again, _ = run(text, "--out", tmp_path / "out", "--resume")

    assert status == 2
    assert "the corpus must be the one it began with" in error
    assert again == 0


@pytest.mark.parametrize("name", ["spiece.model", "notes.txt"])
def test_a_fresh_training_refuses_a_folder_that_is_not_empty(run, text, tmp_path, name):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).write_text("mine")

    status, error = run(text, "--out", tmp_path / "out", "--steps", 1)

    assert status == 2
    assert f"must be a new or empty folder, got one that holds {name}" in error
    assert (tmp_path / "out" / name).read_text() == "mine"


def test_the_output_must_not_be_a_file(run, text):
    status, error = run(text, "--out", text, "--steps", 1)

    assert status == 2
    assert "must be a folder, got a file" in error


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
    assert "stage1.pretrain.fetch" in shown
