"""What an experiment is, and whether it is still the same."""

from __future__ import annotations

import re

import pytest
import yaml

from stage1.base.errors import ResultsError
from stage1.comparison.record import (
    DataRecord,
    MachineRecord,
    begin_folder,
    check_same,
    differing_keys,
    leaves,
    read_record,
)
from stage1.config import Config, load_config, with_values
from stage1.run.folder import RunFolder


@pytest.fixture
def run(tmp_path):
    return RunFolder(tmp_path / "experiment")


def test_a_record_reads_back_as_it_was_written(run, record):
    written = record()

    begin_folder(run, written)

    assert read_record(run) == written
    assert list(read_record(run).configs) == list(written.configs)


def test_each_configuration_is_a_file_of_its_own_that_loads(run, record):
    written = record()

    begin_folder(run, written)

    for name, config in written.configs.items():
        assert load_config(run.path / "configs" / f"{name}.yaml") == config


def test_the_leaves_of_a_configuration_are_its_keys_as_yaml_has_them():
    config = with_values(Config(), {"data.sampling_probs": {}})

    found = leaves(config)

    assert found["training.optimizer.lr"] == config.training.optimizer.lr
    assert found["data.sampling_probs"] == {}
    sections = yaml.safe_load(yaml.safe_dump(config.model_dump(mode="json")))
    assert {key.split(".")[0] for key in found} == set(sections)


def test_configurations_differ_in_their_keys_but_not_in_the_seed():
    configs = {
        "a": Config(),
        "b": with_values(Config(), {"training.seed": 7, "model.dropout": 0.1}),
        "c": with_values(Config(), {"training.optimizer.lr": 1.0}),
    }

    assert differing_keys(configs) == ["model.dropout", "training.optimizer.lr"]


def test_the_same_experiment_on_another_machine_with_bars_in_another_place_goes_on(run, record):
    begin_folder(run, record())
    moved = record(
        data=DataRecord(data_dir="elsewhere", fingerprint="f" * 64),
        machine=MachineRecord(cores=64, gpu="A100"),
    )

    check_same(run, moved)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        pytest.param({"seeds": (1, 2)}, "seeds ([1, 2, 3] -> [1, 2])", id="seeds"),
        pytest.param(
            {"data": DataRecord(data_dir=None, fingerprint="e" * 64)},
            "data.fingerprint ('fff",
            id="bars",
        ),
        pytest.param({"language_models": {}}, "language_models.google-t5/t5-small", id="weights"),
        pytest.param(
            {"versions": {"stage1": "0.1.0", "torch": "2.14.0"}},
            "versions.torch ('2.13.0' -> '2.14.0')",
            id="packages",
        ),
        pytest.param(
            {"configs": {"plain": Config(), "free": Config()}},
            "configurations ('late, plain, free' -> 'plain, free')",
            id="configurations",
        ),
    ],
)
def test_another_experiment_is_refused_and_what_differs_is_named(run, record, changes, told):
    begin_folder(run, record())

    with pytest.raises(ResultsError, match=re.escape(told)):
        check_same(run, record(**changes))


def test_every_key_that_was_changed_in_a_configuration_is_named(run, record):
    begin_folder(run, record())
    configs = dict(record().configs)
    configs["free"] = with_values(
        configs["free"], {"training.optimizer.lr": 0.5, "model.dropout": 0.1}
    )

    with pytest.raises(ResultsError) as raised:
        check_same(run, record(configs=configs))

    assert "free: model.dropout (0.0 -> 0.1)" in str(raised.value)
    assert "free: training.optimizer.lr (0.001 -> 0.5)" in str(raised.value)
    assert "plain" not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param("seeds: [", "experiment.yaml: must be as it was", id="no YAML"),
        pytest.param("[]", "experiment.yaml: must be as it was", id="no mapping"),
        pytest.param("seeds: [1]", "configs: must be given", id="half of it"),
    ],
)
def test_a_broken_record_is_one_line(run, record, text, reason):
    begin_folder(run, record())
    (run.path / "experiment.yaml").write_text(text)

    with pytest.raises(ResultsError) as raised:
        read_record(run)

    assert reason in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_folder_that_is_no_experiment_is_one_line(tmp_path):
    with pytest.raises(ResultsError, match="must be the folder of an experiment"):
        read_record(RunFolder(tmp_path))


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path, record):
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(ResultsError, match="must be a folder that can be made"):
        begin_folder(RunFolder(tmp_path / "file" / "experiment"), record())
