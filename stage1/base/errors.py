"""The errors a user can act on, and the border where they become one line and an exit status.

Every message has the form *thing* must *rule*, got *value*; what to do. Faults of one file are
collected and raised together, one line each.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

EXIT_DEFECT = 1
"""The software found itself wrong."""
EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130
EXIT_TERMINATED = 143


class Stage1Error(Exception):
    """A fault the user can mend; printed without a traceback."""


class ConfigError(Stage1Error):
    """A configuration or search space breaks a rule."""


class DataError(Stage1Error):
    """Bars are missing, malformed or too few."""


class ModelError(Stage1Error):
    """A language model cannot be had, or does not fit its description."""


class TrialError(Stage1Error):
    """A training cannot go on."""


class ResultsError(Stage1Error):
    """A run folder is missing, in the way, or cannot be read."""


def leave_on_ctrl_c() -> None:
    """Have Ctrl-C end the process on the spot, with one line and its status.

    For the seconds in which a command does nothing but import: there is nothing to tidy up, and
    inside an import a KeyboardInterrupt becomes a traceback, or whatever a library makes of it.
    Changes nothing where Ctrl-C is ignored, as in the background of a shell, or handled already.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _leave)


def _leave(number: int, frame: FrameType | None) -> None:
    os.write(2, b"interrupted\n")
    os._exit(EXIT_INTERRUPTED)


def raise_on_ctrl_c() -> None:
    """Take `leave_on_ctrl_c` back, once a command has imported what it needs."""
    if signal.getsignal(signal.SIGINT) is _leave:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@contextmanager
def user_errors() -> Iterator[None]:
    """Turn the errors of a command into one line on stderr and its exit status.

    Raises:
        SystemExit: 2 after a `Stage1Error`, 130 after Ctrl-C.
    """
    try:
        yield
    except Stage1Error as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(EXIT_USER_ERROR) from None
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        raise SystemExit(EXIT_INTERRUPTED) from None
