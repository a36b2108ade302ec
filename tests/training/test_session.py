"""What a training goes on with."""

import pytest
from small_checkpoint import write_checkpoint, write_series_checkpoint
from synthetic_series import series_config
from tiny_training import tiny_config

from stage1.base.errors import ResultsError
from stage1.config import with_values
from stage1.training.checkpoint import read_trained
from stage1.training.session import resumed_config


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    path = tmp_path_factory.mktemp("series") / "last.ckpt"
    write_series_checkpoint(path)
    return read_trained(path)


def test_null_channels_and_step_are_those_that_were_found_then(trained):
    null = with_values(series_config(), {"data.channels": None, "data.step": None})

    assert resumed_config(trained, null) == series_config()


def test_other_channels_are_refused(trained):
    with pytest.raises(ResultsError, match=r"differs in data\.channels; resume with"):
        resumed_config(trained, series_config(data={"channels": ["wave1", "wave0", "wave2"]}))


def test_a_checkpoint_of_a_series_is_none_of_bars_and_the_other_way_round(trained, tmp_path):
    write_checkpoint(tmp_path / "x.ckpt")

    with pytest.raises(ResultsError, match=r"differs in data\.kind, data\.channels, data\.step"):
        resumed_config(trained, tiny_config())
    with pytest.raises(ResultsError, match=r"differs in data\.kind, data\.channels, data\.step"):
        resumed_config(read_trained(tmp_path / "x.ckpt"), series_config())
