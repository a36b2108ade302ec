"""What a checkpoint says about itself: configuration, bars, T5, fingerprints; checked when read."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from pydantic import Field, ValidationError, model_validator
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from stage1.base.checkpoints import load_checkpoint
from stage1.base.errors import ResultsError
from stage1.base.text import brief, dotted, reason_of
from stage1.config import EARLIER, Config, DataConfig, Section
from stage1.config.rules import RuleError, faults_of
from stage1.config.yaml_source import merged
from stage1.data.batches import MarketWindows
from stage1.data.features import TrainingStatistics
from stage1.language_models.names import CONFIG_FILE, WEIGHTS_FILE
from stage1.language_models.t5_dimensions import checked_fields
from stage1.language_models.weight_files import read_json
from stage1.model.stage1_model import T5Shape
from stage1.training import LAST_CHECKPOINT

CHECKPOINT_KEY = "stage1"
MODEL_TYPE = "stage1"
"""What the config.json of a folder says that `stage1.push` wrote."""
_MADE_BY = "stage1.train"
_MODEL = "model."
"""Where a module's state has the model's weights."""


class ChannelRecord(Section):
    """A channel of a series in a timeframe."""

    mean: float
    """Of its values, in their own unit."""
    std: float = Field(gt=0)
    """Likewise; at least 1 % of that in the finest timeframe."""


class TimeframeRecord(Section):
    """The training bars of a timeframe: how many, and what they are normalised by."""

    bars: int = Field(ge=0)
    log_price_mean: float | None = None
    """Of all four prices; None for a series."""
    log_price_std: float | None = Field(None, gt=0)
    """Likewise; not 0, even where no price moves."""
    channels: dict[str, ChannelRecord] = Field(default_factory=dict)
    """Of a series, by name; empty for bars."""


class BarsRecord(Section):
    """The bars, or the series, of a training."""

    sha256: str
    """Of all of them, as `stage1.data.bars.fingerprint` has it."""
    begins_at: int | None = None
    """Unix seconds; the first bar that was trained on opens. None: a version that did not say."""
    split_at: int
    """Unix seconds; bars completed by then were trained on, later ones validated."""
    timeframes: dict[str, TimeframeRecord]
    """Of those that were trained on."""


class Fingerprints(Section):
    """SHA-256 of what tells one training from another."""

    lm_sha256: str | None
    """Of the T5's weights before the first step; None for the vanilla encoder."""
    head_sha256: str
    """Of all other weights before the first step."""
    order_sha256: str
    """Of the order of windows so far; empty before the first epoch."""
    mask_sha256: str
    """Of what their masks were drawn from; likewise."""


class Record(Section):
    """What a checkpoint says about itself."""

    config: Config
    fingerprints: Fingerprints
    bars: BarsRecord
    t5: T5Shape | None
    """None for the vanilla encoder."""

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        data, timeframes = self.config.data, self.bars.timeframes
        missing = [name for name in data.timeframes if name not in timeframes]
        if missing:
            rule = f"must hold every timeframe of the configuration, got no {', '.join(missing)}"
            raise RuleError(("bars.timeframes", rule))
        if data.kind == "series" and not (data.channels and data.step):
            raise RuleError(("config.data", "must name the channels and the step of its series"))
        for name in data.timeframes:
            if not _has_statistics(timeframes[name], data):
                rule = f"must hold mean and standard deviation of {', '.join(data.channel_names)}"
                raise RuleError((f"bars.timeframes.{name}", rule))
        if (self.t5 is not None) != self.config.transfer_learning.use_pretrained_lm:
            rule = "must be given if and only if transfer_learning.use_pretrained_lm is true"
            raise RuleError(("t5", rule))
        return self

    @property
    def statistics(self) -> TrainingStatistics:
        """Of the training bars, in the order of the configuration's timeframes and channels."""
        data = self.config.data
        records = [self.bars.timeframes[name] for name in data.timeframes]
        if data.kind == "ohlc":
            mean: list[Any] = [one.log_price_mean for one in records]
            deviation: list[Any] = [one.log_price_std for one in records]
        else:
            each = [[one.channels[name] for name in data.channel_names] for one in records]
            mean = [[channel.mean for channel in row] for row in each]
            deviation = [[channel.std for channel in row] for row in each]
        return TrainingStatistics(
            mean=torch.tensor(mean, dtype=torch.float64),
            deviation=torch.tensor(deviation, dtype=torch.float64),
            bars=torch.tensor([one.bars for one in records]),
        )


def _has_statistics(timeframe: TimeframeRecord, data: DataConfig) -> bool:
    """Whether a timeframe's are there, as its kind of data has them."""
    if data.kind == "series":
        return set(data.channel_names) <= timeframe.channels.keys()
    return None not in (timeframe.log_price_mean, timeframe.log_price_std)


