"""Work in spawned processes that die."""

import os
import signal
import subprocess
import sys
import time
from functools import partial
from types import ModuleType

import pytest

from relo_env.errors import ConfigError
from relo_env.processes import stream


def tell_process(item, tell):
    tell((item, os.getpid()))


def test_a_process_that_dies_while_it_waits_costs_one_item():
    done, lost = [], []
    messages = stream(
        partial(partial, tell_process), "abc", workers=1, lost=lambda item, exit_code: (item, None)
    )
    for item, process in messages:
        (lost if process is None else done).append(item)
        if item == "a" and process is not None:
            time.sleep(0.3)  # it is done and waits for the next item
            os.kill(process, signal.SIGKILL)
            time.sleep(0.3)
    assert {*done, *lost} == {"a", "b", "c"}
    assert len(lost) == 1


@pytest.mark.parametrize("session", [False, True])
def test_what_a_process_cannot_import_is_explained(session, monkeypatch):
    if session:
        monkeypatch.setitem(sys.modules, "__main__", ModuleType("__main__"))
    messages = stream(lambda: tell_process, "a", workers=1, lost=lambda item, exit_code: item)
    with pytest.raises(ConfigError, match=r"not importable: .*lambda.*to a module"):
        next(messages)


@pytest.mark.skipif(sys.platform == "win32", reason="starts processes by another function")
def test_ctrl_c_while_a_process_starts_leaves_no_traceback(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import os, signal\n"
        "from functools import partial\n"
        "from multiprocessing import util\n"
        "from relo_env.processes import stream\n"
        "def start(*args, start=util.spawnv_passfds):\n"
        "    process = start(*args)\n"
        "    if 'spawn_main' in str(args):\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n"  # before it is told what to do
        "    return process\n"
        "if __name__ == '__main__':\n"
        "    util.spawnv_passfds = start\n"
        "    try:\n"
        "        list(stream(partial(partial, print), 'ab', workers=2, lost=print))\n"
        "    except KeyboardInterrupt:\n"
        "        print('interrupted')\n"
    )
    done = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, start_new_session=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "interrupted\n", "")


def test_a_worker_that_is_ended_leaves_no_semaphore(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import time\n"
        "from functools import partial\n"
        "from tqdm import tqdm\n"
        "from relo_env.processes import stream\n"
        "def work(item, tell):\n"
        "    tqdm(disable=True)\n"
        "    tell('begun')\n"
        "    time.sleep(600)\n"
        "if __name__ == '__main__':\n"
        "    messages = stream(partial(partial, work), 'a', workers=1, lost=print)\n"
        "    print(next(messages))\n"
        "    messages.close()\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "begun\n", "")
