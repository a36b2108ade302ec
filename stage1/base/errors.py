"""The errors a user can act on, and the exit statuses of the commands.

Every message has the form *thing* must *rule*, got *value*; what to do. Faults of one file are
collected and raised together, one line each.
"""

from __future__ import annotations

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
