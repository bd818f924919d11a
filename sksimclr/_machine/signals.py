"""Ctrl-C and SIGTERM that wait until a batch is complete."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(BaseException):
    """Training stops because a signal came; its state has been saved."""


class Interruption:
    """A context in which the first Ctrl-C or SIGTERM is noted instead of obeyed.

    Whoever is in the context looks at `pending` from time to time, saves its work, and
    raises :class:`Interrupted`; :meth:`deliver` then does what the signal was for. A
    second signal is obeyed at once, and one that nobody looked at is obeyed at the end.
    Signals that are ignored stay so, and those with a handler that is not Python's are
    left to it. Outside the main thread, where Python allows no handlers, none is noted.

    Attributes
    ----------
    pending : int
        Number of the signal that came, or 0.
    """

    def __init__(self) -> None:
        self.pending = 0
        self._handlers: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                # None stands for a handler that was not set from Python
                if signal.getsignal(number) not in (signal.SIG_IGN, None):
                    self._handlers[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        is_left = bool(self._handlers)  # who obeys a signal puts them back before
        self._put_back()
        is_error = kind is not None and issubclass(kind, Exception)
        if self.pending and (kind is None or (is_error and is_left)):
            signal.raise_signal(self.pending)

    def _note(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal."""
        if self.pending:
            self._put_back()
            signal.raise_signal(number)
        self.pending = number

    def _put_back(self) -> None:
        """Give the signals back the handlers they had."""
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers = {}

    def deliver(self) -> None:
        """Do what the pending signal would have done: KeyboardInterrupt for Ctrl-C."""
        self._put_back()
        signal.raise_signal(self.pending)
        raise KeyboardInterrupt(f"training was stopped by signal {self.pending}")
