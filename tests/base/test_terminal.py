"""What every command shares: exit status, one line per mistake, durations."""

from __future__ import annotations

import io
import logging
import os
import shlex
import sys
from datetime import timedelta
from typing import Annotated

import pytest
import typer
from command_line import run
from rich.console import Console

from stage1.base.errors import ConfigError, DataError, ModelError, ResultsError, TrialError
from stage1.base.terminal import parse_duration, print_caution, print_plain, run_command


def demo(
    file: Annotated[str, typer.Argument(metavar="FILE")],
    trials: Annotated[int, typer.Option(min=0, help="How many.")] = 1,
) -> None:
    """Show what was asked for."""
    print(f"{file} {trials}")


def test_a_command_that_ends_well_has_status_0(call_command):
    assert call_command(demo, "a.yaml", "--trials", "3") == (0, "a.yaml 3\n", "")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        pytest.param(["a.yaml", "--trails", "3"], "--trails", id="unknown option"),
        pytest.param([], "FILE", id="missing argument"),
        pytest.param(["a.yaml", "b.yaml"], "b.yaml", id="an argument too many"),
        pytest.param(["a.yaml", "--trials", "x"], "--trials", id="text for a number"),
        pytest.param(["a.yaml", "--trials", "-1"], "--trials", id="below the smallest value"),
        pytest.param(["a.yaml", "--trials"], "--trials", id="option without its value"),
    ],
)
def test_a_wrong_command_line_is_one_line_and_status_2(call_command, arguments, named):
    status, out, err = call_command(demo, *arguments)

    assert status == 2
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert named in err


@pytest.mark.parametrize("kind", [ConfigError, DataError, ModelError, TrialError, ResultsError])
def test_a_users_error_inside_a_command_is_one_line_and_status_2(call_command, kind):
    def fail() -> None:
        raise kind("m1.csv:7: high must be >= low, got 1.0 < 1.1")

    assert call_command(fail) == (2, "", "error: m1.csv:7: high must be >= low, got 1.0 < 1.1\n")


def test_what_no_user_can_mend_keeps_its_traceback(monkeypatch):
    def fail() -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("sys.argv", ["fail"])
    with pytest.raises(ZeroDivisionError):
        run_command(fail)


def test_an_exit_of_the_command_itself_keeps_its_status(call_command):
    def leave() -> None:
        raise typer.Exit(3)

    assert call_command(leave)[0] == 3


def test_ctrl_c_is_one_word_and_status_130(call_command):
    def interrupted() -> None:
        raise KeyboardInterrupt

    assert call_command(interrupted) == (130, "", "interrupted\n")


# --- where nothing can be shown ---

SPEAKING = """
import logging, sys
from pathlib import Path
from stage1.base.errors import DataError
from stage1.base.terminal import print_plain, run_command, screen

def speak(done: Path) -> None:
    for _ in range(3):
        print_plain(screen(), "n \u2265 \u22123")
        print("caf\u00e9", flush=True)
        logging.getLogger("stage1.some.module").info("a notice \u2265 others")
    done.touch()
    raise DataError("wrong") if done.name == "wrong" else SystemExit(0)

run_command(speak)
"""


@pytest.fixture
def speak(tmp_path):
    """Runs a command in a shell that redirects what it shows; gives status, stdout and stderr."""

    def run_redirected(redirection, *, done="right", **env):
        words = [sys.executable, "-c", SPEAKING, str(tmp_path / done)]
        line = f"{shlex.join(words)} {redirection}"
        ended = run("bash", "-c", f"set -o pipefail; {line}", check=False, env=env)
        assert (tmp_path / done).exists()
        return ended.returncode, ended.stdout, ended.stderr

    return run_redirected


NOTICES = "a notice \u2265 others\n" * 3


@pytest.mark.parametrize("done", ["right", "wrong"])
@pytest.mark.parametrize(
    ("redirection", "told"),
    [
        pytest.param("2> /dev/null | true", "", id="a pipe that nobody reads"),
        pytest.param(
            "> /dev/full",
            f"{NOTICES}Warning: not all that there was to see was shown: {os.strerror(28)}\n",
            id="a full disk",
        ),
        pytest.param(">&-", NOTICES, id="closed"),
        pytest.param("> /dev/full 2>&1", "", id="stderr too"),
        pytest.param(">&- 2>&-", "", id="both closed"),
    ],
)
def test_what_cannot_be_shown_is_lost_and_changes_no_status(speak, redirection, told, done):
    wrong = done == "wrong"

    status, out, err = speak(redirection, done=done)

    assert status == (2 if wrong else 0)
    assert out == ""
    assert err.replace("error: wrong\n", "") == told
    assert ("error: wrong\n" in err) == (wrong and told != "")


