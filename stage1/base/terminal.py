"""What every command shares: options parsed by Typer, durations, errors as one line."""

from __future__ import annotations

import codecs
import errno
import io
import logging
import os
import re
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeVar

import typer
from rich.console import Console
from rich.padding import Padding
from rich.progress import track
from rich.text import Text
from typer.exceptions import TyperException

from stage1.base.errors import EXIT_INTERRUPTED, EXIT_USER_ERROR, ConfigError, Stage1Error
from stage1.base.interrupt import raise_on_ctrl_c

DataDir = Annotated[
    str | None,
    typer.Option(
        "--data-dir",
        "--data_dir",
        metavar="DIR",
        help="Folder made by stage1.prepare, or sample for the bundled bars; default: as the "
        "configuration or the checkpoint says, which for one that says nothing are the bundled "
        "bars.",
    ),
]
"""The option that names the bars. Text, since `./sample` is a folder and `sample` is not."""


def run_command(command: Callable[..., Any] | dict[str, Callable[..., Any]]) -> None:
    """Run a function as the command line of its module: a user's error is one line and status 2.

    Of several functions, the name of one begins the command line.

    Raises:
        SystemExit: Always; with 0 where all went well.
    """
    raise_on_ctrl_c()
    run_app(command_line(command))


def command_line(command: Callable[..., Any] | dict[str, Callable[..., Any]]) -> typer.Typer:
    """The command line of a function, or of several whose name begins it."""
    app = typer.Typer(pretty_exceptions_enable=False, add_completion=False)
    if not isinstance(command, dict):
        app.command()(command)
        return app
    app.callback()(lambda: None)  # with one command alone, Typer would not ask for its name
    for name, function in command.items():
        app.command(name)(function)
    return app


def run_app(app: typer.Typer) -> NoReturn:
    """Run a command line whole: a user's error is one line and status 2.

    Raises:
        SystemExit: Always; with 0 where all went well.
    """
    with _lossy_output():
        try:
            with _log_on_stderr(), _quiet_threads():
                status = app(standalone_mode=False)
        except (Stage1Error, TyperException) as error:
            print(f"error: {_message(error)}", file=sys.stderr)
            raise SystemExit(EXIT_USER_ERROR) from None
        except KeyboardInterrupt:
            status = EXIT_INTERRUPTED
        if status == EXIT_INTERRUPTED:  # which is also what Typer makes of a KeyboardInterrupt
            print("interrupted", file=sys.stderr)
        raise SystemExit(status if isinstance(status, int) else 0)


def _message(error: Stage1Error | TyperException) -> str:
    """An error in one line; for a wrong option Typer alone would draw a box."""
    if isinstance(error, Stage1Error):
        return str(error)
    message = " ".join(error.format_message().split()).rstrip(".")
    return f"{message}; --help lists arguments and options"


@contextmanager
def _lossy_output() -> Iterator[None]:
    """Let what cannot be shown end no command, which may have worked for hours.

    A reader that has gone, as in `| head`, has seen enough; of another fault a line on stderr tells
    at the end. What an encoding cannot say is said plainly.
    """
    before = sys.stdout, sys.stderr
    reasons: set[str] = set()
    codecs.register_error(_PLAINLY, _plainly)
    sys.stdout = _lossy(sys.stdout, sys.__stdout__, reasons, errors=_PLAINLY)
    sys.stderr = _lossy(sys.stderr, sys.__stderr__, set(), errors="backslashreplace")
    try:
        yield
    finally:
        sys.stdout.flush()
        if reasons := reasons - {os.strerror(errno.EPIPE)}:
            what = ", ".join(reasons)
            print(f"Warning: not all that there was to see was shown: {what}", file=sys.stderr)
        sys.stderr.flush()
        sys.stdout, sys.stderr = before


_PLAINLY = "stage1_plainly"
_PLAIN = {
    "\N{MINUS SIGN}": "-",
    "\N{MULTIPLICATION SIGN}": "x",
    "\N{EN DASH}": "-",
    "\N{HORIZONTAL ELLIPSIS}": "...",
}
_PLAIN |= {"\N{LESS-THAN OR EQUAL TO}": "<=", "\N{GREATER-THAN OR EQUAL TO}": ">="}