def _timeframe_records(
    statistics: TrainingStatistics, data: DataConfig
) -> dict[str, TimeframeRecord]:
    records = {}
    rows = zip(data.timeframes, *(values.tolist() for values in statistics), strict=True)
    for name, mean, deviation, bars in rows:
        if data.kind == "ohlc":
            records[name] = TimeframeRecord(bars=bars, log_price_mean=mean, log_price_std=deviation)
        else:
            each = zip(data.channel_names, mean, deviation, strict=True)
            channels = {one: ChannelRecord(mean=m, std=s) for one, m, s in each}
            records[name] = TimeframeRecord(bars=bars, channels=channels)
    return records


def new_record(
    config: Config,
    windows: MarketWindows,
    t5: T5Shape | None,
    fingerprints: dict[str, str | None],
) -> dict[str, Any]:
    """The record of a training so far, as plain values that are safe to load."""
    training = windows.split.training.starts.min(), windows.split.boundary
    begins_at, split_at = windows.resident.instants(np.array(training)).tolist()
    record = Record(
        config=config,
        fingerprints=Fingerprints.model_validate(fingerprints),
        bars=BarsRecord(
            sha256=windows.fingerprint,
            begins_at=begins_at,
            split_at=split_at,
            timeframes=_timeframe_records(windows.training_statistics, config.data),
        ),
        t5=t5,
    )
    # What the other kind of data has in place of its own stays out.
    bars = record.bars.model_dump(mode="json", exclude_defaults=True)
    return record.model_dump(mode="json") | {"bars": bars}


class Trained(NamedTuple):
    """A checkpoint, read."""

    path: Path
    record: Record
    weights: dict[str, Tensor]  # the model's, on the CPU

    @property
    def file(self) -> Path:
        """That holds the weights."""
        return self.path / WEIGHTS_FILE if self.path.is_dir() else self.path


def read_trained(path: Path) -> Trained:
    """Read a checkpoint of a training or of a trial, or the folder that `stage1.push` made of one.

    Raises:
        ResultsError: Missing, damaged, holding anything but tensors and plain values, not made
            here, or by a version whose record said less.
        ModelError: Its T5 is none.
    """
    if path.is_dir():
        return _read_folder(path)
    content = load_checkpoint(path, made_by=_MADE_BY)
    record, state = content.get(CHECKPOINT_KEY), content.get("state_dict")
    if not (isinstance(record, dict) and isinstance(state, dict)):
        raise ResultsError(f"{path}: must be a checkpoint of {_MADE_BY}, got another program's")
    weights = {
        name.removeprefix(_MODEL): tensor
        for name, tensor in state.items()
        if str(name).startswith(_MODEL)
    }
    return Trained(path, checked_record(record, path), weights)


def _read_folder(folder: Path) -> Trained:
    if not (folder / CONFIG_FILE).is_file():
        found = [folder / LAST_CHECKPOINT, *sorted(folder.glob("checkpoints/*.ckpt"))]
        advice = [f"; name a file in it, such as {file}" for file in found if file.is_file()]
        raise ResultsError(
            f"{folder}: must be a checkpoint, or a folder of stage1.push, got one without "
            f"{CONFIG_FILE}{''.join(advice[:1])}"
        )
    stored = read_json(folder / CONFIG_FILE)
    if not isinstance(stored, dict) or stored.get("model_type") != MODEL_TYPE:
        raise ResultsError(
            f"{folder}: must be a folder of stage1.push, with model_type {MODEL_TYPE} in its "
            f"{CONFIG_FILE}, got another model's"
        )
    file = folder / WEIGHTS_FILE
    try:
        weights = load_file(file)
    except (SafetensorError, OSError) as error:
        raise ResultsError(
            f"{file}: must hold the model's weights, got {reason_of(error)}; copy the folder again"
        ) from None
    return Trained(folder, checked_record(stored, folder / CONFIG_FILE), weights)


def checked_record(stored: dict[str, Any], path: Path) -> Record:
    """A record as it lies in a checkpoint; raises as `read_trained` does."""
    missing = [name for name in Record.model_fields if name not in stored]
    if missing:
        raise ResultsError(
            f"{path}: must say what it was trained on, got no {' and no '.join(missing)}, which "
            "earlier versions left out; train again"
        )
    try:
        written = merged({"config": EARLIER}, stored)
        record = Record.model_validate({name: written[name] for name in Record.model_fields})
    except ValidationError as error:
        keys, rule = faults_of(error, Record)[0]
        raise ResultsError(
            f"{path}: {brief(f'{dotted(keys)}: {rule}')}; train again with this version"
        ) from None
    if record.t5 is None:
        return record
    fields = checked_fields(record.t5.config, path)  # and no others, whatever the file holds
    return record.model_copy(update={"t5": record.t5.model_copy(update={"config": fields})})
