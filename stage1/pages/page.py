"""A page as files, and what of it a terminal shows: figures, texts, tables, cautions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table as ScreenTable
from rich.text import Text

from stage1.base.files import write_text
from stage1.base.terminal import print_caution
from stage1.pages.blocks import Block, Caution, Picture, Table
from stage1.pages.figures.drawn import DrawnFigure, save_figure
from stage1.pages.html import html
from stage1.pages.markdown import markdown


def save_picture(drawn: DrawnFigure, folder: Path, *, inside: str = "") -> Picture:
    """A figure as a file; the file of an earlier page goes where there is no figure now.

    Args:
        drawn: The figure, or why there is none.
        folder: Of the page.
        inside: Folder in it for figures; empty = beside the page.
    """
    path = folder / inside / f"{drawn.name}.png"
    if drawn.figure is None:
        path.unlink(missing_ok=True)
        return Picture(drawn.title, drawn.caption, "", b"", drawn.missing)
    save_figure(drawn.figure, path)
    shown = path.relative_to(folder).as_posix()
    return Picture(drawn.title, drawn.caption, shown, path.read_bytes(), "")


def save_page(blocks: Sequence[Block], text_file: Path, html_file: Path | None = None) -> None:
    """Write a page as Markdown, and as HTML where a file for it is given."""
    write_text(text_file, markdown(blocks))
    if html_file is not None:
        write_text(html_file, html(blocks))


def show_cautions(console: Console, listed: Iterable[Caution]) -> None:
    """Print the first sentence of each; the rest is on the page."""
    for caution in listed:
        first, stop, _ = caution.text.partition(". ")
        print_caution(console, f"{caution.kind}: {first}{stop.strip()}")


def screen_table(content: Table, caption: str) -> ScreenTable:
    """A table of a page, for 80 columns.

    Args:
        content: Its cells are text.
        caption: Below it.
    """
    table = ScreenTable(
        caption=Text(caption), caption_justify="left", box=SIMPLE_HEAD, pad_edge=False
    )
    for place, name in enumerate(content.header):
        table.add_column(name, justify="left" if place == 0 else "right", no_wrap=place > 0)
    for row in content.rows:
        table.add_row(*(Text(str(cell)) for cell in row))
    return table
