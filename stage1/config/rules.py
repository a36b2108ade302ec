"""What every part of a configuration is, and the rules it breaks in our words."""

from __future__ import annotations

import json
import re
from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError

from stage1.base.text import did_you_mean, one_line, shown


class Section(BaseModel):
    """A part of the configuration: unknown keys are refused, values do not change."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True
    )

    def __hash__(self) -> int:
        """Equal sections have equal hashes, those with mappings too."""
        return hash(json.dumps(self.model_dump(mode="json"), sort_keys=True))


KeyPath = tuple[str, ...]
Fault = tuple[KeyPath, str]
"""A key and the rule it breaks."""


class RuleError(ValueError):
    """Rules between the keys of a section, raised by the section's validator.

    A fault is a key, dotted and relative to the section, and the rule it breaks.
    """

    def __init__(self, *faults: tuple[str, str]) -> None:
        super().__init__("; ".join(f"{key}: {rule}" for key, rule in faults))
        self.faults: list[Fault] = [(tuple(key.split(".")), rule) for key, rule in faults]


def faults_of(error: ValidationError, model: type[BaseModel]) -> list[Fault]:
    """Pydantic's faults of a `model` in our words, for values that come from no file."""
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
    "literal_error": "must be {expected}",
    "string_pattern_mismatch": "must match {pattern}",
    "too_short": "must have at least {min_length} entries",
}
"""By pydantic's name of a fault, with what its context says."""


def broken_rules(fault: Any, model: type[BaseModel]) -> list[Fault]:
    """The rules that one of pydantic's faults stands for: one, or those a validator has collected.

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
    if kind == "union_tag_not_found":
        return [((), f"{context['discriminator']} must be given")]
    if kind == "union_tag_invalid":
        expected = context["expected_tags"]
        return [(("type",), f"must be one of {expected}, got {context['tag']!r}")]
    if kind in _RULES:
        return [((), f"{_RULES[kind].format(**context)}, got {value}")]
    message = re.sub(r"^\w+ should", "must", one_line(fault["msg"]))
    return [((), f"{message}, got {value}")]


def _known_keys(location: tuple[int | str, ...], model: type[BaseModel]) -> list[str]:
    """The keys of the section that a location lies in."""
    current: Any = model
    for part in location[:-1]:
        current = _inside(current, part)
    current = _given(current)
    return list(current.model_fields) if _is_section(current) else []


def _inside(annotation: Any, part: int | str) -> Any:
    """The type at one step of a location: a field, an entry of a mapping, a branch of a union."""
    annotation = _given(annotation)
    if _is_section(annotation):
        known = annotation.model_fields.get(part)
        return known and known.annotation
    if get_origin(annotation) is dict:
        return get_args(annotation)[1]
    branches = [branch for branch in get_args(annotation) if _is_section(branch)]
    tagged = (b for b in branches if part in get_args(b.model_fields["type"].annotation))
    return next(tagged, None)


def _given(annotation: Any) -> Any:
    """The type of a value that may be null, or has rules of its own, where it is not null."""
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    kinds = [kind for kind in get_args(annotation) if kind is not type(None)]
    is_optional = type(None) in get_args(annotation) and len(kinds) == 1
    return kinds[0] if is_optional else annotation


def _is_section(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)
