"""Which configurations may be compared, what is trained in which order, and how it is resumed."""

from __future__ import annotations

import math
import re

import pytest
from made_comparison import made_record
from made_studies import Tables, WrittenTables, simulate

from stage1.base.errors import ConfigError, ResultsError
from stage1.config import Config, load_config, with_values
from stage1.run.columns import COMPLETED
from stage1.run.comparison_record import DataRecord, MachineRecord, read_record
from stage1.run.folder import RunFolder
from stage1.study.comparison import load_comparison
from stage1.study.engine import StudyEngine
from stage1.study.resume import begin_comparison, check_same_comparison
from stage1.study.trials import ended_trials

BASE = "data: {timeframes: [m1], seq_len: 16}\nmasking: {mask_ratio: 0.25}\n"


@pytest.fixture
def run(tmp_path):
    return RunFolder(tmp_path / "comparison")


@pytest.fixture
def load(tmp_path):
    """Writes configurations and loads them as a comparison."""

    def load_texts(seed=0, seeds=2, max_epochs=None, **texts):
        files = []
        for name, text in texts.items():
            files.append(tmp_path / f"{name}.yaml")
            files[-1].write_text(text)
        return load_comparison(files, seed=seed, seeds=seeds, max_epochs=max_epochs)

    return load_texts


def test_a_trainings_configuration_is_its_file_with_its_seed(load):
    comparison = load(one=BASE + "training: {seed: 99}\n", two=BASE + "model: {dropout: 0.5}\n")

    one, two, *_ = map(comparison.trial_config, comparison.design_specs())

    assert (one.training.seed, two.training.seed) == (1, 1)
    assert (one.model.dropout, two.model.dropout) == (0.0, 0.5)


def test_a_training_carries_the_values_in_which_the_configurations_differ(load):
    pairs = "model: {cross_pairs: [[m1, m5]], dropout: 0.5}\n"
    both = BASE.replace("[m1]", "[m1, m5]")

    one, two, *_ = load(one=both, two=both + pairs).design_specs()

    assert one.values == {"model.dropout": 0.0}
    assert two.values == {"model.dropout": 0.5, "model.cross_pairs": '[["m1", "m5"]]'}


def test_max_epochs_replaces_the_horizon_of_all(load):
    comparison = load(
        max_epochs=2, one=BASE + "training: {epochs: 3}\n", two=BASE + "training: {epochs: 4}\n"
    )

    assert {config.training.epochs for config in comparison.configs.values()} == {2}
    assert comparison.space.horizon_epochs == 2


def test_all_keys_that_have_to_be_equal_are_named_with_who_has_which_value(load):
    other = BASE.replace("16", "32") + "training: {epochs: 3}\nmodel: {async_sampler: true}\n"

    with pytest.raises(ConfigError) as raised:
        load(one=BASE, two=other, three=BASE)

    assert str(raised.value).splitlines() == [
        f"{key}: must be the same in all configurations of a comparison, got {values}"
        for key, values in (
            ("data.seq_len", "16 (one, three), 32 (two)"),
            ("model.async_sampler", "False (one, three), True (two)"),
            ("training.epochs", "15 (one, three), 3 (two)"),
        )
    ]


@pytest.mark.parametrize(
    "text",
    [
        "masking: {mask_ratio: 0.5}",
        "evaluation: {tf_specific_mask_ratios: {m1: 0.5}}",
        "loss: {weights: {cross: 1}}",
        "training: {steps_per_epoch: 3}",
        "training: {batch_size: 3}",
        "training: {threads: 2}",
    ],
)
def test_what_makes_results_comparable_has_to_be_equal(load, text):
    other = BASE.replace("masking: {mask_ratio: 0.25}\n", "") if "masking" in text else BASE

    with pytest.raises(ConfigError, match="must be the same in all configurations"):
        load(one=BASE, two=f"{other}{text}\n")


@pytest.mark.parametrize(
    "text",
    [
        "training: {optimizer: {lr: 0.5}, precision: bf16-mixed, gradient_checkpointing: true}",
        "transfer_learning: {use_pretrained_lm: false, patch_len: 4}",
        "model: {d_model: 8}",
    ],
)
def test_everything_else_may_differ(load, text):
    assert len(load(one=BASE, two=f"{BASE}{text}\n").configs) == 2


def test_a_batch_size_that_is_still_to_be_found_is_refused(load):
    auto = BASE + "training: {batch_size: auto}\n"

    with pytest.raises(ConfigError, match="batch_size: must be a number in a comparison"):
        load(one=auto, two=auto)


@pytest.mark.parametrize("place", ["one", "two"])
def test_a_training_that_may_end_early_is_refused(load, place):
    texts = {"one": BASE, "two": BASE, place: BASE + "training: {early_stop: {patience: 3}}\n"}

    with pytest.raises(ConfigError, match=f"^{place}: training.early_stop: must be null"):
        load(**texts)


