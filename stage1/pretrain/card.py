"""The model card: what was trained, on what, how well, and the command that remakes it."""

from __future__ import annotations

import math
import re
import shlex
from importlib.metadata import version
from pathlib import Path

import torch
from jinja2 import Environment, PackageLoader, StrictUndefined
from pydantic import BaseModel, ConfigDict, ValidationError

from stage1.base.errors import ResultsError
from stage1.base.files import sha256_of_file, write_text
from stage1.language_models.names import CARD_FILE, NUMBERS_FILE, WEIGHTS_FILE
from stage1.pretrain.corpus import VOCABULARY_FILE, Corpus, Source, TokenStreams
from stage1.pretrain.saved_state import Accelerator, Plan, Precision, Size
from stage1.pretrain.span_training import (
    HELD_OUT_BATCHES,
    ROWS_PER_STEP,
    CurvePoint,
    Losses,
    held_out_loss,
    load_saved,
    new_model,
    span_objective,
    unigram_loss,
)
from stage1.pretrain.spans import Infilling, infill


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Architecture(_Part):
    """Dimensions by their names in `transformers`."""

    d_model: int
    d_kv: int
    d_ff: int
    num_heads: int
    num_layers: int
    num_decoder_layers: int


class CorpusFacts(_Part):
    """The text, after repeated paragraphs are left out."""

    sha256: str
    """Of all paragraphs."""
    characters: int
    """Trained on."""
    tokens: int
    """Trained on."""
    held_out_tokens: int
    sources: list[Source]
    """Empty where the corpus does not say."""


class TrainingFacts(_Part):
    """How the weights came about."""

    steps: int
    rows: int
    """Per step."""
    row_tokens: int
    """Of running text per row, before corruption."""
    seed: int
    accelerator: Accelerator
    precision: Precision
    threads: int
    """Of the CPU."""
    seconds: float
    """Wall time, vocabulary and evaluations included; of an interrupted training, that of all its
    sessions up to their last saved state."""
    command: str

    @property
    def tokens_seen(self) -> int:
        """Of running text, repeats counted."""
        return self.steps * self.rows * self.row_tokens


class ShorterRun(_Part):
    """The same training with fewer steps, for scale."""

    steps: int
    held_out_loss: float


class Card(_Part):
    """All that a model card says; README.md is written from it alone."""

    name: str
    size: Size
    license: str
    """Of the weights, as Hugging Face abbreviates it."""
    architecture: Architecture
    encoder_parameters: int
    """Without the token table."""
    parameters: int
    embedding_rms: float
    """Root mean square of the token table."""
    corpus: CorpusFacts
    training: TrainingFacts
    held_out_loss: Losses
    shorter: ShorterRun | None
    curve: list[CurvePoint]
    infilling: list[Infilling]
    weights_sha256: str
    """Of the weights' file."""
    torch: str
    transformers: str

    @property
    def gain_per_doubling(self) -> float | None:
        """Nats of held-out loss per doubling of the steps since the shorter run."""
        if self.shorter is None:
            return None
        gain = self.shorter.held_out_loss - self.held_out_loss.model
        return gain / math.log2(self.training.steps / self.shorter.steps)


def write_card(card: Card, out: Path) -> None:
    """Write README.md for people and card.json for programs."""
    write_text(out / NUMBERS_FILE, card.model_dump_json(indent=1) + "\n")
    write_text(out / CARD_FILE, render(card))


def read_card(folder: Path) -> Card:
    """Read the card.json of a finished training.

    Raises:
        ResultsError: There is none, or it is not one that this command wrote.
    """
    path = folder / NUMBERS_FILE
    try:
        return Card.model_validate_json(path.read_bytes())
    except OSError:
        raise ResultsError(f"{path}: must be a finished training's card, got no file") from None
    except ValidationError as error:
        key = ".".join(map(str, error.errors()[0]["loc"]))
        raise ResultsError(
            f"{path}: must be a card that stage1.pretrain wrote, got {error.error_count()} faults, "
            f"such as {key or 'its form'}; train it again"
        ) from None


