"""stage1: does a language model's T5 help a self-supervised market encoder? A fair test of it."""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """`stage1.load_encoder`, from `stage1.trained.loading`.

    Looked up when it is asked for: torch takes seconds to import, and who imports `stage1` may not
    need it.
    """
    if name == "load_encoder":
        return import_module("stage1.trained.loading").load_encoder
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
