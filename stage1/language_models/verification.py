"""Whether an encoder's weights were trained, told from the weights alone.

Training writes patterns into a matrix that neither drawing its entries at random nor shuffling
them brings about. `spectral_concentration` measures such patterns. It is taken of the entries'
`normal_scores`, so that their order alone counts, neither their size nor their distribution, and
fresh draws of the same config show how far it strays where there is no pattern.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from stage1.base.errors import ModelError
from stage1.base.files import sha256_of_file
from stage1.base.text import shown
from stage1.language_models.initialization import fresh_weights
from stage1.language_models.inventory import encoder_parameters
from stage1.language_models.names import NUMBERS_FILE
from stage1.language_models.resolver import (
    FEWEST_TOKENS,
    LanguageModel,
    model_folder,
    read_encoder,
)
from stage1.language_models.t5_dimensions import (
    RELATIVE_BIAS,
    block_of,
    decoder_blocks,
    listed,
    missing_and_unexpected,
    parameters_by_part,
)
from stage1.language_models.weight_files import find_weight_files, read_json, read_tensors

DRAWS = 8
"""Fresh blocks to compare with."""
MARGIN = 3.0
"""A matrix stands out if its score is more than so many times the largest of all draws."""
_FEWEST_ENTRIES = 4
"""For the mean over all permutations, which has terms of four entries."""


class MatrixEvidence(NamedTuple):
    """The `spectral_concentration` of one matrix's `normal_scores`, and its `standard_score`."""

    concentration: float
    score: float


class BlockEvidence(NamedTuple):
    """What one block's weights tell."""

    matrices: dict[str, MatrixEvidence]
    """By names such as `SelfAttention.q`."""
    standing_out: int
    """Matrices that stand out from all fresh draws."""
    norms: int
    """Layer norms; the final one belongs to the last block."""
    varied_norms: int
    """Layer norms whose weights are not all the same; those of a fresh T5 are."""

    @property
    def pretrained(self) -> bool:
        """Whether any matrix stands out: no fresh one does, and a short training moves few."""
        return self.standing_out > 0


class Evidence(NamedTuple):
    """What all blocks' weights tell."""

    blocks: list[BlockEvidence]

    @property
    def verdict(self) -> str:
        """`pretrained`, `random`, or in how many blocks it is pretrained."""
        pretrained = sum(block.pretrained for block in self.blocks)
        if pretrained in (0, len(self.blocks)):
            return "pretrained" if pretrained else "random"
        return f"pretrained in {pretrained} of {len(self.blocks)} blocks"


def gather_evidence(
    weights: Mapping[str, Float[Tensor, "..."]], config: dict[str, Any], *, seed: int = 0
) -> Evidence:
    """Compare an encoder with fresh draws of its config; global randomness is left alone.

    Args:
        weights: Of the encoder, keys as in `T5Stack.state_dict()`.
        config: As a `LanguageModel` gives it.
        seed: Of the first draw.
    """
    fresh_score = 0.0
    for draw in range(DRAWS):
        # one block is like another where all are random
        fresh = fresh_weights({**config, "num_layers": 1}, seed=seed + draw)
        scores = [abs(matrix.score) for matrix in _matrices(fresh).values()]
        fresh_score = max([fresh_score, *scores])
    blocks: list[dict[str, Tensor]] = [{} for _ in range(config["num_layers"])]
    for name, values in weights.items():
        blocks[block_of(name, len(blocks))][name] = values
    return Evidence([_block_of(block, MARGIN * fresh_score) for block in blocks])


def normal_scores(
    matrix: Float[Tensor, "rows columns"], *, seed: int = 0
) -> Float[Tensor, "rows columns"]:
    """Each entry's rank, as the quantile of a standard normal distribution that has this rank.

    All matrices without a pattern become alike: where the entries could have come in any order, so
    can their ranks. A few very large entries, as a trained model may have, otherwise make a pattern
    of a shuffled matrix whenever two of them meet in a row.

    Args:
        matrix: Finite.
        seed: Of the order of equal entries.

    Returns:
        Double precision, the same shape.

    Source:
        van der Waerden, "Order tests for the two-sample problem and their power", Indagationes
        Mathematicae 14 (1952).
    """
    values = matrix.flatten()
    shuffled = torch.randperm(values.numel(), generator=torch.Generator().manual_seed(seed))
    order = shuffled[values[shuffled].argsort()]
    quantiles = (torch.arange(values.numel(), dtype=torch.float64) + 0.5) / values.numel()
    scores = torch.empty_like(quantiles)
    scores[order] = torch.special.ndtri(quantiles)
    return scores.view(matrix.shape)


