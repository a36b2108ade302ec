"""Models of the Hugging Face hub: where its cache has them, and downloads into it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, hf_hub_download, is_offline_mode, snapshot_download
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError
from huggingface_hub.utils.tqdm import tqdm

from stage1.base.errors import ModelError
from stage1.base.text import reason_of
from stage1.language_models.names import (
    CARD_FILE,
    CONFIG_FILE,
    WEIGHTS_FILE,
    cached_snapshot,
    hub_reference,
    ways_to_get_a_model,
)
from stage1.language_models.t5_dimensions import read_config
from stage1.language_models.weight_files import INDEX_FILE, find_weight_files

_SHARD = re.compile(r"model-\d+-of-\d+\.safetensors")


def cached_folder(name: str) -> Path | None:
    """The snapshot of a hub model in the cache, with config and all weights; None without.

    Raises:
        ModelError: Not a hub name, or its entry of the cache is broken.
    """
    snapshot = cached_snapshot(name)
    return snapshot if snapshot is not None and is_whole(snapshot) else None


def is_whole(snapshot: Path) -> bool:
    """Whether every file of the weights is there; an interrupted download leaves some out."""
    try:
        return bool(find_weight_files(snapshot))
    except ModelError:
        return False


def download(name: str, *, anew: bool = False) -> Path:
    """Download a hub model's config, safetensors and card into the cache.

    A connection that breaks is taken up where it broke as long as the call lasts; a second call
    leaves out the files that the first one finished, and begins the others anew. The config comes
    first, so that another architecture's weights never do.

    Args:
        name: `owner/model` or `owner/model@revision`.
        anew: Replace the files in the cache.

    Returns:
        The snapshot's folder.

    Raises:
        ModelError: The hub or the model is out of reach, or it is no T5 in safetensors.
    """
    repository, revision = hub_reference(name)
    with _faults_of_the_hub(name, revision), _progress_bars() as bar:
        info = HfApi().model_info(repository, revision=revision)
        files = wanted_files(file.rfilename for file in info.siblings or ())
        if not files:  # and no config is left in the cache, as if a download were unfinished
            raise ModelError(
                f"{name}: must have {CONFIG_FILE} and safetensors weights, got not both at "
                f"revision {revision or 'main'}; older models have the weights in a conversion "
                f"request: try {repository}@refs/pr/1"
            )
        options: Any = {"revision": revision, "force_download": anew, "tqdm_class": bar}
        read_config(Path(hf_hub_download(repository, CONFIG_FILE, **options)).parent)
        return Path(snapshot_download(repository, allow_patterns=files, **options))


def wanted_files(names: Iterable[str]) -> list[str]:
    """Which of a repository's files make the model: config, card and one set of safetensors.

    The weights are the single file where there is one, else the shards and their index. Empty
    without config or safetensors.
    """
    there = set(names)
    shards = sorted(filter(_SHARD.fullmatch, there))
    if CONFIG_FILE not in there:
        return []
    if WEIGHTS_FILE in there:
        weights = [WEIGHTS_FILE]
    elif INDEX_FILE in there and shards:
        weights = [INDEX_FILE, *shards]
    else:
        return []
    return [CONFIG_FILE, *({CARD_FILE} & there), *weights]


@contextmanager
def _faults_of_the_hub(name: str, revision: str | None) -> Iterator[None]:
    try:
        yield
    except ModelError:
        raise
    # What the library raises is nowhere listed: RuntimeError of hf_xet, TypeError and KeyError of
    # answers that no hub gives (a captive portal's), ImportError and ValueError of proxies.
    except Exception as error:
        raise ModelError(
            f"{name}: must be in the Hugging Face cache or on a hub within reach, got "
            f"{_reason(error, revision)}; {ways_to_get_a_model()}"
        ) from None


def _reason(error: Exception, revision: str | None) -> str:
    if is_offline_mode():
        return "HF_HUB_OFFLINE is set"
    match error:
        case GatedRepoError():
            return "a gated model: accept its terms on its page, then run `hf auth login`"
        case RepositoryNotFoundError():
            return "no such model there, or a private one"
        case RevisionNotFoundError():
            return f"no revision {revision} there"
    return reason_of(error)


@contextmanager
def _progress_bars() -> Iterator[type[tqdm]]:
    """huggingface_hub's bars, on a terminal alone, gone when the block ends.

    Left to themselves some write into files, and some stay open until the program ends.
    """
    opened: list[tqdm] = []

    class Bar(tqdm):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            options |= {"disable": None, "leave": False}
            super().__init__(*arguments, **options)  # type: ignore[no-untyped-call]
            opened.append(self)

    try:
        yield Bar
    finally:
        for bar in reversed(opened):  # or the cursor stays at the end of a line
            bar.close()
