"""How many parameters a configuration has, part by part, without weights, data or memory."""

from __future__ import annotations

import torch
from rich.table import Table

from stage1.config import Config, with_values
from stage1.language_models.initialization import t5_stack
from stage1.language_models.t5_dimensions import encoder_config
from stage1.model.stage1_model import T5_PREFIX, Stage1Model

T5 = "T5 (one, shared)"


def parameter_counts(config: Config) -> dict[str, int]:
    """Parameters by part, counted on the meta device.

    Args:
        config: Its language model's dimensions come from its folder or the table of public sizes.
            A series whose channels are null counts as one with a single channel.

    Raises:
        ModelError: The language model's dimensions are not known.
    """
    if config.data.kind == "series" and config.data.channels is None:
        config = with_values(config, {"data.channels": ["channel"]})
    transfer = config.transfer_learning
    with torch.device("meta"):
        t5 = None
        if transfer.use_pretrained_lm:
            t5 = t5_stack(encoder_config(transfer.lm_name_or_path))
        model = Stage1Model(config, t5=t5, input_scale=1.0)
    counts: dict[str, int] = {}
    for name, parameter in model.named_parameters():
        part = _part(name)
        counts[part] = counts.get(part, 0) + parameter.numel()
    return counts


def _part(name: str) -> str:
    """The row that a parameter counts in."""
    if name.startswith(T5_PREFIX):
        return T5
    module, inner, *_ = name.split(".")
    return f"{module}, {inner.replace('_', ' ')}" if module == "encoder" else module


def parameter_table(config: Config) -> Table:
    """The counts as a table, full integers, and what a T5 per timeframe would cost."""
    counts = parameter_counts(config)
    total, timeframes = sum(counts.values()), len(config.data.timeframes)
    transfer = config.transfer_learning
    encoder = transfer.lm_name_or_path if transfer.use_pretrained_lm else "vanilla encoder"
    title = f"Parameters: {encoder}, {timeframes} timeframes"
    if config.data.kind == "series" and config.data.channels is None:
        title += ", 1 channel (data.channels is null)"
    table = Table(title=title, min_width=len(title))
    table.add_column("part")
    table.add_column("parameters", justify="right")
    for part, count in counts.items():
        table.add_row(part, f"{count:,}")
    table.add_section()
    table.add_row("total", f"{total:,}")
    if T5 in counts:
        apart = total + (timeframes - 1) * counts[T5]
        table.add_row(f"with {timeframes} T5s, one per timeframe", f"{apart:,}")
    return table
