"""A report as Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from stage1.pages.blocks import (
    Block,
    Caution,
    Code,
    Commands,
    Details,
    Explorer,
    Gallery,
    Heading,
    Inline,
    Items,
    Mark,
    Paragraph,
    Picture,
    Strong,
    Table,
)

_UNPRINTABLE = "\N{REPLACEMENT CHARACTER}"


def markdown(blocks: Iterable[Block]) -> str:
    """The report as GitHub's Markdown; text is escaped, pictures are links to their files."""
    return "\n\n".join(part for block in blocks if (part := _block(block))) + "\n"


def _block(block: Block) -> str:
    match block:
        case Heading(text, level):
            return f"{'#' * level} {escaped(text)}"
        case Paragraph(parts):
            return _line(parts)
        case Caution(kind, text):
            return f"> **{kind}.** {escaped(text)}"
        case Table():
            return _table(block)
        case Gallery(pictures):
            return "\n\n".join(map(_picture, pictures))
        case Items(lines):
            return "\n".join(f"- {_line(line)}" for line in lines)
        case Commands(lines):
            inside = [text for line in lines for text in line.splitlines()]
            return "\n".join(f"    {text}" for text in inside)
        case Details(summary, inner):
            return (
                f"<details><summary>{escaped(summary)}</summary>\n\n{markdown(inner)}\n</details>"
            )
        case Explorer():
            return ""


def _picture(picture: Picture) -> str:
    if picture.missing:
        return f"**{escaped(picture.title)}**: {escaped(picture.missing)}"
    link = f"![{escaped(picture.title)}]({picture.path})"
    return f"{link}\n\n**{escaped(picture.title)}.** {escaped(picture.caption)}"


def _table(table: Table) -> str:
    numbers_from = len(table.header) if table.numbers_from is None else table.numbers_from
    rule = ["---" if place < numbers_from else "---:" for place in range(len(table.header))]
    lines = [_row([escaped(name) for name in table.header]), _row(rule)]
    lines += [_row([_inline(cell) for cell in row]) for row in table.rows]
    caption = [f"**{escaped(table.caption)}**\n"] if table.caption else []
    return "\n".join([*caption, *lines])


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _line(parts: Iterable[Inline]) -> str:
    return "".join(map(_inline, parts))


def _inline(part: Inline) -> str:
    match part:
        case Code(text):
            return _code(text)
        case Strong(text) | Mark(text):
            return f"**{escaped(text)}**"
        case str():
            return escaped(part)


def _code(text: str) -> str:
    """Text letter by letter, on one line, between more backticks than it has in a row."""
    text = _on_one_line(text)
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence = "`" * (longest + 1)
    room = " " if text.startswith("`") or text.endswith("`") or not text.strip() else ""
    return f"{fence}{room}{text}{room}{fence}"


def _on_one_line(text: str) -> str:
    """Any white space as a blank, and no control codes."""
    text = re.sub(r"\s+", " ", text)
    return "".join(letter if letter.isprintable() else _UNPRINTABLE for letter in text)


def escaped(text: str) -> str:
    """Plain text such that Markdown shows it letter by letter, on one line.

    What means nothing to Markdown stays readable: an underscore inside a word, `<` before a number,
    brackets around an interval.
    """
    text = _on_one_line(text)
    text = re.sub(r"([\\`*])", r"\\\1", text)
    text = re.sub(r"\](?=[(\[:])", r"\\]", text)  # else a link
    text = re.sub(r"(?<![^\W_])_|_(?![^\W_])", r"\\_", text)
    text = re.sub(r"&(?=#?\w+;)", "&amp;", text)
    return re.sub(r"<(?=[A-Za-z/!?])", "&lt;", text)
