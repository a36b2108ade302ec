"""Ctrl-C that is never lost and never half done."""

from __future__ import annotations

import signal
from types import FrameType, TracebackType
from typing import Self


class Interrupt:
    """Notes Ctrl-C while the block lasts; it is raised where `check` is called, or at the end.

    Python raises it wherever the program happens to be: inside a `__del__` it vanishes, inside a
    C library it becomes another error, between two writes it leaves half of them. Main thread only.
    """

    def __init__(self) -> None:
        self._asked = False

    def __enter__(self) -> Self:
        self._before = signal.signal(signal.SIGINT, self._note)
        return self

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._asked = True

    def check(self) -> None:
        """Do nothing, or stop.

        Raises:
            KeyboardInterrupt: Ctrl-C was pressed since the block began.
        """
        if self._asked:
            raise KeyboardInterrupt

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        signal.signal(signal.SIGINT, self._before)
        if error is None:
            self.check()