def spectral_concentration(matrix: Float[Tensor, "rows columns"]) -> float:
    """How much a matrix's energy gathers in few directions, beyond what its entries alone explain.

    The sum of the fourth powers of the singular values, ||A'A||^2, over its mean across all
    permutations of the entries of A. Written as the sum of a_ij a_kj a_il a_kl over all rows i, k
    and columns j, l, with N = mn entries and their power sums p_1 to p_4, its terms are products of

    - one entry (i = k and j = l; N terms), in the mean p_4 / N,
    - two entries squared (i = k or j = l; N (m + n - 2) terms), in the mean
      (p_2^2 - p_4) / (N (N - 1)),
    - four entries (the other N (m - 1)(n - 1) terms), in the mean
      (p_1^4 - 6 p_1^2 p_2 + 3 p_2^2 + 8 p_1 p_3 - 6 p_4) / (N (N - 1)(N - 2)(N - 3)).

    It does not change with the scale of A, and its expectation is exactly 1 wherever the entries
    could have come in any order, whatever their distribution.

    Args:
        matrix: Finite, at least four entries.

    Returns:
        > 0: 1 without a pattern, more where few directions carry much, less where all carry alike;
        1 for a constant matrix. NaN for zeros.

    Raises:
        ValueError: Fewer than four entries.

    Source:
        Ours.
    """
    rows, columns = matrix.shape
    n = matrix.numel()
    if n < _FEWEST_ENTRIES:
        raise ValueError(f"matrix must have at least {_FEWEST_ENTRIES} entries, got {n}")
    scaled = matrix.float() / matrix.abs().max()
    scaled = scaled / scaled.square().mean().sqrt()  # so that p_2 is N
    gram = scaled @ scaled.T if rows <= columns else scaled.T @ scaled
    p1, p2, p3, p4 = (scaled.pow(k).sum(dtype=torch.float64).item() for k in (1, 2, 3, 4))
    two = (p2**2 - p4) / (n * (n - 1))
    four = p1**4 - 6 * p1**2 * p2 + 3 * p2**2 + 8 * p1 * p3 - 6 * p4
    four /= n * (n - 1) * (n - 2) * (n - 3)
    mean = p4 + n * (rows + columns - 2) * two + n * (rows - 1) * (columns - 1) * four
    return gram.square().sum(dtype=torch.float64).item() / mean


def standard_score(concentration: float, *, rows: int, columns: int) -> float:
    """How far a concentration is from 1, in its own standard deviation among random matrices.

    That is 2 / (m + n). Given unit entries and their sum of squares, what varies in ||A'A||^2 are
    the squared scalar products of its n (n - 1) / 2 pairs of columns, each counted twice and with
    a variance of about 2 m^2: in all 4 m^2 n^2, around a mean of about mn (m + n).

    Returns:
        About standard normal for a large random matrix.

    Source:
        Ours.
    """
    return (concentration - 1) * (rows + columns) / 2


def _block_of(weights: Mapping[str, Tensor], threshold: float) -> BlockEvidence:
    matrices = _matrices(weights)
    norms = [values for values in weights.values() if values.ndim == 1]
    return BlockEvidence(
        matrices,
        sum(abs(matrix.score) > threshold for matrix in matrices.values()),
        len(norms),
        sum(bool((norm != norm[0]).any()) for norm in norms),
    )


def _matrices(weights: Mapping[str, Tensor]) -> dict[str, MatrixEvidence]:
    return {
        ".".join(name.split(".")[-3:-1]): _matrix(values)
        for name, values in weights.items()
        # the bias is small, and the shuffled arm keeps it
        if values.ndim == 2 and RELATIVE_BIAS not in name
    }


def _matrix(values: Tensor) -> MatrixEvidence:
    rows, columns = values.shape
    if rows * columns < _FEWEST_ENTRIES:
        return MatrixEvidence(1.0, 0.0)  # no room for a pattern
    concentration = spectral_concentration(normal_scores(values))
    return MatrixEvidence(concentration, standard_score(concentration, rows=rows, columns=columns))


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

    Raises:
        ModelError: The model is not to be had; a tensor is missing, of another shape than the
            config's, not finite, all zeros, or no T5's; or card.json tells of other weights.
    """
    folder = model_folder(name)
    language_model, others = read_encoder(folder, name)
    shapes = {key: tensor.shape for key, tensor in others.items()}
    missing, unexpected = missing_and_unexpected(
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


def described(verified: Verification) -> list[tuple[str, str]]:
    """What a verified model is, that all of it is in order, and the verdict, for people.

    Returns:
        Label and text of each line; a line without a label goes on with the one before.
    """
    model, config = verified.language_model, verified.language_model.config
    version = "v1.1" if config["feed_forward_proj"] == "gated-gelu" else "v1.0"
    parts = ", ".join(f"{part} {number:,}" for part, number in verified.dropped.items())
    agrees = ", as in card.json" if verified.agrees_with_card else ""
    rms = f"no table of {FEWEST_TOKENS} tokens or more: set transfer_learning.input_scale"
    if model.embedding_rms is not None:
        rms = f"RMS {model.embedding_rms:.4g}"
    lines = [
        ("folder", str(verified.folder)),
        ("config", f"T5 {version}, {config['feed_forward_proj']} feed-forward"),
        (
            "",
            f"d_model {config['d_model']}, {config['num_heads']} heads x {config['d_kv']}, "
            f"{config['num_layers']} blocks, d_ff {config['d_ff']}",
        ),
        ("encoder", f"{encoder_parameters(config):,} parameters, as the config has them"),
        ("dropped", f"{model.dropped:,} parameters{parts and f': {parts}'}"),
        ("tensors", f"{verified.tensors}: none missing or unexpected, all finite, none all zeros"),
        ("embedding", rms),
    ]
    for file, sha256 in verified.sha256.items():
        lines += [("sha256", f"of {file}{agrees}:"), ("", sha256)]
    lines += [("fingerprint", "of the encoder, in float32:"), ("", model.sha256)]
    lines += [
        ("patterns", "spectral concentration is 1 where a matrix has none; a matrix"),
        ("", f"stands out over {MARGIN:g} times as far from 1 as any of {DRAWS} fresh draws"),
    ]
    blocks = enumerate(verified.evidence.blocks)
    lines += [(f"  block {index}", _block(block)) for index, block in blocks]
    return [*lines, ("verdict", verified.evidence.verdict)]


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