@pytest.mark.parametrize(
    ("encoding", "shown"), [("ascii", "n >= -3\ncaf?\n"), ("latin-1", "n >= -3\ncafé\n")]
)
def test_what_an_encoding_cannot_say_is_replaced(speak, encoding, shown):
    status, out, err = speak("| iconv -f latin1 -t utf8", PYTHONIOENCODING=encoding)

    assert (status, out) == (0, shown * 3)
    assert err == "a notice \\u2265 others\n" * 3


# --- the log ---

_log = logging.getLogger("stage1.some.module")


def say() -> None:
    """Log at three levels."""
    _log.debug("for developers")
    _log.info("a line of %s", "notice")
    _log.warning("a warning")


def test_other_packages_do_not_speak_through_it(call_command):
    def others() -> None:
        logging.getLogger("stage10").info("not ours")

    assert call_command(others) == (0, "", "")


def test_notices_and_warnings_are_plain_lines_once_though_the_root_logs_them_too(
    call_command, monkeypatch
):
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    logging.basicConfig(stream=sys.stdout, level=logging.DEBUG)

    assert call_command(say) == (0, "", "a line of notice\na warning\n")


@pytest.mark.parametrize("end", [None, DataError("wrong"), KeyboardInterrupt(), typer.Exit(3)])
def test_the_log_is_left_as_it_was_however_the_command_ends(call_command, end):
    log = logging.getLogger("stage1")
    before = (log.level, log.propagate, list(log.handlers))

    def run() -> None:
        if end is not None:
            raise end

    call_command(run)

    assert (log.level, log.propagate, log.handlers) == before


def test_lines_go_to_the_stderr_of_the_moment(call_command, monkeypatch):
    taken = io.StringIO()

    def redirect() -> None:
        """As a progress bar does while it is shown."""
        monkeypatch.setattr(sys, "stderr", taken)
        say()

    call_command(redirect)

    assert taken.getvalue() == "a line of notice\na warning\n"


@pytest.mark.parametrize(
    ("terminal", "shown"), [(True, ["a line of", "notice"]), (False, ["a line of notice"])]
)
def test_a_long_line_is_broken_on_a_terminal_alone_and_between_words(
    call_command, monkeypatch, terminal, shown
):
    monkeypatch.setenv("COLUMNS", "12")

    def say_on_a_screen() -> None:
        monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
        _log.info("a line of notice")

    status, _, err = call_command(say_on_a_screen)

    assert status == 0
    assert [line.rstrip() for line in err.splitlines()] == shown


# --- what is printed ---


def printed(text, *, terminal):
    file = io.StringIO()
    print_caution(Console(file=file, width=20, force_terminal=terminal, color_system=None), text)
    return file.getvalue()


def test_a_long_warning_is_one_line_of_a_file_and_goes_on_indented_on_a_terminal():
    text = "Warning: nothing [bold] here is markup"

    assert printed(text, terminal=False) == text + "\n"
    lines = [line.rstrip() for line in printed(text, terminal=True).splitlines()]
    assert lines == ["  Warning: nothing", "  [bold] here is", "  markup"]


def test_plain_text_is_printed_letter_by_letter(capsys):
    text = "python -m stage1.report 'runs/[red]a' :smile: " + "x" * 200

    print_plain(Console(width=20), text)

    assert capsys.readouterr().out == text + "\n"


# --- durations ---


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("90s", timedelta(seconds=90), id="seconds"),
        pytest.param("30m", timedelta(minutes=30), id="minutes"),
        pytest.param("1.5h", timedelta(minutes=90), id="a part of an hour"),
        pytest.param(" 2h ", timedelta(hours=2), id="spaces around"),
    ],
)
def test_a_duration_is_a_number_and_a_unit(text, expected):
    assert parse_duration(text) == expected


@pytest.mark.parametrize(
    "text",
    ["", "30", "m", "0s", "-5m", "1d", "1h30m", "1e3s", "nan", "٣m", "99999999999999999h"],
)
def test_anything_else_is_no_duration(text):
    with pytest.raises(ConfigError, match=r"must look like 90s, 30m or 1\.5h") as raised:
        parse_duration(text)

    assert repr(text) in str(raised.value)
