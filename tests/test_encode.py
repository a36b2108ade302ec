import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from rich.console import Console
from small_checkpoint import (
    changed_checkpoint,
    write_checkpoint,
    write_market,
    write_series_checkpoint,
)
from synthetic_bars import market
from synthetic_series import waves, write_folder

import stage1
from stage1.base.files import sha256_of_file
from stage1.data.bars import fingerprint
from stage1.encode import encode
from stage1.training import encoder as embeddings

COLUMNS = ["window_end", "timeframe", "vector", "mean", "scale", "in_training_period"]


@pytest.fixture(scope="module")
def bars(tmp_path_factory):
    """Some of the bars that the checkpoint was trained on."""
    return write_market(tmp_path_factory.mktemp("encode") / "bars", 600)


@pytest.fixture(scope="module")
def every(checkpoint, bars):
    """The vectors of all their windows."""
    out = bars.parent / "every.parquet"
    embeddings.encode_to_file(checkpoint, bars, out, stride=None, console=Console(quiet=True))
    return pd.read_parquet(out)


def vectors_of(table):
    """(rows, d_model)."""
    return np.stack(table["vector"].to_numpy())


def test_every_window_and_timeframe_of_the_bars_has_its_row(
    checkpoint, bars, tmp_path, call_command
):
    out = tmp_path / "new" / "e.parquet"

    status, said, errors = call_command(encode, checkpoint, "--data-dir", bars, "--out", out)

    table = pd.read_parquet(out)
    # The sixteenth bar of m15 ends 240 minutes after midnight; the last bar of m1 after 600.
    ends = pd.date_range("2018-01-02 04:00", "2018-01-02 10:00", freq="min", tz="UTC")
    assert (status, errors) == (0, "")
    assert "1,083 vectors of 8 numbers, 361 windows" in said
    assert table["window_end"].tolist() == ends.repeat(3).tolist()
    assert table["timeframe"].tolist() == ["m1", "m5", "m15"] * 361
    assert list(out.parent.iterdir()) == [out]


def test_the_vectors_are_those_of_the_loaded_encoder(checkpoint, every):
    encoder = stage1.load_encoder(checkpoint)
    (batch,) = encoder.windows(market(600, encoder.timeframes)).batches(1000)
    with torch.no_grad():
        expected = encoder.embed(batch.features, batch.real)

    np.testing.assert_allclose(vectors_of(every), expected.flatten(0, 1), atol=1e-5)


def test_mean_and_scale_are_of_the_log_prices_that_the_vector_is_without(every, bars):
    minutes = {"m1": 1, "m5": 5, "m15": 15}

    for row in every.iloc[::101].itertuples():
        table = pd.read_parquet(bars / f"{row.timeframe}.parquet")
        ends = table["timestamp"] + pd.Timedelta(minutes=minutes[row.timeframe])
        window = table[ends <= row.window_end].tail(16)  # seq_len
        levels = np.log(window[["open", "high", "low", "close"]].to_numpy())
        assert row.mean == pytest.approx(levels.mean(), rel=1e-12)
        assert row.scale == pytest.approx(levels.std(), rel=1e-9)


def test_what_reaches_into_the_time_of_the_training_is_marked(checkpoint, tmp_path, call_command):
    later = write_market(tmp_path / "bars", 2600)
    knows_its_end_alone = changed_checkpoint(
        checkpoint,
        tmp_path / "old.ckpt",
        lambda content: content["stage1"]["bars"].pop("begins_at"),
    )
    # Its first training window began at midnight; they ended 1600 minutes later.
    midnight, day = pd.Timestamp("2018-01-02", tz="UTC"), pd.Timedelta(days=1)
    (earlier := tmp_path / "earlier").mkdir()
    for file in later.iterdir():
        table = pd.read_parquet(file)
        table["timestamp"] -= day
        table.to_parquet(earlier / file.name)

    marks = {}
    for name, ckpt, folder in (
        ("later", checkpoint, later),
        ("earlier", checkpoint, earlier),
        ("old", knows_its_end_alone, earlier),
    ):
        out = tmp_path / f"{name}.parquet"
        call_command(encode, ckpt, "--data-dir", folder, "--out", out, "--stride", 5)
        marks[name] = pd.read_parquet(out).groupby("window_end")["in_training_period"].agg(set)

    # Windows are as long as 16 bars of m15, and those that end on the clock's fifth minute begin
    # with the last quarter before.
    first = {
        name: table.index.floor("15min") - pd.Timedelta(minutes=240)
        for name, table in marks.items()
    }
    for name, table in marks.items():
        expected = first[name] < midnight + pd.Timedelta(minutes=1600)
        if name != "old":
            expected &= table.index > midnight
        assert table.tolist() == [{bool(mark)} for mark in expected]
        assert len(set(expected)) == (1 if name == "old" else 2)


