"""Benchmarks that no other test runs."""

import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
WITHOUT = """
import sys
from importlib.machinery import PathFinder

found = PathFinder.find_spec
PathFinder.find_spec = lambda name, *rest: (
    None if name.split(".")[0] == "av" else found(name, *rest)
)
import examples.nano.train  # runs on the same machines
import gpu

gpu.main()
"""


@pytest.mark.slow
def test_the_network_is_trained_and_measured_without_pyav() -> None:
    arguments = ["--device", "cpu", "--presets", "micro", "--batch", "1", "--compile"]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, *arguments],
        env={"PYTHONPATH": f"{BENCHMARKS}:{BENCHMARKS.parent}", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "| `micro` | 1 | ours, float32 |" in done.stdout


def test_the_parts_of_the_environment_are_measured() -> None:
    small = ["--parts", "--sizes", "320x180", "--rounds", "1", "--videos", "1", "--length", "60"]
    done = subprocess.run(
        [sys.executable, BENCHMARKS / "costs.py", *small], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "| candidates of the proposer |" in done.stdout
    assert "| 16 |" in done.stdout  # the model of more cores
