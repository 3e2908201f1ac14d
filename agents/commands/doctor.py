"""Check this installation: versions, device, data, weights, and a self-test of ten seconds.

Each check prints a line: ok; FAILED if RELO needs it; - if only the part named there needs it.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import platform
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from importlib import metadata
from pathlib import Path

import relo_env
from relo_env import opencv

EXAMPLES = """\
example:
  relo doctor
exit status: 1 if a part that RELO needs is missing or does not work"""

REQUIRED = (
    "numpy", "pandas", "av", "gymnasium", "torch", "torchvision", "stable_baselines3", "timm",
    "safetensors", "tensorboard", "matplotlib", "jinja2", "tqdm", "rich", "shtab",
    "docstring_parser",
)  # fmt: skip
OPTIONAL = {
    "moviepy": "Gymnasium's RecordVideo (pip install '.[video]')",
    "huggingface_hub": "relo weights fetch (pip install '.[hub]')",
    "sb3_contrib": "its algorithms as baselines (pip install '.[contrib]')",
    "ray": "training on a cluster, in an environment of its own (pip install '.[rllib]')",
}
Check = Callable[[], str]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``relo doctor``: none."""
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print a line for each check; return 1 if one fails."""
    failures = 0
    for name, check, needed in checks():
        try:
            mark, line = "ok", check()
        except Exception as error:  # any fault is to be reported
            mark, line = "-", str(error)
            if needed:
                mark, line = "FAILED", f"{type(error).__name__}: {error}"
            failures += needed
        print(f"{mark:7}{name:18}{line}")
    print("all well" if not failures else f"{failures} of the checks failed, see FAILED above")
    return 1 if failures else 0


def checks() -> Iterator[tuple[str, Check, bool]]:
    """Name, function and need of every check; the function raises or returns a line of findings."""
    yield "python", lambda: f"{platform.python_version()} on {platform.platform()}", True
    yield "relo", lambda: f"{metadata.version('relo')} in {Path(relo_env.__file__).parent}", False
    yield "agents", _agents, True
    for module in REQUIRED:
        yield module, partial(_version, module), True
    yield "opencv", _opencv, True
    for module, use in OPTIONAL.items():
        yield module, partial(_version, module, f"only for {use}"), False
    yield "opencv contrib", _opencv_contrib, False
    yield "device", _device, True
    yield "weights", _weights, False
    yield "data", _data, False
    yield "video", _video, True
    yield "environment", _environment, True
    yield "network", _network, True
    yield "backend", _backend, True
    yield "half precision", _half_precision, True


def _agents() -> str:
    """Check that no other package `agents` hides this one, in another folder or in the same."""
    import agents

    ours = Path(__file__).parents[1]
    found = Path(agents.__file__ or "").parent
    if found != ours:
        raise ImportError(f"`import agents` gives {found}, not {ours}: another package hides ours.")
    owners = set(metadata.packages_distributions().get("agents", ())) - {"relo"}
    if owners:
        raise ImportError(
            f"{', '.join(sorted(owners))} also installs a package `agents`; each overwrites "
            "the other. Install RELO in a virtual environment of its own."
        )
    folders = {Path(entry or ".").resolve() / "agents" for entry in sys.path}
    others = sorted(str(f) for f in folders if f.is_dir() and f != ours.resolve())
    return f"{ours}" + (f"; hides {', '.join(others)}" if others else "")


def _version(module: str, remedy: str = "install relo again with pip") -> str:
    if importlib.util.find_spec(module) is None:
        raise ImportError(f"missing; {remedy}")
    return metadata.version(module)


def _opencv() -> str:
    found = opencv.distributions()
    opencv.check()
    if len(found) > 1:
        raise ImportError(
            f"{', '.join(found)} share one folder, and removing one damages the other. Repair: "
            f"{opencv.repair()}"
        )
    import cv2

    from relo_env.rendering import has_screen

    return f"{cv2.__version__}, {'with' if has_screen() else 'without'} a screen to show windows on"


def _opencv_contrib() -> str:
    import cv2

    if not hasattr(cv2, "TrackerCSRT_create"):
        raise ImportError(
            "missing; only for the trackers opencv:CSRT and opencv:KCF (pip uninstall "
            "opencv-python, then pip install opencv-contrib-python)"
        )
    return "opencv:CSRT and opencv:KCF can be used"


def _device() -> str:
    import torch

    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return ", ".join(gpus) or f"no GPU; {os.cpu_count()} CPU cores"


def _weights() -> str:
    from agents.network.checkpoints import find_checkpoint, read_header

    header = read_header(find_checkpoint("nano"))
    return f"nano ({header['stage']})"


def _data() -> str:
    from agents.commands.datasets import where
    from relo_env.datasets.disk import ROOT_VARIABLE
    from relo_env.datasets.registry import list_datasets

    if not os.environ.get(ROOT_VARIABLE):
        raise LookupError(
            f"{ROOT_VARIABLE} is not set; expected the folder that holds your data sets. Without "
            "it, use Synthetic, or give --root"
        )
    root = Path(os.environ[ROOT_VARIABLE])
    if not root.is_dir():
        raise LookupError(f"{ROOT_VARIABLE} is {root}, which is not a folder")
    found = [s.name for s in list_datasets() if s.needs_root and where(s.name) != "-"]
    return f"{root}: {', '.join(found) or 'no data set found, see relo datasets list'}"


def _video() -> str:
    import numpy as np

    from relo_env.video import VideoFrames, VideoWriter

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "test.mp4")
        with VideoWriter(path) as writer:
            for level in (0, 128, 255):
                writer.add(np.full((64, 96, 3), level, np.uint8))
        return f"wrote and read {len(VideoFrames(path))} frames of mp4"


def _environment() -> str:
    from agents.commands.bench import rate, stepping

    return f"{rate(stepping(num_envs=1), 2):.0f} steps/s with random actions on synthetic video"


def _network() -> str:
    from agents.commands.bench import rate, tracking
    from agents.network import RELONetwork

    return f"nano tracks {rate(tracking(RELONetwork.from_preset('nano'), 'cpu'), 2):.0f} frames/s"


def _backend() -> str:
    from agents.backends import make_backend
    from agents.network import RELONetwork

    return f"for nano {make_backend(RELONetwork.from_pretrained('nano')).choice}"


def _half_precision() -> str:
    import torch

    from agents.network.inference import HALF, half_precision_cost

    costs = {str(dtype).removeprefix("torch."): half_precision_cost(dtype) for dtype in HALF}
    times = ", ".join(f"{name} {cost:.2f}" for name, cost in costs.items())
    good = " and ".join(name for name, cost in costs.items() if cost < 1) or "neither"
    kind = torch.backends.cpu.get_cpu_capability()
    return f"{kind}; times of a linear layer against float32: {times}; faster: {good}"
