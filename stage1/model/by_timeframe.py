"""One tensor for all timeframes <-> a tensor for each, as long as its longest window."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from stage1.data.batches import Batch

Parts = dict[str, Tensor]
"""Tensors (batch, bars, ...) by timeframe; a timeframe that no window has may be absent."""


def check_parts(features: Parts, *others: Parts) -> None:
    """Require the same timeframes, windows and bars in all.

    Raises:
        ValueError: They differ.
    """
    wanted = {name: tuple(part.shape[:2]) for name, part in features.items()}
    for other in others:
        given = {name: tuple(part.shape[:2]) for name, part in other.items()}
        if given != wanted:
            raise ValueError(
                f"windows and bars must be those of the features, {wanted}, got {given}"
            )


def stacked(parts: Parts, timeframes: Sequence[str], length: int) -> Tensor:
    """All timeframes in one tensor, filled up with zeros.

    Args:
        parts: At least one timeframe.
        timeframes: Order of the result.
        length: Bars that each timeframe is to have.

    Returns:
        (batch, timeframe, length, ...)

    Raises:
        ValueError: A timeframe is none of these, or has more bars.
    """
    some = next(iter(parts.values()))
    whole = some.new_zeros(len(some), len(timeframes), length, *some.shape[2:])
    for name, part in parts.items():
        if name not in timeframes:
            raise ValueError(f"timeframes must be among {', '.join(timeframes)}, got {name!r}")
        if part.shape[1] > length:
            raise ValueError(f"{name} must have at most {length} bars, got {part.shape[1]}")
        whole[:, timeframes.index(name), : part.shape[1]] = part
    return whole


def model_inputs(batch: Batch, timeframes: Sequence[str]) -> tuple[Parts, Parts, Parts]:
    """Features, hidden and real bars by timeframe, cut to the longest window of each.

    Args:
        batch: Of calendar windows.
        timeframes: Its timeframes.
    """
    longest = batch.real.any(dim=0).sum(dim=1).tolist()
    there = [(index, name, longest[index]) for index, name in enumerate(timeframes)]
    features, hidden, real = (
        {name: whole[:, index, :bars] for index, name, bars in there if bars}
        for whole in (batch.features, batch.hidden, batch.real)
    )
    return features, hidden, real
