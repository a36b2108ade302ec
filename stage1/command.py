"""What every command shares: options parsed by Typer, durations, errors as one line."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import typer

from stage1.errors import ConfigError, user_errors


def run_command(function: Callable[..., Any]) -> None:
    """Run a function as the command line of its module: a user's error is one line and status 2."""

    @functools.wraps(function)
    def guarded(*arguments: Any, **options: Any) -> Any:
        with user_errors():  # inside Typer, which would turn Ctrl-C into a status of its own
            return function(*arguments, **options)

    app = typer.Typer(pretty_exceptions_enable=False, add_completion=False)
    app.command()(guarded)
    app()


def parse_duration(text: str) -> timedelta:
    """Read a duration such as `90s`, `30m` or `1.5h`.

    Raises:
        ConfigError: Not a positive number followed by s, m or h.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", text.strip())
    if match is None or float(match[1]) == 0:
        raise ConfigError(f"a duration must look like 90s, 30m or 1.5h, got {text!r}")
    unit = {"s": "seconds", "m": "minutes", "h": "hours"}[match[2]]
    return timedelta(**{unit: float(match[1])})
