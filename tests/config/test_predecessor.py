"""A configuration of the predecessor: what of it is ours, and what is said of the rest."""

from __future__ import annotations

import re

import pytest
import yaml

from stage1.base.errors import ConfigError
from stage1.base.text import dotted
from stage1.config import Config, config_yaml, with_values
from stage1.config.predecessor import ROWS, read_predecessor
from stage1.run.comparison_record import leaves

WHOLE = """\
runtime: {seed: 3, experiment_name: "trial"}
data:
  seq_len: 128
  timeframes: [m1, m5, m15]
  n_timeframes: 3
  total_channels: 18
  data_dir: "bars"
  stats_file: "stats.json"
  sampling_probs: {m1: 1.0, m5: 0.5}
dataloader: {num_workers: 2, pin_memory: true}
masking: {mask_ratio: 0.25, mask_span_min: 2, mask_span_max: 4, use_vectorized: true}
loss:
  weights: {recon_tf: 0.5, cross: 0.1}
  stft_scales: [16]
training:
  batch_size: 48
  accumulate_grad_batches: 3
  epochs: 9
  precision: 16
  gradient_clip: 0.7
  warmup_epochs: 3
  t5_lr_top: 5.0e-4
  early_stop: {patience: 2, min_delta: 0.1}
  optimizer: {name: AdamW, lr: 1.0e-3, betas: [0.8, 0.9]}
  scheduler: {name: cosine_with_warmup, max_lr: 0.1, num_warmup_steps: 9}
development: {limit_train_batches: 100, limit_val_batches: 2}
evaluation:
  eval_mask_ratio: 0.3
  tf_specific_mask_ratios: {m5: 0.2}
transfer_learning: {use_pretrained_lm: true, lm_name_or_path: "t5-small", patch_len: 16}
model:
  async_sampler: true
  tf_stem: {kernel_size: 5, d_model: 32}
  bottleneck: {stride: 4}
  decoder: {n_layers: 1}
normalization: {method: zscore}
augmentation: {gaussian_noise: 0.5}
"""
OURS = {
    "training.seed": 3,
    "data.seq_len": 128,
    "data.timeframes": ("m1", "m5", "m15"),
    "data.data_dir": "bars",
    "data.sampling_probs": {"m1": 1.0, "m5": 0.5},
    "data.normalization": "zscore",
    "data.validation_windows": 96,  # 2 batches of 48
    "masking.mask_ratio": 0.25,
    "masking.mask_span_min": 2,
    "masking.mask_span_max": 4,
    "loss.weights.recon_tf": 0.5,
    "loss.weights.cross": 0.1,
    "training.batch_size": 144,  # 3 of 48 to a step
    "training.steps_per_epoch": 34,  # 100 batches, 3 to a step
    "training.epochs": 9,
    "training.precision": "16-mixed",
    "training.gradient_clip": 0.7,
    "training.warmup_share": 3 / 9,
    "training.optimizer.beta1": 0.8,
    "training.optimizer.beta2": 0.9,
    "training.schedule": "warmup_cosine",
    "evaluation.tf_specific_mask_ratios": {"m1": 0.3, "m5": 0.2, "m15": 0.3},
    "transfer_learning.lm_name_or_path": "t5-small",
    "transfer_learning.patch_len": 16,
    "transfer_learning.lm_learning_rate_factor": 0.5,
    "model.async_sampler": True,
    "model.stem.kernel": 5,
    "model.stem.width": 32,
    "model.bottleneck_stride": 4,
}


def test_what_corresponds_is_taken_and_all_else_has_our_default(write):
    config = read_predecessor(write(WHOLE)).config

    values, defaults = leaves(config), leaves(Config())
    assert {key: value for key, value in values.items() if value != defaults[key]} == OURS


def test_every_key_is_kept_or_has_a_line_of_its_own(write):
    path = write(WHOLE)

    read = read_predecessor(path)

    lines = WHOLE.splitlines()
    listed = [
        re.match(rf"{path}:(\d+): ([\w.]+)(:| ->) ", line) for line in read.changed + read.left
    ]
    for line in listed:
        assert f"{line[2].split('.')[-1]}:" in lines[int(line[1]) - 1]
    keys = [line[2] for line in listed]
    assert len(set(keys)) == len(keys)
    assert read.kept + len(keys) == len(list(all_keys(yaml.safe_load(WHOLE))))
    assert [line.split(": ")[1] for line in read.left] == [
        "runtime.experiment_name",
        "data.n_timeframes",
        "data.total_channels",
        "data.stats_file",
        "dataloader.num_workers",
        "dataloader.pin_memory",
        "masking.use_vectorized",
        "loss.stft_scales",
        "training.accumulate_grad_batches",
        "training.early_stop.patience",
        "training.early_stop.min_delta",
        "training.scheduler.max_lr",
        "training.scheduler.num_warmup_steps",
        "model.decoder.n_layers",
        "augmentation.gaussian_noise",
    ]


