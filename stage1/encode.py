"""`python -m stage1.encode CHECKPOINT`: bars to vectors, by a trained encoder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from stage1.base.terminal import DataDir, print_plain, run_command


def encode(
    checkpoint: Annotated[
        Path,
        typer.Argument(
            metavar="CHECKPOINT", help="Of stage1.train, of a study, or of stage1.push."
        ),
    ],
    data_dir: DataDir = None,
    out: Annotated[Path, typer.Option(help="The Parquet file to write.")] = Path(
        "embeddings.parquet"
    ),
    stride: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="MINUTES",
            help="Between the ends of windows, of a series steps; default data.stride.",
        ),
    ] = None,
) -> None:
    """Write a vector of every window and timeframe that the bars have, nothing hidden.

    Columns: window_end (UTC, when the window's bars are completed), timeframe,
    vector, mean, scale, in_training_period. A vector is the mean of the
    encoder's codes over the timeframe's bars, which it sees as
    (log price - mean) / scale. As in a training, no window lies across a gap
    longer than data.max_gap.
    """
    # torch takes seconds to import: --help should not have to wait for it.
    from stage1.training.encoder import check_target, encode_to_file

    check_target(out)
    console = Console()
    written = encode_to_file(checkpoint, data_dir, out, stride=stride, console=console)
    print_plain(console, written)


if __name__ == "__main__":
    run_command(encode)
