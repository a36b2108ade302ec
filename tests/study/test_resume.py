"""The run folder: begun once, recognised again, read back."""

from __future__ import annotations

import hashlib
import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import optuna
import pandas as pd
import pytest
import torch
import yaml
from made_studies import (
    SAMPLE,
    WrittenTables,
    engine_of,
    epoch_row,
    recorded_study,
    simulate,
    simulated_study,
)

from stage1.base.errors import ResultsError
from stage1.base.metric_table import BLOCKS
from stage1.config import with_values
from stage1.run.folder import RunFolder
from stage1.run.registration import (
    RegisteredClaims,
    preregistration_deviations,
    preregistration_text,
    read_preregistration,
)
from stage1.run.resolved_space import read_space
from stage1.run.tables import RunWriter
from stage1.study.resume import (
    StartedTrials,
    as_begun,
    begin_run,
    check_same_study,
    extended,
    read_started,
)
from stage1.study.study import space_yaml
from stage1.study.trials import LookResult, TrialSpec, check_tables, ended_trials
from stage1.tune import on_bars_of_run

DATA = {"data_dir": None, "fingerprint": "d" * 64}
NANO = SimpleNamespace(name="english-t5-nano", sha256="a" * 64, weights={"w": torch.zeros(3, 5)})
MICRO = SimpleNamespace(name="english-t5-micro", sha256="b" * 64, weights={"w": torch.zeros(4, 4)})
CLAIMS = RegisteredClaims({"sensitivity": 0.2}, 0.05 / 6)
BEGIN = {"data": DATA, "models": [NANO], "claims": CLAIMS, "training_windows": 1000}
CHECKSUM = "prereg.yaml: must fit its checksum"
EDITED = "an edited study is a new run"
LM = "transfer_learning.lm_name_or_path"


@pytest.fixture
def study(tmp_path):
    return simulated_study(tmp_path)


@pytest.fixture
def run(tmp_path, study):
    folder = RunFolder(tmp_path / "runs" / "simulated")
    begin_run(folder, study, **BEGIN)
    return folder


def refused(run, study, data=DATA):
    with pytest.raises(ResultsError) as raised:
        check_same_study(run, study, data=data)
    return str(raised.value)


def test_a_begun_run_holds_the_study_and_its_registration(run, study):
    registered = yaml.safe_load(run.prereg.read_text())

    assert sorted(path.name for path in run.path.iterdir()) == ["prereg.yaml", "space.yaml"]
    assert read_space(run).data.model_dump(exclude_unset=True) == DATA
    assert registered["space_sha256"] == hashlib.sha256(run.space.read_bytes()).hexdigest()
    assert registered["arms"] == ["pretrained", "random"]
    assert (registered["configurations"], registered["seeds"]) == (4, [1, 2])
    assert registered["roles"] == {"pretrained": "pretrained", "random": "random"}
    assert registered["language_models"] == {"english-t5-nano": "a" * 64}
    assert registered["early_epoch"] == 2
    assert registered["versions"]["optuna"] == optuna.__version__
    assert read_preregistration(run).arms == ["pretrained", "random"]
    assert preregistration_deviations(run) == []


def registered_in(tmp_path, study, models):
    run = RunFolder(tmp_path / "another")
    begin_run(run, study, **BEGIN | {"models": models})
    return read_preregistration(run)


def test_the_claim_about_cost_is_about_the_largest_t5_of_the_pretrained_arm(tmp_path):
    both = "{type: choice, options: [english-t5-nano, english-t5-micro]}"
    study = simulated_study(
        tmp_path,
        **{"  transfer_learning.patch_len": f"{{type: choice, options: [4]}}\n  {LM}: {both}"},
    )
    huge = SimpleNamespace(name="other/arm", sha256="c" * 64, weights={"w": torch.zeros(99)})

    registered = registered_in(tmp_path, study, [NANO, MICRO, huge])

    assert registered.cost.size == "english-t5-micro"
    assert registered.cost.patch_len == study.config.transfer_learning.patch_len == 8


