"""Metrics that a user writes in Python: checked, told apart by their source, called on scored bars.

They describe a study and decide nothing: none is an objective, none has a verdict.
"""

from __future__ import annotations

import ast
import inspect
import math
import re
from collections.abc import Callable, Iterator, Mapping
from hashlib import sha256
from types import CodeType, FunctionType, ModuleType
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stage1.base.errors import ConfigError
from stage1.base.metric_table import USER_METRIC, metric_row
from stage1.base.text import brief, one_line, shown
from stage1.data.batches import Batch

MetricFunction = Callable[[NDArray[np.float64], NDArray[np.float64]], float]
"""Takes the decoded and the true bars, (scored bars, channels), normalised; gives a number."""
_NAME = r"[A-Za-z_]\w{0,59}"
_PLAIN = (bool, int, float, complex, str, bytes, type(None))


# Before a study -----------------------------------------------------------------------------------


def source_hashes(metrics: Mapping[str, MetricFunction]) -> dict[str, str]:
    """SHA-256 of the source of each metric, by name; refuses what cannot be one.

    The text counts without comments and spacing, with the plain values, arrays and functions of the
    same module that it uses by name. What else it calls, such as a library, does not count.

    Raises:
        ConfigError: A name or a function that cannot be a metric; all of them, a line each.
    """
    from ray import cloudpickle  # seconds, which a training alone need not wait for

    hashes, faults = {}, []
    for name, function in metrics.items():
        try:
            _check_name(name)
            hashes[name] = _source_sha256(function)
            cloudpickle.dumps(function)
        except ConfigError as error:
            faults.append(f"metrics[{name!r}]: {error}")
        except Exception as error:  # of pickling, whatever was captured
            faults.append(
                f"metrics[{name!r}]: must be a function that can be sent to the workers, got one "
                f"that holds what cannot: {brief(one_line(str(error)))}; make that inside it"
            )
    if faults:
        raise ConfigError("\n".join(faults))
    return hashes


def _check_name(name: Any) -> None:
    if not (isinstance(name, str) and re.fullmatch(_NAME, name, re.ASCII)):
        raise ConfigError("must have a name of letters, digits and _, at most 60")
    if metric_row(name) is not None:
        raise ConfigError("must have a name of its own, got that of a metric of stage1")


def _source_sha256(function: Any) -> str:
    if not isinstance(function, FunctionType):
        raise ConfigError(
            f"must be a function of decoded and true bars, by def or lambda, got {shown(function)}"
        )
    try:
        text = "\n".join(_sources(function, set()))
    except (OSError, TypeError, SyntaxError):
        raise ConfigError(
            "must have a source that Python finds again, since the study registers it; write the "
            "function into a file or a notebook's cell"
        ) from None
    return sha256(text.encode()).hexdigest()


def _sources(function: FunctionType, seen: set[FunctionType]) -> Iterator[str]:
    """The source of a function, then what it uses by name."""
    seen.add(function)
    yield _source(function)
    yield repr((function.__defaults__, function.__kwdefaults__))
    used = inspect.getclosurevars(function)
    for name, value in sorted({**used.globals, **used.nonlocals}.items()):
        if isinstance(value, FunctionType) and value.__module__ == function.__module__:
            if value not in seen:
                yield from _sources(value, seen)
        else:
            yield f"{name} = {_told(value)}"


def _source(function: FunctionType) -> str:
    """As Python writes it, so that a comment or a line's break does not count."""
    code = function.__code__
    lines, _ = inspect.findsource(function)
    nodes = [node for node in ast.walk(ast.parse("".join(lines))) if _begins(node, code)]
    places = set(code.co_positions())  # of several lambdas in a line the one whose steps they are
    here = [node for node in nodes if isinstance(node, ast.Lambda) and _place(node) in places]
    if not nodes:
        raise OSError("the file has changed since")
    return "\n".join(map(ast.unparse, here or nodes))


def _begins(node: ast.AST, code: CodeType) -> bool:
    if isinstance(node, ast.Lambda):
        return code.co_name == "<lambda>" and node.lineno == code.co_firstlineno
    if isinstance(node, ast.FunctionDef):
        first = min([node.lineno, *(one.lineno for one in node.decorator_list)])
        return node.name == code.co_name and first == code.co_firstlineno
    return False


def _place(node: ast.Lambda) -> tuple[int | None, ...]:
    body = node.body
    return body.lineno, body.end_lineno, body.col_offset, body.end_col_offset


def _told(value: Any) -> str:
    if isinstance(value, ModuleType):
        return value.__name__
    if isinstance(value, np.ndarray | np.generic):
        return repr(value.tolist())
    if isinstance(value, _PLAIN) or (isinstance(value, list | tuple | dict) and _is_plain(value)):
        return repr(value)
    named = value if hasattr(value, "__qualname__") else type(value)
    return f"{named.__module__}.{named.__qualname__}"


def _is_plain(value: Any) -> bool:
    if isinstance(value, dict):
        return all(_is_plain(part) for pair in value.items() for part in pair)
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return isinstance(value, _PLAIN)


# In a training ------------------------------------------------------------------------------------


LEFT_EMPTY = "; left empty"


class UserMetrics(NamedTuple):
    """The metrics of a training, and who is told when one gives no number."""

    functions: Mapping[str, MetricFunction]
    warn: Callable[[str], None]

    def measure(self, decoded: Tensor, batch: Batch, *, prefix: str = "") -> dict[str, float]:
        """Every metric of decoded windows, by its column.

        A training goes on where one fails: its value is NaN, and `warn` takes a line.

        Args:
            decoded: Normalised bars.
            batch: The windows; their scored bars count, of all timeframes one after the other.
            prefix: Of the columns.
        """
        if not self.functions:
            return {}
        mine, truth = (
            torch.cat([bars[:, place][where] for place, where in enumerate(batch.scored.unbind(1))])
            .double()
            .cpu()
            .numpy()
            for bars in (decoded, batch.targets)
        )
        for bars in (mine, truth):
            bars.flags.writeable = False  # the next metric sees them too
        values = {}
        with torch.random.fork_rng(devices=[]):  # or dropout would not be what it is without them
            for name, function in self.functions.items():
                value, fault = _value(function, mine, truth)
                values[f"{prefix}{USER_METRIC}{name}"] = value
                if fault:
                    self.warn(f"metric {name} must give a finite number, got {fault}{LEFT_EMPTY}")
        return values


NO_USER_METRICS = UserMetrics({}, warn=lambda line: None)


def _value(
    function: MetricFunction, decoded: NDArray[np.float64], true: NDArray[np.float64]
) -> tuple[float, str | None]:
    """What a metric gives, NaN unless a finite number, and what it gave in place of one."""
    try:
        value = float(function(decoded, true))
    except Exception as error:
        return math.nan, brief(one_line(f"{type(error).__name__}: {error}"))
    return (value, None) if math.isfinite(value) else (math.nan, str(value))


def check_on_baseline(metrics: Mapping[str, MetricFunction], line: Tensor, batch: Batch) -> None:
    """Call every metric once, on interpolated bars, before the first trial.

    Raises:
        ConfigError: One raises, or gives no finite number; all of them, a line each.
    """
    faults: list[str] = []
    UserMetrics(metrics, warn=faults.append).measure(line, batch)
    if faults:
        advice = " on interpolated bars; mend the function"
        raise ConfigError("\n".join(fault.replace(LEFT_EMPTY, advice) for fault in faults))
