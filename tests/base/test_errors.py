"""The border where a user's error becomes one line and an exit status."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
from command_line import ROOT

from stage1.base.errors import (
    ConfigError,
    DataError,
    ModelError,
    ResultsError,
    Stage1Error,
    TrialError,
    user_errors,
)


@pytest.mark.parametrize("kind", [ConfigError, DataError, ModelError, TrialError, ResultsError])
def test_a_users_error_is_one_line_on_stderr_and_status_2(kind, capsys):
    with pytest.raises(SystemExit) as ended, user_errors():
        raise kind("lr must be > 0, got -1")

    printed = capsys.readouterr()
    assert ended.value.code == 2
    assert printed.err == "error: lr must be > 0, got -1\n"
    assert printed.out == ""


def test_ctrl_c_is_status_130_without_a_traceback(capsys):
    with pytest.raises(SystemExit) as ended, user_errors():
        raise KeyboardInterrupt

    assert ended.value.code == 130
    assert "Traceback" not in capsys.readouterr().err


def test_what_no_user_can_mend_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError), user_errors():
        raise ZeroDivisionError


def test_nothing_happens_where_nothing_goes_wrong(capsys):
    with user_errors():
        pass

    assert capsys.readouterr() == ("", "")


def test_every_error_of_a_user_is_caught_by_one_name():
    kinds = (ConfigError, DataError, ModelError, TrialError, ResultsError)

    assert all(issubclass(kind, Stage1Error) for kind in kinds)


SLOW_IMPORT = """
import time

print("importing", flush=True)
time.sleep(60)
"""


@pytest.fixture(params=["-m stage1.tune", "bin/stage1 tune"])
def command(request, tmp_path):
    """A command that imports for long; as a module, and as the script that pip installs."""
    (tmp_path / "typer.py").write_text(SLOW_IMPORT)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "stage1").write_text("from stage1.__main__ import main\n\nmain()\n")
    return [sys.executable, *request.param.split(), "space.yaml"]


def test_ctrl_c_while_a_command_imports_is_one_line_and_status_130(command, tmp_path):
    # as in a shell's foreground: what runs in the background ignores Ctrl-C
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(
        command,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    signal.signal(signal.SIGINT, before)
    assert process.stdout.readline() == "importing\n"
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=10)

    assert (process.returncode, told) == (130, "interrupted\n")


def test_a_program_that_uses_the_package_keeps_its_ctrl_c(tmp_path):
    package = tmp_path / "program"
    package.mkdir()
    (package / "__init__.py").write_text("import stage1")  # when Python looks for __main__
    (package / "__main__.py").write_text(
        "import signal; print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)"
    )

    told = subprocess.run(
        [sys.executable, "-m", "program"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )

    assert told.stdout == "True\n"