@pytest.mark.parametrize(
    ("arm", "searched", "expected"),
    [
        pytest.param(
            "initialization: random, transfer_learning.initializer_factor: 0.05",
            "",
            (0.05, None),
            id="its settings",
        ),
        pytest.param(
            "initialization: random",
            "\n  transfer_learning.initializer_factor: {type: float, low: 0.1, high: 2}",
            ("searched", None),
            id="a searched setting",
        ),
        pytest.param("initialization: shuffled", "", None, id="no such arm"),
    ],
)
def test_what_makes_the_random_arm_strong_is_registered(tmp_path, arm, searched, expected):
    study = simulated_study(
        tmp_path,
        **{
            "  random": f"{{transfer_learning.{arm}}}",
            "  transfer_learning.patch_len": f"{{type: choice, options: [4]}}{searched}",
        },
    )

    registered = registered_in(tmp_path, study, [NANO]).random_arm

    assert (registered and (registered.initializer_factor, registered.input_scale)) == expected


def test_without_a_pretrained_arm_no_cost_is_registered(tmp_path):
    shuffled = "{transfer_learning.initialization: shuffled}"
    study = simulated_study(tmp_path, **{"  pretrained": shuffled})

    assert registered_in(tmp_path, study, [NANO]).cost is None


def test_a_folder_that_exists_is_refused_and_stays_as_it_was(run, study):
    before = run.space.read_bytes()

    with pytest.raises(ResultsError, match="must not exist yet; go on with it by --resume"):
        begin_run(run, study, **BEGIN)

    assert run.space.read_bytes() == before


def test_a_file_in_the_way_of_the_folder_is_one_line(tmp_path, study):
    (tmp_path / "file").touch()

    with pytest.raises(ResultsError, match="must be a folder that can be made") as raised:
        begin_run(RunFolder(tmp_path / "file" / "run"), study, **BEGIN)

    assert "\n" not in str(raised.value)


def test_an_end_while_beginning_leaves_nothing(tmp_path, study, monkeypatch):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("stage1.study.resume.preregistration_text", interrupted)

    with pytest.raises(KeyboardInterrupt):
        begin_run(RunFolder(tmp_path / "runs" / "s"), study, **BEGIN)

    assert list((tmp_path / "runs").iterdir()) == []


def test_the_same_study_is_recognised_wherever_its_bars_lie(run, study):
    check_same_study(run, study, data=DATA)
    check_same_study(run, study, data=DATA | {"data_dir": "./data"})


def test_a_study_begun_before_a_key_was_there_goes_on_with_its_default(
    tmp_path, study, monkeypatch
):
    run = RunFolder(tmp_path / "earlier")
    with monkeypatch.context() as patch:
        patch.setattr(
            "stage1.study.resume.space_yaml",
            lambda *arguments: space_yaml(*arguments).replace("    kind: ohlc\n", ""),
        )
        begin_run(run, study, **BEGIN)

    assert "kind" not in yaml.safe_load(run.space.read_text())["config"]["data"]
    check_same_study(run, study, data=DATA)


@pytest.mark.parametrize(
    ("begun", "goes_on"),
    [("", 0.0), ("    test_share: 0.1\n", 0.1)],
    ids=["without the key", "own"],
)
def test_a_study_goes_on_with_the_test_period_that_it_was_begun_with(
    tmp_path, study, monkeypatch, begun, goes_on
):
    run = RunFolder(tmp_path / "earlier")
    with monkeypatch.context() as patch:
        patch.setattr(
            "stage1.study.resume.space_yaml",
            lambda *arguments: space_yaml(*arguments).replace("    test_share: null\n", begun),
        )
        begin_run(run, study, **BEGIN)

    resumed = on_bars_of_run(study, run)

    assert study.config.data.test_share is None
    assert resumed.config.data.test_share == goes_on
    bars = dict.fromkeys(("data.data_dir", "data.sha256"))
    check_same_study(run, replace(resumed, config=with_values(resumed.config, bars)), data=DATA)
    other = replace(study, config=with_values(resumed.config, {"data.test_share": 0.3}))
    assert f"config.data.test_share ({goes_on} -> 0.3)" in refused(run, other)


