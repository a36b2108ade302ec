"""The exported configuration: what it holds, where it comes from, what it does not overwrite."""

from __future__ import annotations

import pytest
import yaml
from made_runs import synthetic_space, synthetic_trial, write_synthetic_run

from stage1.base.errors import ConfigError, ResultsError
from stage1.base.files import sha256_of_file
from stage1.claims.judge import evaluate
from stage1.claims.scores import read_run
from stage1.config import Config, load_config
from stage1.export import export, main
from stage1.report import main as report
from stage1.run.folder import RunFolder
from stage1.run.resolved_space import read_space
from stage1.run.tables import RunWriter


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return write_synthetic_run(tmp_path_factory.mktemp("runs") / "synthetic")


@pytest.fixture
def out(tmp_path):
    return tmp_path / "configs" / "best.yaml"


def test_the_export_is_the_base_with_arm_values_horizon_and_first_seed(run, out):
    config = load_config(export(run, out))

    base = Config.model_validate(read_space(run).config).model_dump()
    expected = base | {
        "transfer_learning": base["transfer_learning"]
        | {"initialization": "pretrained", "patch_len": 8},
        "training": base["training"]
        | {
            "epochs": 4,
            "seed": 1,
            "optimizer": base["training"]["optimizer"] | {"lr": 0.001},
        },
    }
    assert config.model_dump() == expected


def test_searched_numbers_survive_the_file_bit_for_bit(tmp_path, out):
    learning_rate = 0.1 + 0.2e-5
    run = RunFolder(tmp_path / "run")
    writer = RunWriter(run)
    run.space.write_text(yaml.safe_dump(synthetic_space(seeds=1)), encoding="utf-8")
    row = synthetic_trial("t0", **{"param.training.optimizer.lr": learning_rate})
    writer.add_trial(row, [])

    config = load_config(export(run, out))

    assert config.training.optimizer.lr == learning_rate


def test_the_provenance_stands_at_the_top(run, out):
    lines = export(run, out).read_text(encoding="utf-8").splitlines()

    comments = [line for line in lines if line.startswith("#")]
    assert lines[: len(comments)] == comments
    for expected in (
        "# run: synthetic",
        "# trials in the run: 27; complete configurations considered: 12",
        "# arm: pretrained",
        "# config_id: design000",
        "# val_correlation, mean over seeds: 0.916",
        "# val_correlation by seed: 0.914 (seed 1), 0.918 (seed 2)",
        f"# sha256 of trials.parquet: {sha256_of_file(run.trials)}",
        f"# sha256 of prereg.yaml: {sha256_of_file(run.prereg)}",
    ):
        assert expected in comments


def test_an_export_that_nobody_edited_is_replaced(run, out):
    first = export(run, out).read_text(encoding="utf-8")

    second = export(run, out).read_text(encoding="utf-8")

    assert second == first


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"training:\n  seed: 3\n", id="written by hand"),
        pytest.param(b"\xff\xfe", id="not text"),
        pytest.param(b"", id="empty"),
        pytest.param(None, id="an export, edited"),
    ],
)
def test_any_other_file_is_kept_unless_forced(run, out, content):
    if content is None:
        content = export(run, out).read_bytes().replace(b"seed: 1", b"seed: 7")
    out.parent.mkdir(exist_ok=True)
    out.write_bytes(content)

    with pytest.raises(ResultsError, match="give another --out, or --force"):
        export(run, out)
    kept = out.read_bytes()
    export(run, out, force=True)

    assert kept == content
    assert load_config(out).training.seed == 1


def test_a_folder_in_the_way_is_named(run, tmp_path):
    with pytest.raises(ResultsError, match="got a folder"):
        export(run, tmp_path, force=True)


def test_a_run_without_a_complete_configuration_cannot_be_exported(tmp_path, out):
    run = RunFolder(tmp_path / "run")
    RunWriter(run).add_trial(synthetic_trial("t0"), [])
    run.space.write_text(yaml.safe_dump(synthetic_space()), encoding="utf-8")

    with pytest.raises(ResultsError, match="with 2 seeds, got none"):
        export(run, out)

    assert not out.exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"traning": {}}, "unknown key; did you mean 'training'", id="a base key"),
        pytest.param(
            {"data": {"seq_len": 4}},
            r"space.yaml:\d+: data.seq_len: must be >= 8",
            id="a base value",
        ),
    ],
)
def test_a_study_that_this_version_does_not_understand_is_a_line_per_fault(
    tmp_path, out, change, message
):
    space = synthetic_space()
    run = write_synthetic_run(tmp_path / "run", configurations=1)
    changed = space | {"config": space["config"] | change}
    run.space.write_text(yaml.safe_dump(changed), encoding="utf-8")

    with pytest.raises(ConfigError, match=message):
        export(run, out)


def test_the_command_says_what_to_run_next(run, out, capsys):
    main(run.path, out)

    assert capsys.readouterr().out.splitlines()[-1] == f"    python -m stage1.train {out}"


def test_the_command_says_what_the_report_says_above_its_numbers(tmp_path, out, capsys):
    run = write_synthetic_run(tmp_path / "run", configurations=1)
    with run.space.open("a") as file:
        file.write("# edited\n")

    main(run.path, out)

    (deviation,) = evaluate(read_run(run)).deviations
    assert capsys.readouterr().err == f"deviation: {deviation}\n"


def test_a_run_that_learned_nothing_is_exported_with_a_warning(tmp_path, out, capsys):
    run = RunFolder(tmp_path / "run")
    writer = RunWriter(run)
    run.space.write_text(yaml.safe_dump(synthetic_space(seeds=1)), encoding="utf-8")
    writer.add_trial(synthetic_trial("t0", val_skill=-0.5), [])

    main(run.path, out)

    warned = capsys.readouterr().err
    assert "warning: No configuration beats" in warned
    assert "warning: The claims cannot be tested: " in warned  # nothing was registered
    assert out.is_file()


@pytest.mark.parametrize("command", [main, report])
def test_a_path_that_is_no_run_is_one_line_and_status_2(tmp_path, call_command, command):
    status, _, err = call_command(command, tmp_path / "nothing")

    assert status == 2
    assert err.count("\n") == 1
    assert "must be a run folder" in err
