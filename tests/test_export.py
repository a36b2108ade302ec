"""The exported configuration: what it holds, where it comes from, what it does not overwrite."""

from __future__ import annotations

import math

import numpy as np
import pytest
import yaml
from made_runs import (
    arm_scores,
    study_tables,
    synthetic_preregistration,
    synthetic_space,
    synthetic_trial,
    write_run,
    write_synthetic_run,
)

from stage1.base.errors import ConfigError, ResultsError
from stage1.base.files import sha256_of_file
from stage1.claims.judge import evaluate
from stage1.claims.scores import read_run
from stage1.config import Config, load_config, with_values
from stage1.config.training import EarlyStop
from stage1.export import export, main
from stage1.report import main as report
from stage1.run.folder import RunFolder
from stage1.run.registration import preregistration_text, read_preregistration
from stage1.run.resolved_space import read_space
from stage1.run.tables import RunWriter


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return write_synthetic_run(tmp_path_factory.mktemp("runs") / "synthetic")


@pytest.fixture
def out(tmp_path):
    return tmp_path / "configs" / "best.yaml"


def begun_run(path, *trials, **size):
    """A run of some trials, registered as it should be."""
    run, space = RunFolder(path), synthetic_space(**size)
    writer = RunWriter(run)
    run.space.write_text(yaml.safe_dump(space), encoding="utf-8")
    run.prereg.write_text(synthetic_preregistration(run, space), encoding="utf-8")
    for trial in trials:
        writer.add_trial(trial, [])
    return run


BARS_OF_RUN = {"data_dir": "sample", "sha256": "0" * 64}


def test_the_export_is_the_base_with_arm_values_horizon_and_first_seed(run, out):
    config = load_config(export(run, out))

    base = Config.model_validate(read_space(run).config).model_dump()
    expected = base | {
        "data": base["data"] | BARS_OF_RUN,
        "transfer_learning": base["transfer_learning"]
        | {"initialization": "pretrained", "patch_len": 8},
        "training": base["training"]
        | {
            "epochs": 4,
            "seed": 1,
            "optimizer": base["training"]["optimizer"] | {"lr": 0.001},
            "origin": {
                **{"run": str(run.path), "arm": "pretrained", "config_id": "design000"},
                **{"seed": 1, "epochs": 4, "metric": "val_correlation", "value": 0.914},
                "baseline_val_loss": 0.12,
            },
        },
    }
    assert config.model_dump() == expected


def run_of_windows(folder, windows):
    run = write_synthetic_run(folder)
    changed = {"training_windows": windows}
    registered = read_preregistration(run).model_copy(update=changed)
    run.prereg.write_text(preregistration_text(registered))
    return run


@pytest.mark.parametrize(
    ("windows", "epochs"),
    [(1_000, 16), (128_000, 20), (128_001, 21)],  # an epoch sees 6,400, a trial has 4 of them
)
def test_a_final_training_sees_as_many_windows_as_there_are_and_ends_early(
    tmp_path, out, windows, epochs
):
    run = run_of_windows(tmp_path / "run", windows)

    trial, final = (load_config(export(run, out, final=longer, force=True)) for longer in (0, 1))

    stop = EarlyStop(metric="val_correlation", patience=math.ceil(epochs / 4))
    changed = {"training.epochs": epochs, "training.early_stop": stop.model_dump()}
    assert final == with_values(trial, changed)


def test_the_epochs_of_a_final_training_are_asked_for_where_a_run_does_not_know_its_windows(
    tmp_path, out, call_command
):
    run = run_of_windows(tmp_path / "run", None)  # of an earlier version

    status, _, errors = call_command(main, run.path, "--final", "--out", out)
    told = call_command(main, run.path, "--final", "--epochs", 9, "--out", out)

    assert status == 2
    assert "give the final training's --epochs" in " ".join(errors.split())
    assert (told[0], load_config(out).training.epochs) == (0, 9)
    assert "\nfinal training: 9 epochs, as asked for; a trial had 4\nwrote " in told[1]
    assert load_config(out).training.early_stop == EarlyStop(metric="val_correlation", patience=3)


def test_searched_numbers_survive_the_file_bit_for_bit(tmp_path, out):
    learning_rate = 0.1 + 0.2e-5
    row = synthetic_trial("t0", **{"param.training.optimizer.lr": learning_rate})
    run = begun_run(tmp_path / "run", row, seeds=1)

    config = load_config(export(run, out))

    assert config.training.optimizer.lr == learning_rate


