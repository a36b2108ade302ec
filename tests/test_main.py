"""All commands under one name, `stage1`."""

from __future__ import annotations

import ast

import pytest
from command_line import ROOT

import stage1 as package
from stage1.__main__ import COMMANDS, main
from stage1.tune import tune

MODULES = sorted((ROOT / "stage1").rglob("*.py"))


@pytest.fixture
def call(monkeypatch, capsys):
    """Call `stage1 ARGUMENTS` in this process; gives status, stdout and stderr."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("__main__.__package__", None)  # a script's, not that of `python -m pytest`

    def call_stage1(*arguments):
        monkeypatch.setattr("sys.argv", ["stage1", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        return ended.value.code, printed.out, printed.err

    return call_stage1


def test_every_module_with_a_command_line_is_a_command():
    has_one = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.If) and ast.unparse(node.test) == "__name__ == '__main__'"
    }

    assert {command.module for command in COMMANDS.values()} == has_one - {"stage1.__main__"}


@pytest.mark.parametrize("arguments", [["--help"], []], ids=["asked for", "without arguments"])
def test_help_fits_a_small_screen_and_the_prompt_after_it(call, arguments):
    status, out, err = call(*arguments)

    lines = out.splitlines()
    assert (status, err) == (0, "")
    assert len(lines) <= 23
    assert max(map(len, lines)) <= 80
    listed = {line.split()[0] for line in lines[lines.index("Commands:") + 1 :]}
    assert listed == {name for name, command in COMMANDS.items() if not command.hidden}
    assert "..." not in out.partition("Commands:")[2]  # no help was cut


def test_the_version_is_that_of_the_package(call):
    assert call("--version") == (0, f"stage1 {package.__version__}\n", "")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_its_help(call, name):
    status, out, _ = call(name, "--help")

    assert status == 0
    assert f"Usage: stage1 {name} [OPTIONS]" in out


def test_a_command_is_the_function_of_its_module(call, call_command):
    alone = call_command(tune, "smoke", "--trials", "-1")

    assert call("tune", "smoke", "--trials", "-1") == alone
    assert alone[0] == 2


def test_a_command_of_several_functions_is_one_too(call):
    status, out, _ = call("models", "list")

    assert status == 0
    assert "english-t5-nano" in out


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        pytest.param(["tun"], "Did you mean 'tune'?", id="a typing error"),
        pytest.param(["--nope"], "--nope", id="an unknown option"),
        pytest.param(["train", "nope"], "comes with stage1: base, ", id="a user's error within"),
    ],
)
def test_a_wrong_command_line_is_one_line_and_status_2(call, arguments, named):
    status, out, err = call(*arguments)

    assert (status, out) == (2, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert named in err


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        pytest.param("stage1 t", {"tune", "train"}, id="commands"),
        pytest.param("stage1 tune transfer --ti", {"--time-budget"}, id="options"),
        pytest.param(
            "stage1 tune ", {"ladder", "series", "smoke", "transfer", "transfer_full"}, id="spaces"
        ),
        pytest.param("stage1 train sam", {"sample", "sample_async"}, id="configurations"),
        pytest.param("stage1 models ", {"list", "verify", "fetch"}, id="commands of a command"),
    ],
)
def test_a_shell_completes(call, monkeypatch, typed, completed):
    monkeypatch.setenv("_STAGE1_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", typed)
    monkeypatch.setenv("COMP_CWORD", str(len(typed.split(" ")) - 1))

    status, out, _ = call()

    assert status == 0
    assert set(out.split()) == completed
