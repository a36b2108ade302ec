"""The programs of docs/encoder.md and docs/next_hour.md, run as they stand there."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from command_line import ROOT, stage1
from rich.console import Console
from small_checkpoint import changed_checkpoint, write_checkpoint, write_market
from synthetic_bars import market

from stage1.data.load import load_bars
from stage1.encode import encode
from stage1.training.encoder import encode_to_file


def program(first, page="encoder.md"):
    """The indented block of a page that begins with a line."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    blocks = re.findall(r"(?:^    .*\n|^\n(?=    ))+", text, flags=re.MULTILINE)
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


HALF = "runs/train/half/last.ckpt"
MIDDLE = pd.Timestamp("2026-08-24", tz="UTC")


@pytest.fixture(scope="module")
def forecast(checkpoint, tmp_path_factory):
    """What the program of next_hour.md computes, with vectors of an encoder that knows nothing.

    Which says to have been trained until the middle of the bundled bars.
    """

    def half(content):
        content["stage1"]["config"]["data"]["data_dir"] = "sample"
        until = {"begins_at": 0, "split_at": int(MIDDLE.timestamp())}
        content["stage1"]["bars"] |= until

    names = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("next_hour"))
        # The penalty is chosen in two thousand fits, which are the slow test's.
        patch.setattr("sklearn.model_selection.GridSearchCV", lambda model, grid, cv: model)
        Path(HALF).parent.mkdir(parents=True)
        changed_checkpoint(checkpoint, Path(HALF), half)
        encode_to_file(
            Path(HALF), None, Path("half.parquet"), stride=60, console=Console(quiet=True)
        )
        exec(program("import numpy", "next_hour.md"), names)
    return names


def test_a_forecast_of_the_next_hour_knows_nothing_of_it(forecast):
    ends, hour = forecast["table"].index, pd.Timedelta("1h")

    for begin, period, known in zip(
        *(forecast[name] for name in ("begins", "periods", "before")), strict=True
    ):
        assert begin == ends[period[0]] > MIDDLE
        assert ends[known[-1]] + hour <= begin
        assert known[0] == 0
    assert list(np.concatenate(forecast["periods"])) == list(
        range(forecast["periods"][0][0], len(ends))
    )


def test_past_and_next_hour_are_those_of_the_minutes_before_and_after(forecast):
    table, m1 = forecast["table"], load_bars(None, ("m1",))["m1"]
    closes = dict(zip((m1.open_time + 60).tolist(), np.log(m1.prices[:, 3]), strict=True))

    for end in table.index[::50]:
        seconds = int(end.timestamp())
        changes = [
            closes[at] - closes[at - 60]
            for at in range(seconds - 1440 * 60 + 60, seconds + 3601, 60)
        ]
        past, after = changes[:1440], changes[1440:]
        for minutes in (60, 360, 1440):
            expected = np.log(np.mean(np.square(past[-minutes:]))) / 2
            assert table.loc[end, f"past {minutes}"] == pytest.approx(expected, rel=1e-6)
        expected = np.log(np.mean(np.square(after))) / 2
        assert forecast["truth"][end] == pytest.approx(expected, rel=1e-6)


def test_the_table_of_the_forecast_is_that_of_its_predictions(forecast):
    result, truth, periods = (forecast[name] for name in ("result", "truth", "periods"))
    tested = np.concatenate(periods)
    flat = np.concatenate(
        [
            np.full(len(p), truth.iloc[b].mean())
            for b, p in zip(forecast["before"], periods, strict=True)
        ]
    )
    again = forecast["table"]["past 60"].iloc[tested]

    errors = [((truth.iloc[tested] - guess) ** 2).sum() for guess in (again, flat)]

    assert result.loc["last hour", "R2"] == pytest.approx(1 - errors[0] / errors[1])
    assert list(result["periods better than past"].between(0, 6)) == [True] * 7
    assert result.loc["past", "periods better than past"] == 0


@pytest.mark.slow
def test_what_the_page_says_of_the_bundled_bars_is_so(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    config = "extends: {}\ndata: {{validation_share: 0.5}}\n".format(ROOT / "configs/sample.yaml")
    Path("half.yaml").write_text(config)
    stage1("stage1.train", "half.yaml", "--out", Path(HALF).parent, cwd=tmp_path)
    stage1("stage1.encode", HALF, "--stride", 5, "--out", "half.parquet", cwd=tmp_path)

    names = {}
    exec(program("import numpy", "next_hour.md"), names)

    r2 = names["result"]["R2"]
    assert r2.idxmax() == "past"
    assert r2["past"] == pytest.approx(0.63, abs=0.005)  # which no training is needed for
    assert r2["code"] < 0.1
    assert r2["past"] - r2["past, code, mean, scale"] > 0.03
