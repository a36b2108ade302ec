"""A checkpoint -> the model or the encoder in it, and the bars that fit it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from rich.console import Console
from torch import Tensor

from stage1 import __version__
from stage1.base.errors import DataError, ResultsError
from stage1.base.files import atomic_path, must_be_writable, sha256_of_file
from stage1.base.terminal import print_plain, progress
from stage1.base.text import brief, plural
from stage1.config import Config, DataConfig
from stage1.config.data import BUNDLED
from stage1.data.bars import Bars, fingerprint
from stage1.data.batches import WholeWindows, check_timeframes, slices, windows_at_once
from stage1.data.gathering import Batch
from stage1.data.load import load_data, stored_timeframes
from stage1.model.market_encoder import MarketEncoder
from stage1.model.stage1_model import Stage1Model, model_of_weights
from stage1.training.checkpoint import BarsRecord, Trained, read_trained
from stage1.training.fit import accelerator_here, arithmetic
from stage1.training.memory import BatchGuard, Warn


def load_encoder(checkpoint: str | Path) -> MarketEncoder:
    """Load the encoder of a training, for the next stage; also as `stage1.load_encoder`.

    A `torch.nn.Module` on the CPU, in evaluation mode, all weights float32 and free to learn. It
    needs nothing but the checkpoint: neither bars nor the language model that the training began
    with. Its `timeframes`, `seq_len` and `d_model` say what goes in and comes out, its `config`
    what it was trained with:

        encoder = stage1.load_encoder("runs/train/transfer/last.ckpt")
        windows = encoder.windows(bars_for(encoder.config, Path("data/derived")))
        for batch in windows.batches():
            codes = encoder(batch.features, real=batch.real)
            vectors = encoder.embed(batch.features, batch.real)

    with the `bars_for` of this module. `features` are (batch, timeframes, seq_len, 6), of a series
    twice its channels in place of the 6; `codes` are (batch, timeframes, seq_len, d_model),
    `vectors` (batch, timeframes, d_model); `windows.ends` are the instants (unix seconds) at which
    the windows' bars are completed.

    Args:
        checkpoint: Of `stage1.train`, or of a study's `checkpoints/`; or a folder of `stage1.push`.

    Raises:
        ResultsError: Missing, damaged, not made here, or holding anything but tensors and plain
            values.
    """
    return _encoder_of(read_trained(Path(checkpoint)))


def _encoder_of(trained: Trained) -> MarketEncoder:
    record = trained.record
    return MarketEncoder(trained_model(trained), record.config, record.statistics).eval()


def trained_model(trained: Trained) -> Stage1Model:
    """The whole model of a checkpoint.

    Raises:
        ResultsError: The weights are not those of its configuration.
    """
    record = trained.record
    try:
        return model_of_weights(record.config, record.t5, trained.weights)
    except (RuntimeError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise ResultsError(
            f"{trained.path}: must hold the weights of its own configuration, got others "
            f"({brief(str(error))}); take another checkpoint"
        ) from None


def bars_for(config: Config, data_dir: str | Path | None) -> dict[str, Bars]:
    """Load the bars, or the series, that a model reads: others than its training's only if named.

    Args:
        config: Of the training.
        data_dir: Folder of prepared bars, or of a series, or `sample`, the bundled bars; None: that
            of the training, if it still holds the same.

    Raises:
        DataError: A timeframe or a channel is missing, the step is another, or a bar is not sound;
            nothing says which bars, or they are no longer those of the training.
    """
    folder = data_dir if data_dir is not None else config.data.data_dir
    if folder is None and config.data.kind == "ohlc":
        raise DataError(
            "the bars must be named with --data-dir, since the checkpoint does not say where those "
            f"of its training lie; give their folder, or --data-dir {BUNDLED} for the bundled bars"
        )
    if config.data.kind == "ohlc" and folder not in (None, BUNDLED) and os.path.isdir(folder):
        check_timeframes(stored_timeframes(Path(folder)), config.data, f"{folder}:")
    bars, _ = load_data(data_dir, config)
    return bars


ROW_GROUP_BYTES = 16 * 2**20
"""Of vectors in a row group, about: what is in memory before it is written."""
_MARK = "stage1.encode"
"""Key of the file's metadata that says who wrote it."""


class Vectors(NamedTuple):
    """Embeddings, a row each."""

    window_end: NDArray[np.int64]  # (rows) unix seconds
    timeframe: NDArray[np.int8]  # (rows) place among the encoder's
    vector: NDArray[np.float32]  # (rows, d_model)
    mean: NDArray[np.float64]  # (rows) log price, or (rows, channels) a series' values
    scale: NDArray[np.float64]  # likewise
    in_training_period: NDArray[np.bool_]  # (rows)


