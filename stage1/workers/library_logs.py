"""What libraries say while a study runs: to a file of the run folder, not to the screen."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


@contextmanager
def library_logs_to(file: Path) -> Iterator[None]:
    """Have a file take Python's warnings and what others than this package log.

    Libraries give their loggers handlers of their own, which write on stderr, between the lines of
    a study or into its live table.

    Args:
        file: Appended to; not there before somebody says something.
    """
    loggers = [logger for name, logger in _loggers() if name.partition(".")[0] != "stage1"]
    before = [(logger, logger.handlers, logger.propagate) for logger in loggers]
    root = logging.getLogger()
    taker = _Taker(file, encoding="utf-8", delay=True)
    taker.setFormatter(logging.Formatter(_FORMAT))
    for logger in loggers:
        logger.handlers, logger.propagate = [], True
    root_before, root.handlers = root.handlers, [taker]
    logging.captureWarnings(True)
    try:
        yield
    finally:
        logging.captureWarnings(False)
        root.handlers = root_before
        for logger, handlers, propagate in before:
            logger.handlers, logger.propagate = handlers, propagate
        taker.close()


class _Taker(logging.FileHandler):
    """A file whose failure is no reason to speak up, let alone to stop."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record, or lose it. Called by `logging`."""
        with suppress(OSError):  # of the opening; what comes after that goes to `handleError`
            super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """Lose the record. Called by `logging`."""


def _loggers() -> list[tuple[str, logging.Logger]]:
    known = logging.root.manager.loggerDict
    return [(name, one) for name, one in list(known.items()) if isinstance(one, logging.Logger)]
