from pathlib import Path

import pytest
from small_checkpoint import write_market
from synthetic_bars import market

from stage1.base.errors import DataError
from stage1.config import Config, with_values
from stage1.data.bars import fingerprint
from stage1.data.load import load_bars, load_data

TIMEFRAMES = ("m1", "m5")
BARS = {
    "sample": fingerprint(load_bars(None, TIMEFRAMES)),
    "mine": fingerprint(market(300, TIMEFRAMES)),
    "other": fingerprint(market(300, TIMEFRAMES, seed=1)),
}


@pytest.fixture(autouse=True)
def folders(tmp_path, monkeypatch):
    """Two folders of bars, here."""
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate(("mine", "other")):
        write_market(Path(name), 300, TIMEFRAMES, seed=seed)


def config_for(data_dir=None, sha256=None):
    bars = {"data.data_dir": data_dir, "data.sha256": sha256 and BARS[sha256]}
    return with_values(Config(), {"data.timeframes": TIMEFRAMES, **bars})


@pytest.mark.parametrize(
    ("said", "config", "loaded"),
    [
        pytest.param(None, config_for(), "sample", id="nothing is said"),
        pytest.param("mine", config_for(), "mine", id="a folder is said"),
        pytest.param(Path("mine"), config_for(), "mine", id="a folder is said by a program"),
        pytest.param(None, config_for("mine"), "mine", id="the configuration names a folder"),
        pytest.param(None, config_for("mine", "mine"), "mine", id="and the bars in it"),
        pytest.param("other", config_for("mine", "mine"), "other", id="another is said"),
        pytest.param("other", config_for("other", "mine"), "other", id="a changed one is said"),
        pytest.param("sample", config_for("mine", "mine"), "sample", id="the bundled are said"),
        pytest.param(None, config_for("sample", "sample"), "sample", id="the bundled are named"),
    ],
)
def test_bars_are_those_that_are_said_else_those_that_the_configuration_names(said, config, loaded):
    bars, complete = load_data(said, config)

    assert fingerprint(bars) == BARS[loaded]
    assert (complete.data.data_dir, complete.data.sha256) == (loaded, BARS[loaded])
    again, unchanged = load_data(None, complete)
    assert (fingerprint(again), unchanged) == (BARS[loaded], complete)


@pytest.mark.parametrize(
    ("said", "config", "share"),
    [
        pytest.param(None, config_for(), 0.0, id="the bundled bars"),
        pytest.param("mine", config_for(), 0.1, id="a folder is said"),
        pytest.param(None, config_for("mine"), 0.1, id="a folder is named"),
        pytest.param(None, config_for("mine", "mine"), 0.0, id="written by an earlier version"),
        pytest.param("mine", config_for("mine", "mine"), 0.0, id="and its folder is said"),
    ],
)
def test_a_tenth_of_own_bars_is_for_the_test_unless_the_configuration_says_otherwise(
    said, config, share
):
    asked = with_values(config, {"data.test_share": 0.25})

    assert load_data(said, config)[1].data.test_share == share
    assert load_data(said, asked)[1].data.test_share == 0.25


@pytest.mark.parametrize(
    ("config", "message"),
    [
        pytest.param(
            config_for("mine", "other"),
            r"^mine: must hold the bars that the configuration is for \(m1, m5, sha256 {other}\), "
            r"got others \(sha256 {mine}\); .* say --data-dir mine to use what it holds now$",
            id="others in the same folder",
        ),
        pytest.param(
            config_for("gone", "mine"),
            "^gone: must be the folder with the bars .*, got no such folder here; give it with",
            id="no folder",
        ),
        pytest.param(config_for(None, "mine"), "^sample: must hold the bars that", id="no name"),
    ],
)
def test_a_folder_that_no_longer_holds_what_it_did_is_refused(config, message):
    short = {name: sha256[:12] for name, sha256 in BARS.items()}

    with pytest.raises(DataError, match=message.format(**short)):
        load_data(None, config)


def test_a_folder_that_is_called_as_the_bundled_bars_are_is_never_taken_for_them():
    write_market(Path("sample"), 200, TIMEFRAMES)

    for said, config in (("sample", config_for()), (None, config_for("sample"))):
        with pytest.raises(DataError, match=r"must mean one thing, .* say \./sample for"):
            load_data(said, config)

    bars, complete = load_data("./sample", config_for())
    assert len(bars["m1"].open_time) == 200
    assert fingerprint(load_data(None, complete)[0]) == fingerprint(bars)
    for config in (config_for(), config_for("sample", "sample")):  # by default, and by fingerprint
        assert fingerprint(load_data(None, config)[0]) == BARS["sample"]
