"""Settings shared by all tests: one thread each, and the optional folder of shared material."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import cv2
import hypothesis
import pytest
import torch

# Numbers are equal to the bit for equal numbers of threads, in this process and in those it starts.
cv2.setNumThreads(1)
torch.set_num_threads(1)
os.environ["OMP_NUM_THREADS"] = "1"

# A shell's background jobs ignore SIGINT, and so would the processes that tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes says how busy the machine is.
hypothesis.settings.register_profile("relo", deadline=None)
hypothesis.settings.load_profile("relo")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of goldens and real sequences; tests that need it skip without it."""
    folder = os.environ.get("RELO_SHARED", "")
    if not folder or not Path(folder).is_dir():
        pytest.skip("set RELO_SHARED to the folder with official/ and data/ to run this test")
    return Path(folder)


@pytest.fixture(scope="session")
def dev_root(shared: Path) -> Path:
    """Thirteen real sequences, in the Folder layout."""
    return shared / "data" / "sequences" / "dev"
