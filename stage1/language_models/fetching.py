"""Fetches a language model for later, when there may be no network."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from huggingface_hub import is_offline_mode

from stage1.language_models.hub import cached_folder, download
from stage1.language_models.inventory import bytes_on_disk
from stage1.language_models.names import bundled_names, cached_snapshot, find_folder
from stage1.language_models.resolver import LanguageModel, model_folder, resolve
from stage1.language_models.whole_files import NotWholeError


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
