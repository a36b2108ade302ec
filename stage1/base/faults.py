"""Broken rules in words: what pydantic found, as this project says it, ready for one line each."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from reprlib import Repr
from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from stage1.base.errors import ResultsError, Stage1Error

KeyPath = tuple[str, ...]
Fault = tuple[KeyPath, str]
"""A key and the rule it breaks."""


class RuleError(ValueError):
    """Rules between the keys of a section, raised by the section's validator.

    Args:
        faults: The key, dotted and relative to the section, and the rule it breaks.
    """

    def __init__(self, *faults: tuple[str, str]) -> None:
        super().__init__("; ".join(f"{key}: {rule}" for key, rule in faults))
        self.faults: list[Fault] = [(tuple(key.split(".")), rule) for key, rule in faults]


def faults_of(error: ValidationError, model: type[BaseModel]) -> list[Fault]:
    """Pydantic's faults in our words, for values that come from no file.

    Args:
        error: Of `model`.
        model: What was validated.
    """
    return [
        ((*map(str, fault["loc"]), *below), rule)
        for fault in error.errors()
        for below, rule in broken_rules(fault, model)
    ]


_BOUNDS = {
    "greater_than": ("gt", ">"),
    "greater_than_equal": ("ge", ">="),
    "less_than": ("lt", "<"),
    "less_than_equal": ("le", "<="),
}
_RULES = {
    "dict_type": "must be a mapping of keys to values",
    "model_type": "must be a mapping of keys to values",
    "model_attributes_type": "must be a mapping of keys to values",
    "tuple_type": "must be a list",
    "string_type": "must be text",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
}


def broken_rules(fault: Any, model: type[BaseModel]) -> list[Fault]:
    """The rules a fault stands for: one, or those a section's validator has collected.

    Args:
        fault: One of `ValidationError.errors()`.
        model: What was validated.

    Returns:
        Rules, each with the rest of the key's path below the fault's own location.
    """
    kind, context, value = fault["type"], fault.get("ctx", {}), shown(fault["input"])
    if kind == "value_error":
        cause = context["error"]
        return cause.faults if isinstance(cause, RuleError) else [((), str(cause))]
    if kind in _BOUNDS:
        name, sign = _BOUNDS[kind]
        bound = context[name]
        bound = int(bound) if bound == int(bound) else bound  # 0, not 0.0
        return [((), f"must be {sign} {bound}, got {value}")]
    if kind == "extra_forbidden":
        known = _known_keys(fault["loc"], model)
        return [((), "unknown key" + did_you_mean(str(fault["loc"][-1]), known))]
    if kind == "missing":
        return [((), "must be given")]
    if kind == "literal_error":
        return [((), f"must be {context['expected']}, got {value}")]
    if kind == "union_tag_not_found":
        return [((), f"{context['discriminator']} must be given")]
    if kind == "union_tag_invalid":
        expected = context["expected_tags"]
        return [(("type",), f"must be one of {expected}, got {context['tag']!r}")]
    if kind == "string_pattern_mismatch":
        return [((), f"must match {context['pattern']}, got {value}")]
    if kind == "too_short":
        return [((), f"must have at least {context['min_length']} entries, got {value}")]
    message = re.sub(r"^\w+ should", "must", one_line(fault["msg"]))
    return [((), f"{_RULES.get(kind, message)}, got {value}")]


def _known_keys(location: tuple[int | str, ...], model: type[BaseModel]) -> list[str]:
    """The keys of the section that a location lies in."""
    current: Any = model
    for part in location[:-1]:
        current = _inside(current, part)
    return list(current.model_fields) if _is_section(current) else []


def _inside(annotation: Any, part: int | str) -> Any:
    """The type at one step of a location: a field, an entry of a mapping, a branch of a union."""
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if _is_section(annotation):
        known = annotation.model_fields.get(part)
        return known and known.annotation
    if get_origin(annotation) is dict:
        return get_args(annotation)[1]
    branches = [branch for branch in get_args(annotation) if _is_section(branch)]
    tagged = (b for b in branches if part in get_args(b.model_fields["type"].annotation))
    return next(tagged, None)


def _is_section(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


# Words ----------------------------------------------------------------------------------------

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


def dotted(keys: KeyPath) -> str:
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


@contextmanager
def told_if_unwritable(
    path: Path, kind: str = "folder", *, advice: str = "give another --out"
) -> Iterator[None]:
    """Say in one line that a place cannot be written, or that its disk is full.

    Args:
        path: The place.
        kind: What it is to be.
        advice: What to do.

    Raises:
        ResultsError: Something in the block could not be read or written.
    """
    try:
        yield
    except OSError as error:
        reason = brief(str(error))
        raise ResultsError(
            f"{path}: must be a {kind} that can be written, got {reason}; {advice}"
        ) from None
