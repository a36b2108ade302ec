"""The border where a user's error becomes one line and an exit status."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
from command_line import ROOT

from stage1.errors import (
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


def test_ctrl_c_while_a_command_imports_is_one_line_and_status_130(tmp_path):
    (tmp_path / "typer.py").write_text(SLOW_IMPORT)
    # as in a shell's foreground: what runs in the background ignores Ctrl-C
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(
        [sys.executable, "-m", "stage1.tune", "space.yaml"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    signal.signal(signal.SIGINT, before)
    assert process.stdout.readline() == "importing\n"
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=10)

    assert (process.returncode, told) == (130, "interrupted\n")


def test_who_only_imports_the_package_keeps_ctrl_c():
    script = (
        "from signal import getsignal; b = getsignal(2); import stage1; print(b is getsignal(2))"
    )

    told = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)

    assert told.stdout == "True\n"
