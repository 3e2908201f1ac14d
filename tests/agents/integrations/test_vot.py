"""Our trackers under the VOT toolkit, on its own dummy sequence; skipped where it is not installed.

The toolkit is run as the program it is, and nothing of it imported.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from agents.network import RELONetwork
from relo_env.benchmark.metrics import overlaps

pytestmark = pytest.mark.skipif(
    not (find_spec("vot") and find_spec("trax")),
    reason='needs the VOT toolkit: pip install "relo[vot]" in an environment of its own',
)

SKIPPED = 5
"""Frames between a failure and the restart, as in the challenges."""
STACK = f"""\
title: Restarts
experiments:
  restarts:
    type: supervised
    repetitions: 1
    skip_initialize: {SKIPPED}
    analyses:
      - type: supervised_average_ar
  anchors:
    type: multistart
    analyses:
      - type: multistart_average_ar
"""


class Workspace:
    """A folder as the toolkit wants it, with the dummy sequence and our trackers."""

    def __init__(self, folder: Path, trackers: dict[str, str]) -> None:
        self.folder = folder
        serve = f"{sys.executable} -m agents.integrations.vot --device cpu --tracker"
        for name, spec in trackers.items():
            section = f"[{name}]\nprotocol = trax\ncommand = {serve} {spec}\ntimeout = 300\n"
            with (folder / "trackers.ini").open("a") as file:
                file.write(section)

    def vot(self, *arguments: str) -> str:
        """Run the toolkit; what it prints. It is kept from asking the network for updates."""
        nowhere = {"TMPDIR": str(self.folder), "https_proxy": "http://127.0.0.1:9"}
        done = subprocess.run(
            [sys.executable, "-m", "vot", *arguments],
            cwd=self.folder,
            env={**os.environ, **nowhere, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            timeout=600,
        )
        return done.stdout + done.stderr

    def adopt_dummy(self) -> np.ndarray:
        """Make one object of ``vot test`` the workspace's data set; returns its true boxes."""
        (dummy,) = self.folder.glob("vot_dummy_*_3")
        (dummy / "groundtruth_000.txt").rename(dummy / "groundtruth.txt")
        for other in dummy.glob("groundtruth_*"):
            other.unlink()
        sequences = self.folder / "sequences"
        sequences.mkdir()
        dummy.rename(sequences / "dummy")
        (sequences / "list.txt").write_text("dummy\n")
        boxes = np.loadtxt(sequences / "dummy" / "groundtruth.txt", delimiter=",")
        anchors = [1, *[0] * (len(boxes) - 2), -1]
        (sequences / "dummy" / "anchor.value").write_text("\n".join(map(str, anchors)))
        return boxes

    def evaluate(self, stack: str, *trackers: str) -> dict:
        """Run a stack and its analyses; the results by experiment, a row for each tracker."""
        config = f"registry: [./trackers.ini]\nstack: {stack}\n"
        (self.folder / "config.yaml").write_text(config)
        ran = self.vot("evaluate", "--workspace", ".", *trackers)
        assert "Evaluation concluded" in ran, ran
        if stack.startswith("tests/"):
            return {}
        analysed = self.vot("analysis", "--workspace", ".", "--name", "all", *trackers)
        assert "Analysis successful" in analysed, analysed
        (file,) = (self.folder / "analysis").rglob("*.json")
        results = json.loads(file.read_text())["results"]
        return {name: experiment["results"][0] for name, experiment in results.items()}


def failures_of_static(truth: np.ndarray) -> int:
    """How often a box that stays where it was given has to be given anew."""
    frame = failures = 0
    while frame < len(truth):
        given = np.broadcast_to(truth[frame], truth.shape)
        lost = np.flatnonzero(overlaps(given, truth)[frame + 1 :] == 0)
        if not lost.size:
            return failures
        failures += 1
        frame += 1 + int(lost[0]) + SKIPPED
    return failures


@pytest.mark.slow
def test_the_dummy_sequence_and_stacks(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = RELONetwork.from_preset("micro").save_checkpoint(
        tmp_path / "m.safetensors", stage="policy"
    )
    workspace = Workspace(tmp_path, {"RELO": str(network), "static": "static"})
    for name in ("RELO", "static"):
        assert "Test concluded" in workspace.vot("test", name), "three objects at a time"
    truth = workspace.adopt_dummy()

    workspace.evaluate("tests/basic", "RELO", "static")
    for name in ("RELO", "static"):
        times = tmp_path / "results" / name / "baseline" / "dummy" / "dummy_001_time.value"
        assert len(times.read_text().splitlines()) == len(truth)

    (tmp_path / "stack.yaml").write_text(STACK)
    results = workspace.evaluate("./stack.yaml", "RELO", "static")
    untrained, static = results["restarts"]
    assert static[1] == failures_of_static(truth) > 0
    assert untrained[1] > 0, "it knows nothing, and is started again"
    assert len(results["anchors"]) == 2


def test_a_tracker_that_cannot_be_is_reported(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path, {"lost": "no-such-preset"})
    assert "Error" in workspace.vot("test", "lost")
