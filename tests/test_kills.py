"""Kill table: every long command, every signal, at random points, then the same to its end."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from agents.network.checkpoints import read_header
from relo_env.benchmark.results import parse_boxes

pytestmark = pytest.mark.slow

EXIT_CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -signal.SIGKILL}
POINTS = 3
GONE_AFTER = 5.0
"""[s] after which no process may be left."""


@dataclass(frozen=True)
class Command:
    """A long command.

    Attributes:
        arguments: of ``relo``; {out} is the folder.
        claim: file whose appearance says that the run has begun.
        products: pattern of the files that have to be equal in the end.
        resume: whether ``--resume`` goes on; else the same command does.
    """

    arguments: str
    claim: str
    products: str
    resume: bool = False

    def line(self, out: Path, resume: bool = False) -> list[str]:
        """Command line."""
        words = self.arguments.format(out=out).split()
        more = ["--resume"] if resume and self.resume else []
        return [sys.executable, "-m", "agents.cli", *words, *more]


COMMANDS = {
    "policy": Command(
        "train policy --network micro --random-weights --steps 320 --num-envs 4 --clip-length 4 "
        "--out {out}",
        "config.json",
        "network.safetensors",
        resume=True,
    ),
    "warmup": Command(
        "train warmup --network micro --random-weights --steps 40 --clips 2 --clip-length 2 "
        "--save-every 7 --out {out}",
        "_run.json",
        "warmup.safetensors",
        resume=True,
    ),
    "evaluate": Command(
        "evaluate --dataset Synthetic --dataset-option length=40 --max-sequences 4 "
        "--tracker static --workers 2 --out {out}",
        "static/Synthetic/_run.json",
        "static/Synthetic/test-??????.txt",
    ),
    "record": Command(
        "record --policy random --episodes 6 --num-envs 2 --dataset-option length=20 --out {out}",
        "relo/synthetic-random-v0/settings.json",
        "relo/synthetic-random-v0/data/main_data.hdf5",
        resume=True,
    ),
    "ablate": Command(
        "ablate algorithms --preset micro --random-weights --rows actor-critic random --seeds 2 "
        "--frames 256 --clips 2 --length 4 --workers 2 --out {out}",
        "study.json",
        "runs/*/*/result.json",
    ),
}


@pytest.fixture(scope="module", params=COMMANDS)
def straight(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Command, dict[str, object], float]:
    """A command, its products where nobody disturbs it, and the seconds from claim to product."""
    command, out = COMMANDS[request.param], tmp_path_factory.mktemp("straight")
    process = subprocess.Popen(command.line(out), stderr=subprocess.PIPE)
    wait_for(out / command.claim, process)
    begin = time.time()
    _, errors = process.communicate()
    assert process.returncode == 0, errors.decode()
    end = max(path.stat().st_mtime for path in out.glob(command.products))
    return command, products(command, out), max(end - begin, 0.0)


@pytest.mark.parametrize("number", EXIT_CODES, ids=lambda number: number.name)
def test_what_is_killed_goes_on_to_the_same(
    straight: tuple[Command, dict[str, object], float], number: signal.Signals, tmp_path: Path
) -> None:
    command, expected, seconds = straight
    for point in range(POINTS):
        out = tmp_path / str(point)
        status = kill(command, out, number, random.uniform(0, 0.9) * seconds)
        if status == -number != EXIT_CODES[number]:  # Python itself was ending
            assert products(command, out).keys() == expected.keys()
        check_whole(out)
        resumed = subprocess.run(command.line(out, resume=True), capture_output=True, text=True)
        assert resumed.returncode == 0, resumed.stderr
        found = products(command, out)
        assert found.keys() == expected.keys()
        for name, content in expected.items():
            assert found[name] == content, name


def kill(command: Command, out: Path, number: signal.Signals, delay: float) -> int:
    """Exit status after a signal some seconds after the claim; no process may be left."""
    mark = f"RELO_KILL_TEST={uuid.uuid4()}"
    environment = {**os.environ, **dict([mark.split("=")])}
    process = subprocess.Popen(command.line(out), env=environment, stderr=subprocess.PIPE)
    wait_for(out / command.claim, process)
    time.sleep(delay)
    process.send_signal(number)
    _, errors = process.communicate()
    assert process.returncode in (EXIT_CODES[number], 0, -number), errors.decode()
    assert number == signal.SIGKILL or b"Traceback" not in errors, errors.decode()
    deadline = time.monotonic() + GONE_AFTER
    while left := list(processes(mark)):
        assert time.monotonic() < deadline, left
        time.sleep(0.1)
    return process.returncode


def wait_for(path: Path, process: subprocess.Popen[bytes]) -> float:
    """Wait until a file is there; returns the time."""
    while not path.exists():
        assert process.poll() is None, process.stderr and process.stderr.read().decode()
        time.sleep(0.01)
    return time.monotonic()


def processes(mark: str) -> Iterator[int]:
    """Processes that have a variable in their environment, zombies left out."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (folder / "environ").read_bytes():
                yield int(folder.name)
        except OSError:
            continue


def check_whole(out: Path) -> None:
    """Read every file that has a final name."""
    for path in out.rglob("*"):
        if path.name.startswith(".") or not path.is_file():
            continue
        if path.suffix == ".json":
            json.loads(path.read_text())
        elif path.suffix == ".safetensors" and path.parent.name != "policies":
            read_header(path)
        elif path.suffix == ".pt":
            torch.load(path, weights_only=True)
        elif path.suffix == ".txt" and path.match("static/Synthetic/*[0-9].txt"):
            assert len(parse_boxes(path)) > 1


def products(command: Command, out: Path) -> dict[str, object]:
    """Contents of a command's products: bytes, or numbers without times."""
    contents: dict[str, object] = {}
    for path in sorted(out.glob(command.products)):
        name = str(path.relative_to(out))
        if path.suffix == ".json":
            figures = json.loads(path.read_text())["figures"]["iou"]
            contents[name] = figures[-1]
        else:
            contents[name] = path.read_bytes()
    assert contents
    return contents
