"""Values, counts and reasons as a message shows them: on one line, printable, never too long."""

from __future__ import annotations

import difflib
import shlex
from reprlib import Repr
from typing import Any

from stage1.base.errors import Stage1Error

LONGEST_VALUE = 200
_SHORT = Repr()
_SHORT.maxlevel, _SHORT.maxdict, _SHORT.maxlist, _SHORT.maxtuple = 2, 6, 12, 12
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 80


def shown(value: Any) -> str:
    """A value as an error message shows it: as Python writes it, cut where it is long."""
    try:
        text = one_line(_SHORT.repr(value))
    except ValueError:  # Python writes no number of more than some thousand digits
        text = "a number with too many digits to show"
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}..."


def plural(count: int, noun: str) -> str:
    """A count with its noun, which takes an s."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def dotted(keys: tuple[str, ...]) -> str:
    """The path of a key in one printable word."""
    text = ".".join(keys)
    return text if text.isprintable() else repr(text)


def one_line(text: str) -> str:
    """Text of any origin without line breaks and control codes."""
    words = " ".join(text.split())
    return words if words.isprintable() else repr(words)


def brief(text: str) -> str:
    """Text of any origin as one line of bounded length, for an error message."""
    return one_line(text)[:LONGEST_VALUE].rstrip(". ")


def reason_of(error: BaseException) -> str:
    """An exception in one line of bounded length; a user's error in its own words alone."""
    first = next(iter(str(error).strip().splitlines()), "")
    text = first if isinstance(error, Stage1Error) else f"{type(error).__name__}: {first}"
    return brief(text)


def did_you_mean(word: str, known: list[str]) -> str:
    """The hint for a mistyped name: the nearest known one, or all of them."""
    near = difflib.get_close_matches(word, known, n=1)
    if near:
        return f"; did you mean {near[0]!r}?"
    return f"; known: {', '.join(known)}" if known else ""


def shell_line(module: str, *arguments: object, **options: object) -> str:
    """A command of this package as a line for a shell, such as `python -m stage1.tune`.

    Options are named with `_` for `-`; those that are None are left out.
    """
    words = ["python", "-m", f"stage1.{module}", *map(str, arguments)]
    for name, value in options.items():
        words += [] if value is None else [f"--{name.replace('_', '-')}", str(value)]
    return shlex.join(words)
