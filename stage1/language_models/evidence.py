"""Whether an encoder's weights were trained, told from the weights alone.

Training writes patterns into a matrix that neither drawing its entries at random nor shuffling
them brings about. `spectral_concentration` measures such patterns. It is taken of the entries'
`normal_scores`, so that their order alone counts, neither their size nor their distribution, and
fresh draws of the same config show how far it strays where there is no pattern.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from stage1.language_models.initialization import fresh_weights
from stage1.language_models.t5_dimensions import RELATIVE_BIAS
from stage1.language_models.t5_tensors import block_of

DRAWS = 8
"""Fresh blocks to compare with."""
MARGIN = 3.0
"""A matrix stands out if its score is more than so many times the largest of all draws."""
_FEWEST_ENTRIES = 4
"""For the mean over all permutations, which has terms of four entries."""


class MatrixEvidence(NamedTuple):
    """What one matrix tells."""

    concentration: float
    """The `spectral_concentration` of its `normal_scores`."""
    score: float
    """See `standard_score`."""


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
        found = sum(block.pretrained for block in self.blocks)
        if found in (0, len(self.blocks)):
            return "pretrained" if found else "random"
        return f"pretrained in {found} of {len(self.blocks)} blocks"


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
    return Evidence([_block(block, MARGIN * fresh_score) for block in blocks])


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

    Args:
        concentration: As `spectral_concentration` gives it.
        rows: Of the matrix, > 0.
        columns: Of the matrix, > 0.

    Returns:
        About standard normal for a large random matrix.

    Source:
        Ours.
    """
    return (concentration - 1) * (rows + columns) / 2


def _block(weights: Mapping[str, Tensor], threshold: float) -> BlockEvidence:
    matrices = _matrices(weights)
    norms = [values for values in weights.values() if values.ndim == 1]
    return BlockEvidence(
        matrices,
        sum(abs(matrix.score) > threshold for matrix in matrices.values()),
        len(norms),
        sum(bool((norm != norm[0]).any()) for norm in norms),
    )


def _matrices(weights: Mapping[str, Tensor]) -> dict[str, MatrixEvidence]:
    evidence = {}
    for name, values in weights.items():
        if RELATIVE_BIAS in name:  # small, and the shuffled arm keeps it
            continue
        if values.ndim == 2:
            evidence[".".join(name.split(".")[-3:-1])] = _matrix(values)
    return evidence


def _matrix(values: Tensor) -> MatrixEvidence:
    rows, columns = values.shape
    if rows * columns < _FEWEST_ENTRIES:
        return MatrixEvidence(1.0, 0.0)  # no room for a pattern
    concentration = spectral_concentration(normal_scores(values))
    return MatrixEvidence(concentration, standard_score(concentration, rows=rows, columns=columns))
