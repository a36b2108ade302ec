"""Writes the page of an experiment from its tables, and shows its main numbers on the terminal."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from stage1.comparison.figures import draw_figures
from stage1.comparison.report import main_note, main_table, page_blocks
from stage1.comparison.summary import Summary, cautions, summarize
from stage1.comparison.tables import read_experiment
from stage1.document.markdown import markdown
from stage1.document.pictures import saved_picture
from stage1.document.terminal import plain_table
from stage1.files import write_text
from stage1.results import RunFolder

PAGE_FILE = "experiment_t5_vs_random.md"


class Page(NamedTuple):
    """A written page."""

    path: Path
    run: RunFolder
    summary: Summary

    def show(self, console: Console) -> None:
        """Print the main table, the warnings, and where the rest lies."""
        console.print(plain_table(main_table(self.summary), main_note(self.summary)))
        for text in cautions(self.summary):
            console.print(Padding(Text(f"Warning: {text}", style="yellow"), (0, 0, 0, 2)))
        for line in (
            f"Report: {self.path}",
            f"Curves: tensorboard --logdir {self.run.tensorboard}",
        ):
            console.print(line, markup=False, soft_wrap=True, highlight=False)


def write_page(run: RunFolder) -> Page:
    """Write the page and its figures from the tables, beside a running experiment too.

    Raises:
        ResultsError: The folder is no experiment's, or its tables cannot be read.
    """
    tables = read_experiment(run)
    summary = summarize(tables)
    pictures = {name: saved_picture(drawn, run) for name, drawn in draw_figures(summary).items()}
    path = run.path / PAGE_FILE
    write_text(path, markdown(page_blocks(tables, summary, pictures)))
    return Page(path, run, summary)
