"""A report as one HTML page that needs nothing else: no script, no network, pictures inside."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence

from jinja2 import Environment, PackageLoader, StrictUndefined

from stage1.pages.blocks import Block, Heading, Inline

_TEMPLATE = "page.html.jinja"
_SHORT = 22
"""Characters that fit a line of any table."""


def html(blocks: Sequence[Block]) -> str:
    """The report as a page; all text is escaped.

    Args:
        blocks: The first one is the title.
    """
    sections = [block for block in blocks if isinstance(block, Heading) and block.level == 2]
    return (
        _environment()
        .get_template(_TEMPLATE)
        .render(
            title=blocks[0].text if isinstance(blocks[0], Heading) else "",
            sections=sections,
            blocks=blocks,
        )
    )


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("stage1.pages", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"kind": _kind, "slug": slug, "data_uri": data_uri}
    environment.tests["short"] = _is_short
    return environment


def _kind(block: object) -> str:
    """The name of a block's type; `text` for plain text."""
    return "text" if isinstance(block, str) else type(block).__name__


def _is_short(cell: Inline) -> bool:
    """Whether a cell is better not broken, such as an interval."""
    return isinstance(cell, str) and len(cell) <= _SHORT


def slug(text: str) -> str:
    """A name that a link can point to: letters, digits and hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def data_uri(png: bytes) -> str:
    """A PNG as an address that holds it."""
    return f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}"
