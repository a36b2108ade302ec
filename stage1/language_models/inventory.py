"""Which language models there are: in the package, in the Hugging Face cache, known by name."""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Any, NamedTuple

from huggingface_hub import constants, is_offline_mode, metadata_load, scan_cache_dir
from huggingface_hub.errors import CacheNotFound
from yaml import YAMLError

from stage1.base.errors import ModelError
from stage1.base.text import LONGEST_VALUE, one_line, reason_of
from stage1.language_models.hub import cached_folder, download, is_whole
from stage1.language_models.names import (
    BUNDLED_FOLDER,
    CARD_FILE,
    NUMBERS_FILE,
    bundled_names,
    cached_snapshot,
    find_folder,
)
from stage1.language_models.resolver import LanguageModel, model_folder, resolve
from stage1.language_models.t5_dimensions import PUBLIC_CONFIGS, encoder_shapes, read_config
from stage1.language_models.weight_files import NotWholeError, read_json

# PyYAML lets Python's own errors out for odd tags, and for lists inside lists without end.
_YAML_FAULTS = (YAMLError, ValueError, LookupError, TypeError, AttributeError, RecursionError)


class Entry(NamedTuple):
    """One language model that can be named."""

    name: str
    where: str
    """`bundled`, `cached`, `in part` (a download that was not finished), or `hub`."""
    encoder_parameters: int
    """Without the token table."""
    bytes_on_disk: int | None
    """None where nothing is on disk."""
    licence: str


def inventory() -> tuple[list[Entry], list[str]]:
    """Every bundled and cached T5, and the public sizes that are not here; asks no network.

    Returns:
        The entries, and a line for each entry of the cache that cannot be read.
    """
    bundled = sorted(map(_bundled, bundled_names()), key=lambda entry: entry.encoder_parameters)
    cached, faults = _cached()
    here = {entry.name for entry in cached}
    public = [
        Entry(name, "hub", encoder_parameters(config), None, "on the hub")
        for name, config in PUBLIC_CONFIGS.items()
        if name not in here
    ]
    return [*bundled, *cached, *public], faults


def encoder_parameters(config: dict[str, Any]) -> int:
    """Number of the encoder's weights, the token table left out."""
    return sum(prod(shape) for shape in encoder_shapes(config).values())


def licence_of(folder: Path) -> str:
    """What a model's card states, in card.json or on top of README.md; else `not stated`."""
    stated = _stated(folder)
    if isinstance(stated, list):
        stated = ", ".join(licence for licence in stated if isinstance(licence, str))
    if not isinstance(stated, str) or not stated.strip():
        return "not stated"
    return one_line(stated)[:LONGEST_VALUE]


def bytes_on_disk(folder: Path) -> int:
    """Size of the files in a folder, those in folders below left out."""
    return sum(path.stat().st_size for path in folder.iterdir() if path.is_file())


def _stated(folder: Path) -> object:
    numbers, card = folder / NUMBERS_FILE, folder / CARD_FILE
    try:
        content = read_json(numbers) if numbers.is_file() else None
        if isinstance(content, dict) and "license" in content:
            return content["license"]
        return (metadata_load(card) or {}).get("license") if card.is_file() else None
    except (OSError, ModelError, *_YAML_FAULTS):
        return None  # a card that cannot be read states nothing


def _bundled(name: str) -> Entry:
    folder = BUNDLED_FOLDER / name
    parameters = encoder_parameters(read_config(folder))
    return Entry(name, "bundled", parameters, bytes_on_disk(folder), licence_of(folder))


def _cached() -> tuple[list[Entry], list[str]]:
    """The T5s in the Hugging Face cache, and a line about each that is broken."""
    try:
        scan = scan_cache_dir(constants.HF_HUB_CACHE)
    except CacheNotFound:
        return [], []
    except (OSError, ValueError) as error:
        return [], [reason_of(error)]
    entries, faults = [], [one_line(str(warning)) for warning in scan.warnings]
    models = [repository for repository in scan.repos if repository.repo_type == "model"]
    for repository, revision in ((model, one) for model in models for one in model.revisions):
        folder = revision.snapshot_path
        try:
            parameters = encoder_parameters(read_config(folder))
        except NotWholeError as error:
            faults.append(one_line(str(error)))
            continue
        except ModelError:
            continue  # another architecture, or not even a config
        name = repository.repo_id  # as `resolve` takes it
        if "main" not in revision.refs:
            name += f"@{min(revision.refs, default=revision.commit_hash)}"
        where = "cached" if is_whole(folder) else "in part"
        size, licence = revision.size_on_disk, licence_of(folder)
        entries.append(Entry(one_line(name), where, parameters, size, licence))
    return sorted(entries), sorted(faults)


class Fetched(NamedTuple):
    """A language model that is here and whole."""

    language_model: LanguageModel
    folder: Path
    where: str
    """How it comes to be here: `bundled`, `local`, `cached` before, or `downloaded` now."""
    bytes_on_disk: int


def fetch(name: str) -> Fetched:
    """Bring a language model here and check that it loads.

    A cached hub model is not asked for again, so that it stays what earlier trainings saw; one
    whose files are not whole is downloaded anew, unless HF_HUB_OFFLINE forbids it.

    Args:
        name: As `resolve` takes it.

    Raises:
        ModelError: The model is not to be had, or is not a whole T5 in safetensors.
    """
    where = _where(name)
    in_cache = where in ("cached", "downloaded") and cached_snapshot(name) is not None
    try:
        if where == "downloaded":
            download(name)
        language_model = resolve(name)
    except NotWholeError:
        if not in_cache or is_offline_mode():
            raise
        where = "downloaded"
        download(name, anew=True)
        language_model = resolve(name)
    folder = model_folder(name)
    return Fetched(language_model, folder, where, bytes_on_disk(folder))


def _where(name: str) -> str:
    if name in bundled_names():
        return "bundled"
    if find_folder(name) is not None:
        return "local"
    return "downloaded" if cached_folder(name) is None else "cached"
