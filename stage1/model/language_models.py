"""One resolver for language models: a name -> encoder config, encoder weights and fingerprint."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from huggingface_hub import is_offline_mode, snapshot_download
from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]  # httpx's base class
from safetensors import SafetensorError, safe_open
from torch import Tensor

from stage1.errors import ModelError
from stage1.model.t5_dimensions import (
    CONFIG_FILE,
    encoder_shapes,
    find_folder,
    hub_reference,
    read_config,
    ways_to_get_a_model,
)

WEIGHTS_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
SHARDS = "model-*-of-*.safetensors"
_PREFIX = "encoder."
_TOKEN_TABLES = ("shared.weight", "encoder.embed_tokens.weight")
_FLOATS = (torch.float32, torch.float16, torch.bfloat16)


class LanguageModel(NamedTuple):
    """The encoder of a pretrained T5, without its token table."""

    name: str
    """As it was asked for."""
    config: dict[str, Any]
    """Fields of `transformers.T5Config`."""
    weights: dict[str, Tensor]
    """float32, keys as in `T5Stack.state_dict()`."""
    embedding_rms: float | None
    """Root mean square of the token table, the input scale the weights expect; None without."""
    sha256: str
    """Of the weights, see `weights_sha256`."""


def resolve(name: str) -> LanguageModel:
    """Find a language model and read its encoder.

    Args:
        name: A bundled name, a local folder, or a hub model, `owner/model` or
            `owner/model@revision`. A hub model in the cache is taken from there, so that every
            trial of a study sees the same weights; HF_HUB_OFFLINE is honoured.

    Raises:
        ModelError: The model is not to be had, or is not a whole T5 in safetensors.
    """
    folder = find_folder(name) or _hub_folder(name)
    config = read_config(folder)
    weights, table = _read_encoder(folder, set(encoder_shapes(config)))
    _check_names(folder, set(weights), set(encoder_shapes(config)))
    for key, shape in encoder_shapes(config).items():
        _check_tensor(f"{folder}: {_PREFIX}{key}", weights[key], shape)
    rms = None
    if table is not None:
        _check_tensor(f"{folder}: the token table", table, (*table.shape[:1], config["d_model"]))
        norm = torch.linalg.vector_norm(table, dtype=torch.float64)
        rms = float(norm) / table.numel() ** 0.5
    # copied, because what safetensors gives is a view of the file
    float32 = {key: weights[key].to(torch.float32, copy=True) for key in sorted(weights)}
    return LanguageModel(name, config, float32, rms, weights_sha256(float32))


def weights_sha256(weights: Mapping[str, Tensor]) -> str:
    """Fingerprint of named tensors: equal exactly where names, shapes and float32 values are.

    Returns:
        Hexadecimal SHA-256 over name, shape and float32 bytes, in the order of the names.
    """
    digest = hashlib.sha256()
    for name in sorted(weights):
        values = weights[name].detach().to("cpu", torch.float32).contiguous()
        digest.update(f"{name} {tuple(values.shape)}\n".encode())
        digest.update(values.numpy().data)
    return digest.hexdigest()


def _hub_folder(name: str) -> Path:
    """The cached snapshot of a hub model, downloaded where it is not whole: config and weights."""
    repository, revision = hub_reference(name)
    files = [CONFIG_FILE, WEIGHTS_FILE, INDEX_FILE, SHARDS]
    fetch = partial(snapshot_download, repository, revision=revision, allow_patterns=files)
    try:
        cached = Path(fetch(local_files_only=True))
        if (cached / CONFIG_FILE).exists() and _weight_files(cached):
            return cached
    except OSError:
        pass  # not in the cache, or not whole: ask the hub
    except ValueError as error:
        raise ModelError(f"{name}: must be a hub name, got {_first_line(error)}") from None
    try:
        folder = Path(fetch())
    except (OSError, HTTPError) as error:
        reason = "HF_HUB_OFFLINE is set" if is_offline_mode() else _first_line(error)
        raise ModelError(
            f"{name}: must be in the Hugging Face cache or on a hub within reach, got {reason}; "
            f"{ways_to_get_a_model()}"
        ) from None
    if not _weight_files(folder):
        raise ModelError(
            f"{name}: must have safetensors weights, none at revision {revision or 'main'}; older "
            f"models have them in a conversion request: try {repository}@refs/pr/1"
        )
    return folder


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"


def _weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a folder: one, or the shards of its index, or none."""
    if (folder / WEIGHTS_FILE).is_file():
        return [folder / WEIGHTS_FILE]
    index = folder / INDEX_FILE
    if not index.is_file():
        return []
    try:
        names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise ModelError(f"{index}: must map tensors to files, got {error!r}") from None
    for name in names:
        if Path(name).name != name or not (folder / name).is_file():
            raise ModelError(
                f"{index}: must name files in its folder, got {name!r}; fetch it again"
            )
    return [folder / name for name in sorted(names)]


def _read_encoder(folder: Path, wanted: set[str]) -> tuple[dict[str, Tensor], Tensor | None]:
    """The encoder's tensors as stored, and the token table where the folder has one.

    A tensor of the encoder that is not wanted is named, not read: its value is empty.
    """
    files = _weight_files(folder)
    if not files:
        raise ModelError(_no_weights(folder))
    weights: dict[str, Tensor] = {}
    tables: dict[str, Tensor] = {}
    for file in files:
        try:
            with safe_open(file, framework="pt") as stored:
                for key in stored.keys():  # noqa: SIM118  (not a dict)
                    short = key.removeprefix(_PREFIX)
                    if key in _TOKEN_TABLES:
                        tables[key] = stored.get_tensor(key)
                    elif key != short:
                        weights[short] = stored.get_tensor(key) if short in wanted else Tensor()
        except (SafetensorError, OSError) as error:
            raise ModelError(
                f"{file}: must be a whole safetensors file, got {error}; fetch it again"
            ) from None
    return weights, next((tables[key] for key in _TOKEN_TABLES if key in tables), None)


def _no_weights(folder: Path) -> str:
    if any(folder.glob("*.bin")):
        return (
            f"{folder}: must hold model.safetensors, got pickled weights, which are never read; "
            "convert them where you trust them, with transformers' save_pretrained"
        )
    return f"{folder}: must hold model.safetensors, got none; {ways_to_get_a_model()}"


def _check_names(folder: Path, found: set[str], wanted: set[str]) -> None:
    for names, what in ((wanted - found, "missing"), (found - wanted, "not in config.json's T5")):
        if names:
            raise ModelError(
                f"{folder}: must hold exactly the encoder of its config.json, got {len(names)} "
                f"tensors {what}, such as {_PREFIX}{min(names)}"
            )


def _check_tensor(what: str, tensor: Tensor, shape: tuple[int, ...]) -> None:
    if tuple(tensor.shape) != shape:
        raise ModelError(f"{what} must have shape {shape}, got {tuple(tensor.shape)}")
    if tensor.dtype not in _FLOATS:
        raise ModelError(f"{what} must be float32, float16 or bfloat16, got {tensor.dtype}")
    if not tensor.isfinite().all():
        raise ModelError(f"{what} must be finite, got NaN or infinity; fetch it again")
    if not tensor.any():
        raise ModelError(f"{what} must hold trained weights, got zeros only; fetch it again")
