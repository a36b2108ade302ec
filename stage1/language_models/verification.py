"""Goes through everything in a language model's folder, and says what it found."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from stage1.errors import ModelError
from stage1.faults import shown
from stage1.files import sha256_of_file
from stage1.language_models.evidence import DRAWS, MARGIN, BlockEvidence, Evidence, gather_evidence
from stage1.language_models.inventory import encoder_parameters
from stage1.language_models.names import NUMBERS_FILE
from stage1.language_models.resolver import LanguageModel, model_folder, read_encoder
from stage1.language_models.t5_dimensions import decoder_blocks
from stage1.language_models.t5_tensors import (
    expected_beside_the_encoder,
    listed,
    parameters_by_part,
)
from stage1.language_models.weight_files import find_weight_files, read_tensors
from stage1.language_models.whole_files import read_json

_FINGERPRINT = "weights_sha256"


class Verification(NamedTuple):
    """A language model that is whole, and what its weights tell."""

    folder: Path
    language_model: LanguageModel
    tensors: int
    """In the files, the encoder's and others'."""
    dropped: dict[str, int]
    """Parameters that are not the encoder's, by part."""
    sha256: dict[str, str]
    """Of each file of weights, by its name."""
    agrees_with_card: bool
    """Whether card.json has the same sha256; False where no card.json says any."""
    evidence: Evidence


def verify(name: str) -> Verification:
    """Check that a language model is whole and nothing else, and gather evidence of training.

    Args:
        name: As `resolve` takes it.

    Raises:
        ModelError: The model is not to be had; a tensor is missing, of another shape than the
            config's, not finite, all zeros, or no T5's; or card.json tells of other weights.
    """
    folder = model_folder(name)
    language_model, others = read_encoder(folder, name)
    shapes = {key: tensor.shape for key, tensor in others.items()}
    missing, unexpected = expected_beside_the_encoder(
        shapes, language_model.config, decoder_blocks=decoder_blocks(folder)
    )
    for names, what in ((unexpected, "that config.json's T5 has not"), (missing, "missing")):
        if names:
            raise ModelError(
                f"{folder}: must hold a T5 and nothing else, got {listed(names, what)}; "
                "choose a whole T5"
            )
    for _ in read_tensors(others, others):
        pass  # each is checked as it is read
    sha256 = {file.name: sha256_of_file(file) for file in find_weight_files(folder)}
    return Verification(
        folder,
        language_model,
        len(language_model.weights) + len(others),
        parameters_by_part(shapes),
        sha256,
        _agrees_with_card(folder, sha256),
        gather_evidence(language_model.weights, language_model.config),
    )


def described(found: Verification) -> list[tuple[str, str]]:
    """What a verified model is, that all of it is in order, and the verdict, for people.

    Args:
        found: As `verify` gives it.

    Returns:
        Label and text of each line; a line without a label goes on with the one before.
    """
    model, config = found.language_model, found.language_model.config
    version = "v1.1" if config["feed_forward_proj"] == "gated-gelu" else "v1.0"
    parts = ", ".join(f"{part} {number:,}" for part, number in found.dropped.items())
    agrees = ", as in card.json" if found.agrees_with_card else ""
    rms = "no token table" if model.embedding_rms is None else f"RMS {model.embedding_rms:.4g}"
    lines = [
        ("folder", str(found.folder)),
        ("config", f"T5 {version}, {config['feed_forward_proj']} feed-forward"),
        (
            "",
            f"d_model {config['d_model']}, {config['num_heads']} heads x {config['d_kv']}, "
            f"{config['num_layers']} blocks, d_ff {config['d_ff']}",
        ),
        ("encoder", f"{encoder_parameters(config):,} parameters, as the config has them"),
        ("dropped", f"{model.dropped:,} parameters{parts and f': {parts}'}"),
        ("tensors", f"{found.tensors}: none missing or unexpected, all finite, none all zeros"),
        ("embedding", rms),
    ]
    for file, sha256 in found.sha256.items():
        lines += [("sha256", f"of {file}{agrees}:"), ("", sha256)]
    lines += [("fingerprint", "of the encoder, in float32:"), ("", model.sha256)]
    return lines + _evidence(found.evidence)


def _evidence(evidence: Evidence) -> list[tuple[str, str]]:
    """A line per block, and the verdict."""
    lines = [
        ("patterns", "spectral concentration is 1 where a matrix has none; a matrix"),
        ("", f"stands out over {MARGIN:g} times as far from 1 as any of {DRAWS} fresh draws"),
    ]
    lines += [(f"  block {index}", _block(block)) for index, block in enumerate(evidence.blocks)]
    return [*lines, ("verdict", evidence.verdict)]


def _block(block: BlockEvidence) -> str:
    concentrations = [matrix.concentration for matrix in block.matrices.values()]
    return (
        f"{block.standing_out} of {len(block.matrices)} matrices stand out "
        f"({min(concentrations):.3f} to {max(concentrations):.3f}); "
        f"{block.varied_norms} of {block.norms} norms vary"
    )


def _agrees_with_card(folder: Path, sha256: dict[str, str]) -> bool:
    """Whether card.json has this sha256; a card of somebody else's making need not have any."""
    path = folder / NUMBERS_FILE
    card = read_json(path) if path.is_file() else None
    if not isinstance(card, dict) or _FINGERPRINT not in card:
        return False
    if list(sha256.values()) != [card[_FINGERPRINT]]:
        raise ModelError(
            f"{path}: {_FINGERPRINT} must be that of the weights, {', '.join(sha256.values())}, "
            f"got {shown(card[_FINGERPRINT])}; install the model anew"
        )
    return True
