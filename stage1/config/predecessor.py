"""A configuration of the predecessor in our keys, and what of it has no counterpart here, and why.

`ROWS` says of every key that its users have what became of it. A key that no row names is kept
where it is spelled as one of ours, and listed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from stage1.base.errors import ConfigError
from stage1.base.text import dotted, shown
from stage1.config import Config, Section, check_config, nested
from stage1.config.rules import KeyPath
from stage1.config.yaml_source import YamlSource, load_yaml

Found = dict[str, Any] | str
"""Our dotted keys with their values; or why there are none."""


class Row(NamedTuple):
    """What became of a key of the predecessor."""

    old: str
    """Dotted; one that ends in `.*` stands for all below that have no row of their own."""
    new: str = ""
    """Our key, which takes the value as it is unless `found` says otherwise; empty: none."""
    why: str = ""
    """What is different here, or why there is no such key; empty: nothing is."""
    found: Callable[[Any, Old], Found] | None = None
    """What a value becomes, beside the rest of the file."""


class Old:
    """The predecessor's values by dotted key."""

    def __init__(self, values: dict[str, Any]) -> None:
        self.values = values

    def get(self, key: str, otherwise: Any = None) -> Any:
        """A value, or what holds where it is missing or null."""
        part: Any = self.values
        for name in key.split("."):
            part = part.get(name) if isinstance(part, dict) else None
        return otherwise if part is None else part

    @property
    def accumulated(self) -> int:
        """Batches that were added up for a step of the optimiser."""
        return int(self.get("training.accumulate_grad_batches", 1))

    @property
    def schedule(self) -> str:
        """Ours, for the name that theirs has; empty for one that we do not have."""
        name = str(self.get("training.scheduler.name", "linear_with_warmup")).lower()
        if name in ("one_cycle", "onecycle", "onecyclelr"):
            return "one_cycle"
        return "warmup_cosine" if "warmup" in name else ""


def _schedule(value: Any, old: Old) -> Found:
    if old.schedule:
        return {"training.schedule": old.schedule}
    return f"must be one_cycle or warmup_cosine here, got {shown(value)}; set training.schedule"


def _of_one_cycle(key: str) -> Callable[[Any, Old], Found]:
    def found(value: Any, old: Old) -> Found:
        if old.schedule == "one_cycle":
            return {key: value}
        return "belongs to a one-cycle schedule, which training.scheduler.name does not choose"

    return found


def _batch_size(value: Any, old: Old) -> Found:
    return {"training.batch_size": value if value == "auto" else int(value) * old.accumulated}


def _share_of_epochs(value: Any, old: Old) -> Found:
    return {"training.warmup_share": float(value) / float(old.get("training.epochs", 15))}


def _top_rate(value: Any, old: Old) -> Found:
    """The rate of the T5's last block is ours times the factor, whatever the decay below it."""
    key = "transfer_learning.lm_learning_rate_factor"
    ratio = float(value) / float(old.get("training.optimizer.lr", 1e-3))
    factor, named = float(f"{ratio:.6g}"), old.get(key)
    if named is not None and not math.isclose(factor, float(named), rel_tol=1e-4):
        return (
            f"contradicts {key}: {named}, which is kept: {value} would be a factor of {factor:.3g}"
        )
    return {key: factor}


def _training_batches(value: Any, old: Old) -> Found:
    if not isinstance(value, int) or isinstance(value, bool):
        return "a share of the batches; an epoch here is training.steps_per_epoch steps: set it"
    return {"training.steps_per_epoch": math.ceil(value / old.accumulated)}


def _validation_batches(value: Any, old: Old) -> Found:
    if not isinstance(value, int) or isinstance(value, bool):
        return "a share of the batches; set data.validation_windows, how many are validated at most"
    return {"data.validation_windows": value * int(old.get("training.batch_size", 1))}


def _sampling_probs(value: Any, old: Old) -> Found:
    if old.get("model.async_sampler", False):
        return {"data.sampling_probs": value}
    return "holds with model.async_sampler alone; without it a window has all timeframes"


