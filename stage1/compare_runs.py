"""`python -m stage1.compare_runs RUN RUN ...`: studies side by side, pooled where they may be."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stage1.base.terminal import run_command, screen
from stage1.claims.loaded_run import load_run
from stage1.pages.runs_page import compare_runs, show, write_page


def main(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN RUN...", help="Run folders, OUT/NAME.")
    ],
    out: Annotated[Path, typer.Option(help="Folder of the page.")] = Path("runs_compared"),
) -> None:
    """Show settings and verdicts of studies side by side, and their pooled effects.

    Pooled are studies that differ in one thing alone: their checkpoints, their bars, or their seed.
    """
    compared = compare_runs([load_run(run) for run in runs])
    write_page(compared, out)
    show(compared, out, screen())


if __name__ == "__main__":
    run_command(main)
