"""What a T5 encoder looks like, by name; opens no weights and asks no network."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from huggingface_hub import try_to_load_from_cache

from stage1.errors import ModelError

BUNDLED_FOLDER = Path(__file__).parent.parent / "language_models"
CONFIG_FILE = "config.json"

_SIZES = ("d_model", "d_kv", "d_ff", "num_layers", "num_heads")
_DEFAULTS: dict[str, Any] = {
    "relative_attention_num_buckets": 32,
    "relative_attention_max_distance": 128,
    "layer_norm_epsilon": 1e-6,
    "feed_forward_proj": "relu",
}
"""What `transformers.T5Config` takes where a config.json is silent."""
FEED_FORWARDS = ("relu", "gated-gelu")
"""T5 1.0's and T5 1.1's."""

# Source of each row: config.json of the hub repository that it names,
# https://huggingface.co/<name>/blob/main/config.json, read in November 2026.
# d_model, d_kv, d_ff, num_layers, num_heads, feed_forward_proj
_PUBLIC: dict[str, tuple[int, int, int, int, int, str]] = {
    "google-t5/t5-small": (512, 64, 2048, 6, 8, "relu"),
    "google-t5/t5-base": (768, 64, 3072, 12, 12, "relu"),
    "google-t5/t5-large": (1024, 64, 4096, 24, 16, "relu"),
    "google-t5/t5-3b": (1024, 128, 16384, 24, 32, "relu"),
    "google/t5-v1_1-small": (512, 64, 1024, 8, 6, "gated-gelu"),
    "google/t5-v1_1-base": (768, 64, 2048, 12, 12, "gated-gelu"),
    "google/t5-v1_1-large": (1024, 64, 2816, 24, 16, "gated-gelu"),
    "google/flan-t5-small": (512, 64, 1024, 8, 6, "gated-gelu"),
    "google/flan-t5-base": (768, 64, 2048, 12, 12, "gated-gelu"),
    "google/flan-t5-large": (1024, 64, 2816, 24, 16, "gated-gelu"),
    "google/t5-efficient-tiny": (256, 64, 1024, 4, 4, "relu"),
    "google/t5-efficient-mini": (384, 64, 1536, 4, 8, "relu"),
}
PUBLIC_CONFIGS: dict[str, dict[str, Any]] = {
    name: {**_DEFAULTS, **dict(zip((*_SIZES, "feed_forward_proj"), row, strict=True))}
    for name, row in _PUBLIC.items()
}
"""Encoder configs of public T5 sizes, by hub name."""
_OLD_SPELLINGS = {f"t5-{size}": f"google-t5/t5-{size}" for size in ("small", "base", "large", "3b")}

_HUB_NAME = re.compile(r"(?P<repository>[\w.-]+/[\w.-]+)(@(?P<revision>[\w./-]+))?", re.ASCII)


def bundled_names() -> list[str]:
    """Names of the language models inside the package, sorted."""
    return sorted(path.parent.name for path in BUNDLED_FOLDER.glob(f"*/{CONFIG_FILE}"))


def ways_to_get_a_model() -> str:
    """The three ways to name a language model, as the end of an error message."""
    return (
        f"name a bundled model ({', '.join(bundled_names()) or 'none here'}), a local folder with "
        "config.json and model.safetensors, or a hub model such as google-t5/t5-small (with "
        "network, or already in the Hugging Face cache)"
    )


def find_folder(name: str) -> Path | None:
    """The folder of a bundled or local model; None where the name can only be a hub model's.

    Raises:
        ModelError: The name is a path, and no folder is there.
    """
    if name in bundled_names():
        return BUNDLED_FOLDER / name
    path = Path(name).expanduser()
    if name and path.is_dir():
        return path
    is_path = path.is_absolute() or name.startswith((".", "~")) or "\\" in name
    if is_path or path.exists():
        raise ModelError(f"{name}: must be a folder, none is there; {ways_to_get_a_model()}")
    return None


def hub_reference(name: str) -> tuple[str, str | None]:
    """Split a hub name, `owner/model` or `owner/model@revision`, and mend T5's old spellings.

    Returns:
        The repository and the branch, tag, commit or `refs/pr/N`; None for the main branch.

    Raises:
        ModelError: Not a hub name, or one that would walk out of the cache's folder.
    """
    match = _HUB_NAME.fullmatch(_OLD_SPELLINGS.get(name, name))
    if match is None or ".." in name:
        raise ModelError(f"lm_name_or_path must be a model, got {name!r}; {ways_to_get_a_model()}")
    return match["repository"], match["revision"]


def encoder_config(name: str) -> dict[str, Any]:
    """The encoder's dimensions, for counting parameters before there are weights.

    Args:
        name: A bundled name, a local folder, a public T5 size or a model in the Hugging Face cache.

    Returns:
        Fields of `transformers.T5Config`.

    Raises:
        ModelError: Nothing here knows the name, or its config.json is no T5's.
    """
    folder = find_folder(name)
    if folder is not None:
        return read_config(folder)
    repository, revision = hub_reference(name)
    if repository in PUBLIC_CONFIGS:
        return dict(PUBLIC_CONFIGS[repository])
    cached = try_to_load_from_cache(repository, CONFIG_FILE, revision=revision)
    if isinstance(cached, str):
        return read_config(Path(cached).parent)
    raise ModelError(
        f"{name}: must be in the cache or a known size ({', '.join(PUBLIC_CONFIGS)}) to be counted "
        "without weights; fetch it first"
    )


def read_config(folder: Path) -> dict[str, Any]:
    """Read and check the encoder's fields of a folder's config.json.

    Raises:
        ModelError: The file is missing, not JSON, not a T5's, or lacks a dimension.
    """
    path = folder / CONFIG_FILE
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(f"{folder}: must hold config.json; {ways_to_get_a_model()}") from None
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: must be a JSON file, got {error}; fetch it again") from None
    found = stored.get("model_type") if isinstance(stored, dict) else None
    if found != "t5":
        raise ModelError(f"{path}: model_type must be 't5', got {found!r}; choose a T5")
    return _checked_fields(stored, path)


def _checked_fields(stored: dict[str, Any], path: Path) -> dict[str, Any]:
    """The encoder's fields, completed by T5's defaults; a dimension out of range is an error."""
    fields = {key: stored.get(key) for key in _SIZES}
    fields |= {key: stored.get(key, default) for key, default in _DEFAULTS.items()}
    for key in (*_SIZES, "relative_attention_num_buckets", "relative_attention_max_distance"):
        value = fields[key]
        if type(value) is not int or value < 1:
            raise ModelError(f"{path}: {key} must be a positive integer, got {value!r}")
    if fields["feed_forward_proj"] not in FEED_FORWARDS:
        raise ModelError(
            f"{path}: feed_forward_proj must be one of {', '.join(FEED_FORWARDS)}, "
            f"got {fields['feed_forward_proj']!r}"
        )
    return fields


def encoder_shapes(config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """Name and shape of every weight of the encoder, the token table left out.

    Args:
        config: As `encoder_config` gives it.

    Returns:
        Keys as in `transformers`' `T5Stack.state_dict()`.
    """
    width, inner, hidden = config["d_model"], config["num_heads"] * config["d_kv"], config["d_ff"]
    gated = config["feed_forward_proj"].startswith("gated")
    block = {f"layer.0.SelfAttention.{letter}.weight": (inner, width) for letter in "qkv"}
    block["layer.0.SelfAttention.o.weight"] = (width, inner)
    for projection in ("wi_0", "wi_1") if gated else ("wi",):
        block[f"layer.1.DenseReluDense.{projection}.weight"] = (hidden, width)
    block["layer.1.DenseReluDense.wo.weight"] = (width, hidden)
    shapes: dict[str, tuple[int, ...]] = {
        f"block.{index}.{key}": shape
        for index in range(config["num_layers"])
        for key, shape in block.items()
    }
    for index in range(config["num_layers"]):
        shapes[f"block.{index}.layer.0.layer_norm.weight"] = (width,)
        shapes[f"block.{index}.layer.1.layer_norm.weight"] = (width,)
    shapes["final_layer_norm.weight"] = (width,)
    shapes["block.0.layer.0.SelfAttention.relative_attention_bias.weight"] = (
        config["relative_attention_num_buckets"],
        config["num_heads"],
    )
    return shapes