def encode_to_file(
    checkpoint: Path,
    data_dir: str | Path | None,
    out: Path,
    *,
    stride: int | None,
    console: Console,
) -> str:
    """Embed all windows of some bars, on the GPU where there is one; says what was written.

    Args:
        checkpoint: Of a training, or a folder of `stage1.push`.
        data_dir: As `bars_for` has it.
        out: The file to write.
        stride: Minutes, or steps of a series, between the ends of windows; None = as trained.
        console: Shows the progress.

    Raises:
        ResultsError: The checkpoint cannot be read, or the file not be written.
        DataError: The bars lack a timeframe, or are too few.
        TrialError: Memory does not suffice for a single window.
    """
    trained = read_trained(checkpoint)
    encoder = _encoder_of(trained)
    bars = bars_for(encoder.config, data_dir)
    windows = encoder.windows(bars, stride=stride)
    unit = windows.config.unit
    origin = {
        "checkpoint_sha256": sha256_of_file(trained.file),
        "bars_sha256": fingerprint(bars),
        f"stride_{unit}": str(windows.config.stride),
    }
    encoder.to(accelerator_here())
    warn = partial(print_plain, console)
    parts = embeddings(encoder, windows, trained.record.bars, warn=warn)
    count = -(-len(windows) // windows_at_once(windows.config))
    shown = progress(parts, count, console, noun="windows")
    with must_be_writable(out, "file"), arithmetic("32-true"):
        rows = write_embeddings(
            shown,
            out,
            timeframes=encoder.timeframes,
            d_model=encoder.d_model,
            channels=len(windows.config.channel_names) if unit == "steps" else None,
            origin=origin,
        )
    first, last = (np.datetime64(int(end), "s") for end in windows.ends[[0, -1]])
    return (
        f"{out}: {plural(rows, 'vector')} of {encoder.d_model} numbers, "
        f"{plural(len(windows), 'window')} with ends from {first} to {last} UTC, "
        f"{_apart(windows.config)}"
    )


def _apart(config: DataConfig) -> str:
    """How far the ends of windows are from each other."""
    if config.stride <= config.minutes[0] > 1:
        return f"at every bar of {config.timeframes[0]}"
    return f"{plural(config.stride, config.unit.removesuffix('s'))} apart"


def embeddings(
    encoder: MarketEncoder, windows: WholeWindows, trained_on: BarsRecord, *, warn: Warn
) -> Iterator[Vectors]:
    """Embed window after window of an encoder in evaluation mode, in order of time.

    Yields:
        The vectors of a batch of windows; none for a timeframe without a bar in its window.
    """
    device = next(encoder.parameters()).device
    guard = BatchGuard("an encoded batch", warn)
    size = windows_at_once(encoder.config.data)
    in_training_period = windows.starts < trained_on.split_at
    if trained_on.begins_at is not None:
        in_training_period &= windows.ends > trained_on.begins_at

    @torch.inference_mode()
    def embed(parts: list[Batch]) -> Tensor:
        return torch.cat([_embed(encoder, part, device) for part in parts])

    for chosen in slices(len(windows), size):
        batch = windows.batch(chosen)
        vectors = guard.run(batch, embed).numpy()
        window, timeframe = np.nonzero(batch.real.any(dim=2).numpy())
        yield Vectors(
            windows.ends[chosen][window],
            timeframe.astype(np.int8),
            vectors[window, timeframe],
            batch.center.numpy()[window, timeframe],
            batch.scale.numpy()[window, timeframe],
            in_training_period[chosen][window],
        )


def _embed(encoder: MarketEncoder, batch: Batch, device: torch.device) -> Tensor:
    # Windows of equal length have no padding, and need no mask.
    real = batch.real.to(device) if encoder.config.model.async_sampler else None
    return encoder.embed(batch.features.to(device), real).cpu()


def write_embeddings(
    parts: Iterable[Vectors],
    out: Path,
    *,
    timeframes: tuple[str, ...],
    d_model: int,
    channels: int | None = None,
    origin: dict[str, str],
) -> int:
    """Write embeddings as they come, atomically; gives the number of rows.

    Columns: `window_end` (timestamp, UTC), `timeframe` (text), `vector` (`d_model` times float32),
    `mean` and `scale` (float64; of a series so many times as it has channels, None = of bars), and
    `in_training_period` (bool). `origin` is kept as metadata of the file.
    """
    statistic = pa.float64() if channels is None else _list_of(pa.float64(), channels)
    columns = {
        "window_end": pa.timestamp("us", tz="UTC"),
        "timeframe": pa.string(),
        "vector": _list_of(pa.float32(), d_model),
        "mean": statistic,
        "scale": statistic,
        "in_training_period": pa.bool_(),
    }
    fields = [pa.field(name, kind, nullable=False) for name, kind in columns.items()]
    schema = pa.schema(fields, metadata={_MARK: __version__, **origin})
    names = np.array(timeframes)
    rows = 0
    with (
        atomic_path(out) as path,
        pq.ParquetWriter(path, schema, compression="zstd", use_dictionary=["timeframe"]) as writer,
    ):
        for group in _groups(parts, max(ROW_GROUP_BYTES // (4 * d_model), 1)):
            values = group._asdict() | {
                "window_end": group.window_end * 1_000_000,
                "timeframe": names[group.timeframe],
            }
            arrays = [_column(values[name], kind) for name, kind in columns.items()]
            writer.write_table(pa.table(arrays, schema=schema))
            rows += len(group.window_end)
    return rows


def _list_of(kind: pa.DataType, length: int) -> pa.DataType:
    return pa.list_(pa.field("element", kind, nullable=False), length)


def _column(values: NDArray[Any], kind: pa.DataType) -> pa.Array:
    """Numbers, or rows of them, as a column."""
    if values.ndim == 1:
        return pa.array(values, kind)
    return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), type=kind)


def _groups(parts: Iterable[Vectors], rows: int) -> Iterator[Vectors]:
    """Join parts until they have so many rows."""
    group: list[Vectors] = []
    for part in parts:
        group.append(part)
        if sum(len(one.window_end) for one in group) >= rows:
            yield _joined(group)
            group = []
    if group:
        yield _joined(group)


def _joined(parts: list[Vectors]) -> Vectors:
    return Vectors(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def check_target(out: Path) -> None:
    """Refuse to replace anything but an earlier file of embeddings.

    Raises:
        ResultsError: Something else is there.
    """
    if not out.exists():
        return
    with suppress(pa.ArrowException, OSError):
        if _MARK.encode() in (pq.read_schema(out).metadata or {}):
            return
    raise ResultsError(
        f"{out}: must not exist, or be embeddings that stage1.encode wrote, got something else; "
        "give another --out"
    )
