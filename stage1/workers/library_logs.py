"""Logs and warnings of libraries, written to a file of the run folder and not to the screen."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def library_logs_to(file: Path) -> Iterator[None]:
    """Append Python's warnings and what libraries log to a file.

    Libraries give their loggers handlers of their own, which write on stderr, between the lines of
    a study or into its live table. What this package itself logs stays where it was.

    Args:
        file: Made with the first message.
    """
    loggers = [
        logger
        for name, logger in list(logging.root.manager.loggerDict.items())
        if isinstance(logger, logging.Logger) and name.partition(".")[0] != "stage1"
    ]
    before = [(logger, logger.handlers, logger.propagate) for logger in loggers]
    root = logging.getLogger()
    log = _LossyFile(file, encoding="utf-8", delay=True)
    log.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    for logger in loggers:
        logger.handlers, logger.propagate = [], True
    root_before, root.handlers = root.handlers, [log]
    logging.captureWarnings(True)
    try:
        yield
    finally:
        logging.captureWarnings(False)
        root.handlers = root_before
        for logger, handlers, propagate in before:
            logger.handlers, logger.propagate = handlers, propagate
        log.close()


class _LossyFile(logging.FileHandler):
    """A log file that loses what it cannot write: a full disk is reported by what matters more."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record, or lose it. Called by `logging`."""
        with suppress(OSError):  # of the opening; what comes after that goes to `handleError`
            super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """Lose the record. Called by `logging`."""