def _eval_ratio(value: Any, old: Old) -> Found:
    if value == old.get("masking.mask_ratio", 0.15):
        return {}
    key = "evaluation.tf_specific_mask_ratios"
    others = [name for name in old.get("data.timeframes", []) if name not in old.get(key, {})]
    return {f"{key}.{name}": value for name in others}


def _one_of(key: str, names: dict[Any, Any], advice: str) -> Callable[[Any, Old], Found]:
    """A value that has another name here; others have no counterpart."""

    def found(value: Any, _old: Old) -> Found:
        if isinstance(value, list | dict) or value not in names:
            return f"has no counterpart for {shown(value)}; {advice}"
        return {} if names[value] is None else {key: names[value]}

    return found


def _clip(value: Any, _old: Old) -> Found:
    if not value:
        return "gradients are always clipped here; a large training.gradient_clip stands for none"
    return {"training.gradient_clip": value}


_PRECISIONS: dict[Any, Any] = {
    **dict.fromkeys((32, "32", "32-true", "fp32"), "32-true"),
    **dict.fromkeys(("bf16", "bf16-mixed"), "bf16-mixed"),
    **dict.fromkeys((16, "16", "16-mixed", "fp16"), "16-mixed"),
}
_RESIDENT = "bars lie in memory and windows are gathered by index, without worker processes"
_ENDS = "one_cycle begins and ends as torch's OneCycleLR does by default, warmup_cosine ends at 0"
ROWS = (
    Row("runtime.seed", "training.seed"),
    Row("runtime.experiment_name", why="a study is called by the NAME of its folder"),
    Row("data.seq_len", "data.seq_len"),
    Row("data.timeframes", "data.timeframes"),
    Row("data.n_timeframes", why="is counted from data.timeframes"),
    Row("data.n_features", why="is 6 for bars: open, high, low, close, delta close, body"),
    Row("data.total_channels", why="is counted: timeframes times features"),
    Row("data.data_dir", "data.data_dir", "as seen from where a command is run"),
    Row("data.stats_file", why="statistics are those of the training split, kept in checkpoints"),
    Row("data.sampling_probs", "data.sampling_probs", found=_sampling_probs),
    Row("data.sampling_probs_val", why="a validation window holds every timeframe"),
    Row("dataloader.*", why=_RESIDENT),
    Row("masking.mask_ratio", "masking.mask_ratio"),
    Row("masking.mask_span_min", "masking.mask_span_min"),
    Row("masking.mask_span_max", "masking.mask_span_max"),
    Row("masking.sync_across_tf", "masking.sync_across_tf"),
    Row("masking.use_vectorized", why="hiding is always vectorised"),
    Row("masking.mask_token_lr_scale", why="what stands for hidden bars learns as all but the T5"),
    Row("loss.weights.recon_tf", "loss.weights.recon_tf"),
    Row("loss.weights.spec_tf", "loss.weights.spec_tf"),
    Row("loss.weights.cross", "loss.weights.cross", "0 for bars that aggregate, so never 0 before"),
    Row("loss.weights.amp_phase", "loss.weights.amp_phase"),
    Row("loss.huber_delta", "loss.huber_delta"),
    Row("loss.stft_scales", why="the spectral loss has windows of 8, 16 and 32 bars"),
    Row(
        "training.batch_size",
        "training.batch_size",
        "windows of a whole step: times accumulate_grad_batches",
        _batch_size,
    ),
    Row(
        "training.accumulate_grad_batches",
        why="is in training.batch_size; what does not fit into memory is worked on in parts",
    ),
    Row(
        "training.epochs",
        "training.epochs",
        "an epoch is training.steps_per_epoch steps, not all windows; stage1.plan says their share",
    ),
    Row(
        "training.precision",
        "training.precision",
        found=_one_of("training.precision", _PRECISIONS, "set training.precision"),
    ),
    Row("training.gradient_clip", "training.gradient_clip", found=_clip),
    Row(
        "training.warmup_epochs", "training.warmup_share", "over training.epochs", _share_of_epochs
    ),
    Row("training.layerwise_lr_decay", "transfer_learning.layerwise_lr_decay"),
    Row(
        "training.t5_lr_top",
        "transfer_learning.lm_learning_rate_factor",
        "as a multiple of training.optimizer.lr",
        _top_rate,
    ),
    Row(
        "training.early_stop.*",
        why="every trial of a study runs to its horizon; a training by stage1.train may have "
        "training.early_stop",
    ),
    Row(
        "training.origin.*", why="says which trial a configuration is of, and a study's is of none"
    ),
    Row(
        "training.optimizer.name",
        found=_one_of("", dict.fromkeys(("AdamW", "adamw", "Adamw")), "the optimiser is AdamW"),
    ),
    Row("training.optimizer.lr", "training.optimizer.lr"),
    Row(
        "training.optimizer.betas",
        "training.optimizer.beta1 and beta2",
        found=lambda value, _old: {
            f"training.optimizer.beta{place}": beta for place, beta in enumerate(value, start=1)
        },
    ),
    Row("training.optimizer.weight_decay", "training.optimizer.weight_decay"),
    Row(
        "training.scheduler.name",
        "training.schedule",
        "warmup_cosine rises in a line and falls as a cosine",
        _schedule,
    ),
    Row(
        "training.scheduler.max_lr",
        "training.optimizer.lr",
        "the peak of the cycle",
        _of_one_cycle("training.optimizer.lr"),
    ),
    Row(
        "training.scheduler.pct_start",
        "training.warmup_share",
        found=_of_one_cycle("training.warmup_share"),
    ),
    Row(
        "training.scheduler.num_warmup_steps",
        why="steps of an epoch over all windows; the rise here is training.warmup_share, a share "
        "of all steps: set it",
    ),
    Row("training.scheduler.interval", why="the learning rate changes with every step"),
    Row("training.scheduler.div_factor", why=_ENDS),
    Row("training.scheduler.final_div_factor", why=_ENDS),
    Row(
        "development.limit_train_batches",
        "training.steps_per_epoch",
        "steps, not batches: over accumulate_grad_batches",
        _training_batches,
    ),
    Row(
        "development.limit_val_batches",
        "data.validation_windows",
        "windows, not batches: times training.batch_size",
        _validation_batches,
    ),
    Row("development.*", why="stage1.train has --fast-dev-run and --max-epochs"),
    Row(
        "evaluation.eval_mask_ratio",
        "evaluation.tf_specific_mask_ratios",
        "of each timeframe; left out where it is masking.mask_ratio",
        _eval_ratio,
    ),
    Row("evaluation.tf_specific_mask_ratios", "evaluation.tf_specific_mask_ratios"),
    Row("transfer_learning.use_pretrained_lm", "transfer_learning.use_pretrained_lm"),
    Row("transfer_learning.lm_name_or_path", "transfer_learning.lm_name_or_path"),
    Row("transfer_learning.freeze_lm_epochs", "transfer_learning.freeze_lm_epochs"),
    Row("transfer_learning.patch_len", "transfer_learning.patch_len"),
    Row("transfer_learning.lm_learning_rate_factor", "transfer_learning.lm_learning_rate_factor"),
    Row("model.async_sampler", "model.async_sampler"),
    Row("model.tf_stem.kernel_size", "model.stem.kernel"),
    Row("model.tf_stem.d_model", "model.stem.width"),
    Row("model.encoder.d_model", "model.encoder.d_model", "of the vanilla encoder alone"),
    Row("model.encoder.n_layers", "model.encoder.layers", "of the vanilla encoder alone"),
    Row("model.encoder.n_heads", "model.encoder.heads", "of the vanilla encoder alone"),
    Row(
        "model.encoder.cross_attn_every",
        why="timeframes see each other once, behind all blocks; model.cross_pairs says which",
    ),
    Row("model.bottleneck.stride", "model.bottleneck_stride"),
    Row("model.decoder.*", why="a decoder is two linear layers per timeframe"),
    Row("model.positional.*", why="a patch has a learned position, a T5 its relative ones besides"),
    Row(
        "normalization.method",
        "data.normalization",
        found=_one_of(
            "data.normalization",
            {"zscore": "zscore", "instance": "instance"},
            "data.normalization is instance or zscore",
        ),
    ),
    Row("augmentation.*", why="windows are trained on as they are"),
    Row("lr_finder.*", why="stage1.tune searches the learning rate"),
)


