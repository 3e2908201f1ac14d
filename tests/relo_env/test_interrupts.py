"""Signals that are held until it is safe, or raised as exceptions."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading

import pytest

from relo_env.interrupts import Terminated, held, starting_processes, terminable

EXCEPTIONS = [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Terminated)]


@pytest.mark.parametrize(("number", "exception"), EXCEPTIONS)
def test_a_held_signal_comes_at_the_safe_point(
    number: signal.Signals, exception: type[BaseException]
) -> None:
    done = []
    handlers = [signal.getsignal(each) for each, _ in EXCEPTIONS]

    def work(checks: bool) -> None:
        with held() as stop:
            signal.raise_signal(number)
            done.append("work")
            assert stop.requested
            if checks:
                stop.check()
                done.append("never")

    for checks in (True, False):
        with pytest.raises(exception):
            work(checks)
    assert done == ["work", "work"]
    assert [signal.getsignal(each) for each, _ in EXCEPTIONS] == handlers


def test_a_second_interrupt_raises_at_once_and_a_second_sigterm_does_not() -> None:
    done = []

    def work(number: signal.Signals) -> None:
        with held():
            signal.raise_signal(number)
            signal.raise_signal(number)
            done.append(number)

    with pytest.raises(KeyboardInterrupt):
        work(signal.SIGINT)
    with pytest.raises(Terminated):
        work(signal.SIGTERM)
    assert done == [signal.SIGTERM]


def test_nothing_is_held_in_another_thread() -> None:
    seen = []

    def work() -> None:
        with held() as stop, terminable():
            seen.append(stop.requested)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [False]


def test_a_script_that_catches_nothing_ends_with_143() -> None:
    code = (
        "import os, signal, time\n"
        "from relo_env.interrupts import terminable\n"
        "with terminable():\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    time.sleep(10)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (143, "")


def test_a_handler_of_ones_own_is_kept() -> None:
    seen = []
    before = signal.signal(signal.SIGTERM, lambda *_: seen.append("mine"))
    try:
        with terminable():
            signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert seen == ["mine"]


@pytest.mark.parametrize(("number", "exception"), EXCEPTIONS)
@pytest.mark.parametrize("outer", [terminable, held])
def test_a_signal_while_processes_start_comes_afterwards(
    number: signal.Signals, exception: type[BaseException], outer: type[terminable]
) -> None:
    done = []

    def work() -> None:
        with outer():
            with starting_processes():
                signal.raise_signal(number)
                done.append("started")
            done.append(outer)

    with pytest.raises(exception):
        work()
    assert done == (["started", held] if outer is held else ["started"])


@pytest.mark.skipif(sys.platform == "win32", reason="no process groups")
def test_ctrl_c_does_not_reach_a_process_that_starts() -> None:
    code = (
        "import os, signal, subprocess, sys\n"
        "from relo_env.interrupts import starting_processes\n"
        "child = 'import time; time.sleep(1); print(\"whole\")'\n"
        "try:\n"
        "    with starting_processes():\n"
        "        process = subprocess.Popen([sys.executable, '-c', child])\n"
        "        os.killpg(0, signal.SIGINT)\n"
        "except KeyboardInterrupt:\n"
        "    process.wait()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, start_new_session=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "whole\n", "")
