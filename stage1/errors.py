"""The errors a user can act on, and the border where they become one line and an exit status.

Every message has the form *thing* must *rule*, got *value*; what to do. Faults of one file are
collected and raised together, one line each.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

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
