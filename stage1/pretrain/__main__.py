"""`python -m stage1.pretrain CORPUS... --out DIR`: a small T5 from plain text."""

from __future__ import annotations

import time
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import torch
import typer

from stage1.command import parse_duration, run_command
from stage1.errors import ModelError, ResultsError
from stage1.pretrain import card, corpus, training


def pretrain(
    sources: Annotated[
        list[Path], typer.Argument(metavar="CORPUS...", help="Text files, or folders of .txt files.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for vocabulary, weights and model card.")],
    size: Annotated[training.Size, typer.Option(help="Which architecture.")] = "nano",
    steps: Annotated[
        int | None, typer.Option(min=1, help="Training steps; makes the result reproducible.")
    ] = None,
    time_budget: Annotated[
        str, typer.Option(help="Such as 20m: sets the steps where --steps is not given, and is a limit.")
    ] = "20m",
    seed: Annotated[int, typer.Option(help="Of weights, rows and spans.")] = 0,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 2,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the state in --out.")] = False,
) -> None:
    """Train a SentencePiece vocabulary and a small T5 by span corruption, and write a model card."""
    torch.set_num_threads(threads)
    state = out / training.STATE_FILE
    if resume and not state.exists():
        raise ResultsError(f"{state}: must exist for --resume; run without it to begin")
    if not resume and (state.exists() or (out / card.WEIGHTS_FILE).exists()):
        raise ResultsError(f"{out}: already holds a training; use --resume or another --out")
    budget = parse_duration(time_budget)
    started = time.monotonic()
    text = corpus.read_corpus(sources)
    streams = corpus.token_streams(text, out)
    if resume:
        steps = training.planned_steps(state)
    elif steps is None:
        steps = training.steps_within(budget, size, streams.training, seed)
    print(f"{len(streams.training):,} tokens of text; {steps:,} steps, at most {time_budget}")
    module = training.train(
        size, streams, out, steps=steps, seed=seed, budget=budget, resume=resume
    )
    done = module.trainer.global_step
    if done < steps:
        raise ModelError(
            f"--time-budget must cover the training, got {time_budget} for {done:,} of {steps:,} "
            "steps; the state is saved, go on with --resume"
        )
    card.save_model(module.model, out)
    losses = card.measure_losses(size, streams, out, seed=seed)
    numbers = card.card_numbers(module, text, streams, losses, out)
    command = (
        f"python -m stage1.pretrain corpus --out {out.name} --size {size} --steps {steps} "
        f"--seed {seed} --threads {threads} --time-budget {time_budget}"
    )
    spent = timedelta(seconds=time.monotonic() - started)
    card.write_card(numbers, out, size=size, command=command, spent=spent)
    state.unlink()
    print(f"{out}: held-out loss {losses.model:.3f}, unigram {losses.unigram:.3f}")


if __name__ == "__main__":
    run_command(pretrain)