class Translated(NamedTuple):
    """The configuration in our keys, and a line about every key that is not the same here."""

    config: Config
    kept: int
    """Keys whose value and meaning are the same."""
    changed: list[str]
    """file:line: key -> our key: value: what is different."""
    left: list[str]
    """file:line: key: why it has no counterpart."""


def read_predecessor(path: Path) -> Translated:
    """Read a configuration of the predecessor.

    Raises:
        ConfigError: The file cannot be read, is a search space, or a value breaks a rule of ours;
            all faults, with their lines.
    """
    source = load_yaml(path)
    if "arms" in source.values or "space" in source.values:
        raise ConfigError(
            f"{path}: must be a configuration, got a search space; copy it and its base to "
            "begin another"
        )
    old, exact = Old(source.values), {row.old: row for row in ROWS}
    ours: dict[str, Any] = {}
    origins: dict[KeyPath, str] = {}
    kept, changed, left = 0, list[str](), list[str]()
    for keys, value in _keys(source.values, exact):
        key, place = dotted(keys), source.origin(keys)
        row = exact.get(key) or _row_above(keys) or _unknown(keys)
        found = _found(row, value, old, place, key)
        if isinstance(found, str):
            left.append(f"{place}: {key}: {found}")
            continue
        for name, one in found.items():
            target = tuple(name.split("."))
            origins |= {target[:depth]: place for depth in range(1, len(target) + 1)}
            if name != key or name not in ours:  # what another key says of it goes before its own
                ours[name] = one
        if found in ({}, {key: value}) and not row.why:
            kept += 1
        else:
            changed.append(f"{place}: {key}{_said(key, found)}{row.why and f' ({row.why})'}")
    config = check_config(YamlSource(path, nested(ours), origins))
    return Translated(config, kept, changed, left)


