"""Configurations and search spaces that come with the package, found by name."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from stage1.base.errors import ConfigError
from stage1.base.text import brief

Kind = Literal["configs", "search_spaces"]
_IN_WORDS: dict[Kind, str] = {"configs": "configuration", "search_spaces": "search space"}
_PACKAGE = Path(__file__).parents[1]


def shipped(kind: Kind) -> dict[str, Path]:
    """The files that come with the package, by name, sorted.

    A wheel has their folder inside the package; in a checkout it lies beside the package.
    """
    inside = _PACKAGE / kind
    folder = inside if inside.is_dir() else _PACKAGE.parent / kind
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def config_names() -> list[str]:
    """Names of the configurations that come with the package."""
    return list(shipped("configs"))


def space_names() -> list[str]:
    """Names of the search spaces that come with the package."""
    return list(shipped("search_spaces"))


def find(name: Path, kind: Kind) -> Path:
    """The file that a user means: a file that is there, else one of the package's by its name.

    Raises:
        ConfigError: Nothing is there and the package has none of that name; lists those it has.
    """
    if os.path.isfile(name):
        return name
    named = shipped(kind)
    if str(name) in named:
        return named[str(name)]
    if os.path.lexists(name):  # a folder, a pipe, a broken link: whoever opens it says what it is
        return name
    hint = f"; did you mean {name.stem}?" if name.stem in named else ""
    raise ConfigError(
        f"{brief(str(name))}: must be an existing file or the name of a {_IN_WORDS[kind]} that "
        f"comes with stage1: {', '.join(named)}{hint}"
    )
