"""`python -m stage1.claims selftest`: the tests tested, as a user asks for it."""

import sys
from unittest.mock import MagicMock

import pytest
from command_line import stage1
from made_runs import write_rich_run
from rich.console import Console

from stage1.base.errors import EXIT_DEFECT, EXIT_USER_ERROR
from stage1.base.terminal import run_command
from stage1.claims import __main__ as module
from stage1.claims.__main__ import selftest
from stage1.claims.catalogue import DEFINITIONS, PLANNED
from stage1.claims.error_rates import Counts, ErrorRates, Share

NAMES = (*(claim.name for claim in PLANNED), "any claim")
LEVEL = Share(0, 100)
SOUND = Counts(LEVEL, LEVEL, LEVEL, Share(100, 100))


@pytest.fixture
def call(monkeypatch):
    """Runs the command line in this process; gives the exit status."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["stage1.claims", *map(str, arguments)])
        with pytest.raises(SystemExit) as exit_:
            run_command({"selftest": selftest})
        return exit_.value.code

    return run


@pytest.fixture
def rates(monkeypatch):
    """In place of simulations: these rates for every line."""

    def set_rates(*, without_effect=SOUND, at_claimed=SOUND, family=LEVEL):
        def error_rates(draws, world, size, definition, *, seed):
            return ErrorRates(definition, without_effect, at_claimed)

        monkeypatch.setattr(module, "error_rates", error_rates)
        monkeypatch.setattr(module, "any_false_finding", lambda rates: family)

    return set_rates


def row(printed, name):
    """The first line of a table that begins with a name."""
    return next(line for line in printed.splitlines() if line.strip().startswith(name))


@pytest.mark.slow
def test_without_a_run_the_typical_study_is_tested_and_sound():
    result = stage1("stage1.claims", "selftest", "--studies", 100)

    assert "Looks at 16, 32 configurations, 2 seeds, scores that leave room" in result.stdout
    for title in ("Error rates, Gaussian scores", "Error rates, heavy tails"):
        table = result.stdout.partition(title)[2]
        assert all(row(table, name).count("%") >= 2 for name in NAMES)
    assert "not possible" not in result.stdout
    assert "No rate is above what it may be." in result.stdout


def test_every_line_of_both_tables_is_simulated_with_the_studies_that_are_asked_for(
    call, monkeypatch, capsys
):
    asked = []

    def error_rates(draws, world, size, definition, *, seed):
        asked.append((world.heavy_tailed, len(draws), seed))
        return ErrorRates(definition, SOUND, SOUND)

    monkeypatch.setattr(module, "error_rates", error_rates)
    monkeypatch.setattr(module, "any_false_finding", lambda rates: LEVEL)

    status = call("selftest", "--studies", 123, "--seed", 4)

    assert status == 0
    assert asked == [(False, 123, 4)] * len(DEFINITIONS) + [(True, 123, 4)] * len(DEFINITIONS)
    assert capsys.readouterr().out.count("  error reduction ") == 4


def test_a_run_whose_tau_has_no_room_to_rise_says_so_in_place_of_rates(call, tmp_path, capsys):
    # Seven whole configurations: too few for the bootstrap of ranks, so this is fast.
    run = write_rich_run(tmp_path / "run", configurations=8)

    status = call("selftest", run.path, "--studies", 100)

    printed = capsys.readouterr().out
    assert f"scores vary as in {run.path}" in printed
    assert row(printed, "early signal").count("not possible") == 2
    assert row(printed, "cost").count("not possible") == 0
    assert status == (EXIT_DEFECT if "DEFECT: " in printed else 0)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (
            {"without_effect": SOUND._replace(found=Share(20, 100))},
            "DEFECT: stability: finds an effect where there is none too often",
        ),
        (
            {"at_claimed": SOUND._replace(supported=Share(20, 100))},
            "DEFECT: stability: says SUPPORTED at the edge of the claim too often",
        ),
        ({"family": Share(20, 100)}, "DEFECT: all claims: at least one errs too often"),
    ],
)
def test_a_rate_that_is_too_high_is_a_defect_and_exit_status_one(call, rates, capsys, wrong, told):
    rates(**wrong)

    status = call("selftest")

    printed = capsys.readouterr().out
    assert status == EXIT_DEFECT == 1
    assert told in printed
    assert "No rate is above" not in printed


def test_an_effect_that_is_not_possible_is_no_defect(call, rates, capsys):
    rates(at_claimed=None)

    status = call("selftest")

    assert status == 0
    assert row(capsys.readouterr().out, "stability").count("not possible") == 2


def test_on_a_terminal_it_says_which_claim_it_is_at(rates, monkeypatch):
    rates()
    status = MagicMock()
    monkeypatch.setattr(Console, "status", lambda console, text: status)
    monkeypatch.setattr(Console, "is_terminal", True)

    selftest(studies=100)

    told = [call.args[0] for call in status.__enter__().update.call_args_list]
    assert told[0] == "Simulating studies with Gaussian scores: sensitivity (1 of 8) ..."
    assert told[-1].endswith("4 degrees of freedom): cost (8 of 8) ...")
    assert len(told) == 2 * len(DEFINITIONS)


def test_in_a_pipe_it_says_so_in_lines(rates, capsys):
    rates()

    selftest(studies=100)

    told = [line for line in capsys.readouterr().out.splitlines() if "Simulating" in line]
    assert told[0] == "Simulating studies with Gaussian scores: sensitivity (1 of 8) ..."
    assert len(told) == 2 * len(DEFINITIONS)


def test_a_folder_that_is_no_run_is_one_line_and_status_two(call, tmp_path, capsys):
    status = call("selftest", tmp_path)

    told = capsys.readouterr()
    assert status == EXIT_USER_ERROR == 2
    assert told.out == ""
    assert told.err.count("\n") == 1
    assert str(tmp_path) in told.err


@pytest.mark.parametrize("arguments", [(), ("selfcheck",)], ids=["none", "unknown"])
def test_without_a_known_subcommand_it_is_one_line_and_status_two(call, capsys, arguments):
    status = call(*arguments)

    told = capsys.readouterr()
    assert status == 2
    assert told.err.count("\n") == 1
    assert "--help" in told.err
