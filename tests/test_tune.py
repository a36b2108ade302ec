"""The main command up to its first trial, and around a study that somebody else runs."""

from __future__ import annotations

import json
import re
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
import yaml
from command_line import ROOT, refusal_of
from made_studies import WrittenTables, engine_of, simulate
from synthetic_bars import write_bars

from stage1.base.errors import TrialError
from stage1.run.folder import RunFolder
from stage1.run.resolved_space import read_space
from stage1.run.tables import read_trials
from stage1.study.trials import ended_trials
from stage1.tune import tune
from stage1.workers.launch import Cluster

SMOKE = ROOT / "search_spaces" / "smoke.yaml"
SPACE = """\
name: small
base: base.yaml
horizon_epochs: 1
arms:
  pretrained: {transfer_learning.initialization: pretrained}
space:
  training.optimizer.lr: {type: float, low: 1.0e-3, high: 1.0e-2, log: true}
design: {configurations: 2, seeds: 1}
search: {trials: 2}
"""
BASE = """\
data: {timeframes: [m1], seq_len: 16}
masking: {mask_ratio: 0.25}
transfer_learning: {lm_name_or_path: english-t5-nano}
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a small space, its base, and bars of its own; the command runs in it."""
    monkeypatch.chdir(tmp_path)
    Path("space.yaml").write_text(SPACE)
    Path("base.yaml").write_text(BASE)
    write_bars(Path("bars"), count=600)
    return tmp_path


@pytest.fixture
def call(call_command):
    """Call the command with arguments; gives status, stdout and stderr."""
    return partial(call_command, tune)


SMALL = ("space.yaml", "--data-dir", "bars")
RUN = RunFolder(Path("runs/small"))


# --- before the first trial ---


def test_check_of_a_sound_space_is_a_line_and_what_it_leaves_open_and_leaves_nothing(
    call, tmp_path
):
    status, out, err = call(SMOKE, "--check", "--out", tmp_path / "runs")

    assert (status, err) == (0, "")
    assert re.fullmatch(
        rf"{re.escape(str(SMOKE))}: sound\. [\d,]+ training and [\d,]+ validation windows; "
        r"language models: english-t5-nano; the bundled bars\. A full trial .*\.\n"
        r"Warning: claim 1 will be NOT EVALUABLE: it needs 16 configurations, got 4; [^\n]*\n",
        out,
    )
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("check", [(), ("--check",)], ids=["run", "check"])
@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        pytest.param(
            ["nope.yaml"], "nope.yaml: must be an existing file or the name of", id="no space"
        ),
        pytest.param([*SMALL[:2], "nope"], "nope", id="no such data folder"),
        pytest.param([*SMALL, "--time-budget", "soon"], "'soon'", id="a budget that is none"),
        pytest.param([*SMALL, "--trials", "-1"], "--trials", id="less than no trials"),
        pytest.param([*SMALL, "--workers", "0"], "--workers", id="no workers"),
        pytest.param([*SMALL, "--seed", "-1"], "--seed", id="a negative seed"),
        pytest.param([*SMALL, "--warm-start", "nope"], "nope must be", id="no earlier run"),
        pytest.param([*SMALL, "--resum"], "--resum", id="an unknown option"),
    ],
)
def test_a_wrong_argument_is_one_line_and_no_run_folder(call, folder, arguments, fault, check):
    assert fault in refusal_of(call, folder, *arguments, *check)


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        pytest.param(
            "horizon_epochs", "horizon", "space.yaml:3: horizon: unknown key", id="unknown key"
        ),
        pytest.param("low: 1.0e-3", "low: 1", "space.yaml:7: ", id="bounds the wrong way round"),
        pytest.param("base.yaml", "b.yaml", "space.yaml:2: base: must be an", id="no base"),
        pytest.param("small", "../x", "space.yaml:1: name: must match", id="a name that climbs"),
    ],
)
def test_a_fault_of_the_space_is_one_line_and_no_run_folder(call, folder, old, new, fault):
    Path("space.yaml").write_text(SPACE.replace(old, new, 1))

    assert refusal_of(call, folder, *SMALL).startswith(fault)


def test_several_faults_of_the_space_have_a_line_each(call, folder):
    Path("space.yaml").write_text(
        SPACE.replace("seeds: 1", "seeds: 0").replace("trials: 2", "x: 2")
    )

    faults = refusal_of(call, folder, *SMALL, lines=2)

    assert faults.splitlines() == [
        "space.yaml:8: design.seeds: must be >= 1, got 0",
        "space.yaml:9: search.x: unknown key; known: trials, sampler, scheduler, start",
    ]


