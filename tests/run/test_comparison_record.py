"""What a comparison's folder says it is, and in what its configurations differ."""

from __future__ import annotations

import pytest
import yaml

from stage1.base.errors import ResultsError
from stage1.config import Config, with_values
from stage1.run.comparison_record import RECORD_FILE, differing_keys, leaves, read_record
from stage1.run.folder import RunFolder


def test_the_leaves_of_a_configuration_are_its_keys_as_yaml_has_them():
    config = with_values(Config(), {"data.sampling_probs": {}})

    values = leaves(config)

    assert values["training.optimizer.lr"] == config.training.optimizer.lr
    assert values["data.sampling_probs"] == {}
    sections = yaml.safe_load(yaml.safe_dump(config.model_dump(mode="json")))
    assert {key.split(".")[0] for key in values} == set(sections)


def test_configurations_differ_in_their_keys_but_not_in_the_seed():
    configs = {
        "a": Config(),
        "b": with_values(Config(), {"training.seed": 7, "model.dropout": 0.1}),
        "c": with_values(Config(), {"training.optimizer.lr": 1.0}),
    }

    assert differing_keys(configs) == ["model.dropout", "training.optimizer.lr"]


def test_a_broken_record_is_told_by_its_missing_keys(tmp_path):
    (tmp_path / RECORD_FILE).write_text("seeds: [1]")

    with pytest.raises(ResultsError, match=r"experiment\.yaml: must have the keys configs, data"):
        read_record(RunFolder(tmp_path))


def test_a_folder_that_is_no_comparison_is_one_line(tmp_path):
    with pytest.raises(ResultsError, match="must be the folder of a comparison"):
        read_record(RunFolder(tmp_path))
