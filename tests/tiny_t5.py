"""T5s of a few thousand parameters as `transformers` saves them, and changes to what was saved."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import T5Config, T5ForConditionalGeneration

from stage1.base.errors import ModelError
from stage1.language_models.t5_dimensions import checked_fields


def tiny_config(feed_forward: str = "gated-gelu", **changes: Any) -> T5Config:
    """Heads that do not add up to d_model, as in T5 1.1 small."""
    fields = encoder_fields(num_layers=2, feed_forward_proj=feed_forward)
    return T5Config(**fields | {"vocab_size": 11} | changes)


def encoder_fields(**changes: Any) -> dict[str, Any]:
    """The encoder's dimensions as `LanguageModel.config` has them, of three blocks."""
    fields = {"d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 3, "num_heads": 3}
    fields["feed_forward_proj"] = "gated-gelu"
    return checked_fields(fields | changes, Path("config.json"))


def tiny_t5(config: T5Config | None = None, *, kind: Any = T5ForConditionalGeneration) -> Any:
    """The same fresh weights every time."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return kind(config or tiny_config())


def save_model(
    folder: Path, model: Any = None, dtype: torch.dtype = torch.float32, **options: Any
) -> Path:
    """Save a model, the tiny one unless given, as `transformers` does."""
    with torch.random.fork_rng():
        (model or tiny_t5()).to(dtype).save_pretrained(folder, **options)
    return folder


def rewrite(folder: Path, change: Callable[[dict[str, Tensor]], object]) -> None:
    """Change the stored tensors; `change` edits the mapping in place."""
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")


def change_config(folder: Path, **changes: object) -> None:
    """Change what config.json states."""
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def cache_snapshot(
    cache: Path, repository: str, *, revision: str | None = "main", commit: str = "c" * 40
) -> Path:
    """An empty snapshot in a Hugging Face cache with its reference, as a download makes them."""
    storage = cache / f"models--{repository.replace('/', '--')}"
    snapshot = storage / "snapshots" / commit
    snapshot.mkdir(parents=True)
    if revision is not None:
        reference = storage / "refs" / revision
        reference.parent.mkdir(parents=True, exist_ok=True)
        reference.write_text(commit)
    return snapshot


def fault_of(function: Callable[..., object], *arguments: object) -> str:
    """The message of the `ModelError` that a call ends in: one line a terminal can take."""
    with pytest.raises(ModelError) as caught:
        function(*arguments)
    message = str(caught.value)
    assert message.isprintable()
    assert len(message) < 1500
    return message
