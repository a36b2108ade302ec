"""`python -m stage1.report RUN`: verdicts, figures and report of a study, from its tables alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stage1.base.terminal import run_command, screen
from stage1.pages.study_page import write_report
from stage1.run.folder import RunFolder


def main(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder, OUT/NAME.")],
) -> None:
    """Write claims.json, figures, report.md and report.html again from the tables of a run."""
    write_report(RunFolder(run)).show(screen())


if __name__ == "__main__":
    run_command(main)