def _plainly(error: UnicodeError) -> tuple[str, int]:
    """What stands for letters that an encoding does not have: no sign of a number may be lost."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    letters = error.object[error.start : error.end]
    return "".join(_PLAIN.get(letter, "?") for letter in letters), error.end


def _lossy(stream: Any, original: Any, reasons: set[str], *, errors: str) -> Any:
    """A stream that loses what it cannot write, and adds the reasons."""
    if stream is None:  # closed before the command began
        return Path(os.devnull).open("w")
    if stream is not original:  # taken over, as a test does
        return stream
    file = io.BufferedWriter(_Output(stream.fileno(), reasons))
    return io.TextIOWrapper(
        file, stream.encoding, errors, "\n", stream.line_buffering, stream.write_through
    )


class _Output(io.FileIO):
    """A descriptor that loses what it cannot take, and adds the reasons."""

    def __init__(self, descriptor: int, reasons: set[str]) -> None:
        super().__init__(descriptor, "w", closefd=False)
        self._reasons = reasons

    def write(self, data: Any) -> int:
        """Write, or lose, some bytes. Called by `io`."""
        try:
            return super().write(data)
        except OSError as error:
            self._reasons.add(error.strerror or str(error))
            return len(data)


@contextmanager
def _log_on_stderr() -> Iterator[None]:
    """Show the package's log, notices and above, as plain lines on stderr."""
    log = logging.getLogger("stage1")
    level, propagate = log.level, log.propagate
    lines = _Lines()
    log.addHandler(lines)
    log.setLevel(logging.INFO)
    log.propagate = False  # or a handler of the root's would show each line once more
    try:
        yield
    finally:
        log.removeHandler(lines)
        log.setLevel(level)
        log.propagate = propagate


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


@contextmanager
def _quiet_threads() -> Iterator[None]:
    """Print no traceback of a thread that could not write, such as TensorBoard's on a full disk.

    Whoever waits for the thread raises its error again.
    """
    before = threading.excepthook

    def hook(arguments: threading.ExceptHookArgs) -> None:
        if not issubclass(arguments.exc_type, OSError):
            before(arguments)

    threading.excepthook = hook
    try:
        yield
    finally:
        threading.excepthook = before


class _Lines(logging.Handler):
    """Prints on the stderr of the moment, which a progress bar may have taken over.

    A terminal would break a long line within a word.
    """

    def emit(self, record: logging.LogRecord) -> None:
        line = Text(self.format(record))
        Console(stderr=True).print(line, soft_wrap=not sys.stderr.isatty())


def screen() -> Console:
    """Standard output; what changes in place is for a terminal alone, whatever FORCE_COLOR says."""
    return Console(force_interactive=None if sys.stdout.isatty() else False)


def print_plain(console: Console, text: str) -> None:
    """Print text letter by letter: nothing in it is markup, and no line of it is broken."""
    console.print(Text(text), soft_wrap=True)


_Part = TypeVar("_Part")


def progress(parts: Iterable[_Part], count: int, console: Console, *, noun: str) -> Iterator[_Part]:
    """Hand on `count` parts of a job and show how many are done.

    A terminal has a bar; a file or a pipe gets a line at every tenth, but for the last one, which
    what comes of the job follows at once. `noun` says what is done.
    """
    if console.is_terminal:
        yield from track(parts, description=noun, total=count, console=console)
        return
    for done, part in enumerate(parts, start=1):
        yield part
        tenths = 10 * done // count
        if done < count and tenths > 10 * (done - 1) // count:
            print_plain(console, f"{noun}: {10 * tenths}% are done")


def print_caution(console: Console, text: str) -> None:
    """Print a warning: one line of a file; on a terminal it goes on indented where it is long."""
    warning = Text(text, style="yellow")
    if console.is_terminal:
        console.print(Padding(warning, (0, 0, 0, 2)))
    else:
        console.print(warning, soft_wrap=True)


@contextmanager
def resume_hint(
    console: Console, folder: Path, *, first_file: Path, say: Callable[[str], str] = str
) -> Iterator[None]:
    """Where Ctrl-C or SIGTERM ends the block, say what is kept and how to go on.

    `first_file` is there once the run has begun; `say` puts the advice into other words.
    """
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        state = "nothing has begun."
        if first_file.exists():
            state = (
                f"every trial that had ended is in {folder}. Go on with the same command and "
                "--resume."
            )
        print_plain(console, say(f"Stopped; {state}"))
        raise


def duration_text(seconds: float) -> str:
    """A duration as hours, minutes and seconds, such as 0:01:30."""
    return str(timedelta(seconds=round(seconds)))


def parse_duration(text: str) -> timedelta:
    """Read a duration such as `90s`, `30m` or `1.5h`.

    Raises:
        ConfigError: Not a positive number followed by s, m or h, or too long to be meant.
    """
    match = re.fullmatch(r"(\d{1,9}(?:\.\d+)?)([smh])", text.strip(), re.ASCII)
    if match is None or float(match[1]) == 0:
        raise ConfigError(f"a duration must look like 90s, 30m or 1.5h, got {text!r}")
    unit = {"s": "seconds", "m": "minutes", "h": "hours"}[match[2]]
    return timedelta(**{unit: float(match[1])})
