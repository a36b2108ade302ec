"""Which tensor of a T5's weight files belongs to which part of it, by name alone."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from math import prod
from typing import Any

from stage1.base.text import shown
from stage1.language_models.t5_dimensions import RELATIVE_BIAS, encoder_shapes

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
    """The encoder's tensors, the token table left out.

    Args:
        names: All tensors of a model: a T5, the encoder of one, or a bare `T5Stack`.

    Returns:
        Names as in `T5Stack.state_dict()` to names as given.
    """
    given = [name for name in names if name not in TOKEN_TABLES]
    prefixed = {name.removeprefix(ENCODER): name for name in given if name.startswith(ENCODER)}
    return prefixed or {name: name for name in given if name.startswith(_STACK)}


def listed(names: Collection[str], what: str) -> str:
    """How many tensors there are, and the first three names, for an error message.

    Args:
        names: From a file, so they may be anything.
        what: Follows the number of tensors.
    """
    first = ", ".join(map(shown, sorted(names)[:3]))
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{len(names)} tensor{'s' * (len(names) != 1)} {what}: {first}{more}"


def block_of(name: str, blocks: int) -> int:
    """Index of the block a weight belongs to; the final norm goes with the last.

    Args:
        name: As in `T5Stack.state_dict()`.
        blocks: Of the encoder.
    """
    return int(name.split(".")[1]) if name.startswith("block.") else blocks - 1


def parameters_by_part(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, int]:
    """Sum up what is not the encoder's.

    Args:
        shapes: By full name.

    Returns:
        Number of values by part, those of `PARTS` that are there, in that order.
    """
    sums = dict.fromkeys(PARTS, 0)
    for name, shape in shapes.items():
        sums[_part_of(name)] += prod(shape)
    return {part: number for part, number in sums.items() if number}


def _part_of(name: str) -> str:
    table, decoder, output, other = PARTS
    if name in TOKEN_TABLES or name == _DECODERS_TABLE:
        return table
    if name.startswith("decoder."):
        return decoder
    return output if name == _OUTPUT else other


def expected_beside_the_encoder(
    found: Mapping[str, tuple[int, ...]], config: dict[str, Any], *, decoder_blocks: int
) -> tuple[set[str], set[str]]:
    """Compare what is not the encoder with the rest of a T5 of the same config.

    Args:
        found: Shapes of all tensors that are not the encoder's, by full name.
        config: As `encoder_config` gives it.
        decoder_blocks: Of a whole T5 of this config.

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
        for name, shape in found.items()
        if shapes.get(name) != shape and not (len(shape) == 2 and tables.get(name) == shape[1])
    }
    missing = decoder.keys() - found.keys() if decoder.keys() & found.keys() else set()
    return set(missing), unexpected


def decoder_shapes(config: dict[str, Any], *, blocks: int) -> dict[str, tuple[int, ...]]:
    """Name and shape of every weight of a T5's decoder, the token table left out.

    A block is the encoder's with attention to the encoder in the middle.

    Args:
        config: As `encoder_config` gives it.
        blocks: Of the decoder, > 0.

    Returns:
        Keys as in `T5ForConditionalGeneration.state_dict()`.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    for key, shape in encoder_shapes({**config, "num_layers": blocks}).items():
        if "layer.0." in key and RELATIVE_BIAS not in key:
            cross = key.replace("layer.0.", "layer.1.").replace("SelfAttention", "EncDecAttention")
            shapes[f"decoder.{cross}"] = shape
        shapes["decoder." + key.replace("layer.1.", "layer.2.")] = shape
    return shapes