@pytest.mark.parametrize(
    ("replaced", "named"),
    [
        ({"seed": 1}, "seed (0 -> 1)"),
        ({"trials": 3}, "search.trials (12 -> 3)"),
        (
            {"  random": "{transfer_learning.initialization: shuffled}"},
            "arms.random.transfer_learning.initialization ('random' -> 'shuffled')",
        ),
        (
            {"  transfer_learning.patch_len": "{type: choice, options: [4, 8]}"},
            "space.transfer_learning.patch_len.options ([4, 8, 16] -> [4, 8])",
        ),
        ({"horizon_epochs": "8"}, "config.training.epochs (9 -> 8), horizon_epochs (9 -> 8)"),
        (
            {"search": "{trials: 12, start: [{transfer_learning.patch_len: 8}]}"},
            "search.start (None -> [{'transfer_learning.patch_len': 8}])",
        ),
    ],
)
def test_another_study_is_refused_by_what_differs(run, tmp_path, replaced, named):
    other = simulated_study(tmp_path, **replaced)

    message = refused(run, other)

    assert f"differs in {named}; undo the change, or start a new run" in message


def test_other_bars_are_refused(run, study):
    message = refused(run, study, DATA | {"fingerprint": "e" * 64})

    assert "differs in data.fingerprint" in message
    there = "of the bundled sample"
    assert f"({'d' * 12} {there} -> {'e' * 12} {there})" in message


def test_another_language_model_under_the_same_name_is_refused(run, study):
    other = SimpleNamespace(name="english-t5-nano", sha256="e" * 64)

    check_same_study(run, study, data=DATA, models=[NANO])
    with pytest.raises(ResultsError, match="differs in weights of english-t5-nano"):
        check_same_study(run, study, data=DATA, models=[other])


@pytest.mark.parametrize(
    ("file", "edit", "rule"),
    [
        ("space", lambda text: text.replace("trials: 12", "trials: 13"), EDITED),
        ("prereg", lambda text: text.replace("early_epoch: 2", "early_epoch: 4"), CHECKSUM),
        ("prereg", lambda text: text.split("\n", 1)[1], CHECKSUM),
        ("prereg", lambda text: "space_sha256: none\n", EDITED),
        ("prereg", lambda text: "a: [1\n", "prereg.yaml: must be readable"),
    ],
)
def test_a_first_file_that_was_edited_is_refused_in_one_line(run, study, file, edit, rule):
    path = getattr(run, file)
    before = path.read_text()
    path.write_text(edit(before))

    message = refused(run, study)

    assert path.read_text() != before
    assert rule in message
    assert "\n" not in message


@pytest.mark.parametrize("missing", ["space", "prereg", "path"])
def test_a_folder_without_its_first_files_is_no_run_to_resume(run, study, missing):
    gone = getattr(run, missing)
    gone.rename(gone.with_name("elsewhere"))

    assert refused(run, study) == f"{run.path}: must be a run folder to --resume; start it without"


@pytest.mark.parametrize("trials", [0, math.inf])
def test_ended_trials_come_back_as_they_were(run, study, trials):
    engine = simulate(engine_of(study, tables=WrittenTables(run)), trials=trials)

    read = ended_trials(run, study)

    assert read == list(engine.ended.values())
    for trial, lived in zip(read, engine.ended.values(), strict=True):
        assert {k: type(v) for k, v in trial.spec.values.items()} == {
            k: type(v) for k, v in lived.spec.values.items()
        }


def test_a_parameter_that_was_never_active_has_no_column_and_no_value(tmp_path):
    condition = "when: {transfer_learning.freeze_lm_epochs: 3}"
    study = simulated_study(
        tmp_path,
        **{"  transfer_learning.patch_len": f"{{type: choice, options: [4, 8], {condition}}}"},
    )
    run = RunFolder(tmp_path / "run")
    first = engine_of(study, tables=WrittenTables(run))
    while (spec := first.next_trial()) and len(spec.values) == 3:
        first.on_error(spec.trial_id, f"{spec.arm} skipped")

    run = RunFolder(tmp_path / "only_one")
    engine = engine_of(study, tables=WrittenTables(run))
    engine.running[spec.trial_id] = first.running[spec.trial_id]
    engine.on_error(spec.trial_id, "broken")

    (read,) = ended_trials(run, study)
    assert read.spec == spec


