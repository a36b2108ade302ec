"""A user's own callbacks: told of every trial that ends and of every look that is taken."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from copy import copy
from typing import Any

from stage1.base.errors import ConfigError
from stage1.base.text import shown


class UserCallbacks:
    """A user's callbacks, called between Ray's events: Ray would wrap what they raise.

    Raises:
        ConfigError: One has none of the two methods.
    """

    EVENTS = ("on_trial_end", "on_look")

    def __init__(self, callbacks: Sequence[object] = ()) -> None:
        if not isinstance(callbacks, Iterable):
            raise ConfigError(f"callbacks must be a list, got {shown(callbacks)}; put it in one")
        for place, callback in enumerate(callbacks):
            if not any(callable(getattr(callback, event, None)) for event in self.EVENTS):
                raise ConfigError(
                    f"callbacks[{place}]: must have on_trial_end(row) or on_look(verdicts), got "
                    f"{shown(callback)}, which has neither"
                )
        self._callbacks = list(callbacks)
        self._waiting = deque[tuple[str, Any]]()
        self.error: Exception | None = None
        """What one has raised."""

    def trial_ended(self, row: dict[str, Any]) -> None:
        """Have them told of a trial, at the next `check`."""
        self._waiting.append(("on_trial_end", row))

    def look_taken(self, verdicts: Any) -> None:
        """Have them told of a look, at the next `check`."""
        self._waiting.append(("on_look", verdicts))

    def check(self) -> None:
        """Tell them what waits; raises what one of them raises, with a note of who it was."""
        while self._waiting:
            event, content = self._waiting.popleft()
            for callback in self._callbacks:
                tell: Callable[[Any], object] | None = getattr(callback, event, None)
                if tell is None:
                    continue
                try:
                    tell(copy(content))
                except Exception as error:
                    error.add_note(
                        f"raised by {type(callback).__qualname__}.{event} of callbacks; the study "
                        "has ended early, nothing of it is lost: mend the callback and go on with "
                        "resume=True"
                    )
                    self.error = error
                    raise
