"""One resolver for language models: a name -> encoder config, encoder weights and fingerprint."""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from stage1.base.errors import ModelError
from stage1.base.text import shown
from stage1.config import Initialization
from stage1.language_models.hub import cached_folder, download
from stage1.language_models.ladder import KEPT
from stage1.language_models.names import find_folder
from stage1.language_models.t5_dimensions import (
    ENCODER,
    TOKEN_TABLES,
    block_of,
    encoder_names,
    encoder_shapes,
    listed,
    parameters_by_part,
    read_config,
)
from stage1.language_models.weight_files import StoredTensor, read_tensors, stored_tensors

_log = logging.getLogger(__name__)
FEWEST_TOKENS = 8
"""Of a table that tells how large a model's inputs are. A smaller one holds special tokens alone,
as Chronos-Bolt's two do, whose inputs are patches."""


class LanguageModel(NamedTuple):
    """The encoder of a pretrained T5, without its token table."""

    name: str
    """As it was asked for."""
    config: dict[str, Any]
    """Fields of `transformers.T5Config`."""
    weights: Mapping[str, Tensor]
    """float32, keys as in `T5Stack.state_dict()`."""
    embedding_rms: float | None
    """Root mean square of the token table, the input scale the weights expect; None without one of
    at least `FEWEST_TOKENS` rows."""
    sha256: str
    """Of the weights, see `weights_sha256`."""
    dropped: int
    """Parameters in the files that are not the encoder's: token table, decoder, output layer."""


def resolve(
    name: str,
    *,
    initialization: Initialization = "pretrained",
    n_pretrained_blocks: int | None = None,
) -> LanguageModel:
    """Find a language model and read its encoder; logs in one line what is used of it.

    Args:
        name: A bundled name, a local folder, or a hub model, `owner/model` or
            `owner/model@revision`. A hub model in the cache is taken from there, so that every
            trial of a study sees the same weights; HF_HUB_OFFLINE is honoured.
        initialization: What will be made of the weights, for the line of the log alone.
        n_pretrained_blocks: How many blocks will be taken, for the line of the log alone, in
            [1, blocks]; None for all.

    Raises:
        ModelError: The model is not to be had, or is not a whole T5 in safetensors.
    """
    language_model, others = read_encoder(model_folder(name), name)
    taken = 0 if initialization == "random" else n_pretrained_blocks
    parts = parameters_by_part({key: tensor.shape for key, tensor in others.items()})
    _log.info(_loading_line(language_model, list(parts), taken, initialization))
    return language_model


def read_encoder(folder: Path, name: str) -> tuple[LanguageModel, dict[str, StoredTensor]]:
    """Read and check a folder's encoder, without a line in the log; `name` is what was asked for.

    Returns:
        The language model, and the tensors that are not of its encoder.

    Raises:
        ModelError: The folder does not hold a whole T5 in safetensors.
    """
    config = read_config(folder)
    stored = stored_tensors(folder)
    names = encoder_names(stored)
    _check_encoder(folder, stored, names, config)
    read = {
        key: values.to(torch.float32, copy=True)  # what safetensors gives is a view of the file
        for key, values in read_tensors(stored, names.values())
    }
    weights = {short: read[names[short]] for short in sorted(names)}
    others = {key: stored[key] for key in stored if key not in read}
    rms = _embedding_rms(folder, others, config["d_model"])
    fingerprint = weights_sha256(weights)
    dropped = sum(tensor.parameters for tensor in others.values())
    return LanguageModel(name, config, weights, rms, fingerprint, dropped), others


def model_folder(name: str) -> Path:
    """The folder of a language model; of a hub model its snapshot, downloaded unless it is whole.

    Raises:
        ModelError: The model is not to be had.
    """
    return find_folder(name) or cached_folder(name) or download(name)


def weights_sha256(weights: Mapping[str, Tensor]) -> str:
    """Hexadecimal SHA-256 over name, shape and float32 bytes, in the order of the names."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        values = weights[name].detach().to("cpu", torch.float32).contiguous()
        digest.update(f"{name} {tuple(values.shape)}\n".encode())
        digest.update(values.numpy().data)
    return digest.hexdigest()


def _check_encoder(
    folder: Path,
    stored: Mapping[str, StoredTensor],
    names: Mapping[str, str],
    config: dict[str, Any],
) -> None:
    if not names:
        raise ModelError(
            f"{folder}: must hold a T5's encoder, got no tensor that begins with {ENCODER}; "
            "choose a T5"
        )
    prefix = next(full.removesuffix(short) for short, full in names.items())
    wanted = {prefix + short: shape for short, shape in encoder_shapes(config).items()}
    stored_names = set(names.values())
    for wrong, what in (
        (wanted.keys() - stored_names, "missing"),
        (stored_names - wanted.keys(), "that config.json's T5 has not"),
    ):
        if wrong:
            raise ModelError(
                f"{folder}: must hold exactly the encoder of its config.json, got "
                f"{listed(wrong, what)}; choose a whole T5"
            )
    for name, shape in wanted.items():
        _check_shape(folder, name, stored[name], shape)


def _check_shape(folder: Path, name: str, tensor: StoredTensor, shape: tuple[int, ...]) -> None:
    if tensor.shape != shape:
        raise ModelError(
            f"{folder}: {shown(name)} must have shape {shape}, got {shown(tensor.shape)}; choose "
            "a T5 whose config.json fits its weights"
        )


def _embedding_rms(folder: Path, stored: Mapping[str, StoredTensor], width: int) -> float | None:
    key = next((table for table in TOKEN_TABLES if table in stored), None)
    if key is None:
        return None
    rows = stored[key].shape[:1]
    _check_shape(folder, key, stored[key], (*rows, width))
    if rows < (FEWEST_TOKENS,):
        return None
    ((_, table),) = read_tensors(stored, [key])
    norm = float(torch.linalg.vector_norm(table, dtype=torch.float64))
    return norm / math.sqrt(table.numel())


def _loading_line(
    language_model: LanguageModel,
    parts: list[str],
    blocks_taken: int | None,
    initialization: Initialization,
) -> str:
    """What was taken and what was not; tensors that are not used count as dropped."""
    blocks = int(language_model.config["num_layers"])
    taken = blocks if blocks_taken is None else min(blocks_taken, blocks)
    sizes = {key: tensor.numel() for key, tensor in language_model.weights.items()}
    kept = [key for key in sizes if initialization not in KEPT or KEPT[initialization](key)]
    used = sum(sizes[key] for key in kept if block_of(key, blocks) < taken)
    dropped = language_model.dropped + sum(sizes.values()) - used
    others = ["other blocks"] if taken < blocks else []
    others += ["other tensors"] if initialization in KEPT else []
    what = ", ".join([*parts, *others])
    done = "pretrained" if initialization == "random" else initialization
    return (
        f"{language_model.name}: sha256 {language_model.sha256[:12]}, {used:,} parameters kept, "
        f"{dropped:,} dropped{what and f' ({what})'}, {taken} of {blocks} blocks {done}"
    )
