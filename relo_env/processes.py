"""Work spread over spawned processes; a process that dies costs its item only."""

from __future__ import annotations

import ast
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from tqdm import tqdm

from relo_env.errors import ConfigError, ReloError
from relo_env.interrupts import EXIT_CODE, Terminated, starting_processes, terminable

Tell = Callable[[Any], None]
Work = Callable[[str, Tell], None]
"""Does one item and tells messages on the way."""

GRACE = 3.0
"""[s] that a process has, after SIGTERM, to save and end before it is killed."""


_READY, _DONE = "ready", "done"


def stream(
    build: Callable[[], Work],
    items: Iterable[str],
    *,
    workers: int,
    fresh_process: bool = False,
    lost: Callable[[str, int | None], Any],
) -> Iterator[Any]:
    """Do all items in processes and yield their messages as they come.

    Closing the iterator, or an exception in its reader, ends the processes: each gets SIGTERM and
    is killed after `GRACE` seconds. They end with their parent, however that ends.

    Args:
        build: called once a process; gives what does the items. Picklable, as messages are.
        items: items to do, in the order of starting.
        workers: number of processes at a time.
        fresh_process: start a new process for every item.
        lost: makes the message for an item whose process died, from the item and the exit code.

    Raises:
        ConfigError: processes cannot be started from this script, see `require_main_guard`.
        ReloError: a process could not start, ``build`` failed in it, or an item raised this.
    """
    require_main_guard(build)
    todo = deque(items)
    busy: dict[Connection, _Worker] = {}
    try:
        while todo or busy:
            while todo and len(busy) < workers:
                with starting_processes():
                    worker = _Worker(build)
                    busy[worker.connection] = worker
                worker.start(todo.popleft())
            for connection in wait(list(busy)):
                worker = busy[connection]  # type: ignore[index]
                try:
                    message = worker.connection.recv()
                except (EOFError, ConnectionResetError):
                    del busy[worker.connection]
                    yield worker.died(lost)
                    continue
                if isinstance(message, ReloError):
                    raise message
                if message == _READY:
                    worker.ready = True
                elif message != _DONE:
                    yield message
                elif todo and not fresh_process:
                    worker.start(todo.popleft())
                else:
                    del busy[worker.connection]
                    worker.stop()
    finally:
        for worker in busy.values():
            worker.process.terminate()
        deadline = time.monotonic() + GRACE
        for worker in busy.values():
            worker.stop(max(0.0, deadline - time.monotonic()))


@contextmanager
def _explained() -> Iterator[None]:
    """Pickling whose failure is a ConfigError that tells what to do."""
    try:
        yield
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise ConfigError(
            f"Worker processes cannot be given what is not importable: {error}. Move the "
            "tracker and the data set to a module, or use workers=1."
        ) from error


class _Worker:
    """A process and this end of the pipe to it."""

    def __init__(self, build: Callable[[], Work]) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, other = context.Pipe()
        self.process: BaseProcess = context.Process(target=_serve, args=(other, build), daemon=True)
        with _explained():
            self.process.start()
        other.close()
        self.item = ""
        self.ready = False

    def start(self, item: str) -> None:
        self.item = item
        with suppress(OSError):  # the process died while it waited: its end of the pipe tells
            self.connection.send(item)

    def died(self, lost: Callable[[str, int | None], Any]) -> Any:
        """Message for the item in progress.

        Raises:
            ReloError: the process had not begun to work, so that others would not either.
        """
        exit_code = self.stop()
        if not self.ready:
            raise ReloError(
                f"A worker process ended with exit code {exit_code} before its work began; its own "
                "message is above. What it is given has to be importable: define trackers and data "
                "sets in a module."
            )
        return lost(self.item, exit_code)

    def stop(self, grace: float = GRACE) -> int | None:
        """Close the pipe and wait; kill the process after ``grace`` s. Gives its exit code."""
        self.connection.close()
        self.process.join(grace)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        return self.process.exitcode


def _serve(connection: Connection, build: Callable[[], Work]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    end_with_parent()
    tqdm.set_lock(threading.RLock())  # its default is a semaphore, which `os._exit` would leave
    try:
        work = build()  # nothing to save yet: SIGTERM ends the process at once
    except Exception:
        reason = traceback.format_exc()
        connection.send(ReloError(f"A worker process could not start:\n{reason}"))
        return
    try:
        with terminable():
            connection.send(_READY)
            while True:
                work(connection.recv(), connection.send)
                connection.send(_DONE)
    except ReloError as error:
        connection.send(error)
    except KeyboardInterrupt as error:  # held by the work until it was safe
        sys.stdout.flush()
        sys.stderr.flush()
        # All is saved. Taking down an interpreter with torch can take seconds on a busy machine.
        os._exit(EXIT_CODE if isinstance(error, Terminated) else 130)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return  # the parent is finished, or gone


def end_with_parent() -> None:
    """End this process when its parent has ended, also where that was killed.

    For a process started by `multiprocessing`. It gets SIGTERM first, and `GRACE` seconds to save.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(GRACE)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def settle_data_worker() -> None:
    """Let a DataLoader's process leave Ctrl-C to its parent, and end after it.

    Signals that a whole group of processes gets would otherwise take the worker from under a parent
    that still saves. SIGTERM ends the process after `GRACE` seconds.
    """

    def end_later(number: int, frame: Any) -> None:
        timer = threading.Timer(GRACE, os._exit, (1,))
        timer.daemon = True
        timer.start()

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, end_later)
    end_with_parent()


def require_main_guard(*objects: Any) -> None:
    """Check that processes can be started from the script that is running.

    A spawned process imports the main script again. Without a guard that would run the script
    again; what a notebook or an interactive session defines is not found at all.

    Args:
        *objects: what the processes are given.

    Raises:
        ConfigError: the calling line of the script is not below ``if __name__ == "__main__":``, or
            an object is defined in a session without a file, or the script has no file to import.
    """
    main = sys.modules["__main__"]
    path = getattr(main, "__file__", None)
    if path is not None and main.__spec__ is None and not Path(path).is_file():
        raise ConfigError(
            f"Worker processes import the main script, and there is no file {path}. Save the "
            "script to a file, or use workers=1."
        )
    if path is None or not Path(path).is_file():
        with _explained():
            pickled = pickle.dumps(objects)
        if b"__main__" in pickled:
            raise ConfigError(
                "Worker processes cannot import what is defined in a notebook or an interactive "
                "session. Move the tracker and the data set to a module, or use workers=1."
            )
        return
    line = _running_line(main)
    if line is None or _is_guarded(Path(path), line):
        return
    raise ConfigError(
        f"{path}, line {line}, starts worker processes, and each of them would run the script "
        'again. Put that code below a line `if __name__ == "__main__":`.'
    )


def _running_line(main: Any) -> int | None:
    """Line at which the top level of the main script is; None where it is not on the stack."""
    frame = sys._getframe()
    while frame is not None:
        if frame.f_code.co_name == "<module>" and frame.f_globals is vars(main):
            return frame.f_lineno
        frame = frame.f_back  # type: ignore[assignment]
    return None


def _is_guarded(path: Path, line: int) -> bool:
    """True if a line is in the body of ``if __name__ == "__main__":``, or the source is unread."""
    try:
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return True
    return any(
        isinstance(node, ast.If)
        and "__name__" in ast.unparse(node.test)
        and node.body[0].lineno <= line <= (node.body[-1].end_lineno or line)
        for node in ast.walk(tree)
    )