def test_a_language_model_that_cannot_be_had_names_the_three_ways_to_get_one(call, folder):
    Path("base.yaml").write_text(BASE.replace("english-t5-nano", "google-t5/t5-nowhere"))

    fault = refusal_of(call, folder, *SMALL)

    assert "google-t5/t5-nowhere" in fault
    for way in ("english-t5-nano", "folder", "hub"):
        assert way in fault.lower()


def test_too_little_data_says_how_many_days_are_needed(call, folder):
    write_bars(Path("few"), count=20)

    assert re.search(r"\d days?", refusal_of(call, folder, "space.yaml", "--data-dir", "few"))


def test_only_a_run_that_has_begun_can_be_resumed_and_only_by_that_option(call, folder):
    never_begun = refusal_of(call, folder, *SMALL, "--resume")
    Path("runs/small").mkdir(parents=True)
    existing = refusal_of(call, folder, *SMALL)

    assert "must be a run folder to --resume" in never_begun
    assert existing.startswith("runs/small: must not exist yet; go on with it by --resume")


# --- around a study ---


@pytest.fixture
def studies(monkeypatch):
    """In place of Ray: notes how a study would be run, and writes made-up trials."""
    noted = []

    @contextmanager
    def no_ray(resources, **options):
        noted.append(options)
        yield Cluster(options["workers"] or 1, options["storage"])

    def run_study(inputs, run, *, judge, time_budget, retry_failed, **_):
        noted.append({"inputs": inputs, "time_budget": time_budget, "retry": retry_failed})
        write_trials(inputs.study, run, judge=judge)

    monkeypatch.setattr("stage1.tune.ray_cluster", no_ray)
    monkeypatch.setattr("stage1.workers.launch.run_study", run_study)
    return noted


def write_trials(study, run, *, judge=None, **until):
    known = ended_trials(run, study) if run.trials.exists() else []
    engine = engine_of(study, tables=WrittenTables(run), ended=known, judge=judge)
    return simulate(engine, **until)


def test_a_study_ends_with_its_table_its_report_and_what_to_run_next(call, folder, studies):
    status, out, _ = call(*SMALL)

    assert status == 0
    assert "pretrained" in out
    assert f"Report: {RUN.report_html}" in out
    assert "python -m stage1.export runs/small" in out
    assert "python -m stage1.train" in out
    assert RUN.report.exists()


def test_the_study_is_registered_with_its_data_before_the_first_trial(call, folder, studies):
    call(*SMALL)

    registered = yaml.safe_load(RUN.prereg.read_text())
    assert read_space(RUN).data.data_dir == "bars"
    assert registered["language_models"].keys() == {"english-t5-nano"}
    assert registered["seeds"] == [1]


def test_options_reach_the_study(call, folder, studies):
    call(
        *(*SMALL, "--trials", "5", "--seed", "3", "--out", "elsewhere", "--workers", "2"),
        *("--time-budget", "90s", "--storage", "s3://bucket/x"),
    )

    cluster, asked = studies
    assert cluster == {"workers": 2, "storage": "s3://bucket/x", "address": None}
    assert asked["time_budget"].total_seconds() == 90
    study = asked["inputs"].study
    assert (study.seed, study.space.search.trials) == (3, 5)
    assert [model.name for model in asked["inputs"].language_models] == ["english-t5-nano"]
    assert read_space(RunFolder(Path("elsewhere/small"))).seed == 3


def test_ctrl_c_says_how_to_go_on_and_resume_goes_on(call, folder, studies, monkeypatch):
    def interrupted(inputs, run, **options):
        write_trials(inputs.study, run, trials=2)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("stage1.workers.launch.run_study", interrupted)
        status, out, err = call(*SMALL)
    before = read_trials(RUN)["trial_id"].tolist()
    resumed, _, _ = call("space.yaml", "--resume")  # on the bars that it was begun on

    after = read_trials(RUN)["trial_id"].tolist()
    assert status == 130
    assert "--resume" in out
    assert "Traceback" not in err
    assert len(before) == 2
    assert resumed == 0
    assert after[:2] == before
    assert len(after) == len(set(after)) > 2


