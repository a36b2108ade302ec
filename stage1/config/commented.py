"""A configuration as YAML for people: every key under a comment that says what it means."""

from __future__ import annotations

from textwrap import indent, wrap
from typing import Any

import yaml

from stage1.config.section import Section

_WIDTH = 90
"""Columns of a comment, beside its indentation."""


def commented_yaml(section: Section) -> str:
    """The section with every key written out, each under the docstring of its field."""
    plain = section.model_dump(mode="json")
    parts = []
    for name, field in type(section).model_fields.items():
        comment = _comment(field.description or "")
        value = getattr(section, name)
        if isinstance(value, Section):
            parts.append(f"\n{comment}{name}:\n{indent(commented_yaml(value), '  ')}")
        else:
            parts.append(comment + _written(name, plain[name]))
    return "".join(parts)


def _written(key: str, value: Any) -> str:
    """A line; of a list of lists, one for each."""
    flow = None if isinstance(value, list | dict) else False
    return yaml.safe_dump({key: value}, default_flow_style=flow)


def _comment(text: str) -> str:
    return "".join(f"# {line}\n" for line in wrap(text, _WIDTH, break_on_hyphens=False))
