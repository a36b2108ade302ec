"""Which bars a window holds, and which of them are hidden."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from stage1.base.steps import FINEST_OF_SERIES, MINUTES, parse_step, steps_per_bar
from stage1.config.rules import RuleError, Section

PRICES = ("open", "high", "low", "close")
"""The channels of bars, in their order everywhere."""
BUNDLED = "sample"
"""What stands for the bundled bars where a folder of bars is named."""
TEST_SHARE = 0.1
"""Of one's own bars, where nothing else is said."""
DATA_KEYS = ("data.data_dir", "data.sha256")
"""Which bars a configuration is for; which windows they have is said by the others."""


def _is_step(text: str) -> str:
    parse_step(text)
    return text


class DataConfig(Section):
    """Which bars a window holds, and how they are scaled and split.

    A series has steps where bars have minutes, and its bars are rows, or means of rows.
    """

    kind: Literal["ohlc", "series"] = "ohlc"
    """Bars of open, high, low, close; or any regular series of numbers."""
    data_dir: str | None = Field(None, min_length=1)
    """Folder made by `stage1.prepare`, as seen from where a command is run, or sample, the bundled
    bars; --data-dir goes before it. null = the bundled bars."""
    sha256: str | None = Field(None, min_length=1)
    """Fingerprint that the bars of `data_dir` must have; null = any. A training records both."""
    channels: tuple[str, ...] | None = Field(None, min_length=1)
    """Columns of a series, in the order of the model's outputs; null = all that its folder has."""
    step: Annotated[str, AfterValidator(_is_step)] | None = None
    """How far the rows of a series are apart, such as 1h, 1d or 1mo; null = as its folder says."""
    timeframes: tuple[str, ...] = ("m1", "m5", "m15", "m30", "h1", "h4")
    """Timeframes of a window, fine to coarse, each a multiple of the one before: m1, m5, ... h4,
    d1, w1; of a series x1 and multiples of its step, such as x4 and x12."""
    seq_len: int = Field(64, ge=8, le=65_536)
    """Bars of each timeframe in a window; with `model.async_sampler` the time that it spans, in
    bars of the first timeframe."""
    stride: int = Field(1, ge=1)
    """Minutes between the ends of consecutive windows."""
    max_gap: int = Field(4320, ge=0)
    """Longest gap inside a window, in minutes; 4320 lets weekends pass."""
    normalization: Literal["instance", "zscore"] = "instance"
    """Log prices scaled by the window's visible bars, or by the training split; of a series, each
    channel as it is, by its own mean and standard deviation."""
    validation_share: float = Field(0.2, gt=0, lt=1)
    """Share of the time before the test period, at its end, that validation windows come from."""
    test_share: float | None = Field(None, ge=0, lt=1)
    """Share of the time, at the very end, that no search, verdict or export sees: what is chosen is
    scored there once it is chosen. null = 0.1 of one's own bars, none of the bundled ones, and none
    where `sha256` was written by a version without this key."""
    validation_windows: int = Field(512, ge=1)
    """At most this many validation windows, and test windows, evenly spaced."""
    sampling_probs: dict[str, float] = Field({})
    """With `model.async_sampler`: the chance of each timeframe to be in a training window, in
    [0, 1]; 1 where not given. The first is always in; validation windows hold all timeframes."""

    @property
    def minutes(self) -> tuple[int, ...]:
        """Length of a bar of each timeframe: minutes, or the steps that stand for them."""
        return tuple(steps_per_bar(name) or MINUTES[name] for name in self.timeframes)

    @property
    def unit(self) -> str:
        """What lengths and gaps are counted in."""
        return "minutes" if self.kind == "ohlc" else "steps"

    @property
    def channel_names(self) -> tuple[str, ...]:
        """What the model decodes of every bar.

        Raises:
            ValueError: Those of a series are still null; whoever loads it has to fill them in.
        """
        if self.kind == "ohlc":
            return PRICES
        if self.channels is None:
            raise ValueError("data.channels must be known by now, got null")
        return self.channels

    @model_validator(mode="after")
    def _of_one_kind(self) -> Self:
        if self.kind == "ohlc":
            of_series = {"channels": self.channels, "step": self.step}
            rule = "must be left out with data.kind: ohlc, got"
            faults = [(key, f"{rule} {value!r}") for key, value in of_series.items() if value]
            if faults:
                raise RuleError(*faults)
            return self
        names = self.channels or ()
        if len(set(names)) < len(names) or not all(name and name.isprintable() for name in names):
            rule = "must be names of columns, each once"
            raise RuleError(("channels", f"{rule}, got {list(names)}"))
        return self

    @model_validator(mode="after")
    def _timeframes_known_and_ordered(self) -> Self:
        if self.kind == "series":
            self._check_multiples()
            return self
        known = list(MINUTES)
        unknown = [name for name in self.timeframes if name not in known]
        if unknown:
            rule = f"must be among {', '.join(known)}, got {unknown[0]!r}"
            raise RuleError(("timeframes", rule))
        if not self.timeframes or not self._is_nested():
            rule = "must go from fine to coarse, each a multiple of the one before"
            raise RuleError(("timeframes", f"{rule}, got {list(self.timeframes)}"))
        return self

    def _is_nested(self) -> bool:
        return all(b > a and b % a == 0 for a, b in pairwise(self.minutes))

    def _check_multiples(self) -> None:
        lengths = [steps_per_bar(name) for name in self.timeframes]
        for name, length in zip(self.timeframes, lengths, strict=True):
            if length is None:
                rule = "must be x1 and multiples of the step such as x4 or x12 with data.kind: "
                raise RuleError(("timeframes", f"{rule}series, got {name!r}"))
        if self.timeframes[:1] != (FINEST_OF_SERIES,) or not self._is_nested():
            rule = (
                "must start with x1 and go from fine to coarse, each a multiple of the one before"
            )
            raise RuleError(("timeframes", f"{rule}, got {list(self.timeframes)}"))

    @model_validator(mode="after")
    def _sampling_probs_are_chances(self) -> Self:
        faults = []
        for name, chance in self.sampling_probs.items():
            key = f"sampling_probs.{name}"
            if name not in self.timeframes:
                among = f"must be among data.timeframes={list(self.timeframes)}"
                faults.append((key, f"{among}, got {name!r}"))
            elif not 0 <= chance <= 1:
                faults.append((key, f"must be from 0 to 1, got {chance}"))
            elif name == self.timeframes[0] and chance != 1:
                faults.append((key, f"must be 1, since {name} is in every window, got {chance}"))
        if faults:
            raise RuleError(*faults)
        return self


