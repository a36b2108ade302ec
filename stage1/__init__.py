"""stage1: does a language model's T5 help a self-supervised market encoder? A fair test of it."""

import logging
import os
import sys
import warnings
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stage1.base.interrupt import leave_on_ctrl_c

if TYPE_CHECKING:  # for type checkers and editors alone; `__getattr__` loads them
    from stage1.claims.loaded_run import load_run as load_run
    from stage1.training.encoder import load_encoder as load_encoder
    from stage1.tune import run_study as run_study

__version__ = "0.1.0"


def _is_command() -> bool:
    """Whether this process is `stage1` or `python -m stage1.NAME`, and not one that uses it."""
    program = "".join(sys.argv[:1])
    if program == "-m":  # until the module is found
        program = next((name for flag, name in pairwise(sys.orig_argv) if flag == "-m"), "")
    return Path(program).name.partition(".")[0] == "stage1"


def _bear_surroundings() -> None:
    """Settle what libraries ask the environment for, which is not a command's concern."""
    # It draws into files. Who starts it from a notebook hands on that notebook's backend, which is
    # perhaps not installed here, and then matplotlib cannot even be imported.
    os.environ["MPLBACKEND"] = "agg"
    # Without a HOME that can be written its fonts are listed anew: seconds, and nobody's concern.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    if os.path.expanduser("~") == "~":  # no HOME, and a user without a name, as in a container
        os.environ["HOME"] = "/"  # as Docker has it; Ray cannot be imported without one


if _is_command():  # and will import for seconds
    leave_on_ctrl_c()
    _bear_surroundings()


_EXPORTED = {
    "load_encoder": "stage1.training.encoder",
    "load_run": "stage1.claims.loaded_run",
    "run_study": "stage1.tune",
}
"""What `import stage1` offers, by the module it lies in."""


def __getattr__(name: str) -> Any:
    """One of `_EXPORTED`, looked up when it is asked for: torch takes seconds to import."""
    if name in _EXPORTED:
        with warnings.catch_warnings():
            # What a notebook could show with ipywidgets, which nothing here needs.
            warnings.filterwarnings("ignore", "IProgress not found")
            logging.getLogger("ray.widgets").setLevel(logging.ERROR)
            return getattr(import_module(_EXPORTED[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """What is offered, for who presses Tab, and not what this file imports."""
    return sorted([*(name for name in globals() if name.startswith("__")), *_EXPORTED])
