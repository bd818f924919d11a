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
    second signal is obeyed at once. Outside the main thread, where Python allows no
    handlers, signals are not noted.

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
                self._handlers[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._put_back()

    def _note(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal."""
        if self.pending:
            self._put_back()
            signal.raise_signal(number)
        self.pending = number

    def _put_back(self) -> None:
        """Give the signals back the handlers they had."""
        for number, handler in self._handlers.items():
            # None stands for a handler that was not set from Python
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._handlers = {}

    def deliver(self) -> None:
        """Do what the pending signal would have done: KeyboardInterrupt for Ctrl-C."""
        self._put_back()
        signal.raise_signal(self.pending)
        raise KeyboardInterrupt(f"training was stopped by signal {self.pending}")