def test_the_provenance_stands_at_the_top(run, out):
    lines = export(run, out).read_text(encoding="utf-8").splitlines()

    comments = [line for line in lines if line.startswith("#")]
    assert lines[: len(comments)] == comments
    for expected in (
        "# run: synthetic",
        "# trials in the run: 27; complete configurations considered: 8",
        "# arm: pretrained",
        "# config_id: design000",
        "# val_correlation, mean over seeds: 0.916",
        "# val_correlation by seed: 0.914 (seed 1), 0.918 (seed 2)",
        "# standard deviation between seeds: 0.0028",  # .004 / sqrt(2)
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
    run = begun_run(tmp_path / "run", synthetic_trial("t0"))

    with pytest.raises(ResultsError, match="every seed planned for it, got none"):
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


CONTROL_AHEAD = {
    arm: arm_scores(0.9 + 0.01 * np.arange(4)[:, None] + shift + 0.002 * np.arange(2))
    for arm, shift in {"pretrained": 0.0, "random": -0.001, "shuffled": 0.01}.items()
}
"""The shuffled control is the best arm; between seeds the standard deviation is .0014."""


def test_the_recommendation_is_never_a_control_and_ties_are_told(tmp_path, out, capsys):
    run = write_run(tmp_path / "run", study_tables(CONTROL_AHEAD))

    main(run.path, out)

    assert load_config(out).transfer_learning.initialization == "pretrained"
    assert "# config_id: design003" in out.read_text(encoding="utf-8")
    tie = "design003 of arm random is as good within the noise of a seed (0.9300)"
    printed = capsys.readouterr().out
    assert printed.startswith("design003 of arm pretrained, the best of 8 complete configurations")
    assert ": 0.9310 = mean of 0.9300 (seed 1), 0.9320 (seed 2); val_skill " in printed
    assert f" A tie: {tie}; take the cheaper one.\n" in printed
    assert f"# tie: {tie}" in out.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        pytest.param({"arm": "shuffled"}, ("shuffled", "design003"), id="a control"),
        pytest.param({"arm": "random"}, ("random", "design003"), id="an arm"),
        pytest.param({"config_id": "design001"}, ("pretrained", "design001"), id="a configuration"),
        pytest.param(
            {"arm": "random", "config_id": "design000"}, ("random", "design000"), id="both"
        ),
    ],
)
def test_another_configuration_can_be_asked_for(tmp_path, out, options, expected):
    run = write_run(tmp_path / "run", study_tables(CONTROL_AHEAD))

    text = export(run, out, **options).read_text(encoding="utf-8")

    assert f"# arm: {expected[0]}\n# config_id: {expected[1]}\n" in text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param(
            {"arm": "rnadom"}, "--arm must be one of pretrained, random, shuffled", id="arm"
        ),
        pytest.param({"config_id": "design9"}, "a configuration named design9", id="configuration"),
    ],
)
def test_what_the_run_does_not_have_cannot_be_asked_for(tmp_path, out, options, message):
    run = write_run(tmp_path / "run", study_tables(CONTROL_AHEAD))

    with pytest.raises(ResultsError, match=message):
        export(run, out, **options)


def test_the_command_says_what_to_run_next(run, out, capsys):
    main(run.path, out)

    assert capsys.readouterr().out.splitlines()[-1] == f"    python -m stage1.train {out}"


@pytest.mark.parametrize(
    ("options", "name"),
    [
        pytest.param({}, "synthetic", id="the best"),
        pytest.param({"arm": "random"}, "synthetic-random", id="an arm"),
        pytest.param(
            {"arm": "random", "config_id": "design001"}, "synthetic-random-design001", id="both"
        ),
    ],
)
def test_without_out_the_file_is_named_after_the_study_and_what_was_asked_for(
    run, tmp_path, monkeypatch, capsys, options, name
):
    monkeypatch.chdir(tmp_path)

    main(run.path, **options)

    assert [path.name for path in (tmp_path / "configs").iterdir()] == [f"{name}.yaml"]
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == f"    python -m stage1.train configs/{name}.yaml"


def test_the_command_says_what_the_report_says_above_its_numbers(tmp_path, out, capsys):
    run = write_synthetic_run(tmp_path / "run", configurations=1)
    with run.space.open("a") as file:
        file.write("# edited\n")

    main(run.path, out)

    (deviation,) = evaluate(read_run(run)).deviations
    assert capsys.readouterr().err == f"deviation: {deviation}\n"


def test_a_run_that_learned_nothing_is_exported_with_a_warning(tmp_path, out, capsys):
    run = begun_run(tmp_path / "run", synthetic_trial("t0", val_skill=-0.5), seeds=1)
    run.curves.unlink()

    main(run.path, out)

    warned = capsys.readouterr().err
    assert "warning: No configuration beats" in warned
    assert "warning: The claims cannot be tested: " in warned  # there are no curves
    assert out.is_file()


@pytest.mark.parametrize("command", [main, report])
def test_a_path_that_is_no_run_is_one_line_and_status_2(tmp_path, call_command, command):
    status, _, err = call_command(command, tmp_path / "nothing")

    assert status == 2
    assert err.count("\n") == 1
    assert "must be a run folder" in err
