"""The configuration of one training: typed, frozen, every key documented, all faults at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import ValidationError, model_validator

from stage1.base.errors import ConfigError
from stage1.base.metric_table import metric_names
from stage1.base.text import did_you_mean
from stage1.config.data import DATA_KEYS, DataConfig, EvaluationConfig, MaskingConfig
from stage1.config.model import (
    EncoderConfig,
    Initialization,
    ModelConfig,
    StemConfig,
    TransferConfig,
)
from stage1.config.rules import RuleError, Section
from stage1.config.training import LossConfig, TrainingConfig
from stage1.config.yaml_source import YamlSource, find, load_yaml, merged, raise_faults

__all__ = [
    "ORIGIN",
    "Config",
    "DataConfig",
    "EncoderConfig",
    "Initialization",
    "MaskingConfig",
    "Section",
    "StemConfig",
    "check_config",
    "config_yaml",
    "load_config",
    "nested",
    "with_values",
]


EARLIER: dict[str, Any] = {"data": {"test_share": 0.0}}
"""Keys that runs and checkpoints of earlier versions do not have, with what they were trained by;
a configuration as it was written is to be laid over this."""


class Config(Section):
    """One training, complete."""

    data: DataConfig = DataConfig()
    """Windows."""
    masking: MaskingConfig = MaskingConfig()
    """Hiding."""
    loss: LossConfig = LossConfig()
    """Objective."""
    model: ModelConfig = ModelConfig()
    """Architecture around the encoder."""
    transfer_learning: TransferConfig = TransferConfig()
    """The language model."""
    training: TrainingConfig = TrainingConfig()
    """Optimisation."""
    evaluation: EvaluationConfig = EvaluationConfig()
    """Scoring."""

    @property
    def language_model_name(self) -> str | None:
        """The language model that is used; None with the vanilla encoder."""
        transfer = self.transfer_learning
        return transfer.lm_name_or_path if transfer.use_pretrained_lm else None

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        length, masking = self.data.seq_len, self.masking
        faults = []
        for key, step in (
            ("transfer_learning.patch_len", self.transfer_learning.patch_len),
            ("model.bottleneck_stride", self.model.bottleneck_stride),
        ):
            if length % step:
                faults.append((key, f"must divide data.seq_len={length}, got {step}"))
        if masking.mask_span_max < masking.mask_span_min:
            rule = f"must be >= masking.mask_span_min={masking.mask_span_min}"
            faults.append(("masking.mask_span_max", f"{rule}, got {masking.mask_span_max}"))
        if round(masking.mask_ratio * length) < masking.mask_span_min:
            rule = f"must hide at least one span of {masking.mask_span_min} of {length} bars"
            faults.append(("masking.mask_ratio", f"{rule}, got {masking.mask_ratio}"))
        faults += self._timeframe_faults()
        stop, known = self.training.early_stop, metric_names(self.data.timeframes)
        if stop is not None and stop.metric not in known:
            rule = f"must be a metric of the validation, got {stop.metric!r}"
            hint = did_you_mean(stop.metric, known)
            faults.append(("training.early_stop.metric", rule + hint))
        if faults:
            raise RuleError(*faults)
        return self

    def _timeframe_faults(self) -> list[tuple[str, str]]:
        """What keys of other sections say about timeframes that no window has."""
        faults, known = [], self.data.timeframes
        among = f"must be among data.timeframes={list(known)}"
        for name in self.evaluation.tf_specific_mask_ratios:
            if name not in known:
                key = f"evaluation.tf_specific_mask_ratios.{name}"
                faults.append((key, f"{among}, got {name!r}"))
        for pair in self.model.cross_pairs or ():
            if not set(pair) <= set(known) or pair[0] == pair[1]:
                rule = f"must be pairs of two of data.timeframes={list(known)}"
                faults.append(("model.cross_pairs", f"{rule}, got {list(pair)}"))
        if self.model.async_sampler:
            coarsest, length = known[-1], self.data.seq_len
            longest = self.data.minutes[-1] // self.data.minutes[0]
            if longest > length:
                unit = self.data.unit if self.data.minutes[0] == 1 else f"bars of {known[0]}"
                rule = f"must be at least one bar of {coarsest}, {longest} {unit}, long"
                faults.append(("data.seq_len", f"{rule} with model.async_sampler, got {length}"))
        elif self.data.sampling_probs:
            rule = "must be left out without model.async_sampler: all timeframes are in a window"
            faults.append(("data.sampling_probs", rule))
        return faults


def load_config(path: Path) -> Config:
    """Read and check a configuration: a file, or the name of one that comes with the package.

    Raises:
        ConfigError: All faults of the file, one line each: file, line, key, rule, value.
    """
    source = load_yaml(find(path, "configs"))
    if {"arms", "space"} <= source.values.keys():
        raise ConfigError(
            f"{source.path}: must be a configuration, got a search space, which stage1.tune runs "
            "and stage1.export makes one of"
        )
    return check_config(source)


def check_config(source: YamlSource) -> Config:
    """Check a configuration whose file is already read.

    Raises:
        ConfigError: All faults, one line each.
    """
    try:
        return Config.model_validate(source.values)
    except ValidationError as error:
        raise_faults(error, source, Config)


def nested(dotted: dict[str, Any]) -> dict[str, Any]:
    """`{"a.b": 1}` -> `{"a": {"b": 1}}`."""
    result: dict[str, Any] = {}
    for key, value in dotted.items():
        *parents, last = key.split(".")
        part: dict[str, Any] = {last: value}
        for parent in reversed(parents):
            part = {parent: part}
        result = merged(result, part)
    return result


def with_values(config: Config, dotted: dict[str, Any]) -> Config:
    """The configuration with some dotted keys, such as `training.epochs`, set and checked anew.

    Raises:
        pydantic.ValidationError: A key is unknown or a value breaks a rule.
    """
    values = merged(config.model_dump(mode="json"), nested(dotted))
    return Config.model_validate(values)


ORIGIN = "training.origin"
"""Where a configuration comes from, which changes nothing of a training."""


def differing_keys(then: Config, now: Config) -> list[str]:
    """Dotted keys in which two trainings differ; their bars are told by the fingerprint."""
    stored, asked = (one.model_dump(mode="json") for one in (then, now))
    return [
        f"{section}.{key}"
        for section, values in asked.items()
        for key in values
        if stored[section][key] != values[key] and f"{section}.{key}" not in (*DATA_KEYS, ORIGIN)
    ]


def going_on(then: Config, now: Config) -> tuple[Config, list[str]]:
    """A configuration that goes on with a training, completed by what that began with.

    Args:
        then: What the training began with.
        now: May leave open a `training.batch_size` of auto, channels and step of a series, the
            test share, and where the bars are: that they are the same is told by their fingerprint.

    Returns:
        The completed configuration, and the dotted keys in which the two differ.
    """
    completed: dict[str, Any] = {}
    if then.data.data_dir:
        completed |= {"data.data_dir": then.data.data_dir, "data.sha256": then.data.sha256}
    if now.data.test_share is None:
        completed["data.test_share"] = then.data.test_share
    if now.training.batch_size == "auto":
        completed["training.batch_size"] = then.training.batch_size
    if now.data.kind == "series":
        completed["data.channels"] = now.data.channels or then.data.channels
        completed["data.step"] = now.data.step or then.data.step
    now = with_values(now, completed)
    return now, differing_keys(then, now)


def config_yaml(config: Config) -> str:
    """The whole configuration as YAML, every key written out."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, default_flow_style=None)