@pytest.mark.parametrize("metric", ["val_correlation", "val_corr_m1"])
def test_trials_that_failed_before_their_first_epoch_have_no_value(tmp_path, metric):
    study = simulated_study(tmp_path, objective=f"{{metric: {metric}, mode: max}}")
    run = RunFolder(tmp_path / "run")

    def row(spec, epoch):
        raise RuntimeError(f"no such file: {spec.arm}")

    simulate(engine_of(study, tables=WrittenTables(run)), trials=3, row=row)

    read = ended_trials(run, study)
    assert [(trial.status, trial.curve, trial.seconds) for trial in read] == [("failed", {}, 0)] * 3
    assert all(math.isnan(trial.value) for trial in read)


# --- designs that grow ---

LOOKS = {"design": "{looks: [16, 32], replicated: 4, control: 1}", "horizon_epochs": "1"}
FEW_VALUES = {
    "  training.optimizer.lr": "{type: choice, options: [1.0e-3]}",
    "  transfer_learning.freeze_lm_epochs": "{type: int, low: 0, high: 4}",
}


def open_claim(look):
    return LookResult(decided=False, asks_for_control=False)


def begun(folder, *, judge=open_claim, until=math.inf, **replaced):
    """A run of a study that looks twice, and so many trials of it; the study too."""
    study = simulated_study(folder, trials=2, **LOOKS | replaced)
    run = RunFolder(folder / "grown")
    begin_run(run, study, **BEGIN)
    simulate(engine_of(study, tables=WrittenTables(run), judge=judge), trials=until)
    return run, study


def test_looks_seeds_and_what_is_distinct_are_registered(tmp_path):
    run, _ = begun(tmp_path, until=0, **FEW_VALUES)

    written = yaml.safe_load(run.prereg.read_text())

    assert (written["looks"], written["replicated"], written["control"]) == ([16, 32], 4, 1)
    assert (written["configurations"], written["seeds"]) == (32, [1, 2])
    assert written["confirm_seeds"] == [3, 4]
    assert "1/8 of the level by 16 configurations" in written["spending"]
    points = simulated_study(tmp_path, **LOOKS | FEW_VALUES).with_points(128).points
    counts = {n: len({tuple(point.items()) for point in points[:n]}) for n in (16, 32, 64, 128)}
    assert read_preregistration(run).distinct == counts
    assert counts[64] == counts[128] == 15  # all there are: no look beyond adds any


def test_a_design_that_is_judged_once_is_registered_as_before_but_for_the_confirmation(run):
    written = yaml.safe_load(run.prereg.read_text())

    assert (written["looks"], written["replicated"], written["control"]) == (1, None, None)
    assert (written["distinct"], written["spending"]) == ({}, None)
    assert written["confirm_seeds"] == [3, 4]


def test_a_study_begun_by_an_earlier_version_goes_on_as_it_began(run, study):
    now = as_begun(run, study)
    registered = read_preregistration(run).model_copy(update={"confirm_seeds": None})
    run.prereg.write_text(preregistration_text(registered))

    earlier = as_begun(run, study)

    assert not now.began_earlier
    assert earlier.began_earlier
    assert earlier.confirm_seeds == [1, 2]


def test_the_runs_of_earlier_versions_have_finished_and_stay_so():
    study = recorded_study()
    trials = ended_trials(SAMPLE, study)

    engine = engine_of(study, ended=trials, judge=open_claim)

    with pytest.raises(StopIteration):
        engine.next_trial()
    assert engine.has_finished


def test_a_finished_study_is_extended_by_a_doubling_and_goes_on_with_it(tmp_path):
    run, study = begun(tmp_path)
    files = run.space.read_bytes(), run.prereg.read_bytes()

    longer = extended(run, as_begun(run, study), open_claim)

    assert (longer.looks, len(longer.configurations)) == ([16, 32, 64], 64)
    assert longer.points[:32] == study.points
    ended = ended_trials(run, study)
    tables = WrittenTables(run)
    simulate(engine_of(longer, tables=tables, ended=ended, judge=open_claim), trials=90)
    assert as_begun(run, study).looks == [16, 32, 64]  # an extension that has begun
    check_same_study(run, study, data=DATA)
    assert (run.space.read_bytes(), run.prereg.read_bytes()) == files


def test_a_study_decided_early_is_extended_to_the_next_announced_look(tmp_path):
    decided = LookResult(decided=True, asks_for_control=False)
    run, study = begun(tmp_path, judge=lambda look: decided)

    longer = extended(run, as_begun(run, study), lambda look: decided)

    assert (longer.goes_to, longer.looks) == (32, [16, 32])


