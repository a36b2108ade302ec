"""A page as files, and what of it a terminal shows: figures, texts, tables, cautions."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from rich.box import SIMPLE_HEAD
from rich.console import Console, JustifyMethod
from rich.table import Table as ScreenTable
from rich.text import Text

from stage1.base.errors import ResultsError
from stage1.base.files import must_be_writable, write_text
from stage1.base.terminal import print_caution
from stage1.claims.verdicts import Verdict
from stage1.pages.blocks import Block, Caution, Explorer, Heading, Inline, Mark, Picture, Table
from stage1.pages.figures.drawn import DrawnFigure, save_figure
from stage1.pages.markdown import markdown
from stage1.run.folder import RunFolder


@contextmanager
def writing_into(run: RunFolder) -> Iterator[None]:
    """Say in one line that a run's page and figures cannot be written.

    Raises:
        ResultsError: Something cannot be written, or the figures would go elsewhere by a link.
    """
    if run.figures.is_symlink():
        raise ResultsError(
            f"{run.figures}: must be a folder inside the run, got a link to another; remove it"
        )
    advice = "make room, remove what is in the way, or copy the run to another place"
    with must_be_writable(run.path, advice=advice):
        yield


def save_picture(drawn: DrawnFigure, folder: Path, *, inside: str = "") -> Picture:
    """A figure as a file; the file of an earlier page goes where there is no figure now.

    It lies in the folder `inside` the page's, or beside the page.
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


_COLORS: dict[str, str] = {
    Verdict.SUPPORTED: "green",
    Verdict.DIRECTION_ONLY: "cyan",
    Verdict.NOT_SUPPORTED: "red",
    Verdict.CONTRADICTED: "red",
}


def screen_table(
    content: Table, *, without: Collection[str] = (), wraps: int = 0, caption: str = ""
) -> ScreenTable:
    """A table of a page, for 80 columns.

    There is no room for the columns in `without`; the one at place `wraps` may go on in the next
    line.
    """
    numbers_from = len(content.header) if content.numbers_from is None else content.numbers_from
    places = [place for place, name in enumerate(content.header) if name not in without]
    table = ScreenTable(
        caption=Text(caption) if caption else None,
        caption_justify="left",
        box=SIMPLE_HEAD if caption else None,
        pad_edge=False,
    )
    for place in places:
        side: JustifyMethod = "left" if place < numbers_from else "right"
        table.add_column(content.header[place], justify=side, no_wrap=place != wraps)
    for row in content.rows:
        table.add_row(*(_screen_text(row[place]) for place in places))
    return table


def _screen_text(cell: Inline) -> Text:
    if isinstance(cell, str):
        return Text(cell)
    return Text(cell.text, style=_COLORS.get(cell.text, "") if isinstance(cell, Mark) else "")


# HTML -------------------------------------------------------------------------------------------

_SHORT = 22
"""Characters that fit a line of any table."""


def html(blocks: Sequence[Block]) -> str:
    """The report as a page whose title is the first block; all text is escaped."""
    sections = [block for block in blocks if isinstance(block, Heading) and block.level == 2]
    title = blocks[0].text if isinstance(blocks[0], Heading) else ""
    environment = Environment(
        loader=PackageLoader("stage1.pages", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"kind": _kind, "slug": slug, "base64": _base64}
    environment.tests["short"] = _is_short
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    template = environment.get_template("page.html.jinja")
    explored = any(isinstance(block, Explorer) for block in blocks)
    scripts = _scripts() if explored else []
    return template.render(title=title, sections=sections, blocks=blocks, scripts=scripts)


class Script(NamedTuple):
    """A script of the page."""

    text: str
    is_module: bool

    @property
    def source(self) -> str:
        """What a policy allows it by: its hash, so that no other script runs."""
        digest = hashlib.sha256(self.text.encode()).digest()
        return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"


@cache
def _scripts() -> list[Script]:
    """Vega under its license, then its interpreter of expressions and what uses both.

    The interpreter lets the policy forbid `eval`, which Vega would otherwise call.
    """
    license_text, vega, interpreter, own = (
        files("stage1.pages").joinpath(name).read_text(encoding="utf-8")
        for name in ("vega/LICENSE", "vega/vega.min.js", "vega/vega-interpreter.js", "explorer.js")
    )
    return [
        Script(f"/*\n{license_text}*/\n{vega}", is_module=False),
        Script(interpreter + own, is_module=True),
    ]


def _kind(block: object) -> str:
    """The name of a block's type; `text` for plain text."""
    return "text" if isinstance(block, str) else type(block).__name__


def _is_short(cell: Inline) -> bool:
    """Whether a cell is better not broken, such as an interval."""
    return isinstance(cell, str) and len(cell) <= _SHORT


def slug(text: str) -> str:
    """A name that a link can point to: letters, digits and hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def _base64(png: bytes) -> str:
    return base64.b64encode(png).decode("ascii")
