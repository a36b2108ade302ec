"""The weight files of a model: which there are, and their tensors, checked as they are read.

Also JSON files from anywhere, and the error for a file that a download left incomplete.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError, safe_open
from torch import Tensor

from stage1.base.errors import ModelError
from stage1.base.text import one_line, reason_of, shown
from stage1.language_models.names import WEIGHTS_FILE, ways_to_get_a_model


class NotWholeError(ModelError):
    """A file is broken or missing beside others that are here; fetched again it may be whole."""


def read_json(path: Path) -> object:
    """The content of a JSON file from anywhere.

    Raises:
        NotWholeError: The file cannot be read, or is not JSON that Python can take.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise NotWholeError(
            f"{path}: must be a JSON file, got {reason_of(error)}; fetch it again or mend it"
        ) from None


INDEX_FILE = "model.safetensors.index.json"
_log = logging.getLogger(__name__)
_OTHER_FORMATS = ("pytorch_model*.bin", "model.pt", "tf_model.h5", "flax_model.msgpack")
_FLOATS = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}
"""Formats that are read, as the file's header names them and as people do."""


_WRAPPERS = ("module", "_orig_mod")
"""What DistributedDataParallel and torch.compile put into the names of a model's tensors."""


class StoredTensor(NamedTuple):
    """A tensor in a file, as the file's header describes it."""

    file: Path
    name: str
    """In the file."""
    shape: tuple[int, ...]
    format: str
    """safetensors' name of the numbers' format, such as F16."""

    @property
    def parameters(self) -> int:
        """Number of values."""
        return prod(self.shape)


def find_weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a folder: one, or the shards of its index, or none.

    Raises:
        ModelError: The index is unreadable, or names a file that is not in its folder.
    """
    if (folder / WEIGHTS_FILE).is_file():
        return [folder / WEIGHTS_FILE]
    index = folder / INDEX_FILE
    if not index.is_file():
        return []
    content = read_json(index)
    weight_map = content.get("weight_map") if isinstance(content, dict) else content
    if not isinstance(weight_map, dict) or not weight_map:
        raise NotWholeError(
            f"{index}: weight_map must map tensors to files, got {shown(weight_map)}; "
            "fetch it again or mend it"
        )
    for name in weight_map.values():
        # os.path.isfile: a name that no file can have is an error for Path.is_file
        if Path(str(name)).name != name or not os.path.isfile(folder / name):
            raise NotWholeError(
                f"{index}: must name files in its folder, got {shown(name)}; fetch it again"
            )
    return sorted({folder / name for name in weight_map.values()})


def stored_tensors(folder: Path) -> dict[str, StoredTensor]:
    """Every tensor of a folder's weights by name; reads the files' headers alone.

    Names are without what a wrapper of the model has put into them, which a line of the log says.

    Raises:
        ModelError: There are no weights, pickled ones alone, or a file is not whole.
    """
    files = find_weight_files(folder)
    if not files:
        raise ModelError(_no_weights(folder))
    stored: dict[str, StoredTensor] = {}
    for file in files:
        with _opened(file) as content:
            for key in content.keys():  # noqa: SIM118  (not a dict)
                name = ".".join(part for part in key.split(".") if part not in _WRAPPERS)
                if name in stored:
                    raise ModelError(
                        f"{file}: must hold tensors of its own, got {shown(key)} once more; "
                        "remove the file that is none of its index"
                    )
                part = content.get_slice(key)
                shape, number_format = tuple(part.get_shape()), part.get_dtype()
                stored[name] = StoredTensor(file, key, shape, number_format)
    wrapped = sum(tensor.name != name for name, tensor in stored.items())
    if wrapped:
        wrappers = " and ".join(f"{wrapper!r}" for wrapper in _WRAPPERS)
        _log.info(f"{folder}: the names of {wrapped} tensors are taken without {wrappers} in them")
    return stored


def read_tensors(
    stored: Mapping[str, StoredTensor], names: Iterable[str]
) -> Iterator[tuple[str, Tensor]]:
    """Read some of the `stored_tensors` by name, one at a time.

    Yields:
        Name and values, a view of the file in its format.

    Raises:
        ModelError: A tensor is not of float32, float16 or bfloat16, not finite, or all zeros.
    """
    by_file: dict[Path, list[str]] = {}
    for name in names:
        by_file.setdefault(stored[name].file, []).append(name)
    for file in sorted(by_file):
        with _opened(file) as content:
            for name in by_file[file]:
                what = f"{file.parent}: {shown(name)}"
                if stored[name].format not in _FLOATS:
                    raise ModelError(
                        f"{what} must be {', '.join(_FLOATS.values())}, got "
                        f"{stored[name].format}; choose a model in one of these"
                    )
                values = content.get_tensor(stored[name].name)
                if not values.isfinite().all():
                    raise NotWholeError(
                        f"{what} must be finite, got NaN or infinity; fetch it again"
                    )
                if not values.any():
                    wrong = "must hold trained weights, got zeros only"
                    raise NotWholeError(f"{what} {wrong}; fetch it again")
                yield name, values


@contextmanager
def _opened(file: Path) -> Iterator[Any]:
    if not os.access(file, os.R_OK):  # safetensors would say that there is no such file
        raise ModelError(
            f"{one_line(str(file))}: must be readable, got no permission; change its mode or owner"
        )
    try:
        with safe_open(file, framework="pt") as content:
            yield content
    except (SafetensorError, OSError) as error:
        raise NotWholeError(
            f"{one_line(str(file))}: must be a whole safetensors file, got {reason_of(error)}; "
            "fetch it again"
        ) from None


def _no_weights(folder: Path) -> str:
    others = [path.name for pattern in _OTHER_FORMATS for path in sorted(folder.glob(pattern))]
    if others:
        return (
            f"{folder}: must hold {WEIGHTS_FILE}, got {one_line(others[0])}, which is never read; "
            "convert it where you trust it, with transformers' save_pretrained"
        )
    return f"{folder}: must hold {WEIGHTS_FILE}, got none; {ways_to_get_a_model()}"
