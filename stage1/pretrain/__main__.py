"""`python -m stage1.pretrain CORPUS... --out DIR`: a small T5 from plain text."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import torch
import typer

from stage1.base.errors import EXIT_INTERRUPTED, ConfigError, ResultsError, TrialError
from stage1.base.files import must_be_writable
from stage1.base.terminal import parse_duration, run_command
from stage1.language_models.names import NUMBERS_FILE
from stage1.pretrain import card, corpus, span_training
from stage1.pretrain.saved_state import (
    STATE_FILE,
    Accelerator,
    Plan,
    Precision,
    Saved,
    Size,
    check_plan,
    read_state,
    remove_state,
)

GO_ON = "go on with the same command and --resume"


def check_folder(out: Path, *, resume: bool) -> None:
    """Refuse a folder that holds nothing to go on from, or something to overwrite.

    Raises:
        ResultsError: In either case, or where `out` is a file.
    """
    state = out / STATE_FILE
    if out.exists() and not out.is_dir():
        raise ResultsError(f"{out}: must be a folder, got a file; use another --out")
    if not state.exists() and (out / NUMBERS_FILE).exists():
        raise ResultsError(f"{out}: already holds a finished training; use another --out")
    if resume:
        if not state.exists():
            raise ResultsError(f"{state}: must exist for --resume; begin again in a new --out")
        return
    if state.exists():
        raise ResultsError(f"{out}: already holds a training; use --resume or another --out")
    names = sorted(path.name for path in out.iterdir()) if out.exists() else []
    if names:
        raise ResultsError(
            f"{out}: must be a new or empty folder, got one that holds {names[0]}; remove it or "
            "use another --out"
        )


@contextmanager
def interruptible(out: Path) -> Iterator[None]:
    """Let Ctrl-C end the block with status 130 and a line that says what is saved."""
    try:
        yield
    except KeyboardInterrupt:
        message = "nothing to go on from is saved yet"
        if out.exists():
            message += f"; remove {out} to begin again"
        if (out / STATE_FILE).exists():
            saved = read_state(out / STATE_FILE)
            message = (
                f"the state after step {saved.step:,} of {saved.plan.steps:,} is saved; {GO_ON}"
            )
        print(f"interrupted: {message}", file=sys.stderr)
        raise SystemExit(EXIT_INTERRUPTED) from None  # which says no more


def with_steps(
    requested: Plan, saved: Saved | None, budget: timedelta, streams: corpus.TokenStreams
) -> Plan:
    """The plan with its number of steps: as given, else as saved, else as many as the budget holds.

    Raises:
        ResultsError: The saved training is another one.
    """
    if requested.steps:
        plan = requested
    elif saved is not None:
        plan = requested._replace(steps=saved.plan.steps)
    else:
        plan = requested._replace(steps=span_training.steps_within(budget, requested, streams))
    if saved is not None:
        check_plan(saved.plan, plan)
    return plan


def pretrain(
    sources: Annotated[
        list[Path],
        typer.Argument(metavar="CORPUS...", help="Text files, or folders of .txt files."),
    ],
    out: Annotated[Path, typer.Option(help="New folder for vocabulary, weights and model card.")],
    size: Annotated[Size, typer.Option(help="Which architecture.")] = "nano",
    steps: Annotated[
        int | None, typer.Option(min=1, help="Training steps; makes the result reproducible.")
    ] = None,
    time_budget: Annotated[
        str,
        typer.Option(
            help="Such as 20m: sets the steps where --steps is not given, and limits this session."
        ),
    ] = "20m",
    seed: Annotated[
        int, typer.Option(min=0, max=2**32 - 1, help="Of weights, rows and spans.")
    ] = 0,
    threads: Annotated[int, typer.Option(min=1, max=1024, help="CPU threads.")] = 2,
    precision: Annotated[
        Precision, typer.Option(help="bf16-mixed is faster on GPUs and on CPUs with AMX.")
    ] = "32-true",
    accelerator: Annotated[Accelerator, typer.Option(help="Where to train.")] = "cpu",
    shorter: Annotated[
        Path | None,
        typer.Option(help="A finished training with fewer steps, for the card's comparison."),
    ] = None,
    license: Annotated[
        str, typer.Option(help="Of the weights, for the card: apache-2.0, cc0-1.0, ...")
    ] = "unknown",
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the state in --out.")
    ] = False,
) -> None:
    """Train a vocabulary and a small T5 by span corruption, and write a model card.

    The bundled models' corpus comes from `python -m stage1.pretrain.fetch corpus`; their cards
    (stage1/language_models/bundled/*/README.md) have the command that remakes each.
    """
    torch.set_num_threads(threads)
    budget = parse_duration(time_budget)
    if accelerator == "gpu" and not torch.cuda.is_available():
        raise ConfigError("--accelerator gpu must find a GPU with CUDA, got none; use cpu")
    started = time.monotonic()
    with interruptible(out), must_be_writable(out, advice="make room or use another --out"):
        check_folder(out, resume=resume)
        packages = corpus.read_sources(sources)
        text = corpus.read_corpus(sources)
        requested = Plan(size, steps or 0, seed, text.sha256, accelerator, precision, threads)
        saved = read_state(out / STATE_FILE) if resume else None
        required_sha256 = saved.vocabulary_sha256 if saved else None
        streams = corpus.token_streams(text, out, required_sha256=required_sha256)
        plan = with_steps(requested, saved, budget, streams)
        shorter_run = card.shorter_run(shorter, plan) if shorter else None
        print(f"{len(streams.training):,} tokens; {plan.steps:,} steps, at most {time_budget}")
        module = span_training.train(plan, streams, out, budget=budget, resume=resume)
        done = module.trainer.global_step
        if done < plan.steps:
            raise TrialError(
                f"--time-budget must cover the training, got {time_budget} for {done:,} of "
                f"{plan.steps:,} steps; the state is saved, {GO_ON}"
            )
        span_training.save_model(module.model, out)
        # a fetched corpus can be had again under any name
        texts = ["corpus"] if packages else [str(source) for source in sources]
        model_card = card.describe(
            plan,
            out,
            corpus=text,
            streams=streams,
            sources=packages,
            curve=module.curve,
            shorter=shorter_run,
            license=license,
            texts=texts,
            seconds=time.monotonic() - started + (saved.seconds if saved else 0.0),
        )
        card.write_card(model_card, out)
        remove_state(out)
    losses = model_card.held_out_loss
    print(f"{out}: held-out loss {losses.model:.3f}, unigram {losses.unigram:.3f}")
    print(f"sha256 of the weights: {model_card.weights_sha256}")


if __name__ == "__main__":
    run_command(pretrain)
