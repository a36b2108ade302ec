"""YAML files: found by name, read with the place of every key, each laid over what it extends."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NoReturn

import yaml
from pydantic import BaseModel, ValidationError

from stage1.base.errors import ConfigError
from stage1.base.text import brief, dotted, one_line, shown
from stage1.config.rules import Fault, KeyPath, broken_rules

MOST_KEYS = 10_000
"""Keys and entries of lists in one file; more can only come from aliases that multiply."""
MOST_BYTES = 1_000_000
"""Of one file; a larger one would take minutes to read, and is none of ours."""
LONGEST_RULE = 1_000
"""Characters of a fault; a longer one repeats an absurd value."""


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
    """Read a YAML mapping; `extends: other.yaml`, looked up beside it, is merged below, key by key.

    `seen` holds the files on the way here, to refuse a circle.

    Raises:
        ConfigError: Missing file, broken YAML, a key given twice, or a circle of `extends`.
    """
    content, origins = read_yaml(path)
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: must hold a mapping of keys to values")
    resolved = path.resolve()
    if resolved in seen:
        raise ConfigError(f"{path}: extends must not lead back to a file on the way to it")
    source = YamlSource(path, content, origins)
    parent_name = content.pop("extends", None)
    if parent_name is None:
        return source
    parent_path = existing_file(parent_name, key="extends", source=source)
    parent = load_yaml(parent_path, seen=(*seen, resolved))
    return YamlSource(path, merged(parent.values, content), {**parent.origins, **origins})


def source_of_mapping(values: Mapping[str, Any], name: str) -> YamlSource:
    """A mapping of Python's, read as a search space in a file of the current folder would be.

    `extends` and `base` may name what comes with the package, too. Faults call it by the name.

    Raises:
        ConfigError: It holds what no YAML file does, or a file that it names is not there.
    """
    try:
        content = yaml.safe_load(yaml.safe_dump(dict(values)))
    except (yaml.YAMLError, RecursionError) as error:
        raise ConfigError(
            f"{name}: must hold mappings, lists, text, numbers, true, false and None alone, got "
            f"{brief(one_line(str(error)))}"
        ) from None
    parent = content.pop("extends", None)
    below = load_yaml(find(Path(str(parent)), "search_spaces")) if parent is not None else None
    if "base" in content:
        content["base"] = str(find(Path(str(content["base"])), "configs").absolute())
    origins = dict.fromkeys(_paths(content), name)
    if below is None:
        return YamlSource(Path(name), content, origins)
    return YamlSource(below.path, merged(below.values, content), {**below.origins, **origins})


def _paths(values: dict[str, Any], above: KeyPath = ()) -> Iterator[KeyPath]:
    """The path of every key of a mapping."""
    for key, value in values.items():
        yield (*above, str(key))
        if isinstance(value, dict):
            yield from _paths(value, (*above, str(key)))


def read_yaml(path: Path) -> tuple[Any, dict[KeyPath, str]]:
    """Read a YAML file as it stands, without `extends`.

    Returns:
        The content, whatever it is, and where each key stands (of a mapping; else nothing).

    Raises:
        ConfigError: Missing file, broken YAML, a key given twice, or more than a file can mean:
            aliases that multiply, a list inside itself, a number beyond 64 bits.
    """
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ConfigError(f"{path}: must be at most {MOST_BYTES:,} bytes long, got more")
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{path}: must be an existing file; check the path") from None
    except (OSError, ValueError, RuntimeError) as error:
        reason = brief(str(error))
        raise ConfigError(f"{path}: must be a readable UTF-8 text file, got {reason}") from None
    origins: dict[KeyPath, str] = {}
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None, origins
        _count(node, {}, path)
        if isinstance(node, yaml.MappingNode):
            _note_origins(node, (), path, origins)
        content = loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        place = f"{path}:{error.problem_mark.line + 1}" if error.problem_mark else str(path)
        reason = brief(error.problem or str(error))
        raise ConfigError(f"{place}: must be valid YAML, got {reason}") from None
    except (yaml.YAMLError, *_LEAKS) as error:
        reason = brief(str(error))
        raise ConfigError(f"{path}: must be valid YAML, got {reason}") from None
    return content, origins


class _Loader(yaml.SafeLoader):
    """PyYAML's safe one; what no file can store or show later is refused at its line."""


def _whole_number(loader: _Loader, node: yaml.ScalarNode) -> int:
    number = loader.construct_yaml_int(node)
    if not -(2**63) <= number < 2**63:
        problem = "a whole number beyond 64 bits"
        raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
    return number