def test_one_configuration_is_no_comparison(load):
    with pytest.raises(ConfigError, match="at least two configurations, got 1"):
        load(one=BASE)


def test_two_files_of_the_same_name_are_refused(tmp_path):
    files = [tmp_path / "a" / "x.yaml", tmp_path / "b" / "x.yaml"]
    for file in files:
        file.parent.mkdir()
        file.write_text(BASE)

    with pytest.raises(ConfigError, match=r"b/x\.yaml: must have a file name that no other"):
        load_comparison(files, seed=0, seeds=1, max_epochs=None)


PLAIN = BASE + "training: {epochs: 3}\ntransfer_learning: {use_pretrained_lm: false}\n"
T5 = BASE + "training: {epochs: 3}\ntransfer_learning: {lm_learning_rate_factor: 0.3}\n"


def row_of(spec, epoch):
    return {
        **{"epoch": epoch, "val_loss": 1 / (epoch + 1), "val_correlation": epoch / 4},
        **{"train_loss": 0.5 if epoch else math.nan, "lr": 1e-3, "seconds": float(epoch)},
    }


def run_by_engine(comparison, tables, *, ended=(), **options):
    engine = StudyEngine(comparison, tables, ended, samplers={}, halving={})
    return simulate(engine, **{"row": row_of} | options)


def test_trainings_go_seed_by_seed_to_the_horizon_and_each_has_its_row(load):
    tables = Tables()

    run_by_engine(load(seed=4, plain=PLAIN, t5=T5), tables)

    rows = tables.rows
    assert [(row["arm"], row["seed"]) for row in rows] == [
        *(("plain", 5), ("t5", 5)),
        *(("plain", 6), ("t5", 6)),
    ]
    assert {row["status"] for row in rows} == {COMPLETED}
    assert {row["would_stop_epoch"] for row in rows} == {None}
    factor = "param.transfer_learning.lm_learning_rate_factor"
    assert [row[factor] for row in rows] == [1.0, 0.3] * 2
    assert [row["param.transfer_learning.use_pretrained_lm"] for row in rows] == [False, True] * 2


def test_what_has_ended_is_read_back_and_not_trained_again(load, run):
    comparison = load(plain=PLAIN, t5=T5)
    run_by_engine(comparison, WrittenTables(run), trials=3)

    ended = ended_trials(run, comparison)
    tables = Tables()
    run_by_engine(comparison, tables, ended=ended)

    assert [trial.spec for trial in ended] == comparison.design_specs()[:3]
    assert tables.trial_ids == ["compare000-t5-seed2"]


def test_a_record_reads_back_as_it_was_written_and_each_configuration_is_a_file_that_loads(run):
    written = made_record()

    begin_comparison(run, written)

    assert read_record(run) == written
    assert list(read_record(run).configs) == list(written.configs)
    for name, config in written.configs.items():
        assert load_config(run.path / "configs" / f"{name}.yaml") == config


def test_the_same_comparison_on_another_machine_with_bars_in_another_place_goes_on(run):
    begin_comparison(run, made_record())
    moved = made_record(
        data=DataRecord(data_dir="elsewhere", fingerprint="f" * 64),
        machine=MachineRecord(cores=64, gpu="A100"),
    )

    check_same_comparison(run, moved)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"seeds": (1, 2)}, "seeds ([1, 2, 3] -> [1, 2])"),
        (
            {"data": DataRecord(data_dir=None, fingerprint="e" * 64)},
            "data.fingerprint (ffffffffffff of the bundled sample -> eee",
        ),
        ({"language_models": {}}, "language_models.google-t5/t5-small"),
        (
            {"versions": {"stage1": "0.1.0", "torch": "2.14.0"}},
            "versions.torch ('2.13.0' -> '2.14.0')",
        ),
        (
            {"configs": {"plain": Config(), "free": Config()}},
            "configurations (['late', 'plain', 'free'] -> ['plain', 'free'])",
        ),
    ],
)
def test_another_comparison_is_refused_and_what_differs_is_named(run, changes, named):
    begin_comparison(run, made_record())

    with pytest.raises(ResultsError, match=re.escape(named)):
        check_same_comparison(run, made_record(**changes))


def test_every_key_that_was_changed_in_a_configuration_is_named(run):
    begin_comparison(run, made_record())
    configs = dict(made_record().configs)
    configs["free"] = with_values(
        configs["free"], {"training.optimizer.lr": 0.5, "model.dropout": 0.1}
    )

    with pytest.raises(ResultsError) as raised:
        check_same_comparison(run, made_record(configs=configs))

    assert "configs.free.model.dropout (0.0 -> 0.1)" in str(raised.value)
    assert "configs.free.training.optimizer.lr (0.001 -> 0.5)" in str(raised.value)
    assert "plain" not in str(raised.value)
