"""What a study ends with on a terminal of 80 columns."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import pytest
from command_line import ROOT
from made_claims import BY_NUMBER, made_claim, made_evaluation, unknown_claim
from made_runs import write_synthetic_run
from rich.console import Console

from stage1.claims.intervals import Interval
from stage1.claims.judge import evaluate
from stage1.claims.scores import read_run
from stage1.claims.verdicts import Verdict
from stage1.pages.answer_section import EASIER, HELPS, TRAIN
from stage1.pages.provenance import activation
from stage1.pages.study_page import Report, show_look
from stage1.run.folder import RunFolder


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    return read_run(write_synthetic_run(tmp_path_factory.mktemp("runs") / "synthetic"))


@pytest.fixture
def printed():
    """Prints something on 80 columns and gives what was shown."""
    console = Console(width=80)

    def capture(*things):
        with console.capture() as captured:
            for thing in things:
                if callable(thing):
                    thing(console)
                else:
                    console.print(thing)
        return captured.get()

    return capture


def test_the_screen_begins_with_three_answers_and_then_the_verdicts(tables, printed):
    report = Report(tables, made_evaluation())

    look, end = printed(lambda console: show_look(report, console)), printed(report.show)

    assert end.startswith(look)
    places = [look.index(word) for word in (HELPS, EASIER, TRAIN, "claim ")]
    assert places == sorted(places)
    assert "\narm " in end
    assert "\narm " not in look
    assert "…" not in end


def test_the_widest_verdicts_fit_80_columns_whole(tables, printed):
    interval = Interval(-12.3456, -math.inf, 123.4567, 0.5)
    widest = made_claim("4", interval=interval, verdict=Verdict.NOT_EVALUABLE)
    *claims, beside = [widest._replace(definition=BY_NUMBER[n]) for n in [*"12345", "3b"]]
    evaluation = made_evaluation(claims=claims, beside=[beside])

    lines = printed(Report(tables, evaluation).show).splitlines()
    (first,) = [place for place, line in enumerate(lines) if line.startswith("claim ")]
    lines = lines[first : first + 8]

    assert max(map(len, lines)) <= 80
    (line,) = [line for line in lines if line.split()[:1] == ["4"]]
    assert " ".join(line.split()) == "4 stability ≥ +20% <−999% [−∞, >999%] NOT EVALUABLE"
    assert not any("…" in line for line in lines)


def test_what_is_ours_has_an_asterisk_and_the_asterisk_a_word(tables, printed):
    evaluation = made_evaluation(beside=[made_claim("2b")])

    shown = printed(Report(tables, evaluation).show)

    assert "2b error reduction *" in shown
    assert "* ours, beside the plan's number" in shown


def test_the_end_says_verdicts_warnings_paths_and_commands(tables, printed):
    claims = [made_claim("1"), *(unknown_claim(str(n), "needs two seeds") for n in (2, 3))]
    evaluation = made_evaluation(
        claims=claims, warnings=["Beware [of] this."], deviations=["space.yaml was edited."]
    )

    shown = printed(Report(tables, evaluation).show)

    run = tables.run
    joined = " ".join(shown.split())
    assert "Warning: Beware [of] this." in joined
    assert "Deviation: space.yaml was edited." in joined
    assert f"Report: {run.report_html} (as text: report.md)\n" in shown
    assert f"\n  python -m stage1.export {run.path} --final\n" in shown
    assert "\n  python -m stage1.train configs/synthetic-final.yaml\n" in shown


def test_a_study_that_does_not_say_how_many_windows_it_has_goes_on_without_final(tables, printed):
    old = tables.registration.model_copy(update={"training_windows": None})

    shown = printed(Report(tables._replace(registration=old), evaluate(tables)).show)

    assert f"\n  python -m stage1.export {tables.run.path}\n" in shown
    assert "\n  python -m stage1.train configs/synthetic.yaml\n" in shown


def test_without_a_complete_configuration_there_is_no_next_command(tables, printed):
    none = tables._replace(trials=tables.trials.iloc[:0])

    shown = printed(Report(none, evaluate(none)).show)

    assert "stage1.export" not in shown
    assert "No trial has ended yet" in shown


def test_what_the_run_has_can_be_opened_by_commands_that_are_whole(tables, printed):
    run = tables.run
    run.tensorboard.mkdir(exist_ok=True)
    run.journal.touch()

    shown = printed(Report(tables, made_evaluation()).show)

    assert shown.endswith(
        "  python -m stage1.train configs/synthetic-final.yaml\n"
        f"  optuna-dashboard {run.path}/optuna.journal\n"
        f"  tensorboard --logdir {run.path}/tensorboard\n"
    )


def test_what_the_run_does_not_have_is_not_offered(tables, printed, tmp_path):
    bare = tables._replace(run=RunFolder(tmp_path))

    shown = printed(Report(bare, made_evaluation()).show)

    for word in ("optuna-dashboard", "tensorboard"):
        assert word not in shown


def test_the_end_of_the_default_study_fits_one_screen(printed, monkeypatch):
    monkeypatch.chdir(ROOT)
    run = RunFolder(Path("analysis", "sample_run"))
    tables = read_run(run)

    lines = printed(Report(tables, evaluate(tables)).show).splitlines()

    rows = sum(max(math.ceil(len(line) / 80), 1) for line in lines)
    assert rows + 2 <= 40  # TensorBoard's command, for which the sample has nothing; a prompt


@pytest.fixture
def environment(tmp_path, monkeypatch):
    """A virtual environment in the current folder, whose Python runs."""
    programs = tmp_path / ".venv" / "bin"
    programs.mkdir(parents=True)
    for name in ("python", "activate"):
        (programs / name).touch(mode=0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "executable", str(programs / "python"))
    return programs


def test_commands_begin_with_what_makes_them_run_where_python_is_another(
    environment, tables, printed, monkeypatch
):
    monkeypatch.setenv("PATH", "/usr/bin")

    shown = printed(Report(tables, made_evaluation()).show)

    assert "\nNext:\n  source .venv/bin/activate\n  python -m stage1.export " in shown


def test_outside_its_folder_an_environment_has_its_whole_path(environment, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "/usr/bin")
    (tmp_path / "else where").mkdir()
    monkeypatch.chdir(tmp_path / "else where")

    assert activation() == [f"source {tmp_path}/.venv/bin/activate"]


def test_an_activated_environment_and_none_need_no_activation(environment, monkeypatch):
    monkeypatch.setenv("PATH", str(environment))
    assert activation() == []

    monkeypatch.setenv("PATH", "/usr/bin")
    (environment / "activate").unlink()

    assert activation() == []