def _text(loader: _Loader, node: yaml.ScalarNode) -> str:
    text = loader.construct_yaml_str(node)
    if any("\ud800" <= letter <= "\udfff" for letter in text):
        problem = "half of a character, a lone surrogate"
        raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
    return text


_Loader.add_constructor("tag:yaml.org,2002:int", _whole_number)
_Loader.add_constructor("tag:yaml.org,2002:str", _text)


def _count(node: yaml.Node, counts: dict[yaml.Node, int], path: Path) -> int:
    """Keys and entries below a node as often as aliases repeat them; each node is visited once."""
    if isinstance(node, yaml.ScalarNode):
        return 1
    place = f"{path}:{node.start_mark.line + 1}"
    if node in counts:
        if not counts[node]:
            raise ConfigError(f"{place}: must be valid YAML, got a list or mapping inside itself")
        return counts[node]
    counts[node] = 0  # on the way: whoever meets it now is inside it
    inside = (
        node.value if isinstance(node, yaml.SequenceNode) else [n for p in node.value for n in p]
    )
    count = 1 + sum(_count(below, counts, path) for below in inside)
    if count > 2 * MOST_KEYS:  # a key and its value are two nodes
        raise ConfigError(f"{place}: a file must have at most {MOST_KEYS:,} keys")
    counts[node] = count
    return count


_LEAKS = (ValueError, LookupError, TypeError, AttributeError, RecursionError)
"""What PyYAML lets out beside its own errors: `!!bool x`, `!!timestamp x`, deep nesting."""


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
        raise ConfigError(
            f"{place}: must be an existing file, got {one_line(str(path))[:LONGEST_RULE]}"
        )
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

    Raises:
        ConfigError: Always.
    """
    raise ConfigError("\n".join(fault_lines(error, source, model))) from None


def fault_lines(error: ValidationError, source: YamlSource, model: type[BaseModel]) -> list[str]:
    """Pydantic's faults, a line each, with file and line; the arguments are `raise_faults`'s."""
    faults: list[Fault] = []
    for fault in error.errors():
        keys = _written_keys(fault, source)
        faults += [((*keys, *below), rule) for below, rule in broken_rules(fault, model)]
    return _lines(faults, source)


def raise_listed(faults: Iterable[Fault], source: YamlSource) -> NoReturn:
    """Raise faults as one `ConfigError`, each once, a line each, with file and line.

    Raises:
        ConfigError: Always.
    """
    raise ConfigError("\n".join(_lines(faults, source))) from None


def _lines(faults: Iterable[Fault], source: YamlSource) -> list[str]:
    lines = [
        f"{source.origin(keys)}: {dotted(keys)}{': ' if keys else ''}"[:LONGEST_RULE]
        + rule[:LONGEST_RULE]
        for keys, rule in faults
    ]
    return list(dict.fromkeys(lines))


def _written_keys(fault: Any, source: YamlSource) -> KeyPath:
    """The path as the file has it; pydantic also names branches of unions and places in lists."""
    keys: KeyPath = ()
    for part in fault["loc"]:
        if (*keys, str(part)) in source.origins:
            keys = (*keys, str(part))
    if fault["type"] == "missing":
        keys = (*keys, str(fault["loc"][-1]))
    return keys


Kind = Literal["configs", "search_spaces"]
_IN_WORDS: dict[Kind, str] = {"configs": "configuration", "search_spaces": "search space"}
_OF_A_RUN: dict[Kind, str] = {
    "configs": "python -m stage1.export {} writes its best configuration",
    "search_spaces": "--resume with the space it began with goes on; python -m stage1.new NAME "
    "--from {} begins one like it",
}
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
        ConfigError: Nothing is there and the package has none of that name, and lists those it
            has; or a folder is there.
    """
    if os.path.isfile(name):
        return name
    named = shipped(kind)
    if str(name) in named:
        return named[str(name)]
    if os.path.isdir(name):
        of_a_run = _OF_A_RUN[kind].format(shlex.quote(str(name)))
        advice = f"; {of_a_run}" if (name / "space.yaml").is_file() else "; name a file"
        raise ConfigError(f"{brief(str(name))}: must be a {_IN_WORDS[kind]}, got a folder{advice}")
    if os.path.lexists(name):  # a pipe, a broken link: whoever opens it says what it is
        return name
    hint = f"; did you mean {name.stem}?" if name.stem in named else ""
    raise ConfigError(
        f"{brief(str(name))}: must be an existing file or the name of a {_IN_WORDS[kind]} that "
        f"comes with stage1: {', '.join(named)}{hint}"
    )
