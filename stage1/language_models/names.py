"""Names of language models: which are bundled, which are folders, which the hub's cache has."""

from __future__ import annotations

import os
import re
from pathlib import Path
from stat import S_ISDIR

from huggingface_hub import constants, try_to_load_from_cache
from huggingface_hub.errors import HFValidationError

from stage1.base.errors import ModelError
from stage1.base.text import LONGEST_VALUE, did_you_mean, reason_of, shown

BUNDLED_FOLDER = Path(__file__).parent / "bundled"
CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
CARD_FILE = "README.md"
NUMBERS_FILE = "card.json"
"""What the card says, for programs: of models that `stage1.pretrain` made."""

_OTHER_WAYS = (
    "a local folder with config.json and model.safetensors, or a hub model such as "
    "google-t5/t5-small (with network, or already in the Hugging Face cache)"
)
_OLD_SPELLINGS = {f"t5-{size}": f"google-t5/t5-{size}" for size in ("small", "base", "large", "3b")}
# The hub library joins a revision onto a folder of its cache, where no part of it may lead out.
_HUB_NAME = re.compile(
    r"(?P<repository>[\w.-]+/[\w.-]+)(@(?P<revision>[\w-][\w.-]*(/[\w-][\w.-]*)*))?", re.ASCII
)


def bundled_names() -> list[str]:
    """Names of the language models inside the package, sorted."""
    return sorted(path.parent.name for path in BUNDLED_FOLDER.glob(f"*/{CONFIG_FILE}"))


def ways_to_get_a_model() -> str:
    """The three ways to name a language model, as the end of an error message."""
    return f"name a bundled model ({', '.join(bundled_names()) or 'none here'}), {_OTHER_WAYS}"


def find_folder(name: str) -> Path | None:
    """The folder of a bundled or local model; None where the name can only be a hub model's.

    Raises:
        ModelError: The name is a path, and no folder is there or none that may be opened.
    """
    if name in bundled_names():
        return BUNDLED_FOLDER / name
    if not name:
        return None
    is_path = os.path.isabs(name) or name.startswith((".", "~")) or "\\" in name
    try:
        path = Path(name).expanduser()
        if S_ISDIR(path.stat().st_mode):
            return path
        is_path = True
    except (FileNotFoundError, NotADirectoryError, ValueError):
        pass  # nothing is there; ValueError: nothing can be, a null byte is in it
    except (OSError, RuntimeError) as error:
        raise ModelError(
            f"{_printable(name)}: must be a folder that can be opened, got {reason_of(error)}; "
            f"{ways_to_get_a_model()}"
        ) from None
    if is_path:
        raise ModelError(
            f"{_printable(name)}: must be a folder, none is there; {ways_to_get_a_model()}"
        )
    return None


def hub_reference(name: str) -> tuple[str, str | None]:
    """Split a hub name, `owner/model` or `owner/model@revision`, and mend T5's old spellings.

    Returns:
        The repository and the branch, tag, commit or `refs/pr/N`; None for the main branch.

    Raises:
        ModelError: Not a hub name, or one that would walk out of the cache's folder.
    """
    match = _HUB_NAME.fullmatch(_OLD_SPELLINGS.get(name, name))
    if match is None or ".." in name or len(name) > LONGEST_VALUE:
        raise ModelError(
            f"{_printable(name)}: must be a model's name{did_you_mean(name, bundled_names())}; "
            f"name a bundled model, {_OTHER_WAYS}"
        )
    return match["repository"], match["revision"]


def cached_snapshot(name: str) -> Path | None:
    """The snapshot of a hub model in the cache, its weights there or not; None without a config.

    Raises:
        ModelError: Not a hub name, or its entry of the cache is broken.
    """
    repository, revision = hub_reference(name)
    try:
        config = try_to_load_from_cache(repository, CONFIG_FILE, revision=revision)
    except HFValidationError as error:
        raise ModelError(
            f"{name}: must be a hub model's name, got {reason_of(error)}; {ways_to_get_a_model()}"
        ) from None
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{name}: must be readable in the Hugging Face cache, {constants.HF_HUB_CACHE}, got "
            f"{reason_of(error)}; remove its folder there and fetch it again"
        ) from None
    return Path(config).parent if isinstance(config, str) else None


def _printable(name: str) -> str:
    """What the user typed, fit to begin a message: visible, of one line, and not too long."""
    return name[:LONGEST_VALUE] if name and name.isprintable() else shown(name)
