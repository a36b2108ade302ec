"""The report as data: a list of blocks that knows nothing of Markdown or HTML.

Text in a block is plain: whoever renders it escapes it. What is not plain is said by type.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple


class Code(NamedTuple):
    """A name, a value or a path, letter by letter."""

    text: str


class Strong(NamedTuple):
    """What the eye should find first."""

    text: str


class Mark(NamedTuple):
    """A verdict."""

    text: str


Inline = str | Code | Strong | Mark
Line = tuple[Inline, ...]
"""Pieces of one line, put together without spaces."""


class Heading(NamedTuple):
    """The title (level 1), a section (2) or a part of one (3)."""

    text: str
    level: int = 2


class Paragraph(NamedTuple):
    """Running text."""

    parts: Line
    note: bool = False
    """Explains what is beside it; may be set smaller."""


class Caution(NamedTuple):
    """What a reader must know before the numbers."""

    kind: str
    """One word: Warning, Deviation."""
    text: str


class Table(NamedTuple):
    """A table; each row is as long as the header."""

    header: Sequence[str]
    rows: Sequence[Sequence[Inline]]
    caption: str = ""
    """What it shows; empty where the heading above says it."""
    numbers_from: int | None = None
    """Columns from this place on hold numbers; None = none does."""
    stacked: bool = False
    """Each row may become a card of its own where the page is narrow."""


class Picture(NamedTuple):
    """A figure, or why there is none."""

    title: str
    caption: str
    path: str
    """Of the PNG, relative to the report; empty = there is none."""
    png: bytes
    """Its content."""
    missing: str
    """One line; empty if there is a picture."""


class Gallery(NamedTuple):
    """Figures in order."""

    pictures: list[Picture]


class Items(NamedTuple):
    """A list."""

    lines: list[Line]


class Commands(NamedTuple):
    """Commands for a shell, one per line."""

    lines: list[str]


class Details(NamedTuple):
    """What only some readers want; may be folded."""

    summary: str
    blocks: list[Block]


class Explorer(NamedTuple):
    """What a browser lets a reader filter, sort and brush; nothing anywhere else."""

    data: Mapping[str, Any]
    """For the page's script, as JSON holds it."""


Block = Heading | Paragraph | Caution | Table | Gallery | Items | Commands | Details | Explorer


def paragraph(*parts: Inline, note: bool = False) -> Paragraph:
    """A paragraph of these pieces."""
    return Paragraph(parts, note=note)


def cautions(warnings: Iterable[str], deviations: Iterable[str] = ()) -> list[Caution]:
    """What stands above the numbers: warnings, each once, then deviations from what was fixed."""
    return [
        *(Caution("Warning", text) for text in dict.fromkeys(warnings)),
        *(Caution("Deviation", text) for text in deviations),
    ]


def word_list(words: Mapping[str, str]) -> list[Block]:
    """The last section of a page: what its words mean."""
    return [Heading("Words"), Items([(Strong(word), f": {text}") for word, text in words.items()])]
