"""The configuration: what it accepts, and how every fault is told."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from stage1.base.errors import ConfigError
from stage1.base.steps import MINUTES
from stage1.config import Config, Section, config_yaml, load_config, nested, with_values
from stage1.config.rules import RuleError

ROOT = Path(__file__).parents[2]


def lines_of(path):
    with pytest.raises(ConfigError) as raised:
        load_config(path)
    return str(raised.value).splitlines()


def test_base_yaml_names_every_key_with_its_default():
    assert yaml.safe_load((ROOT / "configs" / "base.yaml").read_text()) == yaml.safe_load(
        config_yaml(Config())
    )


def test_a_configuration_written_out_reads_back_the_same(write):
    values = {"data.timeframes": ["m1", "h4"], "transfer_learning.n_pretrained_blocks": 2}
    config = with_values(Config(), values)

    assert load_config(write(config_yaml(config))) == config


def test_a_number_in_the_form_3e_4_is_a_number_though_yaml_takes_it_for_text(write):
    path = write("training:\n  optimizer: {lr: 3e-4}\n")

    assert load_config(path).training.optimizer.lr == 0.0003


def test_a_configuration_does_not_change():
    config = Config()

    with pytest.raises(ValidationError, match="frozen"):
        config.training.epochs = 3


def test_equal_configurations_have_equal_hashes_whatever_the_order_of_a_mapping():
    one, other = (
        with_values(Config(), {"evaluation.tf_specific_mask_ratios": dict(pairs)})
        for pairs in ([("m1", 0.1), ("m5", 0.2)], [("m5", 0.2), ("m1", 0.1)])
    )

    assert one == other
    assert hash(one) == hash(other)


def test_every_key_says_what_it_is():
    sections = [Config]
    silent = []
    for section in sections:
        for name, field in section.model_fields.items():
            if not field.description:
                silent.append(f"{section.__name__}.{name}")
            if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
                sections.append(field.annotation)

    assert silent == []
    assert len(sections) > 8


def test_dotted_keys_become_sections():
    dotted = {"a.b.c": 1, "a.b.d": 2, "e": 3}

    assert nested(dotted) == {"a": {"b": {"c": 1, "d": 2}}, "e": 3}


def test_setting_a_key_leaves_the_others_and_the_original():
    config = Config()

    changed = with_values(config, {"training.optimizer.lr": 0.5, "data.seq_len": 32})

    assert (changed.training.optimizer.lr, changed.data.seq_len) == (0.5, 32)
    assert changed.training.optimizer.beta2 == config.training.optimizer.beta2
    assert changed.masking == config.masking
    assert config == Config()


@pytest.mark.parametrize(
    "values",
    [
        pytest.param({"training.optimiser.lr": 1.0}, id="unknown key"),
        pytest.param({"training.optimizer.lr": -1.0}, id="broken bound"),
        pytest.param({"transfer_learning.patch_len": 5}, id="keys that do not fit together"),
    ],
)
def test_setting_a_key_checks_the_whole_anew(values):
    with pytest.raises(ValidationError):
        with_values(Config(), values)


@pytest.mark.parametrize(
    ("key_and_value", "rule"),
    [
        ("training.optimizer.lr: -1", "must be > 0, got -1"),
        ("masking.mask_ratio: 1", "must be < 1, got 1"),
        ("model.encoder.d_modle: 64", "unknown key; did you mean 'd_model'?"),
        ("trainig: {}", "unknown key; did you mean 'training'?"),
        (
            "transfer_learning.initialization: pretraind",
            "must be 'pretrained', 'random', 'shuffled', 'mean_sd', 'norms_only', "
            "'attention_only', 'mlp_only' or 'spectrum', got 'pretraind'",
        ),
        ("training.epochs: many", "must be a whole number, got 'many'"),
        ("training.epochs: 1.5", "must be a whole number, got 1.5"),
        ("training.optimizer.lr: fast", "must be a number, got 'fast'"),
        ("training.optimizer.lr: .nan", "must be a finite number, got nan"),
        ("masking.sync_across_tf: perhaps", "must be true or false, got 'perhaps'"),
        ("transfer_learning.lm_name_or_path: 5", "must be text, got 5"),
        ("data: null", "must be a mapping of keys to values, got None"),
        ("data.timeframes: m1", "must be a list, got 'm1'"),
        ("data.timeframes: [m1, 5]", "must be text, got 5"),
        ("training.batch_size: many", "must be a whole number or auto, got 'many'"),
        ("training.batch_size: .inf", "must be a whole number or auto, got inf"),
        (
            "model.cross_pairs: [[m1, m5, m15]]",
            "must be a list of pairs such as [[m1, m5]], or null, got [['m1', 'm5', 'm15']]",
        ),
        (
            "model.cross_pairs: [m1, m5]",
            "must be a list of pairs such as [[m1, m5]], or null, got ['m1', 'm5']",
        ),
        ("data.sampling_probs.m5: 1.5", "must be from 0 to 1, got 1.5"),
        (
            "data.sampling_probs: {m5: 0.5}",
            "must be left out without model.async_sampler: all timeframes are in a window",
        ),
        (
            "model.cross_pairs: [[m1, m1]]",
            "must be pairs of two of data.timeframes=['m1', 'm5', 'm15', 'm30', 'h1', 'h4'], "
            "got ['m1', 'm1']",
        ),
        (
            "data.timeframes: [m5, m1]",
            "must go from fine to coarse, each a multiple of the one before, got ['m5', 'm1']",
        ),
        ("data.step: 1h", "must be left out with data.kind: ohlc, got '1h'"),
        (
            "data.timeframes: [m1, m1]",
            "must go from fine to coarse, each a multiple of the one before, got ['m1', 'm1']",
        ),
        (
            "data.timeframes: []",
            "must go from fine to coarse, each a multiple of the one before, got []",
        ),
        ("model.bottleneck_stride: 7", "must divide data.seq_len=64, got 7"),
    ],
)
def test_a_fault_names_file_line_key_rule_and_value(write, key_and_value, rule):
    key, _, value = key_and_value.partition(": ")
    sections = key.split(".")
    lines = [f"{'  ' * depth}{name}:" for depth, name in enumerate(sections)]
    path = write("\n".join(lines) + f" {value}\n")

    assert lines_of(path) == [f"{path}:{len(sections)}: {key}: {rule}"]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (
            "model: {async_sampler: true}\ndata:\n  timeframes: [m1, m5]\n  sampling_probs: {m1: "
            "0.5}\n",
            "4: data.sampling_probs.m1: must be 1, since m1 is in every window, got 0.5",
        ),
        (
            "data:\n  seq_len: 128\nmodel:\n  async_sampler: true\n",
            "2: data.seq_len: must be at least one bar of h4, 240 minutes, long with "
            "model.async_sampler, got 128",
        ),
        (
            "evaluation:\n  tf_specific_mask_ratios:\n    m1: 0.2\n    m5: 1\n",
            "4: evaluation.tf_specific_mask_ratios.m5: must be > 0 and < 1, got 1.0",
        ),
        (
            "data:\n  timeframes: [m1, m5]\nevaluation:\n  tf_specific_mask_ratios: {h1: 0.2}\n",
            "4: evaluation.tf_specific_mask_ratios.h1: must be among data.timeframes=['m1', "
            "'m5'], got 'h1'",
        ),
        (
            "data:\n  stride: 2\n  timeframes: [m1, m7]\n",
            f"3: data.timeframes: must be among {', '.join(MINUTES)}, got 'm7'",
        ),
        (
            "data:\n  kind: series\n  timeframes: [x1, m5]\n",
            "3: data.timeframes: must be x1 and multiples of the step such as x4 or x12 with "
            "data.kind: series, got 'm5'",
        ),
        (
            "data:\n  kind: series\n  timeframes: [x1, x4, x6]\n",
            "3: data.timeframes: must start with x1 and go from fine to coarse, each a "
            "multiple of the one before, got ['x1', 'x4', 'x6']",
        ),
        (
            "data:\n  kind: series\n  timeframes: [x4, x12]\n",
            "3: data.timeframes: must start with x1 and go from fine to coarse, each a "
            "multiple of the one before, got ['x4', 'x12']",
        ),
        (
            "data: {kind: series, timeframes: [x1], channels: [a, a]}\n",
            "1: data.channels: must be names of columns, each once, got ['a', 'a']",
        ),
        (
            "data: {kind: series, timeframes: [x1], step: soon}\n",
            "1: data.step: must be a number and one of s, min, h, d, w, mo, y, such as 1h or "
            "1mo, got 'soon'",
        ),
        (
            "data: {kind: series, timeframes: [x1, x12], seq_len: 8}\nmodel: {async_sampler: "
            "true}\ntransfer_learning: {patch_len: 4}\nmasking: {mask_ratio: 0.5}\n",
            "1: data.seq_len: must be at least one bar of x12, 12 steps, long with "
            "model.async_sampler, got 8",
        ),
    ],
)
def test_keys_that_do_not_fit_together_are_reported_at_the_line_of_one(write, text, fault):
    path = write(text)

    assert lines_of(path) == [f"{path}:{fault}"]


def test_a_rule_of_several_keys_keeps_each_with_its_path():
    error = RuleError(("a.b", "must be odd, got 2"), ("c", "must be > 0, got 0"))

    assert error.faults == [(("a", "b"), "must be odd, got 2"), (("c",), "must be > 0, got 0")]
    assert str(error) == "a.b: must be odd, got 2; c: must be > 0, got 0"


def test_all_faults_of_a_file_are_told_at_once_each_with_its_line(write):
    path = write(
        "data: {seq_len: 4}\n"
        "training:\n"
        "  epoch: 3\n"
        "  batch_size: 0\n"
        "model:\n"
        "  stem: {kernel: 2}\n"
        "  encoder:\n"
        "    heads: 5\n"
    )

    assert lines_of(path) == [
        f"{path}:1: data.seq_len: must be >= 8, got 4",
        f"{path}:6: model.stem.kernel: must be odd, got 2",
        f"{path}:8: model.encoder.heads: must divide d_model=64, got 5",
        f"{path}:4: training.batch_size: must be >= 1, got 0",
        f"{path}:3: training.epoch: unknown key; did you mean 'epochs'?",
    ]


def test_several_keys_that_do_not_fit_together_have_a_line_each(write):
    path = write(
        "transfer_learning:\n  patch_len: 5\nmasking:\n  mask_span_max: 2\n  mask_ratio: 0.01\n"
    )

    assert lines_of(path) == [
        f"{path}:2: transfer_learning.patch_len: must divide data.seq_len=64, got 5",
        f"{path}:4: masking.mask_span_max: must be >= masking.mask_span_min=3, got 2",
        f"{path}:5: masking.mask_ratio: must hide at least one span of 3 of 64 bars, got 0.01",
    ]


def test_a_fault_of_an_extended_file_is_reported_where_it_stands(write):
    parent = write("training:\n  epochs: 0\n", "parent.yaml")
    child = write("extends: parent.yaml\ntraining:\n  batch_size: 0\n", "child.yaml")

    assert lines_of(child) == [
        f"{parent}:2: training.epochs: must be >= 1, got 0",
        f"{child}:3: training.batch_size: must be >= 1, got 0",
    ]


NASTY = [None, True, 0, -1, 10**400, 1e308, math.inf, math.nan, "", "3e-4", "\0\x1b[2J", [], {}]
VALUES = st.sampled_from([*NASTY, ["m1"], ["m5", "m1"], [[1]], {"lr": {}}]) | st.text(max_size=4)
KEYS = (
    *("data", "data.seq_len", "data.timeframes", "masking.mask_ratio", "masking.mask_span_max"),
    *("loss.weights", "loss.weights.cross", "model.stem.kernel", "model.encoder.heads"),
    *("transfer_learning.n_pretrained_blocks", "transfer_learning.patch_len", "extends", "1"),
    *("training.seed", "training.epochs", "training.optimizer", "training.optimizer.lr"),
    *("training.precision", "training.unknown", "unknown", "\x1b"),
)
FILES = st.binary(max_size=60) | st.dictionaries(
    st.sampled_from(KEYS), VALUES, min_size=1, max_size=3
).map(lambda values: yaml.safe_dump(nested(values), allow_unicode=True).encode())


@settings(
    max_examples=400,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(content=FILES)
def test_any_bytes_and_values_give_a_configuration_or_faults_that_name_the_file(tmp_path, content):
    path = tmp_path / "x.yaml"
    path.write_bytes(content)

    try:
        load_config(path)
        lines = []
    except ConfigError as error:
        lines = str(error).split("\n")

    assert all(line.startswith(f"{path}:") and line.isprintable() for line in lines)