@pytest.mark.parametrize(
    ("at_once", "shares"),
    [
        pytest.param(10, range(10, 100, 10), id="many batches"),
        pytest.param(121, [30, 60], id="a few slow ones"),
        pytest.param(400, [], id="one"),
    ],
)
def test_in_a_pipe_progress_is_a_line_at_every_tenth_before_the_end(
    checkpoint, bars, tmp_path, call_command, monkeypatch, at_once, shares
):
    monkeypatch.setattr(embeddings, "windows_at_once", lambda data: at_once)

    said = call_command(
        encode, checkpoint, "--data-dir", bars, "--out", tmp_path / "e.parquet", "--stride", 1
    )[1].splitlines()

    assert said[:-1] == [f"windows: {share}% are done" for share in shares]


def test_a_stride_thins_the_windows_out_and_the_file_says_what_it_holds_and_comes_from(
    checkpoint, bars, every, tmp_path, call_command
):
    out = tmp_path / "e.parquet"
    call_command(encode, checkpoint, "--data-dir", bars, "--out", out, "--stride", 30)

    some, expected = pd.read_parquet(out), every[every["window_end"].dt.minute % 30 == 0]
    assert some["window_end"].tolist() == expected["window_end"].tolist()
    np.testing.assert_allclose(vectors_of(some), vectors_of(expected), atol=1e-5)
    schema = pq.read_schema(out)
    assert schema.names == COLUMNS
    assert schema.field("window_end").type == pa.timestamp("us", tz="UTC")
    assert schema.field("timeframe").type == pa.string()
    assert schema.field("vector").type.list_size == 8
    assert schema.field("vector").type.value_type == pa.float32()
    assert schema.metadata[b"checkpoint_sha256"].decode() == sha256_of_file(checkpoint)
    bars_sha256 = fingerprint(market(600, ("m1", "m5", "m15")))
    assert schema.metadata[b"bars_sha256"].decode() == bars_sha256
    assert schema.metadata[b"stride_minutes"] == b"30"


def test_rows_are_written_as_they_come_and_are_the_same_however_many_at_a_time(
    checkpoint, bars, every, tmp_path, call_command, monkeypatch
):
    out = tmp_path / "in_parts.parquet"
    monkeypatch.setattr(embeddings, "windows_at_once", lambda data: 50)
    monkeypatch.setattr(embeddings, "ROW_GROUP_BYTES", 200 * 4 * 8)

    call_command(encode, checkpoint, "--data-dir", bars, "--out", out)

    groups = pq.ParquetFile(out).metadata
    sizes = [groups.row_group(place).num_rows for place in range(groups.num_row_groups)]
    assert sizes == [300, 300, 300, 183]  # two batches of 50 windows in three timeframes
    in_parts = pd.read_parquet(out)
    assert every["window_end"].equals(in_parts["window_end"])
    np.testing.assert_allclose(vectors_of(every), vectors_of(in_parts), atol=1e-5)


def test_a_timeframe_without_a_bar_in_a_calendar_window_has_no_row(bars, tmp_path, call_command):
    sections = {"data": {"seq_len": 16}, "masking": {"mask_ratio": 0.25}}
    write_checkpoint(tmp_path / "last.ckpt", calendar=True, **sections)
    out = tmp_path / "e.parquet"

    call_command(encode, tmp_path / "last.ckpt", "--data-dir", bars, "--out", out)

    table = pd.read_parquet(out)
    # In 16 minutes lies a whole quarter of an hour if they begin with it, or one minute before.
    begins = table["window_end"] - pd.Timedelta(minutes=16)
    whole = begins.dt.minute.mod(15).isin([0, 14])
    assert set(table["window_end"][table["timeframe"] == "m15"]) == set(table["window_end"][whole])