class MaskingConfig(Section):
    """Which bars are hidden from the encoder."""

    mask_ratio: float = Field(0.15, gt=0, lt=1)
    """Share of a timeframe's bars that is drawn, hidden and scored: of every timeframe of a window,
    or, with `model.async_sampler` and `sync_across_tf`, of one."""
    mask_span_min: int = Field(3, ge=1)
    """Bars in the shortest hidden span."""
    mask_span_max: int = Field(7, ge=1)
    """Bars in the longest hidden span."""
    sync_across_tf: bool = True
    """Hide every coarse bar that overlaps a hidden finer one, so that none gives it away."""


class EvaluationConfig(Section):
    """How the validation set is scored."""

    tf_specific_mask_ratios: dict[str, float] = Field({})
    """Share of a timeframe's bars that is drawn and scored, in (0, 1), in place of
    `masking.mask_ratio`; at least one bar where it is drawn from. Training hides
    `masking.mask_ratio` in all."""

    @model_validator(mode="after")
    def _ratios_are_shares(self) -> Self:
        faults = [
            (f"tf_specific_mask_ratios.{name}", f"must be > 0 and < 1, got {ratio}")
            for name, ratio in self.tf_specific_mask_ratios.items()
            if not 0 < ratio < 1
        ]
        if faults:
            raise RuleError(*faults)
        return self
