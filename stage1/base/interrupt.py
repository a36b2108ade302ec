"""Ctrl-C and SIGTERM that are never lost and never half done."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType, TracebackType
from typing import NoReturn, Self

from stage1.base.errors import EXIT_INTERRUPTED, EXIT_TERMINATED

_STATUS = {
    signal.SIGINT: EXIT_INTERRUPTED,
    signal.SIGTERM: EXIT_TERMINATED,
    signal.SIGHUP: EXIT_TERMINATED,  # the terminal was closed, unless nohup has it ignored
}
_SHOW_CURSOR = "\x1b[?25h"
"""What a live display has hidden."""


_is_command = False
"""Whether this process is a command's own, which a second Ctrl-C may end; a notebook's is not."""


def leave_on_ctrl_c() -> None:
    """Have Ctrl-C end the process on the spot, with one line and its status.

    For the seconds in which a command does nothing but import: there is nothing to tidy up, and
    inside an import a KeyboardInterrupt becomes a traceback, or whatever a library makes of it.
    Changes nothing where Ctrl-C is ignored, as in the background of a shell, or handled already.
    """
    global _is_command
    _is_command = True
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _leave_while_importing)


def _leave_while_importing(number: int, frame: FrameType | None) -> None:
    leave("interrupted", EXIT_INTERRUPTED)


def leave(message: str, status: int) -> NoReturn:
    """End the process on the spot, with one line. What is on disk is whole at any time."""
    with suppress(OSError, ValueError):  # nobody reads it
        if sys.stdout.isatty():
            os.write(sys.stdout.fileno(), _SHOW_CURSOR.encode())
        if message:
            os.write(2, f"{message}\n".encode())
    os._exit(status)


def raise_on_ctrl_c() -> None:
    """Take `leave_on_ctrl_c` back, once a command has imported what it needs."""
    if signal.getsignal(signal.SIGINT) is _leave_while_importing:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _handled() -> set[signal.Signals]:
    """The signals that end a command, but for a hang-up that is ignored, as nohup has it."""
    ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return set(_STATUS) - ({signal.SIGHUP} if ignored else set())


class Interrupt:
    """Notes Ctrl-C and SIGTERM while the block lasts; `check` or the block's end raises them.

    Python raises Ctrl-C wherever the program happens to be: inside a `__del__` it vanishes, inside
    a C library it becomes another error, between two writes it leaves half of them. Who cannot wait
    presses it a second time: that ends the process on the spot, if it is a command's own, and else
    raises at once. Main thread only.
    """

    def __init__(self) -> None:
        self._asked: signal.Signals | None = None

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._note) for number in _handled()}
        return self

    def _note(self, number: int, frame: FrameType | None) -> None:
        asked = signal.Signals(number)
        if self._asked is not None and asked != signal.SIGHUP:  # which shells may send twice
            if _is_command:
                leave("", _STATUS[asked])
            raise KeyboardInterrupt
        self._asked = self._asked or asked

    def check(self) -> None:
        """Do nothing, or stop.

        Raises:
            KeyboardInterrupt: Ctrl-C was pressed since the block began.
            SystemExit: 143, the same for SIGTERM, or for SIGHUP where it is not ignored.
        """
        if self._asked == signal.SIGINT:
            raise KeyboardInterrupt
        if self._asked is not None:
            raise SystemExit(EXIT_TERMINATED)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if error is None:
            self.check()


@contextmanager
def exit_on_sigterm() -> Iterator[None]:
    """Have SIGTERM and SIGHUP raise SystemExit(143) in the block, so that it can tidy up.

    Also where a library that waits makes another status of it, as Ray does. Main thread only.
    """
    asked = False

    def ended(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        asked = True
        raise SystemExit(EXIT_TERMINATED)

    signals = _handled() - {signal.SIGINT}
    before = {number: signal.signal(number, ended) for number in signals}
    try:
        yield
    except SystemExit as error:
        raise SystemExit(EXIT_TERMINATED if asked else error.code) from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def keep_sigterm_handler() -> Iterator[None]:
    """Put back SIGTERM's handler after the block, if something has replaced it, as Ray does.

    Raises:
        SystemExit: 143, where that other handler has ended the block with the signal's number.
    """
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    except SystemExit as ended:
        raise SystemExit(EXIT_TERMINATED if ended.code == signal.SIGTERM else ended.code) from None
    finally:
        if signal.getsignal(signal.SIGTERM) is not before:
            signal.signal(signal.SIGTERM, before)
