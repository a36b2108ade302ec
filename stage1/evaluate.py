"""`python -m stage1.evaluate CHECKPOINT`: what a trained model is worth, to see."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from stage1.base.terminal import DataDir, print_plain, run_command
from stage1.training import EVALUATION


def evaluate(
    checkpoint: Annotated[
        Path,
        typer.Argument(
            metavar="CHECKPOINT", help="Of stage1.train, of a study, or of stage1.push."
        ),
    ],
    data_dir: DataDir = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for the report.", show_default="evaluation/ beside the checkpoint"
        ),
    ] = None,
    walk_forward: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="K",
            help="Train the configuration anew for each of K consecutive periods, on all bars "
            "before it, and score it there.",
        ),
    ] = None,
) -> None:
    """Score the validation and test windows per timeframe, next to linear interpolation.

    Writes metrics.parquet, reconstructions.png, report.md and report.html.
    The look at the test windows is noted in test_period.parquet.
    """
    # torch takes seconds to import: --help should not have to wait for it.
    from stage1.pages.evaluation_page import show_evaluation, write_evaluation
    from stage1.training.evaluation import add_look, evaluate_checkpoint

    console = Console()
    warn = partial(print_plain, console)
    evaluation = evaluate_checkpoint(checkpoint, data_dir, warn=warn, test=True)
    # Beside a pushed folder others may lie, and nothing is added to what may be uploaded.
    of_folder = f"{checkpoint.resolve().name}-{EVALUATION}"
    folder = out or checkpoint.parent / (of_folder if checkpoint.is_dir() else EVALUATION)
    if evaluation.test is not None:
        evaluation = evaluation._replace(looks=add_look(evaluation, folder))
    write_evaluation(evaluation, folder)
    if walk_forward is not None:
        from stage1.training.walk_forward import walk_forward as walk

        walked = walk(checkpoint, data_dir, walk_forward, folder, say=warn)
        evaluation = evaluation._replace(walk=walked)
        write_evaluation(evaluation, folder)
    show_evaluation(evaluation, folder, console)


if __name__ == "__main__":
    run_command(evaluate)