def all_keys(values, above=()):
    """Those without keys below; the shares of timeframes count as one."""
    for name, value in values.items():
        keys = (*above, name)
        whole = name in ("sampling_probs", "tf_specific_mask_ratios")
        if isinstance(value, dict) and not whole:
            yield from all_keys(value, keys)
        else:
            yield dotted(keys)


@pytest.mark.parametrize(
    ("text", "changes"),
    [
        (
            "training: {optimizer: {lr: 1.0e-4}, scheduler: {name: OneCycleLR, max_lr: 2.0e-3, "
            "pct_start: 0.3}}",
            {"training.optimizer.lr": 2e-3, "training.warmup_share": 0.3},
        ),
        (
            "training: {scheduler: {max_lr: 2.0e-3, name: one_cycle}, optimizer: {lr: 1.0e-4}}",
            {"training.optimizer.lr": 2e-3},
        ),
        ("training: {scheduler: {pct_start: 0.3}, gradient_clip: 0}", {}),
        ("training: {precision: bf16, batch_size: auto}", None),
        ("evaluation: {eval_mask_ratio: 0.15}", {}),
        ("data: {sampling_probs: {m1: 1.0, m5: 0.5}}", {}),
        ("development: {limit_train_batches: 0.5, limit_val_batches: null}", {}),
        (
            "training: {t5_lr_top: 1.0e-4}\ntransfer_learning: {lm_learning_rate_factor: 0.3}",
            {"transfer_learning.lm_learning_rate_factor": 0.3},
        ),
        ("normalization: {method: minmax}", {}),
    ],
)
def test_a_value_means_what_it_meant_beside_the_others(write, text, changes):
    if changes is None:
        changes = {"training.precision": "bf16-mixed", "training.batch_size": "auto"}

    assert read_predecessor(write(text)).config == with_values(Config(), changes)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("model: {flux: 1}", ":1: model.flux: is not known, neither of the predecessor nor here"),
        ("data:\n  stride: 5", ":2: data.stride: 5 (is not known of the predecessor; kept, since"),
        (
            "training: {t5_lr_top: 1.0e-4}\ntransfer_learning: {lm_learning_rate_factor: 0.3}",
            ":1: training.t5_lr_top: contradicts transfer_learning.lm_learning_rate_factor: 0.3",
        ),
        ("training: {scheduler: {name: step}}", "got 'step'; set training.schedule"),
        ("training: {optimizer: {name: Lion}}", "has no counterpart for 'Lion'; the optimiser is"),
        ("training: {warmup_epochs: null}", ":1: training.warmup_epochs: is null, which sets"),
    ],
)
def test_what_is_not_certain_is_said(write, text, line):
    read = read_predecessor(write(text))

    assert any(line in said for said in read.changed + read.left)


def test_values_that_break_a_rule_of_ours_are_refused_with_their_lines_all_at_once(write):
    path = write("model:\n  tf_stem: {kernel_size: 4}\ntraining:\n  epochs: 0\n")

    with pytest.raises(ConfigError) as refused:
        read_predecessor(path)

    assert str(refused.value).splitlines() == [
        f"{path}:2: model.stem.kernel: must be odd, got 4",
        f"{path}:4: training.epochs: must be >= 1, got 0",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "training: {batch_size: many}",
        "training: {optimizer: {betas: 3}}",
        "training: {warmup_epochs: [1]}",
        "training: {accumulate_grad_batches: 0}\ndevelopment: {limit_train_batches: 3}",
        "data: {timeframes: 3}\nevaluation: {eval_mask_ratio: 0.3}",
    ],
)
def test_a_value_of_another_kind_is_one_line(write, text):
    with pytest.raises(
        ConfigError, match=r"^\S+:\d: [\w.]+: must be of the kind that its name says"
    ):
        read_predecessor(write(text))


def test_a_configuration_of_ours_reads_as_itself(write):
    config = with_values(Config(), OURS)

    read = read_predecessor(write(config_yaml(config)))

    assert read.config == config


def test_a_search_space_is_refused(write):
    with pytest.raises(ConfigError, match="must be a configuration, got a search space"):
        read_predecessor(write("name: x\narms: {}\n"))


def test_every_row_names_a_key_of_ours_or_says_why_there_is_none():
    known = leaves(Config())

    for row in ROWS:
        assert row.new.split(" and ")[0] in known or (not row.new and (row.why or row.found))
    assert len({row.old for row in ROWS}) == len(ROWS)
