"""`python -m stage1.push CHECKPOINT --to DIR`: a trained model as others can take it up."""

from __future__ import annotations

import shlex
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from stage1.base.errors import ResultsError
from stage1.base.terminal import DataDir, print_plain, run_command
from stage1.training import EVALUATION


def push(
    checkpoint: Annotated[
        Path, typer.Argument(metavar="CHECKPOINT", help="Of stage1.train, or of a study.")
    ],
    to: Annotated[Path, typer.Option(metavar="DIR", help="The folder to write; a new one.")],
    data_dir: DataDir = None,
    license: Annotated[
        str, typer.Option(help="Of the weights, for the card: apache-2.0, mit, ...")
    ] = "unknown",
    metrics: Annotated[
        bool,
        typer.Option(
            " /--no-metrics", show_default=False, help="Leave out the scores, which need its bars."
        ),
    ] = True,
) -> None:
    """Write a trained model to a local folder as Hugging Face lays them out.

    config.json, model.safetensors and a model card, README.md. load_encoder,
    encode and evaluate take the folder for a checkpoint. Nothing is uploaded.
    """
    # torch takes seconds to import: --help should not have to wait for it.
    from stage1.training.checkpoint import read_trained
    from stage1.training.evaluation import add_look, evaluate_checkpoint
    from stage1.training.model_folder import check_new, write_folder

    check_new(to)
    console = Console()
    trained = read_trained(checkpoint)
    if checkpoint.is_dir():
        raise ResultsError(f"{checkpoint}: must be a checkpoint, got a pushed one; copy the folder")
    evaluation = None
    if metrics:
        warn = partial(print_plain, console)
        evaluation = evaluate_checkpoint(checkpoint, data_dir, warn=warn, test=True)
        if evaluation.test is not None:
            looks = add_look(evaluation, checkpoint.parent / EVALUATION)
            evaluation = evaluation._replace(looks=looks)
    write_folder(trained, to, evaluation=evaluation, license=license)
    size = sum(file.stat().st_size for file in to.iterdir())
    print_plain(console, f"{to}: config.json, model.safetensors, README.md, {size / 1e6:,.1f} MB")
    print_plain(
        console, f"Read {to / 'README.md'} first, its licences above all; then it goes up with:"
    )
    print_plain(console, f"hf upload OWNER/{shlex.quote(to.resolve().name)} {shlex.quote(str(to))}")


if __name__ == "__main__":
    run_command(push)
