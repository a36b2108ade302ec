import json
import pickle

import numpy as np
import pytest
import torch
from small_checkpoint import changed_checkpoint, write_checkpoint
from synthetic_bars import market
from synthetic_series import series_config, series_of, waves
from tiny_training import T5, tiny_config

from stage1.base.errors import Stage1Error
from stage1.config import going_on, with_values
from stage1.data.bars import fingerprint
from stage1.data.batches import MarketWindows
from stage1.training.checkpoint import read_trained

CONFIG = tiny_config()


def test_a_checkpoint_says_how_it_was_trained(checkpoint):
    record = read_trained(checkpoint).record

    assert record.config == CONFIG
    assert record.t5.config == T5
    assert record.t5.input_scale == 2.5


def test_a_checkpoint_says_what_it_was_trained_on(checkpoint):
    bars = market(2000, CONFIG.data.timeframes)

    record = read_trained(checkpoint).record

    assert record.bars.sha256 == fingerprint(bars)
    midnight = bars["m1"].open_time[0]
    assert record.bars.begins_at == midnight
    assert record.bars.split_at == midnight + 60 * 1600  # four fifths of 2000 minutes
    for name, minutes in (("m1", 1), ("m5", 5), ("m15", 15)):
        count = 1600 // minutes
        log_prices = np.log(bars[name].prices[:count])
        found = record.bars.timeframes[name]
        assert found.bars == count
        assert found.log_price_mean == pytest.approx(log_prices.mean(), rel=1e-12)
        assert found.log_price_std == pytest.approx(log_prices.std(), rel=1e-9)


def test_the_statistics_of_bars_are_kept_under_the_same_names_as_ever(checkpoint):
    kept = torch.load(checkpoint, weights_only=True)["stage1"]["bars"]

    assert list(kept) == ["sha256", "begins_at", "split_at", "timeframes"]
    for found in kept["timeframes"].values():
        assert list(found) == ["bars", "log_price_mean", "log_price_std"]


def test_a_checkpoint_of_a_series_has_the_statistics_of_every_channel(series_checkpoint):
    series = series_of(waves())

    record = read_trained(series_checkpoint).record

    assert record.bars.sha256 == fingerprint(series)
    assert record.bars.begins_at == 0
    assert record.bars.split_at == 280 * 3600  # seven tenths of 400 hours, from 1970 on
    for name, count in (("x1", 280), ("x4", 70)):
        values, found = series[name].prices[:count], record.bars.timeframes[name]
        assert found.bars == count
        assert list(found.channels) == ["wave0", "wave1", "wave2"]
        each = found.channels.values()
        np.testing.assert_allclose([one.mean for one in each], values.mean(axis=0), rtol=1e-9)
        np.testing.assert_allclose([one.std for one in each], values.std(axis=0), rtol=1e-9)


def test_of_a_t5_nothing_is_taken_but_its_shape(tmp_path, checkpoint):
    change = with_("eager", "stage1", "t5", "config", "attn_implementation")
    path = changed_checkpoint(checkpoint, tmp_path / "x.ckpt", change)

    assert read_trained(path).record.t5.config == T5


def test_statistics_come_back_to_the_last_bit(checkpoint, series_checkpoint):
    for path, config, bars in (
        (checkpoint, CONFIG, market(2000, CONFIG.data.timeframes)),
        (series_checkpoint, series_config(), series_of(waves())),
    ):
        mine = read_trained(path).record.statistics
        theirs = MarketWindows(bars, config.data).training_statistics

        for one, other in zip((*mine, mine.smallest), (*theirs, theirs.smallest), strict=True):
            assert torch.equal(one, other)


def test_the_vanilla_encoder_has_no_t5_to_describe(tmp_path):
    write_checkpoint(tmp_path / "x.ckpt", transfer_learning={"use_pretrained_lm": False})

    assert read_trained(tmp_path / "x.ckpt").record.t5 is None


def assert_refused_in_one_line(path, said):
    with pytest.raises(Stage1Error, match=said) as fault:
        read_trained(path)

    assert str(fault.value).startswith(f"{path}: ")
    assert "\n" not in str(fault.value)
    assert "weights_only" not in str(fault.value)  # torch's advice, which would run what it reads


