"""The programs of docs/encoder.md, run as they stand there."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from command_line import ROOT
from small_checkpoint import write_checkpoint, write_market
from synthetic_bars import market

from stage1.encode import encode

PAGE = (ROOT / "docs" / "encoder.md").read_text(encoding="utf-8")


def program(first):
    """The indented block that begins with a line."""
    blocks = re.findall(r"(?:^    .*\n|^\n(?=    ))+", PAGE, flags=re.MULTILINE)
    (found,) = [block for block in blocks if block.strip().startswith(first)]
    return re.sub("^    ", "", found, flags=re.MULTILINE).strip() + "\n"


@pytest.fixture
def names(tmp_path, monkeypatch, call_command):
    """What the programs have done with, in a folder where their paths exist."""
    monkeypatch.chdir(tmp_path)
    Path("runs/train/transfer").mkdir(parents=True)
    write_checkpoint(Path("runs/train/transfer/last.ckpt"))
    Path("data").mkdir()
    write_market(Path("data/derived"), 600)
    m1 = market(300, ("m1",))["m1"]
    return {"numpy": np, "pandas": pd, "open_time": m1.open_time, "prices": m1.prices}


def test_the_programs_give_the_documented_shapes(names):
    exec(program("from pathlib import Path"), names)
    encoder, batch = names["encoder"], names["batch"]
    count = len(names["windows"].ends)
    assert names["codes"].shape == (count, 3, encoder.seq_len, encoder.d_model)
    assert names["vectors"].shape == (count, 3, encoder.d_model)
    assert batch.features.shape == (count, 3, encoder.seq_len, 6)
    assert batch.real.shape == (count, 3, encoder.seq_len)

    exec(program("import numpy"), names)
    assert names["newest"].features.shape == (1, 3, encoder.seq_len, 6)
    assert names["windows"].ends[-1] == names["open_time"][-1] + 60


def test_the_file_is_read_as_documented(names, call_command):
    call_command(encode, "runs/train/transfer/last.ckpt", "--data-dir", "data/derived")

    exec(program("embeddings ="), names)

    assert names["vectors"].shape == (361, 8)
