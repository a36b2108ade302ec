"""YAML with a memory: every key knows the file and line it came from; `extends` is resolved here."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import yaml
from pydantic import BaseModel, ValidationError

from stage1.errors import ConfigError

KeyPath = tuple[str, ...]


@dataclass(frozen=True)
class YamlSource:
    """The content of a YAML file after `extends`, and where each key stands."""

    path: Path
    values: dict[str, Any]
    origins: dict[KeyPath, str] = field(default_factory=dict)
    """`file:line` of every key, by its path."""

    def origin(self, keys: KeyPath) -> str:
        """Where a key stands, or its nearest parent if the key itself was not written."""
        while keys and keys not in self.origins:
            keys = keys[:-1]
        return self.origins[keys] if keys else str(self.path)


def load_yaml(path: Path, *, seen: tuple[Path, ...] = ()) -> YamlSource:
    """Read a YAML mapping; `extends: other.yaml` is merged below it, key by key.

    Args:
        path: The file; a relative `extends` is looked up beside it.
        seen: Files on the way here, to refuse a circle.

    Raises:
        ConfigError: Missing file, broken YAML, a key given twice, or a circle of `extends`.
    """
    if path.resolve() in seen:
        raise ConfigError(f"{path}: extends must not lead back to itself")
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{path}: must be an existing file; check the path") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: must be a readable UTF-8 text file, got {error}") from None
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, RecursionError) as error:
        raise ConfigError(f"{path}: must be valid YAML, got {_one_line(error)}") from None
    if not isinstance(node, yaml.MappingNode):
        raise ConfigError(f"{path}: must hold a mapping of keys to values")
    origins: dict[KeyPath, str] = {}
    _note_origins(node, (), path, origins)
    try:
        values = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: must be valid YAML, got {_one_line(error)}") from None
    return _extended(YamlSource(path, values, origins), (*seen, path.resolve()))


def _extended(source: YamlSource, seen: tuple[Path, ...]) -> YamlSource:
    parent_name = source.values.pop("extends", None)
    if parent_name is None:
        return source
    if not isinstance(parent_name, str):
        raise ConfigError(
            f"{source.origin(('extends',))}: extends must be a file name, got {parent_name!r}"
        )
    parent = load_yaml(source.path.parent / parent_name, seen=seen)
    values = merged(parent.values, source.values)
    return YamlSource(source.path, values, {**parent.origins, **source.origins})


def merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """`above` laid over `below`; mappings are merged, everything else is replaced."""
    result = dict(below)
    for key, value in above.items():
        if isinstance(value, dict) and isinstance(result.get(key), dict):
            value = merged(result[key], value)
        result[key] = value
    return result


def _note_origins(
    node: yaml.MappingNode, prefix: KeyPath, path: Path, origins: dict[KeyPath, str]
) -> None:
    for key_node, value_node in node.value:
        key = str(key_node.value) if isinstance(key_node, yaml.ScalarNode) else "?"
        keys = (*prefix, key)
        place = f"{path}:{key_node.start_mark.line + 1}"
        if keys in origins:
            raise ConfigError(
                f"{place}: {'.'.join(keys)}: must be given once, first at {origins[keys]}"
            )
        origins[keys] = place
        if isinstance(value_node, yaml.MappingNode):
            _note_origins(value_node, keys, path, origins)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def raise_faults(error: ValidationError, source: YamlSource, model: type[BaseModel]) -> NoReturn:
    """Turn pydantic's faults into one `ConfigError`, a line each, with file and line.

    Raises:
        ConfigError: Always.
    """
    lines = []
    for fault in error.errors():
        keys = _written_keys(fault["loc"], source)
        subject = f"{'.'.join(keys)}: " if keys else ""
        lines.append(f"{source.origin(keys)}: {subject}{_sentence(fault, model)}")
    raise ConfigError("\n".join(dict.fromkeys(lines))) from None


def _written_keys(location: tuple[int | str, ...], source: YamlSource) -> KeyPath:
    """The path as the file has it: pydantic also names the branch of a union it tried."""
    keys: KeyPath = ()
    for part in location:
        if (*keys, str(part)) in source.origins or part == location[-1]:
            keys = (*keys, str(part))
    return keys


_BOUNDS = {
    "greater_than": ("gt", ">"),
    "greater_than_equal": ("ge", ">="),
    "less_than": ("lt", "<"),
    "less_than_equal": ("le", "<="),
}


def _sentence(fault: Any, model: type[BaseModel]) -> str:
    kind, context, value = fault["type"], fault.get("ctx", {}), fault["input"]
    if kind in _BOUNDS:
        name, sign = _BOUNDS[kind]
        return f"must be {sign} {context[name]}, got {value!r}"
    if kind == "extra_forbidden":
        return "unknown key" + did_you_mean(str(fault["loc"][-1]), _siblings(fault["loc"], model))
    if kind == "missing":
        return "must be given"
    if kind == "literal_error":
        return f"must be {context['expected']}, got {value!r}"
    if kind == "value_error":
        return str(context["error"])
    return f"{_lower_first(fault['msg'])}, got {value!r}"


def _lower_first(text: str) -> str:
    return text[:1].lower() + text[1:]


def _siblings(location: tuple[int | str, ...], model: type[BaseModel]) -> list[str]:
    current: Any = model
    for part in location[:-1]:
        current = current.model_fields[part].annotation if part in current.model_fields else None
        if not (isinstance(current, type) and issubclass(current, BaseModel)):
            return []
    return list(current.model_fields)


def did_you_mean(word: str, known: list[str]) -> str:
    """The hint for a mistyped name: the nearest known one, or all of them."""
    near = difflib.get_close_matches(word, known, n=1)
    if near:
        return f"; did you mean {near[0]!r}?"
    return f"; known: {', '.join(known)}" if known else ""
