"""Starting programs as a user does from a shell, the package's commands above all."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar

T = TypeVar("T")
ROOT = Path(__file__).parents[1]
HANG = 1800
"""Seconds after which a program is taken to hang, which no busy machine makes it take."""


def refusal_of(
    call: Callable[..., tuple[object, str, str]], folder: Path, *arguments: object, lines: int = 1
) -> str:
    """What a call says on stderr that must fail, in so many lines, without leaving anything."""
    before = sorted(folder.rglob("*"))

    status, out, err = call(*arguments)

    assert (status, out) == (2, "")
    assert err.startswith("error: ")
    assert err.count("\n") == lines
    assert sorted(folder.rglob("*")) == before
    return err.removeprefix("error: ").removesuffix("\n")


def free_port() -> int:
    """A port of the loopback where nothing listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextmanager
def heeding_ctrl_c() -> Iterator[None]:
    """Let what is started inside heed Ctrl-C, as in a shell's foreground.

    Tests may run where it is ignored (nohup, cron, a script's background), which a process would
    inherit.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def start(
    *words: object, env: Mapping[str, str] | None = None, cwd: Path = ROOT, **options: Any
) -> subprocess.Popen[str]:
    """Start a program, which heeds Ctrl-C, and go on; what it prints is text.

    Args:
        words: The program and its arguments.
        env: Added to the environment.
        cwd: The folder it runs in.
        options: Of `subprocess.Popen`.
    """
    environment = os.environ | (env or {})
    with heeding_ctrl_c():
        return subprocess.Popen(
            list(map(str, words)), env=environment, cwd=cwd, text=True, **options
        )


def run(
    *words: object, check: bool = True, env: Mapping[str, str] | None = None, cwd: Path = ROOT
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end; with `check`, anything but status 0 fails the test."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with start(*words, env=env, cwd=cwd, **pipes) as process:
        try:
            out, err = process.communicate(timeout=HANG)
        except BaseException:
            process.kill()
            raise
    if check:
        assert process.returncode == 0, out + err
    return subprocess.CompletedProcess(words, process.returncode, out, err)


def python(*arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run `python ARGUMENTS`; options as of `run`."""
    return run(sys.executable, *arguments, **options)


def stage1(*arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run `python -m ARGUMENTS`; options as of `run`."""
    return python("-m", *arguments, **options)


class Process(Protocol):
    """What `subprocess.Popen` and its like have."""

    def poll(self) -> int | None:
        """Its exit status; None while it runs."""

    def communicate(self, timeout: float) -> tuple[str, str | None]:
        """Wait for its end; gives what it printed."""


def wait_until(condition: Callable[[], T], *, during: Process | None = None) -> T:
    """Wait for a condition to hold, asking again and again; gives what it gave.

    Args:
        condition: Asked for.
        during: The process that brings it about; its end fails the test.
    """
    end = time.monotonic() + HANG
    while not (answer := condition()):
        assert time.monotonic() < end
        assert during is None or during.poll() is None, during.communicate(timeout=HANG)
        time.sleep(0.02)
    return answer


def without_loading_lines(text: str) -> str:
    """What was printed but for the line that each loading of a language model logs."""
    line = r"^.*: sha256 [0-9a-f]{12}, .* blocks (pretrained|shuffled)\n"
    return re.sub(line, "", text, flags=re.MULTILINE)
