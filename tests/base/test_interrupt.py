"""Ctrl-C that is never lost and never half done."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import time

import pytest
from command_line import HANG, ROOT, python, start

from stage1.base.interrupt import Interrupt, exit_on_sigterm, keep_sigterm_handler


@pytest.fixture(autouse=True)
def heeding_hang_ups():
    """As in a terminal: tests may run under nohup, where they are ignored."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize(
    ("number", "error"),
    [
        (signal.SIGINT, KeyboardInterrupt),
        (signal.SIGTERM, SystemExit),
        (signal.SIGHUP, SystemExit),
    ],
)
def test_a_signal_is_raised_where_it_is_asked_for_and_not_before(number, error):
    done = []

    def work():
        with Interrupt() as interrupt:
            interrupt.check()
            signal.raise_signal(number)
            done.append("what had begun")
            interrupt.check()
            done.append("what comes after")

    with pytest.raises(error) as raised:
        work()

    assert done == ["what had begun"]
    assert getattr(raised.value, "code", 143) == 143  # of SIGTERM's SystemExit


def test_ctrl_c_is_not_lost_inside_a_destructor():
    class Dying:
        def __del__(self):
            signal.raise_signal(signal.SIGINT)

    def work():
        with Interrupt() as interrupt:
            thing = Dying()
            thing.itself = thing
            del thing
            gc.collect()
            interrupt.check()

    with pytest.raises(KeyboardInterrupt):
        work()


def test_ctrl_c_at_the_very_end_is_raised_at_the_end():
    with pytest.raises(KeyboardInterrupt), Interrupt():
        signal.raise_signal(signal.SIGINT)


def test_an_error_is_not_hidden_by_ctrl_c():
    def work():
        with Interrupt():
            signal.raise_signal(signal.SIGINT)
            raise ValueError("first")

    with pytest.raises(ValueError, match="first"):
        work()


def test_afterwards_ctrl_c_is_what_it_was_before():
    before = signal.getsignal(signal.SIGINT)

    with Interrupt():
        assert signal.getsignal(signal.SIGINT) != before

    assert signal.getsignal(signal.SIGINT) == before


@pytest.mark.parametrize("keeper", [keep_sigterm_handler, Interrupt])
def test_sigterm_tidies_up_also_after_somebody_else_had_taken_it_over(keeper):
    tidied = []

    def work():
        with exit_on_sigterm():
            with keeper():
                signal.signal(signal.SIGTERM, signal.SIG_DFL)  # as Ray does with its own
            try:
                signal.raise_signal(signal.SIGTERM)
            finally:
                tidied.append(True)

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as ended:
        work()

    assert ended.value.code == 143
    assert tidied == [True]
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_hang_up_that_nohup_has_ignored_stays_ignored():
    signal.signal(signal.SIGHUP, signal.SIG_IGN)

    with exit_on_sigterm(), Interrupt() as interrupt:
        signal.raise_signal(signal.SIGHUP)
        interrupt.check()


def test_a_hang_up_that_comes_twice_still_lets_the_study_tidy_up():
    def hang_up():
        for _ in range(2):
            signal.raise_signal(signal.SIGHUP)

    with pytest.raises(SystemExit), Interrupt():
        hang_up()


def test_a_library_that_waits_does_not_choose_the_status_of_sigterm():
    def wait():
        try:
            signal.raise_signal(signal.SIGTERM)
        except SystemExit:
            sys.exit(1)  # as ray.get does

    with pytest.raises(SystemExit) as ended, exit_on_sigterm():
        wait()
    with pytest.raises(SystemExit) as left, exit_on_sigterm():
        sys.exit(3)

    assert (ended.value.code, left.value.code) == (143, 3)


def test_who_has_taken_sigterm_over_does_not_choose_the_status():
    with pytest.raises(SystemExit) as ended, keep_sigterm_handler():
        sys.exit(signal.SIGTERM)

    assert ended.value.code == 143


DEAF = """
import time
from stage1.base.interrupt import Interrupt, leave_on_ctrl_c

leave_on_ctrl_c()  # as a command does

with Interrupt():
    print("begun", flush=True)
    while True:
        time.sleep(0.01)
"""


@pytest.mark.parametrize(
    ("numbers", "status"),
    [
        ([signal.SIGINT, signal.SIGINT], 130),
        ([signal.SIGTERM, signal.SIGTERM], 143),
        ([signal.SIGINT, signal.SIGTERM], 143),
    ],
)
def test_who_asks_twice_does_not_wait(numbers, status):
    process = start(sys.executable, "-c", DEAF, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.readline()
    for number in numbers:
        process.send_signal(number)
        time.sleep(0.1)
    _, printed = process.communicate(timeout=HANG)

    assert process.returncode == status
    assert printed == ""


# --- while a command imports ---

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
    process = start(
        *command,
        cwd=tmp_path,
        env={"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout.readline() == "importing\n"
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=HANG)

    assert (process.returncode, told) == (130, "interrupted\n")


def test_a_program_that_uses_the_package_keeps_its_ctrl_c(tmp_path):
    package = tmp_path / "program"
    package.mkdir()
    (package / "__init__.py").write_text("import stage1")  # when Python looks for __main__
    (package / "__main__.py").write_text(
        "import signal; print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)"
    )

    told = python("-m", "program", cwd=tmp_path, env={"PYTHONPATH": str(ROOT)})

    assert told.stdout == "True\n"


def test_a_second_ctrl_c_in_a_process_that_is_no_command_s_raises_at_once(monkeypatch):
    monkeypatch.setattr("stage1.base.interrupt._is_command", False)

    def wait_for_the_end():
        with Interrupt():
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
            raise AssertionError("it goes on")

    with pytest.raises(KeyboardInterrupt):
        wait_for_the_end()