def render(card: Card) -> str:
    """The card as Markdown with Hugging Face's front matter."""
    environment = Environment(
        loader=PackageLoader("stage1.pretrain", "."),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        autoescape=False,  # Markdown, and what comes from the corpus passes `prose`
    )
    environment.filters |= {"number": "{:,}".format, "loss": "{:.3f}".format, "prose": _prose}
    return environment.get_template("card.md.jinja").render(
        {name: getattr(card, name) for name in Card.model_fields},
        gain_per_doubling=card.gain_per_doubling,
        held_out_rows=HELD_OUT_BATCHES * ROWS_PER_STEP,
    )


def _prose(text: str) -> str:
    """Text of a corpus as Markdown shows it literally."""
    return re.sub(r"([\\`*_{}\[\]<>#|~])", r"\\\1", text)


def shorter_run(folder: Path, plan: Plan) -> ShorterRun:
    """The loss of a finished training that differs from a plan in having fewer steps alone.

    Raises:
        ResultsError: It differs otherwise, or is not shorter.
    """
    card = read_card(folder)
    training = card.training
    same = (card.size, card.corpus.sha256, training.seed, training.precision)
    if same != (plan.size, plan.corpus_sha256, plan.seed, plan.precision):
        got = f"{card.size}, {card.corpus.sha256[:12]}, {training.seed}, {training.precision}"
        raise ResultsError(
            f"--shorter {folder}: must be of the same size, corpus, seed and precision, got {got}"
        )
    if training.steps >= plan.steps:
        raise ResultsError(
            f"--shorter {folder}: must have fewer steps than {plan.steps:,}, got {training.steps:,}"
        )
    return ShorterRun(steps=training.steps, held_out_loss=card.held_out_loss.model)


def describe(
    plan: Plan,
    out: Path,
    *,
    corpus: Corpus,
    streams: TokenStreams,
    sources: list[Source],
    curve: list[CurvePoint],
    shorter: ShorterRun | None,
    license: str,
    texts: list[str],
    seconds: float,
) -> Card:
    """Measure the weights in a folder and say all that their card says.

    The folder has config, weights and vocabulary. `sources` is empty where it is not known where
    the text comes from, `texts` are what the command is given as its corpus.
    """
    model = load_saved(out)
    vocabulary = (out / VOCABULARY_FILE).read_bytes()
    objective, table = span_objective(), model.shared.weight
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(plan.seed)
        untrained = new_model(plan.size).eval()
    return Card(
        name=out.resolve().name,
        size=plan.size,
        license=license,
        architecture=Architecture(
            **{key: getattr(model.config, key) for key in Architecture.model_fields}
        ),
        encoder_parameters=model.encoder.num_parameters() - table.numel(),
        parameters=model.num_parameters(),
        embedding_rms=float(table.detach().square().mean().sqrt()),
        corpus=CorpusFacts(
            sha256=corpus.sha256,
            characters=sum(map(len, corpus.training)),
            tokens=len(streams.training),
            held_out_tokens=len(streams.held_out),
            sources=sources,
        ),
        training=TrainingFacts(
            steps=plan.steps,
            rows=ROWS_PER_STEP,
            row_tokens=objective.row_tokens,
            seed=plan.seed,
            accelerator=plan.accelerator,
            precision=plan.precision,
            threads=plan.threads,
            seconds=round(seconds, 1),
            command=_remaking_command(plan, out.resolve().name, texts, license),
        ),
        held_out_loss=Losses(
            model=held_out_loss(model, streams.held_out),
            unigram=unigram_loss(streams),
            untrained=held_out_loss(untrained, streams.held_out),
        ),
        shorter=shorter,
        curve=curve,
        infilling=infill(model, corpus.held_out, vocabulary, sentinel=objective.first_sentinel),
        weights_sha256=sha256_of_file(out / WEIGHTS_FILE),
        torch=version("torch"),
        transformers=version("transformers"),
    )


def _remaking_command(plan: Plan, name: str, texts: list[str], license: str) -> str:
    """The command line that gives the same weights again, under the same name and licence."""
    values = plan._asdict()
    keys = ("size", "steps", "seed", "threads", "precision", "accelerator")
    words = [str(word) for key in keys for word in (f"--{key}", values[key])]
    words += ["--time-budget", "24h", "--license", license]
    return shlex.join(["python", "-m", "stage1.pretrain", *texts, "--out", name, *words])
