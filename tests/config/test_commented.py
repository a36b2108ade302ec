"""The configuration that is written for people: the same values, every key explained."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
import yaml
from command_line import ROOT

from stage1.config import Config, load_config
from stage1.config.commented import commented_yaml

CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_what_is_written_reads_as_the_same_configuration(path, write):
    config = load_config(path)

    assert load_config(write(commented_yaml(config))) == config


def test_no_key_is_left_out():
    base = yaml.safe_load((ROOT / "configs" / "base.yaml").read_text())  # "Every key"

    assert leaves(yaml.safe_load(commented_yaml(Config()))) == leaves(base)


def leaves(values: dict, prefix: str = "") -> set[str]:
    """Dotted keys of all that is no section."""
    found = set()
    for key, value in values.items():
        inside = isinstance(value, dict) and value
        found |= leaves(value, f"{prefix}{key}.") if inside else {f"{prefix}{key}"}
    return found


def test_every_key_stands_below_a_comment():
    lines = commented_yaml(Config()).splitlines()

    above = {
        line.strip(): before.strip()
        for before, line in pairwise(lines)
        if line.strip() and not line.strip().startswith("#")
    }

    assert above["seq_len: 64"] == (
        "# Bars of each timeframe in a window; its minutes, with `model.async_sampler`."
    )
    assert [key for key, comment in above.items() if not comment.startswith("# ")] == []
    assert max(map(len, lines)) <= 100


def test_lists_are_one_line_and_lists_of_lists_a_line_each(write):
    text = commented_yaml(load_config(Path("t5_large_nofreeze")))

    assert "\n  timeframes: [m1, m5, m15, m30, h1, h4]\n" in text
    assert "\n  cross_pairs:\n  - [m1, m5]\n  - [m5, m15]\n" in text