def test_a_model_reads_the_bars_of_its_training_and_others_only_if_they_are_named(
    checkpoint, bars, tmp_path, call_command
):
    def named(content):
        names = {"data_dir": str(bars), "sha256": fingerprint(market(600, ("m1", "m5", "m15")))}
        content["stage1"]["config"]["data"] |= names

    knows = changed_checkpoint(checkpoint, tmp_path / "knows.ckpt", named)
    other = write_market(tmp_path / "other", 500)
    out = ("--out", tmp_path / "e.parquet", "--stride", 60)

    assert "7 windows" in call_command(encode, knows, *out)[1]
    assert "5 windows" in call_command(encode, knows, "--data-dir", other, *out)[1]
    assert "with ends from 2026-" in call_command(encode, knows, "--data-dir", "sample", *out)[1]
    status, said, errors = call_command(encode, checkpoint, *out)  # of a version that did not say
    assert (status, said) == (2, "")
    assert "the bars must be named with --data-dir" in errors
    (bars / "m1.parquet").rename(tmp_path / "m1.parquet")
    (other / "m1.parquet").rename(bars / "m1.parquet")
    status, said, errors = call_command(encode, knows, *out)
    (tmp_path / "m1.parquet").rename(bars / "m1.parquet")
    assert (status, said) == (2, "")
    assert f"{bars}: must hold the bars that the configuration is for (m1, m5, m15" in errors


def test_what_cannot_be_encoded_or_written_is_named_in_one_line(
    checkpoint, series_checkpoint, bars, tmp_path, call_command
):
    (tmp_path / "x.ckpt").write_text("no checkpoint")
    without = write_market(tmp_path / "bars", timeframes=("m1", "m5"))
    out = ("--out", tmp_path / "e.parquet")
    faults = {
        f"error: {tmp_path}/x.ckpt: must be a checkpoint of": (tmp_path / "x.ckpt", *out),
        "trained on, m1, m5, m15, got m1, m5": (checkpoint, "--data-dir", without, *out),
        "error: a series must be given with --data-dir, got none": (series_checkpoint, *out),
        "must be a file that can be written": (
            *(checkpoint, "--data-dir", bars),
            *("--out", tmp_path / "x.ckpt" / "e.parquet"),
        ),
    }

    for said, arguments in faults.items():
        status, _, errors = call_command(encode, *arguments)

        assert status == 2
        assert said in errors
        assert errors.count("\n") == 1
    assert not (tmp_path / "e.parquet").exists()


def test_an_earlier_file_of_embeddings_is_replaced_and_nothing_else(
    checkpoint, bars, tmp_path, call_command
):
    out = tmp_path / "e.parquet"
    arguments = (checkpoint, "--data-dir", bars, "--out")
    call_command(encode, *arguments, out)

    again = call_command(encode, *arguments, out, "--stride", 60)
    others = [call_command(encode, *arguments, path) for path in (bars / "m1.parquet", bars)]

    assert again[0] == 0
    assert len(pd.read_parquet(out)) == 7 * 3
    for status, _, errors in others:
        assert status == 2
        assert "must not exist, or be embeddings that stage1.encode wrote" in errors
    assert len(pd.read_parquet(bars / "m1.parquet")) == 600


def test_what_is_interrupted_leaves_no_file(checkpoint, bars, tmp_path, call_command, monkeypatch):
    monkeypatch.setattr(embeddings, "windows_at_once", lambda data: 50)
    embed, calls = embeddings._embed, []

    def interrupted(*arguments):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return embed(*arguments)

    monkeypatch.setattr(embeddings, "_embed", interrupted)

    status, _, _ = call_command(
        encode, checkpoint, "--data-dir", bars, "--out", tmp_path / "e.parquet"
    )

    assert status == 130
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("step", "freq"), [pytest.param("1h", "h", id="hours"), pytest.param("1mo", "MS", id="months")]
)
def test_the_windows_of_a_series_end_when_its_steps_do(tmp_path, call_command, step, freq):
    write_series_checkpoint(tmp_path / "last.ckpt", data={"step": step})
    folder, out = write_folder(tmp_path / "waves", waves(100), step), tmp_path / "e.parquet"

    status, said, errors = call_command(
        encode, tmp_path / "last.ckpt", "--data-dir", folder, "--out", out, "--stride", 4
    )

    assert (status, errors) == (0, "")
    assert "10 windows" in said
    assert said.rstrip().endswith("4 steps apart")
    table = pd.read_parquet(out)
    # The sixteenth bar of four steps ends with the 64th, the last one with the hundredth.
    steps = pd.date_range("1970-01-01", periods=101, freq=freq, tz="UTC")
    assert table["window_end"].tolist() == steps[64:101:4].repeat(2).tolist()
    assert table["timeframe"].tolist() == ["x1", "x4"] * 10
    assert pq.read_schema(out).metadata[b"stride_steps"] == b"4"
    first = waves(100)[64 - 16 : 64]  # of x1, in the units of its channels
    np.testing.assert_allclose(table["mean"][0], first.mean(axis=0), rtol=1e-9)
    np.testing.assert_allclose(table["scale"][0], first.std(axis=0), rtol=1e-9)