class Planted:
    """Would create a file, were it ever unpickled."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return open, (str(self.target), "w")


def test_a_planted_object_is_refused_and_not_run(tmp_path, checkpoint):
    trace = tmp_path / "trace"
    planted = tmp_path / "planted.ckpt"
    content = torch.load(checkpoint, weights_only=True)
    torch.save({**content, "more": Planted(trace)}, planted)

    assert_refused_in_one_line(planted, "must be a checkpoint of")
    assert not trace.exists()


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"no checkpoint at all", id="text"),
        pytest.param(pickle.dumps({"state_dict": {}}), id="a bare pickle"),
        pytest.param(json.dumps({"stage1": {}}).encode(), id="json"),
    ],
)
def test_what_is_no_checkpoint_is_refused_in_one_line(tmp_path, content):
    path = tmp_path / "x.ckpt"
    path.write_bytes(content)

    assert_refused_in_one_line(path, "must be a checkpoint")


def test_a_checkpoint_that_was_cut_off_is_refused_wherever_it_ends(tmp_path, checkpoint):
    whole, path = checkpoint.read_bytes(), tmp_path / "x.ckpt"

    for length in range(0, len(whole), len(whole) // 20):
        path.write_bytes(whole[:length])
        assert_refused_in_one_line(path, "must be a checkpoint")


def with_(value, *keys):
    def change(content):
        *parents, last = keys
        for key in parents:
            content = content[key]
        content[last] = value

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda content: content.pop("stage1"), "got another program's"),
        (
            lambda content: [content["stage1"].pop(key) for key in ("bars", "t5")],
            "must say what it was trained on, got no bars and no t5, which earlier versions left "
            "out; train again",
        ),
        (
            with_(-1, "stage1", "config", "data", "seq_len"),
            r"config\.data\.seq_len: must be >= 8, got -1",
        ),
        (
            with_(0.0, "stage1", "bars", "timeframes", "m5", "log_price_std"),
            r"bars\.timeframes\.m5\.log_price_std: must be > 0",
        ),
        (
            lambda content: content["stage1"]["bars"]["timeframes"].pop("m5"),
            r"bars\.timeframes: must hold every timeframe of the configuration, got no m5",
        ),
        (with_(None, "stage1", "t5"), "t5: must be given if and only if"),
        (
            with_(10**9, "stage1", "t5", "config", "num_layers"),
            r"num_layers must be an integer in \[1, 1000\]",
        ),
    ],
)
def test_a_record_that_cannot_be_is_refused_in_one_line(tmp_path, checkpoint, change, said):
    assert_refused_in_one_line(changed_checkpoint(checkpoint, tmp_path / "x.ckpt", change), said)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda content: content["stage1"]["bars"]["timeframes"]["x4"]["channels"].pop("wave1"),
            r"bars\.timeframes\.x4: must hold mean and standard deviation of wave0, wave1, wave2",
        ),
        (
            with_(-1.0, "stage1", "bars", "timeframes", "x1", "channels", "wave0", "std"),
            r"bars\.timeframes\.x1\.channels\.wave0\.std: must be > 0",
        ),
        (
            with_(None, "stage1", "config", "data", "step"),
            r"config\.data: must name the channels and the step of its series",
        ),
        (
            with_(None, "stage1", "config", "data", "channels"),
            r"config\.data: must name the channels and the step of its series",
        ),
    ],
)
def test_a_record_of_a_series_that_cannot_be_is_refused(tmp_path, series_checkpoint, change, said):
    path = changed_checkpoint(series_checkpoint, tmp_path / "x.ckpt", change)

    assert_refused_in_one_line(path, said)


def test_a_checkpoint_from_before_there_were_test_periods_was_trained_without_one(
    tmp_path, checkpoint
):
    earlier = changed_checkpoint(
        checkpoint,
        tmp_path / "x.ckpt",
        lambda content: content["stage1"]["config"]["data"].pop("test_share"),
    )
    record = read_trained(earlier).record

    now, differing = going_on(record.config, with_values(record.config, {"data.test_share": None}))

    assert record.config.data.test_share == 0.0
    assert (now, differing) == (record.config, [])
