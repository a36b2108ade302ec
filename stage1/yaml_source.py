"""YAML with a memory: every key knows its file and line; `extends` is resolved here."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import yaml
from pydantic import BaseModel, ValidationError

from stage1.errors import ConfigError
from stage1.faults import Fault, KeyPath, broken_rules, dotted, one_line, shown

MOST_KEYS = 10_000
"""Of one file; more can only come from aliases that multiply."""


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
    try:
        resolved, text = path.resolve(), path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{path}: must be an existing file; check the path") from None
    except (OSError, ValueError, RuntimeError) as error:
        reason = one_line(str(error))
        raise ConfigError(f"{path}: must be a readable UTF-8 text file, got {reason}") from None
    if resolved in seen:
        raise ConfigError(f"{path}: extends must not lead back to a file on the way to it")
    values, origins = _parsed(text, path)
    return _extended(YamlSource(path, values, origins), (*seen, resolved))


def _parsed(text: str, path: Path) -> tuple[dict[str, Any], dict[KeyPath, str]]:
    origins: dict[KeyPath, str] = {}
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        if not isinstance(node, yaml.MappingNode):
            raise ConfigError(f"{path}: must hold a mapping of keys to values")
        _note_origins(node, (), path, origins)
        values: dict[str, Any] = loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        place = f"{path}:{error.problem_mark.line + 1}" if error.problem_mark else str(path)
        reason = one_line(error.problem or str(error))
        raise ConfigError(f"{place}: must be valid YAML, got {reason}") from None
    except (yaml.YAMLError, *_LEAKS) as error:
        reason = one_line(str(error))
        raise ConfigError(f"{path}: must be valid YAML, got {reason}") from None
    return values, origins


_LEAKS = (ValueError, LookupError, TypeError, AttributeError, RecursionError)
"""What PyYAML lets out beside its own errors: `!!bool x`, `!!timestamp x`, deep nesting."""


def _extended(source: YamlSource, seen: tuple[Path, ...]) -> YamlSource:
    parent_name = source.values.pop("extends", None)
    if parent_name is None:
        return source
    parent_path = existing_file(parent_name, key="extends", source=source)
    parent = load_yaml(parent_path, seen=seen)
    values = merged(parent.values, source.values)
    return YamlSource(source.path, values, {**parent.origins, **source.origins})


def existing_file(name: Any, *, key: str, source: YamlSource) -> Path:
    """The file that a key names, looked up beside the file the key stands in.

    Raises:
        ConfigError: There is none; names the key's line and the path.
    """
    place = f"{source.origin((key,))}: {key}"
    if not isinstance(name, str):
        raise ConfigError(f"{place}: must be a file name, got {shown(name)}")
    path = source.path.parent / name
    if not os.path.isfile(path):
        raise ConfigError(f"{place}: must be an existing file, got {one_line(str(path))}")
    return path


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
                f"{place}: {dotted(keys)}: must be given once, first at {origins[keys]}"
            )
        if len(origins) >= MOST_KEYS:
            raise ConfigError(f"{place}: a file must have at most {MOST_KEYS:,} keys")
        origins[keys] = place
        if isinstance(value_node, yaml.MappingNode):
            _note_origins(value_node, keys, path, origins)


def raise_faults(error: ValidationError, source: YamlSource, model: type[BaseModel]) -> NoReturn:
    """Turn pydantic's faults into one `ConfigError`, a line each, with file and line.

    Args:
        error: Of `model`, from the values of `source`.
        source: The file.
        model: What was validated.

    Raises:
        ConfigError: Always.
    """
    faults: list[Fault] = []
    for fault in error.errors():
        keys = _written_keys(fault, source)
        faults += [((*keys, *below), rule) for below, rule in broken_rules(fault, model)]
    raise_listed(faults, source)


def raise_listed(faults: Iterable[Fault], source: YamlSource) -> NoReturn:
    """Raise faults as one `ConfigError`, each once, a line each, with file and line.

    Raises:
        ConfigError: Always.
    """
    lines = [
        f"{source.origin(keys)}: {dotted(keys)}{': ' if keys else ''}{rule}"
        for keys, rule in faults
    ]
    raise ConfigError("\n".join(dict.fromkeys(lines))) from None


def _written_keys(fault: Any, source: YamlSource) -> KeyPath:
    """The path as the file has it; pydantic also names branches of unions and places in lists."""
    keys: KeyPath = ()
    for part in fault["loc"]:
        if (*keys, str(part)) in source.origins:
            keys = (*keys, str(part))
    if fault["type"] == "missing":
        keys = (*keys, str(fault["loc"][-1]))
    return keys
