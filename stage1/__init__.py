"""stage1: does a language model's T5 help a self-supervised market encoder? A fair test of it."""

import sys
from importlib import import_module
from typing import Any

from stage1.errors import leave_on_ctrl_c

__version__ = "0.1.0"

if sys.argv[:1] == ["-m"]:  # `python -m stage1.NAME` begins, and imports for seconds
    leave_on_ctrl_c()


def __getattr__(name: str) -> Any:
    """`stage1.load_encoder`, from `stage1.trained.loading`.

    Looked up when it is asked for: torch takes seconds to import, and who imports `stage1` may not
    need it.
    """
    if name == "load_encoder":
        return import_module("stage1.trained.loading").load_encoder
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
