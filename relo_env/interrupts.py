"""SIGINT and SIGTERM: raised as exceptions, or held until a point where it is safe to stop."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from types import FrameType
from typing import Any

EXIT_CODE = 128 + signal.SIGTERM
"""Exit status of a process that SIGTERM ended: 143."""


class Terminated(SystemExit, KeyboardInterrupt):
    """SIGTERM, where Ctrl-C raises KeyboardInterrupt.

    ``except KeyboardInterrupt`` catches both. A script that catches neither exits with status 143.
    """

    def __init__(self) -> None:
        super().__init__(EXIT_CODE)


class Stop:
    """Request to stop, noted by `held`."""

    def __init__(self, message: str) -> None:
        self._message = message
        self._exception: BaseException | None = None
        self._interrupts = 0

    @property
    def requested(self) -> bool:
        """True if SIGINT or SIGTERM has come."""
        return self._exception is not None

    def check(self) -> None:
        """Raise what came, if anything did: call where it is safe to stop.

        Raises:
            KeyboardInterrupt: after SIGINT.
            Terminated: after SIGTERM.
        """
        exception, self._exception = self._exception, None
        if exception is not None:
            raise exception

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._interrupts += number == signal.SIGINT
        if self._interrupts > 1:
            raise KeyboardInterrupt
        if self._exception is None:
            self._exception = Terminated() if number == signal.SIGTERM else KeyboardInterrupt()
            if self._message:
                print(f"\n{self._message}; Ctrl-C again stops at once", file=sys.stderr)


@contextmanager
def held(message: str = "") -> Iterator[Stop]:
    """Hold SIGINT and SIGTERM until `Stop.check` or the end of the block; a second SIGINT raises.

    In a thread other than the main one, which receives no signals, nothing is held.

    Args:
        message: printed to stderr when the first signal comes.
    """
    stop = Stop(message)
    with _handled([signal.SIGINT, signal.SIGTERM], stop._note):
        yield stop
    stop.check()


@contextmanager
def starting_processes() -> Iterator[None]:
    """Start processes in here: a signal comes at the end of the block, and SIGINT not to them.

    A process whose parent stops in the midst of telling it what to do, or that Ctrl-C reaches while
    it imports, would print a traceback of its own. It leaves SIGINT to its parent for good.
    """
    came: list[int] = []
    try:
        with (
            _handled([signal.SIGINT, signal.SIGTERM], lambda number, frame: came.append(number)),
            _sigint_blocked(),
        ):
            yield
    finally:
        for number in came:
            signal.raise_signal(number)


@contextmanager
def terminable() -> Iterator[None]:
    """Raise `Terminated` on SIGTERM within the block; a handler that the process has is kept."""

    def terminate(number: int, frame: FrameType | None) -> None:
        raise Terminated

    default = signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    with _handled([signal.SIGTERM] if default else [], terminate):
        yield


@contextmanager
def _sigint_blocked() -> Iterator[None]:
    """Block SIGINT in this thread and, unlike a handler, in the processes it starts."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    resource_tracker.ensure_running()  # starts with the first process, and unblocks SIGINT then
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _handled(signals: list[signal.Signals], handler: Callable[..., Any]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in signals}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)