def _said(key: str, found: dict[str, Any]) -> str:
    if list(found) == [key]:
        return f": {shown(found[key])}"
    values = ", ".join(f"{name}: {shown(value)}" for name, value in found.items())
    return f" -> {values or 'nothing to set'}"


def _keys(values: dict[str, Any], exact: dict[str, Row], above: KeyPath = ()) -> Iterator[Any]:
    """Every key that has a row, or no keys below it, with its value."""
    for name, value in values.items():
        keys = (*above, str(name))
        if isinstance(value, dict) and value and dotted(keys) not in exact:
            yield from _keys(value, exact, keys)
        else:
            yield keys, value


def _row_above(keys: KeyPath) -> Row | None:
    return next((row for row in ROWS if row.old in _stars(keys)), None)


def _stars(keys: KeyPath) -> set[str]:
    return {f"{dotted(keys[:length])}.*" for length in range(1, len(keys) + 1)}


def _unknown(keys: KeyPath) -> Row:
    part: Any = Config
    for name in keys:
        fields = part.model_fields if isinstance(part, type) and issubclass(part, Section) else {}
        part = fields[name].annotation if name in fields else None
    key = dotted(keys)
    if part is None or (isinstance(part, type) and issubclass(part, Section)):
        return Row(key, why="is not known, neither of the predecessor nor here")
    return Row(key, key, "is not known of the predecessor; kept, since a key of ours is called so")


def _found(row: Row, value: Any, old: Old, place: str, key: str) -> Found:
    """What a value becomes; null, and what has no counterpart, are reasons."""
    if not row.new and row.found is None:
        return row.why
    if value is None:
        return "is null, which sets nothing"
    if row.found is None:
        return {row.new: value}
    try:
        return row.found(value, old)
    except (TypeError, ValueError, ZeroDivisionError, OverflowError):
        raise ConfigError(
            f"{place}: {key}: must be of the kind that its name says, got {shown(value)}"
        ) from None