@pytest.mark.parametrize("until", [0, 5, 41, 75])
def test_a_study_that_has_not_finished_is_not_extended(tmp_path, until):
    run, study = begun(tmp_path, until=until)

    with pytest.raises(ResultsError, match="finish it first with --resume") as raised:
        extended(run, as_begun(run, study), open_claim)

    assert "\n" not in str(raised.value)


def test_an_extension_that_has_not_finished_is_not_extended_again(tmp_path):
    run, study = begun(tmp_path)
    longer = extended(run, as_begun(run, study), open_claim)
    ended = ended_trials(run, study)
    simulate(engine_of(longer, tables=WrittenTables(run), ended=ended, judge=open_claim), trials=90)

    with pytest.raises(ResultsError, match="finish it first with --resume"):
        extended(run, as_begun(run, study), open_claim)


@pytest.mark.parametrize(
    ("replaced", "rule"),
    [
        pytest.param(
            {"design": "{configurations: 4, seeds: 2}"},
            "must be a study with looks to --extend, got one that is judged once, after 4",
            id="one look",
        ),
        pytest.param(
            FEW_VALUES
            | {
                "  transfer_learning.freeze_lm_epochs": "{type: int, low: 0, high: 3}",
                "  transfer_learning.patch_len": "{type: choice, options: [2, 4, 8, 16]}",
            },
            "got the same 16 among 32 points",
            id="nothing to add",
        ),
    ],
)
def test_a_design_that_cannot_grow_is_not_extended(tmp_path, replaced, rule):
    run, study = begun(tmp_path, **replaced)

    with pytest.raises(ResultsError, match=rule):
        extended(run, as_begun(run, study), open_claim)


# --- the file of started trials ---

A = TrialSpec("search", "random", "random-000", 0, {"lr": 1e-3, "n": 2, "name": "x", "on": True})
B = TrialSpec("design", "random", "design000", 1, {})


@pytest.fixture
def file(tmp_path):
    return tmp_path / "begun.json"


def test_started_trials_are_read_back_as_they_were_and_in_their_order(file):
    StartedTrials(file).add(B)
    StartedTrials(file).add(A)  # another session

    assert read_started(file) == [B, A]
    types = [type(value) for value in read_started(file)[1].values.values()]
    assert types == [float, int, str, bool]


def test_trials_whose_rows_are_written_leave_the_file_and_the_last_one_takes_it_along(file):
    started = StartedTrials(file)
    started.add(B)
    started.add(A)

    started.remove([B.trial_id, "unknown"])
    left = read_started(file)
    started.remove([A.trial_id])

    assert left == [A]
    assert not file.exists()
    assert read_started(file) == []


def test_what_a_killed_process_has_left_half_written_is_removed(file):
    half = file.with_name(".begun.json.abcd1234")
    half.mkdir()

    StartedTrials(file)

    assert not half.exists()


@pytest.mark.parametrize(
    "text", ["", "[", "{}", "[1]", '[{"stage": "search"}]', '[{"stage": 1, "arm": "a"}]', "\0"]
)
def test_a_file_that_was_changed_is_one_line(file, text):
    file.write_text(text)

    with pytest.raises(
        ResultsError, match=r"begun\.json: must be as the study has written it"
    ) as e:
        read_started(file)

    assert "\n" not in str(e.value)


@pytest.mark.parametrize(
    "change", [{"stage": "x"}, {"arm": "x"}, {"config_id": "../x"}, {"values": {"x": 1}}]
)
def test_a_started_trial_that_is_none_of_the_study_is_refused(file, study, change):
    StartedTrials(file).add(B._replace(**change))

    with pytest.raises(ResultsError, match="must hold trials of this study"):
        read_started(file, study)


# --- tables that are lost, older than the others, or another run's ---


def one_broken(spec, epoch):
    if spec.trial_id == "design000-random-seed2" and epoch == 1:
        raise RuntimeError("broken")
    return epoch_row(spec, epoch) | ({BLOCKS: np.ones((2, 4, 1, 6))} if epoch in (2, 9) else {})


@pytest.fixture
def halfway(run, study):
    """Seven trials have ended, one of them after epoch 0 by an error; two have begun."""
    simulate(engine_of(study, tables=WrittenTables(run)), trials=7, row=one_broken)
    return run


