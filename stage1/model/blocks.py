"""Sums over blocks of validation time: any set of blocks has its correlations, without its bars."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from stage1.data.batches import Batch

BLOCKS = "blocks"
"""Key of an epoch's row under which its block sums are reported."""
MOST_BLOCKS = 32


def blocks_of_windows(starts: NDArray[np.int64], ends: NDArray[np.int64]) -> NDArray[np.int64]:
    """The block of time in which each window ends.

    Blocks are equally long, the last one perhaps shorter. A block is at least as long as the
    longest window, so that windows of two blocks with another between them share no bar.

    Args:
        starts: (windows,) when the earliest bar of each window opens, unix seconds.
        ends: (windows,) when each window's last bar is completed, unix seconds.

    Returns:
        (windows,) from 0, at most `MOST_BLOCKS` different ones; a function of the windows alone,
        so that all trials with the same validation set share their blocks.

    Source:
        Ours.
    """
    first = int(ends.min())
    span = int(ends.max()) - first + 1
    longest = int((ends - starts).max())
    length = max(longest, -(-span // MOST_BLOCKS))
    return (ends - first) // length


def block_sums(
    decoded: Float[Tensor, "batch timeframe time channel"],
    batch: Batch,
    blocks: Int[Tensor, " batch"],
) -> Float[Tensor, "timeframe channel block 6"]:
    """What correlations need, added up over the scored bars of each block.

    Args:
        decoded: Normalised bars.
        batch: What they are to be compared with.
        blocks: Of each window, from 0.

    Returns:
        float64, for each timeframe, channel and block: number of bars, sum of the truth, of the
        decoded, of the truth squared, of the decoded squared, of the product.
    """
    timeframes, channels = decoded.shape[1], decoded.shape[3]
    sums = torch.zeros(timeframes, int(blocks.max()) + 1, channels, 6, dtype=torch.float64)
    for index in range(timeframes):
        scored = batch.scored[:, index]
        truth = batch.targets[:, index][scored].double()  # (bars, channel)
        mine = decoded[:, index][scored].double()
        columns = (torch.ones_like(truth), truth, mine, truth**2, mine**2, truth * mine)
        block = blocks[:, None].expand_as(scored)[scored]
        sums[index].index_add_(0, block, torch.stack(columns, dim=-1))
    return sums.transpose(1, 2).contiguous()
