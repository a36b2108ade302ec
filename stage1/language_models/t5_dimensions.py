"""What a T5 consists of: its dimensions, and the names and shapes of its weights.

Opens no weights and asks no network.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Mapping
from math import prod
from pathlib import Path
from typing import Any

from stage1.base.errors import ModelError
from stage1.base.text import shown
from stage1.language_models.names import (
    CONFIG_FILE,
    cached_snapshot,
    find_folder,
    hub_reference,
    ways_to_get_a_model,
)
from stage1.language_models.weight_files import read_json

RELATIVE_BIAS = "relative_attention_bias"
"""In the name of the encoder's one table of biases; it belongs to the first block."""
_SIZES = ("d_model", "d_kv", "d_ff", "num_layers", "num_heads")
_MOST = dict.fromkeys(_SIZES, 2**20) | {"num_layers": 1000}
"""Far beyond every T5; without them a config.json could ask for a list of any length."""
_BUCKETS, _DISTANCE = "relative_attention_num_buckets", "relative_attention_max_distance"
_DEFAULTS: dict[str, Any] = {
    _BUCKETS: 32,
    _DISTANCE: 128,
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
    repository, _ = hub_reference(name)
    if repository in PUBLIC_CONFIGS:
        return dict(PUBLIC_CONFIGS[repository])
    snapshot = cached_snapshot(name)
    if snapshot is not None:
        return read_config(snapshot)
    raise ModelError(
        f"{name}: must be in the cache or a known size ({', '.join(PUBLIC_CONFIGS)}) to be counted "
        "without weights; fetch it first"
    )


def read_config(folder: Path) -> dict[str, Any]:
    """Read and check the encoder's fields of a folder's config.json.

    Raises:
        ModelError: The file is missing, not JSON, not a T5's, or a field is out of range.
    """
    path = folder / CONFIG_FILE
    return checked_fields(_stored_fields(path), path)


def checked_fields(stored: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """The encoder's fields among those that a file holds, whatever they are.

    Raises:
        ModelError: A field is missing or out of range.
    """
    fields = {**_DEFAULTS, **stored}
    buckets = _integer(fields, _BUCKETS, path, least=4)  # both directions, near and far
    # The nearest distances have a bucket each, a quarter of all; the rest shares those beyond.
    distance = _integer(fields, _DISTANCE, path, least=buckets // 4 + 1)
    epsilon, feed_forward = fields["layer_norm_epsilon"], fields["feed_forward_proj"]
    if type(epsilon) not in (int, float) or not 0 < epsilon <= sys.float_info.max:
        raise ModelError(
            f"{path}: layer_norm_epsilon must be a finite number > 0, got {shown(epsilon)}; "
            "choose a T5"
        )
    if feed_forward not in FEED_FORWARDS:
        raise ModelError(
            f"{path}: feed_forward_proj must be one of {', '.join(FEED_FORWARDS)}, "
            f"got {shown(feed_forward)}; choose a T5"
        )
    return {
        **{key: _integer(fields, key, path, most=_MOST[key]) for key in _SIZES},
        _BUCKETS: buckets,
        _DISTANCE: distance,
        "layer_norm_epsilon": float(epsilon),  # `transformers` refuses an integer
        "feed_forward_proj": feed_forward,
    }


def decoder_blocks(folder: Path) -> int:
    """Blocks of the whole T5's decoder: as many as the encoder has where config.json is silent.

    Raises:
        ModelError: As `read_config`, or there is no such number.
    """
    path = folder / CONFIG_FILE
    stored = _stored_fields(path)
    key = "num_layers" if stored.get("num_decoder_layers") is None else "num_decoder_layers"
    return _integer(stored, key, path, most=_MOST["num_layers"])


def _stored_fields(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise ModelError(f"{path.parent}: must hold {path.name}; {ways_to_get_a_model()}")
    stored = read_json(path)
    model_type = stored.get("model_type") if isinstance(stored, dict) else None
    if not isinstance(stored, dict) or model_type != "t5":
        raise ModelError(f"{path}: model_type must be 't5', got {shown(model_type)}; choose a T5")
    return stored


def _integer(
    fields: Mapping[str, Any], key: str, path: Path, *, least: int = 1, most: int = 2**20
) -> int:
    value = fields.get(key)
    if type(value) is not int or not least <= value <= most:
        raise ModelError(
            f"{path}: {key} must be an integer in [{least}, {most}], got {shown(value)}; "
            "choose a T5"
        )
    return value


def encoder_shapes(config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """Name, as in `T5Stack.state_dict()`, and shape of every weight but the token table."""
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
    shapes[f"block.0.layer.0.SelfAttention.{RELATIVE_BIAS}.weight"] = (
        config["relative_attention_num_buckets"],
        config["num_heads"],
    )
    return shapes


ENCODER = "encoder."
PARTS = ("token table", "decoder", "output layer", "other tensors")
"""What a T5's files hold beside the encoder, for people."""
TOKEN_TABLES = ("shared.weight", "encoder.embed_tokens.weight", "embed_tokens.weight")
"""Names of the encoder's token table: of a whole T5, an encoder, and a bare `T5Stack`."""
_STACK = ("block.", "final_layer_norm.")
"""How the names in a bare `T5Stack` begin."""
_DECODERS_TABLE = "decoder.embed_tokens.weight"
_OUTPUT = "lm_head.weight"
_UNUSED = f"decoder.block.0.layer.1.EncDecAttention.{RELATIVE_BIAS}.weight"
"""In T5 1.0's first files; nothing ever read it."""


def encoder_names(names: Iterable[str]) -> dict[str, str]:
    """The encoder's tensors, the token table left out: names of `T5Stack.state_dict()` to those.

    `names` are all of a model: a T5, the encoder of one, or a bare `T5Stack`.
    """
    without_tables = [name for name in names if name not in TOKEN_TABLES]
    prefixed = {
        name.removeprefix(ENCODER): name for name in without_tables if name.startswith(ENCODER)
    }
    return prefixed or {name: name for name in without_tables if name.startswith(_STACK)}


def listed(names: Collection[str], what: str) -> str:
    """How many tensors there are, what of them, and three names, for an error message."""
    first = ", ".join(map(shown, sorted(names)[:3]))
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{len(names)} tensor{'s' * (len(names) != 1)} {what}: {first}{more}"


def block_of(name: str, blocks: int) -> int:
    """Index of the block that a weight belongs to; the final norm goes with the last."""
    return int(name.split(".")[1]) if name.startswith("block.") else blocks - 1


def parameters_by_part(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, int]:
    """Number of values of the parts that are there, by `PARTS`, from the shapes of all others."""
    table, decoder, output, other = PARTS
    sums = dict.fromkeys(PARTS, 0)
    for name, shape in shapes.items():
        if name in TOKEN_TABLES or name == _DECODERS_TABLE:
            part = table
        elif name.startswith("decoder."):
            part = decoder
        else:
            part = output if name == _OUTPUT else other
        sums[part] += prod(shape)
    return {part: number for part, number in sums.items() if number}


def missing_and_unexpected(
    others: Mapping[str, tuple[int, ...]], config: dict[str, Any], *, decoder_blocks: int
) -> tuple[set[str], set[str]]:
    """Compare the shapes of what is not the encoder with the rest of a T5 of the same config.

    Returns:
        Names missing of a decoder that is there in part, and names (or shapes) that no T5 of this
        config has. A model without a decoder lacks nothing.
    """
    decoder = decoder_shapes(config, blocks=decoder_blocks)
    tables = {name: config["d_model"] for name in (*TOKEN_TABLES, _DECODERS_TABLE, _OUTPUT)}
    bias = decoder[f"decoder.block.0.layer.0.SelfAttention.{RELATIVE_BIAS}.weight"]
    shapes = {**decoder, _UNUSED: bias}
    unexpected = {
        name
        for name, shape in others.items()
        if shapes.get(name) != shape and not (len(shape) == 2 and tables.get(name) == shape[1])
    }
    missing = decoder.keys() - others.keys() if decoder.keys() & others.keys() else set()
    return set(missing), unexpected


def decoder_shapes(config: dict[str, Any], *, blocks: int) -> dict[str, tuple[int, ...]]:
    """Name and shape of every weight of a T5's decoder, the token table left out.

    A block is the encoder's with attention to the encoder in the middle. Keys are as in
    `T5ForConditionalGeneration.state_dict()`.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    for key, shape in encoder_shapes({**config, "num_layers": blocks}).items():
        if "layer.0." in key and RELATIVE_BIAS not in key:
            cross = key.replace("layer.0.", "layer.1.").replace("SelfAttention", "EncDecAttention")
            shapes[f"decoder.{cross}"] = shape
        shapes["decoder." + key.replace("layer.1.", "layer.2.")] = shape
    return shapes
