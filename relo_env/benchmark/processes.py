"""Work spread over spawned processes, where one that dies costs its item and nothing else."""

from __future__ import annotations

import multiprocessing
import signal
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from relo_env.errors import ReloError

Work = Callable[[str], Iterable[Any]]
"""Does one item and yields messages on the way."""


@dataclass(frozen=True)
class _BuildFailed:
    error: str


_DONE = None


def stream(
    build: Callable[[], Work],
    items: Iterable[str],
    *,
    workers: int,
    fresh_process: bool = False,
    lost: Callable[[str, int | None], Any],
) -> Iterator[Any]:
    """Do all items and yield the messages of whichever process has one.

    Closing the iterator, or an exception in its reader, ends the processes.

    Args:
        build: called once a process; gives what does the items. To be picklable, as messages are.
        items: what to do, in the order of starting.
        workers: number of processes at a time.
        fresh_process: start a new process for every item.
        lost: makes the message for an item whose process died, from the item and the exit code.

    Raises:
        ReloError: ``build`` failed in a process.
    """
    todo = deque(items)
    busy: dict[Connection, _Worker] = {}
    try:
        while todo or busy:
            while todo and len(busy) < workers:
                worker = _Worker(build)
                busy[worker.connection] = worker
                worker.start(todo.popleft())
            for connection in wait(list(busy)):
                worker = busy[connection]  # type: ignore[index]
                try:
                    message = worker.connection.recv()
                except (EOFError, ConnectionResetError):
                    del busy[worker.connection]
                    yield lost(worker.item, worker.stop())
                    continue
                if isinstance(message, _BuildFailed):
                    raise ReloError(f"A worker process could not start:\n{message.error}")
                if message is not _DONE:
                    yield message
                elif todo and not fresh_process:
                    worker.start(todo.popleft())
                else:
                    del busy[worker.connection]
                    worker.stop()
    finally:
        for worker in busy.values():
            worker.process.terminate()
            worker.stop()


class _Worker:
    """A process and this end of the pipe to it."""

    def __init__(self, build: Callable[[], Work]) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, other = context.Pipe()
        self.process: BaseProcess = context.Process(target=_serve, args=(other, build), daemon=True)
        self.process.start()
        other.close()
        self.item = ""

    def start(self, item: str) -> None:
        self.item = item
        self.connection.send(item)

    def stop(self) -> int | None:
        """Close the pipe, which ends an idle process, and return its exit code."""
        self.connection.close()
        self.process.join()
        return self.process.exitcode


def _serve(connection: Connection, build: Callable[[], Work]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    try:
        work = build()
    except Exception:
        connection.send(_BuildFailed(traceback.format_exc()))
        return
    try:
        while True:
            for message in work(connection.recv()):
                connection.send(message)
            connection.send(_DONE)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return  # the parent is finished, or gone
