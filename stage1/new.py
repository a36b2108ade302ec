"""`python -m stage1.new NAME`: the files of a study of one's own, to edit."""

from __future__ import annotations

import os
import re
from pathlib import Path
from textwrap import indent, wrap
from typing import Annotated, Any

import typer
import yaml

from stage1 import __version__
from stage1.base.errors import ConfigError, ResultsError
from stage1.base.files import atomic_path, must_be_writable
from stage1.base.terminal import run_command
from stage1.base.text import plural, shown
from stage1.config import Config, Section, check_config, load_config, with_values
from stage1.config.data import BUNDLED
from stage1.config.predecessor import read_predecessor
from stage1.config.yaml_source import YamlSource, existing_file, load_yaml, shipped, space_names
from stage1.run.folder import RunFolder
from stage1.run.resolved_space import read_space
from stage1.study.space import LONGEST_NAME, NAME_PATTERN, Space

DEFAULT = "transfer"
"""The space that is copied unless another is named."""
SPACE_FILE = "space.yaml"
CONFIG_FILE = "config.yaml"
_WIDTH = 90
"""Columns of a comment, without its indentation."""


def new(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Of the study, and of its new folder here.")
    ],
    source: Annotated[
        str,
        typer.Option(
            "--from",
            metavar="SPACE",
            help=f"Which to copy: {', '.join(space_names())}, or a run folder; or a configuration "
            "in YAML, the predecessor's too.",
            autocompletion=space_names,
        ),
    ] = DEFAULT,
) -> None:
    """Begin a study of your own: the space of another, copied to be edited.

    NAME/space.yaml is the space, NAME/config.yaml the configuration of its
    trials with every key, its value and what it means.
    """
    spaces = shipped("search_spaces")
    if source not in spaces and not os.path.exists(source):
        wanted = f"one of {', '.join(spaces)}, a run folder or a configuration in YAML"
        raise ConfigError(f"--from must be {wanted}, got {shown(source)}")
    _check_name(name, list(spaces))
    folder = Path(name)
    if os.path.lexists(folder):
        raise ResultsError(
            f"{folder}: must not exist yet; give another name, or edit what is there"
        )
    notes: list[str] = []
    if source in spaces:
        texts = own_files(spaces[source], name=name)
    elif os.path.isdir(source):
        texts = own_files_of_run(RunFolder(Path(source)), name=name)
    else:
        texts, notes = own_files_of_config(Path(source), name=name)
    with (
        must_be_writable(folder, advice="make room or go elsewhere"),
        atomic_path(folder) as made,
    ):
        made.mkdir()
        for file, text in texts.items():
            (made / file).write_text(text, encoding="utf-8")
    print("\n".join([*notes, *_next_steps(folder, texts)]))


def _next_steps(folder: Path, texts: dict[str, str]) -> list[str]:
    """What was written, the commands that use it, and the bars that they use."""
    data_dir = yaml.safe_load(texts[CONFIG_FILE])["data"]["data_dir"]
    bars = "the bundled bars" if data_dir in (None, BUNDLED) else f"the bars in {data_dir}"
    commands = {"plan": "what it takes", "tune": "run it"}
    file = SPACE_FILE
    if SPACE_FILE not in texts:
        commands, file = {"train": "run it"}, CONFIG_FILE
    return [
        f"wrote {' and '.join(str(folder / name) for name in texts)}; edit them, then",
        *(f"    stage1 {name} {folder / file}    # {text}" for name, text in commands.items()),
        f"They use {bars}; for others set data.data_dir in {folder / CONFIG_FILE} or give "
        "--data-dir.",
    ]


def own_files(space: Path, *, name: str) -> dict[str, str]:
    """What the files of a new study hold, by file name; they depend on no other file.

    The space comes with the package: `name` and `base` each have a line of their own.
    """
    source = load_yaml(space)
    base = existing_file(source.values["base"], key="base", source=source)
    text = f"# Begun as a copy of {space.stem}, stage1 {__version__}:\n"
    text += space.read_text(encoding="utf-8")
    for key, value in (("name", name), ("base", CONFIG_FILE)):
        line = yaml.safe_dump({key: value}).rstrip()  # in quotes where YAML would read a number
        text = re.sub(rf"^{key}: .*$", line, text, count=1, flags=re.MULTILINE)
    return {SPACE_FILE: text, CONFIG_FILE: _config_text(load_config(base), base.stem)}


