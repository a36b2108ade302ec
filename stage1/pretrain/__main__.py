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

from stage1.command import parse_duration, run_command
from stage1.errors import EXIT_INTERRUPTED, ResultsError, TrialError
from stage1.pretrain import card, corpus, training
from stage1.pretrain.state import STATE_FILE, Plan, Size, check_plan, read_state

GO_ON = "go on with the same command and --resume"


def check_folder(out: Path, *, resume: bool) -> None:
    """Refuse a folder that holds nothing to go on from, or something to overwrite.

    Raises:
        ResultsError: In either case, or where `out` is a file.
    """
    state = out / STATE_FILE
    if out.exists() and not out.is_dir():
        raise ResultsError(f"{out}: must be a folder, got a file; use another --out")
    if resume:
        if not state.exists():
            raise ResultsError(f"{state}: must exist for --resume; run without it to begin")
        return
    if state.exists() or (out / card.WEIGHTS_FILE).exists():
        raise ResultsError(f"{out}: already holds a training; use --resume or another --out")
    found = sorted(path.name for path in out.iterdir()) if out.exists() else []
    if found:
        raise ResultsError(
            f"{out}: must be a new or empty folder, got one that holds {found[0]}; remove it or "
            "use another --out"
        )


@contextmanager
def interruptible(out: Path) -> Iterator[None]:
    """Let Ctrl-C end the block with status 130 and a line that says what is kept.

    Raises:
        typer.Exit: After Ctrl-C.
    """
    try:
        yield
    except KeyboardInterrupt:
        kept = f"nothing to go on from is saved yet; remove {out} to begin again"
        if (out / STATE_FILE).exists():
            saved = read_state(out / STATE_FILE)
            kept = f"the state after step {saved.step:,} of {saved.plan.steps:,} is saved; {GO_ON}"
        print(f"interrupted: {kept}", file=sys.stderr)
        raise typer.Exit(EXIT_INTERRUPTED) from None


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
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 2,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the state in --out.")
    ] = False,
) -> None:
    """Train a vocabulary and a small T5 by span corruption, and write a model card."""
    torch.set_num_threads(threads)
    budget = parse_duration(time_budget)
    check_folder(out, resume=resume)
    started, seconds_before = time.monotonic(), 0.0
    with interruptible(out):
        text = corpus.read_corpus(sources)
        if resume:
            saved = read_state(out / STATE_FILE)
            check_plan(saved.plan, size=size, steps=steps, seed=seed, corpus_sha256=text.sha256)
            steps, seconds_before = saved.plan.steps, saved.seconds
        streams = corpus.token_streams(text, out)
        if steps is None:
            steps = training.steps_within(budget, size, streams.training, seed)
        print(f"{len(streams.training):,} tokens of text; {steps:,} steps, at most {time_budget}")
        plan = Plan(size, steps, seed, text.sha256)
        module = training.train(plan, streams, out, budget=budget, resume=resume)
        done = module.trainer.global_step
        if done < steps:
            raise TrialError(
                f"--time-budget must cover the training, got {time_budget} for {done:,} of "
                f"{steps:,} steps; the state is saved, {GO_ON}"
            )
        card.save_model(module.model, out)
        losses = card.measure_losses(size, streams, out, seed=seed)
        numbers = card.card_numbers(module, text, streams, losses, out)
        command = (
            f"python -m stage1.pretrain corpus --out {out.name} --size {size} --steps {steps} "
            f"--seed {seed} --threads {threads} --time-budget {time_budget}"
        )
        spent = timedelta(seconds=seconds_before + time.monotonic() - started)
        card.write_card(numbers, out, size=size, command=command, spent=spent)
        (out / STATE_FILE).unlink()
    print(f"{out}: held-out loss {losses.model:.3f}, unigram {losses.unigram:.3f}")


if __name__ == "__main__":
    run_command(pretrain)
