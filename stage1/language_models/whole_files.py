"""Files that may have come here in part: JSON from anywhere, and the fault a download mends."""

from __future__ import annotations

import json
from pathlib import Path

from stage1.errors import ModelError
from stage1.faults import reason_of


class NotWholeError(ModelError):
    """A file is broken or missing beside others that are here; fetched again it may be whole."""


def read_json(path: Path) -> object:
    """The content of a JSON file from anywhere.

    Raises:
        NotWholeError: The file cannot be read, or is not JSON that Python can take.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise NotWholeError(
            f"{path}: must be a JSON file, got {reason_of(error)}; fetch it again or mend it"
        ) from None
