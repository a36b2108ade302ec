"""The rungs between random and pretrained weights: what of a language model an arm is left with.

Each rung keeps one thing that pretraining has done to the weights and draws the rest anew. How far
a rung comes from random to pretrained says what carries a gain.

Source:
    `mean_sd`: Wu, Li, Liang 2022, "Insights into Pre-training via Simpler Synthetic Tasks" (arXiv
    2206.10139), section 5. There the mean and standard deviation of each parameter, of models
    pretrained on synthetic tasks, gave 39 % of the benefit of natural pretraining. The other rungs
    are ours.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Generator, Tensor

from stage1.language_models.t5_dimensions import RELATIVE_BIAS

Redraw = Callable[[Tensor, Generator], Tensor]


def shuffled(tensor: Tensor, generator: Generator) -> Tensor:
    """The same entries in another order."""
    order = torch.randperm(tensor.numel(), generator=generator)
    return tensor.flatten()[order].view_as(tensor)


def mean_and_deviation(tensor: Tensor, generator: Generator) -> Tensor:
    """Normal entries with the tensor's mean and standard deviation."""
    noise = torch.randn(tensor.shape, generator=generator)
    return tensor.mean() + tensor.std(correction=0) * noise


def same_spectrum(tensor: Tensor, generator: Generator) -> Tensor:
    """A matrix with the same singular values between bases that are drawn anew, Haar-uniformly.

    A vector has no spectrum and is shuffled.
    """
    if tensor.dim() < 2:
        return shuffled(tensor, generator)
    values = torch.linalg.svdvals(tensor)
    left, right = (_random_basis(side, len(values), generator) for side in tensor.shape)
    return left @ torch.diag(values) @ right.T


def _random_basis(rows: int, columns: int, generator: Generator) -> Tensor:
    """(rows, columns) with orthonormal columns.

    Source:
        Mezzadri 2007, "How to generate random matrices from the classical compact groups".
    """
    q, r = torch.linalg.qr(torch.randn(rows, columns, generator=generator))
    basis: Tensor = q * torch.sign(torch.diagonal(r))
    return basis


REDRAWN: dict[str, Redraw] = {
    "shuffled": shuffled,
    "mean_sd": mean_and_deviation,
    "spectrum": same_spectrum,
}
"""Rungs that draw every tensor anew, the norms' vectors too, and keep something of it. The relative
attention bias alone stays as it is: its rows are distances, which a window has as a sentence has
them, and it says nothing of what stands there."""


def _is_norm(name: str) -> bool:
    return "layer_norm" in name


def _is_attention(name: str) -> bool:
    return "SelfAttention" in name


def _is_feed_forward(name: str) -> bool:
    return "DenseReluDense" in name


KEPT: dict[str, Callable[[str], bool]] = {
    "norms_only": _is_norm,
    "attention_only": _is_attention,
    "mlp_only": _is_feed_forward,
}
"""Rungs that keep some tensors as they were pretrained, by name; the others are fresh."""


def weights_of_rung(weights: Mapping[str, Tensor], rung: str, *, seed: int) -> dict[str, Tensor]:
    """What a rung has instead of fresh weights, by name.

    Args:
        weights: Pretrained, as in `T5Stack.state_dict()`; they are drawn in this order.
        rung: `pretrained`, `random`, or one of `REDRAWN` and `KEPT`.
        seed: Of what is drawn anew.

    Returns:
        Copies; none for `random`.

    Raises:
        ValueError: There is no such rung.
    """
    if rung == "pretrained":
        return {name: tensor.clone() for name, tensor in weights.items()}
    if rung == "random":
        return {}
    if rung in KEPT:
        return {name: tensor.clone() for name, tensor in weights.items() if KEPT[rung](name)}
    if rung not in REDRAWN:
        raise ValueError(f"initialization must be an arm's, got {rung!r}")
    generator = torch.Generator().manual_seed(seed)
    return {
        name: tensor.clone() if RELATIVE_BIAS in name else REDRAWN[rung](tensor, generator)
        for name, tensor in weights.items()
    }


def relative_step(before: Mapping[str, Tensor], now: Mapping[str, Tensor]) -> float:
    """How far weights have moved for their size: |now - before| / |before|, all tensors as one.

    The same learning rate is not the same step for weights of another size.

    Returns:
        >= 0; NaN for weights that are all 0, or none.
    """
    size = _length(before.values())
    return _length(now[name] - before[name] for name in before) / size if size > 0 else math.nan


def _length(tensors: Iterable[Tensor]) -> float:
    """Frobenius norm of all together; waits for a GPU once, not for every tensor."""
    lengths = [torch.linalg.vector_norm(tensor) for tensor in tensors]
    return float(torch.stack(lengths).double().norm()) if lengths else 0.0