def own_files_of_run(run: RunFolder, *, name: str) -> dict[str, str]:
    """The same from a study that has run.

    Raises:
        ResultsError: Folder or `space.yaml` is missing or broken.
        ConfigError: The configuration in it is not sound.
    """
    resolved = read_space(run)
    config = with_values(check_config(YamlSource(run.space, resolved.config)), resolved.data.values)
    renamed: dict[str, Any] = {"name": name, "base": CONFIG_FILE}
    written = resolved.model_dump(exclude_unset=True)
    copied = {
        key: written[key] for key in Space.model_fields if key in written and key not in renamed
    }
    copied["space"] = {  # without conditions that every trial meets
        key: {name: value for name, value in domain.items() if value != {}}
        for key, domain in copied["space"].items()
    }
    text = f"# Begun as a copy of {run.path}, stage1 {__version__}:\n"
    text += yaml.safe_dump(renamed | copied, sort_keys=False)
    return {SPACE_FILE: text, CONFIG_FILE: _config_text(config, str(run.path))}


def own_files_of_config(path: Path, *, name: str) -> tuple[dict[str, str], list[str]]:
    """The same from a configuration, the predecessor's or ours; and what to know about its keys.

    Its space is that of the default study around its values; a configuration without a language
    model has none.

    Raises:
        ConfigError: As `read_predecessor`.
    """
    read = read_predecessor(path)
    notes = [f"{plural(read.kept, 'key')} of {path} kept as they are."]
    for title, lines in (("In other words here", read.changed), ("No counterpart", read.left)):
        notes += [f"{title} ({plural(len(lines), 'key')}):", *lines] if lines else []
    texts = {CONFIG_FILE: _config_text(read.config, str(path))}
    if read.config.transfer_learning.use_pretrained_lm:
        values = _space_around(read.config) | {"name": name, "base": CONFIG_FILE}
        header = f"# Around {path}, arms and search of {DEFAULT}, stage1 {__version__}:\n"
        texts = {SPACE_FILE: header + yaml.safe_dump(values, sort_keys=False)} | texts
    return texts, notes


def _space_around(config: Config) -> dict[str, Any]:
    """The default study, with a configuration's own language model, horizon and rates."""
    values = load_yaml(shipped("search_spaces")[DEFAULT]).values
    rate, horizon = config.training.optimizer.lr, config.training.epochs
    space = values["space"]
    del space["transfer_learning.lm_name_or_path"]
    low, high = (float(f"{bound:.2g}") for bound in (rate / 3, rate * 3))
    space["training.optimizer.lr"] |= {"low": low, "high": high}
    space["transfer_learning.freeze_lm_epochs"]["high"] = min(3, horizon - 1)
    lengths = {*space["transfer_learning.patch_len"]["options"], config.transfer_learning.patch_len}
    fitting = [length for length in sorted(lengths) if config.data.seq_len % length == 0]
    space["transfer_learning.patch_len"]["options"] = fitting
    return values | {"horizon_epochs": horizon}


def _config_text(config: Config, source: str) -> str:
    return (
        f"# What the trials of {SPACE_FILE} begin with; its arms, parameters and horizon_epochs\n"
        "# are laid over it, and every trial has a seed of its own.\n"
        f"# Begun as a copy of {source}, stage1 {__version__}, with every key written out.\n"
        + commented_yaml(config)
    )


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


def _check_name(name: str, taken: list[str]) -> None:
    """Refuse what is no name of a study, and so all that leads out of this folder.

    Raises:
        ConfigError: Also for a name of the package's own, which `stage1 tune NAME` would take.
    """
    if not re.fullmatch(NAME_PATTERN, name) or len(name) > LONGEST_NAME:
        raise ConfigError(
            f"NAME must be letters, digits, _ and -, beginning with a letter or digit, at most "
            f"{LONGEST_NAME}, got {shown(name)}"
        )
    if name in taken:
        raise ConfigError(
            f"NAME must not be that of a search space that comes with stage1, got {name!r}; "
            f"give another, such as my_{name}"
        )


if __name__ == "__main__":
    run_command(new)
