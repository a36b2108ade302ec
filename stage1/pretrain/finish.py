"""A finished training: weights saved, measured as saved, described."""

from __future__ import annotations

import shlex
import shutil
import tempfile
from importlib.metadata import version
from pathlib import Path

import torch
from transformers import T5ForConditionalGeneration

from stage1.base.errors import ResultsError
from stage1.base.files import atomic_path, sha256_of_file
from stage1.language_models.names import CONFIG_FILE, WEIGHTS_FILE
from stage1.pretrain.architecture import new_model
from stage1.pretrain.card import (
    Architecture,
    Card,
    CorpusFacts,
    ShorterRun,
    TrainingFacts,
    read_card,
)
from stage1.pretrain.corpus import VOCABULARY_FILE, Corpus, TokenStreams
from stage1.pretrain.infilling import infill
from stage1.pretrain.progress import quiet
from stage1.pretrain.sources import Source
from stage1.pretrain.state import Plan
from stage1.pretrain.training import (
    ROWS_PER_STEP,
    CurvePoint,
    Losses,
    held_out_loss,
    span_objective,
    unigram_loss,
)


def save_model(model: T5ForConditionalGeneration, out: Path) -> None:
    """Write config and float16 weights where `transformers` finds them, each file atomically."""
    with quiet(), tempfile.TemporaryDirectory() as folder:
        model.half().save_pretrained(folder)
        for name in (CONFIG_FILE, WEIGHTS_FILE):
            with atomic_path(out / name) as path:
                shutil.copyfile(Path(folder) / name, path)


def load_saved(folder: Path) -> T5ForConditionalGeneration:
    """The model as it was saved, in float32 and evaluation mode."""
    with quiet():
        return T5ForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()


def shorter_run(folder: Path, plan: Plan) -> ShorterRun:
    """The loss of a finished training that differs from a plan in having fewer steps alone.

    Raises:
        ResultsError: It differs otherwise, or is not shorter.
    """
    card = read_card(folder)
    same = (card.size, card.corpus.sha256, card.training.seed, card.training.precision)
    if same != (plan.size, plan.corpus_sha256, plan.seed, plan.precision):
        raise ResultsError(
            f"--shorter {folder}: must be of the same size, corpus, seed and precision, got "
            f"{card.size}, {card.corpus.sha256[:12]}, {card.training.seed}, "
            f"{card.training.precision}"
        )
    if card.training.steps >= plan.steps:
        raise ResultsError(
            f"--shorter {folder}: must have fewer steps than {plan.steps:,}, got "
            f"{card.training.steps:,}"
        )
    return ShorterRun(steps=card.training.steps, held_out_loss=card.held_out_loss.model)


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
    command: str,
    seconds: float,
) -> Card:
    """Measure the weights in a folder and say all that their card says.

    Args:
        plan: Of the training.
        out: Has config, weights and vocabulary.
        corpus: The text.
        streams: The same as tokens.
        sources: Where the text comes from; empty where that is not known.
        curve: Of the training.
        shorter: For scale.
        license: Of the weights.
        command: That remakes them.
        seconds: Spent on it.
    """
    model = load_saved(out)
    vocabulary = (out / VOCABULARY_FILE).read_bytes()
    sentinel = span_objective().first_sentinel
    table = model.shared.weight
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
        training=_training_facts(plan, command=command, seconds=seconds),
        held_out_loss=_losses(model, plan, streams),
        shorter=shorter,
        curve=curve,
        infilling=infill(model, corpus.held_out, vocabulary, sentinel=sentinel),
        weights_sha256=sha256_of_file(out / WEIGHTS_FILE),
        torch=version("torch"),
        transformers=version("transformers"),
    )


def remaking_command(plan: Plan, name: str, texts: list[str], license: str) -> str:
    """The command line that gives the same weights again, under the same name and licence."""
    options = {
        "--out": name,
        "--size": plan.size,
        "--steps": plan.steps,
        "--seed": plan.seed,
        "--threads": plan.threads,
        "--precision": plan.precision,
        "--accelerator": plan.accelerator,
        "--time-budget": "24h",
        "--license": license,
    }
    words = [str(word) for option in options.items() for word in option]
    return shlex.join(["python", "-m", "stage1.pretrain", *texts, *words])


def _training_facts(plan: Plan, *, command: str, seconds: float) -> TrainingFacts:
    return TrainingFacts(
        steps=plan.steps,
        rows=ROWS_PER_STEP,
        row_tokens=span_objective().row_tokens,
        seed=plan.seed,
        accelerator=plan.accelerator,
        precision=plan.precision,
        threads=plan.threads,
        seconds=round(seconds, 1),
        command=command,
    )


def _losses(model: T5ForConditionalGeneration, plan: Plan, streams: TokenStreams) -> Losses:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(plan.seed)
        untrained = new_model(plan.size).eval()
    return Losses(
        model=held_out_loss(model, streams.held_out),
        unigram=unigram_loss(streams),
        untrained=held_out_loss(untrained, streams.held_out),
    )