def edited(file, keep):
    table = pd.read_parquet(file)
    table[keep(table)].to_parquet(file)


def test_tables_as_a_study_leaves_them_at_any_moment_are_gone_on_with(run, study, halfway):
    check_tables(run, study, started=[])
    check_tables(RunFolder(run.path / "none"), study, started=[])
    edited(run.trials, lambda table: table["trial_id"] != "design000-random-seed1")
    check_tables(run, study, started=["design000-random-seed1"])  # killed between two writings


def test_a_run_with_the_trial_names_of_an_earlier_version_is_gone_on_with(run, study):
    simulate(engine_of(study, tables=WrittenTables(run)), row=one_broken)
    expected = [trial.spec for trial in ended_trials(run, study)]
    identity = ["stage", "config_id", "arm", "seed"]
    for file in (run.trials, run.curves, run.blocks):
        table = pd.read_parquet(file)
        earlier = table[identity].astype(str).agg("-".join, axis=1)
        table.assign(trial_id=earlier).to_parquet(file)
    run.checkpoints.mkdir()
    kept = run.checkpoints / "confirm-random-003-random-5.ckpt"
    kept.touch()

    check_tables(run, study, started=["confirm-random-003-seed5"])

    assert [trial.spec for trial in ended_trials(run, study)] == expected
    assert {spec.stage for spec in expected} == {"design", "search", "confirm"}
    assert run.checkpoint("confirm-random-003-seed5") == kept
    assert RunWriter(run).trial_ids == {spec.trial_id for spec in expected}


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        pytest.param(
            lambda run: run.trials.unlink(),
            "trials.parquet: must hold every trial of curves.parquet, got no design000-",
            id="no trials",
        ),
        pytest.param(
            lambda run: [file.unlink() for file in (run.trials, run.curves)],
            "trials.parquet: must hold every trial of blocks.parquet, got no design000-",
            id="neither trials nor curves",
        ),
        pytest.param(
            lambda run: [file.unlink() for file in (run.trials, run.curves, run.blocks)],
            "trials.parquet: must hold every trial of checkpoints, got no design000-pre",
            id="no table at all",
        ),
        pytest.param(lambda run: run.curves.unlink(), "must hold curves.parquet", id="no curves"),
        pytest.param(lambda run: run.blocks.unlink(), "must hold blocks.parquet", id="no blocks"),
        pytest.param(
            lambda run: edited(run.trials, lambda table: table.index < 5),
            "trials.parquet: must hold every trial of curves.parquet, got no design001-",
            id="older trials",
        ),
        pytest.param(
            lambda run: edited(run.curves, lambda table: table["trial_id"] < "design001"),
            "curves.parquet: must hold epoch 0 of design001-pretrained-seed1, got no such row",
            id="older curves",
        ),
        pytest.param(
            lambda run: edited(run.curves, lambda table: table["epoch"] != 4),
            "curves.parquet: must hold epoch 4 of design000-pretrained-seed1, got no such row",
            id="an epoch is missing",
        ),
        pytest.param(
            lambda run: edited(run.blocks, lambda table: table["epoch"] != 9),
            "blocks.parquet: must hold epoch 9 of design000-pretrained-seed1, got no such row",
            id="blocks of an epoch are missing",
        ),
    ],
)
def test_a_table_that_was_lost_or_is_older_than_the_others_is_refused(
    run, study, halfway, spoil, told
):
    run.checkpoints.mkdir()
    run.checkpoint("design000-pretrained-seed1").touch()
    spoil(run)

    with pytest.raises(ResultsError) as raised:
        check_tables(run, study, started=[])

    assert told in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "replaced",
    [
        pytest.param({"  training.optimizer.lr": "{type: float, low: 0.1, high: 1}"}, id="bounds"),
        pytest.param(
            {"  transfer_learning.patch_len": "{type: choice, options: [32]}"}, id="options"
        ),
        pytest.param({}, id="arms"),
    ],
)
def test_the_trials_of_another_study_are_refused(run, tmp_path, halfway, replaced):
    if not replaced:
        pd.read_parquet(run.trials).assign(arm="another").to_parquet(run.trials)
    other = simulated_study(tmp_path, **replaced)

    with pytest.raises(ResultsError, match=r"trials\.parquet: must hold trials of this study"):
        ended_trials(run, other)
