"""Which trials have begun and have no row yet: what a study that was cut off goes on with first."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from threading import Lock

from pydantic import TypeAdapter, ValidationError

from stage1.errors import ResultsError
from stage1.files import remove_leftovers, write_text
from stage1.search.trials import TrialSpec

_SPECS = TypeAdapter(list[TrialSpec])


class BegunTrials:
    """Keeps the file up to date; trials are begun by one thread and written by another.

    Args:
        file: `begun.json` of the run folder; goes on with what it holds.

    Raises:
        ResultsError: The file is not as it was written.
    """

    def __init__(self, file: Path) -> None:
        remove_leftovers(file)
        self._file, self._lock = file, Lock()
        self._specs = {spec.trial_id: spec for spec in read_begun(file)}

    def add(self, spec: TrialSpec) -> None:
        """Note that a trial begins."""
        with self._lock:
            self._specs[spec.trial_id] = spec
            self._write()

    def remove(self, trial_ids: Collection[str]) -> None:
        """Note that the rows of trials are written."""
        with self._lock:
            for trial_id in trial_ids:
                self._specs.pop(trial_id, None)
            self._write()

    def _write(self) -> None:
        if not self._specs:
            self._file.unlink(missing_ok=True)
            return
        specs = [spec._asdict() for spec in self._specs.values()]
        write_text(self._file, json.dumps(specs, indent=1))


def read_begun(file: Path) -> list[TrialSpec]:
    """The trials that had begun and had no row, in the order in which they began; perhaps none.

    Raises:
        ResultsError: The file is not as it was written.
    """
    if not file.exists():
        return []
    try:
        return _SPECS.validate_json(file.read_bytes(), strict=True)
    except (OSError, ValidationError):
        raise ResultsError(
            f"{file}: must be as the study has written it; remove it, and its trials are "
            "begun again"
        ) from None