def test_a_study_whose_every_trial_has_failed_is_reported_and_no_success(
    call, folder, studies, monkeypatch
):
    def broken(spec, epoch):
        raise RuntimeError(f"no kernel for {spec.stage}")

    def all_fail(inputs, run, **options):
        write_trials(inputs.study, run, row=broken)
        return True

    monkeypatch.setattr("stage1.workers.launch.run_study", all_fail)

    status, out, err = call(*SMALL)

    assert status == 2
    assert f"Report: {RUN.report_html}" in out
    assert err == (
        "error: runs/small: a trial must complete, got 4 of 4 failed and the others diverged, the "
        "first with: no kernel for design; mend it, and go on with --resume --retry-failed\n"
    )


def test_failed_trials_are_run_again_where_that_is_asked_for(call, folder, studies):
    never_begun = refusal_of(call, folder, *SMALL, "--retry-failed")
    call(*SMALL)

    status, _, _ = call(*SMALL, "--retry-failed")

    assert "must be a run folder to --resume" in never_begun
    assert status == 0
    assert [asked["retry"] for asked in studies if "retry" in asked] == [False, True]


GROWING = SPACE.replace(
    "design: {configurations: 2, seeds: 1}", "seed: 7\ndesign: {looks: [16]}"
).replace("space:\n", "  random: {transfer_learning.initialization: random}\nspace:\n")


def claims_of(run):
    return json.loads(run.claims.read_text())


def test_a_look_leaves_a_report_and_shows_its_claims_before_the_search(
    call, folder, studies, monkeypatch
):
    def until_the_search(inputs, run, *, judge, **options):
        write_trials(inputs.study, run, judge=judge, trials=33)
        raise KeyboardInterrupt

    monkeypatch.setattr("stage1.workers.launch.run_study", until_the_search)
    Path("space.yaml").write_text(GROWING)

    status, out, _ = call(*SMALL)

    assert status == 130
    assert len(read_trials(RUN)) == 33  # the look's and the first of the search
    assert [look["configurations"] for look in claims_of(RUN)["looks"]] == [16]
    assert out.index("NOT EVALUABLE") < out.index("Stopped")
    assert read_space(RUN).seed == 7
    assert yaml.safe_load(RUN.prereg.read_text())["confirm_seeds"] == [9, 10]


def test_a_finished_study_is_extended_and_its_first_files_stay_as_they_were(call, folder, studies):
    Path("space.yaml").write_text(GROWING)
    call(*SMALL)
    before = RUN.space.read_bytes(), RUN.prereg.read_bytes()

    status, _, err = call(*SMALL, "--extend")

    assert (status, err) == (0, "")
    assert (RUN.space.read_bytes(), RUN.prereg.read_bytes()) == before
    assert [look["configurations"] for look in claims_of(RUN)["looks"]] == [16, 32]
    design = read_trials(RUN).query("stage == 'design'")
    assert design.groupby("arm")["config_id"].nunique().to_dict() == {
        "pretrained": 32,
        "random": 32,
    }


@pytest.mark.parametrize("further", [(), ("--resume",)], ids=["alone", "with --resume"])
def test_what_cannot_be_extended_is_one_line(call, folder, studies, further):
    never_begun = refusal_of(call, folder, *SMALL, "--extend", *further)
    call(*SMALL)

    once = refusal_of(call, folder, *SMALL, "--extend", *further)

    assert "must be a run folder to --resume" in never_begun
    assert once.startswith("runs/small: must be a study with looks to --extend")


@pytest.fixture
def ray_raises(monkeypatch):
    """In place of a Ray that starts."""

    def make(error):
        def raise_error(resources, **options):
            raise error

        monkeypatch.setattr("stage1.tune.ray_cluster", raise_error)

    return make


def test_ctrl_c_while_ray_starts_begins_nothing(call, folder, ray_raises):
    ray_raises(KeyboardInterrupt())

    status, out, _ = call(*SMALL)

    assert (status, out) == (130, "Stopped; nothing has begun.\n")
    assert not (folder / "runs").exists()


@pytest.mark.parametrize(
    ("arguments", "difference"),
    [
        pytest.param(["--seed", "1"], "differs in seed (0 -> 1)", id="another seed"),
        pytest.param(["--data-dir", "more"], "differs in data.fingerprint", id="other bars"),
    ],
)
def test_another_study_does_not_resume_a_run(call, folder, studies, arguments, difference):
    call(*SMALL)
    write_bars(Path("more"), count=700)

    assert difference in refusal_of(call, folder, *SMALL, "--resume", *arguments)


def test_where_not_even_one_trial_fits_no_run_folder_is_begun(call, folder, ray_raises):
    ray_raises(TrialError("resources must fit: a trial needs 64 CPUs"))

    assert "must fit" in refusal_of(call, folder, *SMALL)
